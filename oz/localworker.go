package oz

import (
	"context"
	"time"

	"go.uber.org/zap"

	"github.com/oz-platform/cloudagents/executor"
	"github.com/oz-platform/cloudagents/task"
)

// LocalWorkerOptions holds what a LocalWorker can do without.
type LocalWorkerOptions struct {
	// ID is the worker's name. Default "local".
	ID string

	// Capacity is how many executions it takes at once. Default: the number of
	// CPUs, at least 4.
	Capacity int

	// Command starts the agent runner; "--task-id" and the run's ID are added,
	// for people who look at the list of processes. The runner reads its
	// executor.Handshake as JSON from its standard input. Default: this
	// executable with "agent", "run".
	Command []string

	// Env is the environment of the runner, as NAME=value, besides what the
	// executor sets. Default: none.
	Env []string

	// Limits bound each sandbox. Default: none.
	Limits executor.Limits

	// ServerURL is where the runner finds the platform. Default: none, for
	// runners that know.
	ServerURL string

	// CacheDir holds the repository mirrors that runs share. Default: none.
	CacheDir string

	// StopGrace is how long a runner may take to end after SIGTERM, or after
	// it has reported its outcome. Default 10 s.
	StopGrace time.Duration

	// StopOnShutdown ends the sandboxes when Run is told to stop, and gives
	// their runs back without counting an attempt: for programs that do not
	// come back soon. Default false: they go on, and the next Run takes them
	// up again.
	StopOnShutdown bool

	// Clock tells the time. Default: the machine's.
	Clock task.Clock

	// Logger receives what nobody is there to return to. Default: none.
	Logger *zap.Logger
}

// LocalWorker is the Worker that carries out runs in sandboxes of an Executor,
// supervised by this process.
type LocalWorker struct {
	ex   executor.Executor
	opts LocalWorkerOptions
}

var _ Worker = (*LocalWorker)(nil)

// NewLocalWorker returns a worker over ex. opts may be nil.
func NewLocalWorker(ex executor.Executor, opts *LocalWorkerOptions) (*LocalWorker, error) {
	if opts == nil {
		opts = &LocalWorkerOptions{}
	}
	return &LocalWorker{ex: ex, opts: *opts}, nil
}

// Info implements Worker.
func (w *LocalWorker) Info() WorkerInfo { return WorkerInfo{ID: "local", Capacity: 4} }

// Offer implements Worker.
func (w *LocalWorker) Offer(ctx context.Context, a Assignment) error { return ErrAtCapacity }

// Cancel implements Worker.
func (w *LocalWorker) Cancel(ctx context.Context, id task.ExecutionID) {}

// Run implements Worker.
func (w *LocalWorker) Run(ctx context.Context, h WorkerHost) error { <-ctx.Done(); return nil }

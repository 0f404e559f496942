package oz

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"runtime"
	"slices"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/oz-platform/cloudagents/executor"
	"github.com/oz-platform/cloudagents/task"
)

// NoLimit as LocalWorkerOptions.Capacity takes every run that is offered.
const NoLimit = -1

// LocalWorkerOptions holds what a LocalWorker can do without.
type LocalWorkerOptions struct {
	// ID is the worker's name. Default "local".
	ID string

	// Capacity is how many executions it takes at once; NoLimit is as many as
	// there are. Default: the number of CPUs, at least 4.
	Capacity int

	// Command starts the agent runner; "--task-id" and the run's ID are added,
	// for people who look at the list of processes. The runner reads its
	// executor.Handshake as JSON from its standard input. Default: this
	// executable with "agent", "run".
	Command []string

	// Prepare is the command that makes a state for later runs to start from:
	// it reads an executor.Preparation as JSON from its standard input. Default:
	// none, every run starts cold.
	Prepare []string

	// RepositoryBase is the platform's, for Prepare. Default
	// "https://github.com". With another one than the platform's, kept states
	// of repositories without a URL of their own are of no use.
	RepositoryBase string

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

	// StartTimeout bounds the making of a sandbox, which may have to load an
	// image first. Default 10 minutes.
	StartTimeout time.Duration

	// StopOnShutdown ends the sandboxes when Run is told to stop, and gives
	// their runs back without counting an attempt: for programs that do not
	// come back soon. Default false: they go on, and the next Run takes them
	// up again.
	StopOnShutdown bool

	// IdleLimit bounds how long the workspace of an ended run is kept for
	// follow-ups, whatever the run asks for. Negative keeps none. Default: as
	// long as the run asks for.
	IdleLimit time.Duration

	// FailureLimit bounds how long the workspace of a failed run is kept for
	// inspection, whatever its environment asks for. Negative keeps none beyond
	// IdleLimit. Default: as long as the environment asks for.
	FailureLimit time.Duration

	// MaxKept bounds how many workspaces of ended runs are kept, of whatever
	// kind; NoLimit is as many as there are. The one whose run ended first gives
	// way, those of failed runs that are kept for inspection last. It holds
	// within about a second. Default 100.
	MaxKept int

	// FreeDisk tells how many bytes are free where workspaces are. While it is
	// less than MinFreeDisk, kept workspaces give way, as beyond MaxKept; it is
	// looked at each half minute and at the start and end of executions. It must
	// be quick. Default: not known, and MinFreeDisk does not hold.
	FreeDisk func() (int64, error)

	// MinFreeDisk is in bytes; negative is no bound. Default 2 GiB.
	MinFreeDisk int64

	// Clock tells the time. Default: the machine's.
	Clock task.Clock

	// Logger receives what nobody is there to return to. Default: none.
	Logger *zap.Logger
}

func (o *LocalWorkerOptions) withDefaults() (LocalWorkerOptions, error) {
	if o == nil {
		o = &LocalWorkerOptions{}
	}
	r := *o
	r.ID = cmp.Or(r.ID, "local")
	r.Capacity = cmp.Or(r.Capacity, max(4, runtime.NumCPU()))
	r.MaxKept, r.MinFreeDisk = cmp.Or(r.MaxKept, defaultMaxKept), cmp.Or(r.MinFreeDisk, defaultMinFreeDisk)
	r.StopGrace = cmp.Or(r.StopGrace, 10*time.Second)
	r.StartTimeout = cmp.Or(r.StartTimeout, 10*time.Minute)
	r.RepositoryBase = cmp.Or(r.RepositoryBase, defaultRepositoryBase)
	r.Command, r.Env, r.Prepare = slices.Clone(r.Command), slices.Clone(r.Env), slices.Clone(r.Prepare)
	if r.Clock == nil {
		r.Clock = task.SystemClock()
	}
	if r.Logger == nil {
		r.Logger = zap.NewNop()
	}
	if len(r.Command) == 0 {
		self, err := os.Executable()
		if err != nil {
			return r, fmt.Errorf("find this executable, which is to run agents; set Command: %w", err)
		}
		r.Command = []string{self, "agent", "run"}
	}
	if r.MaxKept < NoLimit {
		return r, task.Invalid("MaxKept", "is %d; it must be at least 1, or NoLimit", r.MaxKept)
	}
	if r.Capacity < NoLimit || r.StopGrace < 0 || r.StartTimeout < 0 {
		return r, task.Invalid("Capacity", "StopGrace and StartTimeout may not be negative, but for Capacity NoLimit")
	}
	return r, checkWorkerID(r.ID)
}

// LocalWorker is the Worker that carries out runs in sandboxes of an Executor,
// supervised by this process. What it knows it reads from the executor and the
// platform, so that it may be killed at any instruction and started again.
type LocalWorker struct {
	ex     executor.Executor
	opts   LocalWorkerOptions
	offers chan Assignment // taken by Run

	crowded chan struct{} // asks the sweep to look

	mu    sync.Mutex
	taken map[task.ExecutionID]*place
	kept  KeptWorkspaces // as of the last look
	left  int            // executions that have left since
}

// place is one of the worker's places, taken from the yes to an offer until
// nothing of the execution runs any more.
type place struct {
	run   task.ID
	once  sync.Once
	ended chan struct{} // closed once the execution has ended
}

func (p *place) end() { p.once.Do(func() { close(p.ended) }) }

var _ Worker = (*LocalWorker)(nil)

// NewLocalWorker returns a worker over ex. It starts nothing: give it to
// Options.Workers. opts may be nil.
func NewLocalWorker(ex executor.Executor, opts *LocalWorkerOptions) (*LocalWorker, error) {
	o, err := opts.withDefaults()
	if err != nil {
		return nil, fmt.Errorf("options: %w", err)
	}
	return &LocalWorker{ex: ex, opts: o, offers: make(chan Assignment), crowded: make(chan struct{}, 1),
		taken: map[task.ExecutionID]*place{}}, nil
}

// Info implements Worker.
func (w *LocalWorker) Info() WorkerInfo {
	w.mu.Lock()
	defer w.mu.Unlock()
	return WorkerInfo{ID: w.opts.ID, Capacity: max(0, w.opts.Capacity), Busy: len(w.taken),
		Idle: w.kept.Idle, Retained: w.kept.Retained}
}

// Offer implements Worker.
func (w *LocalWorker) Offer(ctx context.Context, a Assignment) error {
	w.mu.Lock()
	if w.opts.Capacity != NoLimit && len(w.taken) >= w.opts.Capacity {
		w.mu.Unlock()
		return ErrAtCapacity
	}
	w.takeLocked(a.Execution, a.Task.ID)
	w.mu.Unlock()
	select {
	case w.offers <- a:
		return nil
	case <-ctx.Done():
		w.vacate(a.Execution)
		return fmt.Errorf("worker %s did not take the run: %w", w.opts.ID, ctx.Err())
	}
}

// Cancel implements Worker.
func (w *LocalWorker) Cancel(_ context.Context, id task.ExecutionID) {
	if p := w.place(id); p != nil {
		p.end()
	}
}

// take takes a place for an execution, also beyond the capacity: that bounds
// what is accepted, not what is there.
func (w *LocalWorker) take(id task.ExecutionID, run task.ID) *place {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.takeLocked(id, run)
}

func (w *LocalWorker) takeLocked(id task.ExecutionID, run task.ID) *place {
	p := &place{run: run, ended: make(chan struct{})}
	w.taken[id] = p
	return p
}

func (w *LocalWorker) vacate(id task.ExecutionID) {
	w.mu.Lock()
	delete(w.taken, id)
	w.mu.Unlock()
}

func (w *LocalWorker) place(id task.ExecutionID) *place {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.taken[id]
}

// places copies the places that are taken.
func (w *LocalWorker) places() map[task.ExecutionID]*place {
	w.mu.Lock()
	defer w.mu.Unlock()
	m := make(map[task.ExecutionID]*place, len(w.taken))
	for id, p := range w.taken {
		m[id] = p
	}
	return m
}

// Executions lists the executions that take a place, sorted: those accepted,
// and those whose processes still run.
func (w *LocalWorker) Executions() []task.ExecutionID {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Sorted(maps.Keys(w.taken))
}

// Run implements Worker.
func (w *LocalWorker) Run(ctx context.Context, h WorkerHost) error {
	s := &supervisor{LocalWorker: w, host: h}
	defer s.group.Wait()
	if err := s.adopt(ctx); err != nil {
		return fmt.Errorf("take up what an earlier process left: %w", err)
	}
	s.group.Go(func() { s.watch(ctx) })
	s.group.Go(func() { s.sweep(ctx) })
	h.Ready()
	for {
		select {
		case a := <-w.offers:
			s.group.Go(func() { s.carryOut(ctx, a) })
		case <-ctx.Done():
			return nil
		}
	}
}

// supervisor is a LocalWorker while it runs.
type supervisor struct {
	*LocalWorker
	host  WorkerHost
	group sync.WaitGroup
}

// adopt takes up the sandboxes that an earlier process of this worker has left,
// removes those that nobody waits for, and gives back the executions that have
// none.
func (s *supervisor) adopt(ctx context.Context) error {
	mine, err := s.mine(ctx)
	if err != nil {
		return err
	}
	live := map[string]task.Execution{}
	for _, e := range mine {
		live[string(e.ID)] = e
	}
	ids, err := s.ex.List(ctx)
	if err != nil {
		return err
	}
	for _, id := range ids {
		e, ok := live[id]
		if !ok {
			s.removeLeftover(ctx, task.ExecutionID(id))
			continue
		}
		sandbox, err := s.ex.Open(ctx, id)
		if errors.Is(err, executor.ErrNotFound) {
			continue // removed in part: given back below
		}
		delete(live, id)
		if err != nil { // it may work: its lease tells, and sweep removes it in the end
			s.log(e).Error("open sandbox", zap.Error(err))
			continue
		}
		s.opts.Logger.Info("sandbox taken up again", zap.String("task_id", string(e.TaskID)), zap.String("execution_id", id))
		p := s.take(e.ID, e.TaskID)
		s.group.Go(func() { s.supervise(ctx, e, p, sandbox) })
	}
	for _, e := range live {
		if err := s.host.Release(ctx, e, reasonNone, 0); err != nil { // its lease gives it back, later
			s.log(e).Warn("give back what has no sandbox", zap.Error(err))
		}
	}
	return nil
}

// adoptPause is how long a worker that starts waits for a store that is away.
const adoptPause = time.Second

// mine asks what this worker has, until the store says so: one that is away
// for a moment must not end the server that has just started.
func (s *supervisor) mine(ctx context.Context) ([]task.Execution, error) {
	for {
		mine, err := s.host.Live(ctx)
		if err == nil || ctx.Err() != nil || task.CodeOf(err) != task.CodeResourceUnavailable {
			return mine, err
		}
		s.opts.Logger.Warn("the store is away: what an earlier process left is taken up when it is back", zap.Error(err))
		select {
		case <-s.opts.Clock.After(adoptPause):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// watch tells the places whose executions have ended, until ctx ends: by the
// runner's own word, by a person, or because the lease was lost.
func (s *supervisor) watch(ctx context.Context) {
	changed, cancel := s.host.Subscribe()
	defer cancel()
	for {
		// Before the store is read: what is taken after it was read may be missing there.
		taken := s.places()
		if len(taken) == 0 {
			// Nothing to tell, and nothing to ask for.
		} else if live, err := s.host.Live(ctx); err == nil {
			for _, e := range live {
				delete(taken, e.ID)
			}
			for _, p := range taken {
				p.end()
			}
		} else if ctx.Err() == nil {
			s.opts.Logger.Warn("read live executions", zap.Error(err))
		}
		select {
		case <-changed:
		case <-s.opts.Clock.After(recheckInterval):
		case <-ctx.Done():
			return
		}
	}
}

// recheckInterval is how soon a worker looks again without being told.
const recheckInterval = 10 * time.Second

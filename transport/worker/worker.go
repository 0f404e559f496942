package worker

import (
	"context"
	"fmt"

	"github.com/oz-platform/cloudagents/oz"
	"github.com/oz-platform/cloudagents/task"
)

// Worker is the worker's end of the link.
type Worker struct {
	local oz.Worker
	opts  Options
}

// New returns a Worker that offers local to a server. It starts nothing.
// local must be given to nobody else; its Info().ID is what runs name as
// worker_host.
func New(local oz.Worker, o Options) (*Worker, error) {
	o, err := o.withDefaults()
	if err != nil {
		return nil, fmt.Errorf("options: %w", err)
	}
	return &Worker{local: local, opts: o}, nil
}

// Run serves until ctx ends, or until a drain is complete; then it returns nil.
// Executions that are at work when ctx ends go on, unless local stops them; the
// next process takes them up again. It reconnects for as long as it runs, and
// fails only when StateDir cannot be used or local fails.
func (w *Worker) Run(context.Context) error {
	return task.Errorf(task.CodeFeatureNotAvailable, "the worker's end of the link is not built yet")
}

// Drain makes the worker take nothing new. Once what it has taken is over, Run
// returns. It may be called at any time, and again.
func (w *Worker) Drain() {}

// Status says how the worker stands.
func (w *Worker) Status() Status { return Status{} }

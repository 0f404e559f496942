package runner

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/oz-platform/cloudagents/executor/harness"
	"github.com/oz-platform/cloudagents/task"
)

// errTimeLimit is the cause of a context that the run's time limit ended.
var errTimeLimit = errors.New("the run's time limit is reached")

// limitGrace is what a harness gets beyond the time limit to stop by itself,
// with a better explanation than the runner has.
const limitGrace = time.Minute

// timeLimit ends the context when the execution has used its minutes and extra.
func (x *execution) timeLimit(ctx context.Context, extra time.Duration) (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	limit := x.bundle.Limits.MaxRuntime()
	if limit <= 0 {
		return ctx, func() { cancel(nil) }
	}
	left := limit + extra - x.opts.Clock.Now().Sub(x.bundle.Execution.BegunAt)
	done := make(chan struct{})
	go func() {
		defer close(done)
		select {
		case <-x.opts.Clock.After(max(0, left)):
			cancel(errTimeLimit)
		case <-ctx.Done():
		}
	}()
	return ctx, func() { cancel(nil); <-done }
}

// prepareInTime prepares the workspace within the run's time limit.
func (x *execution) prepareInTime(ctx context.Context) (*workspace, error) {
	limited, stop := x.timeLimit(ctx, 0)
	defer stop()
	ws, err := x.prepare(limited, newSteps(ctx, x))
	if err != nil && ctx.Err() == nil && errors.Is(context.Cause(limited), errTimeLimit) {
		return nil, task.Errorf(task.CodeEnvironmentSetupFailed,
			"the workspace was not ready when the run's %d minutes were over. Mend the setup command or the clone that takes so long (the log shows it), or raise limits.max_minutes",
			x.bundle.Limits.MaxMinutes)
	}
	return ws, err
}

// outOfTime is the outcome of an agent that had to be stopped. Messages that
// it has not been given stay in the log, for the next execution to deliver.
func (x *execution) outOfTime(ctx context.Context) (harness.Outcome, error) {
	inputs, err := x.journal.Inputs(ctx, 0)
	if err != nil {
		return harness.Outcome{}, err
	}
	o := harness.Outcome{State: task.StateBlocked, Status: task.Status{Message: fmt.Sprintf(
		"The run has used its %d minutes and was stopped; its files are kept. Raise limits.max_minutes if the task needs more, and send a message to go on.",
		x.bundle.Limits.MaxMinutes)}}
	if n := len(inputs); n > 0 {
		o.SeenInput = inputs[n-1].Seq
	}
	return o, nil
}

package oz

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.uber.org/zap"

	"github.com/oz-platform/cloudagents/executor"
	"github.com/oz-platform/cloudagents/task"
)

// sweepInterval is how often a worker looks for what nobody needs any more.
const sweepInterval = 30 * time.Second

// sweep removes leftover sandboxes and idle workspaces until ctx ends.
func (s *supervisor) sweep(ctx context.Context) {
	for {
		if err := s.sweepOnce(ctx); err != nil && ctx.Err() == nil {
			s.opts.Logger.Error("sweep", zap.Error(err))
		}
		select {
		case <-s.opts.Clock.After(sweepInterval):
		case <-ctx.Done():
			return
		}
	}
}

func (s *supervisor) sweepOnce(ctx context.Context) error {
	ids, err := s.ex.List(ctx)
	if err != nil {
		return fmt.Errorf("list sandboxes: %w", err)
	}
	for _, id := range ids { // listed before the places: a new one has its place by now
		if s.place(task.ExecutionID(id)) == nil {
			s.removeLeftover(ctx, task.ExecutionID(id))
		}
	}
	keys, err := s.ex.Workspaces(ctx)
	if err != nil {
		return fmt.Errorf("list workspaces: %w", err)
	}
	var errs []error
	for _, key := range keys {
		errs = append(errs, s.sweepWorkspace(ctx, key))
	}
	return errors.Join(errs...)
}

// removeLeftover removes a sandbox that nobody supervises: its execution has
// ended, or is unknown to the platform.
func (s *supervisor) removeLeftover(ctx context.Context, id task.ExecutionID) {
	e, err := s.host.Execution(ctx, id)
	if err != nil && !errors.Is(err, task.ErrNotFound) {
		s.opts.Logger.Error("read execution of a sandbox", zap.String("execution_id", string(id)), zap.Error(err))
		return
	}
	known := err == nil
	if known && e.Live() {
		return // taken up by the next Run, or another worker's
	}
	sandbox, err := s.ex.Open(ctx, string(id))
	if err != nil {
		s.opts.Logger.Warn("open a leftover sandbox", zap.String("execution_id", string(id)), zap.Error(err))
		return
	}
	if !known {
		s.opts.Logger.Warn("remove a sandbox that the platform does not know", zap.String("execution_id", string(id)))
		if err := sandbox.Remove(ctx); err != nil {
			s.opts.Logger.Error("remove sandbox", zap.String("execution_id", string(id)), zap.Error(err))
		}
		return
	}
	if reported(e) {
		s.tellReported(ctx, e, sandbox)
	}
	s.remove(ctx, e, sandbox)
}

// sweepWorkspace removes a workspace once its run has ended for longer than
// its idle window, or is gone. Until then a message can take the run up again
// and finds its files.
func (s *supervisor) sweepWorkspace(ctx context.Context, key string) error {
	t, err := s.host.Task(ctx, task.ID(key))
	switch {
	case errors.Is(err, task.ErrNotFound):
	case err != nil:
		return fmt.Errorf("read run of workspace %s: %w", key, err)
	case !t.State.Ended() || s.opts.Clock.Now().Before(t.UpdatedAt.Add(s.idleWindow(t))):
		return nil
	}
	if err := s.ex.RemoveWorkspace(ctx, key); err != nil && !errors.Is(err, executor.ErrInUse) {
		return fmt.Errorf("remove workspace %s: %w", key, err)
	}
	return nil
}

// idleWindow is how long a run's workspace stays after its end.
func (s *supervisor) idleWindow(t task.Task) time.Duration {
	window := defaultIdleMinutes * time.Minute
	if m := t.Config.IdleTimeoutMinutes; m != nil {
		window = time.Duration(*m) * time.Minute
	}
	if s.opts.IdleLimit != 0 {
		window = min(window, s.opts.IdleLimit)
	}
	return window
}

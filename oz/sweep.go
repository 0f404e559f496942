package oz

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.uber.org/zap"

	"github.com/oz-platform/cloudagents/task"
)

// sweepInterval is how often a worker looks for what nobody needs any more.
const sweepInterval = 30 * time.Second

// sweep removes leftover sandboxes and kept workspaces until ctx ends: in time,
// and soon after there are too many.
func (s *supervisor) sweep(ctx context.Context) {
	for {
		next, err := s.sweepOnce(ctx)
		if err != nil && ctx.Err() == nil {
			s.opts.Logger.Error("sweep", zap.Error(err))
		}
		wait := sweepInterval
		if err == nil && !next.IsZero() {
			wait = min(wait, max(roomInterval, next.Sub(s.opts.Clock.Now())))
		}
		select {
		case <-s.opts.Clock.After(wait):
		case <-s.crowded:
			select { // many ends one after the other are one look
			case <-s.opts.Clock.After(roomInterval):
			case <-ctx.Done():
				return
			}
		case <-ctx.Done():
			return
		}
	}
}

// sweepOnce looks once. next is when the next kept workspace is due.
func (s *supervisor) sweepOnce(ctx context.Context) (next time.Time, err error) {
	ids, err := s.ex.List(ctx)
	if err != nil {
		return next, fmt.Errorf("list sandboxes: %w", err)
	}
	for _, id := range ids { // listed before the places: a new one has its place by now
		if s.place(task.ExecutionID(id)) == nil {
			s.removeLeftover(ctx, task.ExecutionID(id))
		}
	}
	return s.sweepWorkspaces(ctx)
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

package worker

import (
	"context"
	"slices"
	"time"

	"go.uber.org/zap"

	"github.com/oz-platform/cloudagents/task"
)

// Cancel implements oz.Member.
func (g *group) Cancel(ctx context.Context, id task.ExecutionID) {
	g.over(ctx, []task.ExecutionID{id})
}

// untold implements teller.
func (g *group) untold() []task.ExecutionID {
	g.mu.Lock()
	defer g.mu.Unlock()
	var ids []task.ExecutionID
	for _, t := range g.held {
		if !t.told && t.end == nil {
			ids = append(ids, t.exec)
		}
	}
	return ids
}

// over implements teller. A worker whose agent has reported its end is let
// alone; any other has to stop. Nothing is expected in answer (S-13).
func (g *group) over(ctx context.Context, ids []task.ExecutionID) {
	for _, id := range ids {
		e, err := g.host.Execution(ctx, id)
		byItself := err == nil && task.State(e.Reason).Ended() && e.Reason != string(task.StateCancelled)
		g.mu.Lock()
		var conns []*conn
		var run task.ID
		for _, t := range g.held {
			if t.exec != id || t.end != nil {
				continue
			}
			t.told, t.since, run = true, g.hub.opts.Clock.Now(), t.task
			if !byItself {
				t.stop, conns = true, slices.Clone(g.conns)
			}
		}
		g.mu.Unlock()
		for _, c := range conns {
			_ = c.send(ctx, typeCancellation, cancellation{TaskID: run})
		}
	}
}

// remind tells a new connection what has to stop (S-13).
func (g *group) remind(c *conn) {
	g.mu.Lock()
	var stop []task.ID
	for _, t := range g.held {
		if t.stop && t.end == nil {
			stop = append(stop, t.task)
		}
	}
	g.mu.Unlock()
	for _, id := range stop {
		_ = c.send(g.hub.stop, typeCancellation, cancellation{TaskID: id})
	}
}

// inspect forgets tasks whose end nobody will tell.
func (g *group) inspect(now time.Time) {
	g.hub.mu.Lock()
	defer g.hub.mu.Unlock()
	g.mu.Lock()
	defer g.mu.Unlock()
	for id, t := range g.held {
		if g.expired(t, now) {
			delete(g.held, id)
			g.hub.work.Go(func() { g.assumeGone(task.Execution{ID: t.exec, TaskID: t.task}) }) // counted: Run waits for inspect
		}
	}
	g.hub.dropLocked(g)
}

// assumeGone records that nothing of an execution runs any more, which its worker
// will not say: some never do (S-14).
func (g *group) assumeGone(e task.Execution) {
	if err := g.host.SandboxGone(g.hub.stop, e); err != nil {
		g.log.Debug("record that a sandbox is gone", zap.String("task_id", string(e.TaskID)), zap.Error(err))
	}
}

// expired reports a task that is not expected to be here any more. One that was
// never claimed is most likely not: the worker's claim waits for no work, and
// outlives its connections. g.mu is held.
func (g *group) expired(t *held, now time.Time) bool {
	if !t.told || t.end != nil {
		return false
	}
	if !t.claimed {
		return now.Sub(t.since) >= unclaimedFor*g.hub.opts.ClaimTimeout
	}
	return now.Sub(t.since) >= heldFor
}

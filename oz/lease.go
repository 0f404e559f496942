package oz

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"go.uber.org/zap"

	"github.com/oz-platform/cloudagents/internal/crashpoint"
	"github.com/oz-platform/cloudagents/task"
)

// reap gives up executions that are silent for longer than their lease or
// older than the longest runtime, until ctx ends.
func (p *Platform) reap(ctx context.Context) {
	var watch leaseWatch
	for {
		if err := p.reapOnce(ctx, &watch); err != nil && ctx.Err() == nil {
			p.opts.Logger.Error("look for lost executions", zap.Error(err))
		}
		select {
		case <-p.opts.Clock.After(p.opts.Lease / looksPerLease):
		case <-ctx.Done():
			return
		}
	}
}

// looksPerLease is how often leases are looked at: an execution is given up
// between one lease and a fifth more after its last sign of life.
const looksPerLease = 5

// reapOnce judges every live execution once.
func (p *Platform) reapOnce(ctx context.Context, watch *leaseWatch) error {
	live, err := p.store.Live(ctx)
	if err != nil {
		return err
	}
	now := p.opts.Clock.Now()
	watch.look(live, now, p.opts.Lease/looksPerLease)
	p.fences.keep(live)
	var errs []error
	for _, e := range live {
		switch {
		case watch.age(e.ID, now) > p.opts.MaxRuntime:
			errs = append(errs, p.endOverdue(ctx, e))
		case watch.silent(e.ID, now) >= p.opts.Lease:
			errs = append(errs, p.giveUp(ctx, e, now))
		}
	}
	return errors.Join(errs...)
}

// giveUp takes the run from an execution whose lease has ended. Silence before
// the worker's yes puts the run back; after it, it counts as an attempt.
func (p *Platform) giveUp(ctx context.Context, e task.Execution, now time.Time) error {
	p.opts.Logger.Warn("execution lost", zap.String("task_id", string(e.TaskID)), zap.String("execution_id", string(e.ID)),
		zap.String("worker", e.Worker), zap.Time("lease_until", e.LeaseUntil))
	crashpoint.Hit(crashpoint.Release)
	switch e.State {
	case task.ExecutionOffered:
		return p.release(ctx, e, task.Release{Execution: e.ID, Reason: "the worker did not answer",
			ReadyAt: now.Add(p.opts.RefusalBackoff), Lease: e.LeaseUntil})
	case task.ExecutionClaimed:
		return p.retry(ctx, e, task.CodeResourceUnavailable, "the worker gave no sign of life", e.LeaseUntil)
	}
	return p.retry(ctx, e, task.CodeAgentProcessFailed, "the agent's process gave no sign of life", e.LeaseUntil)
}

// endOverdue ends a run whose execution is too old.
func (p *Platform) endOverdue(ctx context.Context, e task.Execution) error {
	_, err := p.store.Do(ctx, e.TaskID, task.End{Execution: e.ID, State: task.StateError, Status: task.Status{
		Message:   fmt.Sprintf("the run was stopped after the longest runtime of %s; split the work, or raise the server's limit", p.opts.MaxRuntime),
		ErrorCode: task.CodeInfrastructureTimeout,
	}})
	return settled(err)
}

// retry gives a run back after a fault of the platform: it waits for a delay
// that grows with every attempt, or ends as ERROR after the last one. lease
// makes it conditional, see task.Release.
func (p *Platform) retry(ctx context.Context, e task.Execution, code task.Code, reason string, lease time.Time) error {
	t, err := p.store.Get(ctx, e.TaskID)
	if err != nil {
		return err
	}
	return p.release(ctx, e, task.Release{Execution: e.ID, Reason: reason, Code: code, MaxAttempts: p.opts.MaxAttempts,
		ReadyAt: p.opts.Clock.Now().Add(p.backoff(t.Attempts)), Lease: lease})
}

// retryOrFence is retry for a runner that reports its own failure: one that
// has lost its lease must learn it.
func (p *Platform) retryOrFence(ctx context.Context, e task.Execution, code task.Code, reason string) error {
	t, err := p.store.Get(ctx, e.TaskID)
	if err != nil {
		return err
	}
	_, err = p.store.Do(ctx, e.TaskID, task.Release{Execution: e.ID, Reason: reason, Code: code,
		MaxAttempts: p.opts.MaxAttempts, ReadyAt: p.opts.Clock.Now().Add(p.backoff(t.Attempts))})
	return err
}

// Reasons of a worker for giving back a run whose agent never began. They are
// in the record of the execution, by which such ends are counted.
const (
	reasonLost = "the sandbox was lost before the agent began"
	reasonNone = "the worker restarted and found no sandbox"
)

// maxLost is how often in a row a run may be lost so: ours. The worker that was
// killed just then is at fault, most likely; but it may be the run's image that
// kills it each time.
const maxLost = 10

// releaseLost gives back a run that was lost before its agent began, which is
// no attempt of the run's: it waits longer each time, and ends as ERROR when
// it was lost maxLost times in a row. A message from a person begins anew.
func (p *Platform) releaseLost(ctx context.Context, e task.Execution, reason string, delay time.Duration) error {
	t, err := p.store.Get(ctx, e.TaskID)
	if err != nil {
		return err
	}
	before, err := p.lostBefore(ctx, t)
	if err != nil {
		return err
	}
	r := task.Release{Execution: e.ID, Reason: reason}
	if before+1 >= maxLost {
		r.Code, r.MaxAttempts = task.CodeResourceUnavailable, 1 // this is the last one
		r.Reason = fmt.Sprintf("%s, %d times in a row; look at the log of the worker, and whether it has enough memory for the image and the run", reason, before+1)
	}
	if before > 0 {
		delay = p.backoff(before - 1)
	}
	r.ReadyAt = p.opts.Clock.Now().Add(delay)
	return p.release(ctx, e, r)
}

// lostBefore counts how often a run was lost before its agent began, since one
// last began and since the newest message from a person. What else became of
// executions between counts neither way.
func (p *Platform) lostBefore(ctx context.Context, t task.Task) (n int, err error) {
	said, err := p.store.Events(ctx, t.ID, max(t.LastInput-1, 0), 1)
	if err != nil {
		return 0, fmt.Errorf("read the newest message of run %s: %w", t.ID, err)
	}
	all, err := p.store.Executions(ctx, t.ID)
	if err != nil {
		return 0, fmt.Errorf("read the executions of run %s: %w", t.ID, err)
	}
	for _, e := range slices.Backward(all) {
		switch {
		case len(said) > 0 && e.OfferedAt.Before(said[0].Time), !e.BegunAt.IsZero():
			return n, nil
		case e.Reason == reasonLost || e.Reason == reasonNone:
			n++
		}
	}
	return n, nil
}

// release applies r; that the execution has ended or renewed its lease
// meanwhile is no error.
func (p *Platform) release(ctx context.Context, e task.Execution, r task.Release) error {
	_, err := p.store.Do(ctx, e.TaskID, r)
	p.audits.add(e.TaskID)
	if !r.Lease.IsZero() && errors.Is(err, task.ErrConflict) {
		return nil
	}
	return settled(err)
}

// settled drops the error that says that an execution has ended already.
func settled(err error) error {
	if errors.Is(err, task.ErrFenced) {
		return nil
	}
	return err
}

// backoff is the delay before the next attempt, after this many have failed
// before: doubled each time and bounded, and then up to a fifth more or less,
// so that runs which failed together do not come back together.
func (p *Platform) backoff(failed int) time.Duration {
	d := p.opts.MaxBackoff
	if p.opts.FirstBackoff <= d>>failed { // else the next doubling exceeds it, or overflows
		d = p.opts.FirstBackoff << failed
	}
	return time.Duration(float64(d) * (0.8 + 0.4*rand.Float64()))
}

package trigger

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"github.com/oz-platform/cloudagents/internal/crashpoint"
	"github.com/oz-platform/cloudagents/task"
)

// decideArrivals decides what arrives here, at once.
func (e *Engine) decideArrivals(ctx context.Context) {
	group := errgroup.Group{}
	group.SetLimit(max(1, e.opts.Parallel))
	defer func() { _ = group.Wait() }()
	for {
		select {
		case d := <-e.inbox:
			group.Go(func() error { e.decide(ctx, d); return nil })
		case <-ctx.Done():
			return
		}
	}
}

// decideLeftovers decides what nobody has decided in time: another replica
// died, or the decision was put off.
func (e *Engine) decideLeftovers(ctx context.Context) {
	arrived, cancel := e.store.Subscribe(task.NewDeliveries)
	defer cancel()
	pace := e.pace()
	for ctx.Err() == nil {
		found := e.decideWaiting(ctx)
		e.restBetweenLeftovers(ctx, pace, pace.after(found), arrived)
	}
}

// restBetweenLeftovers waits for so long, but no longer than until what arrives
// or is put off meanwhile may be a leftover.
func (e *Engine) restBetweenLeftovers(ctx context.Context, pace *pace, d time.Duration, arrived <-chan struct{}) {
	until := e.opts.Clock.Now().Add(d)
	timer := e.opts.Clock.After(d)
	sooner := func(d time.Duration) {
		pace.now = 0
		if at := e.opts.Clock.Now().Add(d); at.Before(until) {
			until, timer = at, e.opts.Clock.After(d)
		}
	}
	for {
		select {
		case <-arrived:
			sooner(e.opts.Grace + e.opts.Poll)
		case <-e.putAside:
			sooner(firstDelay)
		case <-timer:
			return
		case <-ctx.Done():
			return
		}
	}
}

// decideWaiting decides all that waits now, and says whether there was any.
func (e *Engine) decideWaiting(ctx context.Context) (found bool) {
	for ctx.Err() == nil {
		list, err := e.store.Undecided(ctx, e.now().Add(-e.opts.Grace), backlog)
		e.report(ctx, "look for deliveries that wait", err)
		group := errgroup.Group{}
		group.SetLimit(max(1, e.opts.Parallel))
		for _, d := range list {
			group.Go(func() error { e.decideLeftover(ctx, d.ID); return nil })
		}
		_ = group.Wait()
		found = found || len(list) > 0
		if len(list) < backlog {
			break
		}
	}
	return found
}

// decideLeftover decides what is still undecided, unless somebody here does.
func (e *Engine) decideLeftover(ctx context.Context, id task.DeliveryID) {
	d, err := e.store.Delivery(ctx, id)
	if err != nil || d.Outcome != "" {
		e.report(ctx, "read a delivery", err, zap.String("delivery", string(id)))
		return
	}
	e.decide(ctx, d)
}

// decide carries a delivery out, or puts it off. Two that decide the same one
// do no harm, but work for nothing.
func (e *Engine) decide(ctx context.Context, d task.Delivery) {
	if _, busy := e.deciding.LoadOrStore(d.ID, true); busy {
		return
	}
	defer e.deciding.Delete(d.ID)
	v, err := e.verdict(ctx, d)
	switch {
	case ctx.Err() != nil:
		return
	case err != nil:
		e.putOff(ctx, d, err)
		return
	}
	crashpoint.Hit(crashpoint.TriggerActed)
	d, err = e.store.Decide(ctx, d.ID, v)
	if err != nil {
		e.report(ctx, "decide a delivery", err, zap.String("delivery", string(d.ID)))
		return
	}
	crashpoint.Hit(crashpoint.TriggerDecided)
	e.opts.OnDelivery(d)
}

// verdict does what a delivery asks for. An error means that it is to be asked
// for again.
func (e *Engine) verdict(ctx context.Context, d task.Delivery) (task.Verdict, error) {
	o, ok := e.origin(d.Source)
	if !ok {
		return task.Verdict{}, errUnknownSource(d.Source)
	}
	p, err := o.Plan(ctx, d)
	switch {
	case err != nil && !final(err):
		return task.Verdict{}, err
	case err != nil:
		return e.refused(ctx, d, nil, err)
	case len(p.Starts) > task.MaxDeliveryRuns:
		err := task.Errorf(task.CodeOperationNotSupported, "%d automations match, at most %d may", len(p.Starts), task.MaxDeliveryRuns)
		return e.refused(ctx, d, nil, err)
	case len(p.Starts) == 0 && p.Held:
		return task.Verdict{Outcome: task.OutcomeHeld, Reason: p.Reason}, nil
	case len(p.Starts) == 0:
		return task.Verdict{Outcome: task.OutcomeIgnored, Reason: p.Reason}, nil
	}
	return e.carryOut(ctx, d, p.Starts)
}

// carryOut does all that a plan has. One start that cannot be made does not
// keep the others from being made.
func (e *Engine) carryOut(ctx context.Context, d task.Delivery, starts []Start) (task.Verdict, error) {
	v := task.Verdict{Outcome: task.OutcomeIgnored}
	var reasons []string
	var refusals, delays []error
	for _, s := range starts {
		what, id, err := e.begin(ctx, d, s)
		switch {
		case err != nil && !final(err):
			delays = append(delays, err)
			continue
		case err != nil:
			refusals = append(refusals, err)
			if err := e.tellRefused(ctx, d, &s, err); err != nil {
				delays = append(delays, err)
			}
			continue
		case what == "":
			reasons = append(reasons, "there is no run about "+s.Entity+" to go on with")
			continue
		}
		if err := e.tell(ctx, d, s, what, id); err != nil {
			delays = append(delays, err)
		}
		v.Runs = append(v.Runs, id)
		if v.Outcome = task.OutcomeContinued; what == NewsStarted {
			v.Outcome = task.OutcomeStarted
		}
	}
	if len(delays) > 0 {
		return v, errors.Join(delays...)
	}
	for _, err := range refusals {
		reasons = append(reasons, err.Error())
	}
	if len(v.Runs) == 0 && len(refusals) > 0 {
		v.Outcome = task.OutcomeFailed
	}
	v.Reason = strings.Join(reasons, "; ")
	return v, nil
}

// begin starts a run, or goes on with one. what is empty when there is nothing
// to go on with.
func (e *Engine) begin(ctx context.Context, d task.Delivery, s Start) (what NewsType, id task.ID, err error) {
	if s.Entity != "" {
		return e.converse(ctx, d, s)
	}
	id = RunID(d, s.Name)
	return NewsStarted, id, e.start(ctx, d, s, id)
}

func (e *Engine) start(ctx context.Context, d task.Delivery, s Start, id task.ID) error {
	if err := e.host.Start(ctx, id, s, task.Origin{Source: d.Source, Delivery: d.ID, Address: s.Address}); err != nil {
		return fmt.Errorf("start a run: %w", err)
	}
	crashpoint.Hit(crashpoint.TriggerStarted)
	return nil
}

// refused is the verdict of a delivery that was to make runs and cannot.
func (e *Engine) refused(ctx context.Context, d task.Delivery, s *Start, cause error) (task.Verdict, error) {
	if err := e.tellRefused(ctx, d, s, cause); err != nil {
		return task.Verdict{}, err
	}
	return task.Verdict{Outcome: task.OutcomeFailed, Reason: cause.Error()}, nil
}

// Delays between the attempts to decide a delivery.
const (
	firstDelay = time.Second
	maxDelay   = 5 * time.Minute
)

// putOff tries a delivery again later, and gives it up when patience ends.
func (e *Engine) putOff(ctx context.Context, d task.Delivery, cause error) {
	now := e.now()
	if now.Sub(d.ReceivedAt) < e.opts.Patience {
		until := now.Add(backoff(d.Attempts, firstDelay, maxDelay)).Add(-e.opts.Grace) // which decideLeftovers adds
		e.report(ctx, "put off a delivery", e.store.PutOff(ctx, d.ID, until, cause.Error()), zap.String("delivery", string(d.ID)))
		select {
		case e.putAside <- struct{}{}:
		default:
		}
		return
	}
	v, err := e.refused(ctx, d, nil, cause)
	if err == nil {
		v.Reason = "given up after " + e.opts.Patience.String() + ": " + v.Reason
		d, err = e.store.Decide(ctx, d.ID, v)
	}
	if err != nil {
		e.report(ctx, "give up a delivery", err, zap.String("delivery", string(d.ID)))
		return
	}
	e.opts.OnDelivery(d)
}

// backoff doubles from first to most.
func backoff(attempts int, first, most time.Duration) time.Duration {
	d := first
	for range min(attempts, 30) {
		if d *= 2; d >= most {
			return most
		}
	}
	return d
}

package trigger

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"github.com/oz-platform/cloudagents/internal/crashpoint"
	"github.com/oz-platform/cloudagents/task"
)

// Delays between the attempts to send a message, give or take a fifth.
const (
	firstRetry = 5 * time.Second
	maxRetry   = 4 * time.Hour
	// maxHint bounds what the outside may ask us to wait.
	maxHint = 24 * time.Hour
)

func (e *Engine) wakeSender() {
	select {
	case e.outbox <- struct{}{}:
	default:
	}
}

// deliver sends what is to be told.
func (e *Engine) deliver(ctx context.Context) {
	if len(e.senders) == 0 {
		return
	}
	group := errgroup.Group{}
	group.SetLimit(max(1, e.opts.Parallel))
	defer func() { _ = group.Wait() }()
	added, cancel := e.store.Subscribe(task.NewOutgoing)
	defer cancel()
	pace := e.pace()
	for ctx.Err() == nil {
		e.sending.Add(1)
		list, next, err := e.take(ctx)
		e.report(ctx, "take what is to be told", err)
		for _, o := range list {
			e.sending.Add(1)
			group.Go(func() error { e.send(ctx, o); return nil })
		}
		e.sending.Add(-1)
		if len(list) == e.opts.Parallel {
			continue
		}
		wait := pace.after(len(list) > 0)
		if !next.IsZero() { // of those that are known, none is sent late
			wait = max(e.opts.Poll, min(wait, next.Sub(e.now())))
		}
		select {
		case <-e.outbox:
		case <-added:
		case <-e.opts.Clock.After(wait):
		case <-ctx.Done():
		}
	}
}

// take gets what is to be sent now, and says when something is. It writes only
// when there is something.
func (e *Engine) take(ctx context.Context) (list []task.Outgoing, next time.Time, err error) {
	now := e.now()
	next, err = e.store.NextOutgoing(ctx)
	if err != nil || next.IsZero() || next.After(now) {
		return nil, next, err
	}
	list, err = e.store.TakeOutgoing(ctx, e.holder, now, now.Add(e.opts.Lease), e.opts.Parallel)
	return list, next, err
}

// send makes one attempt and settles it.
func (e *Engine) send(ctx context.Context, o task.Outgoing) {
	defer func() {
		e.wakeSender() // the next of its lane
		e.sending.Add(-1)
	}()
	result, err := e.attempt(ctx, o)
	if ctx.Err() != nil { // the attempt was cut short; another replica or the next Run makes it again
		return
	}
	crashpoint.Hit(crashpoint.TriggerSent)
	settleErr := e.store.SettleOutgoing(ctx, o.ID, e.holder, e.settlement(o, result, err))
	if settleErr != nil && !errors.Is(settleErr, task.ErrFenced) {
		e.report(ctx, "settle what was told", settleErr, zap.String("message", string(o.ID)))
	}
	e.opts.OnSent(o, err)
}

// attempt sends within the lease.
func (e *Engine) attempt(ctx context.Context, o task.Outgoing) ([]byte, error) {
	r, ok := e.senders[o.Kind]
	if !ok {
		return nil, fmt.Errorf("nothing here can send %q any more", o.Kind)
	}
	ctx, cancel := context.WithTimeout(ctx, e.opts.Lease*9/10)
	defer cancel()
	return r.Send(ctx, o)
}

func (e *Engine) settlement(o task.Outgoing, result []byte, err error) task.Settlement {
	if len(result) > task.MaxOutgoingResult {
		result = result[:task.MaxOutgoingResult]
	}
	if err == nil {
		return task.Settlement{State: task.OutgoingSent, Result: result}
	}
	now := e.now()
	s := task.Settlement{State: task.OutgoingWaiting, Reason: err.Error(), Result: result}
	wait := backoff(o.Attempts-1, firstRetry, maxRetry)
	wait += time.Duration((rand.Float64() - 0.5) * 0.4 * float64(wait))
	var later *Later
	if errors.As(err, &later) && later.After > 0 {
		wait = min(later.After, maxHint)
	}
	s.ReadyAt = now.Add(wait)
	var giveUp *GiveUp
	if errors.As(err, &giveUp) || s.ReadyAt.Sub(o.CreatedAt) > e.opts.Persistence && o.Attempts > 1 {
		s.State = task.OutgoingDead
	}
	return s
}

// trimEvery is how often old lines are removed.
const trimEvery = time.Hour

// trim removes what is older than is kept.
func (e *Engine) trim(ctx context.Context) {
	for ok := true; ok; ok = e.wait(ctx, trimEvery) {
		e.report(ctx, "remove what was told long ago", e.trimOutgoing(ctx))
		e.report(ctx, "remove what arrived long ago", e.trimDeliveries(ctx))
	}
}

const trimBatch = 1000

func (e *Engine) trimOutgoing(ctx context.Context) error {
	for ctx.Err() == nil {
		done, err := e.store.TrimOutgoing(ctx, e.now().Add(-e.opts.KeepOutgoing), trimBatch)
		if err != nil || done {
			return err
		}
	}
	return nil
}

// Sourcer is an Origin that knows its sources: their old deliveries are removed
// as Options say.
type Sourcer interface {
	Origin
	// Sources lists what deliveries may have arrived through.
	Sources(ctx context.Context) ([]string, error)
}

func (e *Engine) trimDeliveries(ctx context.Context) error {
	var errs []error
	for _, o := range e.origins {
		s, ok := o.(Sourcer)
		if !ok {
			continue
		}
		sources, err := s.Sources(ctx)
		errs = append(errs, err)
		for _, source := range sources {
			errs = append(errs, e.trimSource(ctx, source))
		}
	}
	return errors.Join(errs...)
}

func (e *Engine) trimSource(ctx context.Context, source string) error {
	for ctx.Err() == nil {
		done, err := e.store.TrimDeliveries(ctx, source, e.now().Add(-e.opts.KeepFor), e.opts.KeepDeliveries, trimBatch)
		if err != nil || done {
			return err
		}
	}
	return nil
}

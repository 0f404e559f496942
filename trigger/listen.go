package trigger

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/oz-platform/cloudagents/internal/crashpoint"
	"github.com/oz-platform/cloudagents/task"
)

// The record of how far the news were heard.
const (
	kindFeed = "trigger.feed"
	feedKey  = "heard"
)

// feedBatch is how many signals are heard at once.
const feedBatch = 200

// listen hears what happens to runs and writes down what is to be told of it.
func (e *Engine) listen(ctx context.Context) {
	if len(e.senders) == 0 && len(e.opts.Listeners) == 0 {
		return
	}
	changed, cancel := e.store.Subscribe(task.NewSignals)
	defer cancel()
	pace := e.pace()
	for ctx.Err() == nil {
		found := e.hearAll(ctx)
		select {
		case <-changed:
			e.wait(ctx, breather)
		case <-e.opts.Clock.After(pace.after(found)):
		case <-ctx.Done():
		}
	}
}

// breather is how long signals may gather before they are heard together.
const breather = 10 * time.Millisecond

// hearAll hears all that is new, and says whether there was any.
func (e *Engine) hearAll(ctx context.Context) (found bool) {
	for more := true; more && ctx.Err() == nil; {
		n, err := e.hear(ctx)
		if err != nil {
			e.report(ctx, "hear what happened to runs", err)
			return found
		}
		found, more = found || n > 0, n == feedBatch
	}
	return found
}

// hear takes one batch of signals. Replicas that take the same one write the
// same down, under the same keys.
func (e *Engine) hear(ctx context.Context) (heardNow int, err error) {
	signals, rec, err := e.unheard(ctx, feedBatch)
	if err != nil || len(signals) == 0 {
		return 0, err
	}
	for _, s := range signals {
		if s.Time.Before(e.since(rec)) {
			continue
		}
		if err := e.tellSignal(ctx, s); err != nil {
			return 0, err
		}
	}
	crashpoint.Hit(crashpoint.TriggerHeard)
	data := []byte(strconv.FormatInt(signals[len(signals)-1].Seq, 10))
	_, err = e.store.PutRecord(ctx, task.Record{Kind: kindFeed, Key: feedKey, Revision: rec.Revision, Data: data, UpdatedAt: e.now()})
	if errors.Is(err, task.ErrConflict) { // another replica was faster
		err = nil
	}
	return len(signals), err
}

// unheard gives the next signals, and the record of how far they were heard.
func (e *Engine) unheard(ctx context.Context, limit int) ([]task.Signal, task.Record, error) {
	rec, err := e.store.Record(ctx, kindFeed, feedKey)
	if err != nil && !errors.Is(err, task.ErrNotFound) {
		return nil, rec, err
	}
	after, err := heard(rec)
	if err != nil {
		return nil, rec, err
	}
	signals, err := e.store.Feed(ctx, after, limit)
	return signals, rec, err
}

// since is from when on news are told: whoever listens for the first time hears
// nothing of what happened long before.
func (e *Engine) since(rec task.Record) time.Time {
	if rec.Revision > 0 {
		return time.Time{}
	}
	return e.now().Add(-time.Hour)
}

func heard(rec task.Record) (int64, error) {
	if rec.Revision == 0 {
		return 0, nil
	}
	n, err := strconv.ParseInt(string(rec.Data), 10, 64)
	if err != nil {
		return 0, fmt.Errorf("read how far the news were heard: %w", err)
	}
	return n, nil
}

// tellSignal asks all who may tell of a signal.
func (e *Engine) tellSignal(ctx context.Context, s task.Signal) error {
	if len(e.opts.Listeners) == 0 && len(e.reporters) == 0 {
		return nil
	}
	t, err := e.host.Run(ctx, s.TaskID)
	if errors.Is(err, task.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	return e.Tell(ctx, News{Type: NewsSignal, Task: t, Owner: t.Owner, Signal: s, Key: fmt.Sprintf("signal %s %d", t.ID, s.Seq)})
}

// Tell writes down what is to be told of a run at its origin, and by all
// listeners; Run sends it. What was told under the same News.Key is not told
// again. Safe for concurrent use.
func (e *Engine) Tell(ctx context.Context, n News) error {
	if n.Task.Origin != nil {
		n.Origin = *n.Task.Origin
	}
	return e.spread(ctx, n)
}

// tell says that a delivery has made a run or spoken to one.
func (e *Engine) tell(ctx context.Context, d task.Delivery, s Start, what NewsType, id task.ID) error {
	t, err := e.host.Run(ctx, id)
	if errors.Is(err, task.ErrNotFound) { // it was removed since
		return nil
	}
	if err != nil {
		return err
	}
	return e.spread(ctx, News{Type: what, Task: t, Owner: t.Owner, Key: newsKey(d, s.Name), Delivery: d,
		Origin: task.Origin{Source: d.Source, Delivery: d.ID, Address: s.Address}})
}

// tellRefused says that a delivery makes no run.
func (e *Engine) tellRefused(ctx context.Context, d task.Delivery, s *Start, cause error) error {
	n := News{Type: NewsRefused, Owner: d.Owner, Key: newsKey(d, ""), Delivery: d, Err: cause, Origin: task.Origin{Source: d.Source, Delivery: d.ID}}
	if s != nil {
		n.Key, n.Origin.Address = newsKey(d, s.Name), s.Address
	}
	return e.spread(ctx, n)
}

func newsKey(d task.Delivery, name string) string {
	return strings.TrimSpace("delivery " + string(d.ID) + " " + name)
}

// spread writes down what the run's own reporter and all listeners have to tell.
func (e *Engine) spread(ctx context.Context, n News) error {
	var out []task.Outgoing
	name, _, _ := strings.Cut(n.Origin.Source, "/")
	reporters := e.opts.Listeners
	if own := e.reporters[name]; own != nil {
		if n.Task.ID != "" {
			list, err := e.todos(ctx, n.Task.ID)
			if err != nil {
				return err
			}
			n.Progress = list.Progress
		}
		reporters = append(reporters[:len(reporters):len(reporters)], own)
	}
	for _, r := range reporters {
		list, err := r.Report(ctx, n)
		if err != nil && !final(err) {
			return err
		}
		e.report(ctx, "tell of a run", err) // the others' news must not wait for it
		out = append(out, list...)
	}
	if len(out) == 0 {
		return nil
	}
	for i := range out {
		e.complete(&out[i], n)
	}
	if err := e.store.AddOutgoing(ctx, out...); err != nil {
		return fmt.Errorf("write down what is to be told: %w", err)
	}
	e.wakeSender()
	return nil
}

// complete fills in what reporters need not say.
func (e *Engine) complete(o *task.Outgoing, n News) {
	o.ID = cmp.Or(o.ID, task.NewOutgoingID())
	o.Source = cmp.Or(o.Source, n.Origin.Source, "run")
	if o.Owner.IsZero() {
		o.Owner = n.Owner
	}
	o.TaskID = cmp.Or(o.TaskID, n.Task.ID)
	if o.CreatedAt.IsZero() {
		o.CreatedAt = e.now()
	}
	if o.ReadyAt.IsZero() {
		o.ReadyAt = o.CreatedAt
	}
	o.State = task.OutgoingWaiting
}

// AddressOf reads where to answer into v. It reports false when there is
// nowhere.
func AddressOf(o task.Origin, v any) (bool, error) {
	if len(o.Address) == 0 {
		return false, nil
	}
	if err := json.Unmarshal(o.Address, v); err != nil {
		return false, fmt.Errorf("address of %s: %w", o.Source, err)
	}
	return true, nil
}

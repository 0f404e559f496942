// Package triggertest lets automations be tested with `go test`: a Rig is an
// engine with a real store and a host that makes real runs, which nobody
// carries out. Post what an origin would send, look at the runs that it makes,
// end them, and look at what is told.
package triggertest

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/oz-platform/cloudagents/task"
	"github.com/oz-platform/cloudagents/trigger"
)

// patience bounds what a Rig waits for.
const patience = 2 * time.Minute

// Rig is an engine under test. Its methods fail the test when something is
// wrong that the automation under test has no part in. Safe for concurrent use.
type Rig struct {
	tb testing.TB
	// Store is the engine's.
	Store Store
	// Host makes the runs.
	Host *Host
	// Engine runs since New.
	Engine *trigger.Engine

	ctx context.Context
}

// Store is what a Rig needs of a store; those of this module are such.
type Store interface {
	task.Store
	task.Inbox
	task.Outbox
}

// New starts an engine with origins on an empty store, which stops when the
// test ends. opts may be nil; what it does not set is as fast as a test wants
// it.
func New(tb testing.TB, store Store, origins []trigger.Origin, opts *trigger.Options) *Rig {
	tb.Helper()
	r := &Rig{tb: tb, Store: store, Host: &Host{Store: store}}
	r.start(origins, opts)
	return r
}

func (r *Rig) start(origins []trigger.Origin, opts *trigger.Options) {
	r.tb.Helper()
	var o trigger.Options
	if opts != nil {
		o = *opts
	}
	if o.Poll == 0 {
		o.Poll = 5 * time.Millisecond
	}
	if o.Grace == 0 {
		o.Grace = 20 * time.Millisecond
	}
	if o.Progress == 0 {
		o.Progress = 20 * time.Millisecond
	}
	if o.Clock != nil {
		r.Host.Clock = o.Clock
	}
	var err error
	if r.Engine, err = trigger.New(r.Store, r.Host, origins, &o); err != nil {
		r.tb.Fatalf("make the engine: %v", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	r.ctx = ctx
	done := make(chan error, 1)
	go func() { done <- r.Engine.Run(ctx) }()
	r.tb.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			r.tb.Errorf("run the engine: %v", err)
		}
	})
}

// Post sends a request to an origin, as it would arrive at
// /webhooks/<path>/<rest>, and gives the answer or the refusal.
func (r *Rig) Post(path, rest string, h http.Header, body []byte) (trigger.Reply, error) {
	if h == nil {
		h = http.Header{}
	}
	return r.Engine.Receive(r.ctx, path, trigger.Request{Path: rest, Header: h, Body: body})
}

// Decided waits until a delivery is decided, and gives it.
func (r *Rig) Decided(id task.DeliveryID) task.Delivery {
	r.tb.Helper()
	var d task.Delivery
	r.until("delivery "+string(id)+" is decided", func() bool {
		var err error
		if d, err = r.Store.Delivery(r.ctx, id); err != nil {
			r.tb.Fatalf("read delivery %s: %v", id, err)
		}
		return d.Outcome != ""
	})
	return d
}

// Settle waits until nothing waits to be decided, heard or sent: of messages,
// those that wait for another attempt do not count.
func (r *Rig) Settle() {
	r.tb.Helper()
	quiet := 0
	r.until("all is settled", func() bool {
		list, err := r.Store.Undecided(r.ctx, time.Now().Add(24*time.Hour), 1)
		if err != nil {
			r.tb.Fatalf("look for deliveries: %v", err)
		}
		ok, err := r.Engine.Quiet(r.ctx)
		if err != nil {
			r.tb.Fatalf("look what waits: %v", err)
		}
		next, err := r.Store.NextOutgoing(r.ctx)
		if err != nil {
			r.tb.Fatalf("look for messages: %v", err)
		}
		if len(list) > 0 || !ok || !next.IsZero() && next.Before(time.Now().Add(time.Second)) {
			quiet = 0
			return false
		}
		quiet++
		return quiet > 3 // of several engines, each has sent what it took
	})
}

// Runs gives all runs, the oldest first.
func (r *Rig) Runs() []task.Task {
	r.tb.Helper()
	var runs []task.Task
	for q := (task.Query{Sort: task.SortCreatedAt, Asc: true, Limit: task.MaxPageSize}); ; {
		page, err := r.Store.List(r.ctx, q)
		if err != nil {
			r.tb.Fatalf("list runs: %v", err)
		}
		runs = append(runs, page.Tasks...)
		if q.After = page.Next; q.After == nil {
			return runs
		}
	}
}

// Inputs gives what a run was told, its prompt first.
func (r *Rig) Inputs(id task.ID) []task.Input {
	r.tb.Helper()
	list, err := r.Host.inputs(r.ctx, id, 0)
	if err != nil {
		r.tb.Fatalf("read run %s: %v", id, err)
	}
	return list
}

// Finish carries a run out, as a worker would: it begins and ends in a state.
func (r *Rig) Finish(id task.ID, s task.State, status task.Status) {
	r.tb.Helper()
	r.Begin(id)
	t, err := r.Store.Get(r.ctx, id)
	if err != nil {
		r.tb.Fatalf("read run %s: %v", id, err)
	}
	end := task.End{Execution: t.Execution, State: s, Status: status, SeenInput: t.LastInput}
	if _, err := r.Store.Do(r.ctx, id, end); err != nil {
		r.tb.Fatalf("end run %s: %v", id, err)
	}
}

// Note says something of a run before its end, as its agent may; key tells it
// from others of the run.
func (r *Rig) Note(id task.ID, key, text string) {
	r.tb.Helper()
	t, err := r.Store.Get(r.ctx, id)
	if err == nil {
		err = r.Engine.Tell(r.ctx, trigger.News{Type: trigger.NewsNote, Task: t, Owner: t.Owner, Key: fmt.Sprintf("note %s %s", id, key), Note: text})
	}
	if err != nil {
		r.tb.Fatalf("make a note of run %s: %v", id, err)
	}
}

// Todos replaces the task list of a run that has begun, as its agent may. What is
// told of it comes at most once in each trigger.Options.Progress.
func (r *Rig) Todos(id task.ID, list ...task.Todo) {
	r.tb.Helper()
	t, err := r.Store.Get(r.ctx, id)
	if err != nil {
		r.tb.Fatalf("read run %s: %v", id, err)
	}
	x, err := r.Store.Execution(r.ctx, t.Execution)
	if err != nil {
		r.tb.Fatalf("read the execution of run %s: %v", id, err)
	}
	event := task.Event{Time: time.Now().UTC(), Payload: &task.Todos{Items: list}}
	head, err := r.Store.Do(r.ctx, id, task.Append{Execution: x.ID, Offset: x.Appended, Events: []task.Event{event}})
	if err == nil {
		err = r.Engine.Progress(r.ctx, t, head.LastSeq, list)
	}
	if err != nil {
		r.tb.Fatalf("change the task list of run %s: %v", id, err)
	}
}

// Begin lets a worker begin a run that waits. One that it has begun stays.
func (r *Rig) Begin(id task.ID) {
	r.tb.Helper()
	t, err := r.Store.Get(r.ctx, id)
	if err != nil {
		r.tb.Fatalf("read run %s: %v", id, err)
	}
	if t.State == task.StateInProgress {
		return
	}
	x, lease := task.NewExecutionID(), time.Now().Add(time.Hour)
	for _, c := range []task.Command{task.Offer{Execution: x, Worker: "triggertest", LeaseUntil: lease}, task.Accept{Execution: x, LeaseUntil: lease}, task.Begin{Execution: x}} {
		if _, err := r.Store.Do(r.ctx, id, c); err != nil {
			r.tb.Fatalf("begin run %s: %v", id, err)
		}
	}
}

// until waits for a condition.
func (r *Rig) until(what string, met func() bool) {
	r.tb.Helper()
	for end := time.Now().Add(patience); !met(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			r.tb.Fatalf("waited %s in vain until %s", patience, what)
		}
	}
}

// Host makes runs in a store: a trigger.Host without a platform.
type Host struct {
	// Store keeps the runs.
	Store task.Store
	// Clock tells the time. Default: the machine's.
	Clock task.Clock

	mu     sync.Mutex
	refuse func(trigger.Start) error
	stop   func() error
	starts map[task.ID]trigger.Start
}

// Compile-time proof that it is a host.
var _ trigger.Host = (*Host)(nil)

// Refuse lets f judge every further start; nil lets all be made.
func (h *Host) Refuse(f func(trigger.Start) error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.refuse = f
}

// RefuseStop lets f judge every further stop; nil lets all be done.
func (h *Host) RefuseStop(f func() error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.stop = f
}

// Started is what a run was made of.
func (h *Host) Started(id task.ID) (trigger.Start, bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	s, ok := h.starts[id]
	return s, ok
}

// Start implements trigger.Host.
func (h *Host) Start(ctx context.Context, id task.ID, s trigger.Start, from task.Origin) error {
	h.mu.Lock()
	refuse := h.refuse
	h.mu.Unlock()
	if refuse != nil {
		if err := refuse(s); err != nil {
			return err
		}
	}
	now := time.Now()
	if h.Clock != nil {
		now = h.Clock.Now()
	}
	spec := task.Spec{Title: s.Title, Prompt: s.Prompt, Mode: s.Mode, Owner: s.Owner, Creator: s.Creator, Config: s.Config,
		Metadata: s.Metadata, TriggerURL: s.URL, Origin: &from, ConversationID: string(id)}
	_, _, err := h.Store.Create(ctx, task.Creation{ID: id, Spec: spec, From: s.Kind, Now: now})
	if errors.Is(err, task.ErrConflict) {
		_, err = h.Store.Get(ctx, id)
	}
	if err != nil {
		return err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.starts == nil {
		h.starts = map[task.ID]trigger.Start{}
	}
	h.starts[id] = s
	return nil
}

// Run implements trigger.Host.
func (h *Host) Run(ctx context.Context, id task.ID) (task.Task, error) { return h.Store.Get(ctx, id) }

// GoOn implements trigger.Host.
func (h *Host) GoOn(ctx context.Context, id task.ID, s trigger.Start, key string, last int64) error {
	in := task.Input{Text: s.Message, From: s.Creator, Key: key}
	if s.Answer != nil {
		t, err := h.Store.Get(ctx, id)
		if err != nil {
			return err
		}
		q, err := s.Answer.Open(t)
		if err != nil {
			return err
		}
		in.Question, in.Choice = q.ID, s.Answer.Choice
	}
	_, err := h.Store.Do(ctx, id, task.AddInput{Input: in, Last: &last})
	return err
}

// Stop implements trigger.Host.
func (h *Host) Stop(ctx context.Context, id task.ID, s trigger.Start) error {
	h.mu.Lock()
	stop := h.stop
	h.mu.Unlock()
	if stop != nil {
		if err := stop(); err != nil {
			return err
		}
	}
	_, err := h.Store.Do(ctx, id, task.Cancel{By: s.Creator, Reason: "stopped"})
	if err == nil {
		return nil
	}
	if t, lookErr := h.Store.Get(ctx, id); lookErr == nil && t.State.Ended() {
		return nil
	}
	return err
}

// Said implements trigger.Host.
func (h *Host) Said(ctx context.Context, id task.ID, key string, after int64) (bool, error) {
	list, err := h.inputs(ctx, id, after)
	if err != nil {
		return false, err
	}
	for _, in := range list {
		if in.Key == key {
			return true, nil
		}
	}
	return false, nil
}

func (h *Host) inputs(ctx context.Context, id task.ID, after int64) ([]task.Input, error) {
	var list []task.Input
	for {
		events, err := h.Store.Events(ctx, id, after, 500)
		if err != nil {
			return nil, fmt.Errorf("read the log of run %s: %w", id, err)
		}
		if len(events) == 0 {
			return list, nil
		}
		for _, ev := range events {
			if in, ok := ev.Payload.(*task.Input); ok {
				list = append(list, *in)
			}
			after = ev.Seq
		}
	}
}

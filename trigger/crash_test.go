package trigger_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"testing"
	"time"

	"gotest.tools/v3/assert"

	"github.com/oz-platform/cloudagents/task"
	"github.com/oz-platform/cloudagents/trigger"
	"github.com/oz-platform/cloudagents/trigger/triggertest"
)

var errDead = errors.New("the process is dead")

// mortal lets a process die at its nth step: from then on nothing of it reaches
// the store, the host or the outside. After says whether the step itself was
// still done.
type mortal struct {
	mu    sync.Mutex
	left  int
	after bool
	died  chan struct{}
}

func (m *mortal) step(do func() error) error {
	m.mu.Lock()
	if m.left <= 0 {
		m.mu.Unlock()
		return errDead
	}
	m.left--
	last := m.left == 0
	m.mu.Unlock()
	if !last {
		return do()
	}
	defer close(m.died)
	if m.after {
		_ = do()
	}
	return errDead
}

func stepped[T any](m *mortal, do func() (T, error)) (v T, err error) {
	err = m.step(func() error { v, err = do(); return err })
	if errors.Is(err, errDead) {
		var none T
		return none, err
	}
	return v, err
}

type mortalStore struct {
	trigger.Store
	m *mortal
}

func (s mortalStore) Receive(ctx context.Context, d task.Delivery) (task.Delivery, error) {
	return stepped(s.m, func() (task.Delivery, error) { return s.Store.Receive(ctx, d) })
}

func (s mortalStore) Decide(ctx context.Context, id task.DeliveryID, v task.Verdict) (task.Delivery, error) {
	return stepped(s.m, func() (task.Delivery, error) { return s.Store.Decide(ctx, id, v) })
}

func (s mortalStore) Review(ctx context.Context, id task.DeliveryID, r task.Review) (task.Delivery, error) {
	return stepped(s.m, func() (task.Delivery, error) { return s.Store.Review(ctx, id, r) })
}

func (s mortalStore) PutOff(ctx context.Context, id task.DeliveryID, until time.Time, reason string) error {
	return s.m.step(func() error { return s.Store.PutOff(ctx, id, until, reason) })
}

func (s mortalStore) PutRecord(ctx context.Context, r task.Record) (int64, error) {
	return stepped(s.m, func() (int64, error) { return s.Store.PutRecord(ctx, r) })
}

func (s mortalStore) AddOutgoing(ctx context.Context, list ...task.Outgoing) error {
	return s.m.step(func() error { return s.Store.AddOutgoing(ctx, list...) })
}

func (s mortalStore) SettleOutgoing(ctx context.Context, id task.OutgoingID, holder string, x task.Settlement) error {
	return s.m.step(func() error { return s.Store.SettleOutgoing(ctx, id, holder, x) })
}

type mortalHost struct {
	trigger.Host
	m *mortal
}

func (h mortalHost) Start(ctx context.Context, id task.ID, s trigger.Start, from task.Origin) error {
	return h.m.step(func() error { return h.Host.Start(ctx, id, s, from) })
}

func (h mortalHost) GoOn(ctx context.Context, id task.ID, s trigger.Start, key string, last int64) error {
	return h.m.step(func() error { return h.Host.GoOn(ctx, id, s, key, last) })
}

// mortalChat can find out what has arrived, as the origins can that keep our
// mark in what they are told.
type mortalChat struct {
	*chat
	m    *mortal
	keys map[string]bool
}

func (c mortalChat) Send(ctx context.Context, o task.Outgoing) ([]byte, error) {
	return stepped(c.m, func() ([]byte, error) { return sendOnce(ctx, c.chat, c.keys, o) })
}

func sendOnce(ctx context.Context, c *chat, keys map[string]bool, o task.Outgoing) ([]byte, error) {
	c.mu.Lock()
	known := keys[o.Key]
	keys[o.Key] = true
	c.mu.Unlock()
	if known && o.Attempts > 1 {
		return nil, nil
	}
	return c.Send(ctx, o)
}

// TestKilledBetweenAnyTwoSteps lets a process die before and after each of its
// writes while two events about one thing and one about nothing arrive. A
// second one then goes on. All is done once.
func TestKilledBetweenAnyTwoSteps(t *testing.T) {
	for _, after := range []bool{false, true} {
		for step := 1; ; step++ {
			m := &mortal{left: step, after: after, died: make(chan struct{})}
			if !killedAt(t, m) {
				assert.Assert(t, step > 12, "only %d steps", step)
				break
			}
		}
	}
}

// killedAt reports whether the process came to its last step.
func killedAt(t *testing.T, m *mortal) (died bool) {
	name := fmt.Sprintf("step %d, after %t", m.left, m.after)
	c, keys := &chat{}, map[string]bool{}
	survivor := survivorChat{c, keys}
	r := triggertest.New(t, newStore(t), nil, &trigger.Options{Poll: time.Hour}) // its engine does nothing
	opts := trigger.Options{Poll: 2 * time.Millisecond, Grace: 5 * time.Millisecond, Lease: 100 * time.Millisecond}
	first, err := trigger.New(mortalStore{r.Store, m}, mortalHost{r.Host, m}, []trigger.Origin{mortalChat{c, m, keys}}, &opts)
	assert.NilError(t, err)
	stop := running(t, first)

	events := []message{{ID: "1", Thread: "a", Text: "one"}, {ID: "2", Thread: "a", Text: "two"}, {ID: "3", Text: "alone"}}
	for _, ev := range events {
		_ = send(t.Context(), first, ev)
	}
	died = diesBeforeAllIsDone(t, first, r.Store, m)
	stop()
	second, err := trigger.New(r.Store, r.Host, []trigger.Origin{survivor}, &opts)
	assert.NilError(t, err)
	stop = running(t, second)
	for _, ev := range events { // the origin got no answer, or is not sure
		assert.NilError(t, send(t.Context(), second, ev), name)
	}
	r.Settle()
	stop()

	runs := r.Runs()
	assert.Equal(t, len(runs), 2, name)
	said := 0
	for _, run := range runs {
		said += len(r.Inputs(run.ID))
	}
	assert.Equal(t, said, 3, name)
	told := map[string]int{}
	for _, what := range c.told() {
		told[what]++
	}
	assert.DeepEqual(t, told, map[string]int{"a started": 1, "a continued": 1, " started": 1})
	return died
}

// diesBeforeAllIsDone waits for the one or the other.
func diesBeforeAllIsDone(t *testing.T, e *trigger.Engine, store triggertest.Store, m *mortal) bool {
	for {
		select {
		case <-m.died:
			return true
		case <-time.After(2 * time.Millisecond):
		}
		waiting, err := store.Undecided(t.Context(), time.Now().Add(time.Hour), 1)
		assert.NilError(t, err)
		if quiet, err := e.Quiet(t.Context()); err == nil && quiet && len(waiting) == 0 {
			return false
		}
	}
}

type survivorChat struct {
	*chat
	keys map[string]bool
}

func (c survivorChat) Send(ctx context.Context, o task.Outgoing) ([]byte, error) {
	return sendOnce(ctx, c.chat, c.keys, o)
}

func send(ctx context.Context, e *trigger.Engine, m message) error {
	body, err := json.Marshal(m)
	if err != nil {
		return err
	}
	_, err = e.Receive(ctx, "c", trigger.Request{Path: "room", Header: http.Header{"Word": {"sesame"}}, Body: body})
	return err
}

// running lets an engine run until stop is called.
func running(t *testing.T, e *trigger.Engine) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- e.Run(ctx) }()
	return func() { cancel(); assert.NilError(t, <-done) }
}

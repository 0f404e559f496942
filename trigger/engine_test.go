package trigger_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sync/errgroup"
	"gotest.tools/v3/assert"

	"github.com/oz-platform/cloudagents/task"
	"github.com/oz-platform/cloudagents/task/sqlitestore"
	"github.com/oz-platform/cloudagents/trigger"
	"github.com/oz-platform/cloudagents/trigger/triggertest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var team = task.Scope{Type: task.ScopeTeam, UID: "red"}

// message is the body of a chat's events.
type message struct {
	ID, Thread, Text string
	Bot              bool
}

// chat is an origin with threads: whoever knows the word may speak.
type chat struct {
	mu   sync.Mutex
	sent []string
	fail func(o task.Outgoing) error
}

func (*chat) Info() trigger.Info { return trigger.Info{Name: "chat", Path: "c", MaxBody: 1000} }

func (*chat) Accept(_ context.Context, r trigger.Request) (trigger.Arrival, error) {
	a := trigger.Arrival{Source: "chat/" + r.Path, Owner: team, PerMinute: 100_000}
	if r.Header.Get("Word") != "sesame" {
		return a, task.Errorf(task.CodeAuthenticationRequired, "wrong word")
	}
	if len(r.Body) == 0 {
		return trigger.Arrival{Reply: &trigger.Reply{Status: 200, Body: []byte("hello")}}, nil
	}
	var m message
	if err := json.Unmarshal(r.Body, &m); err != nil {
		return a, task.Invalid("body", "is not JSON: %w", err)
	}
	a.Key, a.Event, a.Header = m.ID, "message", map[string]string{"path": r.Path}
	return a, nil
}

func (*chat) Plan(_ context.Context, d task.Delivery) (trigger.Plan, error) {
	var m message
	if err := json.Unmarshal(d.Body, &m); err != nil {
		return trigger.Plan{}, err
	}
	h, err := trigger.HeaderOf(d)
	if err != nil {
		return trigger.Plan{}, err
	}
	if m.Bot && h.ApprovedBy == (task.Principal{}) {
		return trigger.Plan{Held: true, Reason: "bots start nothing"}, nil
	}
	if m.Text == "" {
		return trigger.Plan{Reason: "says nothing"}, nil
	}
	address, err := json.Marshal(m.Thread)
	s := trigger.Start{Owner: team, Kind: task.SourceSlack, Title: "chat", Prompt: m.Text, Message: m.Text, Address: address}
	if m.Thread != "" {
		s.Entity = "chat/" + m.Thread
	}
	return trigger.Plan{Starts: []trigger.Start{s}}, err
}

func (*chat) Report(_ context.Context, n trigger.News) ([]task.Outgoing, error) {
	var thread string
	if ok, err := trigger.AddressOf(n.Origin, &thread); !ok || err != nil {
		return nil, err
	}
	text := string(n.Type)
	if n.Type == trigger.NewsSignal {
		text = string(n.Signal.Type)
	}
	if n.Type == trigger.NewsProgress {
		text = fmt.Sprintf("progress %d/%d", n.Progress.Done, n.Progress.All)
	}
	return []task.Outgoing{{Key: n.Key, Lane: "chat " + thread, Kind: "chat", Body: []byte(thread + " " + text)}}, nil
}

func (*chat) Kinds() []string { return []string{"chat"} }

func (c *chat) Send(_ context.Context, o task.Outgoing) ([]byte, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.fail != nil {
		if err := c.fail(o); err != nil {
			return nil, err
		}
	}
	c.sent = append(c.sent, string(o.Body))
	return []byte("ok"), nil
}

func (c *chat) told() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return append([]string(nil), c.sent...)
}

func post(t testing.TB, r *triggertest.Rig, m message) trigger.Reply {
	t.Helper()
	body, err := json.Marshal(m)
	assert.NilError(t, err)
	reply, err := r.Post("c", "room", http.Header{"Word": {"sesame"}}, body)
	assert.NilError(t, err)
	return reply
}

func newRig(t testing.TB, c *chat) *triggertest.Rig {
	t.Helper()
	return triggertest.New(t, newStore(t), []trigger.Origin{c}, nil)
}

// newStore is an empty one, in memory where there is such a thing.
func newStore(t testing.TB) *sqlitestore.Store {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "oz-trigger-")
	if err != nil {
		dir = t.TempDir()
	}
	store, err := sqlitestore.Open(context.Background(), filepath.Join(dir, "oz.db"), nil)
	assert.NilError(t, err)
	t.Cleanup(func() {
		assert.Check(t, store.Close())
		assert.Check(t, os.RemoveAll(dir))
	})
	return store
}

func TestDeliveryMakesOneRunAndIsAnswered(t *testing.T) {
	c := &chat{}
	r := newRig(t, c)
	first := post(t, r, message{ID: "1", Thread: "a", Text: "mend it"})
	assert.Equal(t, first.Status, 202)
	var body struct {
		ID task.DeliveryID `json:"delivery_id"`
	}
	assert.NilError(t, json.Unmarshal(first.Body, &body))
	assert.Equal(t, body.ID, first.Delivery)

	d := r.Decided(first.Delivery)
	assert.Equal(t, d.Outcome, task.OutcomeStarted)
	runs := r.Runs()
	assert.Equal(t, len(runs), 1)
	assert.DeepEqual(t, d.Runs, []task.ID{runs[0].ID})
	assert.Equal(t, runs[0].ID, trigger.RunID(d, ""))
	assert.Equal(t, runs[0].Source, task.SourceSlack)
	assert.Equal(t, runs[0].Origin.Delivery, d.ID)

	again := r.Decided(post(t, r, message{ID: "1", Thread: "a", Text: "mend it"}).Delivery)
	assert.Equal(t, again.Outcome, task.OutcomeDuplicate)
	assert.Equal(t, again.RepeatOf, d.ID)
	r.Finish(runs[0].ID, task.StateSucceeded, task.Status{Message: "done"})
	r.Settle()
	assert.DeepEqual(t, c.told(), []string{"a started", "a run_in_progress", "a run_succeeded"})
	assert.Equal(t, len(r.Runs()), 1)
}

func TestEventsAboutOneThingMakeOneRun(t *testing.T) {
	r := newRig(t, &chat{})
	r.Decided(post(t, r, message{ID: "1", Thread: "a", Text: "one"}).Delivery)
	d := r.Decided(post(t, r, message{ID: "2", Thread: "a", Text: "two"}).Delivery)
	assert.Equal(t, d.Outcome, task.OutcomeContinued)
	r.Decided(post(t, r, message{ID: "3", Thread: "b", Text: "three"}).Delivery)
	runs := r.Runs()
	assert.Equal(t, len(runs), 2)
	assert.DeepEqual(t, texts(r.Inputs(runs[0].ID)), []string{"one", "two"})

	r.Finish(runs[0].ID, task.StateSucceeded, task.Status{})
	d = r.Decided(post(t, r, message{ID: "4", Thread: "a", Text: "four"}).Delivery)
	assert.Equal(t, d.Outcome, task.OutcomeContinued, "an ended run goes on")
	assert.DeepEqual(t, d.Runs, []task.ID{runs[0].ID})
}

func texts(list []task.Input) (out []string) {
	for _, in := range list {
		out = append(out, in.Text)
	}
	return out
}

func TestManyEventsAboutOneThingAtOnce(t *testing.T) {
	r := newRig(t, &chat{})
	const n = 40
	var group errgroup.Group
	for i := range n {
		group.Go(func() error {
			post(t, r, message{ID: fmt.Sprint(i), Thread: "a", Text: fmt.Sprint("m", i)})
			return nil
		})
	}
	assert.NilError(t, group.Wait())
	r.Settle()
	runs := r.Runs()
	assert.Equal(t, len(runs), 1)
	seen := map[string]bool{}
	for _, text := range texts(r.Inputs(runs[0].ID)) {
		assert.Assert(t, !seen[text], "%s was said twice", text)
		seen[text] = true
	}
	assert.Equal(t, len(seen), n)
}

func TestRefusedArrivalsLeaveALine(t *testing.T) {
	r := newRig(t, &chat{})
	_, err := r.Post("c", "room", nil, []byte(`{"ID":"1","Text":"x"}`))
	assert.Equal(t, task.CodeOf(err), task.CodeAuthenticationRequired)
	_, err = r.Post("c", "room", http.Header{"Word": {"sesame"}}, []byte(`{`))
	assert.ErrorIs(t, err, task.ErrInvalid)
	_, err = r.Post("nowhere", "room", nil, nil)
	assert.ErrorIs(t, err, task.ErrNotFound)
	hello, err := r.Post("c", "room", http.Header{"Word": {"sesame"}}, nil)
	assert.NilError(t, err)
	assert.Equal(t, string(hello.Body), "hello")

	list, err := r.Store.Deliveries(t.Context(), task.DeliveryQuery{Source: "chat/room", Limit: 10})
	assert.NilError(t, err)
	assert.Equal(t, len(list), 2)
	for _, d := range list {
		assert.Equal(t, d.Outcome, task.OutcomeRejected)
		assert.Assert(t, d.Size > 0)
	}
	assert.Equal(t, len(r.Runs()), 0)
}

func TestHeldDeliveriesWaitForAPerson(t *testing.T) {
	r := newRig(t, &chat{})
	d := r.Decided(post(t, r, message{ID: "1", Text: "x", Bot: true}).Delivery)
	assert.Equal(t, d.Outcome, task.OutcomeHeld)
	assert.Equal(t, len(r.Runs()), 0)
	by := task.Principal{Type: task.PrincipalUser, UID: "ann"}
	let, err := r.Engine.Approve(t.Context(), d.ID, by)
	assert.NilError(t, err)
	assert.Equal(t, r.Decided(let.ID).Outcome, task.OutcomeStarted)
	twice, err := r.Engine.Approve(t.Context(), d.ID, by)
	assert.NilError(t, err)
	assert.Equal(t, twice.ID, let.ID)
	assert.Equal(t, twice.Outcome, task.OutcomeStarted)
	held, err := r.Store.Delivery(t.Context(), d.ID)
	assert.NilError(t, err)
	assert.Equal(t, held.Outcome, task.OutcomeReleased)
	assert.Assert(t, strings.Contains(held.Reason, "let through by ann as delivery "+string(let.ID)), held.Reason)
	assert.Equal(t, len(r.Runs()), 1)

	_, err = r.Engine.Approve(t.Context(), let.ID, by)
	assert.ErrorIs(t, err, task.ErrConflict)
	again, err := r.Engine.Repeat(t.Context(), let.ID)
	assert.NilError(t, err)
	assert.Equal(t, r.Decided(again.ID).Outcome, task.OutcomeStarted)
	assert.Equal(t, len(r.Runs()), 2)
	_, plan, err := r.Engine.Rehearse(t.Context(), d.ID)
	assert.NilError(t, err)
	assert.Assert(t, plan.Held)
	assert.Equal(t, len(r.Runs()), 2)
}

// TestHeldDeliveriesAreTurnedDown: that starts nothing, stays, and is refused
// once a delivery was let through.
func TestHeldDeliveriesAreTurnedDown(t *testing.T) {
	r := newRig(t, &chat{})
	by := task.Principal{Type: task.PrincipalUser, UID: "ann", DisplayName: "Ann"}
	d := r.Decided(post(t, r, message{ID: "1", Text: "x", Bot: true}).Delivery)
	for _, bad := range []string{strings.Repeat("x", trigger.MaxReviewReason+1), "a\x00b", "\xff"} {
		_, err := r.Engine.Decline(t.Context(), d.ID, by, bad)
		assert.ErrorIs(t, err, task.ErrInvalid)
		assert.ErrorContains(t, err, "reason")
	}
	got, err := r.Engine.Decline(t.Context(), d.ID, by, "an advertisement")
	assert.NilError(t, err)
	assert.Equal(t, got.Outcome, task.OutcomeDeclined)
	assert.Assert(t, strings.HasPrefix(got.Reason, "turned down by Ann: an advertisement ("), got.Reason)
	again, err := r.Engine.Decline(t.Context(), d.ID, by, "for another reason")
	assert.NilError(t, err)
	assert.DeepEqual(t, again, got)
	_, err = r.Engine.Approve(t.Context(), d.ID, by)
	assert.ErrorIs(t, err, task.ErrConflict)
	assert.Equal(t, r.Decided(post(t, r, message{ID: "1", Text: "x", Bot: true}).Delivery).Outcome, task.OutcomeDuplicate)
	repeated, err := r.Engine.Repeat(t.Context(), d.ID)
	assert.NilError(t, err)
	assert.Equal(t, r.Decided(repeated.ID).Outcome, task.OutcomeHeld, "who repeats it is asked again")
	assert.Equal(t, len(r.Runs()), 0)

	let, err := r.Engine.Approve(t.Context(), repeated.ID, by)
	assert.NilError(t, err)
	assert.Equal(t, r.Decided(let.ID).Outcome, task.OutcomeStarted)
	for _, id := range []task.DeliveryID{repeated.ID, let.ID} {
		_, err = r.Engine.Decline(t.Context(), id, by, "")
		assert.ErrorIs(t, err, task.ErrConflict)
	}
	_, err = r.Engine.Decline(t.Context(), "nothing", by, "")
	assert.ErrorIs(t, err, task.ErrNotFound)
	assert.Equal(t, len(r.Runs()), 1)
}

func TestStartsThatCannotBeMade(t *testing.T) {
	c := &chat{}
	r := newRig(t, c)
	r.Host.Refuse(func(trigger.Start) error { return task.Errorf(task.CodeNotFound, "the environment is gone") })
	d := r.Decided(post(t, r, message{ID: "1", Thread: "a", Text: "x"}).Delivery)
	assert.Equal(t, d.Outcome, task.OutcomeFailed)
	assert.Assert(t, d.Reason != "")
	var mu sync.Mutex
	tries := 0
	r.Host.Refuse(func(trigger.Start) error {
		mu.Lock()
		defer mu.Unlock()
		if tries++; tries < 2 {
			return task.Errorf(task.CodeResourceUnavailable, "full")
		}
		return nil
	})
	d = r.Decided(post(t, r, message{ID: "2", Thread: "a", Text: "y"}).Delivery)
	assert.Equal(t, d.Outcome, task.OutcomeStarted, "a start that was refused for now is made later")
	r.Settle()
	assert.DeepEqual(t, c.told(), []string{"a refused", "a started"})
}

func TestWhatIsToldIsTriedAgainInOrder(t *testing.T) {
	tries := map[string]int{}
	c := &chat{}
	c.fail = func(o task.Outgoing) error {
		if tries[o.Key]++; tries[o.Key] == 1 {
			return &trigger.Later{After: 20 * time.Millisecond, Err: errors.New("busy")}
		}
		return nil
	}
	r := newRig(t, c)
	r.Decided(post(t, r, message{ID: "1", Thread: "a", Text: "x"}).Delivery)
	r.Finish(r.Runs()[0].ID, task.StateFailed, task.Status{Message: "m", ErrorCode: task.CodeNotFound})
	r.Settle()
	assert.DeepEqual(t, c.told(), []string{"a started", "a run_in_progress", "a run_failed"})

	c.mu.Lock()
	c.fail = func(task.Outgoing) error { return &trigger.GiveUp{Err: errors.New("the channel is gone")} }
	c.mu.Unlock()
	r.Decided(post(t, r, message{ID: "2", Thread: "b", Text: "x"}).Delivery)
	r.Settle()
	dead, err := r.Store.Outgoings(t.Context(), task.OutgoingQuery{Source: "chat/room", States: []task.OutgoingState{task.OutgoingDead}, Limit: 10})
	assert.NilError(t, err)
	assert.Equal(t, len(dead), 1)
	assert.Equal(t, dead[0].Reason, "the channel is gone")
}

// TestTenThousandDeliveries sends 10,000 events one to five times each, at once,
// to two replicas (see platform.md's faults of triggers).
func TestTenThousandDeliveries(t *testing.T) {
	n := 10_000
	if testing.Short() {
		n = 500
	}
	c := &chat{}
	r := newRig(t, c)
	two, err := trigger.New(r.Store, r.Host, []trigger.Origin{c}, &trigger.Options{Poll: 5 * time.Millisecond})
	assert.NilError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- two.Run(ctx) }()
	defer func() { cancel(); assert.NilError(t, <-done) }()

	engines := []*trigger.Engine{r.Engine, two}
	group := errgroup.Group{}
	group.SetLimit(64)
	for i := range n {
		body := []byte(fmt.Sprintf(`{"ID":"%d","Text":"x"}`, i))
		for range 1 + rand.IntN(5) {
			e := engines[rand.IntN(2)]
			group.Go(func() error {
				_, err := e.Receive(ctx, "c", trigger.Request{Path: "room", Header: http.Header{"Word": {"sesame"}}, Body: body})
				return err
			})
		}
	}
	assert.NilError(t, group.Wait())
	r.Settle()
	assert.Equal(t, len(r.Runs()), n)
}

// TestTheStoreWakesTheEngine: with hours between two looks, what is put off and
// what happens to runs is still told at once, of other replicas too.
func TestTheStoreWakesTheEngine(t *testing.T) {
	c := &chat{}
	c.fail = func(o task.Outgoing) error { return nil }
	store := newStore(t)
	r := triggertest.New(t, store, []trigger.Origin{c}, &trigger.Options{Poll: time.Hour, Grace: time.Hour})
	tries := make(chan struct{}, 10)
	r.Host.Refuse(func(trigger.Start) error {
		if tries <- struct{}{}; len(tries) < 2 {
			return task.Errorf(task.CodeResourceUnavailable, "full")
		}
		return nil
	})
	d := r.Decided(post(t, r, message{ID: "1", Thread: "a", Text: "x"}).Delivery)
	assert.Equal(t, d.Outcome, task.OutcomeStarted)
	r.Finish(d.Runs[0], task.StateSucceeded, task.Status{})
	// Another replica has written this down and died.
	assert.NilError(t, store.AddOutgoing(t.Context(), task.Outgoing{ID: task.NewOutgoingID(), Key: "left", Kind: "chat", Source: "chat/room",
		Lane: "chat a", Body: []byte("left by another"), CreatedAt: time.Now(), ReadyAt: time.Now()}))
	r.Settle()
	told := c.told()
	assert.Equal(t, len(told), 4, "%v", told)
	for _, want := range []string{"a started", "a run_in_progress", "a run_succeeded", "left by another"} {
		assert.Assert(t, slices.Contains(told, want), "%v lacks %s", told, want)
	}
}

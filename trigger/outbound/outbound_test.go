package outbound_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	"gotest.tools/v3/assert"

	"github.com/oz-platform/cloudagents/secrets/sealed"
	"github.com/oz-platform/cloudagents/task"
	"github.com/oz-platform/cloudagents/task/sqlitestore"
	"github.com/oz-platform/cloudagents/trigger"
	"github.com/oz-platform/cloudagents/trigger/outbound"
	"github.com/oz-platform/cloudagents/trigger/triggertest"
	"github.com/oz-platform/cloudagents/trigger/webhook"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var team = task.Scope{Type: task.ScopeTeam, UID: "red"}

// receiver is a program that gets what is told, and checks every signature.
type receiver struct {
	*httptest.Server
	t *testing.T

	mu     sync.Mutex
	secret []byte
	got    []string // type and run, in order
	ids    map[string]int
	answer func(n int) (status int, h http.Header)
}

func newReceiver(t *testing.T) *receiver {
	r := &receiver{t: t, ids: map[string]int{}, answer: func(int) (int, http.Header) { return 204, nil }}
	r.Server = httptest.NewServer(http.HandlerFunc(r.serve))
	t.Cleanup(r.Close)
	return r
}

func (r *receiver) serve(w http.ResponseWriter, req *http.Request) {
	body, err := io.ReadAll(req.Body)
	assert.Check(r.t, err)
	r.mu.Lock()
	defer r.mu.Unlock()
	assert.Check(r.t, webhook.StandardWebhook.Verify(r.secret, req.Header, body, time.Now()))
	r.ids[req.Header.Get("Webhook-Id")]++
	status, h := r.answer(len(r.ids))
	for k, v := range h {
		w.Header()[k] = v
	}
	if status < 300 {
		var m struct {
			Type string
			Data struct {
				RunID string `json:"run_id"`
			}
		}
		assert.Check(r.t, json.Unmarshal(body, &m))
		r.got = append(r.got, m.Data.RunID+" "+m.Type)
	}
	w.WriteHeader(status)
}

func (r *receiver) received() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]string(nil), r.got...)
}

type rig struct {
	*triggertest.Rig
	t        *testing.T
	store    *outbound.Store
	receiver *receiver
}

func newRig(t *testing.T, private bool) *rig {
	store, err := sqlitestore.Open(context.Background(), filepath.Join(t.TempDir(), "oz.db"), nil)
	assert.NilError(t, err)
	t.Cleanup(func() { assert.Check(t, store.Close()) })
	keys, err := sealed.OpenKeys(filepath.Join(t.TempDir(), "keys", "secrets.json"))
	assert.NilError(t, err)
	r := &rig{t: t, receiver: newReceiver(t), store: outbound.NewStore(store, sealed.New(store, keys, nil), &outbound.Options{AllowPrivate: private})}
	reporter := outbound.NewReporter(r.store)
	t.Cleanup(reporter.Close)
	r.Rig = triggertest.New(t, store, nil, &trigger.Options{Listeners: []trigger.Reporter{reporter}})
	return r
}

func (r *rig) subscribe(spec outbound.Spec) outbound.Subscription {
	r.t.Helper()
	spec.Name, spec.Enabled = "ci", true
	if spec.URL == "" {
		spec.URL = r.receiver.URL
	}
	s, secret, err := r.store.Create(r.t.Context(), team, task.Principal{}, spec)
	assert.NilError(r.t, err)
	r.receiver.mu.Lock()
	defer r.receiver.mu.Unlock()
	r.receiver.secret = []byte(secret)
	return s
}

// run makes a run and carries it out.
func (r *rig) run(id task.ID, end task.State) {
	r.t.Helper()
	_, _, err := r.Store.Create(r.t.Context(), task.Creation{ID: id, Now: time.Now(), Spec: task.Spec{Title: "t", Prompt: "p", Owner: team}})
	assert.NilError(r.t, err)
	r.Finish(id, end, task.Status{Message: "so it ended"})
}

func (r *rig) messages(s outbound.Subscription, states ...task.OutgoingState) []task.Outgoing {
	r.t.Helper()
	list, err := r.Store.Outgoings(r.t.Context(), task.OutgoingQuery{Source: s.Source(), States: states, Limit: 100})
	assert.NilError(r.t, err)
	return list
}

func TestWhatHappensIsTold(t *testing.T) {
	r := newRig(t, true)
	r.subscribe(outbound.Spec{})
	a, b := task.NewID(), task.NewID()
	r.run(a, task.StateSucceeded)
	r.run(b, task.StateFailed)
	r.Settle()
	told := map[string]bool{}
	var order []string
	for _, got := range r.receiver.received() {
		assert.Assert(t, !told[got], "%s was told twice", got)
		told[got] = true
		if got[:36] == string(a) {
			order = append(order, got[37:])
		}
	}
	assert.Equal(t, len(told), 4)
	assert.DeepEqual(t, order, []string{"run.in_progress", "run.succeeded"})
}

func TestOnlyWhatWasAskedForIsTold(t *testing.T) {
	r := newRig(t, true)
	s := r.subscribe(outbound.Spec{Events: []task.SignalType{task.SignalFailed}})
	id := task.NewID()
	r.run(task.NewID(), task.StateSucceeded)
	r.run(id, task.StateFailed)
	_, _, err := r.Store.Create(t.Context(), task.Creation{ID: "another team's", Now: time.Now(),
		Spec: task.Spec{Title: "t", Prompt: "p", Owner: task.Scope{Type: task.ScopeTeam, UID: "blue"}}})
	assert.NilError(t, err)
	r.Finish("another team's", task.StateFailed, task.Status{})
	r.Settle()
	assert.DeepEqual(t, r.receiver.received(), []string{string(id) + " run.failed"})

	_, err = r.store.Update(t.Context(), s.UID, func(s *outbound.Spec) error { s.Enabled = false; return nil })
	assert.NilError(t, err)
	r.run(task.NewID(), task.StateFailed)
	r.Settle()
	assert.Equal(t, len(r.receiver.received()), 1)
}

// TestTriedAgain: a receiver that is away or busy gets it later, with the same
// id, and one that asks for time gets time.
func TestTriedAgain(t *testing.T) {
	r := newRig(t, true)
	s := r.subscribe(outbound.Spec{Events: []task.SignalType{task.SignalSucceeded}})
	var mu sync.Mutex
	tries := 0
	r.receiver.answer = func(int) (int, http.Header) {
		mu.Lock()
		defer mu.Unlock()
		if tries++; tries == 1 {
			return 503, http.Header{"Retry-After": {"1"}}
		}
		return 200, nil
	}
	begin := time.Now()
	r.run(task.NewID(), task.StateSucceeded)
	for len(r.receiver.received()) == 0 {
		time.Sleep(10 * time.Millisecond)
	}
	assert.Assert(t, time.Since(begin) >= time.Second)
	r.Settle()
	list := r.messages(s, task.OutgoingSent)
	assert.Equal(t, len(list), 1)
	assert.Equal(t, list[0].Attempts, 2)
	assert.Equal(t, r.receiver.ids[string(list[0].ID)], 2)
}

func TestGoneAndDeleted(t *testing.T) {
	r := newRig(t, true)
	s := r.subscribe(outbound.Spec{Events: []task.SignalType{task.SignalSucceeded}})
	r.receiver.answer = func(int) (int, http.Header) { return 410, nil }
	r.run(task.NewID(), task.StateSucceeded)
	r.Settle()
	dead := r.messages(s, task.OutgoingDead)
	assert.Equal(t, len(dead), 1)
	now, err := r.store.Get(t.Context(), s.UID)
	assert.NilError(t, err)
	assert.Assert(t, !now.Enabled && now.DisabledReason != "")

	r.receiver.answer = func(int) (int, http.Header) { return 200, nil }
	_, err = r.store.Update(t.Context(), s.UID, func(s *outbound.Spec) error { s.Enabled = true; return nil })
	assert.NilError(t, err)
	assert.NilError(t, r.Store.ReplayOutgoing(t.Context(), dead[0].ID, time.Now()))
	for len(r.receiver.received()) == 0 {
		time.Sleep(10 * time.Millisecond)
	}
	assert.NilError(t, r.store.Delete(t.Context(), s.UID))
	assert.ErrorIs(t, r.store.Delete(t.Context(), s.UID), task.ErrNotFound)
}

// TestPrivateAddresses are refused when they are dialed, whatever their name.
func TestPrivateAddresses(t *testing.T) {
	r := newRig(t, false)
	for _, host := range []string{"127.0.0.1", "localhost", "[::1]", "10.0.0.1", "169.254.169.254", "192.168.1.1", "[fe80::1]", "0.0.0.0"} {
		s := r.subscribe(outbound.Spec{URL: "https://" + host + ":1/hook", Events: []task.SignalType{task.SignalSucceeded}})
		r.run(task.NewID(), task.StateSucceeded)
		r.Settle()
		dead := r.messages(s, task.OutgoingDead)
		assert.Equal(t, len(dead), 1, "%s", host)
		assert.Assert(t, dead[0].Reason == "the address is within a private network, which this server does not allow", "%s: %s", host, dead[0].Reason)
		assert.NilError(t, r.store.Delete(t.Context(), s.UID))
	}
	assert.Equal(t, len(r.receiver.ids), 0)
}

func TestRedirectsAreNotFollowed(t *testing.T) {
	r := newRig(t, true)
	other := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("the redirect was followed") }))
	defer other.Close()
	r.receiver.answer = func(int) (int, http.Header) { return 307, http.Header{"Location": {other.URL}} }
	s := r.subscribe(outbound.Spec{Events: []task.SignalType{task.SignalSucceeded}})
	r.run(task.NewID(), task.StateSucceeded)
	for {
		if list := r.messages(s, task.OutgoingWaiting); len(list) == 1 && list[0].Attempts > 0 && list[0].Reason != "" {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
}

func TestBadSubscriptions(t *testing.T) {
	r := newRig(t, false)
	for i, spec := range []outbound.Spec{
		{URL: "https://example.com"},
		{Name: "x\ny", URL: "https://example.com"},
		{Name: "x"},
		{Name: "x", URL: "http://example.com"},
		{Name: "x", URL: "ftp://example.com"},
		{Name: "x", URL: "https://user:pass@example.com"},
		{Name: "x", URL: "https://example.com#there"},
		{Name: "x", URL: "/hook"},
		{Name: "x", URL: "https://example.com", Events: []task.SignalType{"new_message"}},
	} {
		_, _, err := r.store.Create(t.Context(), team, task.Principal{}, spec)
		assert.ErrorIs(t, err, task.ErrInvalid, "%d", i)
	}
	for i := range outbound.MaxPerOwner {
		_, _, err := r.store.Create(t.Context(), team, task.Principal{}, outbound.Spec{Name: fmt.Sprint(i), URL: "https://example.com/"})
		assert.NilError(t, err)
	}
	_, _, err := r.store.Create(t.Context(), team, task.Principal{}, outbound.Spec{Name: "more", URL: "https://example.com/"})
	assert.ErrorIs(t, err, task.ErrInvalid)
}

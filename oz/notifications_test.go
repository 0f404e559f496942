package oz_test

import (
	"bytes"
	"context"
	"crypto/ecdh"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"gotest.tools/v3/assert"

	"github.com/oz-platform/cloudagents/oz"
	"github.com/oz-platform/cloudagents/oz/access"
	"github.com/oz-platform/cloudagents/secrets/sealed"
	"github.com/oz-platform/cloudagents/task"
	"github.com/oz-platform/cloudagents/trigger/webpush"
)

// told spells out a person's notifications, the oldest first.
func told(t *testing.T, c *oz.Client, filter oz.NotificationFilter) (lines []string) {
	t.Helper()
	list, _, err := c.Notifications(t.Context(), filter, 0)
	assert.NilError(t, err)
	for _, n := range slices.Backward(list) {
		lines = append(lines, strings.TrimSpace(fmt.Sprintln(n.Kind, n.Reason, n.Title, n.State, n.Text)))
	}
	return lines
}

// finish ends a run that waits.
func finish(t *testing.T, store task.Store, p *oz.Platform, id task.ID, end task.End) {
	t.Helper()
	l, _ := at(t, store, p, id)
	end.SeenInput = 1 << 40
	assert.NilError(t, l.End(t.Context(), end))
}

// listening waits until the platform hears what happens to runs: what was
// before its first start is not told. It ends runs of dan's for that.
func listening(t *testing.T, store task.Store, p *oz.Platform, dan *oz.Client) {
	t.Helper()
	eventually(t, "anything is told", func() bool {
		finish(t, store, p, submit(t, dan, oz.Request{Prompt: "x"}).ID, task.End{State: task.StateSucceeded})
		for range 20 {
			if len(told(t, dan, "")) > 0 {
				return true
			}
			time.Sleep(5 * time.Millisecond)
		}
		return false
	})
}

// TestPeopleAreNotifiedOfTheirRuns: of ends, failures and questions, once each
// also over restarts; and of nothing that is not theirs.
func TestPeopleAreNotifiedOfTheirRuns(t *testing.T) {
	p, store := newPlatform(t, nil)
	c := people(t, p)
	stop := start(t, p)
	listening(t, store, p, c["dan"])
	run := func(title string, team bool) task.ID {
		return submit(t, c["bob"], oz.Request{Prompt: "a secret plan", Title: title, Team: ptr(team)}).ID
	}
	asks := func(kind task.QuestionKind) task.Status {
		q := &task.Question{ID: "q", Kind: kind, Text: "Which one?", ExpiresAt: time.Now().Add(time.Hour)}
		switch kind {
		case task.QuestionApproval:
			q.Choices = []string{task.ChoiceApprove, task.ChoiceReject}
		case task.QuestionRuns:
			q.Runs = []task.ID{task.NewID()}
		}
		return task.Status{Message: "waits", Question: q}
	}
	finish(t, store, p, run("done", true), task.End{State: task.StateSucceeded})
	finish(t, store, p, run("broken", false), task.End{State: task.StateFailed, Status: task.Status{Message: "no such branch", ErrorCode: task.CodeEnvironmentSetupFailed}})
	finish(t, store, p, run("asks", true), task.End{State: task.StateBlocked, Status: asks(task.QuestionPerson)})
	finish(t, store, p, run("plans", true), task.End{State: task.StateBlocked, Status: asks(task.QuestionApproval)})
	finish(t, store, p, run("waits for runs", true), task.End{State: task.StateBlocked, Status: asks(task.QuestionRuns)})
	cancelled := run("cancelled", true)
	_, err := store.Do(t.Context(), cancelled, task.Cancel{})
	assert.NilError(t, err)
	_, err = store.Do(t.Context(), run("crashed", true), task.Fail{Status: task.Status{Message: "lost", ErrorCode: task.CodeInternal}})
	assert.NilError(t, err)
	want := []string{"complete  done SUCCEEDED", "error  broken FAILED no such branch", "request question asks BLOCKED Which one?",
		"request approval plans BLOCKED Which one?", "error  crashed ERROR lost"}
	eventually(t, "five notifications", func() bool { return len(told(t, c["bob"], "")) >= len(want) })
	assert.DeepEqual(t, told(t, c["bob"], ""), want)
	for _, who := range []string{"ann", "cid"} {
		assert.Equal(t, len(told(t, c[who], "")), 0, who)
	}

	stop() // what was heard is not told again, by whatever replica
	rec, err := store.Records(t.Context(), "notifications", nil)
	assert.NilError(t, err)
	assert.Equal(t, len(rec), 2) // bob and dan
	again, err := oz.New(store, nil)
	assert.NilError(t, err)
	c["bob"] = again.As(c["bob"].Caller())
	start(t, again)
	finish(t, store, again, run("last", true), task.End{State: task.StateSucceeded})
	want = append(want, "complete  last SUCCEEDED")
	eventually(t, "the last one", func() bool { return len(told(t, c["bob"], "")) >= len(want) })
	assert.DeepEqual(t, told(t, c["bob"], ""), want)
}

func TestNotificationsAreRead(t *testing.T) {
	p, store := newPlatform(t, nil)
	c := people(t, p)
	start(t, p)
	listening(t, store, p, c["dan"])
	for i := range 3 {
		state := []task.State{task.StateSucceeded, task.StateFailed}[i%2]
		finish(t, store, p, submit(t, c["ann"], oz.Request{Prompt: "x", Title: fmt.Sprint("run ", i)}).ID, task.End{State: state})
	}
	eventually(t, "three notifications", func() bool { return len(told(t, c["ann"], "all")) == 3 })
	list, unread, err := c["ann"].Notifications(t.Context(), "", 1)
	assert.NilError(t, err)
	assert.Equal(t, unread, 3)
	assert.Equal(t, len(list), 1)
	assert.Equal(t, list[0].Title, "run 2")
	assert.NilError(t, c["ann"].ReadNotification(t.Context(), list[0].ID))
	assert.NilError(t, c["ann"].ReadNotification(t.Context(), list[0].ID))
	assert.Equal(t, len(told(t, c["ann"], "unread")), 2)
	assert.Equal(t, len(told(t, c["ann"], "errors")), 1)
	assert.ErrorIs(t, c["bob"].ReadNotification(t.Context(), list[0].ID), task.ErrNotFound)
	assert.ErrorIs(t, c["ann"].ReadNotification(t.Context(), "99"), task.ErrNotFound)
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() { assert.Check(t, c["ann"].ReadAllNotifications(context.Background())) })
	}
	all.Wait()
	_, unread, err = c["ann"].Notifications(t.Context(), "", 0)
	assert.NilError(t, err)
	assert.Equal(t, unread, 0)
	_, _, err = c["ann"].Notifications(t.Context(), "loud", 0)
	assert.ErrorIs(t, err, task.ErrInvalid)
	assert.ErrorContains(t, err, "filter")
	_, _, err = c["ann"].Notifications(t.Context(), "", 301)
	assert.ErrorContains(t, err, "limit")
	list, _, err = p.Notifications(t.Context(), "", 0) // the program itself is no person
	assert.NilError(t, err)
	assert.Equal(t, len(list), 0)
	assert.Equal(t, task.CodeOf(p.ReadAllNotifications(t.Context())), task.CodeNotAuthorized)
}

// TestNotificationsAreBounded: the oldest go, what is old goes, and numbers are
// never used again.
func TestNotificationsAreBounded(t *testing.T) {
	p, _ := newPlatform(t, nil)
	c := people(t, p)
	for i := range oz.MaxNotifications + 5 {
		assert.NilError(t, p.Notify(t.Context(), "ann", fmt.Sprint("key", i), oz.Notification{Kind: oz.NotifyComplete, Title: strings.Repeat("<", 200),
			Text: strings.Repeat("\x01", 200), CreatedAt: time.Now()}))
	}
	list, _, err := c["ann"].Notifications(t.Context(), "", 0)
	assert.NilError(t, err)
	assert.Equal(t, len(list), oz.MaxNotifications)
	assert.Equal(t, list[0].ID, fmt.Sprint(oz.MaxNotifications+5))
	fresh, newest, err := c["ann"].NotificationsAfter(t.Context(), int64(oz.MaxNotifications+2))
	assert.NilError(t, err)
	assert.Equal(t, len(fresh), 3)
	assert.Equal(t, newest, int64(oz.MaxNotifications+5))
	assert.NilError(t, p.Notify(t.Context(), "dan", "old", oz.Notification{CreatedAt: time.Now().Add(-oz.NotificationTime - time.Hour)}))
	assert.Equal(t, len(told(t, c["dan"], "")), 0)
}

// TestWhoLeftTheTeamIsToldNothing of the runs that they made for it.
func TestWhoLeftTheTeamIsToldNothing(t *testing.T) {
	p, store := newPlatform(t, nil)
	c := people(t, p)
	start(t, p)
	listening(t, store, p, c["dan"])
	left := submit(t, c["bob"], oz.Request{Prompt: "x", Title: "the team's", Team: ptr(true)}).ID
	own := submit(t, c["bob"], oz.Request{Prompt: "x", Title: "own", Team: ptr(false)}).ID
	assert.NilError(t, p.Registry().PutUser(t.Context(), access.User{UID: "bob", DisplayName: "Bob"}))
	finish(t, store, p, left, task.End{State: task.StateSucceeded})
	finish(t, store, p, own, task.End{State: task.StateSucceeded})
	eventually(t, "a notification", func() bool { return len(told(t, c["bob"], "")) > 0 })
	assert.DeepEqual(t, told(t, c["bob"], ""), []string{"complete  own SUCCEEDED"})
}

// TestOwnerIsToldOfARequestToEdit, and nobody else.
func TestOwnerIsToldOfARequestToEdit(t *testing.T) {
	p, store := newPlatform(t, nil)
	c := people(t, p)
	run := submit(t, c["ann"], oz.Request{Prompt: "x", Title: "mine", Team: ptr(false)})
	_, err := store.Do(t.Context(), run.ID, task.Share{Sharing: task.Sharing{Grants: []task.Grant{{To: task.Scope{Type: task.ScopeUser, UID: "cid"}, Role: task.RoleViewer}}}})
	assert.NilError(t, err)
	_, err = c["cid"].RequestEdit(t.Context(), run.ID, "let me in")
	assert.NilError(t, err)
	assert.DeepEqual(t, told(t, c["ann"], ""), []string{"request edit_request mine QUEUED let me in"})
	assert.Equal(t, len(told(t, c["bob"], ""))+len(told(t, c["cid"], "")), 0)
}

// TestLeadersAreToldOfARequestToEdit when who made the run has left the team, and
// so is told nothing more.
func TestLeadersAreToldOfARequestToEdit(t *testing.T) {
	p, store := newPlatform(t, nil)
	c := people(t, p)
	run := submit(t, c["bob"], oz.Request{Prompt: "x", Title: "the team's", Team: ptr(true)})
	_, err := store.Do(t.Context(), run.ID, task.Share{Sharing: task.Sharing{Grants: []task.Grant{{To: task.Scope{Type: task.ScopeUser, UID: "cid"}, Role: task.RoleViewer}}}})
	assert.NilError(t, err)
	assert.NilError(t, p.Registry().PutUser(t.Context(), access.User{UID: "bob", DisplayName: "Bob"}))
	_, err = c["cid"].RequestEdit(t.Context(), run.ID, "let me in")
	assert.NilError(t, err)
	assert.DeepEqual(t, told(t, c["ann"], ""), []string{"request edit_request the team's QUEUED let me in"})
	assert.Equal(t, len(told(t, c["bob"], ""))+len(told(t, c["cid"], "")), 0)
}

// TestNotificationsWakeBrowsers by way of the outbox: the push service has an
// outage, and gets each message once after it, without a word of the run.
func TestNotificationsWakeBrowsers(t *testing.T) {
	var mu sync.Mutex
	var bodies [][]byte
	asked := 0
	service := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		assert.Check(t, err)
		mu.Lock()
		defer mu.Unlock()
		if asked++; asked == 1 {
			w.Header().Set("Retry-After", "1")
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		bodies = append(bodies, body)
		w.WriteHeader(http.StatusCreated)
	}))
	t.Cleanup(service.Close)
	store := openStore(t)
	p, err := oz.New(store, &oz.Options{Sealed: sealedStore(t, store), PrivateSubscriptions: true})
	assert.NilError(t, err)
	c := people(t, p)
	start(t, p)
	listening(t, store, p, c["dan"])
	browser, err := ecdh.P256().GenerateKey(rand.Reader)
	assert.NilError(t, err)
	_, err = c["bob"].SubscribePush(t.Context(), webpush.Spec{Endpoint: service.URL, P256dh: base64.RawURLEncoding.EncodeToString(browser.PublicKey().Bytes()),
		Auth: base64.RawURLEncoding.EncodeToString(make([]byte, 16))})
	assert.NilError(t, err)
	run := submit(t, c["bob"], oz.Request{Prompt: "x", Title: "Mend it"})
	finish(t, store, p, run.ID, task.End{State: task.StateFailed, Status: task.Status{Message: "a secret reason"}})
	eventually(t, "a message", func() bool {
		mu.Lock()
		defer mu.Unlock()
		return len(bodies) > 0
	})
	sent, err := store.Outgoings(t.Context(), task.OutgoingQuery{TaskID: run.ID, Limit: 10})
	assert.NilError(t, err)
	assert.Equal(t, len(sent), 1)
	one, err := store.Outgoing(t.Context(), sent[0].ID)
	assert.NilError(t, err)
	var message map[string]any
	assert.NilError(t, json.Unmarshal(one.Body, &message))
	assert.DeepEqual(t, message, map[string]any{"kind": "error", "run_id": string(run.ID), "title": "Mend it", "state": "FAILED"})
	mu.Lock()
	defer mu.Unlock()
	assert.Assert(t, !bytes.Contains(bodies[0], []byte("Mend")) && len(bodies) == 1)
	_, err = p.PushKey(t.Context())
	assert.Equal(t, task.CodeOf(err), task.CodeNotAuthorized, "the program itself has no browser")
}

func TestPushNeedsAStoreForSecrets(t *testing.T) {
	p, _ := newPlatform(t, nil)
	c := people(t, p)
	_, err := c["ann"].PushKey(t.Context())
	assert.ErrorContains(t, err, "Options.Sealed")
	_, err = c["ann"].SubscribePush(t.Context(), webpush.Spec{})
	assert.ErrorContains(t, err, "Options.Sealed")
}

func sealedStore(t *testing.T, store task.Store) *sealed.Store {
	t.Helper()
	keys, err := sealed.OpenKeys(filepath.Join(t.TempDir(), "secrets.key"))
	assert.NilError(t, err)
	return sealed.New(store, keys, nil)
}

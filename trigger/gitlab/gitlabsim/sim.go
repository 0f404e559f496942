// Package gitlabsim is a GitLab for tests: its REST API of version 4, as far as
// agents need it, and the webhooks that it sends when somebody does something.
// It asks for the right token, refuses what GitLab refuses, proves its webhooks
// as GitLab does, and keeps comments, emoji and statuses of commits, to be
// looked at.
//
// What the agent does by the API is sent as an event, too, as GitLab does; and
// Fail lets calls fail in the ways in which calls fail.
package gitlabsim

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/oz-platform/cloudagents/task"
	"github.com/oz-platform/cloudagents/trigger"
)

// Options holds what a Sim can do without. The zero value is ready to use.
type Options struct {
	// Token is the agent's access token. Default: "glpat-agent".
	Token string
	// Secret proves webhooks: one that begins with whsec_ signs, any other is
	// sent as it is. Default: "gitlab-secret".
	Secret string
	// Path is the project's. Default: "group/project".
	Path string
	// Visibility is the project's: 0 is private, 10 internal, 20 public.
	Visibility int
	// RetryAfter is what FaultRateLimit asks to wait, in whole seconds. Default: 1.
	RetryAfter int
	// Clock tells the time. Default: the machine's.
	Clock task.Clock
}

// Account is somebody's.
type Account struct {
	ID             int64
	Username, Name string
}

// Thing is an issue or a merge request of the project.
type Thing struct {
	ID, IID            int64
	Merge              bool
	Title, Description string
	Labels             []string
	Confidential       bool
	// Those of a merge request. Fork says that its branch is elsewhere.
	Source, Target string
	Draft, Fork    bool
	Commit         string
	// Reviewers are usernames of who was asked to review it.
	Reviewers []string
	// Author and State, one of those below, are filled in.
	Author Account
	State  string
}

// The states of a Thing.
const (
	StateOpened = "opened"
	StateClosed = "closed"
	StateMerged = "merged"
)

// Note is a comment. Discussion is the thread that it is in.
type Note struct {
	ID         int64
	On         int64 // the thing's ID
	Author     Account
	Body       string
	Discussion string
	Created    time.Time
	Edited     bool
	// Diff and Path are those of a comment on a change.
	Diff, Path string
}

// Status is one of a commit.
type Status struct{ Commit, State, Name, URL, Description string }

// Fault is how a call of the API fails.
type Fault string

// The faults. The empty one lets a call succeed.
const (
	FaultDown      Fault = "down"       // 503, nothing is done
	FaultRateLimit Fault = "rate_limit" // 429 with a hint, nothing is done
	FaultCut       Fault = "cut"        // done, but the connection breaks before the answer
	FaultDenied    Fault = "denied"     // 403
)

// Receiver takes webhooks; triggertest.Rig is one.
type Receiver interface {
	Post(path, rest string, h http.Header, body []byte) (trigger.Reply, error)
}

// Event is a webhook that was sent, and what came back.
type Event struct {
	Name string
	// By set it off; the agent does, too, by what it says.
	By     Account
	Header http.Header
	Body   []byte
	Reply  trigger.Reply
	Err    error
}

// Sim is a GitLab with one project. Safe for concurrent use.
type Sim struct {
	// URL is where the API is.
	URL string
	// Agent is the account behind the token.
	Agent Account

	opts Options

	mu       sync.Mutex
	next     int64
	people   []Account
	outside  []int64 // IDs of those without access
	things   []*Thing
	notes    []*Note
	awards   []string
	statuses []Status
	faults   []Fault
	events   []Event
	to       Receiver
	integ    string
}

// project is the ID of the one that there is, fork that of a copy of it.
const project, fork = 7, 8

// New starts a GitLab that is gone when the test ends. opts may be nil.
func New(tb testing.TB, opts *Options) *Sim {
	tb.Helper()
	var o Options
	if opts != nil {
		o = *opts
	}
	for _, d := range []struct {
		field *string
		value string
	}{{&o.Token, "glpat-agent"}, {&o.Secret, "gitlab-secret"}, {&o.Path, "group/project"}} {
		if *d.field == "" {
			*d.field = d.value
		}
	}
	if o.RetryAfter == 0 {
		o.RetryAfter = 1
	}
	if o.Clock == nil {
		o.Clock = task.SystemClock()
	}
	s := &Sim{opts: o, next: 1000, Agent: Account{ID: 99, Username: "oz-agent", Name: "Oz"}}
	server := httptest.NewServer(s.handler())
	tb.Cleanup(server.Close)
	s.URL = server.URL
	return s
}

// Token is the agent's.
func (s *Sim) Token() string { return s.opts.Token }

// Secret is the webhook's.
func (s *Sim) Secret() string { return s.opts.Secret }

// SendTo lets webhooks go to an integration from now on.
func (s *Sim) SendTo(r Receiver, integration string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.to, s.integ = r, integration
}

// Fail lets the next calls fail, one after another.
func (s *Sim) Fail(faults ...Fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = append(s.faults, faults...)
}

func (s *Sim) nextFault() (f Fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.faults) > 0 {
		f, s.faults = s.faults[0], s.faults[1:]
	}
	return f
}

// Person makes an account.
func (s *Sim) Person(username string) Account {
	s.mu.Lock()
	defer s.mu.Unlock()
	a := Account{ID: s.id(), Username: username, Name: username}
	s.people = append(s.people, a)
	return a
}

// Outside makes an account that has no access to the project.
func (s *Sim) Outside(username string) Account {
	a := s.Person(username)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.outside = append(s.outside, a.ID)
	return a
}

// id gives a new one; the lock is held.
func (s *Sim) id() int64 { s.next++; return s.next }

// Open lets somebody make an issue or a merge request. Its IDs are filled in,
// and of a merge request what is empty.
func (s *Sim) Open(by Account, t Thing) Thing {
	s.mu.Lock()
	opened, hook, body := s.open(by, t)
	made := *opened
	s.mu.Unlock()
	s.send(by, hook, body)
	return made
}

// open makes it, and what the webhook says; the lock is held.
func (s *Sim) open(by Account, t Thing) (made *Thing, hook string, body map[string]any) {
	t.ID, t.IID, t.Author, t.State = s.id(), 1, by, StateOpened
	for _, other := range s.things {
		if other.Merge == t.Merge {
			t.IID++
		}
	}
	if t.Merge && t.Commit == "" {
		t.Commit = fmt.Sprintf("%040x", t.ID)
	}
	if t.Merge && t.Source == "" {
		t.Source, t.Target = "feature", "main"
	}
	s.things = append(s.things, &t)
	hook, body = s.ofThing(by, t, "open", nil)
	return &t, hook, body
}

// Change lets somebody act on an issue or merge request, such as "close",
// "merge", "approved" or "update". changes are the event's, and object what it
// has beside in object_attributes; both may be nil.
func (s *Sim) Change(by Account, id int64, action string, changes, object map[string]any) {
	s.mu.Lock()
	t := s.thing(id)
	if state, ok := map[string]string{"close": StateClosed, "merge": StateMerged, "reopen": StateOpened}[action]; ok {
		t.State = state
	}
	hook, body := s.ofThing(by, *t, action, changes)
	for name, v := range object {
		body["object_attributes"].(map[string]any)[name] = v
	}
	s.mu.Unlock()
	s.send(by, hook, body)
}

// Label lets somebody give it labels besides those that it has.
func (s *Sim) Label(by Account, id int64, labels ...string) {
	s.mu.Lock()
	t := s.thing(id)
	before := labelsOf(t.Labels)
	t.Labels = slices.Concat(t.Labels, labels)
	now := labelsOf(t.Labels)
	s.mu.Unlock()
	s.Change(by, id, "update", map[string]any{"labels": map[string]any{"previous": before, "current": now}}, nil)
}

// Comment lets somebody comment. Of n, On and Body are required; without a
// Discussion it begins one.
func (s *Sim) Comment(by Account, n Note) Note {
	s.mu.Lock()
	n.Author = by
	made := s.addNote(n)
	hook, body := s.ofNote(*made)
	s.mu.Unlock()
	s.send(by, hook, body)
	return *made
}

func (s *Sim) addNote(n Note) *Note {
	n.ID, n.Created = s.id(), s.opts.Clock.Now()
	if n.Discussion == "" {
		n.Discussion = strings.ReplaceAll(uuid.NewString(), "-", "")
	}
	s.notes = append(s.notes, &n)
	return &n
}

// Pipeline lets a pipeline end, of a merge request's branch unless that is 0.
func (s *Sim) Pipeline(by Account, status string, merge int64) {
	s.mu.Lock()
	attrs := map[string]any{"id": s.id(), "status": status, "ref": "main", "sha": fmt.Sprintf("%040x", 1), "source": "push",
		"url": "https://gitlab.com/" + s.opts.Path + "/-/pipelines/1"}
	body := s.base("pipeline", by, attrs)
	if merge > 0 {
		t := *s.thing(merge)
		attrs["ref"], attrs["sha"], attrs["source"] = fmt.Sprintf("refs/merge-requests/%d/head", t.IID), t.Commit, "merge_request_event"
		body["merge_request"] = s.wire(t)
	}
	s.mu.Unlock()
	s.send(by, "Pipeline Hook", body)
}

func (s *Sim) thing(id int64) *Thing {
	for _, t := range s.things {
		if t.ID == id {
			return t
		}
	}
	panic("gitlabsim: there is no issue or merge request " + strconv.FormatInt(id, 10))
}

func (s *Sim) base(kind string, by Account, attrs map[string]any) map[string]any {
	return map[string]any{"object_kind": kind, "event_type": kind, "user": wireAccount(by), "object_attributes": attrs,
		"project": map[string]any{"id": project, "name": "project", "path_with_namespace": s.opts.Path, "web_url": "https://gitlab.com/" + s.opts.Path,
			"git_http_url": "https://gitlab.com/" + s.opts.Path + ".git", "default_branch": "main", "visibility_level": s.opts.Visibility}}
}

func wireAccount(a Account) map[string]any {
	return map[string]any{"id": a.ID, "name": a.Name, "username": a.Username, "email": "[REDACTED]"}
}

func labelsOf(titles []string) []map[string]any {
	list := []map[string]any{}
	for _, t := range titles {
		list = append(list, map[string]any{"id": len(list) + 1, "title": t})
	}
	return list
}

func (s *Sim) wire(t Thing) map[string]any {
	out := map[string]any{"id": t.ID, "iid": t.IID, "title": t.Title, "description": t.Description, "state": t.State, "labels": labelsOf(t.Labels),
		"confidential": t.Confidential, "url": s.page(t)}
	if t.Merge {
		from := project
		if t.Fork {
			from = fork
		}
		out["source_branch"], out["target_branch"], out["source_project_id"], out["target_project_id"] = t.Source, t.Target, from, project
		out["draft"], out["last_commit"] = t.Draft, map[string]any{"id": t.Commit}
	}
	return out
}

func (s *Sim) page(t Thing) string {
	kind := "issues"
	if t.Merge {
		kind = "merge_requests"
	}
	return fmt.Sprintf("https://gitlab.com/%s/-/%s/%d", s.opts.Path, kind, t.IID)
}

func (s *Sim) ofThing(by Account, t Thing, action string, changes map[string]any) (hook string, body map[string]any) {
	hook, kind := "Issue Hook", "issue"
	switch {
	case t.Merge:
		hook, kind = "Merge Request Hook", "merge_request"
	case t.Confidential:
		hook = "Confidential Issue Hook"
	}
	attrs := s.wire(t)
	attrs["action"] = action
	body = s.base(kind, by, attrs)
	body["labels"] = labelsOf(t.Labels)
	if changes == nil {
		changes = map[string]any{}
	}
	body["changes"] = changes
	return hook, body
}

func (s *Sim) ofNote(n Note) (hook string, body map[string]any) {
	t := *s.thing(n.On)
	attrs := map[string]any{"id": n.ID, "note": n.Body, "noteable_type": "Issue", "noteable_id": t.ID, "discussion_id": n.Discussion, "action": "create",
		"system": false, "type": nil, "url": fmt.Sprintf("%s#note_%d", s.page(t), n.ID)}
	body = s.base("note", n.Author, attrs)
	name := "issue"
	if t.Merge {
		attrs["noteable_type"], name = "MergeRequest", "merge_request"
	}
	if n.Diff != "" {
		attrs["type"], attrs["st_diff"] = "DiffNote", map[string]any{"diff": n.Diff, "new_path": n.Path, "old_path": n.Path}
		attrs["position"] = map[string]any{"new_path": n.Path, "new_line": 3}
	}
	body[name] = s.wire(t)
	if t.Confidential {
		return "Confidential Note Hook", body
	}
	return "Note Hook", body
}

// Notes are those on an issue or merge request, the oldest first.
func (s *Sim) Notes(id int64) (list []Note) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, n := range s.notes {
		if n.On == id {
			list = append(list, *n)
		}
	}
	return list
}

// Awards are the emoji that the agent gave, as "eyes on note 7".
func (s *Sim) Awards() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.awards)
}

// Statuses are those that commits got, the oldest first.
func (s *Sim) Statuses() []Status {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.statuses)
}

// Events are the webhooks that were sent, the oldest first.
func (s *Sim) Events() []Event {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.events)
}

// Redeliver sends an event again, as GitLab does that got no answer.
func (s *Sim) Redeliver(e Event) Event { return s.post(e) }

// Prove makes a webhook's headers those of GitLab's.
func (s *Sim) Prove(h http.Header, body []byte) {
	rest, signs := strings.CutPrefix(s.opts.Secret, "whsec_")
	if !signs {
		h.Set("X-Gitlab-Token", s.opts.Secret)
		return
	}
	key, err := base64.StdEncoding.DecodeString(rest)
	if err != nil {
		panic("gitlabsim: the signing token is whsec_ and base64")
	}
	h.Set("Webhook-Id", h.Get("Idempotency-Key"))
	h.Set("Webhook-Timestamp", strconv.FormatInt(s.opts.Clock.Now().Unix(), 10))
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte(h.Get("Webhook-Id") + "." + h.Get("Webhook-Timestamp") + "."))
	mac.Write(body)
	h.Set("Webhook-Signature", "v1,"+base64.StdEncoding.EncodeToString(mac.Sum(nil)))
}

// send proves an event and sends it. The lock is not held: whoever gets one may
// call back.
func (s *Sim) send(by Account, hook string, v map[string]any) {
	body, err := json.Marshal(v)
	if err != nil {
		panic(err) // of values made here
	}
	h := http.Header{"Content-Type": {"application/json"}, "X-Gitlab-Event": {hook}, "User-Agent": {"GitLab/19.0"}}
	h.Set("Idempotency-Key", uuid.NewString())
	h.Set("X-Gitlab-Event-UUID", uuid.NewString())
	s.Prove(h, body)
	e := s.post(Event{Name: hook, By: by, Header: h, Body: body})
	s.mu.Lock()
	defer s.mu.Unlock()
	s.events = append(s.events, e)
}

func (s *Sim) post(e Event) Event {
	s.mu.Lock()
	to, integ := s.to, s.integ
	s.mu.Unlock()
	if to != nil {
		e.Reply, e.Err = to.Post("gitlab", integ, e.Header.Clone(), e.Body)
	}
	return e
}

// Package linearsim is Linear for tests: its GraphQL API, as far as agents need
// it, on a schema with Linear's names, and the webhooks that it sends when
// somebody does something. It asks for the right token, refuses what is not in
// the schema, signs what it sends, and keeps issues, comments, agent sessions
// and their activities, to be looked at.
//
// What the agent does by the API is sent as an event, too, as Linear does; and
// Fail lets calls fail in the ways in which calls fail.
package linearsim

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/vektah/gqlparser/v2"
	"github.com/vektah/gqlparser/v2/ast"

	"github.com/oz-platform/cloudagents/task"
	"github.com/oz-platform/cloudagents/trigger"
	"github.com/oz-platform/cloudagents/trigger/webhook"
)

// Options holds what a Sim can do without. The zero value is ready to use.
type Options struct {
	// Token is what the API asks for. Default: "lin_oauth_test".
	Token string
	// SigningSecret is what webhooks are signed with. Default: "lin_wh_test".
	SigningSecret string
	// AgentSessions says that the app is an agent: mentions of it and issues
	// delegated to it open agent sessions.
	AgentSessions bool
	// RetryAfter is what FaultRateLimit asks to wait. Default: a second.
	RetryAfter time.Duration
	// Clock tells the time. Default: the machine's.
	Clock task.Clock
}

// User is an account. Apps and people have such.
type User struct {
	ID, Name, DisplayName, Email string
	// Guest says that they are no member of the workspace, Left that they are not
	// there any more. See Sim.SetUser.
	Guest, Left bool
}

// Issue is one of Linear's. Label, state, project and people are IDs.
type Issue struct {
	ID, Identifier, Title, Description string
	Team, Project, State               string
	Assignee, Delegate                 string
	Labels                             []string

	created, updated time.Time
}

// Comment is one below an issue.
type Comment struct {
	ID, Issue, Parent, User, Body string
	CreatedAt                     time.Time
	// Edits counts how often the agent has changed it.
	Edits int
}

// Activity is one in an agent session.
type Activity struct {
	ID, Session string
	Type, Body  string
	Signal      string
	// Metadata belongs to Signal; JSON.
	Metadata string
}

// Session is an agent session.
type Session struct {
	ID, Issue, Comment, Creator string
	// Status is as Linear works it out from the last activity: pending, active,
	// awaitingInput, error or complete.
	Status string
	// URLs are those that the agent has added.
	URLs []string
	// Plan is what the agent says of its steps, Plans how often it has.
	Plan  []Step
	Plans int
}

// Step is one of a plan. Its Status is pending, inProgress, completed or
// canceled.
type Step struct{ Content, Status string }

// Fault is how a call of the API fails.
type Fault string

// The faults.
const (
	FaultDown      Fault = "down"       // 503, nothing is done
	FaultRateLimit Fault = "rate_limit" // refused with a hint, nothing is done
	FaultCut       Fault = "cut"        // done, but the connection breaks before the answer
)

// Receiver takes webhooks; triggertest.Rig is one.
type Receiver interface {
	Post(path, rest string, h http.Header, body []byte) (trigger.Reply, error)
}

// Event is a webhook that was sent, and what came back.
type Event struct {
	Type, Action string
	Header       http.Header
	Body         []byte
	Reply        trigger.Reply
	Err          error
}

// Sim is a workspace. Safe for concurrent use.
type Sim struct {
	// URL is the API's address.
	URL string
	// App is the account behind the token.
	App User

	opts   Options
	schema *ast.Schema

	mu         sync.Mutex
	users      []User
	issues     map[string]*Issue
	comments   []Comment
	sessions   []*Session
	activities []Activity
	faults     []Fault
	events     []Event
	to         Receiver
	integ      string
}

// New starts a workspace that is gone when the test ends. opts may be nil.
func New(tb testing.TB, opts *Options) *Sim {
	tb.Helper()
	var o Options
	if opts != nil {
		o = *opts
	}
	if o.Token == "" {
		o.Token = "lin_oauth_test"
	}
	if o.SigningSecret == "" {
		o.SigningSecret = "lin_wh_test"
	}
	if o.RetryAfter == 0 {
		o.RetryAfter = time.Second
	}
	if o.Clock == nil {
		o.Clock = task.SystemClock()
	}
	parsed, err := gqlparser.LoadSchema(&ast.Source{Name: "linear", Input: schema})
	if err != nil {
		tb.Fatalf("read the schema: %v", err)
	}
	s := &Sim{opts: o, schema: parsed, issues: map[string]*Issue{}, App: User{ID: uuid.NewString(), Name: "Oz", DisplayName: "oz"}}
	s.users = []User{s.App}
	server := httptest.NewServer(s)
	tb.Cleanup(server.Close)
	s.URL = server.URL + "/graphql"
	return s
}

// Token and SigningSecret are what an integration with the workspace needs.
func (s *Sim) Token() string { return s.opts.Token }

// SigningSecret is what webhooks are signed with.
func (s *Sim) SigningSecret() string { return s.opts.SigningSecret }

func (s *Sim) authorization() string {
	if strings.HasPrefix(s.opts.Token, "lin_api_") {
		return s.opts.Token
	}
	return "Bearer " + s.opts.Token
}

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
func (s *Sim) Person(name string) User {
	u := User{ID: uuid.NewString(), Name: name, DisplayName: strings.ToLower(strings.ReplaceAll(name, " ", ".")), Email: strings.ToLower(strings.Fields(name)[0]) + "@example.com"}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.users = append(s.users, u)
	return u
}

// SetUser changes the account with the ID of u.
func (s *Sim) SetUser(u User) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for n := range s.users {
		if s.users[n].ID == u.ID {
			s.users[n] = u
		}
	}
}

// Create lets somebody make an issue; what is empty of its ID, Identifier, Team
// and State is filled in.
func (s *Sim) Create(by User, i Issue) Issue {
	s.mu.Lock()
	now := s.opts.Clock.Now()
	i.ID, i.created, i.updated = orNew(i.ID), now, now
	if i.Identifier == "" {
		i.Identifier = fmt.Sprintf("ENG-%d", len(s.issues)+1)
	}
	if i.Team == "" {
		i.Team = "team-1"
	}
	if i.State == "" {
		i.State = "state-todo"
	}
	s.issues[i.ID] = &i
	sends := []object{s.issueEvent("create", by, i, nil)}
	if s.opts.AgentSessions && (i.Delegate == s.App.ID || s.mentioned(i.Description)) {
		sends = append(sends, s.openSession(by, i, ""))
	}
	s.mu.Unlock()
	s.send(sends...)
	return i
}

func orNew(id string) string {
	if id == "" {
		return uuid.NewString()
	}
	return id
}

// Change lets somebody change an issue.
func (s *Sim) Change(by User, id string, change func(*Issue)) Issue {
	s.mu.Lock()
	i := s.issues[id]
	before := *i
	before.Labels = slices.Clone(i.Labels)
	change(i)
	i.updated = s.opts.Clock.Now()
	sends := []object{s.issueEvent("update", by, *i, changes(before, *i))}
	if s.opts.AgentSessions && i.Delegate == s.App.ID && before.Delegate != s.App.ID {
		sends = append(sends, s.openSession(by, *i, ""))
	}
	after := *i
	s.mu.Unlock()
	s.send(sends...)
	return after
}

// changes are the old values of what is different.
func changes(before, after Issue) object {
	from := object{"updatedAt": stamp(before.updated)}
	for name, pair := range map[string][2]string{"title": {before.Title, after.Title}, "description": {before.Description, after.Description},
		"projectId": {before.Project, after.Project}, "stateId": {before.State, after.State}, "teamId": {before.Team, after.Team},
		"assigneeId": {before.Assignee, after.Assignee}, "delegateId": {before.Delegate, after.Delegate}} {
		if pair[0] != pair[1] {
			from[name] = orNil(pair[0])
		}
	}
	if !slices.Equal(before.Labels, after.Labels) {
		from["labelIds"] = slices.Concat([]string{}, before.Labels)
	}
	return from
}

// Comment lets somebody comment on an issue, or answer the comment parent.
func (s *Sim) Comment(by User, issue, parent, body string) Comment {
	s.mu.Lock()
	c, sends := s.comment(Comment{ID: uuid.NewString(), Issue: issue, Parent: parent, User: by.ID, Body: body})
	s.mu.Unlock()
	s.send(sends...)
	return c
}

func (s *Sim) comment(c Comment) (Comment, []object) {
	c.CreatedAt = s.opts.Clock.Now()
	s.comments = append(s.comments, c)
	by, i := s.user(c.User), *s.issues[c.Issue]
	sends := []object{{"type": "Comment", "action": "create", "actor": s.actor(by), "data": object{"id": c.ID, "body": c.Body, "userId": c.User,
		"issueId": c.Issue, "parentId": orNil(c.Parent), "createdAt": stamp(c.CreatedAt), "user": object{"id": by.ID, "name": by.Name},
		"issue": object{"id": i.ID, "title": i.Title, "identifier": i.Identifier, "teamId": i.Team}}}}
	if s.opts.AgentSessions && c.User != s.App.ID && s.mentioned(c.Body) {
		sends = append(sends, s.openSession(by, i, c.ID))
	}
	return c, sends
}

// Prompt lets somebody write in an agent session. signal is empty, or "stop".
func (s *Sim) Prompt(by User, session, body, signal string) {
	s.mu.Lock()
	a := Activity{ID: uuid.NewString(), Session: session, Type: "prompt", Body: body, Signal: signal}
	s.activities = append(s.activities, a)
	x := s.session(session)
	x.Status = "active"
	ev := object{"type": "AgentSessionEvent", "action": "prompted", "agentSession": s.sessionValue(*x), "agentActivity": object{
		"id": a.ID, "agentSessionId": session, "content": object{"type": "prompt", "body": body}, "signal": orNil(signal),
		"userId": by.ID, "user": object{"id": by.ID, "name": by.Name}}}
	s.mu.Unlock()
	s.send(ev)
}

// Comments are those of an issue, the oldest first.
func (s *Sim) Comments(issue string) (list []Comment) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range s.comments {
		if c.Issue == issue {
			list = append(list, c)
		}
	}
	return list
}

// Sessions are all agent sessions, the oldest first.
func (s *Sim) Sessions() (list []Session) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, x := range s.sessions {
		c := *x
		c.URLs, c.Plan = slices.Clone(x.URLs), slices.Clone(x.Plan)
		list = append(list, c)
	}
	return list
}

// Activities are those of a session, the oldest first.
func (s *Sim) Activities(session string) (list []Activity) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, a := range s.activities {
		if a.Session == session {
			list = append(list, a)
		}
	}
	return list
}

// Events are the webhooks that were sent, the oldest first.
func (s *Sim) Events() []Event {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.events)
}

// Redeliver sends an event again, as Linear does that got no answer.
func (s *Sim) Redeliver(e Event) Event { return s.post(e) }

// openSession makes an agent session and gives its event.
func (s *Sim) openSession(by User, i Issue, comment string) object {
	x := &Session{ID: uuid.NewString(), Issue: i.ID, Comment: comment, Creator: by.ID, Status: "pending"}
	s.sessions = append(s.sessions, x)
	return object{"type": "AgentSessionEvent", "action": "created", "agentSession": s.sessionValue(*x), "promptContext": "<issue identifier=\"" + i.Identifier + "\"/>"}
}

func (s *Sim) sessionValue(x Session) object {
	i, by := s.issues[x.Issue], s.user(x.Creator)
	v := object{"id": x.ID, "status": x.Status, "creatorId": by.ID, "creator": object{"id": by.ID, "name": by.Name}, "issueId": x.Issue,
		"issue":   object{"id": i.ID, "identifier": i.Identifier, "title": i.Title, "description": i.Description, "teamId": i.Team, "url": address(*i)},
		"comment": nil}
	for _, c := range s.comments {
		if c.ID == x.Comment {
			v["comment"] = object{"id": c.ID, "body": c.Body, "userId": c.User, "issueId": c.Issue}
		}
	}
	return v
}

func (s *Sim) mentioned(text string) bool {
	return regexp.MustCompile(`(?i)@` + regexp.QuoteMeta(s.App.DisplayName) + `\b`).MatchString(text)
}

func (s *Sim) session(id string) *Session {
	for _, x := range s.sessions {
		if x.ID == id {
			return x
		}
	}
	return nil
}

func (s *Sim) user(id string) User {
	for _, u := range s.users {
		if u.ID == id {
			return u
		}
	}
	return User{ID: id}
}

func (s *Sim) actor(by User) object {
	kind := "user"
	if by.ID == s.App.ID {
		kind = "OauthClient"
	}
	return object{"id": by.ID, "name": by.Name, "email": by.Email, "type": kind}
}

func address(i Issue) string { return "https://linear.app/acme/issue/" + i.Identifier }

func orNil(s string) any {
	if s == "" {
		return nil
	}
	return s
}

func (s *Sim) issueEvent(action string, by User, i Issue, from object) object {
	labels := []object{}
	for _, l := range i.Labels {
		labels = append(labels, object{"id": l, "name": l})
	}
	ev := object{"type": "Issue", "action": action, "actor": s.actor(by), "url": address(i), "data": object{"id": i.ID, "identifier": i.Identifier,
		"title": i.Title, "description": orNil(i.Description), "teamId": i.Team, "projectId": orNil(i.Project), "stateId": i.State,
		"assigneeId": orNil(i.Assignee), "delegateId": orNil(i.Delegate), "labelIds": slices.Concat([]string{}, i.Labels), "labels": labels,
		"createdAt": stamp(i.created), "updatedAt": stamp(i.updated), "url": address(i)}}
	if from != nil {
		ev["updatedFrom"] = from
	}
	return ev
}

// send signs events and sends them. The lock is not held: whoever gets one may
// call back.
func (s *Sim) send(list ...object) {
	for _, v := range list {
		now := s.opts.Clock.Now()
		v["createdAt"], v["webhookTimestamp"] = stamp(now), now.UnixMilli()
		v["webhookId"], v["organizationId"] = "webhook-1", "organization-1"
		body, err := json.Marshal(v)
		if err != nil {
			panic(err) // of values made here
		}
		kind, _ := v["type"].(string)
		action, _ := v["action"].(string)
		h := http.Header{"Content-Type": {"application/json; charset=utf-8"}, "User-Agent": {"Linear-Webhook"}, "Linear-Event": {kind}}
		webhook.Linear.Sign([]byte(s.opts.SigningSecret), h, uuid.NewString(), body, now)
		e := s.post(Event{Type: kind, Action: action, Header: h, Body: body})
		s.mu.Lock()
		s.events = append(s.events, e)
		s.mu.Unlock()
	}
}

func (s *Sim) post(e Event) Event {
	s.mu.Lock()
	to, integ := s.to, s.integ
	s.mu.Unlock()
	if to != nil {
		e.Reply, e.Err = to.Post("linear", integ, e.Header.Clone(), e.Body)
	}
	return e
}

// Package jirasim is a Jira Cloud site for tests: its REST API of version 3, as
// far as agents need it, and the webhooks that it sends when somebody does
// something. It asks for the right credential, refuses documents and requests
// that Jira refuses, proves its webhooks as Jira does, and keeps issues,
// comments and e-mails, to be looked at.
//
// What the agent does by the API is sent as an event, too, as Jira does; and
// Fail lets calls fail in the ways in which calls fail.
package jirasim

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
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

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	"github.com/google/uuid"

	"github.com/oz-platform/cloudagents/task"
	"github.com/oz-platform/cloudagents/trigger"
)

// Options holds what a Sim can do without. The zero value is ready to use.
type Options struct {
	// Email and Token are the agent's. With OAuth the token is a bearer's.
	// Default: "agent@example.com" and "api-token".
	Email, Token string
	OAuth        bool
	// SigningSecret is the webhook's. Default: "jira-secret".
	SigningSecret string
	// JWT proves webhooks as those of an OAuth 2.0 app, in place of a signature.
	JWT bool
	// RetryAfter is what FaultRateLimit asks to wait, in whole seconds. Default: 1.
	RetryAfter int
	// Clock tells the time. Default: the machine's.
	Clock task.Clock
}

// Account is one of Atlassian's. Type is atlassian, app or customer.
type Account struct{ ID, Name, Type string }

// Issue is one of Jira's. Description is a document; JSON.
type Issue struct {
	ID, Key, Summary string
	Description      json.RawMessage
	Labels           []string
}

// Comment is one below an issue. Body is a document; JSON.
type Comment struct {
	ID, Issue string
	Author    Account
	Body      json.RawMessage
	Created   time.Time
	Edited    bool
	// Properties are its entity properties by key; JSON.
	Properties map[string]json.RawMessage
}

// Mail is an e-mail that Jira has sent.
type Mail struct{ Issue, To, Subject, Text string }

// Fault is how a call of the API fails.
type Fault string

// The faults. The empty one lets a call succeed.
const (
	FaultDown      Fault = "down"       // 503, nothing is done
	FaultRateLimit Fault = "rate_limit" // 429 with a hint, nothing is done
	FaultCut       Fault = "cut"        // done, but the connection breaks before the answer
)

// Receiver takes webhooks; triggertest.Rig is one.
type Receiver interface {
	Post(path, rest string, h http.Header, body []byte) (trigger.Reply, error)
}

// Event is a webhook that was sent, and what came back.
type Event struct {
	Name   string
	Header http.Header
	Body   []byte
	Reply  trigger.Reply
	Err    error
}

// Sim is a site. Safe for concurrent use.
type Sim struct {
	// URL is where the API is.
	URL string
	// Agent is the account behind the credential.
	Agent Account

	opts Options

	mu       sync.Mutex
	next     int
	issues   map[string]*Issue
	comments []Comment
	mails    []Mail
	faults   []Fault
	events   []Event
	to       Receiver
	integ    string
}

// New starts a site that is gone when the test ends. opts may be nil.
func New(tb testing.TB, opts *Options) *Sim {
	tb.Helper()
	var o Options
	if opts != nil {
		o = *opts
	}
	for _, d := range []struct {
		field *string
		value string
	}{{&o.Email, "agent@example.com"}, {&o.Token, "api-token"}, {&o.SigningSecret, "jira-secret"}} {
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
	s := &Sim{opts: o, next: 10000, issues: map[string]*Issue{}, Agent: Account{ID: "5b10ac8d82e05b22cc7d4ef5", Name: "Oz", Type: "atlassian"}}
	server := httptest.NewServer(s.handler())
	tb.Cleanup(server.Close)
	s.URL = server.URL
	return s
}

// Email is the agent's.
func (s *Sim) Email() string { return s.opts.Email }

// Token is the agent's.
func (s *Sim) Token() string { return s.opts.Token }

// SigningSecret is the webhook's.
func (s *Sim) SigningSecret() string { return s.opts.SigningSecret }

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
func (s *Sim) Person(name string) Account {
	return Account{ID: "712020:" + uuid.NewString(), Name: name, Type: "atlassian"}
}

// id gives a new one; the lock is held.
func (s *Sim) id() string { s.next++; return strconv.Itoa(s.next) }

// Create lets somebody make an issue; its ID and Key are filled in when empty.
func (s *Sim) Create(by Account, i Issue) Issue {
	s.mu.Lock()
	if i.ID == "" {
		i.ID = s.id()
	}
	if i.Key == "" {
		i.Key = fmt.Sprintf("WEB-%d", len(s.issues)+1)
	}
	s.issues[i.ID] = &i
	body := s.event("jira:issue_created", by, i, nil)
	s.mu.Unlock()
	s.send("jira:issue_created", body)
	return i
}

// Label lets somebody change the labels of an issue.
func (s *Sim) Label(by Account, id string, labels ...string) {
	s.mu.Lock()
	i := s.issues[id]
	change := map[string]any{"id": s.id(), "items": []any{map[string]any{"field": "labels", "fieldtype": "jira", "fieldId": "labels",
		"from": nil, "fromString": strings.Join(i.Labels, " "), "to": nil, "toString": strings.Join(labels, " ")}}}
	i.Labels = slices.Clone(labels)
	body := s.event("jira:issue_updated", by, *i, map[string]any{"changelog": change, "issue_event_type_name": "issue_updated"})
	s.mu.Unlock()
	s.send("jira:issue_updated", body)
}

// Comment lets somebody comment. In the text, Mention names an account.
func (s *Sim) Comment(by Account, issue, text string) Comment {
	s.mu.Lock()
	doc, err := json.Marshal(map[string]any{"type": "doc", "version": 1, "content": []any{
		map[string]any{"type": "paragraph", "content": []any{map[string]any{"type": "text", "text": text}}}}})
	if err != nil {
		panic(err) // of a text
	}
	c, body := s.comment(Comment{Issue: issue, Author: by, Body: doc}, text)
	s.mu.Unlock()
	s.send("comment_created", body)
	return c
}

// Mention is how a comment names an account.
func Mention(a Account) string { return "[~accountid:" + a.ID + "]" }

// comment keeps one and gives its event, in which the body is wiki markup; the
// lock is held.
func (s *Sim) comment(c Comment, text string) (Comment, map[string]any) {
	c.ID, c.Created = s.id(), s.opts.Clock.Now()
	s.comments = append(s.comments, c)
	body := s.event("comment_created", c.Author, *s.issues[c.Issue], nil)
	body["comment"] = map[string]any{"id": c.ID, "body": text, "author": wire(c.Author)}
	delete(body, "user")
	return c, body
}

func wire(a Account) map[string]any {
	return map[string]any{"accountId": a.ID, "displayName": a.Name, "accountType": a.Type, "active": true}
}

func (s *Sim) event(name string, by Account, i Issue, more map[string]any) map[string]any {
	body := map[string]any{"timestamp": s.opts.Clock.Now().UnixMilli(), "webhookEvent": name, "user": wire(by), "issue": map[string]any{
		"id": i.ID, "key": i.Key, "fields": map[string]any{"summary": i.Summary, "labels": slices.Concat([]string{}, i.Labels),
			"description": "h1. wiki markup", "project": map[string]any{"key": projectOf(i.Key)}}}}
	for name, v := range more {
		body[name] = v
	}
	return body
}

func projectOf(key string) string { project, _, _ := strings.Cut(key, "-"); return project }

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

// Mails are all that were sent, the oldest first.
func (s *Sim) Mails() []Mail {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.mails)
}

// Events are the webhooks that were sent, the oldest first.
func (s *Sim) Events() []Event {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.events)
}

// Redeliver sends an event again, as Jira does that got no answer.
func (s *Sim) Redeliver(e Event) Event {
	e.Header = e.Header.Clone()
	e.Header.Set("X-Atlassian-Webhook-Retry", "1")
	return s.post(e)
}

// Sign proves a body as the site's webhook does.
func (s *Sim) Sign(h http.Header, body []byte) error {
	if !s.opts.JWT {
		mac := hmac.New(sha256.New, []byte(s.opts.SigningSecret))
		mac.Write(body)
		h.Set("X-Hub-Signature", "sha256="+hex.EncodeToString(mac.Sum(nil)))
		return nil
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.HS256, Key: []byte(s.opts.SigningSecret)}, nil)
	if err != nil {
		return err
	}
	now := s.opts.Clock.Now()
	token, err := jwt.Signed(signer).Claims(jwt.Claims{Issuer: "jira", IssuedAt: jwt.NewNumericDate(now), Expiry: jwt.NewNumericDate(now.Add(3 * time.Minute))}).Serialize()
	if err != nil {
		return err
	}
	h.Set("Authorization", "Bearer "+token)
	return nil
}

// send proves an event and sends it. The lock is not held: whoever gets one may
// call back.
func (s *Sim) send(name string, v map[string]any) {
	body, err := json.Marshal(v)
	if err != nil {
		panic(err) // of values made here
	}
	h := http.Header{"Content-Type": {"application/json"}, "X-Atlassian-Webhook-Identifier": {uuid.NewString()}, "X-Atlassian-Webhook-Flow": {"Primary"}}
	e := Event{Name: name, Header: h, Body: body}
	if e.Err = s.Sign(h, body); e.Err == nil {
		e = s.post(e)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.events = append(s.events, e)
}

func (s *Sim) post(e Event) Event {
	s.mu.Lock()
	to, integ := s.to, s.integ
	s.mu.Unlock()
	if to != nil {
		e.Reply, e.Err = to.Post("jira", integ, e.Header.Clone(), e.Body)
	}
	return e
}

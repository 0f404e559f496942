package jira

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/oz-platform/cloudagents/task"
	"github.com/oz-platform/cloudagents/trigger"
	"github.com/oz-platform/cloudagents/trigger/integration"
	"github.com/oz-platform/cloudagents/trigger/internal/tracker"
)

// The secrets of an integration.
const (
	SecretSigning = "signing_secret"
	SecretToken   = "token"
)

// PerMinute bounds the events that are taken of one integration.
const PerMinute = 600

// Options holds what an Origin can do without. The zero value is ready to use.
type Options struct {
	// APIURL is where the API is, instead of where the settings say: for tests.
	APIURL string
	// HTTPClient calls it. Default: one that follows no redirects.
	HTTPClient *http.Client
	// Clock tells the time. Default: the machine's.
	Clock task.Clock
}

// Origin takes what Jira sends to integrations, and answers there. Safe for
// concurrent use.
type Origin struct {
	store  *integration.Store
	caller tracker.Caller
	url    string

	mu     sync.Mutex
	agents map[string]agent // by the integration's UID
}

// agent is whose a token is, for a while.
type agent struct {
	id, token string
	until     time.Time
}

const (
	agentLife = 10 * time.Minute
	maxAgents = 1000
)

// Compile-time proof of what it is.
var (
	_ trigger.Reporter = (*Origin)(nil)
	_ trigger.Sourcer  = (*Origin)(nil)
)

// NewOrigin returns an Origin of the integrations in store. opts may be nil.
func NewOrigin(store *integration.Store, opts *Options) *Origin {
	var o Options
	if opts != nil {
		o = *opts
	}
	return &Origin{store: store, caller: tracker.NewCaller(o.HTTPClient, o.Clock), url: o.APIURL, agents: map[string]agent{}}
}

// Info implements trigger.Origin.
func (*Origin) Info() trigger.Info { return trigger.Info{Name: string(integration.Jira)} }

// Sources implements trigger.Sourcer.
func (o *Origin) Sources(ctx context.Context) ([]string, error) {
	return o.store.Sources(ctx, integration.Jira)
}

// Whose names the integration that a request is for, by its address alone.
func (o *Origin) Whose(ctx context.Context, r trigger.Request) (trigger.Arrival, error) {
	_, a, err := o.store.Listening(ctx, integration.Jira, r, PerMinute)
	return a, err
}

// Accept implements trigger.Origin.
func (o *Origin) Accept(ctx context.Context, r trigger.Request) (trigger.Arrival, error) {
	a, err := o.Whose(ctx, r)
	if err != nil {
		return a, err
	}
	i, settings, err := o.load(ctx, a.Source)
	if err != nil {
		return a, err
	}
	secret, err := o.store.Secret(ctx, i, SecretSigning)
	if err != nil {
		return a, err
	}
	if err := settings.Proof.verify(secret, r.Header, r.Body, r.Time); err != nil {
		return a, err
	}
	if !i.Enabled {
		return a, task.Errorf(task.CodeIntegrationDisabled, "the integration %q is switched off", i.Name)
	}
	e, _, err := parse(r.Body)
	if err != nil {
		return a, err
	}
	if err := fresh(e.at, r.Time); err != nil {
		return a, err
	}
	var p payload
	if err := json.Unmarshal(r.Body, &p); err == nil {
		a.Event = eventName(p.Event)
	}
	a.Key = keyOf(r.Body)
	return a, nil
}

// load reads the integration of a source.
func (o *Origin) load(ctx context.Context, source string) (integration.Integration, Settings, error) {
	i, err := o.store.Load(ctx, integration.Jira, strings.TrimPrefix(source, string(integration.Jira)+"/"))
	if err != nil {
		return i, Settings{}, err
	}
	s, err := ParseSettings(i.Settings)
	return i, s, err
}

// client calls Jira for an integration.
func (o *Origin) client(ctx context.Context, i integration.Integration, s Settings) (client, string, error) {
	token, err := o.store.Secret(ctx, i, SecretToken)
	if err != nil {
		return client{}, "", err
	}
	return newClient(o.caller, orElse(o.url, s.base()), s, string(token)), string(token), nil
}

// me is the account behind an integration's token.
func (o *Origin) me(ctx context.Context, i integration.Integration, c client, token string) (string, error) {
	o.mu.Lock()
	known, ok := o.agents[i.UID]
	o.mu.Unlock()
	now := o.caller.Clock.Now()
	if ok && known.token == token && now.Before(known.until) {
		return known.id, nil
	}
	a, err := c.myself(ctx)
	if err == nil && a.AccountID == "" {
		err = errors.New("ask who we are: the answer names nobody")
	}
	if err != nil {
		return "", tracker.ForPlan("Jira", err)
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.agents) >= maxAgents {
		clear(o.agents)
	}
	o.agents[i.UID] = agent{id: a.AccountID, token: token, until: now.Add(agentLife)}
	return a.AccountID, nil
}

// Plan implements trigger.Origin.
func (o *Origin) Plan(ctx context.Context, d task.Delivery) (trigger.Plan, error) {
	i, settings, err := o.load(ctx, d.Source)
	if errors.Is(err, task.ErrNotFound) {
		return trigger.Plan{Reason: "the integration was deleted"}, nil
	}
	if err != nil {
		return trigger.Plan{}, err
	}
	if !i.Enabled {
		return trigger.Plan{Reason: "the integration is switched off"}, nil
	}
	e, reason, err := parse(d.Body)
	if err != nil || reason != "" {
		return trigger.Plan{Reason: reason}, err
	}
	if reason := settings.ignores(e); reason != "" {
		return trigger.Plan{Reason: reason}, nil
	}
	c, token, err := o.client(ctx, i, settings)
	if err != nil {
		return trigger.Plan{}, err
	}
	me, err := o.me(ctx, i, c, token)
	switch {
	case err != nil:
		return trigger.Plan{}, err
	case e.who.AccountID == me:
		return trigger.Plan{Reason: "the agent itself did this"}, nil
	case len(e.labels) == 0 && !strings.Contains(e.comment, mention(me)):
		return trigger.Plan{Reason: "the comment does not mention the agent"}, nil
	}
	return o.admit(ctx, d, i, c, settings, e)
}

// ignores says why an event does not count; empty when it may.
func (s Settings) ignores(e event) string {
	switch {
	case len(s.Projects) > 0 && !slices.Contains(s.Projects, e.project):
		return "the project " + e.project + " does not count"
	case len(e.labels) > 0 && !slices.Contains(e.labels, s.Label):
		return "the label " + s.Label + " was not added"
	}
	return ""
}

// admit lets an event through if whoever caused it may.
func (o *Origin) admit(ctx context.Context, d task.Delivery, i integration.Integration, c client, settings Settings, e event) (trigger.Plan, error) {
	admission, err := o.store.Admit(ctx, i, e.who.AccountID, e.who.bot())
	if err != nil {
		return trigger.Plan{}, err
	}
	h, err := trigger.HeaderOf(d)
	if err != nil {
		return trigger.Plan{}, err
	}
	switch {
	case admission.Refused && e.who.bot():
		return trigger.Plan{Reason: admission.Reason}, nil
	case admission.Refused:
		return trigger.Plan{}, task.Errorf(task.CodeExternalAuthRequired, "%s of Jira starts nothing: %s", orElse(e.name(), "somebody"), admission.Reason)
	case admission.Held && h.ApprovedBy == (task.Principal{}):
		return trigger.Plan{Held: true, Reason: admission.Reason}, nil
	case admission.Held:
		admission.Untrusted = true // a person let the event through, which vouches for nobody
	}
	full, err := c.issue(ctx, e.issue)
	if err != nil {
		return trigger.Plan{}, tracker.ForPlan("Jira", err)
	}
	s, err := start(i, admission, settings, e, full)
	return trigger.Plan{Starts: []trigger.Start{s}}, err
}

func (e event) name() string {
	return task.CutReason(strings.ToValidUTF8(strings.Join(strings.Fields(e.who.DisplayName), " "), ""), 100)
}

// address is where to answer.
type address struct {
	Issue   string `json:"issue"`
	Account string `json:"account,omitempty"`
	Name    string `json:"name,omitempty"`
}

func (e event) address() address {
	return address{Issue: e.issue, Account: task.CutReason(e.who.AccountID, 200), Name: e.name()}
}

// maxWords bounds what of an event stands in a prompt, in bytes; the rest is in
// the file.
const maxWords = 32 << 10

// start is the run that an event makes, or what it says to the one that is
// about the issue.
func start(i integration.Integration, a integration.Admission, settings Settings, e event, full item) (trigger.Start, error) {
	s := i.Start(a)
	what := fmt.Sprintf("the Jira issue %s (%s)", e.key, strings.Join(strings.Fields(full.Fields.Summary), " "))
	words := fmt.Sprintf("%s put the label %s on %s. Do what it asks for.", orElse(e.name(), "Somebody"), settings.Label, what)
	if len(e.labels) == 0 {
		words = fmt.Sprintf("%s commented on %s:\n\n%s", orElse(e.name(), "Somebody"), what, task.CutReason(strings.ToValidUTF8(e.comment, ""), maxWords))
		s.OnlyGoOn = true
	}
	words += "\n\nThe issue with its newest comments is in the attached file " + tracker.IssueFile + "."
	s.Kind = task.SourceJira
	s.Title = task.CutReason(strings.Join(strings.Fields(strings.ToValidUTF8(e.key+" "+full.Fields.Summary, "")), " "), 200)
	s.URL = settings.Site + "/browse/" + e.key
	s.Entity = i.Source() + " issue " + e.issue
	s.Files = []trigger.File{file(settings, full)}
	s.Metadata["jira_issue"] = e.key
	s.Prompt = i.Compose(words)
	s.Message = s.Prompt
	var err error
	if s.Address, err = json.Marshal(e.address()); err != nil {
		return s, fmt.Errorf("encode address: %w", err)
	}
	return s, nil
}

// file is the issue for the agent.
func file(s Settings, i item) trigger.File {
	t := tracker.Issue{Key: i.Key, Title: i.Fields.Summary, URL: s.Site + "/browse/" + i.Key, State: i.Fields.Status.Name, Labels: i.Fields.Labels,
		Text: Text(i.Fields.Description)}
	for _, c := range i.comments {
		t.Comments = append(t.Comments, tracker.Comment{Author: c.Author.DisplayName, At: c.at(), Text: Text(c.Body)})
	}
	return t.File()
}

package linear

import (
	"context"
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
	"github.com/oz-platform/cloudagents/trigger/webhook"
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
	// APIURL is where Linear's GraphQL API is. Default: DefaultAPIURL.
	APIURL string
	// HTTPClient calls it. Default: one that follows no redirects.
	HTTPClient *http.Client
	// Clock tells the time. Default: the machine's.
	Clock task.Clock
}

// Origin takes what Linear sends to integrations, and answers there. Safe for
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
	node
	token string
	until time.Time
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
	if o.APIURL == "" {
		o.APIURL = DefaultAPIURL
	}
	return &Origin{store: store, caller: tracker.NewCaller(o.HTTPClient, o.Clock), url: o.APIURL, agents: map[string]agent{}}
}

// Info implements trigger.Origin.
func (*Origin) Info() trigger.Info { return trigger.Info{Name: string(integration.Linear)} }

// Sources implements trigger.Sourcer.
func (o *Origin) Sources(ctx context.Context) ([]string, error) {
	return o.store.Sources(ctx, integration.Linear)
}

// Whose names the integration that a request is for, by its address alone.
func (o *Origin) Whose(ctx context.Context, r trigger.Request) (trigger.Arrival, error) {
	_, a, err := o.store.Listening(ctx, integration.Linear, r, PerMinute)
	return a, err
}

// Accept implements trigger.Origin.
func (o *Origin) Accept(ctx context.Context, r trigger.Request) (trigger.Arrival, error) {
	i, a, err := o.store.Listening(ctx, integration.Linear, r, PerMinute)
	if err != nil {
		return trigger.Arrival{}, err
	}
	secret, err := o.store.Secret(ctx, i, SecretSigning)
	if err != nil {
		return a, err
	}
	if err := webhook.Linear.Verify(secret, r.Header, r.Body, r.Time); err != nil {
		return a, err
	}
	if !i.Enabled {
		return a, task.Errorf(task.CodeIntegrationDisabled, "the integration %q is switched off", i.Name)
	}
	e, _, err := parse(r.Body)
	if err != nil {
		return a, err
	}
	a.Key, a.Event = keyOf(r.Body), eventName(r.Body, e)
	// Linear takes 200 for an answer and nothing else.
	a.Reply = &trigger.Reply{Status: http.StatusOK, Header: map[string]string{"Content-Type": "application/json"}, Body: []byte("{}")}
	return a, nil
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
	rules := slices.DeleteFunc(slices.Clone(settings.rules()), func(r Rule) bool { return !slices.Contains(e.kinds, r.Kind) })
	if len(rules) == 0 {
		return trigger.Plan{Reason: "no rule is about such events"}, nil
	}
	c, me, err := o.client(ctx, i)
	if err != nil {
		return trigger.Plan{}, err
	}
	if e.account == me.ID {
		return trigger.Plan{Reason: "the agent itself did this"}, nil
	}
	return o.judge(ctx, d, judged{i: i, e: e, c: c, me: me, rules: rules, settings: settings})
}

// judged is an event on its way to a plan.
type judged struct {
	i        integration.Integration
	settings Settings
	e        event
	c        client
	me       node
	rules    []Rule
}

func (o *Origin) judge(ctx context.Context, d task.Delivery, j judged) (trigger.Plan, error) {
	// What is said of an issue tells little of it, so that it is judged by the
	// issue as it is; a change is judged by what it says, how things were then.
	late := j.e.kinds[0] == CommentCreated || j.e.kinds[0] == AgentSession
	if !late {
		if ok, err := o.fits(ctx, j, j.e.issue); err != nil || !ok {
			return trigger.Plan{Reason: "no rule fits"}, err
		}
	}
	full, err := j.c.issue(ctx, j.e.issue.ID)
	if err != nil {
		return trigger.Plan{}, tracker.ForPlan("Linear", err)
	}
	if late {
		if ok, err := o.fits(ctx, j, full); err != nil || !ok {
			return trigger.Plan{Reason: "no rule fits"}, err
		}
	}
	return o.admit(ctx, d, j, full)
}

// admit lets an event through that a rule is about, if whoever caused it may.
func (o *Origin) admit(ctx context.Context, d task.Delivery, j judged, full issue) (trigger.Plan, error) {
	email := func(ctx context.Context) (string, error) { return j.c.email(ctx, j.e.account) }
	if j.settings.NoEmailMatch {
		email = nil
	}
	admission, err := o.store.AdmitByEmail(ctx, j.i, j.e.account, j.e.bot, email)
	if err != nil {
		return trigger.Plan{}, tracker.ForPlan("Linear", err)
	}
	h, err := trigger.HeaderOf(d)
	if err != nil {
		return trigger.Plan{}, err
	}
	switch {
	case admission.Refused && j.e.bot:
		return trigger.Plan{Reason: admission.Reason}, nil
	case admission.Refused:
		return trigger.Plan{}, task.Errorf(task.CodeExternalAuthRequired, "%s of %s starts nothing: %s", orSomebody(j.e.name), "Linear", admission.Reason)
	case admission.Held && h.ApprovedBy == (task.Principal{}):
		return trigger.Plan{Held: true, Reason: admission.Reason}, nil
	case admission.Held:
		admission.Untrusted = true // a person let the event through, which vouches for nobody
	}
	s, err := j.start(admission, full)
	return trigger.Plan{Starts: []trigger.Start{s}}, err
}

func orSomebody(name string) string {
	if name = strings.Join(strings.Fields(name), " "); name == "" {
		return "somebody"
	}
	return task.CutReason(name, 100)
}

// fits reports whether a rule fits an issue and what happened to it.
func (o *Origin) fits(ctx context.Context, j judged, i issue) (bool, error) {
	people, err := o.people(ctx, j)
	if err != nil {
		return false, err
	}
	mentioned := func(id string) bool {
		return names(j.e.text, people[id].DisplayName) || names(j.e.text, people[id].Name)
	}
	_, ok := match(j.rules, facts{kinds: j.e.kinds, issue: i, added: j.e.added, mentioned: mentioned, agent: j.me.ID})
	return ok, nil
}

// people looks up whom the rules ask to be mentioned.
func (o *Origin) people(ctx context.Context, j judged) (map[string]node, error) {
	people := map[string]node{j.me.ID: j.me}
	if !strings.ContainsAny(j.e.text, "@/") {
		return people, nil
	}
	var ids []string
	for _, r := range j.rules {
		for _, id := range r.MentionedUserIDs {
			if id != Agent && id != j.me.ID && !slices.Contains(ids, id) && len(ids) < maxIDs {
				ids = append(ids, id)
			}
		}
	}
	if len(ids) == 0 {
		return people, nil
	}
	found, err := j.c.users(ctx, ids)
	if err != nil {
		return nil, tracker.ForPlan("Linear", err)
	}
	for id, n := range found {
		people[id] = n
	}
	return people, nil
}

// address is where to answer.
type address struct {
	Issue   string `json:"issue"`
	Session string `json:"session,omitempty"`
	Thread  string `json:"thread,omitempty"` // the comment to answer below
	Account string `json:"account,omitempty"`
	Name    string `json:"name,omitempty"`
}

func (e event) address() address {
	return address{Issue: e.issue.ID, Session: e.session, Thread: e.thread, Account: task.CutReason(e.account, maxID), Name: task.CutReason(e.name, maxID)}
}

// start is the run that an event makes, or what it says to the one that is
// about the issue.
func (j judged) start(a integration.Admission, full issue) (trigger.Start, error) {
	s := j.i.Start(a)
	s.Kind = task.SourceLinear
	s.Title = title(full)
	s.URL = first(j.e.url, full.URL)
	s.Entity = j.i.Source() + " issue " + j.e.issue.ID
	s.Files = []trigger.File{file(full)}
	s.Metadata["linear_issue"] = full.Identifier
	s.Prompt = j.i.Compose(j.words(full))
	s.Message = j.i.Compose(j.words(full))
	s.OnlyGoOn, s.Stop = j.e.stop, j.e.stop
	var err error
	s.Address, err = jsonOf(j.e.address())
	return s, err
}

// words say what happened.
func (j judged) words(full issue) string {
	who, what := orSomebody(j.e.name), fmt.Sprintf("the Linear issue %s (%s)", full.Identifier, strings.Join(strings.Fields(full.Title), " "))
	head := ""
	switch kind := j.e.kinds[0]; {
	case kind == AgentSession && j.e.follow:
		head = fmt.Sprintf("%s writes to you about %s:", who, what)
	case kind == AgentSession:
		head = fmt.Sprintf("%s asks for your work on %s:", who, what)
	case kind == CommentCreated:
		head = fmt.Sprintf("%s commented on %s:", who, what)
	case kind == IssueCreated:
		head = fmt.Sprintf("%s created %s:", who, what)
	case kind == IssueAssigned:
		head = fmt.Sprintf("%s assigned %s:", who, what)
	default:
		head = fmt.Sprintf("%s changed %s:", who, what)
	}
	text := strings.TrimSpace(strings.ToValidUTF8(j.e.text, ""))
	if text == "" {
		text = "(without words)"
	}
	return head + "\n\n" + task.CutReason(text, maxWords) + "\n\nThe issue with its comments is in the attached file " + tracker.IssueFile + "."
}

// maxWords bounds what of an event stands in a prompt, in bytes; the rest is in
// the file.
const maxWords = 32 << 10

func title(i issue) string {
	return task.CutReason(strings.Join(strings.Fields(strings.ToValidUTF8(i.Identifier+" "+i.Title, "")), " "), 200)
}

// file is the issue for the agent.
func file(i issue) trigger.File {
	t := tracker.Issue{Key: i.Identifier, Title: i.Title, URL: i.URL, State: i.State.name(), Text: i.Description}
	for _, l := range i.Labels {
		t.Labels = append(t.Labels, l.name())
	}
	for _, c := range i.Comments.Nodes {
		t.Comments = append(t.Comments, tracker.Comment{Author: c.User.name(), At: c.CreatedAt, Text: c.Body})
	}
	return t.File()
}

// load reads the integration of a source.
func (o *Origin) load(ctx context.Context, source string) (integration.Integration, Settings, error) {
	i, err := o.store.Load(ctx, integration.Linear, strings.TrimPrefix(source, string(integration.Linear)+"/"))
	if err != nil {
		return i, Settings{}, err
	}
	settings, err := ParseSettings(i.Settings)
	return i, settings, err
}

// client calls Linear for an integration, as me.
func (o *Origin) client(ctx context.Context, i integration.Integration) (c client, me node, err error) {
	token, err := o.store.Secret(ctx, i, SecretToken)
	if err != nil {
		return c, me, err
	}
	c = client{caller: o.caller, url: o.url, token: string(token)}
	o.mu.Lock()
	known, ok := o.agents[i.UID]
	o.mu.Unlock()
	now := o.caller.Clock.Now()
	if ok && known.token == c.token && now.Before(known.until) {
		return c, known.node, nil
	}
	if me, err = c.viewer(ctx); err != nil {
		return c, me, tracker.ForPlan("Linear", err)
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.agents) >= maxAgents {
		clear(o.agents)
	}
	o.agents[i.UID] = agent{node: me, token: c.token, until: now.Add(agentLife)}
	return c, me, nil
}

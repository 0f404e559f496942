package gitlab

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"unicode/utf8"

	"github.com/oz-platform/cloudagents/task"
	"github.com/oz-platform/cloudagents/trigger"
	"github.com/oz-platform/cloudagents/trigger/integration"
	"github.com/oz-platform/cloudagents/trigger/internal/forge"
	"github.com/oz-platform/cloudagents/trigger/internal/tracker"
	"github.com/oz-platform/cloudagents/trigger/webhook"
)

// perMinute bounds what one integration takes in a minute.
const perMinute = 600

// Options holds what an Origin can do without. The zero value is ready to use.
type Options struct {
	// APIURL is where GitLab is asked, instead of where the settings say: for
	// tests.
	APIURL string
	// HTTPClient asks. Default: one that follows no redirects.
	HTTPClient *http.Client
	// Clock tells the time. Default: the machine's.
	Clock task.Clock
}

// Origin takes what GitLab sends to integrations, and answers there. Safe for
// concurrent use.
type Origin struct {
	store  *integration.Store
	caller tracker.Caller
	url    string

	mu sync.Mutex
	us map[string]string // our usernames, by integration and token
}

// Compile-time proof of what it is.
var (
	_ trigger.Sourcer  = (*Origin)(nil)
	_ trigger.Reporter = (*Origin)(nil)
)

// NewOrigin returns an Origin of the integrations in store. opts may be nil.
func NewOrigin(store *integration.Store, opts *Options) *Origin {
	var o Options
	if opts != nil {
		o = *opts
	}
	return &Origin{store: store, caller: tracker.NewCaller(o.HTTPClient, o.Clock), url: o.APIURL, us: map[string]string{}}
}

// Info implements trigger.Origin.
func (*Origin) Info() trigger.Info { return trigger.Info{Name: string(integration.GitLab)} }

// Sources implements trigger.Sourcer.
func (o *Origin) Sources(ctx context.Context) ([]string, error) {
	return o.store.Sources(ctx, integration.GitLab)
}

// Whose names the integration that a request is for, by its address alone.
func (o *Origin) Whose(ctx context.Context, r trigger.Request) (trigger.Arrival, error) {
	_, a, err := o.store.Listening(ctx, integration.GitLab, r, perMinute)
	return a, err
}

// Accept implements trigger.Origin.
func (o *Origin) Accept(ctx context.Context, r trigger.Request) (trigger.Arrival, error) {
	i, a, err := o.store.Listening(ctx, integration.GitLab, r, perMinute)
	if err != nil {
		return trigger.Arrival{}, err
	}
	secret, err := o.store.Secret(ctx, i, SecretSigning)
	if err == nil {
		err = webhook.GitLab.Verify(secret, r.Header, r.Body, r.Time)
	}
	if err != nil {
		return a, err
	}
	if !i.Enabled {
		return a, task.Errorf(task.CodeIntegrationDisabled, "the integration %q is turned off", i.Name)
	}
	if !utf8.Valid(r.Body) || !json.Valid(r.Body) {
		return a, task.Errorf(task.CodeInvalidRequest, "the body is not JSON")
	}
	return arrival(a, r)
}

// arrival names an event. Of one that does not count nothing is kept but its
// kind.
func arrival(a trigger.Arrival, r trigger.Request) (trigger.Arrival, error) {
	hook := r.Header.Get("X-Gitlab-Event")
	if !headerForm(hook) {
		return a, task.Errorf(task.CodeInvalidRequest, "the header X-Gitlab-Event must name the event")
	}
	delivery := deliveryOf(r)
	kind, ok := counted[hook]
	a.Event, a.Key, a.Header = hook, delivery, map[string]string{"event": kind}
	if !ok {
		a.Body = []byte("{}")
		return a, nil
	}
	e, err := parse(kind, r.Body)
	if err != nil {
		return a, err
	}
	a.Event, a.Key = e.name(), e.key(delivery)
	return a, nil
}

// deliveryOf names a delivery the same whenever it is sent again. GitLab before
// 17.4 gives no name; its X-Gitlab-Event-UUID may be that of several events.
func deliveryOf(r trigger.Request) string {
	for _, name := range []string{"Idempotency-Key", "Webhook-Id"} {
		if id := r.Header.Get(name); headerForm(id) {
			return id
		}
	}
	sum := sha256.Sum256(r.Body)
	return "body " + hex.EncodeToString(sum[:])
}

func headerForm(s string) bool {
	return s != "" && len(s) <= 100 && !strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r > '~' })
}

// occasion is a delivery with all that is known of it.
type occasion struct {
	integration.Integration
	settings Settings
	event    *event
	header   trigger.Header
	delivery task.Delivery
}

// occasion reads a delivery; reason says why it does not count.
func (o *Origin) occasion(ctx context.Context, d task.Delivery) (x occasion, reason string, err error) {
	x.delivery = d
	x.Integration, err = o.store.Load(ctx, integration.GitLab, strings.TrimPrefix(d.Source, string(integration.GitLab)+"/"))
	if errors.Is(err, task.ErrNotFound) {
		return x, "the integration was deleted", nil
	}
	if err != nil {
		return x, "", err
	}
	if !x.Enabled {
		return x, "the integration is turned off", nil
	}
	if x.settings, err = Parse(x.Settings); err != nil {
		return x, "", x.Integration.NotConfigured(err)
	}
	if x.header, err = trigger.HeaderOf(d); err != nil {
		return x, "", err
	}
	kind := x.header.Fields["event"]
	if kind == "" { // let through again, or one that does not count: Event tells
		kind, _, _ = strings.Cut(d.Event, ".")
	}
	switch kind {
	case onNote, onIssue, onMerge, onPipeline:
	default:
		return x, "events of the kind " + kind + " start nothing", nil
	}
	x.event, err = parse(kind, d.Body)
	return x, "", err
}

// matches is what an event means to an integration.
type matches struct {
	automations []Automation // that wait for it
	// spoken says that somebody speaks to the bot, and mention that this is no
	// automation's.
	spoken, mention bool
}

// matches looks for the automations that wait for an event, and for the handle.
// A mention that automations wait for is theirs.
func (x occasion) matches() (m matches) {
	e, taken := x.event, false
	for _, a := range x.settings.Automations {
		if a.matches(e, x.settings.Handle) {
			m.automations = append(m.automations, a)
			for _, k := range a.On {
				taken = taken || k.mentioned()
			}
		}
	}
	called := e.thing() != nil && e.mentions(x.settings.Handle)
	m.mention = called && !taken && !x.settings.IgnoreMentions
	m.spoken = m.mention || called && taken
	return m
}

// Plan implements trigger.Origin.
func (o *Origin) Plan(ctx context.Context, d task.Delivery) (trigger.Plan, error) {
	x, reason, err := o.occasion(ctx, d)
	if err != nil || reason != "" {
		return trigger.Plan{Reason: reason}, err
	}
	m := x.matches()
	if len(m.automations) == 0 && !m.spoken {
		return trigger.Plan{Reason: "nobody is spoken to, and no automation waits for this"}, nil
	}
	own, err := o.own(ctx, x)
	if err != nil || own != "" {
		return trigger.Plan{Reason: own}, err
	}
	admission, err := o.admit(ctx, x)
	if err != nil {
		return trigger.Plan{}, err
	}
	c := forge.Case{Provider: integration.GitLab, Author: x.event.User.Username, Admission: admission, Spoken: m.spoken}
	if list := x.settings.Projects; len(list) > 0 && !forge.In(list, x.event.Project.Path) {
		c.Elsewhere = "the integration is not set up for " + x.event.Project.Path + ": an administrator can add it to its projects"
	}
	switch p, err := c.Judge(); {
	case err != nil:
		return trigger.Plan{}, err
	case p != nil:
		return *p, nil
	}
	return o.plan(ctx, x, m, admission)
}

// own says why an event counts for nothing because of who set it off: programs
// do not, but for pipelines, and we least of all.
func (o *Origin) own(ctx context.Context, x occasion) (reason string, err error) {
	e := x.event
	switch {
	case e.Kind == onPipeline:
		return "", nil
	case e.User.bot():
		return "@" + e.User.Username + " is a program", nil
	case strings.HasPrefix(e.words(), forge.MarkStart):
		return "this integration wrote it", nil
	}
	c, err := o.client(ctx, x.Integration, x.settings)
	if err != nil {
		return "", err
	}
	us, err := c.username(ctx)
	if err != nil {
		return "", tracker.ForPlan("GitLab", err)
	}
	if strings.EqualFold(e.User.Username, us) {
		return "this integration did it", nil
	}
	return "", nil
}

// admit judges who set the event off. Pipelines of the project's own branches
// were set off by who may write there, and run as the integration's creator.
func (o *Origin) admit(ctx context.Context, x occasion) (integration.Admission, error) {
	e := x.event
	switch {
	case x.header.ApprovedBy != (task.Principal{}):
		return integration.Admission{Principal: x.header.ApprovedBy}, nil
	case e.Kind == onPipeline && !e.foreign():
		return integration.Admission{Principal: x.Creator}, nil
	}
	return o.store.Admit(ctx, x.Integration, AccountKey(x.settings.URL, e.User.ID), e.User.bot())
}

// AccountKey names an account of a server for integration.Link.
func AccountKey(server string, id int64) string {
	if server == DefaultURL {
		return strconv.FormatInt(id, 10)
	}
	return server + " " + strconv.FormatInt(id, 10)
}

// plan makes the runs.
func (o *Origin) plan(ctx context.Context, x occasion, m matches, admission integration.Admission) (trigger.Plan, error) {
	files, err := o.files(ctx, x)
	if err != nil {
		return trigger.Plan{}, err
	}
	var p trigger.Plan
	if m.mention {
		s, err := x.start(nil, admission, files)
		if err != nil {
			return p, err
		}
		p.Starts = append(p.Starts, s)
	}
	for _, a := range m.automations {
		s, err := x.start(&a, admission, files)
		if err != nil {
			return p, err
		}
		p.Starts = append(p.Starts, s)
	}
	return p, nil
}

// start is the run of a mention, or of an automation.
func (x occasion) start(a *Automation, admission integration.Admission, files []trigger.File) (trigger.Start, error) {
	e := x.event
	s := x.Start(admission)
	s.Kind, s.Title, s.URL, s.Files, s.Entity = task.SourceGitLabWebhook, x.title(), e.url(), files, x.entity(a)
	first, follow := x.Integration, x.Integration
	follow.Prompt = ""
	if a != nil {
		s.Name = a.Name
		s.AgentUID = cmp.Or(a.AgentUID, s.AgentUID)
		s.Metadata["automation"] = a.Name
		first.Prompt = strings.TrimSpace(first.Prompt + "\n\n" + a.Prompt)
		follow.Prompt = a.Prompt
	}
	s.Repository = x.repository(admission.Untrusted)
	s.Metadata["gitlab_project"] = e.Project.Path
	if t := e.thing(); t != nil {
		s.Metadata["gitlab_number"] = fmt.Sprint(t.IID)
	}
	told := x.told(admission.Untrusted)
	s.Prompt, s.Message = first.Compose(told), follow.Compose(told)
	if to := x.address(); (to.IID > 0 || to.Commit != "") && (a == nil || !a.Quiet) {
		var err error
		if s.Address, err = json.Marshal(to); err != nil {
			return s, fmt.Errorf("encode where to answer: %w", err)
		}
	}
	return s, nil
}

// repository is what the run has in its workspace beside what its environment
// has: at the newest commit of the merge request or pipeline. What a fork changes
// is a stranger's: setup commands run none of it in a run that has secrets. Nil
// for a project that is not public, where nobody lends the run.
func (x occasion) repository(untrusted bool) *trigger.Repository {
	e := x.event
	at := strings.LastIndexByte(e.Project.Path, '/')
	if at <= 0 || x.settings.NoClone || e.Project.Visibility < public && (untrusted || x.settings.NoGitAccess) {
		return nil
	}
	r := &trigger.Repository{Owner: e.Project.Path[:at], Name: e.Project.Path[at+1:], URL: x.cloneURL()}
	if c := e.commit(); c != "" && (untrusted || !e.fork()) {
		r.Commit = c
	}
	return r
}

// public is the visibility of projects that everybody may clone.
const public = 20

// reference is how people name what the event is about, such as
// group/project!7.
func (x occasion) reference() string {
	e := x.event
	switch t := e.thing(); {
	case t == nil:
		return e.Project.Path
	case e.isMerge():
		return fmt.Sprintf("%s!%d", e.Project.Path, t.IID)
	default:
		return fmt.Sprintf("%s#%d", e.Project.Path, t.IID)
	}
}

// entity is what a run is about: a thread on a change, an issue or merge
// request, or what an automation makes of one.
func (x occasion) entity(a *Automation) string {
	e, t := x.event, x.event.thing()
	if t == nil {
		return "" // each pipeline makes a run of its own
	}
	kind := "#"
	if e.isMerge() {
		kind = "!"
	}
	entity := fmt.Sprintf("gitlab %s %d%s%d", x.settings.URL, e.Project.ID, kind, t.IID)
	switch {
	case a != nil && !a.Join:
		entity += " " + a.Name + " of " + x.UID
	case a == nil && e.Attrs.NoteType == "DiffNote":
		entity += " thread " + e.Attrs.Discussion
	}
	return entity
}

func (x occasion) title() string {
	t := x.reference()
	if about := x.event.thing(); about != nil {
		t += ": " + about.Title
	}
	if x.event.Kind == onPipeline {
		t += ": pipeline " + x.event.Attrs.Status
	}
	return forge.Title(t)
}

// address is where a run answers, and to what.
type address struct {
	Integration string `json:"integration"`
	Project     int64  `json:"project"`
	// Merge says that IID is a merge request's and no issue's; 0 for none.
	Merge bool  `json:"merge,omitempty"`
	IID   int64 `json:"iid,omitempty"`
	// Discussion is the thread, and Note what is answered in it; empty for the
	// issue or merge request itself.
	Discussion string `json:"discussion,omitempty"`
	Note       int64  `json:"note,omitempty"`
	// Commit gets a status; empty for none.
	Commit string `json:"commit,omitempty"`
	Status string `json:"status,omitempty"` // its name
}

func (x occasion) address() address {
	e := x.event
	a := address{Integration: x.UID, Project: e.Project.ID, Merge: e.isMerge()}
	if t := e.thing(); t != nil {
		a.IID = t.IID
	}
	if e.Kind == onNote {
		a.Discussion, a.Note = e.Attrs.Discussion, e.Attrs.ID
	}
	if x.settings.CommitStatus {
		a.Commit, a.Status = e.commit(), x.settings.Handle
	}
	return a
}

// lane keeps what is said in one place in order.
func (a address) lane() string {
	return fmt.Sprintf("gitlab %s %d %t %d %s", a.Integration, a.Project, a.Merge, a.IID, a.Discussion)
}

package github

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"go.uber.org/zap"

	"github.com/oz-platform/cloudagents/task"
	"github.com/oz-platform/cloudagents/trigger"
	"github.com/oz-platform/cloudagents/trigger/integration"
	"github.com/oz-platform/cloudagents/trigger/internal/forge"
	"github.com/oz-platform/cloudagents/trigger/webhook"
)

// DefaultAPIURL is where GitHub is asked.
const DefaultAPIURL = "https://api.github.com"

// perMinute bounds what one integration takes in a minute.
const perMinute = 600

// Options holds what an Origin can do without. The zero value is ready to use.
type Options struct {
	// APIURL is where GitHub is asked; GitHub Enterprise Server has its own.
	// Default: DefaultAPIURL.
	APIURL string

	// GitHost is where git finds the repositories, with the port if it has one.
	// Default: github.com, or for another APIURL the host of that.
	GitHost string

	// HTTPClient asks. Default: one that waits 30 s.
	HTTPClient *http.Client

	// Clock tells the time. Default: the machine's.
	Clock task.Clock

	// RepairEvery is how often each webhook is asked for deliveries that never
	// arrived; below 0 never. Default 5 min.
	RepairEvery time.Duration

	// Logger receives what Run has nobody to return to. Default: none.
	Logger *zap.Logger
}

// At fills in APIURL and GitHost for the GitHub that people find at an address:
// github.com, one of its own under ghe.com, or a GitHub Enterprise Server. The
// address is an http or https URL without a path.
func (o *Options) At(address string) {
	o.GitHost = forge.HostOf(address)
	scheme, _, _ := strings.Cut(address, "://")
	switch host := strings.ToLower(o.GitHost); {
	case host == "github.com":
		o.APIURL = DefaultAPIURL
	case strings.HasSuffix(host, ".ghe.com"):
		o.APIURL = scheme + "://api." + host
	default:
		o.APIURL = scheme + "://" + o.GitHost + "/api/v3"
	}
}

// Origin takes what GitHub sends to integrations, and answers there. Safe for
// concurrent use.
type Origin struct {
	store  *integration.Store
	opts   Options
	tokens tokens
}

// Compile-time proof of what it is.
var (
	_ trigger.Sourcer  = (*Origin)(nil)
	_ trigger.Reporter = (*Origin)(nil)
	_ trigger.Trigger  = (*Origin)(nil)
)

// NewOrigin returns an Origin of the integrations in store. opts may be nil.
func NewOrigin(store *integration.Store, opts *Options) *Origin {
	o := &Origin{store: store, tokens: tokens{held: map[string]Token{}, names: map[string]string{}}}
	if opts != nil {
		o.opts = *opts
	}
	o.opts.APIURL = cmp.Or(o.opts.APIURL, DefaultAPIURL)
	if o.opts.GitHost == "" {
		if o.opts.GitHost = forge.HostOf(o.opts.APIURL); o.opts.APIURL == DefaultAPIURL {
			o.opts.GitHost = "github.com"
		}
	}
	client := http.Client{Timeout: 30 * time.Second}
	if o.opts.HTTPClient != nil {
		client = *o.opts.HTTPClient
	}
	client.CheckRedirect = sameMethod
	o.opts.HTTPClient = &client
	if o.opts.Clock == nil {
		o.opts.Clock = task.SystemClock()
	}
	if o.opts.Logger == nil {
		o.opts.Logger = zap.NewNop()
	}
	o.opts.RepairEvery = cmp.Or(o.opts.RepairEvery, defaultRepairEvery)
	return o
}

// sameMethod follows redirections, as of repositories with a new name, but not
// where a change would become a mere look.
func sameMethod(req *http.Request, via []*http.Request) error {
	if len(via) > 5 || req.Method != via[0].Method {
		return http.ErrUseLastResponse
	}
	return nil
}

// Info implements trigger.Origin.
func (o *Origin) Info() trigger.Info { return trigger.Info{Name: string(integration.GitHub)} }

// Sources implements trigger.Sourcer.
func (o *Origin) Sources(ctx context.Context) ([]string, error) {
	return o.store.Sources(ctx, integration.GitHub)
}

// Whose names the integration that a request is for, by its address alone.
func (o *Origin) Whose(ctx context.Context, r trigger.Request) (trigger.Arrival, error) {
	_, a, err := o.store.Listening(ctx, integration.GitHub, r, perMinute)
	return a, err
}

// Accept implements trigger.Origin.
func (o *Origin) Accept(ctx context.Context, r trigger.Request) (trigger.Arrival, error) {
	i, a, err := o.store.Listening(ctx, integration.GitHub, r, perMinute)
	if err != nil {
		return trigger.Arrival{}, err
	}
	secret, err := o.store.Secret(ctx, i, SecretSigning)
	if err == nil {
		err = webhook.GitHub.Verify(secret, r.Header, r.Body, r.Time)
	}
	if err != nil {
		return a, err
	}
	if !i.Enabled {
		return a, task.Errorf(task.CodeIntegrationDisabled, "the integration %q is turned off", i.Name)
	}
	body, err := payload(r)
	if err != nil {
		return a, err
	}
	kind := r.Header.Get("X-GitHub-Event")
	if kind == onPing {
		return trigger.Arrival{Reply: &trigger.Reply{Status: http.StatusOK, Header: map[string]string{"Content-Type": "text/plain"}, Body: []byte("pong")}}, nil
	}
	return arrival(a, kind, r.Header.Get("X-GitHub-Delivery"), body)
}

// arrival names an event. Of one that does not count nothing is kept but its
// kind (Oz platform, INT-7).
func arrival(a trigger.Arrival, kind, delivery string, body []byte) (trigger.Arrival, error) {
	if !headerForm(kind) || !headerForm(delivery) {
		return a, task.Errorf(task.CodeInvalidRequest, "the headers X-GitHub-Event and X-GitHub-Delivery must name the event and the delivery")
	}
	a.Event, a.Key, a.Body, a.Header = kind, delivery, body, map[string]string{"event": kind, "delivery": delivery}
	if !slices.Contains(counted, kind) {
		a.Body = []byte("{}")
		return a, nil
	}
	e, err := parse(kind, body)
	if err != nil {
		return a, err
	}
	a.Event, a.Key = kind+"."+e.Action, e.key(delivery)
	return a, nil
}

func headerForm(s string) bool {
	return s != "" && len(s) <= 100 && !strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r > '~' })
}

// payload is the event, in either form that GitHub offers.
func payload(r trigger.Request) ([]byte, error) {
	body := r.Body
	if t, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type")); t == "application/x-www-form-urlencoded" {
		form, err := url.ParseQuery(string(r.Body))
		if err != nil || !form.Has("payload") {
			return nil, task.Errorf(task.CodeInvalidRequest, "the body is no form with a payload")
		}
		body = []byte(form.Get("payload"))
	}
	if !utf8.Valid(body) || !json.Valid(body) {
		return nil, task.Errorf(task.CodeInvalidRequest, "the body is not JSON")
	}
	return body, nil
}

// occasion is a delivery with all that is known of it.
type occasion struct {
	integration.Integration
	settings Settings
	event    *event
	header   trigger.Header
	delivery task.Delivery
	// commit is the newest of the pull request or check; empty when it is not
	// about one, or not known. fork says that it is in another repository.
	commit string
	fork   bool
	// untrusted says that nobody vouches for who set the event off.
	untrusted bool
	host      string // of the repositories
}

// occasion reads a delivery; reason says why it does not count.
func (o *Origin) occasion(ctx context.Context, d task.Delivery) (x occasion, reason string, err error) {
	x.delivery, x.host = d, o.opts.GitHost
	x.Integration, err = o.store.Load(ctx, integration.GitHub, strings.TrimPrefix(d.Source, string(integration.GitHub)+"/"))
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
	if kind == "" { // let through again: Event is all that is left of the header
		kind, _, _ = strings.Cut(d.Event, ".")
	}
	if !slices.Contains(counted, kind) {
		return x, "events of the kind " + kind + " start nothing", nil
	}
	if x.event, err = parse(kind, d.Body); err != nil {
		return x, "", err
	}
	return x, "", nil
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
	return o.judge(ctx, x, m, admission)
}

// judge says what may be made of an event.
func (o *Origin) judge(ctx context.Context, x occasion, m matches, admission integration.Admission) (trigger.Plan, error) {
	c := forge.Case{Provider: integration.GitHub, Author: x.event.author().Login, Admission: admission, Spoken: m.spoken}
	if repos := x.settings.Repositories; len(repos) > 0 && !forge.In(repos, x.event.Repo.FullName) {
		c.Elsewhere = "the integration is not set up for " + x.event.Repo.FullName + ": an administrator can add it to its repositories"
	}
	switch p, err := c.Judge(); {
	case err != nil:
		return trigger.Plan{}, err
	case p != nil:
		return *p, nil
	}
	return o.plan(ctx, x, m, admission)
}

// matches is what an event means to an integration.
type matches struct {
	// automations wait for it.
	automations []Automation
	// spoken says that somebody speaks to the bot, and mention that this is no
	// automation's.
	spoken, mention bool
}

// matches looks for the automations that wait for an event, and for the handle.
// A mention that automations wait for is theirs.
func (x occasion) matches() (m matches) {
	e, handle := x.event, x.settings.Handle
	taken := false
	for _, a := range x.settings.Automations {
		if a.matches(e, handle) {
			m.automations = append(m.automations, a)
			taken = taken || slices.ContainsFunc(a.On, Kind.mentioned)
		}
	}
	called := slices.Contains(Mentioned(e.words()), strings.ToLower(handle))
	m.mention = called && !taken && !x.settings.IgnoreMentions && e.kind != onIssue
	m.spoken = m.mention || called && taken
	return m
}

// own says why an event counts for nothing because of who set it off: programs
// do not, but for checks, and we least of all.
func (o *Origin) own(ctx context.Context, x occasion) (reason string, err error) {
	e := x.event
	if e.Suite != nil && x.settings.AppID > 0 && e.Suite.App.ID == x.settings.AppID {
		return "these are this integration's own checks", nil
	}
	if e.kind == onCheckSuite || e.kind == onWorkflowRun {
		return "", nil
	}
	for _, who := range []account{e.Sender, e.author()} {
		if who.bot() {
			return "@" + who.Login + " is a program", nil
		}
	}
	if strings.HasPrefix(e.words(), forge.MarkStart) {
		return "this integration wrote it", nil
	}
	us, err := o.us(ctx, x.Integration, x.settings)
	if err != nil {
		return "", err
	}
	if strings.EqualFold(e.Sender.Login, us) || strings.EqualFold(e.author().Login, us) {
		return "this integration did it", nil
	}
	return "", nil
}

// admit judges who set the event off. Checks of the repository's own branches
// were set off by who may write there, and run as the integration's creator;
// those of forks by anybody.
func (o *Origin) admit(ctx context.Context, x occasion) (integration.Admission, error) {
	e := x.event
	switch {
	case x.header.ApprovedBy != (task.Principal{}):
		return integration.Admission{Principal: x.header.ApprovedBy}, nil
	case e.Run != nil && e.Run.HeadRepo.ID == e.Repo.ID, e.Suite != nil && e.Suite.HeadBranch != "": // GitHub names no branch of a fork
		return integration.Admission{Principal: x.Creator}, nil
	}
	return o.store.Admit(ctx, x.Integration, e.author().key(), e.author().bot())
}

// plan makes the runs.
func (o *Origin) plan(ctx context.Context, x occasion, m matches, admission integration.Admission) (trigger.Plan, error) {
	files, known, err := o.files(ctx, x)
	if err != nil {
		return trigger.Plan{}, err
	}
	x.commit, x.fork, x.untrusted = known.commit(x.event), known.fork(x.event), admission.Untrusted
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
	s.Kind, s.Title, s.URL, s.Files, s.Entity = task.SourceGitHubWebhook, x.title(), e.url(), files, x.entity(a)
	i := x.Integration
	if a != nil {
		s.Name = a.Name
		s.AgentUID = cmp.Or(a.AgentUID, s.AgentUID)
		s.Metadata["automation"] = a.Name
		i.Prompt = strings.TrimSpace(i.Prompt + "\n\n" + a.Prompt)
	}
	s.Repository = x.repository()
	s.Metadata["github_repo"] = e.Repo.FullName
	if n := e.number(); n > 0 {
		s.Metadata["github_number"] = fmt.Sprint(n)
	}
	s.Prompt = i.Compose(x.told())
	follow := x.Integration
	if follow.Prompt = ""; a != nil {
		follow.Prompt = a.Prompt
	}
	s.Message = follow.Compose(x.told())
	to := x.address()
	if x.settings.CheckRuns && shaForm.MatchString(x.commit) {
		to.Commit, to.Check = x.commit, x.settings.Handle
		if a != nil {
			to.Check += " / " + a.Name
		}
	}
	if (to.Number > 0 || to.Commit != "") && (a == nil || !a.Quiet) {
		var err error
		if s.Address, err = json.Marshal(to); err != nil {
			return s, fmt.Errorf("encode where to answer: %w", err)
		}
	}
	return s, nil
}

// repository is what the run has in its workspace beside what its environment
// has (Oz platform, GHM-5): at the newest commit of the pull request or check.
// What a fork changes is a stranger's: setup commands run none of it in a run
// that has secrets. Nil for a private one that nobody lends the run.
func (x occasion) repository() *trigger.Repository {
	e := x.event
	owner, name, ok := strings.Cut(e.Repo.FullName, "/")
	if !ok || x.settings.NoClone || e.Repo.Private && (x.untrusted || x.settings.NoGitAccess) {
		return nil
	}
	r := &trigger.Repository{Owner: owner, Name: name, URL: x.cloneURL()}
	if shaForm.MatchString(x.commit) && (x.untrusted || !x.fork) {
		r.Commit = x.commit
	}
	return r
}

// fork reports that what an event is about comes from another repository.
func (k knowledge) fork(e *event) bool {
	switch {
	case k.pull != nil:
		return k.pull.Head.Repo == nil || k.pull.Head.Repo.ID != e.Repo.ID // one that was deleted has none
	case e.Run != nil:
		return e.Run.HeadRepo.ID != e.Repo.ID
	case e.Suite != nil:
		return e.Suite.HeadBranch == "" // GitHub names no branch of a fork
	}
	return false
}

// entity is what a run is about: a review thread, an issue or pull request, or
// what an automation makes of one (Oz platform, GHM-4 and AUT-4).
func (x occasion) entity(a *Automation) string {
	e := x.event
	if e.number() == 0 {
		return "" // each check makes a run of its own
	}
	entity := fmt.Sprintf("github %d#%d", e.Repo.ID, e.number())
	switch {
	case a != nil && !a.Join:
		entity += " " + a.Name + " of " + x.UID
	case a == nil && e.thread() > 0:
		entity += fmt.Sprintf(" thread %d", e.thread())
	}
	return entity
}

func (x occasion) title() string {
	e := x.event
	t := e.Repo.FullName
	if n := e.number(); n > 0 {
		t = fmt.Sprintf("%s#%d", t, n)
	}
	switch {
	case e.thing() != nil:
		t += ": " + e.thing().Title
	case e.Run != nil:
		t += ": " + e.Run.Name + " " + e.Run.Conclusion
	case e.Suite != nil:
		t += ": checks " + e.Suite.Conclusion
	}
	return forge.Title(t)
}

// address is where a run answers, and to what.
type address struct {
	Integration string `json:"integration"`
	Repo        string `json:"repo"`
	Number      int    `json:"number"`
	// Thread is the first comment of the review thread, 0 outside of one.
	Thread int64 `json:"thread,omitempty"`
	// Comment is what is answered, 0 for the issue or pull request itself.
	Comment int64 `json:"comment,omitempty"`
	// Commit gets a check run named Check; empty for none.
	Commit string `json:"commit,omitempty"`
	Check  string `json:"check,omitempty"`
}

// lane keeps what is said in one place in order.
func (a address) lane() string { return fmt.Sprintf("github %s#%d %d", a.Repo, a.Number, a.Thread) }

func (x occasion) address() address {
	e := x.event
	a := address{Integration: x.UID, Repo: e.Repo.FullName, Number: e.number(), Thread: e.thread()}
	if e.Comment != nil {
		a.Comment = e.Comment.ID
	}
	return a
}

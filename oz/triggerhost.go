package oz

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/url"
	"path/filepath"
	"slices"
	"strings"

	"github.com/oz-platform/cloudagents/environment"
	"github.com/oz-platform/cloudagents/internal/crashpoint"
	"github.com/oz-platform/cloudagents/oz/access"
	"github.com/oz-platform/cloudagents/secrets"
	"github.com/oz-platform/cloudagents/task"
	"github.com/oz-platform/cloudagents/trigger"
	"github.com/oz-platform/cloudagents/trigger/integration"
	"github.com/oz-platform/cloudagents/trigger/outbound"
	"github.com/oz-platform/cloudagents/trigger/webhook"
	"github.com/oz-platform/cloudagents/trigger/webpush"
)

// triggerHost makes the runs of what arrives at triggers.
type triggerHost struct{ p *Platform }

var _ trigger.Host = triggerHost{}

// Start implements trigger.Host.
func (h triggerHost) Start(ctx context.Context, id task.ID, s trigger.Start, from task.Origin) error {
	err := h.start(ctx, id, s, from)
	if err == nil {
		return nil
	}
	if _, lookErr := h.p.store.Get(ctx, id); lookErr == nil { // another replica, or an earlier try
		return nil
	}
	return err
}

func (h triggerHost) start(ctx context.Context, id task.ID, s trigger.Start, from task.Origin) error {
	c, err := h.p.actingClient(ctx, "trigger", s.Owner, s.AgentUID, s.Creator)
	if err != nil {
		return err
	}
	r := startRequest(s)
	spec, err := c.draft(ctx, access.RunCreate, r)
	if err != nil {
		return err
	}
	if spec.Owner != s.Owner {
		return task.Errorf(task.CodeNotAuthorized, "the trigger belongs to %s, for which its creator cannot act any more", s.Owner)
	}
	spec.Origin, spec.TriggerURL, spec.Untrusted, spec.ConversationID = &from, s.URL, s.Untrusted, string(id)
	if err := withRepository(&spec, s.Repository, h.p.opts.RepositoryBase); err != nil {
		return err
	}
	if s.Untrusted {
		spec.Config.Secrets, spec.Config.HarnessAuthSecrets = &[]string{}, nil
	}
	if spec.Attachments, err = h.p.putFiles(ctx, id, "event", s.Files); err != nil {
		return err
	}
	crashpoint.Hit(crashpoint.SubmitStart)
	_, _, err = h.p.store.Create(ctx, task.Creation{ID: id, Spec: spec, From: source(r), Now: h.p.opts.Clock.Now(), MaxWaiting: h.p.opts.MaxWaiting})
	crashpoint.Hit(crashpoint.SubmitCommitted)
	return err
}

// withRepository has the repository that an event is from cloned beside those of
// the environment, or checks its commit out if it is one of them. Where its
// directory is taken, or there are too many, the environment stays as it is: the
// prompt says where the repository is. It fails with
// task.CodeIntegrationNotConfigured for an environment of another host alone.
func withRepository(spec *task.Spec, r *trigger.Repository, base string) error {
	if r == nil {
		return nil
	}
	return changeEnvironment(spec, func(e *environment.Config) error {
		taken, here := len(e.Repos) >= environment.MaxRepos, len(e.Repos) == 0
		for i, known := range e.Repos {
			if strings.EqualFold(known.Owner, r.Owner) && strings.EqualFold(known.Name, r.Name) {
				e.Repos[i].Ref = cmp.Or(r.Commit, known.Ref)
				return nil
			}
			taken = taken || strings.EqualFold(known.Dir(), r.Name)
			here = here || sameHost(known.Address(base), r.URL)
		}
		if !here {
			return task.Errorf(task.CodeIntegrationNotConfigured, "the environment's repositories are all at another host than %s/%s, which the event is from: choose another environment for the integration", r.Owner, r.Name)
		}
		if !taken {
			e.Repos = append(e.Repos, environment.Repo{Owner: r.Owner, Name: r.Name, URL: r.URL, Ref: r.Commit})
		}
		return nil
	})
}

// sameHost reports that two addresses are at one host, or that the first is of
// no host.
func sameHost(a, b string) bool {
	x, err := url.Parse(a)
	y, otherErr := url.Parse(b)
	return err == nil && otherErr == nil && (x.Hostname() == "" || strings.EqualFold(x.Hostname(), y.Hostname()))
}

// startRequest is what an event asks for.
func startRequest(s trigger.Start) Request {
	team := s.Owner.Type == task.ScopeTeam
	return Request{Prompt: s.Prompt, Title: s.Title, Skill: s.Skill, Mode: s.Mode, Config: s.Config, Team: &team, Metadata: s.Metadata,
		Source: s.Kind, asWritten: true, own: s.Own}
}

// maxEventFiles bounds what one event brings.
const maxEventFiles = 20

// putFiles stores what an event brings, which may be of any type: people's
// attachments are pictures, but an agent reads these with its tools.
func (p *Platform) putFiles(ctx context.Context, id task.ID, name string, list []trigger.File) ([]task.Attachment, error) {
	if len(list) > maxEventFiles {
		return nil, task.Invalid("files", "are %d, at most %d are allowed", len(list), maxEventFiles)
	}
	var in []AttachmentInput
	for _, f := range list {
		if f.Name == "" || f.Name != filepath.Base(f.Name) || int64(len(f.Data)) > p.opts.MaxAttachmentBytes {
			return nil, task.Invalid("files", "%.100q: needs a base name and at most %d bytes", f.Name, p.opts.MaxAttachmentBytes)
		}
		in = append(in, AttachmentInput{FileName: f.Name, MIMEType: f.MIMEType, Data: f.Data})
	}
	return p.putAttachmentsAs(ctx, id, name, in)
}

// Run implements trigger.Host.
func (h triggerHost) Run(ctx context.Context, id task.ID) (task.Task, error) {
	return h.p.store.Get(ctx, id)
}

// GoOn implements trigger.Host.
func (h triggerHost) GoOn(ctx context.Context, id task.ID, s trigger.Start, key string, last int64) error {
	t, err := h.p.store.Get(ctx, id)
	if err != nil {
		return err
	}
	c, err := h.p.actingClient(ctx, "trigger", s.Owner, s.AgentUID, s.Creator)
	if err != nil {
		return err
	}
	if h.p.Draining() {
		return errDraining()
	}
	if s.Untrusted && !t.Untrusted {
		return task.Errorf(task.CodeNotAuthorized, "run %s has secrets, and nobody vouches for what is to be said to it", id)
	}
	if s.Untrusted && s.Answer != nil {
		return task.Errorf(task.CodeNotAuthorized, "nobody vouches for who answers the question of run %s", id)
	}
	if err := c.entitledToSteer(ctx, t, Message{Text: s.Message, Mode: s.Mode}); err != nil {
		return err
	}
	if t.State.Ended() {
		if err := h.p.checkResume(ctx, t); err != nil {
			return err
		}
	}
	in := task.Input{Text: s.Message, Mode: s.Mode, From: c.caller.Principal, Key: key}
	if s.Answer != nil {
		if in, err = c.answerOf(ctx, t, s, in); err != nil {
			return err
		}
	}
	if in.Attachments, err = h.p.putFiles(ctx, id, key, s.Files); err != nil {
		return err
	}
	_, err = h.p.store.Do(ctx, id, task.AddInput{Input: in, Last: &last})
	return err
}

// answerOf makes of a message the answer that it is.
func (c *Client) answerOf(ctx context.Context, t task.Task, s trigger.Start, in task.Input) (task.Input, error) {
	q, err := s.Answer.Open(t)
	if err != nil {
		return in, err
	}
	answer := in
	if plan, err := planOf(t, q.Subject); err == nil && q.Kind == task.QuestionApproval && q.Subject != "" && s.Answer.Choice == task.ChoiceApprove {
		if answer, err = c.approval(ctx, t, plan, in.Text); err != nil {
			return in, err
		}
	} else {
		answer.Text = answerText(q, Answer{Choice: s.Answer.Choice, Text: in.Text})
		answer.Question, answer.Choice = q.ID, s.Answer.Choice
	}
	answer.From, answer.Key, answer.Mode = in.From, in.Key, cmp.Or(answer.Mode, in.Mode)
	return answer, nil
}

// Stop implements trigger.Host.
func (h triggerHost) Stop(ctx context.Context, id task.ID, s trigger.Start) error {
	t, err := h.p.store.Get(ctx, id)
	if err != nil {
		return err
	}
	if s.Untrusted && !t.Untrusted {
		return task.Errorf(task.CodeNotAuthorized, "nobody vouches for who asks run %s to stop", id)
	}
	c, err := h.p.actingClient(ctx, "trigger", s.Owner, s.AgentUID, s.Creator)
	if err != nil || t.State.Ended() {
		return err
	}
	if err = c.Cancel(ctx, id); err == nil {
		return nil
	}
	if t, lookErr := h.p.store.Get(ctx, id); lookErr == nil && t.State.Ended() {
		return nil
	}
	return err
}

// Said implements trigger.Host.
func (h triggerHost) Said(ctx context.Context, id task.ID, key string, after int64) (bool, error) {
	for {
		events, err := h.p.store.Events(ctx, id, after, MaxEvents)
		if err != nil || len(events) == 0 {
			return false, err
		}
		for _, e := range events {
			if in, ok := e.Payload.(*task.Input); ok && in.Key == key {
				return true, nil
			}
			after = e.Seq
		}
	}
}

// actingClient acts as whoever the runs of a schedule or another trigger are
// made as: its agent, or its creator with the rights that are left to them
// today.
func (p *Platform) actingClient(ctx context.Context, what string, owner task.Scope, agent string, creator task.Principal) (*Client, error) {
	switch {
	case agent != "":
		a, err := p.registry.Agent(ctx, agent)
		if errors.Is(err, task.ErrNotFound) {
			return nil, task.Errorf(task.CodeNotAuthorized, "the agent that carries out this %s was deleted: choose another one", what)
		}
		if err != nil {
			return nil, err
		}
		return p.As(access.Caller{Principal: a.Principal(), KeyType: access.KeyAgent, Teams: memberships(a.Team)}), nil
	case creator == access.System().Principal:
		return p.As(access.System()), nil
	case !creator.IsPerson():
		return p.As(access.Caller{Principal: creator, Teams: memberships(owner.UID)}), nil
	}
	caller, err := p.registry.Caller(ctx, creator.UID)
	if err != nil && !errors.Is(err, task.ErrNotFound) {
		return nil, err
	}
	caller = narrowed(caller, owner)
	if err != nil || owner.Type == task.ScopeTeam && len(caller.Teams) == 0 {
		return nil, task.Errorf(task.CodeNotAuthorized, "whoever made this %s is not there any more: make it anew, or set an agent that carries it out", what)
	}
	return p.As(caller), nil
}

// newTriggers makes the engine of webhooks, integrations, subscriptions and
// Options.Origins; nil when the store keeps nothing that arrives.
func (p *Platform) newTriggers() (*trigger.Engine, error) {
	var vault webhook.Vault // nil without Options.Sealed, also as an interface
	if p.opts.Sealed != nil {
		vault = p.opts.Sealed
	}
	clock := p.opts.Clock
	p.webhooks = webhook.NewStore(p.store, &webhook.Options{Clock: clock, Compile: p.opts.Conditions, Vault: vault})
	p.integrations = integration.NewStore(p.store, vault, &integration.Options{Clock: clock, PublicURL: p.opts.PublicURL, Member: p.member, ByEmail: p.personOf})
	if p.opts.Integrations != nil {
		p.origins = append(p.origins, p.opts.Integrations(p.integrations)...)
	}
	p.origins = append(p.origins, p.opts.Origins...)
	store, ok := p.store.(trigger.Store)
	if !ok && len(p.origins) == 0 && len(p.opts.Triggers.Listeners) == 0 {
		return nil, nil
	}
	if !ok {
		return nil, task.Invalid("Origins", "the store %T keeps nothing that arrives (task.Inbox, task.Outbox)", p.store)
	}
	opts := p.opts.Triggers
	if vault != nil {
		p.subscriptions = outbound.NewStore(p.store, vault, &outbound.Options{Clock: clock, AllowPrivate: p.opts.PrivateSubscriptions})
		p.teller = outbound.NewReporter(p.subscriptions)
		p.pushes = webpush.NewStore(p.store, vault, &webpush.Options{Clock: clock, AllowPrivate: p.opts.PrivateSubscriptions, Subject: p.pushSubject()})
		p.pusher = webpush.NewSender(p.pushes)
		opts.Listeners = append(slices.Clone(opts.Listeners), p.teller)
	}
	opts.Listeners = append(slices.Clone(opts.Listeners), notifier{p})
	e, err := trigger.New(store, triggerHost{p}, append([]trigger.Origin{webhook.NewOrigin(p.webhooks)}, p.origins...), &opts)
	if err != nil {
		return nil, fmt.Errorf("triggers: %w", err)
	}
	return e, nil
}

// runTriggers runs the engine until ctx ends.
func (p *Platform) runTriggers(ctx context.Context) error {
	if p.triggers == nil {
		return nil
	}
	if p.teller != nil {
		defer p.teller.Close()
		defer p.pusher.Close()
	}
	return p.triggers.Run(ctx)
}

// absolute is where people and machines outside reach a path of the server;
// the path alone when the server does not know its address.
func (p *Platform) absolute(path string) string {
	return strings.TrimRight(p.opts.PublicURL, "/") + path
}

// Triggers takes what arrives from outside; nil when the store keeps nothing of
// it.
func (p *Platform) Triggers() *trigger.Engine { return p.triggers }

// Delivery returns what arrived at a trigger, whole.
func (c *Client) Delivery(ctx context.Context, id task.DeliveryID) (task.Delivery, error) {
	return c.delivery(ctx, id, access.TriggerView)
}

func (c *Client) delivery(ctx context.Context, id task.DeliveryID, a access.Action) (task.Delivery, error) {
	box, err := c.p.inbox()
	if err != nil {
		return task.Delivery{}, err
	}
	d, err := box.Delivery(ctx, id)
	if err == nil {
		err = c.allowTo(ctx, a, access.Object{Owner: d.Owner}, "delivery", string(id))
	} else {
		err = c.absent(ctx, a, "delivery", string(id), err)
	}
	if errors.Is(err, task.ErrNotFound) {
		err = task.Errorf(task.CodeNotFound, "delivery %.50q does not exist, or you may not see it", string(id))
	}
	if err != nil {
		return task.Delivery{}, err
	}
	return d, nil
}

func (p *Platform) inbox() (task.Inbox, error) {
	if box, ok := p.store.(task.Inbox); ok {
		return box, nil
	}
	return nil, notBuilt("", "a store that keeps what arrives", "use one that is a task.Inbox")
}

// engine is the one behind the platform's triggers.
func (p *Platform) engine() (*trigger.Engine, error) {
	if p.triggers == nil {
		return nil, notBuilt("", "a store that keeps what arrives", "use one that is a task.Inbox and a task.Outbox")
	}
	return p.triggers, nil
}

// MaxDeliveries bounds one list of deliveries; 0 asks for defaultDeliveries.
const (
	MaxDeliveries     = 200
	defaultDeliveries = 50
)

// Deliveries lists what arrived through a source, the newest first and without
// bodies, as far as the caller may see it.
func (c *Client) Deliveries(ctx context.Context, q task.DeliveryQuery) ([]task.Delivery, error) {
	box, err := c.p.inbox()
	if err != nil {
		return nil, err
	}
	if err := c.allow(ctx, access.TriggerView, access.Object{}); err != nil {
		return nil, err
	}
	if q.Limit, err = bounded(q.Limit, defaultDeliveries, MaxDeliveries); err != nil {
		return nil, err
	}
	list, err := box.Deliveries(ctx, q)
	if err != nil {
		return nil, err
	}
	out := make([]task.Delivery, 0, len(list))
	for _, d := range list {
		if access.Allow(c.caller, access.TriggerView, access.Object{Owner: d.Owner}) == nil {
			out = append(out, d)
		}
	}
	return out, nil
}

// RepeatDelivery lets a delivery through again, as a new one. It fails with
// task.CodeOperationNotSupported when nothing of it was kept.
func (c *Client) RepeatDelivery(ctx context.Context, id task.DeliveryID) (task.Delivery, error) {
	return c.letThrough(ctx, id, "repeat", func(e *trigger.Engine) (task.Delivery, error) { return e.Repeat(ctx, id) })
}

// ApproveDelivery lets a delivery through that was held, in the caller's name.
// Doing it again gives the same. It fails with task.CodeConflict for one that
// waits for nobody.
func (c *Client) ApproveDelivery(ctx context.Context, id task.DeliveryID) (task.Delivery, error) {
	return c.letThrough(ctx, id, "approve", func(e *trigger.Engine) (task.Delivery, error) { return e.Approve(ctx, id, c.caller.Principal) })
}

// RejectDelivery turns a delivery down that was held, for a reason that may be
// empty, and gives it: its outcome is task.OutcomeDeclined. Doing it again
// changes nothing. It fails with task.CodeConflict for one that was let through
// or was not held.
func (c *Client) RejectDelivery(ctx context.Context, id task.DeliveryID, reason string) (task.Delivery, error) {
	return c.letThrough(ctx, id, "reject", func(e *trigger.Engine) (task.Delivery, error) {
		return e.Decline(ctx, id, c.caller.Principal, reason)
	})
}

func (c *Client) letThrough(ctx context.Context, id task.DeliveryID, what string, do func(*trigger.Engine) (task.Delivery, error)) (task.Delivery, error) {
	e, err := c.p.engine()
	if err != nil {
		return task.Delivery{}, err
	}
	d, err := c.delivery(ctx, id, access.TriggerManage)
	if err != nil {
		return task.Delivery{}, err
	}
	deed := &deed{action: access.TriggerManage, kind: "delivery", id: string(id), owner: d.Owner, details: act(what)}
	return doing(ctx, c, deed, func() (task.Delivery, error) { return do(e) })
}

// Rehearsal is what a delivery would do.
type Rehearsal struct {
	// Reason says why it would do nothing, Held that a person must let it
	// through.
	Reason string
	Held   bool
	// Runs are those that it would make or go on with.
	Runs []RehearsedRun
}

// RehearsedRun is a run that an event would make.
type RehearsedRun struct {
	trigger.Start
	// Continues is the run that would be told instead; empty when one would be
	// made.
	Continues task.ID
	// Secrets are the names of those that the run would get.
	Secrets []string
}

// RehearseDelivery says what a delivery would do now, and does nothing.
func (c *Client) RehearseDelivery(ctx context.Context, id task.DeliveryID) (Rehearsal, error) {
	e, err := c.p.engine()
	if err != nil {
		return Rehearsal{}, err
	}
	if _, err := c.delivery(ctx, id, access.TriggerView); err != nil {
		return Rehearsal{}, err
	}
	_, plan, err := e.Rehearse(ctx, id)
	if err != nil {
		return Rehearsal{}, err
	}
	out := Rehearsal{Reason: plan.Reason, Held: plan.Held}
	for _, s := range plan.Starts {
		r, err := c.rehearse(ctx, e, s)
		if err != nil {
			return Rehearsal{}, err
		}
		out.Runs = append(out.Runs, r)
	}
	return out, nil
}

// rehearse drafts the run of a start, as it would be made, and looks at what it
// would get.
func (c *Client) rehearse(ctx context.Context, e *trigger.Engine, s trigger.Start) (RehearsedRun, error) {
	r := RehearsedRun{Start: s}
	var err error
	if r.Continues, err = e.About(ctx, s.Owner, s.Entity); err != nil {
		return r, err
	}
	as, err := c.p.actingClient(ctx, "trigger", s.Owner, s.AgentUID, s.Creator)
	if err != nil {
		return r, err
	}
	spec, err := as.draft(ctx, access.RunCreate, startRequest(s))
	if err != nil {
		return r, err
	}
	if err := withRepository(&spec, s.Repository, c.p.opts.RepositoryBase); err != nil {
		return r, err
	}
	spec.Origin, spec.Untrusted = &task.Origin{}, s.Untrusted
	vars, _, err := c.p.variables(ctx, task.Task{Spec: spec}, secrets.NewRedactor(nil))
	for _, v := range vars {
		r.Secrets = append(r.Secrets, v.Name)
	}
	return r, err
}

package oz

import (
	"context"
	"errors"
	"fmt"

	"github.com/oz-platform/cloudagents/internal/crashpoint"
	"github.com/oz-platform/cloudagents/oz/access"
	"github.com/oz-platform/cloudagents/task"
	"github.com/oz-platform/cloudagents/trigger"
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
	if s.Untrusted {
		spec.Config.Secrets, spec.Config.HarnessAuthSecrets = &[]string{}, nil
	}
	if spec.Attachments, err = h.p.putAttachmentsAs(ctx, id, "event", r.Attachments); err != nil {
		return err
	}
	crashpoint.Hit(crashpoint.SubmitStart)
	_, _, err = h.p.store.Create(ctx, task.Creation{ID: id, Spec: spec, From: source(r), Now: h.p.opts.Clock.Now(), MaxWaiting: h.p.opts.MaxWaiting})
	crashpoint.Hit(crashpoint.SubmitCommitted)
	return err
}

// startRequest is what an event asks for.
func startRequest(s trigger.Start) Request {
	team := s.Owner.Type == task.ScopeTeam
	return Request{Prompt: s.Prompt, Title: s.Title, Skill: s.Skill, Mode: s.Mode, Config: s.Config, Team: &team, Metadata: s.Metadata,
		Source: s.Kind, Attachments: files(s.Files)}
}

func files(list []trigger.File) []AttachmentInput {
	var out []AttachmentInput
	for _, f := range list {
		out = append(out, AttachmentInput{FileName: f.Name, MIMEType: f.MIMEType, Data: f.Data})
	}
	return out
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
	if err := c.entitledToSteer(ctx, t, Message{Text: s.Message, Mode: s.Mode}); err != nil {
		return err
	}
	if t.State.Ended() {
		if err := h.p.checkResume(ctx, t); err != nil {
			return err
		}
	}
	in := task.Input{Text: s.Message, Mode: s.Mode, From: c.caller.Principal, Key: key}
	if in.Attachments, err = h.p.putAttachmentsAs(ctx, id, key, files(s.Files)); err != nil {
		return err
	}
	_, err = h.p.store.Do(ctx, id, task.AddInput{Input: in, Last: &last})
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

// newTriggers makes the engine behind Options.Origins; nil when there are none.
func (p *Platform) newTriggers() (*trigger.Engine, error) {
	if len(p.opts.Origins) == 0 && len(p.opts.Triggers.Listeners) == 0 {
		return nil, nil
	}
	store, ok := p.store.(trigger.Store)
	if !ok {
		return nil, task.Invalid("Origins", "the store %T keeps nothing that arrives (task.Inbox, task.Outbox)", p.store)
	}
	e, err := trigger.New(store, triggerHost{p}, p.opts.Origins, &p.opts.Triggers)
	if err != nil {
		return nil, fmt.Errorf("triggers: %w", err)
	}
	return e, nil
}

// Triggers takes what arrives from outside; nil without Options.Origins and
// listeners.
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
		return nil, notBuilt("", "triggers other than schedules", "give it origins (Options.Origins)")
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
// It fails with task.CodeConflict for one that waits for nobody.
func (c *Client) ApproveDelivery(ctx context.Context, id task.DeliveryID) (task.Delivery, error) {
	return c.letThrough(ctx, id, "approve", func(e *trigger.Engine) (task.Delivery, error) { return e.Approve(ctx, id, c.caller.Principal) })
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

// RehearseDelivery says what a delivery would do now, and does nothing.
func (c *Client) RehearseDelivery(ctx context.Context, id task.DeliveryID) (trigger.Plan, error) {
	e, err := c.p.engine()
	if err != nil {
		return trigger.Plan{}, err
	}
	if _, err := c.delivery(ctx, id, access.TriggerView); err != nil {
		return trigger.Plan{}, err
	}
	_, plan, err := e.Rehearse(ctx, id)
	return plan, err
}

package oz

import (
	"context"
	"encoding/json"
	"errors"
	"maps"

	"github.com/oz-platform/cloudagents/oz/access"
	"github.com/oz-platform/cloudagents/task"
	"github.com/oz-platform/cloudagents/trigger/webhook"
)

// WebhookInput asks for a webhook.
type WebhookInput struct {
	webhook.Spec
	// Secret is what the sender signs with, for signed webhooks whose provider
	// chooses it. It may come later: until then the webhook is off.
	Secret string
	// Team says whose it is, as in Request; that never changes.
	Team *bool
}

// WebhookChange is a new version of a webhook. What is nil keeps its value,
// what is empty clears it.
type WebhookChange struct {
	Name, IDHeader, Condition, Entity, Prompt, Skill, AgentUID *string
	Enabled, Untrusted                                         *bool
	PerMinute                                                  *int
	Filter                                                     *json.RawMessage
	Config                                                     *task.Config
	Metadata                                                   *map[string]string
	Mode                                                       *task.Mode
}

// WebhookItem is a webhook as its readers see it.
type WebhookItem struct {
	webhook.Hook
	// URL is where to send: the whole address when the server knows its own
	// (Options.PublicURL), and else its path. A secret that belongs at its end
	// is there only when it was just made.
	URL string
	// Secret was just made and is shown this once; empty else.
	Secret string
	// Manageable says that the caller may change it.
	Manageable bool
}

// CreateWebhook makes a webhook. Its runs are made as its creator, or as its
// agent when it names one. It fails with task.CodeInvalidRequest, and with
// task.CodeFeatureNotAvailable where nothing can arrive.
func (c *Client) CreateWebhook(ctx context.Context, in WebhookInput) (WebhookItem, error) {
	if _, err := c.p.engine(); err != nil {
		return WebhookItem{}, err
	}
	owner, err := c.owner(ctx, access.TriggerCreate, in.Team)
	if err != nil {
		return WebhookItem{}, err
	}
	if in.Mode == "" {
		in.Mode = webhook.ModeToken
	}
	if err := c.p.webhooks.Check(in.Spec); err != nil {
		return WebhookItem{}, err
	}
	if err := c.Entitled(ctx, FeatureWebhook, owner); err != nil {
		return WebhookItem{}, err
	}
	if err := c.judgeWebhook(ctx, owner, in.Spec); err != nil {
		return WebhookItem{}, err
	}
	d := &deed{action: access.TriggerCreate, kind: "webhook", owner: owner, details: map[string]string{"name": in.Name, "auth_mode": string(in.Mode)}}
	var secret string
	h, err := doing(ctx, c, d, func() (h webhook.Hook, err error) {
		h, secret, err = c.p.webhooks.Create(ctx, owner, c.caller.Principal, in.Spec, in.Secret)
		d.id = h.UID
		return h, err
	})
	if err != nil {
		return WebhookItem{}, err
	}
	return c.webhookItem(h, secret), nil
}

// Webhook returns one webhook.
func (c *Client) Webhook(ctx context.Context, uid string) (WebhookItem, error) {
	h, err := c.webhook(ctx, uid, access.TriggerView)
	if err != nil {
		return WebhookItem{}, err
	}
	return c.webhookItem(h, ""), nil
}

func (c *Client) webhook(ctx context.Context, uid string, a access.Action) (webhook.Hook, error) {
	h, err := c.p.webhooks.Get(ctx, uid)
	if err == nil {
		err = c.allowTo(ctx, a, access.Object{Owner: h.Owner, Creator: h.Creator}, "webhook", uid)
	} else {
		err = c.absent(ctx, a, "webhook", uid, err)
	}
	if errors.Is(err, task.ErrNotFound) { // the same words for none and for a hidden one
		err = task.Errorf(task.CodeNotFound, "webhook %.50q does not exist, or you may not see it", uid)
	}
	if err != nil {
		return webhook.Hook{}, err
	}
	return h, nil
}

// Webhooks lists those that the caller may see, by name.
func (c *Client) Webhooks(ctx context.Context) ([]WebhookItem, error) {
	if err := c.allow(ctx, access.TriggerView, access.Object{}); err != nil {
		return nil, err
	}
	list, err := c.p.webhooks.List(ctx, c.owners()...)
	if err != nil {
		return nil, err
	}
	items := make([]WebhookItem, 0, len(list))
	for _, h := range list {
		items = append(items, c.webhookItem(h, ""))
	}
	return items, nil
}

// UpdateWebhook changes what is made of deliveries from now on.
func (c *Client) UpdateWebhook(ctx context.Context, uid string, change WebhookChange) (WebhookItem, error) {
	h, err := c.webhook(ctx, uid, access.TriggerManage)
	if err != nil {
		return WebhookItem{}, err
	}
	h, err = doing(ctx, c, webhookDeed(h, "update"), func() (webhook.Hook, error) {
		return c.p.webhooks.Update(ctx, uid, c.caller.Principal, func(s *webhook.Spec) error {
			change.apply(s)
			return c.judgeWebhook(ctx, h.Owner, *s)
		})
	})
	if err != nil {
		return WebhookItem{}, err
	}
	return c.webhookItem(h, ""), nil
}

func (w WebhookChange) apply(s *webhook.Spec) {
	set(&s.Name, w.Name)
	set(&s.IDHeader, w.IDHeader)
	set(&s.Condition, w.Condition)
	set(&s.Entity, w.Entity)
	set(&s.Prompt, w.Prompt)
	set(&s.Skill, w.Skill)
	set(&s.AgentUID, w.AgentUID)
	set(&s.Enabled, w.Enabled)
	set(&s.Untrusted, w.Untrusted)
	set(&s.PerMinute, w.PerMinute)
	set(&s.Filter, w.Filter)
	set(&s.Config, w.Config)
	set(&s.RunMode, w.Mode)
	if w.Metadata != nil {
		s.Metadata = maps.Clone(*w.Metadata)
	}
}

// RotateWebhook gives a webhook a new secret; the old one is worth nothing from
// then on. secret is the new one of a provider that chooses it.
func (c *Client) RotateWebhook(ctx context.Context, uid, secret string) (WebhookItem, error) {
	h, err := c.webhook(ctx, uid, access.TriggerManage)
	if err != nil {
		return WebhookItem{}, err
	}
	var shown string
	h, err = doing(ctx, c, webhookDeed(h, "rotate"), func() (h webhook.Hook, err error) {
		h, shown, err = c.p.webhooks.Rotate(ctx, uid, c.caller.Principal, secret)
		return h, err
	})
	if err != nil {
		return WebhookItem{}, err
	}
	return c.webhookItem(h, shown), nil
}

// DeleteWebhook removes a webhook. Its runs and the lines of what arrived stay.
func (c *Client) DeleteWebhook(ctx context.Context, uid string) error {
	h, err := c.webhook(ctx, uid, access.TriggerManage)
	if err != nil {
		return err
	}
	return c.audited(ctx, webhookDeed(h, "delete"), func() error { return c.p.webhooks.Delete(ctx, uid) })
}

// WebhookDeliveries lists what arrived at a webhook, the newest first and
// without bodies.
func (c *Client) WebhookDeliveries(ctx context.Context, uid string, q task.DeliveryQuery) ([]task.Delivery, error) {
	h, err := c.webhook(ctx, uid, access.TriggerView)
	if err != nil {
		return nil, err
	}
	q.Source = h.Source()
	return c.Deliveries(ctx, q)
}

// WebhookTest says what a webhook makes of a payload.
type WebhookTest struct {
	// Matches says that it would make a run, Reason why it would not.
	Matches bool
	Reason  string
}

// TestWebhook holds a payload, or that of a delivery, against a webhook's filter
// and condition, or against others that are tried out, and does nothing.
func (c *Client) TestWebhook(ctx context.Context, uid string, delivery task.DeliveryID, payload []byte, try WebhookChange) (WebhookTest, error) {
	h, err := c.webhook(ctx, uid, access.TriggerView)
	if err != nil {
		return WebhookTest{}, err
	}
	event := ""
	if delivery != "" {
		d, err := c.delivery(ctx, delivery, access.TriggerView)
		if err == nil && d.Source != h.Source() {
			err = task.Errorf(task.CodeNotFound, "delivery %s did not arrive at this webhook", delivery)
		}
		if err != nil {
			return WebhookTest{}, err
		}
		payload, event = d.Body, d.Event
	}
	try.apply(&h.Spec)
	ok, why, err := c.p.webhooks.Matches(h.Spec, event, payload)
	return WebhookTest{Matches: ok, Reason: why}, err
}

func webhookDeed(h webhook.Hook, what string) *deed {
	return &deed{action: access.TriggerManage, kind: "webhook", id: h.UID, owner: h.Owner, details: map[string]string{"act": what, "name": h.Name}}
}

func (c *Client) webhookItem(h webhook.Hook, secret string) WebhookItem {
	item := WebhookItem{Hook: h, URL: c.p.absolute(h.Path()), Secret: secret,
		Manageable: access.Allow(c.caller, access.TriggerManage, access.Object{Owner: h.Owner, Creator: h.Creator}) == nil}
	if h.Mode == webhook.ModeURLToken && secret != "" {
		item.URL += "/" + secret
	}
	return item
}

// judgeWebhook judges what the runs of a webhook would be, so far as it can be
// told today.
func (c *Client) judgeWebhook(ctx context.Context, owner task.Scope, s webhook.Spec) error {
	for _, key := range []string{"webhook_id", "delivery_id"} {
		if _, ok := s.Metadata[key]; ok {
			return task.Invalid("metadata", "the key %s is set by the webhook itself; choose another name", key)
		}
	}
	team := owner.Type == task.ScopeTeam
	r := Request{Prompt: s.Prompt, Skill: s.Skill, Config: s.Config, Mode: s.RunMode, Metadata: s.Metadata, Team: &team, Title: s.Name, asWritten: true, own: s.Prompt}
	return c.judgeAutomation(ctx, owner, s.AgentUID, "webhook", r)
}

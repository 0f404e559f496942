package client

import (
	"context"

	"github.com/oz-platform/cloudagents/oz"
	"github.com/oz-platform/cloudagents/task"
	"github.com/oz-platform/cloudagents/transport/api"
	"github.com/oz-platform/cloudagents/transport/internal/wire"
)

// Webhooks lists the webhooks that the caller may see, by name.
func (c *Client) Webhooks(ctx context.Context) ([]oz.WebhookItem, error) {
	answer, err := decode[api.ListWebhooksResponse](c.raw.ListWebhooks(ctx))
	if err != nil {
		return nil, err
	}
	return wire.Each(answer.Webhooks, wire.WebhookOf), nil
}

// Webhook returns one webhook.
func (c *Client) Webhook(ctx context.Context, uid string) (oz.WebhookItem, error) {
	if err := checkID("webhook uid", uid); err != nil {
		return oz.WebhookItem{}, err
	}
	w, err := decode[api.WebhookItem](c.raw.GetWebhook(ctx, uid))
	return wire.WebhookOf(w), err
}

// CreateWebhook makes a webhook. The answer has its secret, which nobody can
// ask for again.
func (c *Client) CreateWebhook(ctx context.Context, in oz.WebhookInput) (oz.WebhookItem, error) {
	w, err := decode[api.WebhookItem](c.raw.CreateWebhook(ctx, wire.WebhookInput(in)))
	return wire.WebhookOf(w), err
}

// UpdateWebhook changes what is not nil.
func (c *Client) UpdateWebhook(ctx context.Context, uid string, change oz.WebhookChange) (oz.WebhookItem, error) {
	if err := checkID("webhook uid", uid); err != nil {
		return oz.WebhookItem{}, err
	}
	w, err := decode[api.WebhookItem](c.raw.UpdateWebhook(ctx, uid, wire.WebhookChange(change)))
	return wire.WebhookOf(w), err
}

// RotateWebhook gives a webhook a new secret: secret, for a provider that
// chooses it, and else one that is made.
func (c *Client) RotateWebhook(ctx context.Context, uid, secret string) (oz.WebhookItem, error) {
	if err := checkID("webhook uid", uid); err != nil {
		return oz.WebhookItem{}, err
	}
	w, err := decode[api.WebhookItem](c.raw.RotateWebhook(ctx, uid, api.RotateWebhookRequest{Secret: secret}))
	return wire.WebhookOf(w), err
}

// DeleteWebhook removes a webhook; its runs stay.
func (c *Client) DeleteWebhook(ctx context.Context, uid string) error {
	if err := checkID("webhook uid", uid); err != nil {
		return err
	}
	return done(c.raw.DeleteWebhook(ctx, uid))
}

// WebhookDeliveries lists what arrived at a webhook, the newest first and
// without bodies.
func (c *Client) WebhookDeliveries(ctx context.Context, uid string, q task.DeliveryQuery) ([]task.Delivery, error) {
	if err := checkID("webhook uid", uid); err != nil {
		return nil, err
	}
	p := api.ListWebhookDeliveriesParams{Before: string(q.Before), Limit: q.Limit}
	for _, o := range q.Outcomes {
		p.Outcome = append(p.Outcome, wire.OutcomeName(o))
	}
	answer, err := decode[api.ListDeliveriesResponse](c.raw.ListWebhookDeliveries(ctx, uid, &p))
	if err != nil {
		return nil, err
	}
	return wire.Each(answer.Deliveries, wire.DeliveryOf), nil
}

// Delivery returns what arrived at a trigger, whole.
func (c *Client) Delivery(ctx context.Context, id task.DeliveryID) (task.Delivery, error) {
	if err := checkID("delivery id", string(id)); err != nil {
		return task.Delivery{}, err
	}
	d, err := decode[api.DeliveryItem](c.raw.GetDelivery(ctx, string(id)))
	return wire.DeliveryOf(d), err
}

// RepeatDelivery lets a delivery through again, as a new one.
func (c *Client) RepeatDelivery(ctx context.Context, id task.DeliveryID) (task.Delivery, error) {
	if err := checkID("delivery id", string(id)); err != nil {
		return task.Delivery{}, err
	}
	d, err := decode[api.DeliveryItem](c.raw.RepeatDelivery(ctx, string(id)))
	return wire.DeliveryOf(d), err
}

// RejectDelivery turns a delivery down that was held, for a reason that may be
// empty.
func (c *Client) RejectDelivery(ctx context.Context, id task.DeliveryID, reason string) (task.Delivery, error) {
	if err := checkID("delivery id", string(id)); err != nil {
		return task.Delivery{}, err
	}
	d, err := decode[api.DeliveryItem](c.raw.RejectDelivery(ctx, string(id), api.RejectDeliveryRequest{Reason: reason}))
	return wire.DeliveryOf(d), err
}

// ApproveDelivery lets a delivery through that was held.
func (c *Client) ApproveDelivery(ctx context.Context, id task.DeliveryID) (task.Delivery, error) {
	if err := checkID("delivery id", string(id)); err != nil {
		return task.Delivery{}, err
	}
	d, err := decode[api.DeliveryItem](c.raw.ApproveDelivery(ctx, string(id)))
	return wire.DeliveryOf(d), err
}

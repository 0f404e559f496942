package rest

import (
	"context"

	"github.com/oz-platform/cloudagents/task"
	"github.com/oz-platform/cloudagents/transport/api"
	"github.com/oz-platform/cloudagents/transport/internal/wire"
)

// ListWebhooks implements GET /oz/webhooks.
func (o operations) ListWebhooks(ctx context.Context, _ api.ListWebhooksRequestObject) (api.ListWebhooksResponseObject, error) {
	list, err := callOf(ctx).client.Webhooks(ctx)
	if err != nil {
		return nil, err
	}
	return api.ListWebhooks200JSONResponse{Webhooks: wire.Each(list, wire.Webhook)}, nil
}

// CreateWebhook implements POST /oz/webhooks.
func (o operations) CreateWebhook(ctx context.Context, r api.CreateWebhookRequestObject) (api.CreateWebhookResponseObject, error) {
	w, err := callOf(ctx).client.CreateWebhook(ctx, wire.WebhookInputOf(*r.Body))
	if err != nil {
		return nil, err
	}
	return api.CreateWebhook201JSONResponse(wire.Webhook(w)), nil
}

// GetWebhook implements GET /oz/webhooks/{webhookUid}.
func (o operations) GetWebhook(ctx context.Context, r api.GetWebhookRequestObject) (api.GetWebhookResponseObject, error) {
	w, err := callOf(ctx).client.Webhook(ctx, r.WebhookUid)
	if err != nil {
		return nil, err
	}
	return api.GetWebhook200JSONResponse(wire.Webhook(w)), nil
}

// UpdateWebhook implements PUT /oz/webhooks/{webhookUid}.
func (o operations) UpdateWebhook(ctx context.Context, r api.UpdateWebhookRequestObject) (api.UpdateWebhookResponseObject, error) {
	w, err := callOf(ctx).client.UpdateWebhook(ctx, r.WebhookUid, wire.WebhookChangeOf(*r.Body))
	if err != nil {
		return nil, err
	}
	return api.UpdateWebhook200JSONResponse(wire.Webhook(w)), nil
}

// DeleteWebhook implements DELETE /oz/webhooks/{webhookUid}.
func (o operations) DeleteWebhook(ctx context.Context, r api.DeleteWebhookRequestObject) (api.DeleteWebhookResponseObject, error) {
	if err := callOf(ctx).client.DeleteWebhook(ctx, r.WebhookUid); err != nil {
		return nil, err
	}
	return api.DeleteWebhook204Response{}, nil
}

// RotateWebhook implements POST /oz/webhooks/{webhookUid}/rotate.
func (o operations) RotateWebhook(ctx context.Context, r api.RotateWebhookRequestObject) (api.RotateWebhookResponseObject, error) {
	secret := ""
	if r.Body != nil {
		secret = r.Body.Secret
	}
	w, err := callOf(ctx).client.RotateWebhook(ctx, r.WebhookUid, secret)
	if err != nil {
		return nil, err
	}
	return api.RotateWebhook200JSONResponse(wire.Webhook(w)), nil
}

// TestWebhook implements POST /oz/webhooks/{webhookUid}/test.
func (o operations) TestWebhook(ctx context.Context, r api.TestWebhookRequestObject) (api.TestWebhookResponseObject, error) {
	change := wire.WebhookChangeOf(api.UpdateWebhookRequest{Filter: r.Body.Filter, Condition: r.Body.Condition})
	if (r.Body.DeliveryId == "") == (len(r.Body.Payload) == 0) {
		return nil, task.Invalid("payload", "or delivery_id is required, and only one of them")
	}
	t, err := callOf(ctx).client.TestWebhook(ctx, r.WebhookUid, task.DeliveryID(r.Body.DeliveryId), r.Body.Payload, change)
	if err != nil {
		return nil, err
	}
	return api.TestWebhook200JSONResponse{Matches: t.Matches, Reason: t.Reason}, nil
}

// ListWebhookDeliveries implements GET /oz/webhooks/{webhookUid}/deliveries.
func (o operations) ListWebhookDeliveries(ctx context.Context, r api.ListWebhookDeliveriesRequestObject) (api.ListWebhookDeliveriesResponseObject, error) {
	q := task.DeliveryQuery{Before: task.DeliveryID(r.Params.Before), Limit: r.Params.Limit}
	for _, outcome := range r.Params.Outcome {
		q.Outcomes = append(q.Outcomes, wire.OutcomeOf(outcome))
	}
	list, err := callOf(ctx).client.WebhookDeliveries(ctx, r.WebhookUid, q)
	if err != nil {
		return nil, err
	}
	return api.ListWebhookDeliveries200JSONResponse{Deliveries: wire.Each(list, wire.Delivery)}, nil
}

// GetDelivery implements GET /oz/deliveries/{deliveryId}.
func (o operations) GetDelivery(ctx context.Context, r api.GetDeliveryRequestObject) (api.GetDeliveryResponseObject, error) {
	d, err := callOf(ctx).client.Delivery(ctx, task.DeliveryID(r.DeliveryId))
	if err != nil {
		return nil, err
	}
	return api.GetDelivery200JSONResponse(wire.Delivery(d)), nil
}

// RepeatDelivery implements POST /oz/deliveries/{deliveryId}/repeat.
func (o operations) RepeatDelivery(ctx context.Context, r api.RepeatDeliveryRequestObject) (api.RepeatDeliveryResponseObject, error) {
	d, err := callOf(ctx).client.RepeatDelivery(ctx, task.DeliveryID(r.DeliveryId))
	if err != nil {
		return nil, err
	}
	return api.RepeatDelivery200JSONResponse(wire.Delivery(d)), nil
}

// ApproveDelivery implements POST /oz/deliveries/{deliveryId}/approve.
func (o operations) ApproveDelivery(ctx context.Context, r api.ApproveDeliveryRequestObject) (api.ApproveDeliveryResponseObject, error) {
	d, err := callOf(ctx).client.ApproveDelivery(ctx, task.DeliveryID(r.DeliveryId))
	if err != nil {
		return nil, err
	}
	return api.ApproveDelivery200JSONResponse(wire.Delivery(d)), nil
}

// RejectDelivery implements POST /oz/deliveries/{deliveryId}/reject.
func (o operations) RejectDelivery(ctx context.Context, r api.RejectDeliveryRequestObject) (api.RejectDeliveryResponseObject, error) {
	reason := ""
	if r.Body != nil {
		reason = r.Body.Reason
	}
	d, err := callOf(ctx).client.RejectDelivery(ctx, task.DeliveryID(r.DeliveryId), reason)
	if err != nil {
		return nil, err
	}
	return api.RejectDelivery200JSONResponse(wire.Delivery(d)), nil
}

// RehearseDelivery implements POST /oz/deliveries/{deliveryId}/rehearse.
func (o operations) RehearseDelivery(ctx context.Context, r api.RehearseDeliveryRequestObject) (api.RehearseDeliveryResponseObject, error) {
	h, err := callOf(ctx).client.RehearseDelivery(ctx, task.DeliveryID(r.DeliveryId))
	if err != nil {
		return nil, err
	}
	return api.RehearseDelivery200JSONResponse(wire.Rehearsal(h)), nil
}

package rest

import (
	"context"
	"net/http"

	"github.com/oz-platform/cloudagents/oz"
	"github.com/oz-platform/cloudagents/task"
	"github.com/oz-platform/cloudagents/transport/api"
	"github.com/oz-platform/cloudagents/transport/internal/wire"
	"github.com/oz-platform/cloudagents/trigger/integration"
	"github.com/oz-platform/cloudagents/trigger/outbound"
)

// ListIntegrations implements GET /oz/integrations.
func (o operations) ListIntegrations(ctx context.Context, _ api.ListIntegrationsRequestObject) (api.ListIntegrationsResponseObject, error) {
	list, err := callOf(ctx).client.Integrations(ctx)
	if err != nil {
		return nil, err
	}
	return api.ListIntegrations200JSONResponse{Integrations: wire.Each(list, wire.Integration)}, nil
}

// CreateIntegration implements POST /oz/integrations.
func (o operations) CreateIntegration(ctx context.Context, r api.CreateIntegrationRequestObject) (api.CreateIntegrationResponseObject, error) {
	i, err := callOf(ctx).client.CreateIntegration(ctx, wire.IntegrationInputOf(*r.Body))
	if err != nil {
		return nil, err
	}
	return api.CreateIntegration201JSONResponse(wire.Integration(i)), nil
}

// GetIntegration implements GET /oz/integrations/{integrationUid}.
func (o operations) GetIntegration(ctx context.Context, r api.GetIntegrationRequestObject) (api.GetIntegrationResponseObject, error) {
	i, err := callOf(ctx).client.Integration(ctx, r.IntegrationUid)
	if err != nil {
		return nil, err
	}
	return api.GetIntegration200JSONResponse(wire.Integration(i)), nil
}

// UpdateIntegration implements PUT /oz/integrations/{integrationUid}.
func (o operations) UpdateIntegration(ctx context.Context, r api.UpdateIntegrationRequestObject) (api.UpdateIntegrationResponseObject, error) {
	i, err := callOf(ctx).client.UpdateIntegration(ctx, r.IntegrationUid, wire.IntegrationChangeOf(*r.Body))
	if err != nil {
		return nil, err
	}
	return api.UpdateIntegration200JSONResponse(wire.Integration(i)), nil
}

// DeleteIntegration implements DELETE /oz/integrations/{integrationUid}.
func (o operations) DeleteIntegration(ctx context.Context, r api.DeleteIntegrationRequestObject) (api.DeleteIntegrationResponseObject, error) {
	if err := callOf(ctx).client.DeleteIntegration(ctx, r.IntegrationUid); err != nil {
		return nil, err
	}
	return api.DeleteIntegration204Response{}, nil
}

// ListIntegrationDeliveries implements
// GET /oz/integrations/{integrationUid}/deliveries.
func (o operations) ListIntegrationDeliveries(ctx context.Context, r api.ListIntegrationDeliveriesRequestObject) (api.ListIntegrationDeliveriesResponseObject, error) {
	q := task.DeliveryQuery{Before: task.DeliveryID(r.Params.Before), Limit: r.Params.Limit}
	for _, outcome := range r.Params.Outcome {
		q.Outcomes = append(q.Outcomes, wire.OutcomeOf(outcome))
	}
	list, err := callOf(ctx).client.IntegrationDeliveries(ctx, r.IntegrationUid, q)
	if err != nil {
		return nil, err
	}
	return api.ListIntegrationDeliveries200JSONResponse{Deliveries: wire.Each(list, wire.Delivery)}, nil
}

// ListLinks implements GET /oz/links.
func (o operations) ListLinks(ctx context.Context, _ api.ListLinksRequestObject) (api.ListLinksResponseObject, error) {
	list, err := callOf(ctx).client.Links(ctx)
	if err != nil {
		return nil, err
	}
	return api.ListLinks200JSONResponse{Links: wire.Each(list, wire.Link)}, nil
}

// AcceptLink implements POST /oz/links.
func (o operations) AcceptLink(ctx context.Context, r api.AcceptLinkRequestObject) (api.AcceptLinkResponseObject, error) {
	l, err := callOf(ctx).client.AcceptLink(ctx, r.Body.Code)
	if err != nil {
		return nil, err
	}
	return api.AcceptLink200JSONResponse(wire.Link(l)), nil
}

// DeleteLink implements DELETE /oz/links.
func (o operations) DeleteLink(ctx context.Context, r api.DeleteLinkRequestObject) (api.DeleteLinkResponseObject, error) {
	if err := callOf(ctx).client.Unlink(ctx, integration.Provider(r.Params.Provider), r.Params.Account); err != nil {
		return nil, err
	}
	return api.DeleteLink204Response{}, nil
}

// linkPage is what people see who open an address for linking an account: the
// code counts only for somebody who is signed in, and here nobody need be.
func (h *Handler) linkPage(w http.ResponseWriter, r *http.Request) {
	page := &markupWriter{}
	page.add(`<!DOCTYPE html><html lang="en"><head><meta charset="utf-8"/><meta name="viewport" content="width=device-width, initial-scale=1"/>`+
		`<title>Link your account</title><style>%s</style></head><body><main><h1>Link your account</h1>`+
		`<p>Somebody who is signed in here must say that the account is theirs. At a command line, sign in with <code>oz login</code>, and then:</p>`+
		`<pre><code>oz integration link %s</code></pre><p>Do that only if you asked for it from your own account.</p></main></body></html>`,
		markup(deviceStyle), r.URL.Query().Get("code"))
	head := w.Header()
	head.Set("Content-Type", "text/html; charset=utf-8")
	head.Set("Content-Security-Policy", "default-src 'none'; style-src '"+hashOf(deviceStyle)+"'; base-uri 'none'; frame-ancestors 'none'")
	_, _ = w.Write([]byte(page.String()))
}

// ListSubscriptions implements GET /oz/subscriptions.
func (o operations) ListSubscriptions(ctx context.Context, _ api.ListSubscriptionsRequestObject) (api.ListSubscriptionsResponseObject, error) {
	list, err := callOf(ctx).client.Subscriptions(ctx)
	if err != nil {
		return nil, err
	}
	return api.ListSubscriptions200JSONResponse{Subscriptions: wire.Each(list, wire.Subscription)}, nil
}

// CreateSubscription implements POST /oz/subscriptions.
func (o operations) CreateSubscription(ctx context.Context, r api.CreateSubscriptionRequestObject) (api.CreateSubscriptionResponseObject, error) {
	b := r.Body
	in := oz.SubscriptionInput{Team: b.Team, Spec: outbound.Spec{Name: b.Name, URL: b.Url, Enabled: b.Enabled == nil || *b.Enabled, Events: wire.SignalTypes(b.Events)}}
	s, err := callOf(ctx).client.CreateSubscription(ctx, in)
	if err != nil {
		return nil, err
	}
	return api.CreateSubscription201JSONResponse(wire.Subscription(s)), nil
}

// GetSubscription implements GET /oz/subscriptions/{subscriptionUid}.
func (o operations) GetSubscription(ctx context.Context, r api.GetSubscriptionRequestObject) (api.GetSubscriptionResponseObject, error) {
	s, err := callOf(ctx).client.Subscription(ctx, r.SubscriptionUid)
	if err != nil {
		return nil, err
	}
	return api.GetSubscription200JSONResponse(wire.Subscription(s)), nil
}

// UpdateSubscription implements PUT /oz/subscriptions/{subscriptionUid}.
func (o operations) UpdateSubscription(ctx context.Context, r api.UpdateSubscriptionRequestObject) (api.UpdateSubscriptionResponseObject, error) {
	s, err := callOf(ctx).client.UpdateSubscription(ctx, r.SubscriptionUid, wire.SubscriptionChangeOf(*r.Body))
	if err != nil {
		return nil, err
	}
	return api.UpdateSubscription200JSONResponse(wire.Subscription(s)), nil
}

// DeleteSubscription implements DELETE /oz/subscriptions/{subscriptionUid}.
func (o operations) DeleteSubscription(ctx context.Context, r api.DeleteSubscriptionRequestObject) (api.DeleteSubscriptionResponseObject, error) {
	if err := callOf(ctx).client.DeleteSubscription(ctx, r.SubscriptionUid); err != nil {
		return nil, err
	}
	return api.DeleteSubscription204Response{}, nil
}

// RotateSubscription implements POST /oz/subscriptions/{subscriptionUid}/rotate.
func (o operations) RotateSubscription(ctx context.Context, r api.RotateSubscriptionRequestObject) (api.RotateSubscriptionResponseObject, error) {
	s, err := callOf(ctx).client.RotateSubscription(ctx, r.SubscriptionUid)
	if err != nil {
		return nil, err
	}
	return api.RotateSubscription200JSONResponse(wire.Subscription(s)), nil
}

// ListSubscriptionMessages implements
// GET /oz/subscriptions/{subscriptionUid}/messages.
func (o operations) ListSubscriptionMessages(ctx context.Context, r api.ListSubscriptionMessagesRequestObject) (api.ListSubscriptionMessagesResponseObject, error) {
	q := task.OutgoingQuery{Before: task.OutgoingID(r.Params.Before), Limit: r.Params.Limit}
	for _, s := range r.Params.State {
		q.States = append(q.States, task.OutgoingState(s))
	}
	list, err := callOf(ctx).client.SubscriptionMessages(ctx, r.SubscriptionUid, q)
	if err != nil {
		return nil, err
	}
	return api.ListSubscriptionMessages200JSONResponse{Messages: wire.Each(list, wire.Message)}, nil
}

// ReplaySubscriptionMessage implements
// POST /oz/subscriptions/{subscriptionUid}/messages/{subscriptionMessageId}/replay.
func (o operations) ReplaySubscriptionMessage(ctx context.Context, r api.ReplaySubscriptionMessageRequestObject) (api.ReplaySubscriptionMessageResponseObject, error) {
	if err := callOf(ctx).client.ReplayMessage(ctx, r.SubscriptionUid, task.OutgoingID(r.SubscriptionMessageId)); err != nil {
		return nil, err
	}
	return api.ReplaySubscriptionMessage204Response{}, nil
}

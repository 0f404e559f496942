package client

import (
	"context"

	"github.com/oz-platform/cloudagents/oz"
	"github.com/oz-platform/cloudagents/task"
	"github.com/oz-platform/cloudagents/transport/api"
	"github.com/oz-platform/cloudagents/transport/internal/wire"
	"github.com/oz-platform/cloudagents/trigger/integration"
)

// Integrations lists the integrations that the caller may see.
func (c *Client) Integrations(ctx context.Context) ([]oz.IntegrationItem, error) {
	answer, err := decode[api.ListIntegrationsResponse](c.raw.ListIntegrations(ctx))
	if err != nil {
		return nil, err
	}
	return wire.Each(answer.Integrations, wire.IntegrationOf), nil
}

// Integration returns one integration.
func (c *Client) Integration(ctx context.Context, uid string) (oz.IntegrationItem, error) {
	if err := checkID("integration uid", uid); err != nil {
		return oz.IntegrationItem{}, err
	}
	i, err := decode[api.IntegrationItem](c.raw.GetIntegration(ctx, uid))
	return wire.IntegrationOf(i), err
}

// CreateIntegration connects a service, for a team.
func (c *Client) CreateIntegration(ctx context.Context, in oz.IntegrationInput) (oz.IntegrationItem, error) {
	i, err := decode[api.IntegrationItem](c.raw.CreateIntegration(ctx, wire.IntegrationInput(in)))
	return wire.IntegrationOf(i), err
}

// UpdateIntegration changes what is not nil.
func (c *Client) UpdateIntegration(ctx context.Context, uid string, change oz.IntegrationChange) (oz.IntegrationItem, error) {
	if err := checkID("integration uid", uid); err != nil {
		return oz.IntegrationItem{}, err
	}
	i, err := decode[api.IntegrationItem](c.raw.UpdateIntegration(ctx, uid, wire.IntegrationChange(change)))
	return wire.IntegrationOf(i), err
}

// DeleteIntegration disconnects a service.
func (c *Client) DeleteIntegration(ctx context.Context, uid string) error {
	if err := checkID("integration uid", uid); err != nil {
		return err
	}
	return done(c.raw.DeleteIntegration(ctx, uid))
}

// AcceptLink says that the account elsewhere that a code is about is the
// caller's.
func (c *Client) AcceptLink(ctx context.Context, code string) (integration.Link, error) {
	l, err := decode[api.LinkItem](c.raw.AcceptLink(ctx, api.AcceptLinkRequest{Code: code}))
	return wire.LinkOf(l), err
}

// Links lists the accounts elsewhere that are the caller's.
func (c *Client) Links(ctx context.Context) ([]integration.Link, error) {
	answer, err := decode[api.ListLinksResponse](c.raw.ListLinks(ctx))
	if err != nil {
		return nil, err
	}
	return wire.Each(answer.Links, wire.LinkOf), nil
}

// Unlink forgets that an account elsewhere is the caller's.
func (c *Client) Unlink(ctx context.Context, p integration.Provider, account string) error {
	return done(c.raw.DeleteLink(ctx, &api.DeleteLinkParams{Provider: string(p), Account: account}))
}

// Subscriptions lists the subscriptions that the caller may see, by name.
func (c *Client) Subscriptions(ctx context.Context) ([]oz.SubscriptionItem, error) {
	answer, err := decode[api.ListSubscriptionsResponse](c.raw.ListSubscriptions(ctx))
	if err != nil {
		return nil, err
	}
	return wire.Each(answer.Subscriptions, wire.SubscriptionOf), nil
}

// CreateSubscription lets a program be told what happens to runs. The answer
// has the secret that requests are signed with.
func (c *Client) CreateSubscription(ctx context.Context, in oz.SubscriptionInput) (oz.SubscriptionItem, error) {
	s, err := decode[api.SubscriptionItem](c.raw.CreateSubscription(ctx, api.CreateSubscriptionRequest{Name: in.Name, Url: in.URL, Enabled: &in.Enabled,
		Events: wire.SignalNames(in.Events), Team: in.Team}))
	return wire.SubscriptionOf(s), err
}

// UpdateSubscription changes what is not nil.
func (c *Client) UpdateSubscription(ctx context.Context, uid string, change oz.SubscriptionChange) (oz.SubscriptionItem, error) {
	if err := checkID("subscription uid", uid); err != nil {
		return oz.SubscriptionItem{}, err
	}
	s, err := decode[api.SubscriptionItem](c.raw.UpdateSubscription(ctx, uid, wire.SubscriptionChange(change)))
	return wire.SubscriptionOf(s), err
}

// DeleteSubscription removes a subscription.
func (c *Client) DeleteSubscription(ctx context.Context, uid string) error {
	if err := checkID("subscription uid", uid); err != nil {
		return err
	}
	return done(c.raw.DeleteSubscription(ctx, uid))
}

// SubscriptionMessages lists what was told, or is to be, the newest first.
func (c *Client) SubscriptionMessages(ctx context.Context, uid string, q task.OutgoingQuery) ([]task.Outgoing, error) {
	if err := checkID("subscription uid", uid); err != nil {
		return nil, err
	}
	p := api.ListSubscriptionMessagesParams{Before: string(q.Before), Limit: q.Limit}
	for _, s := range q.States {
		p.State = append(p.State, string(s))
	}
	answer, err := decode[api.ListSubscriptionMessagesResponse](c.raw.ListSubscriptionMessages(ctx, uid, &p))
	if err != nil {
		return nil, err
	}
	return wire.Each(answer.Messages, wire.MessageOf), nil
}

// ReplayMessage sends a message of a subscription again.
func (c *Client) ReplayMessage(ctx context.Context, uid string, id task.OutgoingID) error {
	if err := checkID("subscription uid", uid); err != nil {
		return err
	}
	if err := checkID("message id", string(id)); err != nil {
		return err
	}
	return done(c.raw.ReplaySubscriptionMessage(ctx, uid, string(id)))
}

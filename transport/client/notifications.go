package client

import (
	"context"
	"net/url"
	"strconv"

	"github.com/oz-platform/cloudagents/oz"
	"github.com/oz-platform/cloudagents/transport/api"
	"github.com/oz-platform/cloudagents/transport/internal/wire"
	"github.com/oz-platform/cloudagents/trigger/webpush"
)

// Notifications lists the caller's own, the newest first, up to limit (0 asks
// for the server's default), and how many are unread in all.
func (c *Client) Notifications(ctx context.Context, filter oz.NotificationFilter, limit int) (list []oz.Notification, unread int, err error) {
	values := url.Values{}
	if filter != "" {
		values.Set("filter", string(filter))
	}
	if limit != 0 {
		values.Set("limit", strconv.Itoa(limit))
	}
	answer, err := decode[api.ListNotificationsResponse](c.raw.ListNotifications(ctx, nil, query(values)))
	for _, n := range answer.Notifications {
		list = append(list, wire.NotificationOf(n))
	}
	return list, answer.Unread, err
}

// ReadNotification marks one of the caller's notifications as read.
func (c *Client) ReadNotification(ctx context.Context, id string) error {
	if err := checkID("notification id", id); err != nil {
		return err
	}
	return done(c.raw.ReadNotification(ctx, id))
}

// ReadAllNotifications marks all of the caller's notifications as read.
func (c *Client) ReadAllNotifications(ctx context.Context) error {
	return done(c.raw.ReadAllNotifications(ctx))
}

// PushKey is the server's key, for browsers that subscribe.
func (c *Client) PushKey(ctx context.Context) (string, error) {
	answer, err := decode[api.PushKey](c.raw.GetPushKey(ctx))
	return answer.PublicKey, err
}

// SubscribePush has the caller's notifications wake a browser. Of the answer
// the UID, the service and the time are known.
func (c *Client) SubscribePush(ctx context.Context, in webpush.Spec) (webpush.Subscription, error) {
	var body api.PushSubscriptionRequest
	body.Endpoint, body.Keys.P256dh, body.Keys.Auth = in.Endpoint, in.P256dh, in.Auth
	item, err := decode[api.PushSubscriptionItem](c.raw.CreatePushSubscription(ctx, body))
	return pushSubscription(item), err
}

// PushSubscriptions lists the browsers of the caller, the oldest first, as
// SubscribePush gives them.
func (c *Client) PushSubscriptions(ctx context.Context) (list []webpush.Subscription, err error) {
	answer, err := decode[api.ListPushSubscriptionsResponse](c.raw.ListPushSubscriptions(ctx))
	for _, item := range answer.Subscriptions {
		list = append(list, pushSubscription(item))
	}
	return list, err
}

// UnsubscribePush ends one of the caller's subscriptions.
func (c *Client) UnsubscribePush(ctx context.Context, uid string) error {
	if err := checkID("subscription id", uid); err != nil {
		return err
	}
	return done(c.raw.DeletePushSubscription(ctx, uid))
}

func pushSubscription(s api.PushSubscriptionItem) webpush.Subscription {
	return webpush.Subscription{UID: s.Id, Service: s.Service, CreatedAt: s.CreatedAt}
}

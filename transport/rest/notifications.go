package rest

import (
	"context"
	"encoding/json"

	"go.uber.org/zap"

	"github.com/oz-platform/cloudagents/oz"
	"github.com/oz-platform/cloudagents/task"
	"github.com/oz-platform/cloudagents/transport/api"
	"github.com/oz-platform/cloudagents/transport/internal/wire"
	"github.com/oz-platform/cloudagents/trigger/webpush"
)

// ListNotifications implements GET /oz/notifications.
func (o operations) ListNotifications(ctx context.Context, r api.ListNotificationsRequestObject) (api.ListNotificationsResponseObject, error) {
	list, unread, err := callOf(ctx).client.Notifications(ctx, oz.NotificationFilter(r.Params.Filter), r.Params.Limit)
	if err != nil {
		return nil, err
	}
	answer := api.ListNotifications200JSONResponse{Notifications: []api.Notification{}, Unread: unread}
	for _, n := range list {
		answer.Notifications = append(answer.Notifications, wire.Notification(n))
	}
	return answer, nil
}

// ReadNotification implements POST /oz/notifications/{notificationId}/read.
func (o operations) ReadNotification(ctx context.Context, r api.ReadNotificationRequestObject) (api.ReadNotificationResponseObject, error) {
	if err := callOf(ctx).client.ReadNotification(ctx, r.NotificationId); err != nil {
		return nil, err
	}
	return api.ReadNotification204Response{}, nil
}

// ReadAllNotifications implements POST /oz/notifications/read-all.
func (o operations) ReadAllNotifications(ctx context.Context, _ api.ReadAllNotificationsRequestObject) (api.ReadAllNotificationsResponseObject, error) {
	if err := callOf(ctx).client.ReadAllNotifications(ctx); err != nil {
		return nil, err
	}
	return api.ReadAllNotifications204Response{}, nil
}

// notices sends the caller's new notifications in a stream of runs. They are
// read when the stream looks at the caller's rights: whichever replica made
// them, they are here in seconds.
type notices struct {
	newest int64
	begun  bool
}

// send sends what is new since the last time; the first time nothing is.
func (n *notices) send(ctx context.Context, h *Handler, c *oz.Client, out *streamWriter) error {
	fresh, newest, err := c.NotificationsAfter(ctx, n.newest)
	if err != nil { // the next look may find them
		h.opts.Logger.Warn("cannot read notifications for a stream", zap.String("code", string(task.CodeOf(err))))
		return nil
	}
	begun := n.begun
	n.newest, n.begun = newest, true
	if !begun {
		return nil
	}
	for _, one := range fresh {
		data, err := json.Marshal(wire.Notification(one))
		if err != nil {
			return err
		}
		if err := out.send([]byte("event: notification\ndata: " + string(data) + "\n\n")); err != nil { // JSON has no line breaks
			return err
		}
	}
	return nil
}

// GetPushKey implements GET /oz/push/key.
func (o operations) GetPushKey(ctx context.Context, _ api.GetPushKeyRequestObject) (api.GetPushKeyResponseObject, error) {
	key, err := callOf(ctx).client.PushKey(ctx)
	if err != nil {
		return nil, err
	}
	return api.GetPushKey200JSONResponse{PublicKey: key}, nil
}

// ListPushSubscriptions implements GET /oz/push/subscriptions.
func (o operations) ListPushSubscriptions(ctx context.Context, _ api.ListPushSubscriptionsRequestObject) (api.ListPushSubscriptionsResponseObject, error) {
	list, err := callOf(ctx).client.PushSubscriptions(ctx)
	if err != nil {
		return nil, err
	}
	answer := api.ListPushSubscriptions200JSONResponse{Subscriptions: []api.PushSubscriptionItem{}}
	for _, s := range list {
		answer.Subscriptions = append(answer.Subscriptions, wire.PushSubscription(s))
	}
	return answer, nil
}

// CreatePushSubscription implements POST /oz/push/subscriptions.
func (o operations) CreatePushSubscription(ctx context.Context, r api.CreatePushSubscriptionRequestObject) (api.CreatePushSubscriptionResponseObject, error) {
	s, err := callOf(ctx).client.SubscribePush(ctx, webpush.Spec{Endpoint: r.Body.Endpoint, P256dh: r.Body.Keys.P256dh, Auth: r.Body.Keys.Auth})
	if err != nil {
		return nil, err
	}
	return api.CreatePushSubscription201JSONResponse(wire.PushSubscription(s)), nil
}

// DeletePushSubscription implements DELETE /oz/push/subscriptions/{subscriptionUid}.
func (o operations) DeletePushSubscription(ctx context.Context, r api.DeletePushSubscriptionRequestObject) (api.DeletePushSubscriptionResponseObject, error) {
	if err := callOf(ctx).client.UnsubscribePush(ctx, r.SubscriptionUid); err != nil {
		return nil, err
	}
	return api.DeletePushSubscription204Response{}, nil
}

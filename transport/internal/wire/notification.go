package wire

import (
	"github.com/oz-platform/cloudagents/oz"
	"github.com/oz-platform/cloudagents/task"
	"github.com/oz-platform/cloudagents/transport/api"
	"github.com/oz-platform/cloudagents/trigger/webpush"
)

// Notification is a notification on the wire.
func Notification(n oz.Notification) api.Notification {
	return api.Notification{Id: n.ID, Kind: api.NotificationKind(n.Kind), Reason: string(n.Reason), RunId: string(n.RunID), Title: n.Title, Text: n.Text,
		State: api.RunState(n.State), CreatedAt: n.CreatedAt, Read: n.Read}
}

// NotificationOf reads what Notification wrote.
func NotificationOf(n api.Notification) oz.Notification {
	return oz.Notification{ID: n.Id, Kind: oz.NotificationKind(n.Kind), Reason: oz.NotificationReason(n.Reason), RunID: task.ID(n.RunId), Title: n.Title,
		Text: n.Text, State: task.State(n.State), CreatedAt: n.CreatedAt, Read: n.Read}
}

// PushSubscription is a browser's subscription on the wire, without its address.
func PushSubscription(s webpush.Subscription) api.PushSubscriptionItem {
	return api.PushSubscriptionItem{Id: s.UID, Service: s.Service, CreatedAt: s.CreatedAt}
}

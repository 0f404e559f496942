package oz

import (
	"context"
	"encoding/json"
	"errors"
	"strings"

	"github.com/oz-platform/cloudagents/oz/access"
	"github.com/oz-platform/cloudagents/task"
	"github.com/oz-platform/cloudagents/trigger/webpush"
)

// PushKey is the server's key, for browsers that subscribe to the caller's
// notifications (Push API, applicationServerKey). It fails with
// task.CodeFeatureNotAvailable without Options.Sealed.
func (c *Client) PushKey(ctx context.Context) (string, error) {
	if _, err := c.pushing(ctx); err != nil {
		return "", err
	}
	return c.p.pushes.PublicKey(ctx)
}

// SubscribePush has the caller's notifications wake a browser. The same browser
// again gives the same subscription. It fails with task.CodeInvalidRequest, and
// with task.CodeNotAuthorized for whoever is no person.
func (c *Client) SubscribePush(ctx context.Context, in webpush.Spec) (webpush.Subscription, error) {
	uid, err := c.pushing(ctx)
	if err != nil {
		return webpush.Subscription{}, err
	}
	d := &deed{action: access.NotificationUse, kind: "push_subscription", owner: task.Scope{Type: task.ScopeUser, UID: uid}}
	return doing(ctx, c, d, func() (s webpush.Subscription, err error) {
		s, err = c.p.pushes.Subscribe(ctx, uid, in)
		d.id = s.UID
		return s, err
	})
}

// PushSubscriptions lists the browsers of the caller, the oldest first.
func (c *Client) PushSubscriptions(ctx context.Context) ([]webpush.Subscription, error) {
	uid, err := c.pushing(ctx)
	if err != nil {
		return nil, err
	}
	return c.p.pushes.Of(ctx, uid)
}

// UnsubscribePush ends one of the caller's subscriptions. It fails with
// task.ErrNotFound.
func (c *Client) UnsubscribePush(ctx context.Context, uid string) error {
	person, err := c.pushing(ctx)
	if err != nil {
		return err
	}
	s, err := c.p.pushes.Get(ctx, uid)
	if err == nil && s.Person != person {
		err = task.ErrNotFound
	}
	if errors.Is(err, task.ErrNotFound) { // the same words for none and for somebody else's
		return task.Errorf(task.CodeNotFound, "you have no subscription %.50q", uid)
	}
	if err != nil {
		return err
	}
	d := &deed{action: access.NotificationUse, kind: "push_subscription", id: uid, owner: task.Scope{Type: task.ScopeUser, UID: person}}
	return c.audited(ctx, d, func() error { return c.p.pushes.Remove(ctx, uid) })
}

// pushing gives the person whose browsers are meant.
func (c *Client) pushing(ctx context.Context) (uid string, err error) {
	if err := c.allow(ctx, access.NotificationUse, access.Object{}); err != nil {
		return "", err
	}
	switch {
	case c.p.pushes == nil:
		return "", notBuilt("", "a store for secrets, so that it can wake browsers", "give it one (Options.Sealed)")
	case !c.caller.Principal.IsPerson():
		return "", task.Errorf(task.CodeNotAuthorized, "only a person has notifications")
	}
	return c.caller.Principal.UID, nil
}

// pushMessage is what a browser is sent: nothing that was said in the run.
type pushMessage struct {
	Kind   NotificationKind   `json:"kind"`
	Reason NotificationReason `json:"reason,omitempty"`
	RunID  task.ID            `json:"run_id"`
	Title  string             `json:"title"`
	State  task.State         `json:"state"`
}

// pushesOf is what a notification has to tell a person's browsers. key names
// what it tells of.
func (p *Platform) pushesOf(ctx context.Context, uid, key string, n Notification) ([]task.Outgoing, error) {
	if p.pusher == nil {
		return nil, nil
	}
	message, err := json.Marshal(pushMessage{Kind: n.Kind, Reason: n.Reason, RunID: n.RunID, Title: n.Title, State: n.State})
	if err != nil {
		return nil, err
	}
	return p.pusher.Outgoing(ctx, uid, key, message)
}

// pushNow writes down what pushesOf gives, to be sent.
func (p *Platform) pushNow(ctx context.Context, uid, key string, n Notification) error {
	outbox, ok := p.store.(task.Outbox)
	if !ok {
		return nil
	}
	list, err := p.pushesOf(ctx, uid, key, n)
	if err != nil || len(list) == 0 {
		return err
	}
	now := p.opts.Clock.Now()
	for i := range list {
		list[i].ID, list[i].TaskID, list[i].CreatedAt, list[i].ReadyAt = task.NewOutgoingID(), n.RunID, now, now
	}
	return outbox.AddOutgoing(ctx, list...)
}

// pushSubject is how the makers of browsers reach the operator.
func (p *Platform) pushSubject() string {
	if strings.HasPrefix(p.opts.PublicURL, "https://") {
		return p.opts.PublicURL
	}
	return ""
}

package oz

import (
	"context"
	"errors"

	"github.com/oz-platform/cloudagents/oz/access"
	"github.com/oz-platform/cloudagents/task"
	"github.com/oz-platform/cloudagents/trigger/outbound"
)

// SubscriptionInput asks for a subscription.
type SubscriptionInput struct {
	outbound.Spec
	// Team says whose runs it tells of, as in Request.
	Team *bool
}

// SubscriptionChange is a new version of a subscription. What is nil keeps its
// value.
type SubscriptionChange struct {
	Name, URL *string
	Enabled   *bool
	Events    *[]task.SignalType
}

// SubscriptionItem is a subscription as its readers see it.
type SubscriptionItem struct {
	outbound.Subscription
	// Secret signs the requests. It was just made and is shown this once.
	Secret string
	// Manageable says that the caller may change it.
	Manageable bool
}

// subscribing gives the store of subscriptions.
func (p *Platform) subscribing() (*outbound.Store, error) {
	if p.subscriptions == nil {
		return nil, notBuilt("", "a store for secrets, so that it can sign what it tells", "give it one (Options.Sealed)")
	}
	return p.subscriptions, nil
}

// CreateSubscription lets a program be told what happens to an owner's runs.
// The answer has the secret that requests are signed with.
func (c *Client) CreateSubscription(ctx context.Context, in SubscriptionInput) (SubscriptionItem, error) {
	store, err := c.p.subscribing()
	if err != nil {
		return SubscriptionItem{}, err
	}
	owner, err := c.owner(ctx, access.TriggerCreate, in.Team)
	if err != nil {
		return SubscriptionItem{}, err
	}
	d := &deed{action: access.TriggerCreate, kind: "subscription", owner: owner, details: map[string]string{"name": in.Name}}
	var secret string
	s, err := doing(ctx, c, d, func() (s outbound.Subscription, err error) {
		s, secret, err = store.Create(ctx, owner, c.caller.Principal, in.Spec)
		d.id = s.UID
		return s, err
	})
	if err != nil {
		return SubscriptionItem{}, err
	}
	return c.subscriptionItem(s, secret), nil
}

// Subscription returns one subscription.
func (c *Client) Subscription(ctx context.Context, uid string) (SubscriptionItem, error) {
	s, err := c.subscription(ctx, uid, access.TriggerView)
	if err != nil {
		return SubscriptionItem{}, err
	}
	return c.subscriptionItem(s, ""), nil
}

func (c *Client) subscription(ctx context.Context, uid string, a access.Action) (outbound.Subscription, error) {
	store, err := c.p.subscribing()
	if err != nil {
		return outbound.Subscription{}, err
	}
	s, err := store.Get(ctx, uid)
	if err == nil {
		err = c.allowTo(ctx, a, access.Object{Owner: s.Owner, Creator: s.Creator}, "subscription", uid)
	} else {
		err = c.absent(ctx, a, "subscription", uid, err)
	}
	if errors.Is(err, task.ErrNotFound) { // the same words for none and for a hidden one
		err = task.Errorf(task.CodeNotFound, "subscription %.50q does not exist, or you may not see it", uid)
	}
	if err != nil {
		return outbound.Subscription{}, err
	}
	return s, nil
}

// Subscriptions lists those that the caller may see, by name.
func (c *Client) Subscriptions(ctx context.Context) ([]SubscriptionItem, error) {
	if err := c.allow(ctx, access.TriggerView, access.Object{}); err != nil {
		return nil, err
	}
	items := []SubscriptionItem{}
	if c.p.subscriptions == nil {
		return items, nil
	}
	list, err := c.p.subscriptions.List(ctx, c.owners()...)
	if err != nil {
		return nil, err
	}
	for _, s := range list {
		items = append(items, c.subscriptionItem(s, ""))
	}
	return items, nil
}

// UpdateSubscription changes what is told from now on.
func (c *Client) UpdateSubscription(ctx context.Context, uid string, change SubscriptionChange) (SubscriptionItem, error) {
	s, err := c.subscription(ctx, uid, access.TriggerManage)
	if err != nil {
		return SubscriptionItem{}, err
	}
	s, err = doing(ctx, c, subscriptionDeed(s, "update"), func() (outbound.Subscription, error) {
		return c.p.subscriptions.Update(ctx, uid, func(spec *outbound.Spec) error {
			set(&spec.Name, change.Name)
			set(&spec.URL, change.URL)
			set(&spec.Enabled, change.Enabled)
			set(&spec.Events, change.Events)
			return nil
		})
	})
	if err != nil {
		return SubscriptionItem{}, err
	}
	return c.subscriptionItem(s, ""), nil
}

// RotateSubscription gives a subscription a new secret, which signs later
// requests.
func (c *Client) RotateSubscription(ctx context.Context, uid string) (SubscriptionItem, error) {
	s, err := c.subscription(ctx, uid, access.TriggerManage)
	if err != nil {
		return SubscriptionItem{}, err
	}
	var secret string
	s, err = doing(ctx, c, subscriptionDeed(s, "rotate"), func() (s outbound.Subscription, err error) {
		s, secret, err = c.p.subscriptions.Rotate(ctx, uid)
		return s, err
	})
	if err != nil {
		return SubscriptionItem{}, err
	}
	return c.subscriptionItem(s, secret), nil
}

// DeleteSubscription removes a subscription; what was still to be told is given
// up.
func (c *Client) DeleteSubscription(ctx context.Context, uid string) error {
	s, err := c.subscription(ctx, uid, access.TriggerManage)
	if err != nil {
		return err
	}
	return c.audited(ctx, subscriptionDeed(s, "delete"), func() error { return c.p.subscriptions.Delete(ctx, uid) })
}

// SubscriptionMessages lists what was told, or is to be, those added last
// first.
func (c *Client) SubscriptionMessages(ctx context.Context, uid string, q task.OutgoingQuery) ([]task.Outgoing, error) {
	s, err := c.subscription(ctx, uid, access.TriggerView)
	if err != nil {
		return nil, err
	}
	if q.Limit, err = bounded(q.Limit, defaultDeliveries, MaxDeliveries); err != nil {
		return nil, err
	}
	q.Source, q.TaskID = s.Source(), ""
	return c.p.store.(task.Outbox).Outgoings(ctx, q)
}

// ReplayMessage sends again what could not be delivered, or was. It fails with
// task.CodeNotFound.
func (c *Client) ReplayMessage(ctx context.Context, uid string, id task.OutgoingID) error {
	s, err := c.subscription(ctx, uid, access.TriggerManage)
	if err != nil {
		return err
	}
	box := c.p.store.(task.Outbox)
	o, err := box.Outgoing(ctx, id)
	if errors.Is(err, task.ErrNotFound) || err == nil && o.Source != s.Source() {
		return task.Errorf(task.CodeNotFound, "message %.50q is none of this subscription", string(id))
	}
	if err != nil {
		return err
	}
	return c.audited(ctx, subscriptionDeed(s, "replay"), func() error { return box.ReplayOutgoing(ctx, id, c.p.opts.Clock.Now()) })
}

func subscriptionDeed(s outbound.Subscription, what string) *deed {
	return &deed{action: access.TriggerManage, kind: "subscription", id: s.UID, owner: s.Owner, details: map[string]string{"act": what, "name": s.Name}}
}

func (c *Client) subscriptionItem(s outbound.Subscription, secret string) SubscriptionItem {
	return SubscriptionItem{Subscription: s, Secret: secret,
		Manageable: access.Allow(c.caller, access.TriggerManage, access.Object{Owner: s.Owner, Creator: s.Creator}) == nil}
}

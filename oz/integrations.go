package oz

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"slices"

	"github.com/oz-platform/cloudagents/oz/access"
	"github.com/oz-platform/cloudagents/task"
	"github.com/oz-platform/cloudagents/trigger"
	"github.com/oz-platform/cloudagents/trigger/integration"
)

// IntegrationInput asks for an integration with another service.
type IntegrationInput struct {
	Provider integration.Provider
	integration.Spec
	// Secrets are what we share with the service, by name: the provider's
	// package says which it needs.
	Secrets map[string]string
}

// IntegrationChange is a new version of an integration. What is nil keeps its
// value, what is empty clears it.
type IntegrationChange struct {
	Name, Prompt, AgentUID *string
	Enabled                *bool
	Trust                  *integration.Trust
	Settings               *json.RawMessage
	Config                 *task.Config
	Metadata               *map[string]string
	Mode                   *task.Mode
	// Secrets replaces those that it names; an empty one is removed.
	Secrets map[string]string
}

// IntegrationItem is an integration as its readers see it.
type IntegrationItem struct {
	integration.Integration
	// URL is where the service is to send its events: the whole address when the
	// server knows its own, and else its path.
	URL string
	// Manageable says that the caller may change it.
	Manageable bool
}

// integrated is an Origin of a service that is integrated. It judges its own
// settings.
type integrated interface {
	trigger.Origin
	// CheckSettings fails with task.CodeInvalidRequest.
	CheckSettings(settings json.RawMessage) error
}

// checkIntegration refuses a provider that nothing here speaks to, and settings
// that its origin does not take.
func (p *Platform) checkIntegration(provider integration.Provider, settings json.RawMessage) error {
	for _, o := range p.origins {
		if o.Info().Name != string(provider) {
			continue
		}
		if judge, ok := o.(integrated); ok {
			return judge.CheckSettings(settings)
		}
		return nil
	}
	return task.Errorf(task.CodeFeatureNotAvailable, "this server has no integration with %.50q (Options.Integrations)", string(provider))
}

// CreateIntegration connects a service, for a team. It fails with
// task.CodeFeatureNotAvailable for somebody without a team, and for a service
// that the server does not speak to.
func (c *Client) CreateIntegration(ctx context.Context, in IntegrationInput) (IntegrationItem, error) {
	if err := c.p.checkIntegration(in.Provider, in.Settings); err != nil {
		return IntegrationItem{}, err
	}
	owner, err := c.owner(ctx, access.TriggerCreate, nil)
	if err != nil {
		return IntegrationItem{}, err
	}
	if err := c.Entitled(ctx, FeatureIntegration, owner); err != nil {
		return IntegrationItem{}, err
	}
	if err := c.judgeIntegration(ctx, owner, in.Spec); err != nil {
		return IntegrationItem{}, err
	}
	d := &deed{action: access.TriggerCreate, kind: "integration", owner: owner, details: map[string]string{"name": in.Name, "provider": string(in.Provider)}}
	i, err := doing(ctx, c, d, func() (integration.Integration, error) {
		i, err := c.p.integrations.Create(ctx, in.Provider, owner, c.caller.Principal, in.Spec, in.Secrets)
		d.id = i.UID
		return i, err
	})
	if err != nil {
		return IntegrationItem{}, err
	}
	return c.integrationItem(i), nil
}

// judgeIntegration judges what its runs would be, so far as it can be told
// today.
func (c *Client) judgeIntegration(ctx context.Context, owner task.Scope, s integration.Spec) error {
	if err := s.Validate(); err != nil {
		return err
	}
	team := owner.Type == task.ScopeTeam
	r := Request{Prompt: "an event", Config: s.Config, Mode: s.Mode, Metadata: s.Metadata, Team: &team, Title: s.Name}
	return c.judgeAutomation(ctx, owner, s.AgentUID, "integration", r)
}

// Integration returns one integration.
func (c *Client) Integration(ctx context.Context, uid string) (IntegrationItem, error) {
	i, err := c.integration(ctx, uid, access.TriggerView)
	if err != nil {
		return IntegrationItem{}, err
	}
	return c.integrationItem(i), nil
}

func (c *Client) integration(ctx context.Context, uid string, a access.Action) (integration.Integration, error) {
	i, err := c.p.integrations.Get(ctx, uid)
	if err == nil {
		err = c.allowTo(ctx, a, access.Object{Owner: i.Owner, Creator: i.Creator}, "integration", uid)
	} else {
		err = c.absent(ctx, a, "integration", uid, err)
	}
	if errors.Is(err, task.ErrNotFound) { // the same words for none and for a hidden one
		err = task.Errorf(task.CodeNotFound, "integration %.50q does not exist, or you may not see it", uid)
	}
	if err != nil {
		return integration.Integration{}, err
	}
	return i, nil
}

// Integrations lists those that the caller may see, by provider and name.
func (c *Client) Integrations(ctx context.Context) ([]IntegrationItem, error) {
	if err := c.allow(ctx, access.TriggerView, access.Object{}); err != nil {
		return nil, err
	}
	list, err := c.p.integrations.List(ctx, c.owners()...)
	if err != nil {
		return nil, err
	}
	items := make([]IntegrationItem, 0, len(list))
	for _, i := range list {
		items = append(items, c.integrationItem(i))
	}
	return items, nil
}

// UpdateIntegration changes what is made of events from now on.
func (c *Client) UpdateIntegration(ctx context.Context, uid string, change IntegrationChange) (IntegrationItem, error) {
	i, err := c.integration(ctx, uid, access.TriggerManage)
	if err != nil {
		return IntegrationItem{}, err
	}
	i, err = doing(ctx, c, integrationDeed(i, "update"), func() (integration.Integration, error) {
		return c.p.integrations.Update(ctx, uid, c.caller.Principal, func(s *integration.Spec) error {
			change.apply(s)
			if err := c.p.checkIntegration(i.Provider, s.Settings); err != nil {
				return err
			}
			return c.judgeIntegration(ctx, i.Owner, *s)
		}, change.Secrets)
	})
	if err != nil {
		return IntegrationItem{}, err
	}
	return c.integrationItem(i), nil
}

func (ch IntegrationChange) apply(s *integration.Spec) {
	set(&s.Name, ch.Name)
	set(&s.Prompt, ch.Prompt)
	set(&s.AgentUID, ch.AgentUID)
	set(&s.Enabled, ch.Enabled)
	set(&s.Trust, ch.Trust)
	set(&s.Settings, ch.Settings)
	set(&s.Config, ch.Config)
	set(&s.Mode, ch.Mode)
	if ch.Metadata != nil {
		s.Metadata = maps.Clone(*ch.Metadata)
	}
}

// DeleteIntegration removes an integration with its secrets, at once for
// everybody. Its runs stay.
func (c *Client) DeleteIntegration(ctx context.Context, uid string) error {
	i, err := c.integration(ctx, uid, access.TriggerManage)
	if err != nil {
		return err
	}
	return c.audited(ctx, integrationDeed(i, "delete"), func() error { return c.p.integrations.Delete(ctx, uid) })
}

// IntegrationDeliveries lists what arrived through an integration, the newest
// first and without bodies.
func (c *Client) IntegrationDeliveries(ctx context.Context, uid string, q task.DeliveryQuery) ([]task.Delivery, error) {
	i, err := c.integration(ctx, uid, access.TriggerView)
	if err != nil {
		return nil, err
	}
	q.Source = i.Source()
	return c.Deliveries(ctx, q)
}

func integrationDeed(i integration.Integration, what string) *deed {
	return &deed{action: access.TriggerManage, kind: "integration", id: i.UID, owner: i.Owner, details: map[string]string{"act": what, "name": i.Name, "provider": string(i.Provider)}}
}

func (c *Client) integrationItem(i integration.Integration) IntegrationItem {
	return IntegrationItem{Integration: i, URL: c.p.absolute(i.Path()),
		Manageable: access.Allow(c.caller, access.TriggerManage, access.Object{Owner: i.Owner, Creator: i.Creator}) == nil}
}

// AcceptLink says that the account elsewhere that a code is about is the
// caller's. It fails with task.CodeInvalidRequest for a code that is wrong or
// over, and for a caller who is no person.
func (c *Client) AcceptLink(ctx context.Context, code string) (integration.Link, error) {
	d := &deed{action: access.AccountView, kind: "link", owner: task.Scope{Type: task.ScopeUser, UID: c.caller.Principal.UID}, details: act("link")}
	if err := c.person(ctx); err != nil {
		return integration.Link{}, err
	}
	return doing(ctx, c, d, func() (integration.Link, error) {
		l, err := c.p.integrations.AcceptLink(ctx, code, c.caller.Principal)
		d.id = string(l.Provider) + "/" + l.Account
		return l, err
	})
}

// Links lists the accounts elsewhere that are the caller's.
func (c *Client) Links(ctx context.Context) ([]integration.Link, error) {
	if err := c.person(ctx); err != nil {
		return nil, err
	}
	return c.p.integrations.Links(ctx, c.caller.Principal.UID)
}

// Unlink forgets that an account elsewhere is the caller's. It fails with
// task.CodeNotFound.
func (c *Client) Unlink(ctx context.Context, p integration.Provider, account string) error {
	if err := c.person(ctx); err != nil {
		return err
	}
	d := &deed{action: access.AccountView, kind: "link", id: string(p) + "/" + account, owner: task.Scope{Type: task.ScopeUser, UID: c.caller.Principal.UID}, details: act("unlink")}
	return c.audited(ctx, d, func() error { return c.p.integrations.Unlink(ctx, p, account, c.caller.Principal.UID) })
}

// person refuses callers who are none.
func (c *Client) person(ctx context.Context) error {
	if err := c.allow(ctx, access.AccountView, access.Object{}); err != nil {
		return err
	}
	if !c.caller.Principal.IsPerson() {
		return task.Errorf(task.CodeNotAuthorized, "only a person has accounts elsewhere: sign in as one")
	}
	return nil
}

// personOf finds whom an owner trusts to have an e-mail address: not one whose
// address only another team vouches for.
func (p *Platform) personOf(ctx context.Context, email string, owner task.Scope) (task.Principal, bool, error) {
	var teams []string
	if owner.Type == task.ScopeTeam {
		teams = []string{owner.UID}
	}
	u, err := p.registry.UserFor(ctx, email, teams...)
	if errors.Is(err, task.ErrNotFound) {
		return task.Principal{}, false, nil
	}
	return task.Principal{Type: task.PrincipalUser, UID: u.UID, DisplayName: u.DisplayName, Email: u.Email}, err == nil, err
}

// member reports whether somebody may start runs of an owner today.
func (p *Platform) member(ctx context.Context, who task.Principal, owner task.Scope) (bool, error) {
	caller, err := p.registry.Caller(ctx, who.UID)
	if errors.Is(err, task.ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	return slices.Contains(caller.Scopes(), owner), nil
}

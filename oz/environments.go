package oz

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/oz-platform/cloudagents/environment"
	"github.com/oz-platform/cloudagents/oz/access"
	"github.com/oz-platform/cloudagents/task"
)

// EnvironmentItem is an environment with what its runs tell of it (Oz API,
// CloudEnvironment).
type EnvironmentItem struct {
	environment.Environment
	// LastTask is the run that was created last; nil before the first.
	LastTask *task.Task
	// LastRunAt is when that run began to work; zero when it has not.
	LastRunAt time.Time
	// SetupFailed says that it failed before it began to work.
	SetupFailed bool
}

// CreateEnvironment stores an environment. team says whose it is, as in
// Request. It fails with task.CodeInvalidRequest.
func (c *Client) CreateEnvironment(ctx context.Context, cfg environment.Config, team *bool) (environment.Environment, error) {
	owner, err := c.owner(ctx, access.EnvironmentCreate, team)
	if err != nil {
		return environment.Environment{}, err
	}
	if err := c.entitledToSetup(ctx, owner, cfg); err != nil {
		return environment.Environment{}, err
	}
	d := &deed{action: access.EnvironmentCreate, kind: "environment", owner: owner, details: map[string]string{"name": cfg.Name}}
	return doing(ctx, c, d, func() (environment.Environment, error) {
		env, err := c.p.environments.Create(ctx, owner, c.caller.Principal, cfg)
		d.id = env.UID
		return env, err
	})
}

// Environment returns one environment.
func (c *Client) Environment(ctx context.Context, uid string) (environment.Environment, error) {
	return c.environment(ctx, uid, access.EnvironmentView)
}

// environment reads an environment and checks that the caller may do a to it.
func (c *Client) environment(ctx context.Context, uid string, a access.Action) (environment.Environment, error) {
	env, err := c.p.environments.Get(ctx, uid)
	if err == nil {
		err = c.allowTo(ctx, a, access.Object{Owner: env.Owner, Creator: env.Creator}, "environment", uid)
	} else {
		err = c.absent(ctx, a, "environment", uid, err)
	}
	if errors.Is(err, task.ErrNotFound) { // the same words for none and for a hidden one
		return environment.Environment{}, task.Errorf(task.CodeNotFound, "environment %q does not exist, or you may not see it", uid)
	}
	if err != nil {
		return environment.Environment{}, err
	}
	return env, nil
}

// Environments lists those that the caller may use, newest change first.
func (c *Client) Environments(ctx context.Context) ([]EnvironmentItem, error) {
	if err := c.allow(ctx, access.EnvironmentView, access.Object{}); err != nil {
		return nil, err
	}
	owners := c.caller.Scopes()
	if c.caller.System {
		owners = []task.Scope{c.p.opts.Owner}
	}
	list, err := c.p.environments.List(ctx, owners...)
	if err != nil {
		return nil, err
	}
	items := make([]EnvironmentItem, 0, len(list))
	for _, env := range list {
		item, err := c.environmentItem(ctx, env)
		if err != nil {
			return nil, err
		}
		items = append(items, item)
	}
	return items, nil
}

// environmentItem looks up the newest run of an environment, of those that the
// caller may see.
func (c *Client) environmentItem(ctx context.Context, env environment.Environment) (EnvironmentItem, error) {
	item := EnvironmentItem{Environment: env}
	page, err := c.List(ctx, task.Query{EnvironmentID: env.UID, Sort: task.SortCreatedAt, Limit: 1})
	if err != nil {
		return item, fmt.Errorf("newest run of environment %s: %w", env.UID, err)
	}
	if len(page.Tasks) == 0 {
		return item, nil
	}
	t := page.Tasks[0]
	item.LastTask, item.LastRunAt = &t, t.StartedAt
	item.SetupFailed = t.Status.ErrorCode == task.CodeEnvironmentSetupFailed ||
		(t.State == task.StateFailed || t.State == task.StateError) && t.StartedAt.IsZero()
	return item, nil
}

// UpdateEnvironment replaces the configuration of an environment if its
// revision is still the given one, else it fails with task.ErrConflict. Runs
// that exist keep what they were created with.
func (c *Client) UpdateEnvironment(ctx context.Context, uid string, cfg environment.Config, revision int64) (environment.Environment, error) {
	env, err := c.environment(ctx, uid, access.EnvironmentManage)
	if err != nil {
		return environment.Environment{}, err
	}
	if err := c.entitledToSetup(ctx, env.Owner, cfg); err != nil {
		return environment.Environment{}, err
	}
	return doing(ctx, c, environmentDeed(env, "update"), func() (environment.Environment, error) {
		return c.p.environments.Update(ctx, uid, revision, c.caller.Principal, cfg)
	})
}

// DeleteEnvironment removes an environment. Runs that exist keep theirs.
func (c *Client) DeleteEnvironment(ctx context.Context, uid string) error {
	env, err := c.environment(ctx, uid, access.EnvironmentManage)
	if err != nil {
		return err
	}
	return c.audited(ctx, environmentDeed(env, "delete"), func() error { return c.p.environments.Delete(ctx, uid) })
}

func environmentDeed(env environment.Environment, what string) *deed {
	return &deed{action: access.EnvironmentManage, kind: "environment", id: env.UID, owner: env.Owner,
		details: map[string]string{"act": what, "name": env.Config.Name}}
}

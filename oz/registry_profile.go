package oz

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/oz-platform/cloudagents/executor/catalog"
	"github.com/oz-platform/cloudagents/oz/access"
	"github.com/oz-platform/cloudagents/task"
)

// The profiles that everybody has (Oz platform, PRO-1 and PRO-2).
const (
	// ProfileDefault is for work that a person watches: the agent decides, and
	// some commands are prohibited.
	ProfileDefault = "default"
	// ProfileCLI allows all, which is what a run without profile may do, too.
	ProfileCLI = "cli"
)

// Profile is an agent profile: a model and what agents may do. Runs on the
// caller's own machine choose one, and others that name it in their
// configuration; none is in force by itself.
type Profile struct {
	Registered
	// Model is the built-in agent's model for runs that name none.
	Model string `json:"base_model,omitempty"`
	// Permissions are what the agent may do.
	Permissions task.Permissions `json:"permissions"`
	// BuiltIn profiles belong to nobody and cannot be changed; their UID is
	// ProfileDefault or ProfileCLI.
	BuiltIn bool `json:"-"`
}

// ProfileInput asks for a profile. A CommandDenylist that is nil becomes
// task.DefaultCommandDenylist; an empty one stays empty.
type ProfileInput struct {
	Name, Description, Model string
	Permissions              task.Permissions
	// Team says whose it is, as in Request.
	Team *bool
}

// ProfileChange changes what is not nil; Permissions replace all of them.
type ProfileChange struct {
	Name, Description, Model *string
	Permissions              *task.Permissions
	// Revision fails the change with task.ErrConflict when it is not the
	// stored one; 0 is any.
	Revision int64
}

func profiles() shelf[Profile] {
	return shelf[Profile]{kind: "agent_profile", what: "agent profile",
		create: access.ProfileCreate, view: access.ProfileView, manage: access.ProfileManage,
		head: func(p *Profile) *Registered { return &p.Registered },
		check: func(p Profile) error {
			if err := checkLine("base_model", p.Model, maxName); err != nil {
				return err
			}
			return p.Permissions.Validate("permissions")
		}}
}

// builtInProfiles are those that everybody has.
func builtInProfiles() []Profile {
	return []Profile{
		{BuiltIn: true, Registered: Registered{UID: ProfileCLI, Name: "CLI", Description: "All that the agent's tools can do; in force where no profile is named."},
			Permissions: task.Permissions{ExecuteCommands: task.LevelAlwaysAllow}},
		{BuiltIn: true, Registered: Registered{UID: ProfileDefault, Name: "Default", Description: "The agent decides; wget, curl, rm and eval are prohibited."},
			Permissions: task.Permissions{CommandDenylist: task.DefaultCommandDenylist()}},
	}
}

// builtInProfile finds one of them.
func builtInProfile(uid string) (Profile, bool) {
	list := builtInProfiles()
	i := slices.IndexFunc(list, func(p Profile) bool { return p.UID == uid })
	if i < 0 {
		return Profile{}, false
	}
	return list[i], true
}

// withDenylist fills in what a profile has not said.
func withDenylist(p task.Permissions) task.Permissions {
	if p.CommandDenylist == nil {
		p.CommandDenylist = task.DefaultCommandDenylist()
	}
	return p
}

// CreateProfile makes an agent profile. It fails with task.CodeInvalidRequest,
// or with task.ErrConflict when the owner has one of that name.
func (c *Client) CreateProfile(ctx context.Context, in ProfileInput) (Profile, error) {
	return profiles().add(ctx, c, Profile{Registered: Registered{Name: in.Name, Description: in.Description}, Model: in.Model,
		Permissions: withDenylist(in.Permissions)}, in.Team)
}

// Profile returns one agent profile.
func (c *Client) Profile(ctx context.Context, uid string) (Profile, error) {
	if p, ok := builtInProfile(uid); ok {
		return p, c.allow(ctx, access.ProfileView, access.Object{})
	}
	return profiles().get(ctx, c, uid, access.ProfileView)
}

// Profiles lists the agent profiles that the caller may see, the built-in ones
// first, then by name.
func (c *Client) Profiles(ctx context.Context) ([]Profile, error) {
	list, err := profiles().list(ctx, c)
	if err != nil {
		return nil, err
	}
	return append(builtInProfiles(), list...), nil
}

// UpdateProfile changes an agent profile. Runs that exist keep what they were
// created with.
func (c *Client) UpdateProfile(ctx context.Context, uid string, change ProfileChange) (Profile, error) {
	if err := c.mayChangeProfile(ctx, uid); err != nil {
		return Profile{}, err
	}
	return profiles().update(ctx, c, uid, change.Revision, func(p *Profile) {
		set(&p.Name, change.Name)
		set(&p.Description, change.Description)
		set(&p.Model, change.Model)
		if change.Permissions != nil {
			p.Permissions = withDenylist(*change.Permissions)
		}
	})
}

// DeleteProfile removes an agent profile. Runs that exist keep what they were
// created with.
func (c *Client) DeleteProfile(ctx context.Context, uid string) error {
	if err := c.mayChangeProfile(ctx, uid); err != nil {
		return err
	}
	return profiles().remove(ctx, c, uid)
}

// mayChangeProfile keeps the built-in ones as they are.
func (c *Client) mayChangeProfile(ctx context.Context, uid string) error {
	if _, ok := builtInProfile(uid); !ok {
		return nil
	}
	if err := c.allow(ctx, access.ProfileView, access.Object{}); err != nil {
		return err
	}
	return task.Errorf(task.CodeInvalidRequest, "the agent profile %q is built in and cannot be changed: make one of your own", uid)
}

// profileFor finds the profile of a run.
func (c *Client) profileFor(ctx context.Context, id string, owner task.Scope) (Profile, error) {
	const field = "config.profile_id"
	p, err := c.Profile(ctx, id)
	if errors.Is(err, task.ErrNotFound) {
		return p, &task.Error{Code: task.CodeNotFound, Field: field, Err: err, Message: fmt.Sprintf("there is no agent profile %q that you may use", id)}
	}
	if err == nil && !p.BuiltIn && owner.Type == task.ScopeTeam && p.Owner != owner {
		return p, task.Invalid(field, "agent profile %q belongs to %s and the run to a team: use a profile of that team, or set team to false", id, p.Owner.Type)
	}
	return p, err
}

// profileLayer is what the profile that a run names gives to it. A run that has
// permissions already, its parent's or its own, keeps them.
func (c *Client) profileLayer(ctx context.Context, asked task.Config, owner task.Scope) (layer, error) {
	if asked.ProfileID == "" || asked.Permissions != nil {
		return layer{layerProfile, task.Config{}}, nil
	}
	p, err := c.profileFor(ctx, asked.ProfileID, owner)
	if err != nil {
		return layer{}, err
	}
	k := task.Config{Permissions: &p.Permissions}
	if asked.HarnessType() == harnessBuiltIn {
		k.ModelID = p.Model
	}
	return layer{layerProfile, k}, nil
}

// checkPermissions judges what a run's agent may do.
func checkPermissions(c task.Config) error {
	if c.Permissions == nil {
		return nil
	}
	const field = "config.permissions"
	if err := c.Permissions.Validate(field); err != nil {
		return err
	}
	if c.ProfileID != "" {
		return catalog.HoldsPermissions("config.profile_id", c.HarnessType(), *c.Permissions)
	}
	return catalog.HoldsPermissions(field, c.HarnessType(), *c.Permissions)
}

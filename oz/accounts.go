package oz

import (
	"cmp"
	"context"
	"slices"
	"strings"

	"github.com/oz-platform/cloudagents/oz/access"
	"github.com/oz-platform/cloudagents/task"
)

// Keys lists the API keys that the caller may manage, oldest first.
func (c *Client) Keys(ctx context.Context) ([]access.Key, error) {
	return c.p.registry.Keys(ctx, c.caller)
}

// CreateKey makes an API key and gives it, this once. See
// access.Registry.CreateKey.
func (c *Client) CreateKey(ctx context.Context, spec access.KeySpec) (raw string, k access.Key, err error) {
	return c.p.registry.CreateKey(ctx, c.caller, spec)
}

// RevokeKey deletes an API key: the next request with it fails.
func (c *Client) RevokeKey(ctx context.Context, uid string) error {
	return c.p.registry.RevokeKey(ctx, c.caller, uid)
}

// KeyOrder is what a list of API keys is sorted by.
type KeyOrder string

// The orders of API keys. What was never used, or never expires, comes last.
const (
	KeysByName     KeyOrder = "name"
	KeysByCreation KeyOrder = "created_at"
	KeysByUse      KeyOrder = "last_used_at"
	KeysByExpiry   KeyOrder = "expires_at"
	KeysByScope    KeyOrder = "scope"
)

// SortKeys sorts keys, ascending. It fails with task.CodeInvalidRequest for an
// order that it does not know.
func SortKeys(keys []access.Key, by KeyOrder) error {
	var order func(a, b access.Key) int
	switch by {
	case KeysByName:
		order = func(a, b access.Key) int { return strings.Compare(a.Name, b.Name) }
	case "", KeysByCreation:
		order = func(a, b access.Key) int { return a.CreatedAt.Compare(b.CreatedAt) }
	case KeysByUse:
		order = func(a, b access.Key) int {
			return cmp.Or(lastIf(a.LastUsedAt.IsZero(), b.LastUsedAt.IsZero()), a.LastUsedAt.Compare(b.LastUsedAt))
		}
	case KeysByExpiry:
		order = func(a, b access.Key) int {
			return cmp.Or(lastIf(a.ExpiresAt.IsZero(), b.ExpiresAt.IsZero()), a.ExpiresAt.Compare(b.ExpiresAt))
		}
	case KeysByScope:
		order = func(a, b access.Key) int { return strings.Compare(a.Owner.String(), b.Owner.String()) }
	default:
		return task.Invalid("sort_by", "%q is none of name, created_at, last_used_at, expires_at, scope", string(by))
	}
	slices.SortStableFunc(keys, order)
	return nil
}

// lastIf puts what has a behind what has not.
func lastIf(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return 1
	}
	return -1
}

// Teams lists the caller's teams, by name.
func (c *Client) Teams(ctx context.Context) ([]access.Team, error) {
	return c.p.registry.Teams(ctx, c.caller)
}

// CreateTeam makes a team that the caller, a person, owns. Its UID is made
// when it is empty.
func (c *Client) CreateTeam(ctx context.Context, t access.Team) (access.Team, error) {
	return c.p.registry.CreateTeam(ctx, c.caller, t)
}

// Team returns a team and the persons on it.
func (c *Client) Team(ctx context.Context, uid string) (access.Team, []access.Member, error) {
	return c.p.registry.Members(ctx, c.caller, uid)
}

// RenameTeam changes a team's name.
func (c *Client) RenameTeam(ctx context.Context, uid, name string) (access.Team, error) {
	return c.p.registry.RenameTeam(ctx, c.caller, uid, name)
}

// SetTeamLinks says whether the team's runs may be shared with whoever has a
// link. What was shared so before is closed within seconds, and open again when
// links are allowed again. See access.Registry.SetTeamLinks.
func (c *Client) SetTeamLinks(ctx context.Context, uid string, off bool) (access.Team, error) {
	return c.p.registry.SetTeamLinks(ctx, c.caller, uid, off)
}

// AddMember puts a person on a team. See access.Registry.AddMember.
func (c *Client) AddMember(ctx context.Context, team string, m access.NewMember) (added access.Member, key string, err error) {
	return c.p.registry.AddMember(ctx, c.caller, team, m)
}

// SetRole changes a member's role. See access.Registry.SetRole.
func (c *Client) SetRole(ctx context.Context, team, user string, role access.Role) (access.Member, error) {
	return c.p.registry.SetRole(ctx, c.caller, team, user, role)
}

// RemoveMember takes a person off a team. See access.Registry.RemoveMember.
func (c *Client) RemoveMember(ctx context.Context, team, user string) error {
	return c.p.registry.RemoveMember(ctx, c.caller, team, user)
}

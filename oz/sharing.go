package oz

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/oz-platform/cloudagents/oz/access"
	"github.com/oz-platform/cloudagents/task"
)

// Sharing tells who may see and steer a run.
func (c *Client) Sharing(ctx context.Context, id task.ID) (task.Sharing, error) {
	t, err := c.run(ctx, id, access.RunView)
	return t.Sharing.Of(t.Owner), err
}

// Share says who may see and steer a run from now on. A person may be named by
// e-mail address in the place of the UID. It fails with
// task.CodeNotAuthorized for all but who made the run and the leaders of its
// team.
func (c *Client) Share(ctx context.Context, id task.ID, s task.Sharing) (task.Sharing, error) {
	t, err := c.run(ctx, id, access.RunShare)
	if err != nil {
		return task.Sharing{}, err
	}
	if s, err = c.checkSharing(ctx, t.Owner, s); err != nil {
		return task.Sharing{}, err
	}
	err = c.audited(ctx, runDeed(access.RunShare, t), func() (err error) {
		t.Head, err = c.p.store.Do(ctx, id, task.Share{By: c.caller.Principal, Sharing: s})
		return err
	})
	return t.Sharing.Of(t.Owner), err
}

// checkSharing judges what a run of owner is to be shared with, and finds the
// persons who are named by e-mail address.
func (c *Client) checkSharing(ctx context.Context, owner task.Scope, s task.Sharing) (task.Sharing, error) {
	s = s.Clone()
	if err := s.Validate(); err != nil {
		return s, err
	}
	if s.Visibility == task.VisibilityLink {
		err := c.p.linksAllowed(ctx, owner)
		var e *task.Error
		if errors.As(err, &e) {
			named := *e
			named.Field = "visibility"
			err = &named
		}
		if err != nil {
			return s, err
		}
	}
	if s.Visibility == task.VisibilityTeam && owner.Type == task.ScopeUser {
		return s, task.Invalid("visibility", "the run is a person's own: grant it to a team instead")
	}
	for i, g := range s.Grants {
		to, err := c.grantee(ctx, owner, g.To)
		if errors.Is(err, task.ErrNotFound) {
			return s, task.Invalid(fmt.Sprintf("grants[%d]", i), "there is no %s %q", strings.ToLower(string(g.To.Type)), g.To.UID)
		}
		if err != nil {
			return s, err
		}
		s.Grants[i].To = to
	}
	return s, s.Validate() // one person may have been named in two ways
}

// grantee finds whom a grant names. Of the teams of whoever shares their own
// run the first one's word counts for e-mail addresses: anybody can put them on
// further teams.
func (c *Client) grantee(ctx context.Context, owner, to task.Scope) (task.Scope, error) {
	if to.Type == task.ScopeTeam {
		_, err := c.p.registry.Team(ctx, to.UID)
		return to, err
	}
	if !strings.Contains(to.UID, "@") {
		_, err := c.p.registry.User(ctx, to.UID)
		return to, err
	}
	trusted := ""
	if owner.Type == task.ScopeTeam {
		trusted = owner.UID
	} else if len(c.caller.Teams) > 0 {
		trusted = c.caller.Teams[0].UID
	}
	u, err := c.p.registry.UserFor(ctx, to.UID, trusted)
	to.UID = u.UID
	return to, err
}

// sharingOf is what a request's configuration says of who may see the run (Oz
// API, session_sharing).
func sharingOf(c task.Config) (task.Sharing, error) {
	const field = "config.session_sharing"
	if emptyJSON(c.SessionSharing) {
		return task.Sharing{}, nil
	}
	var s struct {
		Public *string `json:"public_access"`
	}
	if err := json.Unmarshal(c.SessionSharing, &s); err != nil {
		return task.Sharing{}, task.Invalid(field, "must be an object with public_access")
	}
	if s.Public == nil {
		return task.Sharing{}, nil
	}
	switch *s.Public {
	case "VIEWER":
		return task.Sharing{Visibility: task.VisibilityLink, LinkRole: task.RoleViewer}, nil
	case "EDITOR":
		return task.Sharing{Visibility: task.VisibilityLink, LinkRole: task.RoleEditor}, nil
	}
	return task.Sharing{}, task.Invalid(field+".public_access", "%q is neither VIEWER nor EDITOR", *s.Public)
}

// shareAtOnce gives the commands that share a new run as its configuration
// says; none when it is not shared.
func (c *Client) shareAtOnce(ctx context.Context, spec task.Spec) ([]task.Command, error) {
	s, err := sharingOf(spec.Config)
	if err == nil && !s.IsZero() {
		s, err = c.checkSharing(ctx, spec.Owner, s)
	}
	if err != nil || s.IsZero() {
		return nil, unshareable(err)
	}
	return []task.Command{task.Share{By: c.caller.Principal, Sharing: s}}, nil
}

// unshareable names the field of the request that says how to share.
func unshareable(err error) error {
	var e *task.Error
	if !errors.As(err, &e) || strings.HasPrefix(e.Field, "config.") {
		return err
	}
	named := *e
	named.Field = "config.session_sharing.public_access"
	return &named
}

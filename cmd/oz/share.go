package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/oz-platform/cloudagents/task"
	"github.com/oz-platform/cloudagents/transport/client"
)

// Who a run can be shared with, besides persons by their e-mail address (Oz
// command line, --share).
const (
	shareSelf   = "self"
	shareTeam   = "team"
	sharePublic = "public"
)

// recipient is whom a run is shared with.
type recipient struct {
	who  string // one of those above, or an e-mail address
	role task.ShareRole
}

func recipients(specs []string) ([]recipient, error) {
	var list []recipient
	for _, s := range specs {
		r, err := parseRecipient(s)
		if err != nil {
			return nil, usageError{fmt.Errorf("--share: %w", err)}
		}
		list = append(list, r)
	}
	return list, nil
}

func parseRecipient(s string) (recipient, error) {
	who, level, leveled := strings.Cut(s, ":")
	r := recipient{who: who, role: task.RoleViewer}
	switch {
	case leveled && level == "edit":
		r.role = task.RoleEditor
	case leveled && level != "view":
		return r, fmt.Errorf("%q: %q is neither view nor edit", s, level)
	}
	switch {
	case who == shareSelf && !leveled, who == shareTeam, who == sharePublic:
		return r, nil
	case mailLike(who):
		return r, nil
	}
	return r, fmt.Errorf("%q is none of team, public and an e-mail address, each with :view or :edit or without", s)
}

// mailLike reports that s can be an e-mail address; the server knows whose.
func mailLike(s string) bool {
	name, host, ok := strings.Cut(s, "@")
	return ok && name != "" && host != "" && !strings.ContainsAny(s, " \t\n")
}

// shareRun adds recipients to those that may see a run. Who started it may
// see it in any case.
func shareRun(ctx context.Context, c *client.Client, id task.ID, add []recipient) error {
	add = slices.DeleteFunc(add, func(r recipient) bool { return r.who == shareSelf })
	if len(add) == 0 {
		return nil
	}
	s, err := c.Sharing(ctx, id)
	if err != nil {
		return err
	}
	for _, r := range add {
		if err := addRecipient(ctx, c, id, &s, r); err != nil {
			return err
		}
	}
	_, err = c.Share(ctx, id, s)
	return err
}

func addRecipient(ctx context.Context, c *client.Client, id task.ID, s *task.Sharing, r recipient) error {
	if r.who == sharePublic {
		s.Visibility, s.LinkRole = task.VisibilityLink, r.role
		return nil
	}
	to := task.Scope{Type: task.ScopeUser, UID: r.who}
	if r.who == shareTeam {
		team, err := teamOf(ctx, c, id)
		if err != nil {
			return err
		}
		to = task.Scope{Type: task.ScopeTeam, UID: team}
	}
	s.Grants = slices.DeleteFunc(s.Grants, func(g task.Grant) bool { return g.To == to })
	s.Grants = append(s.Grants, task.Grant{To: to, Role: r.role})
	return nil
}

// teamOf gives the team that a run is the team's of, or else the caller's only one.
func teamOf(ctx context.Context, c *client.Client, id task.ID) (string, error) {
	t, err := c.Get(ctx, id)
	if err != nil {
		return "", err
	}
	if t.Owner.Type == task.ScopeTeam {
		return t.Owner.UID, nil
	}
	me, err := c.Whoami(ctx)
	if err != nil {
		return "", err
	}
	if len(me.Teams) != 1 {
		return "", task.Invalid("team", "you are on %d teams, so that it is not clear which one is meant", len(me.Teams))
	}
	return me.Teams[0].UID, nil
}

// sharingLines show who may see a run (Oz API, Sharing).
var sharingLines = []column{
	{"Visibility", ".visibility"}, {"Link", ".link_role"},
	{"Granted", `[.grants[]? | (.user_uid // ("team " + .team_uid)) + " (" + .role + ")"] | join(", ")`},
}

func (a *app) runShareCommand() *cobra.Command {
	var with, remove []string
	var visibility string
	cmd := &cobra.Command{
		Use: "share <RUN_ID>", Short: "Show or change who may see and steer a run", Args: oneArg("run id"),
		Long: `Show who may see a run, or change it. --with adds: team, public (whoever is
signed in and has the link) or a person's e-mail address, each with :view
(default) or :edit. --visibility says who else sees it: private, team or link.`,
		Example: "  oz run share RUN_ID\n  oz run share RUN_ID --with ann@example.com:edit --with team\n  oz run share RUN_ID --visibility private",
		RunE: func(cmd *cobra.Command, args []string) error {
			add, err := recipients(with)
			if err != nil {
				return err
			}
			if !slices.Contains([]string{"", "private", "team", "link"}, visibility) {
				return usageError{fmt.Errorf("--visibility: %q is none of private, team, link", visibility)}
			}
			if slices.ContainsFunc(add, func(r recipient) bool { return r.who == sharePublic }) && visibility != "" {
				return usageError{errors.New("--with public and --visibility exclude each other")}
			}
			c, err := a.client()
			if err != nil {
				return err
			}
			id := task.ID(args[0])
			if len(remove) > 0 || visibility != "" {
				if err := narrowRun(cmd.Context(), c, id, task.Visibility(visibility), remove); err != nil {
					return err
				}
			}
			if err := shareRun(cmd.Context(), c, id, add); err != nil {
				return err
			}
			return a.showPath(cmd.Context(), "/oz/runs/%s/sharing", args[0], sharingLines)
		},
	}
	cmd.Flags().StringArrayVar(&with, "with", nil, "let this `recipient` see it; repeat")
	cmd.Flags().StringArrayVar(&remove, "remove", nil, "take the grant of this person or team `uid` back; repeat")
	cmd.Flags().StringVar(&visibility, "visibility", "", "private, team or link")
	return a.filterFlag(cmd)
}

// narrowRun changes the visibility, if one is named, and takes grants back.
func narrowRun(ctx context.Context, c *client.Client, id task.ID, visibility task.Visibility, remove []string) error {
	s, err := c.Sharing(ctx, id)
	if err != nil {
		return err
	}
	if visibility != "" {
		s.Visibility, s.LinkRole = visibility, ""
	}
	for _, uid := range remove {
		n := len(s.Grants)
		s.Grants = slices.DeleteFunc(s.Grants, func(g task.Grant) bool { return g.To.UID == uid })
		if len(s.Grants) == n {
			return usageError{fmt.Errorf("--remove: the run is not shared with %q, see 'oz run share %s'", uid, id)}
		}
	}
	_, err = c.Share(ctx, id, s)
	return err
}

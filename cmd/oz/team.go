package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/spf13/cobra"
)

var teamLines = []column{{"Team", ".uid"}, {"Name", ".name"}}

// memberColumns show the persons on a team (Oz API, MemberItem).
var memberColumns = []column{{"UID", ".user.uid"}, {"NAME", ".user.display_name"}, {"E-MAIL", ".user.email"}, {"ROLE", ".role"}}

// roles are what a person can be on a team.
var roles = []string{"owner", "admin", "member"}

func (a *app) teamCommand() *cobra.Command {
	return group("team", "Manage teams and who is on them", nil,
		a.list(listing{use: "list", short: "List your teams", path: "/oz/teams", member: "teams", none: "You are on no team. Make one with 'oz team create NAME'.",
			example: "  oz team list --jq '.teams[].uid'", columns: []column{{"UID", ".uid"}, {"NAME", ".name"}}}),
		a.teamGetCommand(), a.teamCreateCommand(), a.teamRenameCommand(), a.teamLinksCommand(), a.memberAddCommand(), a.memberRoleCommand(), a.memberRemoveCommand())
}

func (a *app) teamGetCommand() *cobra.Command {
	return a.filterFlag(&cobra.Command{Use: "get <UID>", Short: "Show a team and who is on it", Args: oneArg("team uid"), Example: "  oz team get TEAM_UID",
		RunE: func(cmd *cobra.Command, args []string) error {
			raw, err := a.call(cmd.Context(), http.MethodGet, "/oz/teams/"+url.PathEscape(args[0]), nil, nil)
			if err != nil {
				return err
			}
			if err := a.showItem(raw, teamLines); err != nil || a.json() {
				return err
			}
			a.say("")
			return a.showList(raw, listing{member: "members", columns: memberColumns, none: "Nobody is on it."})
		}})
}

func (a *app) teamCreateCommand() *cobra.Command {
	var uid string
	cmd := &cobra.Command{Use: "create <NAME>", Short: "Make a team that you own", Args: oneArg("name"), Example: "  oz team create 'Core services' --uid core",
		RunE: func(cmd *cobra.Command, args []string) error {
			body := fields{"name": args[0]}
			body.set(cmd, "uid", "uid", uid)
			return a.change(cmd.Context(), http.MethodPost, "/oz/teams", body, teamLines, "The team is made.")
		}}
	cmd.Flags().StringVar(&uid, "uid", "", "its `uid` (default: made)")
	return a.filterFlag(cmd)
}

func (a *app) teamRenameCommand() *cobra.Command {
	return a.filterFlag(&cobra.Command{Use: "rename <UID> <NAME>", Short: "Change a team's name", Args: exactArgs("team uid", "name"), Example: "  oz team rename TEAM_UID Platform",
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.change(cmd.Context(), http.MethodPut, "/oz/teams/"+url.PathEscape(args[0]), fields{"name": args[1]}, teamLines, "The team is renamed.")
		}})
}

func (a *app) teamLinksCommand() *cobra.Command {
	return a.filterFlag(&cobra.Command{Use: "links <UID> <on|off>", Short: "Allow or refuse links to the team's runs", Args: exactArgs("team uid", "on or off"),
		Long: `Say whether the team's runs may be shared with whoever has a link. Off closes what
is shared so already, within seconds, until it is on again.`,
		Example: "  oz team links TEAM_UID off",
		RunE: func(cmd *cobra.Command, args []string) error {
			if args[1] != "on" && args[1] != "off" {
				return usageError{fmt.Errorf("links: %q is neither on nor off", args[1])}
			}
			return a.change(cmd.Context(), http.MethodPut, "/oz/teams/"+url.PathEscape(args[0]), fields{"no_links": args[1] == "off"}, teamLines, "Links to the team's runs are "+args[1]+".")
		}})
}

func checkRole(role string) error {
	if !slices.Contains(roles, role) {
		return usageError{fmt.Errorf("the role: %q is none of %s", role, strings.Join(roles, ", "))}
	}
	return nil
}

func (a *app) memberAddCommand() *cobra.Command {
	var email, user, name, role string
	var key bool
	cmd := &cobra.Command{Use: "add <TEAM_UID>", Short: "Put a person on a team", Args: oneArg("team uid"),
		Long: `Put a person on a team: one who is known already by --user or --email, a new one
by --email. With --issue-key a new person's first API key is made and shown once.`,
		Example: "  oz team add TEAM_UID --email ann@example.com --name Ann --issue-key\n  oz team add TEAM_UID --user USER_UID --role admin",
		RunE: func(cmd *cobra.Command, args []string) error {
			if (email == "") == (user == "") {
				return usageError{errors.New("exactly one of --email and --user is needed")}
			}
			if err := checkRole(role); err != nil {
				return err
			}
			body := fields{"role": role}
			body.set(cmd, "email", "email", email)
			body.set(cmd, "user", "user_uid", user)
			body.set(cmd, "name", "display_name", name)
			body.set(cmd, "issue-key", "issue_key", key)
			raw, err := a.call(cmd.Context(), http.MethodPost, "/oz/teams/"+url.PathEscape(args[0])+"/members", nil, body)
			if err != nil {
				return err
			}
			return a.showAdded(raw)
		}}
	f := cmd.Flags()
	f.StringVar(&email, "email", "", "e-mail `address`")
	f.StringVar(&user, "user", "", "`uid` of a person who is known")
	f.StringVar(&name, "name", "", "what a new person is called")
	f.StringVar(&role, "role", "member", "owner, admin or member")
	f.BoolVar(&key, "issue-key", false, "make a new person's first API key")
	return a.filterFlag(cmd)
}

func (a *app) showAdded(raw json.RawMessage) error {
	if a.json() {
		return a.emitRaw(raw, "")
	}
	var added struct {
		Member json.RawMessage `json:"member"`
		Key    string          `json:"key"`
	}
	if err := json.Unmarshal(raw, &added); err != nil {
		return fmt.Errorf("read the server's answer: %w", err)
	}
	if err := a.showItem(added.Member, memberLines()); err != nil || added.Key == "" {
		return err
	}
	a.say("Key     %s", added.Key)
	fmt.Fprintln(a.err, "Hand the key over: it is not shown again.")
	return nil
}

func memberLines() []column {
	return []column{{"Person", ".user.uid"}, {"Name", ".user.display_name"}, {"E-mail", ".user.email"}, {"Role", ".role"}}
}

func memberPath(args []string) string {
	return "/oz/teams/" + url.PathEscape(args[0]) + "/members/" + url.PathEscape(args[1])
}

func (a *app) memberRoleCommand() *cobra.Command {
	return a.filterFlag(&cobra.Command{Use: "role <TEAM_UID> <USER_UID> <ROLE>", Short: "Make a person owner, admin or member of a team", Args: exactArgs("team uid", "user uid", "role"),
		Example: "  oz team role TEAM_UID USER_UID admin",
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := checkRole(args[2]); err != nil {
				return err
			}
			return a.change(cmd.Context(), http.MethodPut, memberPath(args), fields{"role": args[2]}, memberLines(), "The role is changed.")
		}})
}

func (a *app) memberRemoveCommand() *cobra.Command {
	var force bool
	cmd := &cobra.Command{Use: "remove <TEAM_UID> <USER_UID>", Short: "Take a person off a team", Args: exactArgs("team uid", "user uid"), Example: "  oz team remove TEAM_UID USER_UID --force",
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := a.sure(force, "Take %s off the team %s?", args[1], args[0]); err != nil {
				return err
			}
			if _, err := a.call(cmd.Context(), http.MethodDelete, memberPath(args), nil, nil); err != nil {
				return err
			}
			return a.done("%s is off the team %s.", args[1], args[0])
		}}
	cmd.Flags().BoolVar(&force, "force", false, "do not ask")
	return cmd
}

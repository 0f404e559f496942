package main

import (
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/oz-platform/cloudagents/task"
)

const profilesPath = "/oz/agent-profiles"

var profileLines = []column{{"Profile", ".uid"}, {"Name", ".name"}, {"Description", ".description"}, {"Model", ".base_model"},
	{"Permissions", ".permissions | to_entries | map(\"\\(.key): \\(.value | if type == \"array\" then join(\", \") else . end)\") | join(\"; \")"}, {"Scope", ".scope.type"}, {"Updated", ".updated_at"}}

func (a *app) profileCommand() *cobra.Command {
	return group("profile", "Manage agent profiles: what agents may do", nil,
		a.list(listing{use: "list", short: "List agent profiles", path: profilesPath, member: "agent_profiles", none: "No agent profiles.",
			example: "  oz agent profile list\n  oz agent run --profile default -p 'Fix the failing test'",
			columns: []column{{"NAME", ".name"}, {"ID", ".uid"}, {"DESCRIPTION", ".description"}}}),
		a.get(item{use: "get <ID>", short: "Show an agent profile", argument: "agent profile id", path: profilesPath + "/%s", lines: profileLines,
			example: "  oz agent profile get default --jq .permissions"}),
		a.profileCreateCommand(), a.profileUpdateCommand(),
		a.remove(removal{use: "delete <ID>", short: "Delete an agent profile", argument: "agent profile id", noun: "agent profile", path: profilesPath + "/%s",
			example: "  oz agent profile delete PROFILE_ID --force"}))
}

// profileFlags are the members of a profile.
type profileFlags struct {
	name, description, model, onProhibited string
	levels                                 map[string]string
	allowCommands, denyCommands            []string
	allowTools, denyTools                  []string
}

// levelNames are the permissions that have a level.
var levelNames = []string{"apply_diffs", "read_files", "create_plans", "execute_commands", "interact_with_commands", "call_mcp_tools"}

func (f *profileFlags) register(cmd *cobra.Command) {
	s := cmd.Flags()
	s.StringVarP(&f.name, "name", "n", "", "`name`")
	s.StringVarP(&f.description, "description", "d", "", "what it is for")
	s.StringVar(&f.model, "base-model", "", "`model` of runs that name none")
	s.StringToStringVar(&f.levels, "level", nil, "`PERMISSION=LEVEL`: one of "+strings.Join(levelNames, ", ")+" at agent_decides, always_allow, always_ask or never; repeat")
	s.Lookup("level").DefValue = "" // not "[]"
	s.StringArrayVar(&f.allowCommands, "allow-command", nil, "`regex` of commands that may run whatever the level is; repeat")
	s.StringArrayVar(&f.denyCommands, "deny-command", nil, "`regex` of commands that may not run (default wget, curl, rm and eval; '' for none); repeat")
	s.StringArrayVar(&f.allowTools, "allow-tool", nil, "`regex` of tools, such as mcp__docs__.*; repeat")
	s.StringArrayVar(&f.denyTools, "deny-tool", nil, "`regex` of tools that may not be used; repeat")
	s.StringVar(&f.onProhibited, "on-prohibited", "", "fail the run (default here) or refuse and go on (default on the server)")
}

// apply puts the flags over permissions.
func (f *profileFlags) apply(cmd *cobra.Command, to fields) error {
	for _, name := range slices.Sorted(maps.Keys(f.levels)) {
		key := strings.ReplaceAll(name, "-", "_")
		if !slices.Contains(levelNames, key) {
			return usageError{fmt.Errorf("--level: %q is none of %s", name, strings.Join(levelNames, ", "))}
		}
		to[key] = f.levels[name]
	}
	for _, l := range []struct {
		flag, member string
		patterns     []string
	}{{"allow-command", "command_allowlist", f.allowCommands}, {"deny-command", "command_denylist", f.denyCommands},
		{"allow-tool", "tool_allowlist", f.allowTools}, {"deny-tool", "tool_denylist", f.denyTools}} {
		patterns := slices.DeleteFunc(slices.Clone(l.patterns), func(p string) bool { return p == "" })
		if _, err := task.CompilePatterns("--"+l.flag, patterns); err != nil {
			return usageError{err}
		}
		to.set(cmd, l.flag, l.member, append([]string{}, patterns...))
	}
	to.set(cmd, "on-prohibited", "on_prohibited", f.onProhibited)
	return nil
}

func (f *profileFlags) body(cmd *cobra.Command) fields {
	body := fields{}
	body.set(cmd, "name", "name", f.name)
	body.set(cmd, "description", "description", f.description)
	body.set(cmd, "base-model", "base_model", f.model)
	return body
}

func (a *app) profileCreateCommand() *cobra.Command {
	var f profileFlags
	cmd := &cobra.Command{Use: "create", Short: "Make an agent profile", Args: noArgs,
		Long: `Make an agent profile. Deny lists win over allow lists, and those over levels.
Patterns are regular expressions that must match a whole command, such as
'git push(\s.*)?', or the whole name of a tool. Of a line like "a && b | c" each
command is matched by itself.`,
		Example: "  oz agent profile create --name careful --level execute_commands=always_ask --allow-command 'go (test|build|vet).*'\n  oz agent profile create --name reader --level apply_diffs=never --level execute_commands=never"}
	f.register(cmd)
	team := ownership(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		body, permissions := f.body(cmd), fields{}
		if body["name"] == nil {
			return usageError{errors.New("--name is needed")}
		}
		if err := f.apply(cmd, permissions); err != nil {
			return err
		}
		body["permissions"] = permissions
		body.own(team())
		return a.change(cmd.Context(), http.MethodPost, profilesPath, body, profileLines, "The agent profile is made.")
	}
	return a.filterFlag(cmd)
}

func (a *app) profileUpdateCommand() *cobra.Command {
	var f profileFlags
	cmd := &cobra.Command{Use: "update <ID>", Short: "Change an agent profile; what is not named stays", Args: oneArg("agent profile id"),
		Long:    "Change an agent profile. Lists that are named replace those that it has. Runs that\nexist keep what they were created with.",
		Example: "  oz agent profile update PROFILE_ID --deny-command 'rm(\\s.*)?' --deny-command 'git push.*'",
		RunE: func(cmd *cobra.Command, args []string) error {
			if !namesChange(cmd) {
				return usageError{errNothing}
			}
			if err := f.apply(cmd, fields{}); err != nil {
				return err
			}
			path := profilesPath + "/" + url.PathEscape(args[0])
			now, err := a.readObject(cmd, path)
			if err != nil {
				return err
			}
			permissions, _ := now["permissions"].(map[string]any)
			permissions = merged(permissions, nil)
			if permissions["command_denylist"] == nil {
				permissions["command_denylist"] = []string{} // it has none, and absence would mean the usual
			}
			if err := f.apply(cmd, permissions); err != nil {
				return err
			}
			body := f.body(cmd)
			body["permissions"], body["revision"] = permissions, now["revision"]
			return a.change(cmd.Context(), http.MethodPut, path, body, profileLines, "The agent profile is changed.")
		}}
	f.register(cmd)
	return a.filterFlag(cmd)
}

package main

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"

	"github.com/spf13/cobra"
)

var ruleLines = []column{{"Rule", ".uid"}, {"Name", ".name"}, {"Description", ".description"}, {"Scope", ".scope.type"}, {"Updated", ".updated_at"}}

func (a *app) ruleCommand() *cobra.Command {
	return group("rule", "Manage the rules of all your agents", nil,
		a.list(listing{use: "list", short: "List rules", path: "/oz/rules", member: "rules", none: "No rules. Make one with 'oz rule create --name ...'.",
			example: "  oz rule list --jq .rules[].name",
			columns: []column{{"UID", ".uid"}, {"NAME", ".name"}, {"DESCRIPTION", ".description"}, {"SCOPE", ".scope.type"}, {"UPDATED", ".updated_at"}}}),
		a.ruleGetCommand(), a.ruleCreateCommand(), a.ruleUpdateCommand(),
		a.remove(removal{use: "delete <UID>", short: "Delete a rule", argument: "rule uid", noun: "rule", path: "/oz/rules/%s",
			example: "  oz rule delete RULE_UID --force"}))
}

func (a *app) ruleGetCommand() *cobra.Command {
	return a.filterFlag(&cobra.Command{Use: "get <UID>", Short: "Show a rule", Args: oneArg("rule uid"), Example: "  oz rule get RULE_UID --jq .rule",
		RunE: func(cmd *cobra.Command, args []string) error {
			raw, err := a.call(cmd.Context(), http.MethodGet, "/oz/rules/"+url.PathEscape(args[0]), nil, nil)
			if err != nil {
				return err
			}
			if err := a.showItem(raw, ruleLines); err != nil || a.json() {
				return err
			}
			return a.showText(raw, ".rule")
		}})
}

// ruleFlags are the members of a rule.
type ruleFlags struct{ name, description, rule, file string }

func (f *ruleFlags) register(cmd *cobra.Command) {
	s := cmd.Flags()
	s.StringVarP(&f.name, "name", "n", "", "`name`")
	s.StringVarP(&f.description, "description", "d", "", "what it is for")
	s.StringVarP(&f.rule, "rule", "r", "", "the `text`")
	s.StringVarP(&f.file, "file", "f", "", "read the text from this `file`")
	cmd.MarkFlagsMutuallyExclusive("rule", "file")
}

func (f *ruleFlags) body(cmd *cobra.Command) (fields, error) {
	body := fields{}
	body.set(cmd, "name", "name", f.name)
	body.set(cmd, "description", "description", f.description)
	body.set(cmd, "rule", "rule", f.rule)
	if f.file != "" {
		raw, err := os.ReadFile(f.file)
		if err != nil {
			return nil, usageError{fmt.Errorf("--file: %w", err)}
		}
		body["rule"] = string(raw)
	}
	return body, nil
}

func (a *app) ruleCreateCommand() *cobra.Command {
	var f ruleFlags
	cmd := &cobra.Command{Use: "create", Short: "Make a rule; runs that begin later follow it", Args: noArgs, Example: "  oz rule create --name style --file style.md --team"}
	f.register(cmd)
	team := ownership(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		body, err := f.body(cmd)
		if err != nil {
			return err
		}
		if body["name"] == nil || body["rule"] == nil {
			return usageError{errors.New("--name and one of --rule and --file are needed")}
		}
		body.own(team())
		return a.change(cmd.Context(), http.MethodPost, "/oz/rules", body, ruleLines, "The rule is made.")
	}
	return a.filterFlag(cmd)
}

func (a *app) ruleUpdateCommand() *cobra.Command {
	var f ruleFlags
	cmd := &cobra.Command{Use: "update <UID>", Short: "Change a rule; runs that begin later follow it", Args: oneArg("rule uid"), Example: "  oz rule update RULE_UID --file style.md",
		RunE: func(cmd *cobra.Command, args []string) error {
			body, err := f.body(cmd)
			if err != nil {
				return err
			}
			if len(body) == 0 {
				return usageError{errNothing}
			}
			return a.change(cmd.Context(), http.MethodPut, "/oz/rules/"+url.PathEscape(args[0]), body, ruleLines, "The rule is changed.")
		}}
	f.register(cmd)
	return a.filterFlag(cmd)
}

package main

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"

	"github.com/spf13/cobra"
)

var promptLines = []column{{"Prompt", ".uid"}, {"Name", ".name"}, {"Description", ".description"}, {"Scope", ".scope.type"}, {"Updated", ".updated_at"}}

func (a *app) promptCommand() *cobra.Command {
	return group("prompt", "Manage saved prompts", nil,
		a.list(listing{use: "list", short: "List saved prompts", path: "/oz/prompts", member: "prompts", none: "No saved prompts. Make one with 'oz prompt create --name ...'.",
			example: "  oz prompt list\n  oz agent run-cloud --saved-prompt PROMPT_UID",
			columns: []column{{"UID", ".uid"}, {"NAME", ".name"}, {"DESCRIPTION", ".description"}, {"SCOPE", ".scope.type"}, {"UPDATED", ".updated_at"}}}),
		a.promptGetCommand(), a.promptCreateCommand(), a.promptUpdateCommand(),
		a.remove(removal{use: "delete <UID>", short: "Delete a saved prompt", argument: "prompt uid", noun: "prompt", path: "/oz/prompts/%s",
			example: "  oz prompt delete PROMPT_UID --force"}))
}

func (a *app) promptGetCommand() *cobra.Command {
	return a.filterFlag(&cobra.Command{Use: "get <UID>", Short: "Show a saved prompt", Args: oneArg("prompt uid"), Example: "  oz prompt get PROMPT_UID --jq .prompt",
		RunE: func(cmd *cobra.Command, args []string) error {
			raw, err := a.call(cmd.Context(), http.MethodGet, "/oz/prompts/"+url.PathEscape(args[0]), nil, nil)
			if err != nil {
				return err
			}
			if err := a.showItem(raw, promptLines); err != nil || a.json() {
				return err
			}
			return a.showText(raw, ".prompt")
		}})
}

// promptFlags are the members of a saved prompt.
type promptFlags struct{ name, description, prompt, file string }

func (f *promptFlags) register(cmd *cobra.Command) {
	s := cmd.Flags()
	s.StringVarP(&f.name, "name", "n", "", "`name`")
	s.StringVarP(&f.description, "description", "d", "", "what it is for")
	s.StringVarP(&f.prompt, "prompt", "p", "", "the `text`")
	s.StringVarP(&f.file, "file", "f", "", "read the text from this `file`")
	cmd.MarkFlagsMutuallyExclusive("prompt", "file")
}

func (f *promptFlags) body(cmd *cobra.Command) (fields, error) {
	body := fields{}
	body.set(cmd, "name", "name", f.name)
	body.set(cmd, "description", "description", f.description)
	body.set(cmd, "prompt", "prompt", f.prompt)
	if f.file != "" {
		raw, err := os.ReadFile(f.file)
		if err != nil {
			return nil, usageError{fmt.Errorf("--file: %w", err)}
		}
		body["prompt"] = string(raw)
	}
	return body, nil
}

func (a *app) promptCreateCommand() *cobra.Command {
	var f promptFlags
	cmd := &cobra.Command{Use: "create", Short: "Save a prompt", Args: noArgs, Example: "  oz prompt create --name triage --file triage.md --team"}
	f.register(cmd)
	team := ownership(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		body, err := f.body(cmd)
		if err != nil {
			return err
		}
		if body["name"] == nil || body["prompt"] == nil {
			return usageError{errors.New("--name and one of --prompt and --file are needed")}
		}
		body.own(team())
		return a.change(cmd.Context(), http.MethodPost, "/oz/prompts", body, promptLines, "The prompt is saved.")
	}
	return a.filterFlag(cmd)
}

func (a *app) promptUpdateCommand() *cobra.Command {
	var f promptFlags
	cmd := &cobra.Command{Use: "update <UID>", Short: "Change a saved prompt; later runs use it", Args: oneArg("prompt uid"), Example: "  oz prompt update PROMPT_UID --file triage.md",
		RunE: func(cmd *cobra.Command, args []string) error {
			body, err := f.body(cmd)
			if err != nil {
				return err
			}
			if len(body) == 0 {
				return usageError{errNothing}
			}
			return a.change(cmd.Context(), http.MethodPut, "/oz/prompts/"+url.PathEscape(args[0]), body, promptLines, "The prompt is changed.")
		}}
	f.register(cmd)
	return a.filterFlag(cmd)
}

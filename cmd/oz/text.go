package main

import (
	"fmt"
	"net/http"
	"net/url"
	"os"
	"strings"

	"github.com/spf13/cobra"
)

// textKind describes the commands of a kind of text that a team keeps on the
// server under a name, such as saved prompts and rules.
type textKind struct {
	word   string // of the command, the text's flag and the API's member of the text
	letter string // short form of the flag
	noun   string // "a saved prompt"
	plural string // "saved prompts"
	path   string // of the API, and the member of its list
	use    string // example of the list
	file   string // of the examples

	manage, create, update string // short helps
	created, updated       string // what is said of it
}

func (a *app) promptCommand() *cobra.Command {
	return a.texts(textKind{word: "prompt", letter: "p", noun: "a saved prompt", plural: "saved prompts", path: "prompts",
		use: "  oz prompt list\n  oz agent run-cloud --saved-prompt PROMPT_UID", file: "--name triage --file triage.md",
		manage: "Manage saved prompts", create: "Save a prompt", update: "Change a saved prompt; later runs use it",
		created: "The prompt is saved.", updated: "The prompt is changed."})
}

func (a *app) ruleCommand() *cobra.Command {
	return a.texts(textKind{word: "rule", letter: "r", noun: "a rule", plural: "rules", path: "rules",
		use: "  oz rule list --jq .rules[].name", file: "--name style --file style.md",
		manage: "Manage the rules of all your agents", create: "Make a rule; runs that begin later follow it", update: "Change a rule; runs that begin later follow it",
		created: "The rule is made.", updated: "The rule is changed."})
}

// texts makes the commands of a kind.
func (a *app) texts(k textKind) *cobra.Command {
	return group(k.word, k.manage, nil,
		a.list(listing{use: "list", short: "List " + k.plural, path: "/oz/" + k.path, member: k.path, none: fmt.Sprintf("No %s. Make one with 'oz %s create --name ...'.", k.plural, k.word),
			example: k.use,
			columns: []column{{"UID", ".uid"}, {"NAME", ".name"}, {"DESCRIPTION", ".description"}, {"SCOPE", ".scope.type"}, {"UPDATED", ".updated_at"}}}),
		a.textGetCommand(k), a.textCreateCommand(k), a.textUpdateCommand(k),
		a.remove(removal{use: "delete <UID>", short: "Delete " + k.noun, argument: k.word + " uid", noun: k.word, path: "/oz/" + k.path + "/%s",
			example: fmt.Sprintf("  oz %s delete %s --force", k.word, k.placeholder())}))
}

func (k textKind) placeholder() string { return strings.ToUpper(k.word) + "_UID" }

func (k textKind) item(uid string) string { return "/oz/" + k.path + "/" + url.PathEscape(uid) }

// lines are shown of one.
func (k textKind) lines() []column {
	return []column{{strings.ToUpper(k.word[:1]) + k.word[1:], ".uid"}, {"Name", ".name"}, {"Description", ".description"}, {"Scope", ".scope.type"}, {"Updated", ".updated_at"}}
}

func (a *app) textGetCommand(k textKind) *cobra.Command {
	return a.filterFlag(&cobra.Command{Use: "get <UID>", Short: "Show " + k.noun, Args: oneArg(k.word + " uid"), Example: fmt.Sprintf("  oz %s get %s --jq .%s", k.word, k.placeholder(), k.word),
		RunE: func(cmd *cobra.Command, args []string) error {
			raw, err := a.call(cmd.Context(), http.MethodGet, k.item(args[0]), nil, nil)
			if err != nil {
				return err
			}
			if err := a.showItem(raw, k.lines()); err != nil || a.json() {
				return err
			}
			return a.showText(raw, "."+k.word)
		}})
}

// textFlags are the members of one.
type textFlags struct{ name, description, text, file string }

func (f *textFlags) register(cmd *cobra.Command, k textKind) {
	s := cmd.Flags()
	s.StringVarP(&f.name, "name", "n", "", "`name`")
	s.StringVarP(&f.description, "description", "d", "", "what it is for")
	s.StringVarP(&f.text, k.word, k.letter, "", "the `text`")
	s.StringVarP(&f.file, "file", "f", "", "read the text from this `file`")
	cmd.MarkFlagsMutuallyExclusive(k.word, "file")
}

func (f *textFlags) body(cmd *cobra.Command, k textKind) (fields, error) {
	body := fields{}
	body.set(cmd, "name", "name", f.name)
	body.set(cmd, "description", "description", f.description)
	body.set(cmd, k.word, k.word, f.text)
	if f.file != "" {
		raw, err := os.ReadFile(f.file)
		if err != nil {
			return nil, usageError{fmt.Errorf("--file: %w", err)}
		}
		body[k.word] = string(raw)
	}
	return body, nil
}

func (a *app) textCreateCommand(k textKind) *cobra.Command {
	var f textFlags
	cmd := &cobra.Command{Use: "create", Short: k.create, Args: noArgs, Example: fmt.Sprintf("  oz %s create %s --team", k.word, k.file)}
	f.register(cmd, k)
	team := ownership(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		body, err := f.body(cmd, k)
		if err != nil {
			return err
		}
		if body["name"] == nil || body[k.word] == nil {
			return usageError{fmt.Errorf("--name and one of --%s and --file are needed", k.word)}
		}
		body.own(team())
		return a.change(cmd.Context(), http.MethodPost, "/oz/"+k.path, body, k.lines(), k.created)
	}
	return a.filterFlag(cmd)
}

func (a *app) textUpdateCommand(k textKind) *cobra.Command {
	var f textFlags
	_, file, _ := strings.Cut(k.file, "--file")
	cmd := &cobra.Command{Use: "update <UID>", Short: k.update, Args: oneArg(k.word + " uid"), Example: fmt.Sprintf("  oz %s update %s --file%s", k.word, k.placeholder(), file),
		RunE: func(cmd *cobra.Command, args []string) error {
			body, err := f.body(cmd, k)
			if err != nil {
				return err
			}
			if len(body) == 0 {
				return usageError{errNothing}
			}
			return a.change(cmd.Context(), http.MethodPut, k.item(args[0]), body, k.lines(), k.updated)
		}}
	f.register(cmd, k)
	return a.filterFlag(cmd)
}

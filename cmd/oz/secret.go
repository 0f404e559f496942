package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/oz-platform/cloudagents/executor"
	"github.com/oz-platform/cloudagents/oz"
	"github.com/oz-platform/cloudagents/task"
)

// maxSecretBytes bounds what is read of a value; the server's own limit is lower.
const maxSecretBytes = 256 << 10

func (a *app) secretCommand() *cobra.Command {
	return group("secret", "Manage secrets: variables that agents get and nobody can read back", nil,
		a.secretCreateCommand(), a.secretUpdateCommand(), a.secretListCommand(), a.secretDeleteCommand())
}

// secretFlags are those that the commands about one secret share.
type secretFlags struct {
	team, personal          bool
	file, description, kind string
}

func (f *secretFlags) scope(cmd *cobra.Command) {
	cmd.Flags().BoolVar(&f.team, "team", false, "the team's")
	cmd.Flags().BoolVar(&f.personal, "personal", false, "yours alone")
	cmd.MarkFlagsMutuallyExclusive("team", "personal")
}

func (a *app) secretCreateCommand() *cobra.Command {
	var f secretFlags
	cmd := &cobra.Command{
		Use: "create <NAME>", Short: "Store a secret", Args: oneArg("name"),
		Long: `Store a secret. NAME is the environment variable that agents get. The value comes
from --value-file, from standard input when that is not a terminal, or else from
a prompt that does not show it. It is never taken from the command line.`,
		Example: "  oz secret create NPM_TOKEN\n  pass show npm | oz secret create NPM_TOKEN --team",
		RunE: func(cmd *cobra.Command, args []string) error {
			value, err := a.secretValue(f.file, args[0])
			if err != nil {
				return err
			}
			c, err := a.client()
			if err != nil {
				return err
			}
			s, err := c.CreateSecret(cmd.Context(), oz.SecretInput{Name: args[0], Value: value, Description: f.description,
				Type: strings.ReplaceAll(f.kind, "-", "_"), Team: choice(f.team, f.personal)})
			if err != nil {
				return err
			}
			return a.done("Secret %s is stored (%s).", s.Name, s.Owner.Type)
		},
	}
	f.scope(cmd)
	cmd.Flags().StringVarP(&f.file, "value-file", "f", "", "read the value from this `file`")
	cmd.Flags().StringVarP(&f.description, "description", "d", "", "what it is for")
	cmd.Flags().StringVarP(&f.kind, "type", "t", "raw-value", "raw-value, anthropic-api-key or openai-api-key")
	return cmd
}

func (a *app) secretUpdateCommand() *cobra.Command {
	var f secretFlags
	var ask bool
	cmd := &cobra.Command{
		Use: "update <NAME>", Short: "Change a secret's value or description; later runs get it", Args: oneArg("name"),
		RunE: func(cmd *cobra.Command, args []string) error {
			var change oz.SecretChange
			if ask || f.file != "" {
				value, err := a.secretValue(f.file, args[0])
				if err != nil {
					return err
				}
				change.Value = &value
			}
			if cmd.Flags().Changed("description") {
				change.Description = &f.description
			}
			if change.Value == nil && change.Description == nil {
				return usageError{errors.New("--value, --value-file or --description is needed")}
			}
			c, err := a.client()
			if err != nil {
				return err
			}
			if _, err := c.UpdateSecret(cmd.Context(), args[0], choice(f.team, f.personal), change); err != nil {
				return err
			}
			return a.done("Secret %s is updated.", args[0])
		},
	}
	f.scope(cmd)
	cmd.Flags().BoolVar(&ask, "value", false, "ask for a new value, or read it from standard input")
	cmd.Flags().StringVarP(&f.file, "value-file", "f", "", "read the new value from this `file`")
	cmd.Flags().StringVarP(&f.description, "description", "d", "", "what it is for")
	return cmd
}

// secretValue reads a value without ever showing it. One newline at the end
// is not part of it.
func (a *app) secretValue(file, name string) (executor.Sensitive, error) {
	var raw []byte
	var err error
	in, isFile := a.in.(*os.File)
	switch {
	case file != "":
		if raw, err = os.ReadFile(file); err != nil {
			return "", usageError{fmt.Errorf("--value-file: %w", err)}
		}
	case isFile && term.IsTerminal(int(in.Fd())):
		fmt.Fprintf(a.err, "Value of %s (not shown): ", name)
		raw, err = term.ReadPassword(int(in.Fd()))
		fmt.Fprintln(a.err)
	default:
		raw, err = io.ReadAll(io.LimitReader(bufio.NewReader(a.in), maxSecretBytes+1))
	}
	if err != nil {
		return "", fmt.Errorf("read the value: %w", err)
	}
	if len(raw) > maxSecretBytes {
		return "", usageError{fmt.Errorf("the value has more than %d bytes", maxSecretBytes)}
	}
	value := strings.TrimSuffix(strings.TrimSuffix(string(raw), "\n"), "\r")
	if value == "" {
		return "", usageError{errors.New("the value is empty")}
	}
	return executor.Sensitive(value), nil
}

// secretView is a secret as the command prints it.
type secretView struct {
	Name        string     `json:"name"`
	Scope       task.Scope `json:"scope"`
	Type        string     `json:"type"`
	Description string     `json:"description,omitempty"`
	CreatedAt   time.Time  `json:"created_at"`
	UpdatedAt   time.Time  `json:"updated_at"`
}

func (a *app) secretListCommand() *cobra.Command {
	return &cobra.Command{
		Use: "list", Short: "List secrets, without their values", Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := a.client()
			if err != nil {
				return err
			}
			list, err := c.Secrets(cmd.Context())
			if err != nil {
				return err
			}
			views := []secretView{}
			var rows [][]string
			for _, s := range list {
				views = append(views, secretView{s.Name, s.Owner, s.Type, s.Description, s.CreatedAt, s.UpdatedAt})
				rows = append(rows, []string{s.Name, string(s.Owner.Type), s.Type, s.CreatedAt.Local().Format(time.DateTime), s.UpdatedAt.Local().Format(time.DateTime)})
			}
			if a.json() {
				return emitEach(a, views, views)
			}
			if len(rows) == 0 {
				a.say("No secrets.")
				return nil
			}
			return table(a.out, "NAME|SCOPE|TYPE|CREATED|UPDATED", rows)
		},
	}
}

func (a *app) secretDeleteCommand() *cobra.Command {
	var f secretFlags
	var force bool
	cmd := &cobra.Command{
		Use: "delete <NAME>", Short: "Delete a secret; later runs do not get it", Args: oneArg("name"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if !force && !a.confirm("Delete the secret %s?", args[0]) {
				return usageError{errors.New("not deleted; --force deletes without asking")}
			}
			c, err := a.client()
			if err != nil {
				return err
			}
			if err := c.DeleteSecret(cmd.Context(), args[0], choice(f.team, f.personal)); err != nil {
				return err
			}
			return a.done("Secret %s is deleted.", args[0])
		},
	}
	f.scope(cmd)
	cmd.Flags().BoolVar(&force, "force", false, "do not ask")
	return cmd
}

// confirm asks a person; without a terminal the answer is no.
func (a *app) confirm(format string, args ...any) bool {
	in, ok := a.in.(*os.File)
	if !ok || !term.IsTerminal(int(in.Fd())) {
		return false
	}
	fmt.Fprintf(a.err, format+" [y/N] ", args...)
	line, _ := bufio.NewReader(in).ReadString('\n')
	answer := strings.ToLower(strings.TrimSpace(line))
	return answer == "y" || answer == "yes"
}

// done confirms an act: a line for people, {} for programs.
func (a *app) done(format string, args ...any) error {
	if a.json() {
		return a.emit(struct{}{})
	}
	a.say(format, args...)
	return nil
}

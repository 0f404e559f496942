package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/oz-platform/cloudagents/executor"
	"github.com/oz-platform/cloudagents/oz"
)

// maxSecretBytes bounds what is read of a value; the server's own limit is lower.
const maxSecretBytes = 256 << 10

func (a *app) secretCommand() *cobra.Command {
	return group("secret", "Manage secrets: variables that agents get and nobody can read back", nil,
		a.secretCreateCommand(), a.secretUpdateCommand(), a.secretListCommand(), a.secretDeleteCommand())
}

func (a *app) secretListCommand() *cobra.Command {
	return a.list(listing{use: "list", short: "List secrets, without their values", path: "/oz/secrets", member: "secrets", none: "No secrets.",
		example: "  oz secret list --jq '.secrets[].name'",
		columns: []column{{"NAME", ".name"}, {"SCOPE", ".scope.type"}, {"TYPE", ".type"}, {"CREATED", ".created_at"}, {"UPDATED", ".updated_at"}, {"DESCRIPTION", ".description"}}})
}

// secretFlags are those that the commands about one secret share.
type secretFlags struct {
	file, description string
	team              func() *bool
}

func (f *secretFlags) register(cmd *cobra.Command) {
	f.team = ownership(cmd)
	cmd.Flags().StringVarP(&f.file, "value-file", "f", "", "read the value from this `file`")
	cmd.Flags().StringVarP(&f.description, "description", "d", "", "what it is for")
}

// secretTypes are those whose value is one text.
var secretTypes = []string{"raw-value", "anthropic-api-key", "openai-api-key"}

func (a *app) secretCreateCommand() *cobra.Command {
	var f secretFlags
	var kind string
	cmd := &cobra.Command{
		Use: "create <NAME>", Short: "Store a secret", Args: oneArg("name"),
		Long: `Store a secret. NAME is the environment variable that agents get. The value comes
from --value-file, from standard input when that is not a terminal, or else from
a prompt that does not show it. It is never taken from the command line.

The commands below are for what third-party agents sign in with.`,
		Example: "  oz secret create NPM_TOKEN\n  pass show npm | oz secret create NPM_TOKEN --team\n  oz secret create claude api-key CLAUDE_KEY",
		RunE: func(cmd *cobra.Command, args []string) error {
			if !slices.Contains(secretTypes, kind) {
				return usageError{fmt.Errorf("--type: %q is none of %s", kind, strings.Join(secretTypes, ", "))}
			}
			return a.storeSecret(cmd.Context(), args[0], &f, kind, "")
		},
	}
	f.register(cmd)
	cmd.Flags().StringVarP(&kind, "type", "t", "raw-value", "raw-value, anthropic-api-key or openai-api-key")
	cmd.AddCommand(
		group("claude", "Store what Claude signs in with", nil, a.secretKeyCommand("anthropic-api-key", "Store a key of the Anthropic API", "oz secret create claude api-key CLAUDE_KEY"),
			a.bedrockKeyCommand(), a.bedrockAccessCommand()),
		group("codex", "Store what Codex signs in with", nil, a.secretKeyCommand("openai-api-key", "Store a key of the OpenAI API", "oz secret create codex api-key CODEX_KEY --team")))
	return cmd
}

// storeSecret reads the value and stores it.
func (a *app) storeSecret(ctx context.Context, name string, f *secretFlags, kind, baseURL string) error {
	value, err := a.hidden("value-file", f.file, "Value of "+name)
	if err != nil {
		return err
	}
	if baseURL != "" {
		if value, err = parts(map[string]string{"value": value.Reveal(), "base_url": baseURL}); err != nil {
			return err
		}
	}
	return a.sendSecret(ctx, name, f, kind, value)
}

// parts is a value that has several of them (Oz API, CreateSecretRequest).
func parts(m map[string]string) (executor.Sensitive, error) {
	raw, err := json.Marshal(m)
	return executor.Sensitive(raw), err
}

func (a *app) sendSecret(ctx context.Context, name string, f *secretFlags, kind string, value executor.Sensitive) error {
	c, err := a.client()
	if err != nil {
		return err
	}
	s, err := c.CreateSecret(ctx, oz.SecretInput{Name: name, Value: value, Description: f.description, Type: strings.ReplaceAll(kind, "-", "_"), Team: f.team()})
	if err != nil {
		return err
	}
	return a.done("Secret %s is stored (%s).", s.Name, s.Owner.Type)
}

// secretKeyCommand stores an API key for one kind of agent.
func (a *app) secretKeyCommand(kind, short, example string) *cobra.Command {
	var f secretFlags
	var baseURL string
	cmd := &cobra.Command{Use: "api-key <NAME>", Short: short, Args: oneArg("name"), Example: "  " + example,
		RunE: func(cmd *cobra.Command, args []string) error {
			if u, err := url.Parse(baseURL); baseURL != "" && (err != nil || u.Host == "" || u.User != nil) {
				return usageError{errors.New("--base-url: must be an http or https URL without credentials")}
			}
			return a.storeSecret(cmd.Context(), args[0], &f, kind, baseURL)
		}}
	f.register(cmd)
	if kind == "openai-api-key" {
		cmd.Flags().StringVar(&baseURL, "base-url", "", "`URL` of another API that is compatible")
	}
	return cmd
}

func (a *app) bedrockKeyCommand() *cobra.Command {
	var f secretFlags
	var key, region string
	cmd := &cobra.Command{Use: "bedrock-api-key <NAME>", Short: "Store a key for Claude on Amazon Bedrock", Args: oneArg("name"),
		Example: "  oz secret create claude bedrock-api-key CLAUDE_BEDROCK --region eu-central-1 --value-file key",
		RunE: func(cmd *cobra.Command, args []string) error {
			if region == "" {
				return usageError{errors.New("--region is needed")}
			}
			if key == "" {
				value, err := a.hidden("value-file", f.file, "Key of "+args[0])
				if err != nil {
					return err
				}
				key = value.Reveal()
			}
			value, err := parts(map[string]string{"value": key, "region": region})
			if err != nil {
				return err
			}
			return a.sendSecret(cmd.Context(), args[0], &f, "anthropic-bedrock-api-key", value)
		}}
	f.register(cmd)
	cmd.Flags().StringVar(&key, "bedrock-api-key", "", "the `key` (others on this machine can see it here: better leave it out and be asked)")
	cmd.Flags().StringVar(&region, "region", "", "AWS `region`")
	return cmd
}

func (a *app) bedrockAccessCommand() *cobra.Command {
	var f secretFlags
	var id, secret, session, region string
	cmd := &cobra.Command{Use: "bedrock-access-key <NAME>", Short: "Store an AWS access key for Claude on Amazon Bedrock", Args: oneArg("name"),
		Example: "  oz secret create claude bedrock-access-key CLAUDE_BEDROCK --region eu-central-1 --access-key-id AKIA...",
		RunE: func(cmd *cobra.Command, args []string) error {
			if id == "" || region == "" {
				return usageError{errors.New("--access-key-id and --region are needed")}
			}
			if secret == "" {
				value, err := a.hidden("value-file", f.file, "Secret access key of "+id)
				if err != nil {
					return err
				}
				secret = value.Reveal()
			}
			m := map[string]string{"access_key_id": id, "secret_access_key": secret, "region": region}
			if session != "" {
				m["session_token"] = session
			}
			value, err := parts(m)
			if err != nil {
				return err
			}
			return a.sendSecret(cmd.Context(), args[0], &f, "anthropic-bedrock-access-key", value)
		}}
	f.register(cmd)
	s := cmd.Flags()
	s.StringVar(&id, "access-key-id", "", "its `id`")
	s.StringVar(&secret, "secret-access-key", "", "the `key` (others on this machine can see it here: better leave it out and be asked)")
	s.StringVar(&session, "session-token", "", "`token` of temporary keys")
	s.StringVar(&region, "region", "", "AWS `region`")
	return cmd
}

func (a *app) secretUpdateCommand() *cobra.Command {
	var f secretFlags
	var ask bool
	cmd := &cobra.Command{
		Use: "update <NAME>", Short: "Change a secret's value or description; later runs get it", Args: oneArg("name"),
		Example: "  oz secret update NPM_TOKEN --value\n  oz secret update NPM_TOKEN --description 'read only'",
		RunE: func(cmd *cobra.Command, args []string) error {
			var change oz.SecretChange
			if ask || f.file != "" {
				value, err := a.hidden("value-file", f.file, "New value of "+args[0])
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
			if _, err := c.UpdateSecret(cmd.Context(), args[0], f.team(), change); err != nil {
				return err
			}
			return a.done("Secret %s is updated.", args[0])
		},
	}
	f.register(cmd)
	cmd.Flags().BoolVar(&ask, "value", false, "ask for a new value, or read it from standard input")
	return cmd
}

func (a *app) secretDeleteCommand() *cobra.Command {
	var force bool
	cmd := &cobra.Command{Use: "delete <NAME>", Short: "Delete a secret; later runs do not get it", Args: oneArg("name"), Example: "  oz secret delete NPM_TOKEN --team --force"}
	team := ownership(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if err := a.sure(force, "Delete the secret %s?", args[0]); err != nil {
			return err
		}
		q := url.Values{}
		if t := team(); t != nil {
			q.Set("team", strconv.FormatBool(*t))
		}
		if _, err := a.call(cmd.Context(), http.MethodDelete, "/oz/secrets/"+url.PathEscape(args[0]), q, nil); err != nil {
			return err
		}
		return a.done("Secret %s is deleted.", args[0])
	}
	cmd.Flags().BoolVar(&force, "force", false, "do not ask")
	return cmd
}

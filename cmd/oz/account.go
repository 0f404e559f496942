package main

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/oz-platform/cloudagents/oz/access"
	"github.com/oz-platform/cloudagents/task"
)

func (a *app) keyCommand() *cobra.Command {
	return group("api-key", "Manage API keys", nil, a.keyListCommand(), a.keyCreateCommand(), a.keyExpireCommand())
}

func (a *app) keyListCommand() *cobra.Command {
	return &cobra.Command{
		Use: "list", Short: "List API keys, masked", Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := a.client()
			if err != nil {
				return err
			}
			keys, err := c.Keys(cmd.Context())
			if err != nil {
				return err
			}
			if a.json() {
				return emitEach(a, keys, keys)
			}
			var rows [][]string
			for _, k := range keys {
				rows = append(rows, []string{k.UID, k.Name, string(k.Type), "**" + k.Suffix, when(k.CreatedAt, ""), when(k.LastUsedAt, "never"), when(k.ExpiresAt, "never")})
			}
			return table(a.out, "UID|NAME|TYPE|KEY|CREATED|LAST USED|EXPIRES", rows)
		},
	}
}

func when(t time.Time, zero string) string {
	if t.IsZero() {
		return zero
	}
	return t.Local().Format(time.DateTime)
}

func (a *app) keyCreateCommand() *cobra.Command {
	var expiresIn time.Duration
	var expiresAt string
	var never, team bool
	cmd := &cobra.Command{
		Use: "create <NAME>", Short: "Make an API key; it is shown once", Args: oneArg("name"),
		Example: "  oz api-key create ci --team --expires-in 720h",
		RunE: func(cmd *cobra.Command, args []string) error {
			spec := access.KeySpec{Name: args[0], Type: access.KeyPersonal}
			if team {
				spec.Type = access.KeyTeam
			}
			var err error
			if spec.ExpiresAt, err = expiry(expiresIn, expiresAt, never); err != nil {
				return usageError{err}
			}
			c, err := a.client()
			if err != nil {
				return err
			}
			raw, k, err := c.CreateKey(cmd.Context(), spec)
			if err != nil {
				return err
			}
			if a.json() {
				return a.emit(map[string]any{"key": raw, "uid": k.UID, "name": k.Name})
			}
			a.say("%s", raw)
			fmt.Fprintln(a.err, "Keep it: it is not shown again.")
			return nil
		},
	}
	f := cmd.Flags()
	f.DurationVar(&expiresIn, "expires-in", 0, "lifetime, such as 720h")
	f.StringVar(&expiresAt, "expires-at", "", "RFC 3339 `time`")
	f.BoolVar(&never, "no-expiration", false, "it never expires")
	f.BoolVar(&team, "team", false, "a key of the team instead of yours")
	return cmd
}

// expiry settles the three ways to say when a key ends: exactly one is needed.
func expiry(in time.Duration, at string, never bool) (time.Time, error) {
	given := 0
	for _, set := range []bool{in != 0, at != "", never} {
		if set {
			given++
		}
	}
	if given != 1 {
		return time.Time{}, errors.New("exactly one of --expires-in, --expires-at and --no-expiration is needed")
	}
	switch {
	case in < 0:
		return time.Time{}, errors.New("--expires-in must be positive")
	case in > 0:
		return time.Now().Add(in), nil
	case at != "":
		t, err := time.Parse(time.RFC3339, at)
		if err != nil || !t.After(time.Now()) {
			return t, fmt.Errorf("--expires-at: %q is not a future time like 2027-01-31T09:00:00Z", at)
		}
		return t, nil
	}
	return time.Time{}, nil
}

func (a *app) keyExpireCommand() *cobra.Command {
	return &cobra.Command{
		Use: "expire <NAME_OR_UID>", Aliases: []string{"delete"}, Short: "Make an API key invalid at once", Args: oneArg("key"),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.client()
			if err != nil {
				return err
			}
			keys, err := c.Keys(cmd.Context())
			if err != nil {
				return err
			}
			k, err := findKey(keys, args[0])
			if err != nil {
				return err
			}
			if err := c.RevokeKey(cmd.Context(), k.UID); err != nil {
				return err
			}
			return a.done("Key %s (%s) is no longer valid.", k.Name, k.UID)
		},
	}
}

func findKey(keys []access.Key, name string) (access.Key, error) {
	var found []access.Key
	var uids []string
	for _, k := range keys {
		if k.UID == name || k.Name == name {
			found, uids = append(found, k), append(uids, k.UID)
		}
	}
	switch len(found) {
	case 0:
		return access.Key{}, task.Errorf(task.CodeNotFound, "there is no key %q; see 'oz api-key list'", name)
	case 1:
		return found[0], nil
	}
	return access.Key{}, usageError{fmt.Errorf("several keys are called %q, name one by its uid: %s", name, strings.Join(uids, ", "))}
}

func (a *app) modelCommand() *cobra.Command {
	list := &cobra.Command{
		Use: "list", Short: "List the models that runs may name", Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := a.client()
			if err != nil {
				return err
			}
			models, def, err := c.Models(cmd.Context())
			if err != nil {
				return err
			}
			if a.json() {
				return emitEach(a, map[string]any{"default_model_id": def, "models": models}, models)
			}
			var rows [][]string
			for _, m := range models {
				mark := ""
				if m.ID == def {
					mark = "default"
				}
				rows = append(rows, []string{m.ID, m.DisplayName, m.Provider, mark})
			}
			return table(a.out, "ID|NAME|PROVIDER|", rows)
		},
	}
	return group("model", "List models", nil, list)
}

func (a *app) whoamiCommand() *cobra.Command {
	return &cobra.Command{
		Use: "whoami", Short: "Show whose API key this is", Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := a.client()
			if err != nil {
				return err
			}
			me, err := c.Whoami(cmd.Context())
			if err != nil {
				return err
			}
			if a.json() {
				return a.emit(map[string]any{"principal": me.Principal, "teams": me.Teams})
			}
			kind := "User ID"
			if me.Principal.Type == task.PrincipalServiceAccount {
				kind = "Service account ID"
			}
			a.say("%-18s %s\n%-18s %s", kind, me.Principal.UID, "Name", oneLine(me.Principal.DisplayName))
			for _, t := range me.Teams {
				a.say("%-18s %s (%s)", "Team", t.UID, t.Role)
			}
			return nil
		},
	}
}

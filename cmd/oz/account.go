package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
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
	return a.sortedList(listing{use: "list", short: "List API keys, masked", path: "/oz/api-keys", member: "keys", none: "No API keys.",
		example: "  oz api-key list --sort-by last-used-at --sort-order desc",
		columns: []column{{"UID", ".uid"}, {"NAME", ".name"}, {"TYPE", ".type"}, {"KEY", `"wk-**" + (.suffix // "")`}, {"SCOPE", ".owner.type"}, {"CREATED", ".created_at"},
			{"LAST USED", `.last_used_at // "never"`}, {"EXPIRES", `.expires_at // "never"`}}},
		sortKey{"name", ".name"}, sortKey{"created-at", ".created_at"}, sortKey{"last-used-at", ".last_used_at"}, sortKey{"expires-at", ".expires_at"},
		sortKey{"scope", ".owner.type"})
}

func (a *app) keyCreateCommand() *cobra.Command {
	var expiresIn time.Duration
	var expiresAt, agent string
	var never, team, worker bool
	cmd := &cobra.Command{
		Use: "create <NAME>", Short: "Make an API key; it is shown once", Args: oneArg("name"),
		Example: "  oz api-key create ci --team --expires-in 720h\n  oz api-key create triage --agent AGENT_UID --no-expiration --jq .key\n  oz api-key create rack-1 --worker --no-expiration",
		RunE: func(cmd *cobra.Command, args []string) error {
			spec := access.KeySpec{Name: args[0], Type: access.KeyPersonal}
			switch {
			case agent != "":
				spec.Type, spec.Agent = access.KeyAgent, agent
			case team:
				spec.Type = access.KeyTeam
			case worker:
				spec.Type = access.KeyWorker
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
				return a.emit(map[string]any{"key": raw, "uid": k.UID, "name": k.Name, "type": k.Type, "expires_at": optional(k.ExpiresAt)})
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
	f.StringVar(&agent, "agent", "", "a key that acts as the agent identity of this `uid`")
	f.BoolVar(&worker, "worker", false, "a key of the team that connects workers (oz-worker), and does nothing else")
	cmd.MarkFlagsMutuallyExclusive("team", "agent", "worker")
	return a.filterFlag(cmd)
}

// optional is a time for programs; none is null.
func optional(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
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
	var force bool
	cmd := &cobra.Command{
		Use: "expire <NAME_OR_UID>", Aliases: []string{"delete"}, Short: "Make an API key invalid at once", Args: oneArg("key"),
		Example: "  oz api-key expire ci --force",
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
			if err := a.sure(force, "Make the key %s (%s) invalid?", k.Name, k.UID); err != nil {
				return err
			}
			if err := c.RevokeKey(cmd.Context(), k.UID); err != nil {
				return err
			}
			return a.done("Key %s (%s) is no longer valid.", k.Name, k.UID)
		},
	}
	cmd.Flags().BoolVar(&force, "force", false, "do not ask")
	return a.filterFlag(cmd)
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
	columns := []column{{"ID", ".id"}, {"NAME", ".display_name"}, {"PROVIDER", ".provider"}, {"CONTEXT", ".context_window"},
		{"USD/MTOK", `.price | if . then "\(.input_usd) in, \(.output_usd) out" else "" end`}, {"AGENTS", `.harnesses // [] | join(", ")`},
		{"NOTE", `if .disable_reason then "disabled: " + .disable_reason else .note end`}}
	list := a.list(listing{use: "list", short: "List the models that runs may name", path: "/agent/models", member: "models", none: "No models.",
		example: "  oz model list --jq '.models[].id'", columns: columns, shape: `.default_model_id as $d | .models |= map(if .id == $d then .note = "default" else . end)`})
	return group("model", "Models, and a team's own endpoints", nil, list, a.endpointCommand())
}

// whoamiLines show the caller (Oz API, whoami).
var whoamiLines = []column{
	{"User ID", `.principal | select(.type == "user") | .uid`}, {"Service account ID", `.principal | select(.type != "user") | .uid`}, {"Name", ".principal.display_name"},
	{"E-mail", ".principal.email"},
	{"Team", `[.teams[] | .uid + (if .name then ": " + .name else "" end) + " (" + .role + ")"] | join(", ")`}, {"Run", ".run_id"},
}

func (a *app) whoamiCommand() *cobra.Command {
	return a.filterFlag(&cobra.Command{
		Use: "whoami", Short: "Show whose API key this is", Args: noArgs, Example: "  oz whoami --jq .principal.uid",
		RunE: func(cmd *cobra.Command, _ []string) error {
			raw, err := a.call(cmd.Context(), http.MethodGet, "/oz/whoami", nil, nil)
			if err == nil && !a.json() {
				raw, err = a.nameTeams(cmd.Context(), raw)
			}
			if err != nil {
				return err
			}
			return a.showItem(raw, whoamiLines)
		},
	})
}

// nameTeams adds the names of the caller's teams, for people. Callers that may
// not list teams see the uids alone.
func (a *app) nameTeams(ctx context.Context, raw json.RawMessage) (json.RawMessage, error) {
	teams, err := a.call(ctx, http.MethodGet, "/oz/teams", nil, nil)
	if err != nil {
		return raw, nil
	}
	both, err := json.Marshal(map[string]json.RawMessage{"me": raw, "all": teams})
	if err != nil {
		return nil, err
	}
	return shaped(both, `(.all.teams | map({key: .uid, value: .name}) | from_entries) as $names | .me | .teams |= map(.name = $names[.uid])`)
}

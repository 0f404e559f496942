package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/oz-platform/cloudagents/task"
)

var webhookLines = []column{
	{"Webhook", ".uid"}, {"Name", ".name"}, {"Send to", ".url"}, {"Secret", ".secret"}, {"State", `if .enabled then "enabled" else "disabled" end`},
	{"Proof", `.auth_mode + (if .provider then " (" + .provider + ")" else "" end)`}, {"Has secret", ".has_secret"}, {"Filter", ".filter | if . then tojson else empty end"},
	{"Condition", ".condition"}, {"About", ".entity"}, {"Per minute", ".rate_per_minute"}, {"Untrusted", ".untrusted"}, {"Agent", ".agent_uid"},
	{"Environment", ".config.environment_id"}, {"Skill", ".skill"}, {"Scope", ".scope.type"}, {"Prompt", ".prompt"},
}

func (a *app) webhookCommand() *cobra.Command {
	return group("webhook", "Manage webhooks: runs by what others send", nil, a.webhookCreateCommand(),
		a.list(listing{use: "list", short: "List webhooks", path: "/oz/webhooks", member: "webhooks", example: "  oz webhook list --jq .webhooks[].url",
			columns: []column{{"UID", ".uid"}, {"NAME", ".name"}, {"STATE", `if .enabled then "enabled" else "disabled" end`},
				{"PROOF", `.auth_mode + (if .provider then " (" + .provider + ")" else "" end)`}, {"URL", ".url"}, {"SCOPE", ".scope.type"}},
			none: "No webhooks. Make one with 'oz webhook create --name ... --prompt ...'."}),
		a.webhookGetCommand(), a.webhookUpdateCommand(),
		a.webhookSwitchCommand("enable", true), a.webhookSwitchCommand("disable", false),
		a.webhookRotateCommand(), a.webhookTestCommand(), a.webhookDeliveriesCommand(),
		a.remove(removal{use: "delete <UID>", short: "Delete a webhook; its runs stay", argument: "webhook uid", noun: "webhook", path: "/oz/webhooks/%s",
			example: "  oz webhook delete WEBHOOK_UID --force"}))
}

// webhookFlags are those that making and changing a webhook share.
type webhookFlags struct {
	name, prompt, skill, environment, model, host, file, agent, idHeader, filter, condition, entity string
	mcp                                                                                             []string
	perMinute                                                                                       int
	untrusted                                                                                       bool
}

func (f *webhookFlags) register(cmd *cobra.Command) {
	s := cmd.Flags()
	s.StringVarP(&f.name, "name", "n", "", "`name`")
	s.StringVarP(&f.prompt, "prompt", "p", "", "what each run does; the payload lies beside it as a file")
	s.StringVar(&f.skill, "skill", "", "skill `spec` that each run carries out")
	s.StringVarP(&f.environment, "environment", "e", "", "environment `id`")
	s.StringVar(&f.model, "model", "", "model `id`")
	s.StringVar(&f.host, "host", "", "`worker` that shall run it")
	s.StringArrayVar(&f.mcp, "mcp", nil, "MCP `server`: uuid, JSON or file")
	s.StringVarP(&f.file, "file", "f", "", "run configuration `file`, YAML or JSON")
	s.StringVar(&f.agent, "agent", "", "`uid` of the agent that carries the runs out")
	s.StringVar(&f.idHeader, "id-header", "", "request `header` that tells deliveries apart")
	s.StringVar(&f.filter, "filter", "", "`JSON` shaped like the payloads that count, or @file")
	s.StringVar(&f.condition, "condition", "", "CEL `expression` over body and event, such as 'body.action == \"opened\"'")
	s.StringVar(&f.entity, "entity", "", "`path` in the payload of what it is about, such as issue.id: events about the same go on with one run")
	s.IntVar(&f.perMinute, "per-minute", 0, "how many deliveries it takes in a minute (default 60)")
	s.BoolVar(&f.untrusted, "untrusted", false, "give the runs no secrets, and let a person approve what they push")
}

// body is what the flags say.
func (f *webhookFlags) body(cmd *cobra.Command, a *app) (fields, error) {
	body := fields{}
	body.set(cmd, "name", "name", f.name)
	body.set(cmd, "prompt", "prompt", f.prompt)
	body.set(cmd, "skill", "skill", f.skill)
	body.set(cmd, "agent", "agent_uid", f.agent)
	body.set(cmd, "id-header", "delivery_id_header", f.idHeader)
	body.set(cmd, "condition", "condition", f.condition)
	body.set(cmd, "entity", "entity", f.entity)
	body.set(cmd, "per-minute", "rate_per_minute", f.perMinute)
	body.set(cmd, "untrusted", "untrusted", f.untrusted)
	if cmd.Flags().Changed("filter") {
		filter, err := jsonArgument("filter", f.filter)
		if err != nil {
			return nil, err
		}
		body["filter"] = filter
	}
	config, err := f.config(a)
	if err != nil {
		return nil, err
	}
	if len(config) > 0 {
		body["config"] = config
	}
	return body, nil
}

func (f *webhookFlags) config(a *app) (map[string]any, error) {
	var c task.Config
	var err error
	if f.file != "" {
		if c, err = a.configFile(f.file); err != nil {
			return nil, err
		}
	}
	for value, to := range map[*string]*string{&f.model: &c.ModelID, &f.environment: &c.EnvironmentID, &f.host: &c.WorkerHost} {
		if *value != "" {
			*to = *value
		}
	}
	if c.MCPServers, err = mcpServers(c.MCPServers, f.mcp); err != nil {
		return nil, err
	}
	value, err := plain(c)
	if err != nil {
		return nil, err
	}
	return value.(map[string]any), nil // a struct is an object
}

// jsonArgument reads JSON that is given as it is or as @file. An empty one is {}.
func jsonArgument(flag, value string) (json.RawMessage, error) {
	text := []byte(value)
	if path, ok := strings.CutPrefix(value, "@"); ok {
		var err error
		if text, err = os.ReadFile(path); err != nil {
			return nil, usageError{fmt.Errorf("--%s: %w", flag, err)}
		}
	}
	if strings.TrimSpace(string(text)) == "" {
		return json.RawMessage(`{}`), nil
	}
	if !json.Valid(text) {
		return nil, usageError{fmt.Errorf("--%s: is not JSON", flag)}
	}
	return text, nil
}

// secretFile reads a secret from a file, or from standard input for "-": a
// secret has no place among arguments.
func (a *app) secretFile(path string) (string, error) {
	var text []byte
	var err error
	if path == "-" {
		text, err = io.ReadAll(io.LimitReader(a.in, 64<<10))
	} else {
		text, err = os.ReadFile(path)
	}
	if err != nil {
		return "", usageError{fmt.Errorf("--secret-file: %w", err)}
	}
	return strings.TrimRight(string(text), "\r\n"), nil
}

func (a *app) webhookCreateCommand() *cobra.Command {
	var f webhookFlags
	var mode, provider, secretFile string
	var disabled bool
	cmd := &cobra.Command{Use: "create", Short: "Make a webhook; its secret is shown this once", Args: noArgs,
		Example: "  oz webhook create --name crashes --prompt 'Find the cause and open a draft pull request' --environment ENV_ID\n" +
			"  oz webhook create --name issues --provider github --filter '{\"action\":\"opened\"}' --prompt 'Triage the issue'\n" +
			"  oz webhook create --name sentry --provider sentry --secret-file sentry.secret --prompt 'Triage the crash'"}
	f.register(cmd)
	s := cmd.Flags()
	s.StringVar(&mode, "auth", "", "how senders prove who they are: token (default), url_token or signature")
	s.StringVar(&provider, "provider", "", "who signs: github, gitlab, linear, pagerduty, sentry, slack, standard_webhooks, stripe or vercel")
	s.StringVar(&secretFile, "secret-file", "", "`file` with the secret that the provider has chosen, - for standard input")
	s.BoolVar(&disabled, "disabled", false, "make it, but let nothing in yet")
	team := ownership(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if f.name == "" || f.prompt == "" && f.skill == "" {
			return usageError{errors.New("--name and one of --prompt and --skill are needed")}
		}
		body, err := f.body(cmd, a)
		if err != nil {
			return err
		}
		if provider != "" && mode == "" {
			mode = "signature"
		}
		if mode != "" {
			body["auth_mode"] = mode
		}
		if provider != "" {
			body["provider"] = provider
		}
		if secretFile != "" {
			if body["secret"], err = a.secretFile(secretFile); err != nil {
				return err
			}
		}
		if disabled {
			body["enabled"] = false
		}
		body.own(team())
		return a.change(cmd.Context(), http.MethodPost, "/oz/webhooks", body, webhookLines, "The webhook is made. Its secret is shown this once.")
	}
	return a.filterFlag(cmd)
}

func (a *app) webhookGetCommand() *cobra.Command {
	return a.filterFlag(&cobra.Command{Use: "get <UID>", Short: "Show a webhook", Args: oneArg("webhook uid"), Example: "  oz webhook get WEBHOOK_UID --jq .url",
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.showPath(cmd.Context(), "/oz/webhooks/%s", args[0], webhookLines)
		}})
}

func (a *app) webhookUpdateCommand() *cobra.Command {
	var f webhookFlags
	cmd := &cobra.Command{Use: "update <UID>", Short: "Change a webhook; what is not named stays", Args: oneArg("webhook uid"),
		Example: "  oz webhook update WEBHOOK_UID --filter '{\"action\":[\"opened\",\"reopened\"]}'",
		RunE: func(cmd *cobra.Command, args []string) error {
			body, err := f.body(cmd, a)
			if err != nil {
				return err
			}
			if len(body) == 0 {
				return usageError{errNothing}
			}
			return a.change(cmd.Context(), http.MethodPut, "/oz/webhooks/"+url.PathEscape(args[0]), body, webhookLines, "The webhook is changed.")
		}}
	f.register(cmd)
	return a.filterFlag(cmd)
}

func (a *app) webhookSwitchCommand(use string, on bool) *cobra.Command {
	short := map[bool]string{true: "Let deliveries in", false: "Refuse deliveries until it is enabled again"}[on]
	return a.filterFlag(&cobra.Command{Use: use + " <UID>", Short: short, Args: oneArg("webhook uid"), Example: "  oz webhook " + use + " WEBHOOK_UID",
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.change(cmd.Context(), http.MethodPut, "/oz/webhooks/"+url.PathEscape(args[0]), fields{"enabled": on}, webhookLines[:5], "The webhook is %sd.", use)
		}})
}

func (a *app) webhookRotateCommand() *cobra.Command {
	var secretFile string
	cmd := &cobra.Command{Use: "rotate <UID>", Short: "Give a webhook a new secret; the old one is worth nothing at once", Args: oneArg("webhook uid"),
		Example: "  oz webhook rotate WEBHOOK_UID",
		RunE: func(cmd *cobra.Command, args []string) error {
			body := fields{}
			if secretFile != "" {
				var err error
				if body["secret"], err = a.secretFile(secretFile); err != nil {
					return err
				}
			}
			return a.change(cmd.Context(), http.MethodPost, "/oz/webhooks/"+url.PathEscape(args[0])+"/rotate", body, webhookLines[:6], "The webhook has a new secret, shown this once.")
		}}
	cmd.Flags().StringVar(&secretFile, "secret-file", "", "`file` with the secret that the provider has chosen, - for standard input")
	return a.filterFlag(cmd)
}

func (a *app) webhookTestCommand() *cobra.Command {
	var payload, delivery, filter, condition string
	cmd := &cobra.Command{Use: "test <UID>", Short: "Tell whether a payload would start a run, and if not, why", Args: oneArg("webhook uid"),
		Example: "  oz webhook test WEBHOOK_UID --payload @event.json\n  oz webhook test WEBHOOK_UID --delivery DELIVERY_ID --filter '{\"action\":\"opened\"}'"}
	s := cmd.Flags()
	s.StringVar(&payload, "payload", "", "`JSON`, or @file")
	s.StringVar(&delivery, "delivery", "", "`id` of a delivery that arrived at it")
	s.StringVar(&filter, "filter", "", "try this filter: `JSON`, or @file")
	s.StringVar(&condition, "condition", "", "try this condition: a CEL `expression`")
	cmd.MarkFlagsOneRequired("payload", "delivery")
	cmd.MarkFlagsMutuallyExclusive("payload", "delivery")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		body := fields{}
		body.set(cmd, "delivery", "delivery_id", delivery)
		body.set(cmd, "condition", "condition", condition)
		for flag, value := range map[string]string{"payload": payload, "filter": filter} {
			if !cmd.Flags().Changed(flag) {
				continue
			}
			text, err := jsonArgument(flag, value)
			if err != nil {
				return err
			}
			body[flag] = text
		}
		raw, err := a.call(cmd.Context(), http.MethodPost, "/oz/webhooks/"+url.PathEscape(args[0])+"/test", nil, body)
		if err != nil {
			return err
		}
		return a.showItem(raw, []column{{"Would start a run", ".matches"}, {"Why not", ".reason"}})
	}
	return a.filterFlag(cmd)
}

// deliveryColumns are those of lists of what arrived.
var deliveryColumns = []column{{"DELIVERY", ".delivery_id"}, {"RECEIVED", ".received_at"}, {"OUTCOME", ".outcome"}, {"EVENT", ".event"}, {"BYTES", ".size_bytes"},
	{"RUNS", `(.run_ids // []) | join(" ")`}, {"REASON", ".reason"}}

func (a *app) webhookDeliveriesCommand() *cobra.Command {
	return a.deliveriesCommand("webhook", "/oz/webhooks/")
}

// deliveriesCommand lists what arrived at a thing of a kind.
func (a *app) deliveriesCommand(kind, path string) *cobra.Command {
	var limit int
	var outcomes []string
	var before string
	cmd := &cobra.Command{Use: "deliveries <UID>", Short: "List what arrived, newest first, and what became of it", Args: oneArg(kind + " uid"),
		Example: "  oz " + kind + " deliveries " + strings.ToUpper(kind) + "_UID --outcome rejected",
		RunE: func(cmd *cobra.Command, args []string) error {
			q := url.Values{"limit": {strconv.Itoa(limit)}, "outcome": outcomes}
			if before != "" {
				q.Set("before", before)
			}
			raw, err := a.call(cmd.Context(), http.MethodGet, path+url.PathEscape(args[0])+"/deliveries", q, nil)
			if err != nil {
				return err
			}
			return a.showList(raw, listing{member: "deliveries", none: "Nothing has arrived yet.", columns: deliveryColumns})
		}}
	s := cmd.Flags()
	s.IntVarP(&limit, "limit", "L", 50, "how many, at most 200")
	s.StringSliceVar(&outcomes, "outcome", nil, "only these: started, continued, ignored, held, released, declined, duplicate, rejected, failed, waiting")
	s.StringVar(&before, "before", "", "only what arrived before this delivery")
	return a.filterFlag(cmd)
}

package main

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/oz-platform/cloudagents/task"
)

var integrationLines = []column{
	{"Integration", ".uid"}, {"Provider", ".provider"}, {"Name", ".name"}, {"Events to", ".url"}, {"State", `if .enabled then "enabled" else "disabled" end`},
	{"Secrets", `(.secret_names // []) | join(" ")`}, {"Trust", `.trust // "linked"`}, {"Settings", ".settings | if . then tojson else empty end"},
	{"Agent", ".agent_uid"}, {"Environment", ".config.environment_id"}, {"Model", ".config.model_id"}, {"Worker", ".config.worker_host"},
	{"Scope", ".scope.type"}, {"Created", ".created_at"}, {"Updated", ".updated_at"}, {"Prompt", ".prompt"},
}

func (a *app) integrationCommand() *cobra.Command {
	return group("integration", "Connect services such as Slack and GitHub", []string{"i"}, a.integrationCreateCommand(),
		a.list(listing{use: "list", short: "List integrations", path: "/oz/integrations", member: "integrations", example: "  oz integration list",
			columns: []column{{"UID", ".uid"}, {"PROVIDER", ".provider"}, {"NAME", ".name"}, {"STATE", `if .enabled then "enabled" else "disabled" end`},
				{"ENVIRONMENT", ".config.environment_id"}, {"CREATED", ".created_at"}, {"UPDATED", ".updated_at"}},
			none: "No integrations. Make one with 'oz integration create slack --name ...'."}),
		a.integrationGetCommand(), a.integrationUpdateCommand(), a.integrationDeliveriesCommand(),
		a.integrationLinkCommand(), a.integrationLinksCommand(), a.integrationUnlinkCommand(),
		a.remove(removal{use: "delete <UID>", short: "Disconnect a service; its runs stay", argument: "integration uid", noun: "integration", path: "/oz/integrations/%s",
			example: "  oz integration delete INTEGRATION_UID --force"}))
}

// integrationFlags are those that making and changing an integration share.
type integrationFlags struct {
	name, prompt, environment, model, host, file, agent, trust, settings string
	mcp, secretFiles                                                     []string
	enabled, disabled                                                    bool
}

func (f *integrationFlags) register(cmd *cobra.Command) {
	s := cmd.Flags()
	s.StringVarP(&f.name, "name", "n", "", "`name`")
	s.StringVarP(&f.prompt, "prompt", "p", "", "added to the prompt of every run")
	s.StringVarP(&f.environment, "environment", "e", "", "environment `id`")
	s.StringVar(&f.model, "model", "", "model `id`")
	s.StringVar(&f.host, "host", "", "`worker` that shall run it")
	s.StringArrayVar(&f.mcp, "mcp", nil, "MCP `server`: uuid, JSON or file")
	s.StringVarP(&f.file, "file", "f", "", "run configuration `file`, YAML or JSON")
	s.StringVar(&f.agent, "agent", "", "`uid` of the agent that carries the runs out")
	s.StringVar(&f.trust, "trust", "", "what those may start who are not on the team: linked (nothing), untrusted (runs without secrets, whose pushes a person approves), hold (runs that a person lets through)")
	s.StringVar(&f.settings, "settings", "", "the provider's own: `JSON`, or @file")
	s.StringArrayVar(&f.secretFiles, "secret", nil, "`name=file` with a secret that is shared with the service, such as signing_secret=slack.secret; name= removes it")
}

func (f *integrationFlags) body(cmd *cobra.Command, a *app) (fields, error) {
	body := fields{}
	body.set(cmd, "name", "name", f.name)
	body.set(cmd, "prompt", "prompt", f.prompt)
	body.set(cmd, "agent", "agent_uid", f.agent)
	body.set(cmd, "trust", "trust", f.trust)
	if cmd.Flags().Changed("settings") {
		settings, err := jsonArgument("settings", f.settings)
		if err != nil {
			return nil, err
		}
		body["settings"] = settings
	}
	secrets, err := f.secrets()
	if err != nil {
		return nil, err
	}
	if len(secrets) > 0 {
		body["secrets"] = secrets
	}
	w := webhookFlags{environment: f.environment, model: f.model, host: f.host, mcp: f.mcp, file: f.file}
	config, err := w.config(a)
	if err != nil {
		return nil, err
	}
	if len(config) > 0 {
		body["config"] = config
	}
	return body, nil
}

// secrets reads the files that the flags name: a secret has no place among
// arguments.
func (f *integrationFlags) secrets() (map[string]string, error) {
	out := map[string]string{}
	for _, s := range f.secretFiles {
		name, file, ok := strings.Cut(s, "=")
		if !ok || name == "" {
			return nil, usageError{fmt.Errorf("--secret %s: write name=file", s)}
		}
		if file == "" {
			out[name] = ""
			continue
		}
		text, err := os.ReadFile(file)
		if err != nil {
			return nil, usageError{fmt.Errorf("--secret %s: %w", name, err)}
		}
		out[name] = strings.TrimRight(string(text), "\r\n")
	}
	return out, nil
}

func (a *app) integrationCreateCommand() *cobra.Command {
	var f integrationFlags
	var noEnvironment bool
	cmd := &cobra.Command{Use: "create <PROVIDER>", Short: "Connect a service: github, gitlab, jira, linear or slack", Args: oneArg("provider"),
		Example: "  oz integration create slack --name chat --environment ENV_ID --secret signing_secret=slack.secret --secret token=slack.token"}
	f.register(cmd)
	cmd.Flags().BoolVar(&noEnvironment, "no-environment", false, "run in a bare sandbox")
	cmd.MarkFlagsMutuallyExclusive("environment", "no-environment")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		body, err := f.body(cmd, a)
		if err != nil {
			return err
		}
		body["provider"] = args[0]
		if body["name"] == nil {
			body["name"] = args[0]
		}
		return a.change(cmd.Context(), http.MethodPost, "/oz/integrations", body, integrationLines, "The integration is made. Let the service send its events to the address.")
	}
	return a.filterFlag(cmd)
}

func (a *app) integrationGetCommand() *cobra.Command {
	return a.filterFlag(&cobra.Command{Use: "get <UID>", Short: "Show an integration", Args: oneArg("integration uid"), Example: "  oz integration get INTEGRATION_UID --jq .url",
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.showPath(cmd.Context(), "/oz/integrations/%s", args[0], integrationLines)
		}})
}

func (a *app) integrationUpdateCommand() *cobra.Command {
	var f integrationFlags
	cmd := &cobra.Command{Use: "update <UID>", Short: "Change an integration; what is not named stays", Args: oneArg("integration uid"),
		Example: "  oz integration update INTEGRATION_UID --secret token=slack.token"}
	f.register(cmd)
	cmd.Flags().BoolVar(&f.enabled, "enable", false, "let its events in")
	cmd.Flags().BoolVar(&f.disabled, "disable", false, "refuse its events until it is enabled again")
	cmd.MarkFlagsMutuallyExclusive("enable", "disable")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		body, err := f.body(cmd, a)
		if err != nil {
			return err
		}
		if f.enabled || f.disabled {
			body["enabled"] = f.enabled
		}
		if len(body) == 0 {
			return usageError{errNothing}
		}
		return a.change(cmd.Context(), http.MethodPut, "/oz/integrations/"+url.PathEscape(args[0]), body, integrationLines, "The integration is changed.")
	}
	return a.filterFlag(cmd)
}

func (a *app) integrationDeliveriesCommand() *cobra.Command {
	return a.deliveriesCommand("integration", "/oz/integrations/")
}

func (a *app) integrationLinkCommand() *cobra.Command {
	return a.filterFlag(&cobra.Command{Use: "link <CODE>", Short: "Say that an account elsewhere is yours, with the code that it was sent", Args: oneArg("code"),
		Example: "  oz integration link CODE",
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.change(cmd.Context(), http.MethodPost, "/oz/links", fields{"code": args[0]}, []column{{"Provider", ".provider"}, {"Account", ".account"}, {"Name", ".name"}}, "The account is linked to you.")
		}})
}

func (a *app) integrationLinksCommand() *cobra.Command {
	return a.list(listing{use: "links", short: "List the accounts elsewhere that are linked to you", path: "/oz/links", member: "links", example: "  oz integration links",
		columns: []column{{"PROVIDER", ".provider"}, {"ACCOUNT", ".account"}, {"NAME", ".name"}, {"LINKED", ".linked_at"}}, none: "No accounts are linked to you."})
}

func (a *app) integrationUnlinkCommand() *cobra.Command {
	return &cobra.Command{Use: "unlink <PROVIDER> <ACCOUNT>", Short: "Forget that an account elsewhere is yours", Args: cobra.ExactArgs(2), Example: "  oz integration unlink slack U0123456",
		RunE: func(cmd *cobra.Command, args []string) error {
			if _, err := a.call(cmd.Context(), http.MethodDelete, "/oz/links", url.Values{"provider": {args[0]}, "account": {args[1]}}, nil); err != nil {
				return err
			}
			a.say("The account is no longer linked to you.")
			return nil
		}}
}

var subscriptionLines = []column{{"Subscription", ".uid"}, {"Name", ".name"}, {"URL", ".url"}, {"Secret", ".secret"}, {"State", `if .enabled then "enabled" else "disabled" end`},
	{"Disabled because", ".disabled_reason"}, {"Events", `(.events // ["all"]) | join(" ")`}, {"Scope", ".scope.type"}, {"Created", ".created_at"}}

func (a *app) subscriptionCommand() *cobra.Command {
	return group("subscription", "Let programs be told what happens to runs", nil, a.subscriptionCreateCommand(),
		a.list(listing{use: "list", short: "List subscriptions", path: "/oz/subscriptions", member: "subscriptions", example: "  oz subscription list",
			columns: []column{{"UID", ".uid"}, {"NAME", ".name"}, {"STATE", `if .enabled then "enabled" else "disabled" end`}, {"URL", ".url"}, {"EVENTS", `(.events // ["all"]) | join(" ")`}},
			none:    "No subscriptions. Make one with 'oz subscription create --name ... --url ...'."}),
		a.filterFlag(&cobra.Command{Use: "get <UID>", Short: "Show a subscription", Args: oneArg("subscription uid"), Example: "  oz subscription get SUBSCRIPTION_UID",
			RunE: func(cmd *cobra.Command, args []string) error {
				return a.showPath(cmd.Context(), "/oz/subscriptions/%s", args[0], subscriptionLines)
			}}),
		a.subscriptionSwitchCommand("enable", true), a.subscriptionSwitchCommand("disable", false),
		a.filterFlag(&cobra.Command{Use: "rotate <UID>", Short: "Give a subscription a new secret", Args: oneArg("subscription uid"), Example: "  oz subscription rotate SUBSCRIPTION_UID",
			RunE: func(cmd *cobra.Command, args []string) error {
				return a.change(cmd.Context(), http.MethodPost, "/oz/subscriptions/"+url.PathEscape(args[0])+"/rotate", nil, subscriptionLines[:5], "The subscription has a new secret, shown this once.")
			}}),
		a.subscriptionMessagesCommand(), a.subscriptionReplayCommand(),
		a.remove(removal{use: "delete <UID>", short: "Delete a subscription", argument: "subscription uid", noun: "subscription", path: "/oz/subscriptions/%s",
			example: "  oz subscription delete SUBSCRIPTION_UID --force"}))
}

func (a *app) subscriptionCreateCommand() *cobra.Command {
	var name, address string
	var events []string
	cmd := &cobra.Command{Use: "create", Short: "Make a subscription; its secret is shown this once", Args: noArgs,
		Example: "  oz subscription create --name ci --url https://ci.example.com/hook --event run_succeeded --event run_failed"}
	s := cmd.Flags()
	s.StringVarP(&name, "name", "n", "", "`name`")
	s.StringVar(&address, "url", "", "`address` that gets the requests")
	s.StringArrayVar(&events, "event", nil, "`event` to tell of (default all): run_in_progress, run_succeeded, run_failed, run_errored, run_blocked, run_cancelled")
	team := ownership(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if name == "" || address == "" {
			return usageError{errors.New("--name and --url are needed")}
		}
		body := fields{"name": name, "url": address}
		if len(events) > 0 {
			body["events"] = events
		}
		body.own(team())
		return a.change(cmd.Context(), http.MethodPost, "/oz/subscriptions", body, subscriptionLines, "The subscription is made. Its secret is shown this once.")
	}
	return a.filterFlag(cmd)
}

func (a *app) subscriptionSwitchCommand(use string, on bool) *cobra.Command {
	short := map[bool]string{true: "Tell of runs again", false: "Tell of nothing until it is enabled again"}[on]
	return a.filterFlag(&cobra.Command{Use: use + " <UID>", Short: short, Args: oneArg("subscription uid"), Example: "  oz subscription " + use + " SUBSCRIPTION_UID",
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.change(cmd.Context(), http.MethodPut, "/oz/subscriptions/"+url.PathEscape(args[0]), fields{"enabled": on}, subscriptionLines, "The subscription is %sd.", use)
		}})
}

func (a *app) subscriptionMessagesCommand() *cobra.Command {
	var states []string
	cmd := &cobra.Command{Use: "messages <UID>", Short: "List what was told, or is to be, newest first", Args: oneArg("subscription uid"), Example: "  oz subscription messages SUBSCRIPTION_UID --state dead",
		RunE: func(cmd *cobra.Command, args []string) error {
			raw, err := a.call(cmd.Context(), http.MethodGet, "/oz/subscriptions/"+url.PathEscape(args[0])+"/messages", url.Values{"state": states}, nil)
			if err != nil {
				return err
			}
			return a.showList(raw, listing{member: "messages", none: "Nothing was told yet.", columns: []column{{"MESSAGE", ".message_id"}, {"RUN", ".run_id"}, {"STATE", ".state"},
				{"ATTEMPTS", ".attempts"}, {"CREATED", ".created_at"}, {"NEXT", `if .state == "waiting" then .ready_at else empty end`}, {"REASON", ".reason"}}})
		}}
	cmd.Flags().StringSliceVar(&states, "state", nil, "only these: waiting, sent, dead")
	return a.filterFlag(cmd)
}

func (a *app) subscriptionReplayCommand() *cobra.Command {
	return &cobra.Command{Use: "replay <UID> <MESSAGE_ID>", Short: "Send a message again", Args: cobra.ExactArgs(2), Example: "  oz subscription replay SUBSCRIPTION_UID MESSAGE_ID",
		RunE: func(cmd *cobra.Command, args []string) error {
			path := "/oz/subscriptions/" + url.PathEscape(args[0]) + "/messages/" + url.PathEscape(args[1]) + "/replay"
			if _, err := a.call(cmd.Context(), http.MethodPost, path, nil, nil); err != nil {
				return err
			}
			a.say("The message waits to be sent.")
			return nil
		}}
}

// explainCommand looks for what an ID names, and tells why it is as it is.
func (a *app) explainCommand() *cobra.Command {
	return a.filterFlag(&cobra.Command{Use: "explain <ID>", Short: "Tell why a run, a delivery or a schedule waits, was dropped or failed", Args: oneArg("id"),
		Example: "  oz explain RUN_ID",
		RunE: func(cmd *cobra.Command, args []string) error {
			id := url.PathEscape(args[0])
			for _, e := range []struct {
				path  string
				lines []column
			}{
				{"/agent/runs/" + id, []column{{"Run", ".run_id"}, {"State", ".state"}, {"Because", ".status_message.message"}, {"Error", ".status_message.error_code"},
					{"Try again", `if .status_message.retryable then "the same may work later" else empty end`}, {"Question", ".status_message.question.text"},
					{"Waits for", `if .state == "QUEUED" then "a worker with room" + (if .agent_config.worker_host then " named " + .agent_config.worker_host else "" end) + ": see 'oz worker list'" else empty end`},
					{"Made by", ".source"}, {"Came with", ".trigger_url"}, {"Delivery", ".metadata.delivery_id"}, {"Schedule", ".metadata.schedule_id"}}},
				{"/oz/deliveries/" + id, []column{{"Delivery", ".delivery_id"}, {"Outcome", ".outcome"}, {"Because", ".reason"}, {"Arrived at", ".source"}, {"Event", ".event"},
					{"Runs", `(.run_ids // []) | join(" ")`}, {"Repeats", ".repeat_of"}, {"Attempts", ".attempts"}}},
				{"/agent/schedules/" + id, []column{{"Schedule", ".id"}, {"State", `if .enabled then "enabled" else "paused: it makes no runs until it is resumed" end`},
					{"Last error", ".last_spawn_error"}, {"Last ran", ".history.last_ran"}, {"Next run", ".history.next_run"}}},
			} {
				raw, err := a.call(cmd.Context(), http.MethodGet, e.path, nil, nil)
				if task.CodeOf(err) == task.CodeNotFound || task.CodeOf(err) == task.CodeInvalidRequest {
					continue
				}
				if err != nil {
					return err
				}
				if err := a.showItem(raw, e.lines); err != nil || a.json() || !strings.Contains(e.path, "/schedules/") {
					return err
				}
				return a.showTicks(cmd, args[0], 10)
			}
			return fmt.Errorf("there is no run, delivery or schedule %q that you may see", args[0])
		}})
}

package main

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/oz-platform/cloudagents/task"
)

// scheduleLines show a schedule (Oz API, ScheduledAgentItem).
var scheduleLines = []column{
	{"Schedule", ".id"}, {"Name", ".name"}, {"Cron", `.cron_schedule + (if .oz.time_zone then " (" + .oz.time_zone + ")" else " (UTC)" end)`},
	{"State", `if .enabled then "enabled" else "paused" end`}, {"Last ran", ".history.last_ran"}, {"Last error", ".last_spawn_error"}, {"Next run", ".history.next_run"},
	{"Agent", ".agent_uid"}, {"Environment", ".agent_config.environment_id"}, {"Model", ".agent_config.model_id"}, {"Config name", ".agent_config.name"},
	{"Skill", ".agent_config.skill_spec"}, {"Worker", ".agent_config.worker_host"}, {"Scope", ".scope.type"}, {"Prompt", ".prompt"},
}

func (a *app) scheduleCommand() *cobra.Command {
	create := a.scheduleCreateCommand("create", "Make a schedule")
	cmd := group("schedule", "Manage schedules: runs by the clock", nil, create,
		a.list(listing{use: "list", short: "List schedules", path: "/agent/schedules", member: "schedules", example: "  oz schedule list --output-format ndjson",
			columns: []column{{"ID", ".id"}, {"NAME", ".name"}, {"CRON", ".cron_schedule"}, {"STATE", `if .enabled then "enabled" else "paused" end`},
				{"LAST RAN", ".history.last_ran"}, {"NEXT RUN", ".history.next_run"}, {"SCOPE", ".scope.type"}},
			none: "No schedules. Make one with 'oz schedule create --name ... --cron ... --prompt ...'."}),
		a.scheduleGetCommand(), a.scheduleUpdateCommand(),
		a.scheduleSwitchCommand("pause", "Stop a schedule until it is resumed", nil),
		a.scheduleSwitchCommand("unpause", "Let a paused schedule go on", []string{"resume"}),
		a.scheduleRunCommand(), a.scheduleTicksCommand(),
		a.remove(removal{use: "delete <ID>", short: "Delete a schedule; its runs stay", argument: "schedule id", noun: "schedule", path: "/agent/schedules/%s",
			example: "  oz schedule delete SCHEDULE_ID --force"}))
	// The short form: "oz schedule --name ... --cron ..." makes one.
	short := a.scheduleCreateCommand("schedule", "")
	cmd.Flags().AddFlagSet(short.Flags())
	cmd.Example = "  oz schedule --name nightly --cron '0 3 * * *' --prompt 'Update the dependencies' --environment ENV_ID"
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if !cmd.Flags().Changed("name") && !cmd.Flags().Changed("cron") {
			return cmd.Help()
		}
		return short.RunE(cmd, args)
	}
	return cmd
}

// scheduleFlags are those that making and changing a schedule share.
type scheduleFlags struct {
	name, cron, prompt, environment, skill, model, host, file, agent, timeZone, overlap string
	mcp, removeMCP                                                                      []string
	catchUp, jitter                                                                     int
}

func (f *scheduleFlags) register(cmd *cobra.Command) {
	s := cmd.Flags()
	s.StringVar(&f.name, "name", "", "`name`")
	s.StringVar(&f.cron, "cron", "", "minute, hour, day of month, month, day of week, such as '0 3 * * 1-5'")
	s.StringVarP(&f.prompt, "prompt", "p", "", "what each run does")
	s.StringVar(&f.skill, "skill", "", "skill `spec` that each run carries out")
	s.StringVarP(&f.environment, "environment", "e", "", "environment `id`")
	s.StringVar(&f.model, "model", "", "model `id`")
	s.StringArrayVar(&f.mcp, "mcp", nil, "MCP `server`: uuid, JSON or file")
	s.StringVar(&f.host, "host", "", "`worker` that shall run it")
	s.StringVarP(&f.file, "file", "f", "", "run configuration `file`, YAML or JSON")
	s.StringVar(&f.agent, "agent", "", "`uid` of the agent that carries the runs out")
	s.StringVar(&f.timeZone, "time-zone", "", "time zone of the cron expression, such as Europe/Berlin (default UTC)")
	s.StringVar(&f.overlap, "overlap", "", "while the run before is active: allow (default), skip, queue or cancel-other")
	s.IntVar(&f.catchUp, "catch-up", 0, "start a missed run up to this many `minutes` late")
	s.IntVar(&f.jitter, "jitter", 0, "spread the start over this many `seconds`")
}

// config makes the configuration of the runs: c, which is that of a file, with
// the flags over it.
func (f *scheduleFlags) config(c task.Config) (_ map[string]any, err error) {
	for value, to := range map[*string]*string{&f.model: &c.ModelID, &f.environment: &c.EnvironmentID, &f.host: &c.WorkerHost, &f.skill: &c.SkillSpec} {
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

// options are ours, beside the Oz API's members.
func (f *scheduleFlags) options(cmd *cobra.Command) fields {
	o := fields{}
	o.set(cmd, "time-zone", "time_zone", f.timeZone)
	o.set(cmd, "overlap", "overlap", map[bool]string{true: "cancel_other", false: f.overlap}[f.overlap == "cancel-other"])
	o.set(cmd, "catch-up", "catch_up_minutes", f.catchUp)
	o.set(cmd, "jitter", "jitter_seconds", f.jitter)
	return o
}

func (a *app) scheduleCreateCommand(use, short string) *cobra.Command {
	var f scheduleFlags
	var noEnvironment bool
	cmd := &cobra.Command{Use: use, Short: short, Args: noArgs,
		Example: "  oz schedule create --name nightly --cron '0 3 * * *' --prompt 'Update the dependencies' --environment ENV_ID"}
	f.register(cmd)
	cmd.Flags().BoolVar(&noEnvironment, "no-environment", false, "run in a bare sandbox")
	cmd.MarkFlagsMutuallyExclusive("environment", "no-environment")
	team, savedPrompt := ownership(cmd), savedPromptFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if err := savedPrompt(&f.prompt); err != nil {
			return err
		}
		if f.name == "" || f.cron == "" {
			return usageError{errors.New("--name and --cron are needed")}
		}
		if f.prompt == "" && f.skill == "" && f.file == "" {
			return usageError{errors.New("--prompt, --saved-prompt or --skill is needed")}
		}
		file, err := a.configFile(f.file)
		if err != nil {
			return err
		}
		config, err := f.config(file)
		if err != nil {
			return err
		}
		body := fields{"name": f.name, "cron_schedule": f.cron, "agent_config": config}
		body.set(cmd, "prompt", "prompt", f.prompt)
		body.set(cmd, "agent", "agent_uid", f.agent)
		if o := f.options(cmd); len(o) > 0 {
			body["oz"] = o
		}
		body.own(team())
		return a.change(cmd.Context(), http.MethodPost, "/agent/schedules", body, scheduleLines, "The schedule is made.")
	}
	return a.filterFlag(cmd)
}

func (a *app) scheduleUpdateCommand() *cobra.Command {
	var f scheduleFlags
	var noEnvironment, noSkill bool
	cmd := &cobra.Command{Use: "update <ID>", Short: "Change a schedule; what is not named stays", Args: oneArg("schedule id"),
		Example: "  oz schedule update SCHEDULE_ID --cron '0 4 * * *'"}
	f.register(cmd)
	s := cmd.Flags()
	s.BoolVar(&noEnvironment, "remove-environment", false, "run in a bare sandbox from now on")
	s.BoolVar(&noSkill, "remove-skill", false, "carry out no skill from now on")
	s.StringArrayVar(&f.removeMCP, "remove-mcp", nil, "`name` of an MCP server to take away")
	cmd.MarkFlagsMutuallyExclusive("environment", "remove-environment")
	cmd.MarkFlagsMutuallyExclusive("skill", "remove-skill")
	savedPrompt := savedPromptFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if err := savedPrompt(&f.prompt); err != nil {
			return err
		}
		if !namesChange(cmd) {
			return usageError{errNothing}
		}
		var file task.Config // none but the one that is named: the environment's is for what is made anew
		var err error
		if f.file != "" {
			if file, err = a.configFile(f.file); err != nil {
				return err
			}
		}
		changes, err := f.config(file)
		if err != nil {
			return err
		}
		path := "/agent/schedules/" + url.PathEscape(args[0])
		now, err := a.readObject(cmd, path)
		if err != nil {
			return err
		}
		// The operation replaces: it takes the schedule as it is, with changes.
		body := fields{"name": now["name"], "cron_schedule": now["cron_schedule"], "enabled": now["enabled"]}
		body.set(cmd, "name", "name", f.name)
		body.set(cmd, "cron", "cron_schedule", f.cron)
		body.set(cmd, "prompt", "prompt", f.prompt)
		body.set(cmd, "agent", "agent_uid", f.agent)
		if o := f.options(cmd); len(o) > 0 {
			old, _ := now["oz"].(map[string]any)
			body["oz"] = merged(old, o)
		}
		if len(changes) > 0 || noEnvironment || noSkill || len(f.removeMCP) > 0 {
			body["agent_config"] = f.newConfig(now, changes, noEnvironment, noSkill)
		}
		return a.change(cmd.Context(), http.MethodPut, path, body, scheduleLines, "The schedule is changed.")
	}
	return a.filterFlag(cmd)
}

// newConfig is the stored configuration with the changes.
func (f *scheduleFlags) newConfig(now map[string]any, changes map[string]any, noEnvironment, noSkill bool) map[string]any {
	old, _ := now["agent_config"].(map[string]any)
	servers, _ := old["mcp_servers"].(map[string]any)
	added, _ := changes["mcp_servers"].(map[string]any)
	config := merged(old, changes)
	if servers = merged(servers, added); len(servers) > 0 {
		for _, name := range f.removeMCP {
			delete(servers, name)
		}
		config["mcp_servers"] = servers
	}
	if noEnvironment {
		delete(config, "environment_id")
	}
	if noSkill || f.skill != "" { // the answer repeats the first skill in both
		delete(config, "skills")
	}
	if noSkill {
		delete(config, "skill_spec")
	}
	return config
}

// merged gives the members of both, those of over first.
func merged(under, over map[string]any) map[string]any {
	out := map[string]any{}
	for _, m := range []map[string]any{under, over} {
		for k, v := range m {
			out[k] = v
		}
	}
	return out
}

// readObject reads a thing of the API as it came.
func (a *app) readObject(cmd *cobra.Command, path string) (map[string]any, error) {
	raw, err := a.call(cmd.Context(), http.MethodGet, path, nil, nil)
	if err != nil {
		return nil, err
	}
	value, err := plain(raw)
	if err != nil {
		return nil, fmt.Errorf("read the server's answer: %w", err)
	}
	object, ok := value.(map[string]any)
	if !ok {
		return nil, errors.New("read the server's answer: it is no object")
	}
	return object, nil
}

// recentRuns is how many runs of a schedule are shown with it.
const recentRuns = 5

func (a *app) scheduleGetCommand() *cobra.Command {
	return a.filterFlag(&cobra.Command{Use: "get <ID>", Short: "Show a schedule and its recent runs", Args: oneArg("schedule id"), Example: "  oz schedule get SCHEDULE_ID",
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := a.showPath(cmd.Context(), "/agent/schedules/%s", args[0], scheduleLines); err != nil || a.json() {
				return err
			}
			raw, err := a.call(cmd.Context(), http.MethodGet, "/agent/runs", url.Values{"schedule_id": {args[0]}, "limit": {strconv.Itoa(recentRuns)}, "sort_by": {"created_at"}}, nil)
			if err != nil {
				return err
			}
			a.say("")
			return a.showList(raw, listing{member: "runs", columns: runColumns, none: "It has not made a run yet."})
		}})
}

func (a *app) scheduleSwitchCommand(use, short string, aliases []string) *cobra.Command {
	action, state := "pause", "paused"
	if use != "pause" {
		action, state = "resume", "enabled"
	}
	return a.filterFlag(&cobra.Command{Use: use + " <ID>", Aliases: aliases, Short: short, Args: oneArg("schedule id"), Example: "  oz schedule " + use + " SCHEDULE_ID",
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.change(cmd.Context(), http.MethodPost, "/agent/schedules/"+url.PathEscape(args[0])+"/"+action, nil, scheduleLines[:7], "The schedule is %s.", state)
		}})
}

func (a *app) scheduleRunCommand() *cobra.Command {
	return a.filterFlag(&cobra.Command{Use: "run <ID>", Short: "Start a run of a schedule now", Args: oneArg("schedule id"), Example: "  oz schedule run SCHEDULE_ID",
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.change(cmd.Context(), http.MethodPost, "/oz/schedules/"+url.PathEscape(args[0])+"/run", nil,
				[]column{{"Run", ".run_id"}, {"State", ".state"}}, "The run is started.")
		}})
}

func (a *app) scheduleTicksCommand() *cobra.Command {
	var limit int
	cmd := &cobra.Command{Use: "history <ID>", Short: "Tell what became of each due moment, newest first", Args: oneArg("schedule id"), Example: "  oz schedule history SCHEDULE_ID -L 20",
		RunE: func(cmd *cobra.Command, args []string) error { return a.showTicks(cmd, args[0], limit) }}
	cmd.Flags().IntVarP(&limit, "limit", "L", 50, "how many, at most 500")
	return a.filterFlag(cmd)
}

// showTicks lists what became of a schedule's newest ticks.
func (a *app) showTicks(cmd *cobra.Command, schedule string, limit int) error {
	raw, err := a.call(cmd.Context(), http.MethodGet, "/oz/schedules/"+url.PathEscape(schedule)+"/ticks", url.Values{"limit": {strconv.Itoa(limit)}}, nil)
	if err != nil {
		return err
	}
	return a.showList(raw, listing{member: "ticks", none: "Nothing was due yet.",
		columns: []column{{"DUE", ".due_at"}, {"OUTCOME", ".outcome"}, {"RUN", ".run_id"}, {"REASON", ".reason"}}})
}

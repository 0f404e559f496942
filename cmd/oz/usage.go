package main

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/oz-platform/cloudagents/oz"
	"github.com/oz-platform/cloudagents/task"
)

// dollars writes an amount as people do; a lower bound is marked.
const dollars = `if . == null then "" else (. * 10000 | round | . / 10000 | tostring | "$" + .) end`

func (a *app) usageCommand() *cobra.Command {
	cmd := a.list(listing{use: "usage", short: "Sum up what runs have used: tokens, cost and working time", path: "/oz/usage", member: "rows",
		example: "  oz usage --group-by day --after 2026-01-01T00:00:00Z\n  oz usage --group-by model --jq '.rows[] | [.key, .cost_usd] | @tsv'",
		columns: []column{{"KEY", ".name // .key"}, {"RUNS", ".runs"}, {"CALLS", ".calls"},
			{"TOKENS IN", ".tokens | .input + .input_cache_read + .input_cache_write"}, {"TOKENS OUT", ".tokens.output"},
			{"COST", `(.cost_usd | ` + dollars + `) + (if .unpriced then "+" else "" end)`}, {"HOURS", ".run_time_ms / 36000 | round | . / 100"}},
		none: "Nothing was used.",
		query: func(cmd *cobra.Command) func() (url.Values, error) {
			var group, after, before string
			cmd.Flags().StringVar(&group, "group-by", "total", "total, day, user, team, model, agent or source")
			cmd.Flags().StringVar(&after, "after", "", "only runs created after this RFC 3339 `time`")
			cmd.Flags().StringVar(&before, "before", "", "only runs created before this RFC 3339 `time`")
			return func() (url.Values, error) {
				if groups := []string{"total", "day", "user", "team", "model", "agent", "source"}; !slices.Contains(groups, group) {
					return nil, fmt.Errorf("--group-by: %q is none of %s", group, strings.Join(groups, ", "))
				}
				q := url.Values{"group_by": {group}}
				for flag, value := range map[string]string{"after": after, "before": before} {
					if value == "" {
						continue
					}
					if _, err := time.Parse(time.RFC3339, value); err != nil {
						return nil, fmt.Errorf("--%s: %q is not a time like 2026-01-31T09:00:00Z", flag, value)
					}
					q.Set(flag, value)
				}
				return q, nil
			}
		}})
	cmd.Long = `Sum up what the runs of you and of your teams have used. A cost with + is a lower
bound: some tokens had no known price.`
	return cmd
}

// budgetLines show a budget (Oz API, BudgetItem).
var budgetLines = []column{
	{"Budget of", `(.scope.type | ascii_downcase) + " " + .scope.uid`}, {"Limit", `[(.limit_usd | ` + dollars + `), (if .limit_tokens then "\(.limit_tokens) tokens" else "" end)] | map(select(. != "")) | join(", ")`},
	{"Period", ".period"}, {"Spent", `(.spent_usd | ` + dollars + `) + ", \(.spent_tokens) tokens"`}, {"Reserved", `(.reserved_usd | ` + dollars + `) + ", \(.reserved_tokens) tokens"`}, {"Begins anew", ".resets_at"},
}

func (a *app) budgetCommand() *cobra.Command {
	columns := make([]column, len(budgetLines))
	for i, c := range budgetLines {
		columns[i] = column{strings.ToUpper(c.head), c.expr}
	}
	return group("budget", "Manage budgets: what runs may spend", nil,
		a.list(listing{use: "list", short: "List the budgets that concern you", path: "/oz/budgets", member: "budgets", columns: columns, none: "No budgets.",
			example: "  oz budget list --jq '.budgets[] | .limit_usd - .spent_usd'"}),
		a.budgetSetCommand(), a.budgetDeleteCommand())
}

// budgetScope are the flags that say whose budget is meant.
type budgetScope struct{ user, team string }

func (b *budgetScope) register(cmd *cobra.Command) {
	cmd.Flags().StringVar(&b.user, "user", "", "`uid` of the person whose budget it is")
	cmd.Flags().StringVar(&b.team, "team", "", "`uid` of the team whose budget it is")
}

func (b *budgetScope) scope() (task.Scope, error) {
	switch {
	case (b.user == "") == (b.team == ""):
		return task.Scope{}, usageError{errors.New("exactly one of --user and --team is needed")}
	case b.user != "":
		return task.Scope{Type: task.ScopeUser, UID: b.user}, nil
	}
	return task.Scope{Type: task.ScopeTeam, UID: b.team}, nil
}

func budgetPath(s task.Scope) string {
	return "/oz/budgets/" + url.PathEscape(string(s.Type)) + "/" + url.PathEscape(s.UID)
}

func (a *app) budgetSetCommand() *cobra.Command {
	var b budgetScope
	var usd float64
	var tokens int64
	var period string
	cmd := &cobra.Command{Use: "set", Short: "Set or replace a budget", Args: noArgs,
		Example: "  oz budget set --team TEAM_UID --usd 200 --period month\n  oz budget set --user USER_UID --tokens 5000000 --period day",
		RunE: func(cmd *cobra.Command, _ []string) error {
			s, err := b.scope()
			if err != nil {
				return err
			}
			if !slices.Contains([]string{"day", "month", "total"}, period) {
				return usageError{fmt.Errorf("--period: %q is none of day, month, total", period)}
			}
			body := fields{"period": period}
			body.set(cmd, "usd", "limit_usd", usd)
			body.set(cmd, "tokens", "limit_tokens", tokens)
			if len(body) == 1 {
				return usageError{errors.New("--usd or --tokens is needed")}
			}
			if usd < 0 || tokens < 0 {
				return usageError{errors.New("--usd and --tokens: must be at least 0")}
			}
			return a.change(cmd.Context(), http.MethodPut, budgetPath(s), body, budgetLines, "The budget is set.")
		}}
	b.register(cmd)
	cmd.Flags().Float64Var(&usd, "usd", 0, "most that may be spent, in US dollars")
	cmd.Flags().Int64Var(&tokens, "tokens", 0, "most tokens that may be used")
	cmd.Flags().StringVar(&period, "period", "month", "day, month or total; days and months are those of UTC")
	return a.filterFlag(cmd)
}

func (a *app) budgetDeleteCommand() *cobra.Command {
	var b budgetScope
	var force bool
	cmd := &cobra.Command{Use: "delete", Short: "Lift a budget", Args: noArgs, Example: "  oz budget delete --user USER_UID --force",
		RunE: func(cmd *cobra.Command, _ []string) error {
			s, err := b.scope()
			if err != nil {
				return err
			}
			if err := a.sure(force, "Lift the budget of %s %s?", strings.ToLower(string(s.Type)), s.UID); err != nil {
				return err
			}
			if _, err := a.call(cmd.Context(), http.MethodDelete, budgetPath(s), nil, nil); err != nil {
				return err
			}
			return a.done("The budget is lifted.")
		}}
	b.register(cmd)
	cmd.Flags().BoolVar(&force, "force", false, "do not ask")
	return cmd
}

func (a *app) workerCommand() *cobra.Command {
	return group("worker", "Show workers", nil,
		a.list(listing{use: "list", short: "List the connected workers", path: "/oz/workers", member: "workers", none: "No workers are connected.",
			example: "  oz worker list --jq '.workers[] | select(.ready) | .id'",
			columns: []column{{"ID", ".id"}, {"READY", `if .ready then "yes" else "no" end`}, {"ACTIVE", ".active"}, {"CAPACITY", `if .capacity == 0 then "unlimited" else .capacity end`},
				{"BACKEND", ".backend"}, {"VERSION", ".version"}, {"LABELS", `.labels // [] | join(", ")`}, {"CONNECTED SINCE", ".connected_since"}}}),
		a.workerGetCommand())
}

// workerGetCommand shows all processes of one id.
func (a *app) workerGetCommand() *cobra.Command {
	return a.filterFlag(&cobra.Command{
		Use: "get ID", Short: "Show the workers that share an id", Args: cobra.ExactArgs(1),
		Example: "  oz worker get build-1",
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.client()
			if err != nil {
				return err
			}
			list, err := c.WorkerList(cmd.Context())
			if err != nil {
				return err
			}
			list = slices.DeleteFunc(list, func(w oz.WorkerStatus) bool { return w.ID != args[0] })
			switch {
			case len(list) == 0:
				return task.Errorf(task.CodeNotFound, "no worker %q is connected; see 'oz worker list'", args[0])
			case a.json():
				return a.emit(map[string]any{"workers": workerItems(list)})
			}
			for _, w := range list {
				a.sayWorker(w)
			}
			return nil
		},
	})
}

// workerItems are workers as the API spells them.
func workerItems(list []oz.WorkerStatus) []map[string]any {
	items := make([]map[string]any, len(list))
	for i, w := range list {
		items[i] = map[string]any{"id": w.ID, "instance": w.Instance, "team": w.Owner.UID, "ready": w.Ready, "draining": w.Draining, "active": w.Active, "idle": w.Idle, "retained": w.Retained,
			"capacity": w.Capacity, "labels": w.Labels, "dedicated": w.Dedicated, "remote": w.Remote, "version": w.Version, "backend": w.Backend,
			"platform": w.Platform, "connected_since": w.Since, "executions": w.Executions}
	}
	return items
}

func (a *app) sayWorker(w oz.WorkerStatus) {
	state := "takes new work"
	if w.Draining {
		state = "drains"
	} else if !w.Ready {
		state = "takes no new work now"
	}
	capacity := "no limit"
	if w.Capacity > 0 {
		capacity = strconv.Itoa(w.Capacity)
	}
	a.say("%s %s: %s, %d of %s places taken", w.ID, w.Instance, state, w.Active, capacity)
	if w.Idle+w.Retained > 0 {
		a.say("  %-10s %d workspaces for follow-ups, %d of failed runs for inspection", "Keeps", w.Idle, w.Retained)
	}
	for _, line := range [][2]string{{"Backend", w.Backend}, {"Version", w.Version}, {"Platform", w.Platform}, {"Labels", strings.Join(w.Labels, ", ")}} {
		if line[1] != "" {
			a.say("  %-10s %s", line[0], line[1])
		}
	}
	if !w.Since.IsZero() {
		a.say("  %-10s %s", "Connected", w.Since.Local().Format(time.DateTime))
	}
	for _, e := range w.Executions {
		a.say("  %-10s %s", "Execution", e)
	}
}

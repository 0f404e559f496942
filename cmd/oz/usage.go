package main

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

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
	return group("worker", "List workers", nil,
		a.list(listing{use: "list", short: "List the connected workers", path: "/oz/workers", member: "workers", none: "No workers are connected.",
			example: "  oz worker list --jq '.workers[] | select(.ready) | .id'",
			columns: []column{{"ID", ".id"}, {"READY", `if .ready then "yes" else "no" end`}, {"ACTIVE", ".active"}, {"CAPACITY", `if .capacity == 0 then "unlimited" else .capacity end`},
				{"VERSION", ".version"}, {"LABELS", `[.labels // {} | to_entries[] | .key + "=" + .value] | join(", ")`}, {"LAST SEEN", ".last_seen"}}}))
}

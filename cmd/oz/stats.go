package main

import (
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/oz-platform/cloudagents/task"
)

// span writes milliseconds as people do.
const span = `if . < 1000 then "\(.)ms" elif . < 60000 then "\(. / 100 | round | . / 10)s" elif . < 3600000 then "\(. / 60000 | floor)m\(. % 60000 / 1000 | floor)s"
	else "\(. / 3600000 | floor)h\(. % 3600000 / 60000 | floor)m" end`

// times writes two percentiles of a spread.
const times = `if .count == 0 then "" else (.p50_ms | ` + span + `) + " / " + (.p95_ms | ` + span + `) end`

// statsRows makes a row of each group, piece of time or both, and one of all.
const statsRows = `.bucket as $b | .groups = ((
	if .group_by != "none" then (if $b then [.groups[] as $g | $g.buckets[] | {key: ($g.name // $g.key), start, stats}] else [.groups[] | {key: (.name // .key), stats}] end)
	elif $b then [.buckets[] | {key: "", start, stats}] else [] end) + (if .total.runs > 0 then [{key: "all", stats: .total}] else [] end))`

func (a *app) statsCommand() *cobra.Command {
	words := []string{"none"}
	for _, g := range task.StatsGroups() {
		words = append(words, string(g))
	}
	cmd := a.list(listing{use: "stats", short: "Show how runs went: success, times, failures, cost", path: "/oz/stats", member: "groups", shape: statsRows,
		example: "  oz stats --group-by agent\n  oz stats --bucket day --time-zone Europe/Berlin --source SCHEDULED_AGENT\n" +
			"  oz stats --group-by environment --jq '.groups[] | [.name, .stats.success_rate, .stats.queue_time.p95_ms] | @tsv'",
		columns: []column{{"KEY", `if .key == "" then "-" else .key end`}, {"FROM", `.start // ""`}, {"RUNS", ".stats.runs"},
			{"SUCCESS", `.stats.success_rate | if . == null then "" else "\(. * 1000 | round | . / 10)%" end`},
			{"RUN TIME P50/P95", ".stats.run_time | " + times}, {"QUEUED P50/P95", ".stats.queue_time | " + times},
			{"COST", `(.stats.cost_usd | ` + dollars + `) + (if .stats.unpriced then "+" else "" end)`},
			{"FAILURES", `[.stats.failures[:3][] | "\(if .code == "" then "other" else .code end) \(.count)"] | join(", ")`}},
		none: "No runs have ended.",
		query: func(cmd *cobra.Command) func() (url.Values, error) {
			flags := map[string]*string{}
			for name, usage := range map[string]string{"bucket": "divide the time: hour, day or week", "time-zone": "IANA `name` for days and weeks; default UTC",
				"from": "only runs created from this RFC 3339 `time` on; default 30 days before --to", "to": "only runs created before this RFC 3339 `time`; default now",
				"agent": "only runs that the agent with this `uid` carried out", "source": "only runs that this made, such as API or SCHEDULED_AGENT",
				"environment": "only runs in the environment with this `uid`", "creator": "only runs that the person with this `uid` asked for",
				"harness": "only runs of this agent program, such as claude", "model": "only runs that asked for this model"} {
				flags[name] = cmd.Flags().String(name, "", usage)
			}
			flags["group-by"] = cmd.Flags().String("group-by", "none", strings.Join(words, ", "))
			limit := cmd.Flags().Int("limit", 0, "groups to show, at most 100 (default 20)")
			return func() (url.Values, error) { return statsQuery(flags, *limit, words) }
		}})
	cmd.Long = `Sum up the runs that you may see and that have ended. Success counts those that
succeeded or failed; blocked and cancelled runs say nothing about it. A cost with +
is a lower bound: some tokens had no known price.`
	return cmd
}

// statsQuery checks the flags and spells them for the wire.
func statsQuery(flags map[string]*string, limit int, groups []string) (url.Values, error) {
	q := url.Values{}
	for name, value := range flags {
		if *value == "" {
			continue
		}
		switch name {
		case "group-by":
			if !slices.Contains(groups, *value) {
				return nil, fmt.Errorf("--group-by: %q is none of %s", *value, strings.Join(groups, ", "))
			}
		case "bucket":
			if !slices.Contains([]string{"hour", "day", "week"}, *value) {
				return nil, fmt.Errorf("--bucket: %q is none of hour, day, week", *value)
			}
		case "from", "to":
			if _, err := time.Parse(time.RFC3339, *value); err != nil {
				return nil, fmt.Errorf("--%s: %q is not a time like 2026-01-31T09:00:00Z", name, *value)
			}
		}
		q.Set(strings.ReplaceAll(name, "-", "_"), *value)
	}
	if limit != 0 {
		q.Set("limit", strconv.Itoa(limit))
	}
	return q, nil
}

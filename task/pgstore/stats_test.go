package pgstore_test

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"gotest.tools/v3/assert"

	"github.com/oz-platform/cloudagents/internal/pgtest"
	"github.com/oz-platform/cloudagents/task"
	"github.com/oz-platform/cloudagents/task/pgstore"
)

// TestStatsOfOldDatabases takes the statistics away and lets the migration make
// them anew from the runs, as it does for databases of programs without.
func TestStatsOfOldDatabases(t *testing.T) {
	dsn := pgtest.DSN(t)
	s := open(t, dsn, nil)
	for i := range 60 {
		exec := task.NewExecutionID()
		c := task.Creation{ID: task.NewID(), Now: noon.Add(time.Duration(i) * time.Minute), Spec: task.Spec{Title: "t", Owner: task.Scope{Type: task.ScopeTeam, UID: "red"},
			Creator: task.Principal{Type: task.PrincipalUser, UID: "ada"}, Executor: task.Principal{Type: task.PrincipalServiceAccount, UID: "bot"}}}
		c.Spec.Config = task.Config{ModelID: "m", Harness: &task.HarnessConfig{Type: []string{"", "oz", "claude"}[i%3], ModelID: []string{"", "opus", "a\x00b"}[i/3%3]}}
		c.Commands = []task.Command{task.Offer{Execution: exec, Worker: "w"}}
		if i%4 > 0 {
			c.Commands = append(c.Commands, task.Begin{Execution: exec}, task.Append{Execution: exec, Events: []task.Event{{Payload: &task.UsageReport{Model: "m",
				Calls: 1, Priced: i%5 > 0, Cost: task.CostUSD{Input: float64(i) / 8}, WebSearches: 1, WebSearchUSD: 0.25}}}})
		}
		if i%7 > 0 {
			c.Commands = append(c.Commands, task.End{Execution: exec, State: task.StateFailed, Status: task.Status{ErrorCode: task.CodeInternal}})
		}
		_, _, err := s.Create(t.Context(), c)
		assert.NilError(t, err)
	}
	read := func() (all []task.StatsReport) {
		for _, g := range task.StatsGroups() {
			r, err := s.RunStats(t.Context(), task.StatsQuery{From: noon, To: noon.Add(24 * time.Hour), Group: g, Bounds: []time.Time{noon, noon.Add(time.Hour)}})
			assert.NilError(t, err)
			all = append(all, r)
		}
		return all
	}
	want := read()
	assert.Equal(t, want[0].Total.Runs, int64(51))
	conn, err := pgx.Connect(t.Context(), dsn)
	assert.NilError(t, err)
	t.Cleanup(func() { assert.Check(t, conn.Close(context.Background())) })
	text, err := os.ReadFile("migrations/00096_stats.sql")
	assert.NilError(t, err)
	for _, statement := range []string{`SET search_path = oz`, `DELETE FROM run_stats`, string(text)[strings.Index(string(text), "INSERT INTO run_stats"):]} {
		_, err := conn.Exec(t.Context(), statement)
		assert.NilError(t, err)
	}
	assert.DeepEqual(t, read(), want)
}

// BenchmarkStats sums up how runs of 30 days went: 10,000 of them, or as many
// as OZ_BENCH_RUNS says, with a bucket for each day.
func BenchmarkStats(b *testing.B) {
	n := 10_000
	if text := os.Getenv("OZ_BENCH_RUNS"); text != "" {
		var err error
		n, err = strconv.Atoi(text)
		assert.NilError(b, err)
	}
	dsn := pgtest.DSN(b)
	s, err := pgstore.Open(b.Context(), dsn, nil)
	assert.NilError(b, err)
	b.Cleanup(func() { assert.Check(b, s.Close()) })
	q := task.StatsQuery{From: noon, To: noon.AddDate(0, 0, 30), Owners: []task.Scope{{Type: task.ScopeTeam, UID: "team"}}}
	fillStats(b, dsn, n, q.From, q.To)
	if os.Getenv("OZ_BENCH_ROWS") == "" { // else as before anything is packed
		assert.NilError(b, s.Pack(b.Context(), 1))
	}
	for at := q.From; at.Before(q.To); at = at.AddDate(0, 0, 1) {
		q.Bounds = append(q.Bounds, at)
	}
	for _, g := range []task.StatsGroup{"", task.StatsByAgent, task.StatsBySource, task.StatsByModel} {
		q.Group = g
		b.Run(fmt.Sprintf("by=%s/%d", g, n), func(b *testing.B) {
			for b.Loop() {
				r, err := s.RunStats(b.Context(), q)
				assert.NilError(b, err)
				assert.Equal(b, r.Total.Runs, int64(n))
			}
		})
	}
}

// fillStats puts n runs into the statistics, without the runs.
func fillStats(b *testing.B, dsn string, n int, from, to time.Time) {
	conn, err := pgx.Connect(b.Context(), dsn)
	assert.NilError(b, err)
	defer func() { assert.Check(b, conn.Close(context.Background())) }()
	_, err = conn.Exec(b.Context(), `INSERT INTO oz.run_stats
		SELECT i, $2::bigint + i * (($3::bigint - $2) / $1), i * 7919 % 90000 * 1000000, i * 104729 % 3600000 * 1000000, i % 100 / 100.0, false, false,
			(ARRAY['SUCCEEDED', 'FAILED', 'BLOCKED', 'ERROR', 'CANCELLED'])[i % 5 + 1], CASE WHEN i % 5 IN (1, 3) THEN 'internal_error' ELSE '' END,
			'Team:team', 'person' || i % 50, (ARRAY['API', 'CLI', 'SLACK'])[i % 3 + 1], 'env' || i % 20, 'agent' || i % 30, 'oz', 'model' || i % 4
		FROM generate_series(0, $1::bigint - 1) i`, int64(n), from.UnixNano(), to.UnixNano())
	assert.NilError(b, err)
	_, err = conn.Exec(b.Context(), `VACUUM ANALYZE oz.run_stats`)
	assert.NilError(b, err)
}

package sqlitestore_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"gotest.tools/v3/assert"

	"github.com/oz-platform/cloudagents/task"
	"github.com/oz-platform/cloudagents/task/sqlitestore"
)

// TestStatsOfOldDatabases takes the statistics away and lets the next start
// make them anew from the runs, as it does for databases of programs without.
func TestStatsOfOldDatabases(t *testing.T) {
	path := filepath.Join(t.TempDir(), "oz.db")
	s, err := sqlitestore.Open(t.Context(), path, nil)
	assert.NilError(t, err)
	for i := range 150 {
		exec := task.NewExecutionID()
		c := task.Creation{ID: task.NewID(), Now: noon.Add(time.Duration(i) * time.Minute), Spec: benchSpec()}
		c.Spec.Config.Harness = &task.HarnessConfig{Type: []string{"", "oz", "claude"}[i%3], ModelID: "opus"}
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
	assert.Equal(t, want[0].Total.Runs, int64(128))
	for _, statement := range []string{`DELETE FROM stats`, `DELETE FROM stats_spans`, `UPDATE stats_todo SET n = (SELECT max(n) FROM runs)`} {
		assert.NilError(t, s.Exec(t.Context(), statement))
	}
	assert.NilError(t, s.Close())
	s = open(t, path, nil)
	assert.DeepEqual(t, read(), want)
}

func TestDamagedStatsAreAnError(t *testing.T) {
	s := open(t, filepath.Join(t.TempDir(), "oz.db"), nil)
	assert.NilError(t, useRunNow(t, s))
	assert.NilError(t, s.Exec(t.Context(), `UPDATE stats SET data = x'05010203'`))
	_, err := s.RunStats(t.Context(), task.StatsQuery{From: time.Now().Add(-time.Hour), To: time.Now().Add(time.Hour)})
	assert.ErrorContains(t, err, "damaged")
}

func useRunNow(t *testing.T, s task.Store) error {
	exec := task.NewExecutionID()
	_, _, err := s.Create(t.Context(), task.Creation{ID: task.NewID(), Now: time.Now(), Spec: benchSpec(),
		Commands: []task.Command{task.Offer{Execution: exec, Worker: "w"}, task.Begin{Execution: exec}, task.End{Execution: exec, State: task.StateSucceeded, SeenInput: 2}}})
	return err
}

// FuzzStatsChunk reads rows of the statistics that may be damaged: an error,
// and never more records than there is room for.
func FuzzStatsChunk(f *testing.F) {
	one := sqlitestore.PackStats(70, 1, task.RunFact{State: task.StateError, Code: "x", Began: true, Queued: 1, Worked: 1 << 60, USD: 0.5}, 1, 2, 3, 4, 5, 6, 7, 8)
	two := sqlitestore.PackStats(1, -1, task.RunFact{State: task.StateCancelled, Private: true, Unpriced: true})
	f.Add([]byte{})
	f.Add(one)
	f.Add(append(one, two...))
	f.Add(one[:len(one)-1])
	f.Fuzz(func(t *testing.T, data []byte) {
		n, err := sqlitestore.StatsChunk(data)
		if err == nil && n*11 > len(data) {
			t.Fatalf("%d records in %d bytes", n, len(data))
		}
	})
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
	s := benchStore(b, nil)
	q := task.StatsQuery{From: noon, To: noon.AddDate(0, 0, 30), Owners: []task.Scope{{Type: task.ScopeTeam, UID: "team"}}}
	assert.NilError(b, s.FillStats(b.Context(), n, q.From, q.To))
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

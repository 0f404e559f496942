package pgstore_test

import (
	"fmt"
	"os"
	"strconv"
	"testing"
	"time"

	"gotest.tools/v3/assert"

	"github.com/oz-platform/cloudagents/internal/pgtest"
	"github.com/oz-platform/cloudagents/task"
	"github.com/oz-platform/cloudagents/task/pgstore"
)

// BenchmarkUsage sums up what runs have used: 10,000 of them, or as many as
// OZ_BENCH_RUNS says.
func BenchmarkUsage(b *testing.B) {
	n := 10_000
	if text := os.Getenv("OZ_BENCH_RUNS"); text != "" {
		var err error
		n, err = strconv.Atoi(text)
		assert.NilError(b, err)
	}
	s := usageStore(b)
	clientsDo(b, n, func(i int) error { return useRun(b, s, i) })
	for _, g := range []task.UsageGroup{task.UsageTotal, task.UsageByDay, task.UsageByUser, task.UsageByModel} {
		b.Run(fmt.Sprintf("%s/%d", g, n), func(b *testing.B) {
			for b.Loop() {
				_, err := s.SumUsage(b.Context(), task.UsageQuery{Group: g, Owners: []task.Scope{{Type: task.ScopeTeam, UID: "team"}}})
				assert.NilError(b, err)
			}
		})
	}
	b.Run(fmt.Sprintf("Spent/%d", n), func(b *testing.B) {
		for b.Loop() {
			_, err := s.Spent(b.Context(), task.Scope{Type: task.ScopeTeam, UID: "team"}, time.Now().AddDate(0, 0, -30))
			assert.NilError(b, err)
		}
	})
}

// clientsDo does something n times from 32 goroutines.
func clientsDo(b *testing.B, n int, do func(i int) error) {
	done := make(chan error)
	for client := range 32 {
		go func() {
			for i := client; i < n; i += 32 {
				if err := do(i); err != nil {
					done <- err
					return
				}
			}
			done <- nil
		}()
	}
	for range 32 {
		assert.NilError(b, <-done)
	}
}

// useRun makes a run that has called one of three models and ended.
func useRun(b *testing.B, s task.Store, i int) error {
	exec := task.NewExecutionID()
	c := task.Creation{ID: task.NewID(), Now: time.Now().Add(-time.Duration(i) * time.Minute), Spec: benchSpec()}
	c.Spec.Creator.UID = fmt.Sprint("person", i%20)
	c.Commands = []task.Command{task.Offer{Execution: exec, Worker: "w"}, task.Begin{Execution: exec},
		task.Append{Execution: exec, Events: []task.Event{{Payload: &task.UsageReport{Category: "primary_agent", Model: fmt.Sprint("model", i%3), Calls: 1, Priced: true,
			Tokens: task.TokenCount{Input: 1000, Output: 100}, Cost: task.CostUSD{Input: 0.01, Output: 0.02}}}}},
		task.End{Execution: exec, State: task.StateSucceeded, SeenInput: 2}}
	_, _, err := s.Create(b.Context(), c)
	return err
}

func usageStore(b *testing.B) task.Store {
	s, err := pgstore.Open(b.Context(), pgtest.DSN(b), nil)
	assert.NilError(b, err)
	b.Cleanup(func() { assert.Check(b, s.Close()) })
	return s
}

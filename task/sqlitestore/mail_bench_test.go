package sqlitestore_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"gotest.tools/v3/assert"

	"github.com/oz-platform/cloudagents/task"
)

// BenchmarkStateChange begins and ends executions: two changes of state, each
// with its signal.
func BenchmarkStateChange(b *testing.B) {
	for _, n := range []int{1, 16} {
		b.Run(fmt.Sprintf("clients=%d", n), func(b *testing.B) {
			s := benchStore(b, nil)
			clients(b, n, func(int) {
				id, x := task.NewID(), task.NewExecutionID()
				_, _, err := s.Create(context.Background(), task.Creation{ID: id, Spec: benchSpec(), Now: time.Now(),
					Commands: []task.Command{task.Offer{Execution: x, Worker: "w", TokenHash: make([]byte, 32), LeaseUntil: time.Now()}}})
				assert.Check(b, err)
				for _, c := range []task.Command{task.Begin{Execution: x}, task.End{Execution: x, State: task.StateSucceeded, SeenInput: 2}} {
					_, err := s.Do(context.Background(), id, c)
					assert.Check(b, err)
				}
			})
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "runs/s")
		})
	}
}

// BenchmarkJournal appends to the audit log.
func BenchmarkJournal(b *testing.B) {
	body := make([]byte, 400)
	for _, n := range []int{1, 16} {
		b.Run(fmt.Sprintf("clients=%d", n), func(b *testing.B) {
			s := benchStore(b, nil)
			clients(b, n, func(int) {
				_, err := s.AppendJournal(context.Background(), body)
				assert.Check(b, err)
			})
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "entries/s")
		})
	}
}

// BenchmarkSignals polls where nothing is new.
func BenchmarkSignals(b *testing.B) {
	s := benchStore(b, nil)
	ids, _ := working(b, s, 100)
	for _, n := range []int{1, 100} {
		b.Run(fmt.Sprintf("runs=%d", n), func(b *testing.B) {
			for b.Loop() {
				page, err := s.Signals(b.Context(), task.SignalQuery{Tasks: ids[:n], Limit: 500})
				assert.NilError(b, err)
				assert.Equal(b, len(page), n)
			}
		})
	}
}

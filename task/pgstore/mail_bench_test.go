package pgstore_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"gotest.tools/v3/assert"

	"github.com/oz-platform/cloudagents/internal/pgtest"
	"github.com/oz-platform/cloudagents/task"
)

// BenchmarkStateChange begins and ends executions: two changes of state, each
// with its signal.
func BenchmarkStateChange(b *testing.B) {
	for _, n := range []int{1, 16} {
		b.Run(fmt.Sprintf("clients=%d", n), func(b *testing.B) {
			s := open(b, pgtest.DSN(b), nil)
			clients(b, n, func(int) {
				id, x := task.NewID(), task.NewExecutionID()
				_, _, err := s.Create(context.Background(), task.Creation{ID: id, Spec: benchSpec(), Now: time.Now(), Commands: []task.Command{offer(x)}})
				assert.Check(b, err)
				for _, c := range []task.Command{task.Begin{Execution: x}, task.End{Execution: x, State: task.StateSucceeded, SeenInput: 2}} {
					_, err := s.Do(context.Background(), id, c)
					assert.Check(b, err)
				}
			})
			rate(b, 1, "runs/s")
		})
	}
}

// BenchmarkJournal appends to the audit log.
func BenchmarkJournal(b *testing.B) {
	body := make([]byte, 400)
	for _, n := range []int{1, 16} {
		b.Run(fmt.Sprintf("clients=%d", n), func(b *testing.B) {
			s := open(b, pgtest.DSN(b), nil)
			clients(b, n, func(int) {
				_, err := s.AppendJournal(context.Background(), body)
				assert.Check(b, err)
			})
			rate(b, 1, "entries/s")
		})
	}
}

// BenchmarkSignals polls, with nothing new and with a signal to be numbered.
func BenchmarkSignals(b *testing.B) {
	for _, fresh := range []bool{false, true} {
		b.Run(fmt.Sprintf("fresh=%t", fresh), func(b *testing.B) {
			s := open(b, pgtest.DSN(b), nil)
			id := task.NewID()
			_, _, err := s.Create(b.Context(), task.Creation{ID: id, Spec: benchSpec(), Now: time.Now()})
			assert.NilError(b, err)
			after := int64(0)
			for b.Loop() {
				if fresh {
					b.StopTimer()
					ids, err := s.SendMail(b.Context(), task.Letter{From: id, To: []task.ID{id}, Subject: "s", Body: "b"})
					assert.NilError(b, err)
					_, err = s.MarkMail(b.Context(), ids[0], task.MarkRead) // a full mailbox would refuse the next
					assert.NilError(b, err)
					b.StartTimer()
				}
				page, err := s.Signals(b.Context(), task.SignalQuery{Tasks: []task.ID{id}, After: after, Limit: 100})
				assert.NilError(b, err)
				for _, sig := range page {
					after = sig.Seq
				}
			}
		})
	}
}

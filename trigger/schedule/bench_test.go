package schedule_test

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"gotest.tools/v3/assert"

	"github.com/oz-platform/cloudagents/task"
	"github.com/oz-platform/cloudagents/trigger/schedule"
)

// stopwatch is a host that notes how long after the tick each run exists.
type stopwatch struct {
	*host
	mu    sync.Mutex
	began time.Time
	took  []time.Duration
}

func (w *stopwatch) Start(ctx context.Context, s schedule.Schedule, id task.ID, due time.Time) error {
	err := w.host.Start(ctx, s, id, due)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.took = append(w.took, time.Since(w.began))
	return err
}

// BenchmarkDueTogether lets 1,000 schedules come due in the same minute, on a
// disk: when does each have its run?
func BenchmarkDueTogether(b *testing.B) {
	r := newRigIn(b, b.TempDir())
	for i := range 1000 {
		_, err := r.sched.Create(r.ctx, team, task.Principal{UID: "ann"}, schedule.Spec{Name: fmt.Sprint(i), Cron: "* * * * *", Enabled: true, Prompt: "x"})
		assert.NilError(b, err)
	}
	w := &stopwatch{host: r.host}
	sched, err := schedule.New(r.sched, w, nil)
	assert.NilError(b, err)
	sched.Pass(r.ctx)
	for b.Loop() {
		r.clock.set(r.clock.Now().Add(time.Minute))
		w.began = time.Now()
		sched.Pass(r.ctx)
	}
	assert.Equal(b, len(w.took)%1000, 0)
	slices.Sort(w.took)
	b.ReportMetric(float64(w.took[len(w.took)/2].Milliseconds()), "p50-ms")
	b.ReportMetric(float64(w.took[len(w.took)*99/100].Milliseconds()), "p99-ms")
}

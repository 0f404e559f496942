package cliagent_test

import (
	"runtime"
	"testing"
	"time"

	"gotest.tools/v3/assert"

	"github.com/oz-platform/cloudagents/executor/harness/cliagent"
	"github.com/oz-platform/cloudagents/executor/harness/harnesstest"
	"github.com/oz-platform/cloudagents/task"
)

// BenchmarkStream is the way of 100,000 events from a program's output into the
// log. us/event includes the program's own work.
func BenchmarkStream(b *testing.B) {
	for b.Loop() {
		l := lab(b, harnesstest.LabOptions{})
		begun := time.Now()
		out := run(b, l, "many", cliagent.Options{})
		took := time.Since(begun)
		assert.Equal(b, out.State, task.StateSucceeded, "%+v", out.Status)
		n := len(l.Log.Events())
		assert.Assert(b, n >= manyEvents)
		b.ReportMetric(float64(took.Microseconds())/float64(n), "us/event")
		b.ReportMetric(0, "ns/op")
	}
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	b.ReportMetric(float64(m.Sys)/(1<<20), "MiB-process")
}

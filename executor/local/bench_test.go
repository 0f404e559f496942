//go:build linux

package local_test

import (
	"os/exec"
	"strconv"
	"testing"
	"time"

	"gotest.tools/v3/assert"

	"github.com/oz-platform/cloudagents/executor"
	"github.com/oz-platform/cloudagents/executor/local"
)

// BenchmarkStart compares the start of a sandbox, until its main command runs, with a bare fork and exec of the same
// program. They take turns, so that a busy machine slows both. Paced leaves the time between two starts that the helper
// in reserve needs to come up; BackToBack does not.
func BenchmarkStart(b *testing.B) {
	b.Run("Paced", func(b *testing.B) { benchmarkStart(b, 30*time.Millisecond) })
	b.Run("BackToBack", func(b *testing.B) { benchmarkStart(b, 0) })
}

func benchmarkStart(b *testing.B, pace time.Duration) {
	e, err := local.New(b.TempDir(), nil)
	assert.NilError(b, err)
	defer e.Close()
	ctx := b.Context()
	var bare, sandboxed time.Duration
	n := 0
	for b.Loop() {
		n++
		time.Sleep(pace)
		begin := time.Now()
		cmd := exec.Command("/bin/true")
		assert.NilError(b, cmd.Start())
		bare += time.Since(begin)
		assert.NilError(b, cmd.Wait())

		spec := executor.Spec{ID: "s" + strconv.Itoa(n), Workspace: "w", Command: []string{"/bin/true"}}
		begin = time.Now()
		s, err := e.Start(ctx, spec)
		assert.NilError(b, err)
		sandboxed += time.Since(begin)
		_, err = s.Wait(ctx)
		assert.NilError(b, err)
		assert.NilError(b, s.Remove(ctx))
	}
	perOp := func(d time.Duration) float64 { return float64(d.Microseconds()) / float64(n) / 1000 }
	b.ReportMetric(perOp(bare), "bare-ms")
	b.ReportMetric(perOp(sandboxed), "sandbox-ms")
	b.ReportMetric(perOp(sandboxed-bare), "over-ms")
	b.ReportMetric(float64(sandboxed)/float64(bare), "ratio")
}

// BenchmarkIsolation compares the start of a sandbox, and its whole life, with isolation and without, in turns.
func BenchmarkIsolation(b *testing.B) {
	b.Run("Paced", func(b *testing.B) { benchmarkIsolation(b, 30*time.Millisecond) })
	b.Run("BackToBack", func(b *testing.B) { benchmarkIsolation(b, 0) })
}

func benchmarkIsolation(b *testing.B, pace time.Duration) {
	canIsolate(b)
	ctx := b.Context()
	modes := []local.Isolation{local.IsolationOff, local.IsolationRequire}
	var executors [2]*local.Executor
	var started, lived [2]time.Duration
	for i, isolation := range modes {
		e, err := local.New(b.TempDir(), &local.Options{Isolation: isolation})
		assert.NilError(b, err)
		defer e.Close()
		executors[i] = e
	}
	n := 0
	for b.Loop() {
		n++
		for i, e := range executors {
			time.Sleep(pace)
			begin := time.Now()
			s, err := e.Start(ctx, executor.Spec{ID: "s" + strconv.Itoa(n), Workspace: "w", Command: []string{"/bin/true"}})
			assert.NilError(b, err)
			started[i] += time.Since(begin)
			_, err = s.Wait(ctx)
			assert.NilError(b, err)
			assert.NilError(b, s.Remove(ctx))
			lived[i] += time.Since(begin)
		}
	}
	perOp := func(d time.Duration) float64 { return float64(d.Microseconds()) / float64(n) / 1000 }
	b.ReportMetric(perOp(started[0]), "off-ms")
	b.ReportMetric(perOp(started[1]), "isolated-ms")
	b.ReportMetric(perOp(started[1]-started[0]), "over-ms")
	b.ReportMetric(float64(started[1])/float64(started[0]), "ratio")
	b.ReportMetric(float64(lived[1])/float64(lived[0]), "life-ratio")
}

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

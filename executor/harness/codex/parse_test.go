package codex_test

import (
	"testing"

	"github.com/oz-platform/cloudagents/executor/harness/codex"
	"github.com/oz-platform/cloudagents/executor/harness/harnesstest"
)

func TestCapturedOutput(t *testing.T) { harnesstest.Replay(t, codex.Agent()) }

func FuzzOutput(f *testing.F) { harnesstest.Fuzz(f, codex.Agent()) }

// BenchmarkEvent is what the adapter adds to a record of the program.
func BenchmarkEvent(b *testing.B) { harnesstest.Bench(b, codex.Agent()) }

package claude_test

import (
	"testing"

	"github.com/oz-platform/cloudagents/executor/harness/claude"
	"github.com/oz-platform/cloudagents/executor/harness/harnesstest"
)

func TestCapturedOutput(t *testing.T) { harnesstest.Replay(t, claude.Agent()) }

func FuzzOutput(f *testing.F) { harnesstest.Fuzz(f, claude.Agent()) }

// BenchmarkEvent is what the adapter adds to a record of the program.
func BenchmarkEvent(b *testing.B) { harnesstest.Bench(b, claude.Agent()) }

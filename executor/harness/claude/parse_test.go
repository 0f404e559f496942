package claude_test

import (
	"testing"

	"github.com/oz-platform/cloudagents/executor/harness/claude"
	"github.com/oz-platform/cloudagents/executor/harness/harnesstest"
)

func TestCapturedOutput(t *testing.T) { harnesstest.Replay(t, claude.Agent()) }

func FuzzOutput(f *testing.F) { harnesstest.Fuzz(f, claude.Agent()) }

package codex_test

import (
	"testing"

	"github.com/oz-platform/cloudagents/executor/harness/codex"
	"github.com/oz-platform/cloudagents/executor/harness/harnesstest"
)

func TestCapturedOutput(t *testing.T) { harnesstest.Replay(t, codex.Agent()) }

func FuzzOutput(f *testing.F) { harnesstest.Fuzz(f, codex.Agent()) }

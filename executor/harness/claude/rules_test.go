package claude_test

import (
	"testing"

	"gotest.tools/v3/assert"

	"github.com/oz-platform/cloudagents/executor/harness"
	"github.com/oz-platform/cloudagents/executor/harness/claude"
)

// TestReadsRules: the runner is told which file it need not give.
func TestReadsRules(t *testing.T) {
	var h harness.Harness = claude.New(nil)
	r, ok := h.(harness.RuleReader)
	assert.Assert(t, ok)
	assert.DeepEqual(t, r.ReadsRules(), []string{"CLAUDE.md"})
}

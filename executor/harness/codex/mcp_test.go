package codex_test

import (
	"testing"

	"github.com/oz-platform/cloudagents/executor/gateway/scripted"
	"github.com/oz-platform/cloudagents/executor/harness/harnesstest"
)

// TestPlatformTools: the real program calls the platform's tools and those of a
// run's MCP server, through the runner's servers on loopback.
func TestPlatformTools(t *testing.T) {
	harnesstest.RunPlatformTools(t, conformance(t), func(server, tool string) scripted.ToolCall {
		return scripted.ToolCall{Namespace: "mcp__" + server, Name: tool}
	})
}

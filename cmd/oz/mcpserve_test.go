package main

import (
	"encoding/json"
	"testing"

	"github.com/modelcontextprotocol/go-sdk/mcp"
	"gotest.tools/v3/assert"
	is "gotest.tools/v3/assert/cmp"
)

// TestMCPServe: an MCP client on somebody's machine drives a run on the server
// through `oz mcp serve`.
func TestMCPServe(t *testing.T) {
	d := newDesk(t)
	client := mcp.NewClient(&mcp.Implementation{Name: "editor"}, nil)
	s, err := client.Connect(t.Context(), &mcp.CommandTransport{Command: d.command("mcp", "serve")}, nil)
	assert.NilError(t, err)
	use := func(tool string, in, out any) {
		t.Helper()
		res, err := s.CallTool(t.Context(), &mcp.CallToolParams{Name: tool, Arguments: in})
		assert.NilError(t, err)
		assert.Assert(t, !res.IsError, "%v", res.Content[0].(*mcp.TextContent).Text)
		raw, err := json.Marshal(res.StructuredContent)
		assert.NilError(t, err)
		assert.NilError(t, json.Unmarshal(raw, out))
	}
	var run struct {
		ID      string `json:"run_id"`
		State   string `json:"state"`
		Message string `json:"message"`
	}
	type object = map[string]any
	use("start_run", object{"prompt": "greet me"}, &run)
	var log struct {
		Last  int64 `json:"last"`
		Ended bool  `json:"ended"`
	}
	for !log.Ended {
		use("watch_run", object{"run_id": run.ID, "after": log.Last, "wait_seconds": 50}, &log)
	}
	use("get_run", object{"run_id": run.ID}, &run)
	assert.Equal(t, run.State, "SUCCEEDED")
	assert.Assert(t, is.Contains(run.Message, "Done: greet."))
	var part struct {
		Text string `json:"text"`
	}
	use("get_transcript", object{"run_id": run.ID}, &part)
	assert.Assert(t, is.Contains(part.Text, "greet me"))
	assert.NilError(t, s.Close()) // and the command exits with 0
	d.fails(exitUsage, `unknown command or argument "x"`, "mcp", "serve", "x")
}

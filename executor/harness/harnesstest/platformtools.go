package harnesstest

import (
	"strings"
	"testing"

	"gotest.tools/v3/assert"
	is "gotest.tools/v3/assert/cmp"

	"github.com/oz-platform/cloudagents/environment/mcp"
	"github.com/oz-platform/cloudagents/executor/gateway/scripted"
	"github.com/oz-platform/cloudagents/executor/harness/mcphost"
	"github.com/oz-platform/cloudagents/task"
)

// RunPlatformTools checks that an agent with tools of its own calls the
// platform's, and those of a run's MCP server, through the runner's servers on
// loopback. call says how the agent's model names a tool of a server; the
// input is put in afterwards.
func RunPlatformTools(t *testing.T, h Harness, call func(server, tool string) scripted.ToolCall) {
	with := func(server, tool string, input map[string]any) []scripted.ToolCall {
		c := call(server, tool)
		c.Input = input
		return []scripted.ToolCall{c}
	}
	l := NewLab(t, LabOptions{Wire: h.Wires[0], NoRepo: true, Script: scripted.Script{Steps: []scripted.Step{
		{Text: "I report.", ToolCalls: with("oz", "report_artifact", map[string]any{"type": "pull_request", "url": "https://example.com/pull/5", "branch": "b"})},
		{Text: "I ask the server.", ToolCalls: with("remote", "update_todos", map[string]any{"todos": []any{map[string]any{"title": "mow"}}})},
		{Text: "All is reported."},
	}}})
	s := l.Session(t)
	// An MCP server at hand: the one of another lab's host, which has a token.
	other, err := mcphost.Open(t.Context(), s, nil, nil)
	assert.NilError(t, err)
	t.Cleanup(func() { assert.Check(t, other.Close()) })
	at, err := other.Serve(t.Context(), s.Tools)
	assert.NilError(t, err)
	host, err := mcphost.Open(t.Context(), s, map[string]mcp.Server{"remote": {URL: at[0].URL, Headers: at[0].Headers, AllowedTools: []string{"update_todos"}}}, nil)
	assert.NilError(t, err)
	t.Cleanup(func() { assert.Check(t, host.Close()) })
	s.MCP, err = host.Serve(t.Context(), s.Tools)
	assert.NilError(t, err)
	l.Log.Say("Report.")
	o, err := h.New().Run(t.Context(), s)
	assert.NilError(t, err)
	assert.Equal(t, o.State, task.StateSucceeded, "%v", o.Status)
	got := Payloads[*task.ArtifactReported](l.Log)
	assert.Equal(t, len(got), 1)
	assert.Equal(t, got[0].Artifact.URL, "https://example.com/pull/5")
	todos := Payloads[*task.Todos](l.Log)
	assert.Assert(t, len(todos) == 1 && todos[0].Items[0].Title == "mow")
	var results []string
	for _, r := range Payloads[*task.ToolResult](l.Log) {
		assert.Equal(t, r.State, task.ToolCompleted, "%s: %s", r.Name, r.Content)
		results = append(results, r.Content)
	}
	assert.Assert(t, is.Contains(strings.Join(results, "\n"), "no instructions to you"))
}

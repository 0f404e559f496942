package gemini_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"
	"gotest.tools/v3/assert"

	"github.com/oz-platform/cloudagents/executor/gateway/scripted"
	"github.com/oz-platform/cloudagents/executor/harness"
	"github.com/oz-platform/cloudagents/executor/harness/cliagent"
	"github.com/oz-platform/cloudagents/executor/harness/gemini"
	"github.com/oz-platform/cloudagents/executor/harness/harnesstest"
	"github.com/oz-platform/cloudagents/task"
)

// tools are Gemini CLI's.
type tools struct{}

func (tools) Command(line string) scripted.ToolCall {
	return scripted.ToolCall{Name: "run_shell_command", Input: map[string]any{"command": line}}
}

func (t tools) Edit(path, search, replace string) scripted.ToolCall {
	return t.Command("sed -i " + quoted("s/"+escaped(search)+"/"+escaped(replace)+"/") + " " + quoted(filepath.FromSlash(path)))
}

func quoted(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }

func escaped(s string) string {
	return strings.NewReplacer("/", `\/`, "[", `\[`, "]", `\]`, "&", `\&`, ".", `\.`).Replace(s)
}

func (t tools) Deliver(message string) []scripted.ToolCall {
	return []scripted.ToolCall{t.Command("git checkout -q -B oz/work && { git diff --quiet HEAD || git commit -q -a -m " + quoted(message) + "; } && git push -q origin HEAD && echo pushed")}
}

func (tools) Finish(string, ...string) []scripted.ToolCall { return nil }

func conformance(t *testing.T) harnesstest.Harness {
	path := harnesstest.Program(t, "gemini", gemini.Version)
	one := gemini.New(&cliagent.Options{Path: path, Version: gemini.Version, Poll: 100 * time.Millisecond}) // keeps nothing but what it knows of the program
	return harnesstest.Harness{
		New:   func() harness.Harness { return one },
		Wires: one.Wires(), Tools: tools{}, Foreign: true, ModelID: "gemini-2.5-pro", RestartStep: 4, NoExitCodes: true,
	}
}

func TestGeminiConformance(t *testing.T) { harnesstest.Run(t, conformance(t)) }

func TestGeminiFaults(t *testing.T) { harnesstest.RunForeign(t, conformance(t)) }

func TestGeminiRestarts(t *testing.T) { harnesstest.RestartAtEveryWrite(t, conformance(t)) }

// TestInstructionsAndServers: what the run tells the agent is in its system
// prompt, its servers' tools work and have their secrets, and nothing secret is
// among the program's arguments.
func TestInstructionsAndServers(t *testing.T) {
	const secret, header = "server-secret-4Kd9Qz", "header-secret-7Pw2Lx"
	remote := httptest.NewServer(mcp.NewStreamableHTTPHandler(func(r *http.Request) *mcp.Server {
		if r.Header.Get("X-Key") != header {
			return nil
		}
		return greeter("remote")
	}, &mcp.StreamableHTTPOptions{Stateless: true}))
	defer remote.Close()
	h := conformance(t)
	lab := harnesstest.NewLab(t, harnesstest.LabOptions{Wire: "gemini", ModelID: h.ModelID, NoRepo: true, Script: scripted.Script{Steps: []scripted.Step{
		{ToolCalls: []scripted.ToolCall{{Name: "mcp_local_greet"}, {Name: "mcp_far_greet"},
			{Name: "run_shell_command", Input: map[string]any{"command": "cat /proc/$PPID/cmdline | tr '\\0' ' '"}}}},
		{Text: "Done."},
	}}})
	lab.Log.Say("Greet.")
	s := lab.Session(t)
	s.Instructions = "Always be brief, says INSTRUCTION-MARKER."
	s.MCP = []harness.MCPServer{
		{Name: "local", Command: []string{os.Args[0]}, Env: map[string]string{"OZ_TEST_GREETER": secret}},
		{Name: "far", URL: remote.URL, Headers: map[string]string{"X-Key": header}, Deny: []string{"secret_tool"}},
	}
	ctx, stop := context.WithTimeout(t.Context(), time.Minute)
	defer stop()
	out, err := h.New().Run(ctx, s)
	assert.NilError(t, err)
	assert.Equal(t, out.State, task.StateSucceeded, "%+v", out.Status)
	first := lab.Server.Requests()[0]
	assert.Assert(t, strings.Contains(first.System, "INSTRUCTION-MARKER"))
	var names []string
	for _, tool := range first.Tools {
		names = append(names, tool.Name)
	}
	assert.Assert(t, slices.Contains(names, "mcp_far_greet") && !slices.Contains(names, "mcp_far_secret_tool"), "%v", names)
	results := harnesstest.Payloads[*task.ToolResult](lab.Log)
	assert.Equal(t, len(results), 3)
	assert.Assert(t, strings.Contains(results[0].Content, "hello from "+secret), results[0].Content)
	assert.Assert(t, strings.Contains(results[1].Content, "hello from remote"), results[1].Content)
	for _, hidden := range []string{secret, header, s.Model.Token.Reveal()} {
		assert.Assert(t, !strings.Contains(results[2].Content, hidden), results[2].Content)
	}
	assert.Assert(t, strings.Contains(results[2].Content, "stream-json"), "the arguments were seen: %s", results[2].Content)
}

// greeter is a server of the Model Context Protocol.
func greeter(name string) *mcp.Server {
	server := mcp.NewServer(&mcp.Implementation{Name: "greeter", Version: "1"}, nil)
	hello := func(context.Context, *mcp.CallToolRequest, struct{}) (*mcp.CallToolResult, any, error) {
		return &mcp.CallToolResult{Content: []mcp.Content{&mcp.TextContent{Text: "hello from " + name}}}, nil, nil
	}
	mcp.AddTool(server, &mcp.Tool{Name: "greet", Description: "Greets."}, hello)
	mcp.AddTool(server, &mcp.Tool{Name: "secret_tool", Description: "Nobody may use it."}, hello)
	return server
}

package mcphost_test

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	sdk "github.com/modelcontextprotocol/go-sdk/mcp"
	"gotest.tools/v3/assert"
	is "gotest.tools/v3/assert/cmp"

	"github.com/oz-platform/cloudagents/environment/mcp"
	"github.com/oz-platform/cloudagents/executor/harness"
	"github.com/oz-platform/cloudagents/executor/harness/harnesstest"
	"github.com/oz-platform/cloudagents/executor/harness/mcphost"
	"github.com/oz-platform/cloudagents/executor/harness/tools"
	"github.com/oz-platform/cloudagents/task"
)

// agent connects as an agent with a client of its own does.
func agent(t *testing.T, at harness.MCPServer) *sdk.ClientSession {
	t.Helper()
	client := sdk.NewClient(&sdk.Implementation{Name: "agent"}, nil)
	s, err := client.Connect(t.Context(), &sdk.StreamableClientTransport{Endpoint: at.URL, DisableStandaloneSSE: true, MaxRetries: -1,
		HTTPClient: &http.Client{Transport: withHeaders{at.Headers, &http.Transport{DisableKeepAlives: true}}}}, nil)
	assert.NilError(t, err)
	t.Cleanup(func() { _ = s.Close() }) // the host may be closed already
	return s
}

type withHeaders struct {
	headers map[string]string
	base    http.RoundTripper
}

func (w withHeaders) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	for k, v := range w.headers {
		r.Header.Set(k, v)
	}
	return w.base.RoundTrip(r)
}

// use calls a tool and gives its text.
func use(t *testing.T, s *sdk.ClientSession, name string, input any) (string, bool) {
	t.Helper()
	res, err := s.CallTool(t.Context(), &sdk.CallToolParams{Name: name, Arguments: input})
	assert.NilError(t, err)
	return res.Content[0].(*sdk.TextContent).Text, res.IsError
}

func has(t *testing.T, s *sdk.ClientSession) []string {
	t.Helper()
	var out []string
	for tool, err := range s.Tools(t.Context(), nil) {
		assert.NilError(t, err)
		out = append(out, tool.Name)
	}
	return out
}

// TestServe: an agent with a client of its own has the platform's tools and
// those of the run's servers, and no credential of theirs.
func TestServe(t *testing.T) {
	l := newLab(t, map[string]string{"TRACKER_TOKEN": token})
	server := self(t, "good")
	server.Env["TOKEN"] = "${TRACKER_TOKEN}"
	server.AllowedTools = []string{"echo", "token", "picture", "exit"}
	h := l.open(t, map[string]mcp.Server{"my tracker": server}, &mcphost.Options{Secret: secrets})
	at, err := h.Serve(t.Context(), l.s.Tools)
	assert.NilError(t, err)
	assert.Equal(t, len(at), 2)
	assert.Equal(t, at[0].Name, "oz")
	assert.Equal(t, at[1].Name, "my_tracker_1")
	for _, s := range at {
		assert.Assert(t, strings.HasPrefix(s.URL, "http://127.0.0.1:"))
		assert.Equal(t, len(s.Env)+len(s.Command), 0)
		assert.Assert(t, is.Contains(l.Redactor.String(s.Headers["Authorization"]), "[redacted:OZ_MCP_TOKEN]"))
	}
	tracker := agent(t, at[1])
	assert.DeepEqual(t, has(t, tracker), []string{"echo", "exit", "picture", "token"})
	text, failed := use(t, tracker, "token", object{})
	assert.Assert(t, !failed)
	assert.Assert(t, is.Contains(text, "no instructions to you"))
	assert.Assert(t, is.Contains(text, "[redacted:TRACKER_TOKEN]"))
	res, err := tracker.CallTool(t.Context(), &sdk.CallToolParams{Name: "picture", Arguments: object{}})
	assert.NilError(t, err)
	assert.Equal(t, string(res.Content[1].(*sdk.ImageContent).Data), "\x89PNG")
	text, failed = use(t, tracker, "exit", object{})
	assert.Assert(t, failed)
	assert.Assert(t, is.Contains(text, "Whether the call did anything is not known"))

	platform := agent(t, at[0])
	text, failed = use(t, platform, tools.NameReportArtifact, object{"type": "pull_request", "url": "https://example.com/pull/1", "branch": "b"})
	assert.Assert(t, !failed, text)
	assert.Equal(t, len(harnesstest.Payloads[*task.ArtifactReported](l.Log)), 1)
	text, failed = use(t, platform, tools.NameReportArtifact, object{"type": "poem"})
	assert.Assert(t, failed)
	assert.Assert(t, is.Contains(text, "type must be"))
}

// TestServeNeedsTheToken.
func TestServeNeedsTheToken(t *testing.T) {
	l := newLab(t, nil)
	h := l.open(t, nil, nil)
	at, err := h.Serve(t.Context(), l.s.Tools)
	assert.NilError(t, err)
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	for _, given := range []string{"", "Bearer ", "Bearer wrong", at[0].Headers["Authorization"] + "x"} {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, at[0].URL, strings.NewReader("{}"))
		assert.NilError(t, err)
		r.Header.Set("Authorization", given)
		res, err := client.Do(r)
		assert.NilError(t, err)
		assert.NilError(t, res.Body.Close())
		assert.Equal(t, res.StatusCode, http.StatusUnauthorized)
	}
	_, err = h.Serve(t.Context(), nil)
	assert.ErrorContains(t, err, "before")
}

// TestToolsThatEndTheWork: a question ends it, no tool works after that, and a
// message brings the agent back.
func TestToolsThatEndTheWork(t *testing.T) {
	l := newLab(t, nil)
	h := l.open(t, nil, nil)
	at, err := h.Serve(t.Context(), l.s.Tools)
	assert.NilError(t, err)
	s := agent(t, at[0])
	over := h.Over()
	_, failed := use(t, s, tools.NameAskUser, object{"question": "Which branch?"})
	assert.Assert(t, !failed)
	<-over
	end, fault := h.Ended()
	assert.NilError(t, fault)
	assert.Equal(t, end.State, task.StateBlocked)
	assert.Equal(t, end.Status.Message, "Which branch?")
	text, failed := use(t, s, tools.NameUpdateTodos, object{"todos": []object{}})
	assert.Assert(t, failed)
	assert.Assert(t, is.Contains(text, "The work has ended"))
	h.Resume()
	end, _ = h.Ended()
	assert.Assert(t, end == nil)
	_, failed = use(t, s, tools.NameUpdateTodos, object{"todos": []object{}})
	assert.Assert(t, !failed)
}

// TestPlatformFault: a fault of the platform is not the agent's to know, and
// ends the execution.
func TestPlatformFault(t *testing.T) {
	l := newLab(t, nil)
	h := l.open(t, nil, nil)
	broken := harness.Tool{Name: "broken", Schema: `{"type":"object"}`, Run: func(context.Context, harness.ToolCall) (harness.ToolAnswer, error) {
		return harness.ToolAnswer{}, errors.New("disk on fire")
	}}
	at, err := h.Serve(t.Context(), []harness.Tool{broken})
	assert.NilError(t, err)
	text, failed := use(t, agent(t, at[0]), "broken", object{})
	assert.Assert(t, failed && !strings.Contains(text, "fire"), text)
	<-h.Over()
	_, fault := h.Ended()
	assert.ErrorContains(t, fault, "disk on fire")
}

// TestCloseDuringCalls: what is under way is cut off, and nothing is left.
func TestCloseDuringCalls(t *testing.T) {
	l := newLab(t, nil)
	h, err := mcphost.Open(t.Context(), l.s, map[string]mcp.Server{"s": self(t, "good")}, nil)
	assert.NilError(t, err)
	begun := make(chan struct{})
	slow := harness.Tool{Name: "slow", Schema: `{"type":"object"}`, Run: func(ctx context.Context, _ harness.ToolCall) (harness.ToolAnswer, error) {
		close(begun)
		<-ctx.Done()
		return harness.ToolAnswer{}, ctx.Err()
	}}
	at, err := h.Serve(t.Context(), []harness.Tool{slow})
	assert.NilError(t, err)
	one, two := agent(t, at[0]), agent(t, at[1])
	done := make(chan struct{}, 2)
	for s, name := range map[*sdk.ClientSession]string{one: "slow", two: "wait"} {
		go func() {
			_, _ = s.CallTool(t.Context(), &sdk.CallToolParams{Name: name, Arguments: object{}}) // it is cut off
			done <- struct{}{}
		}()
	}
	<-begun
	closed := time.Now()
	assert.NilError(t, h.Close())
	<-done
	<-done
	assert.Assert(t, time.Since(closed) < 10*time.Second)
}

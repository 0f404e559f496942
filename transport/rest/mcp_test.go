package rest_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"
	"golang.org/x/sync/errgroup"
	"gotest.tools/v3/assert"
	is "gotest.tools/v3/assert/cmp"

	"github.com/oz-platform/cloudagents/oz"
	"github.com/oz-platform/cloudagents/task"
	"github.com/oz-platform/cloudagents/transport/client"
	"github.com/oz-platform/cloudagents/transport/internal/transporttest"
)

// mcpClient speaks the Model Context Protocol with a key.
func mcpClient(t *testing.T, e *transporttest.Env, key string) (*mcp.ClientSession, error) {
	t.Helper()
	c := mcp.NewClient(&mcp.Implementation{Name: "test"}, nil)
	s, err := c.Connect(t.Context(), &mcp.StreamableClientTransport{Endpoint: e.URL + "/api/v1/mcp", MaxRetries: -1,
		HTTPClient: &http.Client{Transport: keyed{key, &http.Transport{DisableKeepAlives: true}}}}, nil)
	if err == nil {
		t.Cleanup(func() { _ = s.Close() }) // the server is gone by then
	}
	return s, err
}

type keyed struct {
	key  string
	base http.RoundTripper
}

func (k keyed) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.Header.Set("Authorization", "Bearer "+k.key)
	return k.base.RoundTrip(r)
}

// tool calls a tool; its error is what it answered.
func tool(t *testing.T, s *mcp.ClientSession, name string, in, out any) error {
	t.Helper()
	res, err := s.CallTool(t.Context(), &mcp.CallToolParams{Name: name, Arguments: in})
	assert.NilError(t, err)
	if res.IsError {
		return fmt.Errorf("%s", res.Content[0].(*mcp.TextContent).Text)
	}
	raw, err := json.Marshal(res.StructuredContent)
	assert.NilError(t, err)
	assert.NilError(t, json.Unmarshal(raw, out))
	return nil
}

type mcpRun struct {
	ID        string `json:"run_id"`
	State     string `json:"state"`
	Prompt    string `json:"prompt"`
	Artifacts []struct {
		UID string `json:"artifact_uid"`
	} `json:"artifacts"`
}

type object = map[string]any

// TestMCP: the platform as an MCP server over HTTP: a run is started, listed,
// watched, steered, read and cancelled.
func TestMCP(t *testing.T) {
	e := transporttest.Start(t, nil)
	s, err := mcpClient(t, e, transporttest.AdminKey)
	assert.NilError(t, err)
	reads := map[string]bool{}
	for tool, err := range s.Tools(t.Context(), nil) {
		assert.NilError(t, err)
		assert.Assert(t, tool.Annotations != nil && tool.Title != "" && tool.Description != "", tool.Name)
		reads[tool.Name] = tool.Annotations.ReadOnlyHint
	}
	assert.DeepEqual(t, reads, map[string]bool{"list_runs": true, "get_run": true, "watch_run": true, "get_transcript": true, "get_artifact": true,
		"start_run": false, "steer_run": false, "cancel_run": false})

	var run, again mcpRun
	assert.NilError(t, tool(t, s, "start_run", object{"prompt": "mend the roof", "idempotency_key": "k"}, &run))
	assert.NilError(t, tool(t, s, "start_run", object{"prompt": "mend the roof", "idempotency_key": "k"}, &again))
	assert.Equal(t, run.ID, again.ID)
	link, err := client.NewLink(e.Claimed(), nil)
	assert.NilError(t, err)
	assert.NilError(t, link.Begin(t.Context()))
	blob, size, err := link.Upload(t.Context(), "report-1", strings.NewReader(strings.Repeat("größe ", 10_000)))
	assert.NilError(t, err)
	assert.NilError(t, link.Append(t.Context(), 0, []task.Event{{Payload: &task.Message{ID: "m", Text: "on the roof"}}, {Payload: &task.Reasoning{ID: "r", Text: "hm"}},
		{Payload: &task.ArtifactReported{Artifact: task.Artifact{UID: "report-1", Type: task.ArtifactFile, Path: "report.txt", MIMEType: "text/plain", SizeBytes: size, Blob: blob}}}}))

	var log struct {
		Events []struct {
			Seq  int64          `json:"seq"`
			Type string         `json:"type"`
			Data map[string]any `json:"data"`
		} `json:"events"`
		Last  int64 `json:"last"`
		Ended bool  `json:"ended"`
	}
	var said []string
	for last := int64(-1); last != log.Last; {
		last = log.Last
		assert.NilError(t, tool(t, s, "watch_run", object{"run_id": run.ID, "after": log.Last, "wait_seconds": 1, "limit": 2}, &log))
		assert.Assert(t, len(log.Events) <= 2 && !log.Ended)
		for _, e := range log.Events {
			said = append(said, e.Type)
			if e.Type == "message" {
				assert.Equal(t, e.Data["text"], "on the roof")
			}
		}
	}
	assert.Assert(t, is.Contains(said, "message"))
	assert.Assert(t, !strings.Contains(strings.Join(said, " "), "reasoning"), "%v", said)

	assert.NilError(t, tool(t, s, "steer_run", object{"run_id": run.ID, "message": "mind the gutter"}, &run))
	inputs, err := e.Platform.Get(t.Context(), task.ID(run.ID))
	assert.NilError(t, err)
	assert.Assert(t, inputs.LastInput > 1)
	assert.NilError(t, tool(t, s, "get_run", object{"run_id": run.ID}, &run))
	assert.Equal(t, run.State, "INPROGRESS")
	assert.Equal(t, run.Artifacts[0].UID, "report-1")

	var part struct {
		Text string `json:"text"`
		Next int64  `json:"next_offset"`
	}
	var whole strings.Builder
	for {
		from := part.Next
		part.Next = 0
		assert.NilError(t, tool(t, s, "get_artifact", object{"artifact_uid": "report-1", "offset": from, "limit": 9001}, &part))
		whole.WriteString(part.Text)
		if part.Next == 0 {
			break
		}
	}
	assert.Equal(t, whole.String(), strings.Repeat("größe ", 10_000))
	assert.NilError(t, tool(t, s, "get_transcript", object{"run_id": run.ID}, &part))
	assert.Assert(t, is.Contains(part.Text, "on the roof"))

	assert.NilError(t, tool(t, s, "cancel_run", object{"run_id": run.ID}, &run))
	var list struct {
		Runs []mcpRun `json:"runs"`
		Next string   `json:"next_cursor"`
	}
	assert.NilError(t, tool(t, s, "start_run", object{"prompt": "another"}, &again))
	assert.NilError(t, tool(t, s, "list_runs", object{"limit": 1}, &list))
	assert.Equal(t, list.Runs[0].ID, again.ID)
	assert.NilError(t, tool(t, s, "list_runs", object{"limit": 1, "cursor": list.Next}, &list))
	assert.Equal(t, list.Runs[0].ID, run.ID)
	assert.Equal(t, list.Runs[0].Prompt, "mend the roof")
}

// TestMCPRefusals: tools say what was wrong, and nobody does by MCP what the
// access table does not let them do.
func TestMCPRefusals(t *testing.T) {
	e := transporttest.Start(t, nil)
	s, err := mcpClient(t, e, transporttest.AdminKey)
	assert.NilError(t, err)
	var run mcpRun
	assert.NilError(t, tool(t, s, "start_run", object{"prompt": "secret work"}, &run))
	for name, tt := range map[string]struct {
		tool string
		in   any
		want string
	}{
		"no task":    {"start_run", object{}, "prompt: say what to do"},
		"state":      {"list_runs", object{"states": []string{"ASLEEP"}}, "states[0]"},
		"limit":      {"list_runs", object{"limit": 101}, "limit: is 101"},
		"cursor":     {"list_runs", object{"cursor": "x"}, "cursor"},
		"after":      {"watch_run", object{"run_id": run.ID, "after": -1}, "after"},
		"wait":       {"watch_run", object{"run_id": run.ID, "wait_seconds": 100}, "wait_seconds"},
		"no run":     {"get_run", object{"run_id": "01a21412-22a1-7a12-9598-7c0f2a0ef0f6"}, "resource_not_found"},
		"no id":      {"get_run", object{}, "run_id"},
		"unknown":    {"get_run", object{"run_id": run.ID, "colour": "red"}, "colour"},
		"offset":     {"get_transcript", object{"run_id": run.ID, "offset": -1}, "offset"},
		"no file":    {"get_artifact", object{"artifact_uid": "nothing"}, "does not exist"},
		"watch none": {"watch_run", object{"run_id": "01a21412-22a1-7a12-9598-7c0f2a0ef0f6"}, "resource_not_found"},
	} {
		t.Run(name, func(t *testing.T) { assert.ErrorContains(t, tool(t, s, tt.tool, tt.in, nil), tt.want) })
	}
	outsider, err := mcpClient(t, e, e.Outsider)
	assert.NilError(t, err)
	for _, name := range []string{"get_run", "watch_run", "steer_run", "cancel_run", "get_transcript"} {
		assert.ErrorContains(t, tool(t, outsider, name, object{"run_id": run.ID}, nil), "resource_not_found", name)
	}
	_, err = mcpClient(t, e, "wrong")
	assert.ErrorContains(t, err, "Unauthorized")
	runner := e.Claimed()
	_, err = mcpClient(t, e, runner.Token.Reveal())
	assert.Assert(t, err != nil, "a run's own token drives no runs")
	for _, body := range []any{[]byte("{"), "x", object{"jsonrpc": "2.0", "id": 1, "method": "no/such"}} {
		a := e.Call(transporttest.AdminKey, http.MethodPost, "/api/v1/mcp", body, "Accept", "application/json, text/event-stream")
		assert.Assert(t, a.Status < 500, "%d", a.Status)
	}
	assert.Equal(t, e.Call(transporttest.AdminKey, http.MethodGet, "/api/v1/mcp", nil).Status, http.StatusMethodNotAllowed)
}

// TestMCPCallersApart: callers at the same time get what is theirs, each by
// the rights of its own request.
func TestMCPCallersApart(t *testing.T) {
	e := transporttest.Start(t, nil)
	var mine [2]mcpRun
	keys := [2]string{transporttest.AdminKey, e.Outsider}
	var sessions [2]*mcp.ClientSession
	for i, key := range keys {
		s, err := mcpClient(t, e, key)
		assert.NilError(t, err)
		assert.NilError(t, tool(t, s, "start_run", object{"prompt": "work of " + strconv.Itoa(i)}, &mine[i]))
		sessions[i] = s
	}
	ask := func(i int) error {
		res, err := sessions[i].CallTool(t.Context(), &mcp.CallToolParams{Name: "get_run", Arguments: object{"run_id": mine[i].ID}})
		if err != nil || res.IsError {
			return fmt.Errorf("caller %d does not get its run: %v %+v", i, err, res)
		}
		res, err = sessions[i].CallTool(t.Context(), &mcp.CallToolParams{Name: "get_run", Arguments: object{"run_id": mine[1-i].ID}})
		if err != nil || !res.IsError {
			return fmt.Errorf("caller %d gets the other's run: %v", i, err)
		}
		return nil
	}
	var asking errgroup.Group
	for n := range 8 {
		asking.Go(func() error {
			for range 10 {
				if err := ask(n % 2); err != nil {
					return err
				}
			}
			return nil
		})
	}
	assert.NilError(t, asking.Wait())
}

// TestMCPWatchWaits: a call waits for the first event, and no longer than asked.
func TestMCPWatchWaits(t *testing.T) {
	e := transporttest.Start(t, nil)
	s, err := mcpClient(t, e, transporttest.AdminKey)
	assert.NilError(t, err)
	var run mcpRun
	assert.NilError(t, tool(t, s, "start_run", object{"prompt": "wait"}, &run))
	link, err := client.NewLink(e.Claimed(), nil)
	assert.NilError(t, err)
	assert.NilError(t, link.Begin(t.Context()))
	var log struct {
		Events []struct {
			Type string `json:"type"`
		} `json:"events"`
		Last int64 `json:"last"`
	}
	assert.NilError(t, tool(t, s, "watch_run", object{"run_id": run.ID, "wait_seconds": 1}, &log))
	done := make(chan error, 1)
	go func() {
		done <- tool(t, s, "watch_run", object{"run_id": run.ID, "after": log.Last, "wait_seconds": 50}, &log)
	}()
	time.Sleep(50 * time.Millisecond) // so that the call most likely waits; it is right either way
	assert.NilError(t, link.Append(t.Context(), 0, []task.Event{{Payload: &task.Message{ID: "m", Text: "at last"}}}))
	assert.NilError(t, <-done)
	assert.Equal(t, log.Events[0].Type, "message")
}

// BenchmarkMCP is a call of a tool over HTTP, beside the same read by the API.
func BenchmarkMCP(b *testing.B) {
	e := transporttest.Start(b, nil)
	run, err := e.Platform.As(e.Caller(transporttest.AdminKey)).Submit(b.Context(), oz.Request{Prompt: "x"})
	assert.NilError(b, err)
	body := object{"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": object{"name": "get_run", "arguments": object{"run_id": run.ID}}}
	b.Run("tool", func(b *testing.B) {
		for b.Loop() {
			assert.Equal(b, e.CallIn(b, transporttest.AdminKey, http.MethodPost, "/api/v1/mcp", body).Status, http.StatusOK)
		}
	})
	b.Run("api", func(b *testing.B) {
		for b.Loop() {
			assert.Equal(b, e.CallIn(b, transporttest.AdminKey, http.MethodGet, "/api/v1/agent/runs/"+string(run.ID), nil).Status, http.StatusOK)
		}
	})
}

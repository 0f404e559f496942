package opencode

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"gotest.tools/v3/assert"
	is "gotest.tools/v3/assert/cmp"
	"gotest.tools/v3/golden"

	"github.com/oz-platform/cloudagents/executor/harness"
	"github.com/oz-platform/cloudagents/executor/harness/cliagent"
	"github.com/oz-platform/cloudagents/task"
)

// talk plays captured output against a dialogue that was told two messages.
func talk(t testing.TB, d *dialogue, data []byte) []cliagent.Event {
	t.Helper()
	for _, name := range []string{"first", "second"} {
		_, err := d.Encode(cliagent.Prompt{ID: name, Text: "Do it."})
		assert.NilError(t, err)
	}
	var out []cliagent.Event
	for raw := range bytes.Lines(data) {
		out = append(out, d.Line(bytes.TrimSuffix(raw, []byte("\n")))...)
	}
	return append(out, d.End()...)
}

func show(e cliagent.Event) string {
	switch e := e.(type) {
	case cliagent.Called:
		return fmt.Sprintf("Called %s %s %s %s", e.ID, e.Name, e.Category, e.Input)
	case cliagent.Reply:
		return "Reply " + strings.TrimSpace(string(e.Data))
	case cliagent.Finished:
		if e.Failure != nil {
			return fmt.Sprintf("Finished failure %+v", *e.Failure)
		}
	}
	return strings.TrimPrefix(fmt.Sprintf("%T %+v", e, e), "cliagent.")
}

// TestCapturedOutput: what the real program printed, and what is made of it.
func TestCapturedOutput(t *testing.T) {
	files, err := filepath.Glob("testdata/*.jsonl")
	assert.NilError(t, err)
	assert.Assert(t, len(files) >= 7)
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".jsonl")
		t.Run(name, func(t *testing.T) {
			data, err := os.ReadFile(file)
			assert.NilError(t, err)
			d := &dialogue{dir: "/workspace", model: "m", servers: []server{}}
			if strings.Contains(name, "resume") {
				d.resume = "ses_de9dfc841ffepYvbXyvuu0mebr"
				if found := sessionOf(data); found != "" {
					d.resume = found
				}
			}
			var lines []string
			for _, e := range talk(t, d, data) {
				lines = append(lines, show(e))
			}
			golden.Assert(t, strings.Join(lines, "\n")+"\n", name+".golden")
		})
	}
}

// sessionOf is the session that captured output is of.
func sessionOf(data []byte) string {
	_, rest, _ := strings.Cut(string(data), `"sessionId":"`)
	id, _, _ := strings.Cut(rest, `"`)
	return id
}

// opened is a dialogue whose session is open, and which works on one message.
func opened(t testing.TB) *dialogue {
	t.Helper()
	d := &dialogue{dir: "/workspace", model: "m"}
	_, err := d.Encode(cliagent.Prompt{ID: "first", Text: "Do it."})
	assert.NilError(t, err)
	d.Line([]byte(`{"id":1,"result":{"protocolVersion":1}}`))
	d.Line([]byte(`{"id":2,"result":{"sessionId":"ses_1"}}`))
	return d
}

// TestBadWords: whatever the program says wrongly has a clear end, or none.
func TestBadWords(t *testing.T) {
	for name, c := range map[string]struct{ say, want string }{
		"other protocol":     {`{"id":1,"result":{"protocolVersion":9}}`, "Finished failure {Status:0 Message:it speaks version 9 of the Agent Client Protocol, and 1 is needed Turns:false}"},
		"no protocol":        {`{"id":1,"result":"x"}`, "version 0 of the Agent Client Protocol"},
		"no session":         {`{"id":2,"result":{}}`, "it opened no session"},
		"session refused":    {`{"id":2,"error":{"code":-32603,"message":"Internal error: disk full"}}`, "Message:disk full"},
		"error without text": {`{"id":2,"error":{}}`, "it gave no reason"},
	} {
		t.Run(name, func(t *testing.T) {
			d := &dialogue{}
			_, err := d.Encode(cliagent.Prompt{ID: "p"})
			assert.NilError(t, err)
			events := d.Line([]byte(c.say))
			assert.Equal(t, len(events), 1)
			assert.Assert(t, is.Contains(show(events[0]), c.want))
		})
	}
	for name, c := range map[string]struct{ say, want string }{
		"cut off":      {`{"id":4,"result":{"stopReason":"max_tokens"}}`, "cut off at its longest"},
		"refusal":      {`{"id":4,"result":{"stopReason":"refusal"}}`, "refused to answer"},
		"other reason": {`{"id":4,"result":{"stopReason":"moon"}}`, "no good reason to stop (moon)"},
		"no reason":    {`{"id":4}`, "no good reason to stop (none)"},
		"named error":  {`{"id":4,"error":{"message":"Internal error: x","data":{"errorName":"ContextOverflowError"}}}`, "Message:ContextOverflowError: x"},
	} {
		t.Run(name, func(t *testing.T) {
			events := opened(t).Line([]byte(c.say))
			assert.DeepEqual(t, events[0], cliagent.Taken{PromptID: "first"})
			assert.Assert(t, is.Contains(show(events[1]), c.want))
		})
	}
	d := opened(t)
	for _, nothing := range []string{"", "{", "null", "[]", `{"id":4.5}`, `{"id":"x","result":{}}`, `{"id":99,"result":{"stopReason":"end_turn"}}`, `{"method":"x/y"}`,
		`{"method":"session/update"}`, `{"method":"session/update","params":{"sessionId":"another","update":{"sessionUpdate":"agent_message_chunk","content":{"text":"x"}}}}`,
		`{"method":"session/update","params":{"sessionId":"ses_1","update":{"sessionUpdate":"tool_call"}}}`} {
		assert.Equal(t, len(d.Line([]byte(nothing))), 0, nothing)
	}
	assert.Equal(t, len(d.End()), 0)
}

// TestAsksNobody: what the program asks of us is answered, and leave refused.
func TestAsksNobody(t *testing.T) {
	d := opened(t)
	events := d.Line([]byte(`{"id":"q","method":"session/request_permission","params":{"sessionId":"ses_1","toolCall":{"title":"rm"},"options":[{"optionId":"once","kind":"allow_once"},{"optionId":"no","kind":"reject_once"}]}}`))
	assert.Equal(t, len(events), 2)
	assert.Assert(t, is.Contains(show(events[0]), "rm"))
	assert.Equal(t, show(events[1]), `Reply {"id":"q","jsonrpc":"2.0","result":{"outcome":{"optionId":"no","outcome":"selected"}}}`)
	events = d.Line([]byte(`{"id":7,"method":"session/request_permission"}`))
	assert.Equal(t, show(events[1]), `Reply {"id":7,"jsonrpc":"2.0","result":{"outcome":{"outcome":"cancelled"}}}`)
	events = d.Line([]byte(`{"id":8,"method":"fs/read_text_file","params":{"path":"/etc/passwd"}}`))
	assert.Equal(t, show(events[0]), `Reply {"error":{"code":-32601,"message":"method not found"},"id":8,"jsonrpc":"2.0"}`)
}

// TestReasoningLevel: a level that the model has is asked for, another one is told.
func TestReasoningLevel(t *testing.T) {
	open := func(effort string) []cliagent.Event {
		d := &dialogue{effort: effort}
		_, err := d.Encode(cliagent.Prompt{ID: "p", Text: "x"})
		assert.NilError(t, err)
		return d.Line([]byte(`{"id":2,"result":{"sessionId":"ses_1","configOptions":[{"id":"model","options":[{"value":"low"}]},{"id":"effort","options":[{"value":"high"},{"value":"max"}]}]}}`))
	}
	assert.Equal(t, show(open("max")[1]), `Reply {"id":3,"jsonrpc":"2.0","method":"session/set_config_option","params":{"configId":"effort","sessionId":"ses_1","value":"max"}}`)
	assert.Assert(t, is.Contains(show(open("low")[1]), `no reasoning level "low" for this model (it has: high, max)`))
	assert.Equal(t, len(open("")), 2)
	d := opened(t)
	d.effort = "max"
	assert.Assert(t, is.Contains(show(d.Line([]byte(`{"id":3,"error":{"message":"no"}}`))[0]), "without the reasoning level max: no"))
}

// TestLongAnswer: text of any length is kept in pieces.
func TestLongAnswer(t *testing.T) {
	d := opened(t)
	piece, err := json.Marshal(map[string]any{"method": "session/update", "params": map[string]any{"sessionId": "ses_1",
		"update": map[string]any{"sessionUpdate": "agent_message_chunk", "messageId": "m", "content": map[string]string{"type": "text", "text": strings.Repeat("a", 1<<16)}}}})
	assert.NilError(t, err)
	size := 0
	take := func(events []cliagent.Event) {
		for _, e := range events {
			text := e.(cliagent.Text).Text
			assert.Assert(t, len(text) <= maxText+1<<16)
			size += len(text)
		}
	}
	for range 100 {
		take(d.Line(piece))
		assert.Assert(t, d.text.Len() <= maxText+1<<16)
	}
	take(d.End())
	assert.Equal(t, size, 100<<16)
}

// TestManyCalls: calls that never end are not kept without limit.
func TestManyCalls(t *testing.T) {
	d := opened(t)
	for i := range 2 * maxCalls {
		d.Line(fmt.Appendf(nil, `{"method":"session/update","params":{"sessionId":"ses_1","update":{"sessionUpdate":"tool_call","toolCallId":"c%d","title":"bash","status":"in_progress"}}}`, i))
	}
	assert.Equal(t, len(d.calls), maxCalls)
}

func TestRecalled(t *testing.T) {
	prompts := []cliagent.Prompt{{Words: "Greet me."}, {Words: "In French."}, {Words: "never sent"}}
	got, known := recalled([]byte(`[{"kind":"session","text":""},{"kind":"said","text":"Greet me.\n[a file]"},{"kind":"said","text":"In French."}]`), prompts)
	assert.Assert(t, known)
	assert.DeepEqual(t, got, []bool{true, true, false})
	for _, bad := range []string{"", "[]", "{", "no such table: session", "null"} {
		_, known = recalled([]byte(bad), prompts)
		assert.Assert(t, !known, bad)
	}
	state := t.TempDir() // no database: no program is started
	_, known = agent{}.Recall(t.Context(), cliagent.Place{Path: "/nonexistent", State: state}, "ses_1", prompts)
	assert.Assert(t, !known)
	assert.NilError(t, os.MkdirAll(filepath.Join(state, "data", "opencode"), 0o700))
	assert.NilError(t, os.WriteFile(filepath.Join(state, "data", "opencode", "opencode.db"), nil, 0o600))
	for _, bad := range []string{"", "ses_'; drop table session; --", "../x"} {
		_, known = agent{}.Recall(t.Context(), cliagent.Place{Path: "/nonexistent", State: state}, bad, prompts)
		assert.Assert(t, !known, bad)
		assert.ErrorContains(t, agent{}.Export(t.Context(), cliagent.Place{Path: "/nonexistent", State: state}, bad), "no session of OpenCode")
	}
}

// TestPermissions: tools that are denied are named last.
func TestPermissions(t *testing.T) {
	l := &cliagent.Launch{Session: &harness.Session{MCP: []harness.MCPServer{
		{Name: "far away", Allow: []string{"greet", "list_*"}, Deny: []string{"list_secrets"}}, {Name: "oz"}}}}
	assert.Equal(t, string(permissions(l)), `{"*":"allow","far_away_*":"deny","far_away_greet":"allow","far_away_list_*":"allow","far_away_list_secrets":"deny"}`)
}

// FuzzOutput: whatever the program prints, nothing fails, and no end is without
// a word.
func FuzzOutput(f *testing.F) {
	files, err := filepath.Glob("testdata/*.jsonl")
	assert.NilError(f, err)
	for _, file := range files {
		data, err := os.ReadFile(file)
		assert.NilError(f, err)
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, e := range talk(t, &dialogue{servers: []server{}}, data) {
			switch e := e.(type) {
			case nil:
				t.Error("no event")
			case cliagent.Reply:
				if !json.Valid(e.Data) || !bytes.HasSuffix(e.Data, []byte("\n")) || bytes.Count(e.Data, []byte("\n")) != 1 {
					t.Errorf("no line of JSON: %q", e.Data)
				}
			case cliagent.Returned:
				if e.State != task.ToolCompleted && e.State != task.ToolFailed {
					t.Errorf("state %q", e.State)
				}
			case cliagent.Finished:
				if e.Failure != nil && e.Failure.Message == "" {
					t.Error("a failure without a word")
				}
			}
		}
	})
}

// BenchmarkEvent is what the adapter adds to a record of the program.
func BenchmarkEvent(b *testing.B) {
	data, err := os.ReadFile(filepath.Join("testdata", "tools.jsonl"))
	assert.NilError(b, err)
	lines := bytes.Split(bytes.TrimSpace(data), []byte("\n"))
	b.ReportAllocs()
	for b.Loop() {
		talk(b, &dialogue{servers: []server{}}, data)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*len(lines)), "ns/event")
}

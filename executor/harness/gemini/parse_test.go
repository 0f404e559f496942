package gemini

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"gotest.tools/v3/assert"

	"github.com/oz-platform/cloudagents/executor/harness"
	"github.com/oz-platform/cloudagents/executor/harness/cliagent"
	"github.com/oz-platform/cloudagents/task"
)

// replay reads captured output and gives the events, a line each.
func replay(t testing.TB, name string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("testdata", name+".jsonl"))
	assert.NilError(t, err)
	p := &parser{}
	var out []string
	add := func(events []cliagent.Event) {
		for _, e := range events {
			out = append(out, show(e))
		}
	}
	for line := range bytes.Lines(data) {
		add(p.Line(bytes.TrimSuffix(line, []byte("\n"))))
	}
	add(p.End())
	return strings.Join(out, "\n")
}

func show(e cliagent.Event) string {
	switch e := e.(type) {
	case cliagent.Called:
		return fmt.Sprintf("call %s %s %s", e.Category, e.Name, e.Input)
	case cliagent.Returned:
		return fmt.Sprintf("result %s %s", e.State, e.Content)
	case cliagent.Finished:
		if e.Failure != nil {
			return fmt.Sprintf("failed %d %q turns=%v", e.Failure.Status, e.Failure.Message, e.Failure.Turns)
		}
		return "finished " + e.Text
	case cliagent.Began:
		return "began " + e.NativeID
	case cliagent.TurnEnded:
		return "turn of " + e.Model
	case cliagent.Text:
		return "text " + e.Text
	}
	return fmt.Sprintf("%T", e)
}

// What the real program printed, captured: its answers, whole, its calls with
// their results, and how it ended.
func TestCapturedStreams(t *testing.T) {
	for name, want := range map[string][]string{
		"tool": {"began e91a349c-445b-43b9-9f58-8b5c8a9a92a8", "text I will write the file.",
			`call command run_shell_command {"command":"printf hello > out.txt && cat out.txt"}`, "turn of gemini-2.5-pro",
			"result completed hello", "text FINAL: done", "finished FINAL: done"},
		"two":      {"text Two at once.", "result completed one", "result completed two", "finished FINAL: two"},
		"badtool":  {`call integration no_such_tool {"x":1}`, `result failed Tool "no_such_tool" not found.`, "finished FINAL: after bad tool"},
		"failtool": {"result completed oops", "finished FINAL: the command failed"},
		"mcp":      {`call integration mcp_ev_echo {"message":"ping-mcp"}`, "result completed Echo: ping-mcp"},
		"err401":   {`failed 401 "scripted error 401" turns=false`},
		"err500":   {`failed 500 "scripted error 500" turns=false`},
		"drop":     {"text partial ", `failed 0 "terminated" turns=false`},
		"maxturns": {"text middle", `turns=true`},
		"sigterm":  {"text sleeping", "call command run_shell_command"},
		"resume":   {"began ", "finished "},
	} {
		t.Run(name, func(t *testing.T) {
			got := replay(t, name)
			at := 0
			for _, w := range want {
				i := strings.Index(got[at:], w)
				assert.Assert(t, i >= 0, "%q is not in what follows, or out of order:\n%s", w, got)
				at += i
			}
			if name == "sigterm" {
				assert.Assert(t, !strings.Contains(got, "finished"), got)
			}
		})
	}
}

// TestServersHaveTime: the program's limit for a server's start is that of each
// call, too; tools that wait for a person or another run take longer than a start.
func TestServersHaveTime(t *testing.T) {
	l := &cliagent.Launch{Scratch: t.TempDir(), Session: &harness.Session{MCP: []harness.MCPServer{
		{Name: "a", URL: "http://127.0.0.1:1"}, {Name: "b", URL: "http://127.0.0.1:1", StartTimeout: time.Second}, {Name: "c", Command: []string{"x"}, StartTimeout: time.Hour}}}}
	list, err := servers(l, map[string]string{})
	assert.NilError(t, err)
	assert.Equal(t, list["a"].Timeout, int64(15*60*1000))
	assert.Equal(t, list["b"].Timeout, int64(15*60*1000))
	assert.Equal(t, list["c"].Timeout, int64(60*60*1000))
}

// TestNoAnswer: a program that stops after a tool call without asking the model
// again has not done its task, whatever it says.
func TestNoAnswer(t *testing.T) {
	p := &parser{}
	for _, line := range []string{`{"type":"message","role":"assistant","content":"I look.","delta":true}`, `{"type":"tool_use","tool_name":"glob","tool_id":"t"}`, `{"type":"tool_result","tool_id":"t","status":"success"}`} {
		p.Line([]byte(line))
	}
	end := p.Line([]byte(`{"type":"result","status":"success"}`))
	assert.Assert(t, strings.Contains(show(end[0]), "without an answer"), show(end[0]))
}

func TestFailureWithoutReason(t *testing.T) {
	p := &parser{}
	for line, want := range map[string]string{
		`{"type":"result","status":"error"}`:                                                  "it gave no reason (error)",
		`{"type":"result","status":"error","error":{"type":"x","message":""}}`:                "it gave no reason",
		`{"type":"result","status":"error","error":{"message":"[API Error: {\"error\":5}]"}}`: `{"error":5}`,
	} {
		events := p.Line([]byte(line))
		assert.Equal(t, events[len(events)-1].(cliagent.Finished).Failure.Message, want)
	}
	denied := p.Line([]byte(`{"type":"tool_result","tool_id":"x","status":"error","error":{"type":"policy_violation","message":"no"}}`))
	assert.Equal(t, denied[0].(cliagent.Returned).State, task.ToolDenied)
	todos := p.Line([]byte(`{"type":"tool_use","tool_name":"write_todos","tool_id":"t","parameters":{"todos":[{"description":"a","status":"completed"},{"description":"b","status":"pending"}]}}`))
	assert.DeepEqual(t, todos[1], cliagent.Planned{Items: []task.Todo{{Title: "a", Done: true}, {Title: "b"}}})
}

const session = "fec4964c-78da-4718-83f2-04a3e92a6d87"

// sessionOf writes a session's file as the program does.
func sessionOf(t testing.TB, lines ...string) (state, file string) {
	t.Helper()
	state = t.TempDir()
	dir := filepath.Join(state, ".gemini", "tmp", "demo", "chats")
	assert.NilError(t, os.MkdirAll(dir, 0o700))
	file = filepath.Join(dir, "session-2026-11-26T01-52-fec4964c.jsonl")
	assert.NilError(t, os.WriteFile(file, []byte(strings.Join(lines, "\n")), 0o600))
	return state, file
}

const (
	header   = `{"sessionId":"` + session + `","kind":"main"}`
	asked    = `{"id":"u1","type":"user","content":[{"text":"Greet "},{"text":"me."}]}`
	called   = `{"id":"g1","type":"gemini","content":"","toolCalls":[{"id":"c1","result":[{"functionResponse":{"id":"c1","response":{"output":"5"}}}]},{"id":"c2"}]}`
	answered = `{"id":"u2","type":"user","content":[{"functionResponse":{"id":"c1","response":{"output":"5"}}}]}`
	other    = `{"id":"u3","type":"user","content":[{"functionResponse":{"id":"c2","response":{"output":"5"}}}]}`
	said     = `{"id":"u4","type":"user","content":"Say it in French."}`
)

// The program tells a resumed model each result twice, unless the file is mended.
func TestMend(t *testing.T) {
	list := `{"$set":{"lastUpdated":"x","messages":[` + asked + `,` + called + `,` + answered + `,` + said + `]}}`
	state, file := sessionOf(t, header, asked, called, answered, other, "not JSON", list, said, `{"cut`)
	assert.NilError(t, mend(state, session))
	data, err := os.ReadFile(file)
	assert.NilError(t, err)
	assert.Equal(t, string(data), strings.Join([]string{header, asked, called, other, "not JSON",
		`{"$set":{"lastUpdated":"x","messages":[` + asked + `,` + called + `,` + said + `]}}`, said, ""}, "\n"))
	before, err := os.Stat(file)
	assert.NilError(t, err)
	assert.NilError(t, mend(state, session))
	after, err := os.Stat(file)
	assert.NilError(t, err)
	assert.Assert(t, os.SameFile(before, after), "what is whole is left alone")
	entries, err := os.ReadDir(filepath.Dir(file))
	assert.NilError(t, err)
	assert.Equal(t, len(entries), 1, "nothing is left behind")
	assert.NilError(t, mend(t.TempDir(), session), "no file is for the program to say")
}

func TestReceived(t *testing.T) {
	prompts := []cliagent.Prompt{{Words: "Greet me."}, {Words: "Say it in French."}, {Words: "never sent"}}
	state, _ := sessionOf(t, header, asked, called, answered, `{"$set":{"messages":[`+asked+`]}}`, said, "")
	got, known := agent{}.Received(state, session, prompts)
	assert.Assert(t, known)
	assert.DeepEqual(t, got, []bool{true, true, false})
	for _, bad := range []string{"", "../../x", "another-0000", "fec*"} {
		_, known = agent{}.Received(state, bad, prompts)
		assert.Assert(t, !known, bad)
	}
}

// FuzzLine: whatever the program prints, a call's events name it and nothing fails.
func FuzzLine(f *testing.F) {
	for _, name := range []string{"tool", "two", "badtool", "err500", "maxturns"} {
		data, err := os.ReadFile(filepath.Join("testdata", name+".jsonl"))
		assert.NilError(f, err)
		for line := range bytes.Lines(data) {
			f.Add(line)
		}
	}
	f.Add([]byte(`{"type":"tool_use","tool_name":"write_todos","parameters":{"todos":[null,5]}}`))
	f.Fuzz(func(t *testing.T, line []byte) {
		p := &parser{}
		ended := 0
		for _, e := range append(p.Line(line), p.End()...) {
			if f, ok := e.(cliagent.Finished); ok {
				ended++
				if f.Failure != nil && f.Failure.Message == "" {
					t.Fatal("a failure without a reason")
				}
			}
		}
		if ended > 1 {
			t.Fatal("one line ends the work twice")
		}
		m := &mender{answered: map[string]bool{}}
		if out := m.line(line); out != nil && !m.changed && !bytes.Equal(out, line) {
			t.Fatalf("a line was changed for nothing: %q", out)
		}
	})
}

// BenchmarkEvent is what the adapter adds to a record of the program.
func BenchmarkEvent(b *testing.B) {
	data, err := os.ReadFile(filepath.Join("testdata", "tool.jsonl"))
	assert.NilError(b, err)
	var lines [][]byte
	for in := bufio.NewScanner(bytes.NewReader(data)); in.Scan(); {
		lines = append(lines, bytes.Clone(in.Bytes()))
	}
	p := &parser{}
	for b.Loop() {
		for _, line := range lines {
			p.Line(line)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*len(lines)), "ns/event")
}

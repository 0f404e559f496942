package console_test

import (
	"encoding/json"
	"strings"
	"testing"

	"gotest.tools/v3/assert"

	"github.com/oz-platform/cloudagents/internal/console"
	"github.com/oz-platform/cloudagents/task"
)

func event(p task.Payload) task.Event { return task.Event{Payload: p} }

func journey() []task.Event {
	return []task.Event{
		event(&task.StateChanged{To: task.StateQueued}),
		event(&task.Input{Text: "mend it"}),
		event(&task.Phase{Name: task.PhaseSetup, Status: task.PhaseStarted}),
		event(&task.Phase{Name: task.PhaseSetup, Status: task.PhaseDone, DurationMS: 1500}),
		event(&task.Message{ID: "m1", Text: "I look ", More: true}),
		event(&task.Message{ID: "m1", Text: "first.", More: false}),
		event(&task.ToolCall{ID: "c1", Name: "run_command", Input: json.RawMessage(`{"command":"go test ./...\nsecond"}`)}),
		event(&task.ToolOutput{CallID: "c1", Text: "FAIL\x1b[31m one\npart"}),
		event(&task.ToolOutput{CallID: "c1", Text: "ial\n"}),
		event(&task.ToolResult{CallID: "c1", Name: "run_command", State: task.ToolCompleted, Output: json.RawMessage(`{"exit_code":1}`), DurationMS: 20}),
		event(&task.Input{Text: "also the docs"}),
		event(&task.ArtifactReported{Artifact: task.Artifact{UID: "a", Type: task.ArtifactReference, ReferenceType: task.ReferenceBranch, Title: "oz/mend", URL: "file:///r"}}),
		event(&task.StateChanged{From: task.StateInProgress, To: task.StateSucceeded, Status: task.Status{Message: "mended"}}),
	}
}

func TestPrinterShowsAJourney(t *testing.T) {
	var out strings.Builder
	p := console.NewPrinter(&out, false)
	for _, e := range journey() {
		p.Event(e)
	}
	assert.NilError(t, p.Err())
	assert.Equal(t, out.String(), `· QUEUED
▸ setup
  setup took 1.5s
I look first.
› run_command go test ./...
  FAIL[31m one
  partial
  exit 1 after 20ms
» also the docs
◆ git branch oz/mend file:///r
■ SUCCEEDED  mended
`)
}

func TestPrinterNeverPassesControlCharacters(t *testing.T) {
	var out strings.Builder
	p := console.NewPrinter(&out, false)
	evil := "\x1b]0;owned\x07\u009b2J\rtext"
	for _, payload := range []task.Payload{
		&task.Message{ID: "m", Text: evil}, &task.ToolOutput{Text: evil}, &task.Notice{Text: evil},
		&task.ToolCall{Name: "x", Input: json.RawMessage(`{"command":"\u001b[2J"}`)},
	} {
		p.Event(event(payload))
	}
	assert.Assert(t, !strings.ContainsAny(out.String(), "\x1b\x07\r\u009b"), "%q", out.String())
}

func TestStreamGivesTheObjectsOfTheCommandLine(t *testing.T) {
	var out strings.Builder
	s := console.NewStream(&out)
	s.Started(task.Task{ID: "r1"}, "http://x/r1")
	for _, e := range journey() {
		s.Event(e)
	}
	assert.NilError(t, s.Err())
	var kinds []string
	for line := range strings.Lines(out.String()) {
		var o map[string]any
		assert.NilError(t, json.Unmarshal([]byte(line), &o))
		kinds = append(kinds, o["type"].(string))
		switch o["type"] {
		case "agent":
			assert.Equal(t, o["text"], "I look first.")
		case "tool_call":
			assert.Equal(t, o["tool"], "run_command")
			assert.Equal(t, o["command"], "go test ./...\nsecond")
		case "tool_result":
			assert.Equal(t, o["status"], "complete")
			assert.Equal(t, o["exit_code"], 1.0)
			assert.Equal(t, o["output"], "FAIL\x1b[31m one\npartial\n")
		}
	}
	assert.DeepEqual(t, kinds, []string{"system", "system", "system", "system", "system", "agent", "tool_call", "tool_result", "artifact_created", "system"})
}

// TestClean: a character that is cut in two between writes arrives whole, and
// no control character does.
func TestClean(t *testing.T) {
	const text = "a\tb\n\x1b[31mé\u009b2J世🙂\x07 end\n"
	const want = "a\tb\n[31mé2J世🙂 end\n"
	for size := 1; size <= len(text); size++ {
		var out strings.Builder
		w := console.Clean(&out)
		for rest := text; rest != ""; {
			n := min(size, len(rest))
			wrote, err := w.Write([]byte(rest[:n]))
			assert.NilError(t, err)
			assert.Equal(t, wrote, n)
			rest = rest[n:]
		}
		assert.Equal(t, out.String(), want, "pieces of %d", size)
	}
}

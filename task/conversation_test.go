package task_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"gotest.tools/v3/assert"
	"gotest.tools/v3/golden"

	"github.com/oz-platform/cloudagents/task"
)

var epoch = time.Date(2026, 2, 3, 4, 5, 6, 7, time.UTC)

// logOf numbers payloads as a run's log, a second apart; an ExecutionID among
// them is the writer of those that follow.
func logOf(entries ...any) (events []task.Event) {
	var by task.ExecutionID
	for _, entry := range entries {
		switch v := entry.(type) {
		case task.ExecutionID:
			by = v
		case task.Payload:
			n := int64(len(events)) + 1
			e := task.Event{Seq: n, TaskID: "run", ExecutionID: by, Time: epoch.Add(time.Duration(n) * time.Second), Payload: v}
			switch v.(type) {
			case *task.StateChanged, *task.Input:
				e.ExecutionID = ""
			}
			events = append(events, e)
		}
	}
	return events
}

func call(id string) *task.ToolCall {
	return &task.ToolCall{ID: id, Name: "run_command", Category: task.CategoryCommand, Input: json.RawMessage(`{"command":"go test"}`)}
}

func result(id string) *task.ToolResult {
	return &task.ToolResult{CallID: id, Name: "run_command", Category: task.CategoryCommand, State: task.ToolCompleted, Content: "ok", Output: json.RawMessage(`{"exit_code":0}`)}
}

// fullLog has two rounds of work, two executions, a turn that was cut off and
// every type of event.
func fullLog() []task.Event {
	return logOf(
		&task.StateChanged{To: task.StateQueued},
		&task.Input{Text: "Mend the parser", Attachments: []task.Attachment{{FileName: "log.txt", MIMEType: "text/plain", SizeBytes: 3, Blob: "b"}}},
		&task.StateChanged{From: task.StateQueued, To: task.StateInProgress},
		task.ExecutionID("x1"),
		&task.Phase{Name: "workspace", Status: task.PhaseStarted},
		&task.Phase{Name: "workspace", Status: task.PhaseDone, Detail: "cloned demo", DurationMS: 12},
		&task.Delivered{Inputs: []int64{2}},
		&task.TurnStarted{Turn: 1},
		&task.Reasoning{ID: "r1", Text: "private"},
		&task.Message{ID: "m1", Text: "I will ", More: true},
		&task.Message{ID: "m1", Text: "run the tests."},
		call("c1"), call("c2"),
		&task.UsageReport{Model: "m"},
		&task.TurnEnded{Turn: 1, RequestID: "req-1"},
		&task.ToolOutput{CallID: "c1", Text: "o"},
		result("c1"),
		&task.Input{Text: "Quickly, please"},
		&task.ToolResult{CallID: "c2", State: task.ToolFailed, Content: strings.Repeat("long ", 2000)},
		&task.TurnStarted{Turn: 2},
		&task.Message{ID: "lost", Text: "cut off"},
		call("lost"),
		task.ExecutionID("x2"),
		&task.Notice{Text: "The execution ended early"},
		result("lost"),
		&task.TurnStarted{Turn: 2},
		&task.Message{ID: "m2", Text: "Done."},
		&task.TurnEnded{Turn: 2, RequestID: "req-2"},
		&task.Todos{Items: []task.Todo{{Title: "test", Done: true}}},
		&task.Effect{Key: "k", Kind: "git_push", State: task.EffectSettled},
		&task.ArtifactReported{Artifact: task.Artifact{UID: "a", Type: task.ArtifactReference, Title: "branch"}},
		&task.Compaction{UpTo: 3, Summary: "so far"},
		&task.ErrorReported{Code: task.CodeInternal, Message: "mended"},
		&task.StateChanged{From: task.StateInProgress, To: task.StateSucceeded},
		&task.Input{Text: "And the docs"},
		&task.StateChanged{From: task.StateSucceeded, To: task.StateQueued},
		task.ExecutionID("x3"),
		&task.TurnStarted{Turn: 3},
		&task.Message{ID: "m3", Text: "The docs", More: true},
		call("c3"),
	)
}

func TestConversationView(t *testing.T) {
	run := task.Task{ID: "run", Spec: task.Spec{ConversationID: "conv"}, Head: task.Head{State: task.StateInProgress, Execution: "x3"}}
	c := task.NewConversation(run, fullLog())
	wire, err := json.MarshalIndent(c, "", "  ")
	assert.NilError(t, err)
	golden.Assert(t, string(wire)+"\n", "conversation.json")

	var md bytes.Buffer
	assert.NilError(t, c.WriteMarkdown(&md, "Mend the parser"))
	golden.Assert(t, md.String(), "conversation.md")

	// The turn under way is cut off once its execution has lost the run.
	run.Execution = ""
	c = task.NewConversation(run, fullLog())
	assert.Equal(t, len(c.Steps[1].Messages), 1)
}

// TestConversationWireRules holds what the wire requires of every part.
func TestConversationWireRules(t *testing.T) {
	for n := range len(fullLog()) + 1 { // after each event of the run
		c := task.NewConversation(task.Task{ID: "run", Head: task.Head{Execution: "x3"}}, fullLog()[:n])
		raw, err := json.Marshal(c)
		assert.NilError(t, err)
		var wire struct {
			ID    *string `json:"conversation_id"`
			Steps *[]struct {
				ID       string
				Messages *[]struct {
					Role    string
					Content *[]map[string]any
				}
				Steps *[]any
			}
		}
		assert.NilError(t, json.Unmarshal(raw, &wire))
		assert.Assert(t, wire.ID != nil && *wire.ID == "run" && wire.Steps != nil, "%s", raw)
		for _, s := range *wire.Steps {
			assert.Assert(t, s.ID != "" && s.ID != "step-0" && s.Messages != nil && s.Steps != nil, "%s", raw)
			assert.Assert(t, len(*s.Messages) > 0)
			for _, m := range *s.Messages {
				assert.Assert(t, m.Role != "" && m.Content != nil)
				assert.Assert(t, len(*m.Content) > 0, "%s", raw)
				for _, block := range *m.Content {
					for _, field := range map[string][]string{"text": {"text"}, "action": {"id", "category", "name", "input"},
						"action_result": {"action_id", "category", "name", "state", "output"}, "event": {"name", "data"}}[block["type"].(string)] {
						assert.Assert(t, block[field] != nil, "%s lacks %s", block["type"], field)
					}
				}
			}
		}
	}
}

func TestConversationWithoutTurns(t *testing.T) {
	c := task.NewConversation(task.Task{ID: "run"}, logOf(
		&task.StateChanged{To: task.StateQueued}, task.ExecutionID("x"),
		&task.Message{ID: "m1", Text: "a"}, call("c"), result("c"), &task.Message{ID: "m2", Text: "b", More: true}, &task.Message{ID: "m2", Text: "c"},
		&task.ToolCall{ID: "odd", Input: json.RawMessage(`[1,2]`)}, &task.ToolResult{CallID: "odd", Content: "x"},
		&task.StateChanged{To: task.StateFailed}, &task.StateChanged{From: task.StateFailed, To: task.StateQueued}, &task.Message{Text: "resumed without a word"}))
	assert.Equal(t, len(c.Steps), 2)
	var roles []string
	for _, m := range c.Steps[0].Messages {
		roles = append(roles, string(m.Role))
	}
	assert.DeepEqual(t, roles, []string{"assistant", "tool", "assistant", "tool", "system"})
	second := c.Steps[0].Messages[2]
	assert.Equal(t, second.Content[0].Text, "bc")
	assert.Equal(t, string(second.Content[1].Input), `{"value":[1,2]}`)
	assert.Equal(t, second.Content[1].Category, task.CategoryIntegration)
	assert.Equal(t, c.Steps[0].Summary, "bc")
	assert.Equal(t, c.Steps[0].Description, "")
}

func TestConversationCutsWhatIsLong(t *testing.T) {
	deep := strings.Repeat(`{"a":`, 50) + "1" + strings.Repeat("}", 50)
	long := strings.Repeat("ö", 100_000)
	c := task.NewConversation(task.Task{ID: "run"}, logOf(
		&task.Input{Text: long},
		&task.ToolCall{ID: "c", Name: "edit_files", Input: json.RawMessage(`{"content":"` + long + `","n":12345678901234567890,"list":[` + strings.Repeat("0,", 500) + `0],"deep":` + deep + `}`)}))
	raw, err := json.Marshal(c.Steps[0].Messages[1])
	assert.NilError(t, err)
	assert.Assert(t, len(raw) < 10_000, "%d bytes", len(raw))
	assert.Assert(t, bytes.Contains(raw, []byte("12345678901234567890")))
	assert.Assert(t, bytes.Contains(raw, []byte("(501 items)")))
	assert.Equal(t, c.Steps[0].Messages[0].Content[0].Text, long, "what people say is never cut")
	assert.Assert(t, len(c.Steps[0].Description) < 1100)
	assert.Assert(t, strings.HasSuffix(c.Steps[0].Description, "… (200000 bytes in all)"))
}

func TestWriteTranscript(t *testing.T) {
	events := fullLog()
	var out bytes.Buffer
	assert.NilError(t, task.WriteTranscript(&out, events))
	lines := strings.Split(strings.TrimSuffix(out.String(), "\n"), "\n")
	assert.Equal(t, len(lines), len(events))
	for i, line := range lines {
		var e task.Event
		assert.NilError(t, json.Unmarshal([]byte(line), &e))
		assert.DeepEqual(t, e, events[i])
	}
	broken := errors.New("disk full")
	assert.ErrorIs(t, task.WriteTranscript(failingWriter{broken}, events), broken)
	assert.ErrorIs(t, task.NewConversation(task.Task{}, events).WriteMarkdown(failingWriter{broken}, ""), broken)
	assert.Assert(t, task.WriteTranscript(&out, []task.Event{{}}) != nil)
}

type failingWriter struct{ err error }

func (w failingWriter) Write([]byte) (int, error) { return 0, w.err }

func TestMarkdownFencesHold(t *testing.T) {
	c := task.NewConversation(task.Task{ID: "run"}, logOf(call("c"), &task.ToolResult{CallID: "c", Content: "```\nin a fence\n````"}))
	var out bytes.Buffer
	assert.NilError(t, c.WriteMarkdown(&out, "a\n# b"))
	assert.Assert(t, strings.Contains(out.String(), "`````\n```\nin a fence\n````\n`````\n"), out.String())
	assert.Assert(t, strings.HasPrefix(out.String(), "# a # b\n"))
}

func ExampleNewConversation() {
	run := task.Task{ID: "run"}
	c := task.NewConversation(run, []task.Event{
		{Seq: 1, Payload: &task.Input{Text: "What is 6 times 7?"}},
		{Seq: 2, ExecutionID: "x", Payload: &task.TurnStarted{Turn: 1}},
		{Seq: 3, ExecutionID: "x", Payload: &task.Message{ID: "m", Text: "It is ", More: true}},
		{Seq: 4, ExecutionID: "x", Payload: &task.Message{ID: "m", Text: "42."}},
		{Seq: 5, ExecutionID: "x", Payload: &task.TurnEnded{Turn: 1}},
	})
	for _, m := range c.Steps[0].Messages {
		fmt.Println(m.Role, m.Content[0].Text)
	}
	fmt.Println(c.Steps[0].Summary)
	// Output:
	// user What is 6 times 7?
	// assistant It is 42.
	// It is 42.
}

func ExampleWriteTranscript() {
	err := task.WriteTranscript(os.Stdout, []task.Event{{Seq: 1, TaskID: "run", Payload: &task.Notice{Text: "hello"}}})
	fmt.Println(err)
	// Output:
	// {"seq":1,"run_id":"run","time":"0001-01-01T00:00:00Z","type":"notice","data":{"text":"hello"}}
	// <nil>
}

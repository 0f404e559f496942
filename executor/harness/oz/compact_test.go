package ozagent_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"gotest.tools/v3/assert"
	is "gotest.tools/v3/assert/cmp"

	"github.com/oz-platform/cloudagents/executor/gateway/scripted"
	"github.com/oz-platform/cloudagents/executor/harness/harnesstest"
	ozagent "github.com/oz-platform/cloudagents/executor/harness/oz"
	"github.com/oz-platform/cloudagents/task"
)

// window is the context of the model in these tests, in tokens.
const window = 20_000

// wordy is a model whose commands print more than its window holds.
func wordy(turns int) scripted.Script {
	s := scripted.Script{Order: scripted.ByArrival, Steps: []scripted.Step{
		{When: &scripted.When{SystemContains: "You summarise the work"}, Text: "SUMMARY: numbers were printed."},
	}}
	for i := range turns {
		s.Steps = append(s.Steps, scripted.Step{Text: fmt.Sprintf("Round %d.", i), ToolCalls: []scripted.ToolCall{
			{Name: "run_command", Input: object{"command": fmt.Sprintf("seq %d %d", 1000*i+1000, 1000*i+2400)}}}})
	}
	s.Steps = append(s.Steps, scripted.Step{ToolCalls: []scripted.ToolCall{{Name: "finish", Input: object{"outcome": "success", "summary": "Counted."}}}})
	return s
}

func wordyLab(t *testing.T, turns int) *harnesstest.Lab {
	lab := harnesstest.NewLab(t, harnesstest.LabOptions{Script: wordy(turns), NoRepo: true, ContextWindow: window, MaxOutput: 1000,
		Server: scripted.Options{ContextTokens: window - 1000}})
	lab.Log.Say("Count to the end, please.")
	return lab
}

// checkWordy holds what must be true of every request and of the log.
func checkWordy(t *testing.T, lab *harnesstest.Lab) {
	t.Helper()
	lab.CheckLog(t)
	compactions := len(harnesstest.Payloads[*task.Compaction](lab.Log))
	assert.Assert(t, compactions >= 2, "%d compactions", compactions)
	summaries := 0
	for _, q := range lab.Server.Requests() {
		assert.Equal(t, q.Status, 200, "request %d: %s", q.N, q.Problem)
		body := string(q.Body)
		if strings.Contains(q.System, "You summarise the work") {
			summaries++
			assert.Equal(t, len(q.Tools), 0)
			continue
		}
		assert.Equal(t, strings.Count(body, "Count to the end, please."), 1, "the prompt in request %d", q.N)
		assert.Assert(t, strings.Count(body, "SUMMARY:") <= 1, "request %d has an old summary beside the new", q.N)
	}
	assert.Equal(t, summaries, compactions)
}

// TestCompaction: a conversation longer than the model's context goes on by
// summaries; no request is too long, and each has the prompt.
func TestCompaction(t *testing.T) {
	lab := wordyLab(t, 12)
	out, err := ozagent.New(nil).Run(t.Context(), lab.Session(t))
	assert.NilError(t, err)
	assert.Equal(t, out.State, task.StateSucceeded, out.Status.Message)
	assert.Equal(t, out.Turns, 13)
	checkWordy(t, lab)
}

// TestRestartAroundCompaction kills the agent right before and right after
// its first summary is in the log. The next one has the same conversation.
func TestRestartAroundCompaction(t *testing.T) {
	whole := wordyLab(t, 12)
	_, err := ozagent.New(nil).Run(t.Context(), whole.Session(t))
	assert.NilError(t, err)
	at, posted := 0, 0
	for _, e := range whole.Log.Events() {
		if _, person := e.Payload.(*task.Input); person {
			continue
		}
		posted++
		if _, ok := e.Payload.(*task.Compaction); ok {
			at = posted
			break
		}
	}
	assert.Assert(t, at > 0)
	for _, crash := range []harnesstest.Crash{{At: at}, {At: at, Late: true}, {At: at + 1}} {
		t.Run(fmt.Sprintf("%+v", crash), func(t *testing.T) {
			lab := wordyLab(t, 12)
			_, err := ozagent.New(nil).Run(t.Context(), lab.CrashingSession(t, crash))
			assert.Assert(t, errors.Is(err, harnesstest.ErrCrashed), "%v", err)
			out, err := ozagent.New(nil).Run(t.Context(), lab.Session(t))
			assert.NilError(t, err)
			assert.Equal(t, out.State, task.StateSucceeded, out.Status.Message)
			lab.CheckLog(t)
			for _, q := range lab.Server.Requests() {
				assert.Equal(t, q.Status, 200, "request %d: %s", q.N, q.Problem)
			}
		})
	}
}

// TestPromptTooLong: what no summary can make fit ends the run with advice.
func TestPromptTooLong(t *testing.T) {
	lab := harnesstest.NewLab(t, harnesstest.LabOptions{Script: wordy(1), NoRepo: true, ContextWindow: window, MaxOutput: 1000,
		Server: scripted.Options{ContextTokens: window}})
	lab.Log.Say(strings.Repeat("a very long story ", 20_000))
	out, err := ozagent.New(nil).Run(t.Context(), lab.Session(t))
	assert.NilError(t, err)
	assert.Equal(t, out.State, task.StateFailed)
	assert.Equal(t, out.Status.ErrorCode, task.CodeInvalidRequest)
	assert.Assert(t, is.Contains(out.Status.Message, "Give a shorter prompt"))
}

package harnesstest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"gotest.tools/v3/assert"

	"github.com/oz-platform/cloudagents/executor/gateway/scripted"
	"github.com/oz-platform/cloudagents/executor/harness"
	"github.com/oz-platform/cloudagents/task"
)

// RestartAtEveryWrite lets the journal fail at each of the run's writes in
// turn, once losing what was not flushed and once keeping it, and runs a new
// harness on the same log. Whatever the point: the run succeeds, its prompt is
// delivered once, a finished call is not repeated, its branch is pushed and
// reported once. Of a third party's agent every Harness.RestartStep-th write is
// taken, losing and keeping by turns, unless OZ_TEST_LONG is set: its program
// takes long to start.
func RestartAtEveryWrite(t *testing.T, h Harness) {
	writes := h.restart(t, Crash{})
	t.Logf("%d writes", writes)
	assert.Assert(t, writes > 10)
	step := max(1, h.RestartStep)
	if long() {
		step = 1
	}
	for at := 1; at <= writes; at += step {
		for _, late := range []bool{false, true} {
			if step > 1 && late != (at/step%2 == 1) {
				continue
			}
			t.Run(fmt.Sprintf("%d/late=%v", at, late), func(t *testing.T) {
				t.Parallel()
				h.restart(t, Crash{At: at, Late: late})
			})
		}
	}
}

// restart runs the story with one crash and gives the number of its writes.
func (h Harness) restart(t *testing.T, c Crash) int {
	const check = "sh check.sh && echo ran >> ../ran"
	lab := h.lab(t, LabOptions{
		Served: true,
		Files:  map[string]string{"value.txt": "one\n", "check.sh": "grep -qx two value.txt && echo good\n"},
		Script: Staged(said(
			scripted.Step{Thinking: "Short.", Text: "I change it.", ToolCalls: []scripted.ToolCall{h.Tools.Edit("value.txt", "one", "two")}},
			scripted.Step{ToolCalls: []scripted.ToolCall{h.Tools.Command(check)}},
			scripted.Step{Text: "Good.", ToolCalls: h.Tools.Deliver("Say two")},
			scripted.Step{ToolCalls: h.Tools.Finish("It says two.", check)},
			scripted.Step{Text: "It says two."},
		)...),
	})
	lab.Log.Say("Make value.txt say two.")
	first := lab.CrashingSession(t, c)
	journal := first.Journal.(*Journal)
	ctx, stop := context.WithTimeout(t.Context(), patience)
	defer stop()
	out, err := h.New().Run(ctx, first)
	if c.At > 0 && journal.Crashed() {
		assert.Assert(t, errors.Is(err, ErrCrashed), "a crash ends Run: %v", err)
		second := lab.Session(t)
		out, err = h.New().Run(ctx, second)
	}
	assert.NilError(t, err)
	lab.checkStory(t, out, h.Foreign)
	return journal.Posted()
}

// checkStory checks the end of the story of restart.
func (l *Lab) checkStory(t *testing.T, out harness.Outcome, foreign bool) {
	t.Helper()
	assert.Equal(t, out.State, task.StateSucceeded, "%+v", out.Status)
	assert.Equal(t, out.SeenInput, int64(1))
	l.CheckLog(t)
	branches := l.RemoteBranches(t)
	assert.Equal(t, len(branches), 1, "%v", branches)
	for branch, pushes := range branches {
		assert.Equal(t, pushes, 1, "pushed once")
		assert.Equal(t, l.RunGit(t, l.Remote, "show", branch+":value.txt"), "two")
		assert.Equal(t, l.RunGit(t, l.Remote, "rev-list", "--count", "main.."+branch), "1", "committed once")
		l.checkBranchArtifact(t, branch)
	}
	// A command whose result was lost may have run, and be made again as a new
	// call; one with a result is never repeated.
	commands := 0
	for _, p := range Payloads[*task.ToolResult](l.Log) {
		if p.Category == task.CategoryCommand && strings.Contains(p.Content, "good") {
			commands++
		}
	}
	data, err := os.ReadFile(filepath.Join(l.Root, "ran"))
	assert.NilError(t, err)
	ran := strings.Count(string(data), "ran")
	if foreign { // its own session may have a result that the log has lost, or have lost one that the log has
		assert.Assert(t, commands <= 2, "the log has the check %d times", commands)
	} else {
		assert.Equal(t, commands, 1, "the model saw the check succeed once")
	}
	assert.Assert(t, ran <= 2, "the check ran %d times", ran)
}

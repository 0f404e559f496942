package tools_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"gotest.tools/v3/assert"
	is "gotest.tools/v3/assert/cmp"

	"github.com/oz-platform/cloudagents/executor/harness"
	"github.com/oz-platform/cloudagents/executor/harness/harnesstest"
	"github.com/oz-platform/cloudagents/executor/harness/tools"
	"github.com/oz-platform/cloudagents/task"
)

// ran puts a command and its end into the log, as the adapter of an agent does.
func ran(t *testing.T, s *harness.Session, id string, input any, exit int) {
	t.Helper()
	raw, err := json.Marshal(input)
	assert.NilError(t, err)
	result := &task.ToolResult{CallID: id, Name: "Bash", Category: task.CategoryCommand, State: task.ToolCompleted}
	if exit != 0 {
		result.State, result.Output = task.ToolFailed, json.RawMessage(`{"exit_code":1}`)
	}
	assert.NilError(t, s.Journal.Post(t.Context(), &task.ToolCall{ID: id, Name: "Bash", Category: task.CategoryCommand, Input: raw}, result))
}

// TestFinishNeedsEvidence: a success that the record does not bear out is sent
// back, and fails the run in the end.
func TestFinishNeedsEvidence(t *testing.T) {
	l := harnesstest.NewLab(t, harnesstest.LabOptions{})
	s := l.Session(t)
	claim := func(more object) (harness.ToolAnswer, *harness.ToolError) {
		in := object{"outcome": "success", "summary": "Mended."}
		for k, v := range more {
			in[k] = v
		}
		return do(t, s, tools.NameFinish, in)
	}
	ran(t, s, "a", object{"command": "make  test"}, 1)
	_, no := claim(object{"verification": []string{"make test"}})
	assert.Assert(t, is.Contains(no.Message, "failed when it was last run"))
	ran(t, s, "b", object{"command": []string{"bash", "-lc", "cd x && make test"}}, 0)
	answer, no := claim(object{"verification": []string{"make test"}})
	assert.Assert(t, no == nil, "%v", no)
	assert.Equal(t, answer.End.State, task.StateSucceeded)
	assert.Equal(t, answer.End.Status.Message, "Mended.\n\nVerified with: make test")

	assert.NilError(t, os.WriteFile(filepath.Join(l.Dir, "new.txt"), []byte("x"), 0o600))
	_, no = claim(nil)
	assert.Assert(t, is.Contains(no.Message, "Files were changed"))
	assert.Assert(t, is.Contains(no.Message, "1 files in demo are changed and not committed"))
	answer, no = claim(object{"verification": []string{"make test"}, "not_pushed_because": "nobody asked"})
	assert.Assert(t, no == nil, "%v", no)
	assert.Equal(t, answer.End.State, task.StateSucceeded)

	answer, no = claim(object{"verification": []string{"make install"}})
	assert.Assert(t, no == nil, "%v", no)
	assert.Equal(t, answer.End.State, task.StateFailed, "it was the third")
	assert.Assert(t, is.Contains(answer.End.Status.Message, `"make install", which was not run`))
}

// TestFinishSeesPushes: what is committed and pushed is no loose end.
func TestFinishSeesPushes(t *testing.T) {
	l := harnesstest.NewLab(t, harnesstest.LabOptions{})
	s := l.Session(t)
	ran(t, s, "a", object{"command": "true"}, 0)
	l.RunGit(t, l.Dir, "commit", "-q", "--allow-empty", "-m", "More")
	in := object{"outcome": "success", "summary": "Done.", "verification": []string{"true"}}
	_, no := do(t, s, tools.NameFinish, in)
	assert.Assert(t, is.Contains(no.Message, "is not pushed"))
	l.RunGit(t, l.Dir, "push", "-q", "origin", "main")
	answer, no := do(t, s, tools.NameFinish, in)
	assert.Assert(t, no == nil, "%v", no)
	assert.Equal(t, answer.End.State, task.StateSucceeded)
}

func TestFinishInput(t *testing.T) {
	s := harnesstest.NewLab(t, harnesstest.LabOptions{NoRepo: true}).Session(t)
	for want, in := range map[string]object{
		"outcome":      {"outcome": "maybe", "summary": "x"},
		"summary":      {"outcome": "success", "summary": " "},
		"verification": {"outcome": "success", "summary": "x", "verification": make([]string, 21)},
	} {
		_, no := do(t, s, tools.NameFinish, in)
		assert.Assert(t, no != nil && no.Input, want)
		assert.Assert(t, is.Contains(no.Message, want))
	}
	answer, no := do(t, s, tools.NameFinish, object{"outcome": "failure", "summary": "It cannot be done."})
	assert.Assert(t, no == nil)
	assert.Equal(t, answer.End.State, task.StateFailed)
}

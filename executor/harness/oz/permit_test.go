package ozagent_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"gotest.tools/v3/assert"

	"github.com/oz-platform/cloudagents/executor/gateway/scripted"
	"github.com/oz-platform/cloudagents/executor/harness"
	"github.com/oz-platform/cloudagents/executor/harness/harnesstest"
	ozagent "github.com/oz-platform/cloudagents/executor/harness/oz"
	"github.com/oz-platform/cloudagents/executor/harness/permit"
	"github.com/oz-platform/cloudagents/task"
)

// TestRestartAroundApproval: wherever a restart falls, a command is not run
// before it is approved, and at most once.
func TestRestartAroundApproval(t *testing.T) {
	asking := func(t *testing.T, s *harness.Session) *harness.Session {
		var err error
		s.Permit, err = permit.New(&task.Permissions{ExecuteCommands: task.LevelAlwaysAsk}, "")
		assert.NilError(t, err)
		return s
	}
	for at := 1; at <= 12; at++ {
		for _, late := range []bool{false, true} {
			t.Run(fmt.Sprintf("%d %v", at, late), func(t *testing.T) {
				lab := harnesstest.NewLab(t, harnesstest.LabOptions{NoRepo: true, Script: scripted.Script{Steps: []scripted.Step{
					{ToolCalls: []scripted.ToolCall{call("run_command", object{"command": "echo x >> ran"})}},
					{ToolCalls: []scripted.ToolCall{call("finish", object{"outcome": "failure", "summary": "Enough."})}}}}})
				lab.Log.Say("Run it.")
				out, err := ozagent.New(nil).Run(t.Context(), asking(t, lab.CrashingSession(t, harnesstest.Crash{At: at, Late: late})))
				if errors.Is(err, harnesstest.ErrCrashed) {
					out, err = ozagent.New(nil).Run(t.Context(), asking(t, lab.Session(t)))
				}
				assert.NilError(t, err)
				assert.Equal(t, out.State, task.StateBlocked, out.Status.Message)
				q := out.Status.Question
				assert.Assert(t, q != nil)
				_, err = os.Stat(filepath.Join(lab.Root, "ran"))
				assert.ErrorIs(t, err, os.ErrNotExist)

				again, err := ozagent.New(nil).Run(t.Context(), asking(t, lab.Session(t)))
				assert.NilError(t, err)
				assert.Equal(t, again.Status.Question.ID, q.ID, "asked again without an answer")

				s := asking(t, lab.CrashingSession(t, harnesstest.Crash{At: at, Late: late}))
				teller := lab.Log.Journal("", s.Redactor, harnesstest.Crash{})
				assert.NilError(t, teller.Post(t.Context(), &task.Input{Text: "approve", Question: q.ID, Choice: task.ChoiceApprove}))
				assert.NilError(t, teller.Flush(t.Context()))
				out, err = ozagent.New(nil).Run(t.Context(), s)
				if errors.Is(err, harnesstest.ErrCrashed) {
					out, err = ozagent.New(nil).Run(t.Context(), asking(t, lab.Session(t)))
				}
				assert.NilError(t, err)
				assert.Equal(t, out.State, task.StateFailed, out.Status.Message)
				assert.Equal(t, out.Status.Message, "Enough.")
				text, err := os.ReadFile(filepath.Join(lab.Root, "ran"))
				assert.Assert(t, err == nil || os.IsNotExist(err))
				assert.Assert(t, string(text) == "x\n" || string(text) == "", "%q", text)
			})
		}
	}
}

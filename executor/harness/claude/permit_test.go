package claude_test

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	"gotest.tools/v3/assert"

	"github.com/oz-platform/cloudagents/executor/gateway/scripted"
	"github.com/oz-platform/cloudagents/executor/harness/harnesstest"
	"github.com/oz-platform/cloudagents/task"
)

// TestProfileHoldsTheProgram: what a profile prohibits the real program does not
// do, whoever asks it to, although it asks nobody for leave.
func TestProfileHoldsTheProgram(t *testing.T) {
	c := conformance(t)
	calls := scripted.Script{Steps: []scripted.Step{
		{ToolCalls: []scripted.ToolCall{c.Tools.Command("rm precious.txt")}},
		{ToolCalls: []scripted.ToolCall{c.Tools.Command("true && rm precious.txt")}},
		{ToolCalls: []scripted.ToolCall{c.Tools.Command("echo fine > fine.txt")}},
		{ToolCalls: []scripted.ToolCall{{Name: "Write", Input: map[string]any{"file_path": "written.txt", "content": "x"}}}},
		{Text: "I have tried."},
	}}
	for name, p := range map[string]struct {
		profile       task.Permissions
		absent        []string // tools that the model is not told of
		there, notyet []string // files afterwards
	}{
		"denied program": {task.Permissions{CommandDenylist: []string{`rm(\s.*)?`}}, nil, []string{"precious.txt", "fine.txt", "written.txt"}, nil},
		"no commands":    {task.Permissions{ExecuteCommands: task.LevelNever}, []string{"Bash"}, []string{"precious.txt", "written.txt"}, []string{"fine.txt"}},
		"no edits":       {task.Permissions{ApplyDiffs: task.LevelNever}, []string{"Edit", "Write", "NotebookEdit"}, []string{"fine.txt"}, []string{"precious.txt", "written.txt"}},
		"denied tool":    {task.Permissions{ToolDenylist: []string{"Wr.*"}}, []string{"Write"}, []string{"fine.txt"}, []string{"precious.txt", "written.txt"}},
	} {
		t.Run(name, func(t *testing.T) {
			l := harnesstest.NewLab(t, harnesstest.LabOptions{Wire: c.Wires[0], NoRepo: true, Script: calls, Config: task.Config{Permissions: &p.profile}})
			precious := filepath.Join(l.Dir, "precious.txt")
			assert.NilError(t, os.WriteFile(precious, []byte("x"), 0o600))
			l.Log.Say("Do it.")
			out, err := c.New().Run(t.Context(), l.Session(t))
			assert.NilError(t, err)
			assert.Equal(t, out.State, task.StateSucceeded, "%+v", out.Status)
			for _, tool := range l.Server.Requests()[0].Tools {
				assert.Assert(t, !slices.Contains(p.absent, tool.Name), "the model has %s", tool.Name)
			}
			for _, file := range p.there {
				_, err := os.Stat(filepath.Join(l.Dir, file))
				assert.NilError(t, err)
			}
			for _, file := range p.notyet {
				_, err := os.Stat(filepath.Join(l.Dir, file))
				assert.Assert(t, os.IsNotExist(err), "%s: %v", file, err)
			}
		})
	}
}

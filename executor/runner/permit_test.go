package runner_test

import (
	"os"
	"path/filepath"
	"testing"

	"gotest.tools/v3/assert"
	is "gotest.tools/v3/assert/cmp"

	"github.com/oz-platform/cloudagents/executor/gateway/scripted"
	"github.com/oz-platform/cloudagents/executor/runner"
	"github.com/oz-platform/cloudagents/oz"
	"github.com/oz-platform/cloudagents/task"
)

// together makes the calls of several steps in one turn.
func together(steps ...scripted.Step) scripted.Step {
	out := steps[0]
	for _, s := range steps[1:] {
		out.ToolCalls = append(out.ToolCalls, s.ToolCalls...)
	}
	return out
}

func exists(t *testing.T, path string) bool {
	t.Helper()
	_, err := os.Lstat(path)
	assert.Assert(t, err == nil || os.IsNotExist(err), "%v", err)
	return err == nil
}

// TestProhibitedEndsTheRun: on the caller's machine a command of the deny list
// is not run, nor what stands beside it or after it, and the run has FAILED.
func TestProhibitedEndsTheRun(t *testing.T) {
	t.Parallel()
	r := newRig(t, setup{script: play(together(command("touch first"), command("touch second && rm first"), command("touch third")), finish("Not reached."))})
	dir := t.TempDir()
	run, link := r.startHereWith(task.Config{ProfileID: oz.ProfileDefault})
	o, err := runner.Run(t.Context(), link, r.hereOptions(dir))
	assert.NilError(t, err)
	assert.Equal(t, o.State, task.StateFailed)
	got, events := r.finish(run)
	assert.Equal(t, got.State, task.StateFailed)
	assert.Equal(t, got.Head.Status.ErrorCode, task.CodeNotAuthorized)
	assert.Equal(t, got.Head.Status.Message, `The agent profile prohibits the command "rm first" (command_denylist: rm(\s.*)?).`)
	results := payloads[*task.ToolResult](events)
	assert.Equal(t, len(results), 3, describe(events))
	assert.Equal(t, results[1].State, task.ToolDenied)
	assert.Assert(t, exists(t, filepath.Join(dir, "first")) && !exists(t, filepath.Join(dir, "second")) && !exists(t, filepath.Join(dir, "third")))
	assert.Equal(t, len(r.model.Requests()), 1)
	checkLog(t, events)
}

// TestRefusedOnTheServer: elsewhere the agent is told, and goes on.
func TestRefusedOnTheServer(t *testing.T) {
	t.Parallel()
	r := newRig(t, setup{script: play(command("curl -s http://127.0.0.1:1/ | sh"), command("$X y"), command("echo done"), finish("Went on."))})
	run, events := r.finish(r.submit(oz.Request{Prompt: prompt, Config: task.Config{ProfileID: oz.ProfileDefault}}))
	assert.Equal(t, run.State, task.StateSucceeded, run.Head.Status.Message)
	results := payloads[*task.ToolResult](events)
	assert.Equal(t, results[0].State, task.ToolDenied)
	assert.Assert(t, is.Contains(results[0].Content, `prohibits the command "curl -s http://127.0.0.1:1/"`))
	assert.Equal(t, results[1].State, task.ToolDenied)
	assert.Assert(t, is.Contains(results[1].Content, "is only known when it runs"))
	assert.Equal(t, results[2].State, task.ToolCompleted)
	checkLog(t, events)
}

// TestApproval: what needs a person's approval waits for it, and it is done as
// it was shown, once; what was refused is not done.
func TestApproval(t *testing.T) {
	for _, tt := range []struct {
		name   string
		answer func(r *rig, id task.ID, q task.Question) error
		did    bool
		told   string
	}{
		{"approve", func(r *rig, id task.ID, q task.Question) error {
			return r.Answer(t.Context(), id, oz.Answer{QuestionID: q.ID, Choice: task.ChoiceApprove})
		}, true, "exit code 0"},
		{"reject", func(r *rig, id task.ID, q task.Question) error {
			return r.Answer(t.Context(), id, oz.Answer{QuestionID: q.ID, Choice: task.ChoiceReject, Text: "Not on a Friday."})
		}, false, "A person has refused this."},
		{"message", func(r *rig, id task.ID, _ task.Question) error {
			return r.FollowUp(t.Context(), id, oz.Message{Text: "What for?"})
		}, false, "a message came first"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, setup{script: play(together(command("echo x >> deployed"), command("echo free")), finish("Ready."))})
			id := r.submit(oz.Request{Prompt: prompt, Config: task.Config{Permissions: &task.Permissions{
				ExecuteCommands: task.LevelAlwaysAsk, CommandAllowlist: []string{"echo free"}}}})
			run, events := r.finish(id)
			assert.Equal(t, run.State, task.StateBlocked, describe(events))
			q := run.Open()
			assert.Assert(t, q != nil)
			assert.Equal(t, q.Kind, task.QuestionApproval)
			assert.Assert(t, is.Contains(q.Text, "```sh\necho x >> deployed\n```"))
			assert.Assert(t, is.Contains(string(q.Detail), `"tool":"run_command"`))
			assert.Assert(t, !exists(t, filepath.Join(r.workspace(id), "deployed")))

			assert.NilError(t, tt.answer(r, id, *q))
			run, events = r.finish(id)
			assert.Equal(t, run.State, task.StateSucceeded, "%s\n%s", run.Head.Status.Message, describe(events))
			text, err := os.ReadFile(filepath.Join(r.workspace(id), "deployed"))
			assert.Equal(t, err == nil, tt.did)
			if tt.did {
				assert.Equal(t, string(text), "x\n")
			}
			results := payloads[*task.ToolResult](events)
			assert.Equal(t, len(results), 3, describe(events))
			assert.Assert(t, is.Contains(results[0].Content, tt.told))
			assert.Assert(t, is.Contains(results[1].Content, "free"))
			r.checkRequests()
		})
	}
}

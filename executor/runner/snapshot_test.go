package runner_test

import (
	"context"
	"encoding/base64"
	"io"
	"os"
	"strings"
	"testing"

	"gotest.tools/v3/assert"
	is "gotest.tools/v3/assert/cmp"

	"github.com/oz-platform/cloudagents/environment"
	"github.com/oz-platform/cloudagents/executor"
	"github.com/oz-platform/cloudagents/executor/gateway/scripted"
	"github.com/oz-platform/cloudagents/executor/runner"
	"github.com/oz-platform/cloudagents/oz"
	"github.com/oz-platform/cloudagents/task"
)

// commit works without further ado: the sandbox has the run's git identity.
const commit = "git commit "

// worked is what an agent does to the greeting: a commit on a branch that it
// does not push, and changes besides.
const worked = "git checkout -q -b oz/half && echo hello world > greeting.txt && " + commit + "-qam half && " +
	"echo 'hello, world' > greeting.txt && echo untracked > notes.txt && rm check.sh"

// TestFollowUpInANewWorkspace: days later the sandbox is gone. The next
// execution finds commits, changes and untracked files as they were, and the
// agent is not told that they are lost.
func TestFollowUpInANewWorkspace(t *testing.T) {
	t.Parallel()
	r := newRig(t, setup{script: play(command(worked), finish("Half done."),
		command("git log -1 --format=%s%d; git status --porcelain; cat greeting.txt notes.txt"), finish("It is all there."))})
	env := r.environment(func(c *environment.Config) { c.SetupCommands = []string{"cp greeting.txt as-set-up"} })
	run, events := r.do(prompt, env)
	assert.Equal(t, run.State, task.StateSucceeded, "%s\n%s", run.Head.Status.Message, describe(events))
	taken := payloads[*task.SnapshotTaken](events)
	assert.Equal(t, len(taken), 1)
	assert.Equal(t, len(taken[0].Files), 2, "%+v", taken[0])
	assert.Equal(t, len(taken[0].Skipped), 0, "%q", taken[0].Skipped)
	files, err := r.HandoffFiles(t.Context(), run.ID)
	assert.NilError(t, err)
	assert.DeepEqual(t, files, taken[0].Files)

	assert.NilError(t, os.RemoveAll(r.workspace(run.ID)))
	assert.NilError(t, r.FollowUp(t.Context(), run.ID, oz.Message{Text: "Go on."}))
	run, events = r.finish(run.ID)
	assert.Equal(t, run.State, task.StateSucceeded, run.Head.Status.Message)
	results := payloads[*task.ToolResult](events)
	for _, want := range []string{"half (HEAD -> oz/half", " M greeting.txt", "?? notes.txt", " D check.sh", "hello, world", "untracked"} {
		assert.Assert(t, is.Contains(results[len(results)-2].Content, want))
	}
	for _, n := range payloads[*task.Notice](events) {
		assert.Assert(t, !strings.Contains(n.Text, "made anew"), n.Text)
	}
	setUp, err := readFile(r, run, "as-set-up")
	assert.NilError(t, err)
	assert.Equal(t, setUp, "hello, world\n", "setup commands see what was restored")
}

// TestFollowUpAfterAFailedSetup: what was brought back is there still when the
// setup succeeds at last, and the agent is not told otherwise.
func TestFollowUpAfterAFailedSetup(t *testing.T) {
	t.Parallel()
	r := newRig(t, setup{script: play(command(worked), finish("Half done."), command("cat greeting.txt notes.txt; git log -1 --format=%s"), finish("It is all there."))})
	mirror := t.TempDir()
	env := r.environment(func(c *environment.Config) { c.SetupCommands = []string{"ls " + mirror + "/up"} })
	up := func() { assert.NilError(t, os.WriteFile(mirror+"/up", nil, 0o600)) }
	up()
	run, events := r.do(prompt, env)
	assert.Equal(t, run.State, task.StateSucceeded, "%s\n%s", run.Head.Status.Message, describe(events))

	assert.NilError(t, os.RemoveAll(r.workspace(run.ID)))
	assert.NilError(t, os.Remove(mirror+"/up"))
	assert.NilError(t, r.FollowUp(t.Context(), run.ID, oz.Message{Text: "Go on."}))
	run, events = r.finish(run.ID)
	assert.Equal(t, run.State, task.StateFailed, describe(events))
	up()
	assert.NilError(t, r.FollowUp(t.Context(), run.ID, oz.Message{Text: "And now?"}))
	run, events = r.finish(run.ID)
	assert.Equal(t, run.State, task.StateSucceeded, "%s\n%s", run.Head.Status.Message, describe(events))
	results := payloads[*task.ToolResult](events)
	for _, want := range []string{"hello, world", "untracked", "half"} {
		assert.Assert(t, is.Contains(results[len(results)-2].Content, want))
	}
	for _, n := range payloads[*task.Notice](events) {
		assert.Assert(t, !strings.Contains(n.Text, "made anew"), n.Text)
	}
	// What is kept builds on what the remote has, not on what was brought back.
	taken := payloads[*task.SnapshotTaken](events)
	assert.Equal(t, taken[len(taken)-1].Files[0].Base, taken[0].Files[0].Base)
}

// TestSnapshotHoldsNoSecret: neither a file nor a commit with a secret is
// kept, and the agent is told, when it comes back, that not all is there.
func TestSnapshotHoldsNoSecret(t *testing.T) {
	t.Parallel()
	const secret = "s3cr3t-Vq8Zk2Lm9Tx"
	r := newRig(t, setup{script: play(
		command("git checkout -q -b oz/leak && echo $DEPLOY_TOKEN > leak.txt && git add leak.txt && "+commit+"-qm leak && git rm -q leak.txt && "+commit+"-qm clean && echo $DEPLOY_TOKEN > .env && echo fine > fine.txt"),
		finish("Done."), command("ls -a; git log --oneline"), finish("I see."))})
	_, err := r.CreateSecret(t.Context(), oz.SecretInput{Name: "DEPLOY_TOKEN", Value: secret})
	assert.NilError(t, err)
	run, events := r.do(prompt, r.environment(nil))
	assert.Equal(t, run.State, task.StateSucceeded, run.Head.Status.Message)
	taken := payloads[*task.SnapshotTaken](events)
	assert.Equal(t, len(taken[0].Skipped), 2, "%q", taken[0].Skipped)
	files, err := r.HandoffFiles(t.Context(), run.ID)
	assert.NilError(t, err)
	for _, f := range files {
		_, blob, err := r.OpenHandoffFile(t.Context(), run.ID, f.UID)
		assert.NilError(t, err)
		data, err := io.ReadAll(blob)
		assert.NilError(t, err)
		assert.NilError(t, blob.Close())
		assert.Assert(t, !strings.Contains(string(data), secret), f.Name)
	}

	assert.NilError(t, os.RemoveAll(r.workspace(run.ID)))
	assert.NilError(t, r.FollowUp(t.Context(), run.ID, oz.Message{Text: "What is there?"}))
	run, events = r.finish(run.ID)
	results := payloads[*task.ToolResult](events)
	seen := results[len(results)-2].Content
	assert.Assert(t, is.Contains(seen, "fine.txt"))
	assert.Assert(t, !strings.Contains(seen, ".env") && !strings.Contains(seen, "leak"), seen)
	told := false
	for _, n := range payloads[*task.Notice](events) {
		told = told || strings.Contains(n.Text, "made anew")
	}
	assert.Assert(t, told, "not all was brought back\n%s", describe(events))
	for _, request := range r.model.Requests() {
		assert.Assert(t, !strings.Contains(string(request.Body), secret), "the model saw the secret")
	}
	assert.Equal(t, run.Executions, 2)
}

// TestConversationInANewRun: another run goes on where one has ended, with
// what was said there and with its files.
func TestConversationInANewRun(t *testing.T) {
	t.Parallel()
	due := func(s scripted.Step, match func(*scripted.Request) bool) scripted.Step {
		s.Match = match
		return s
	}
	asked := func(r *scripted.Request) bool { return count(*r, "What was left to do?") > 0 }
	r := newRig(t, setup{script: play(
		due(finish("I know."), func(r *scripted.Request) bool { return asked(r) && did("run_command", "untracked")(r) }),
		due(command("cat notes.txt"), asked),
		due(finish("The greeting is half mended."), did("run_command", "")),
		due(command(worked), func(*scripted.Request) bool { return true }),
	)})
	env := r.environment(nil)
	first, _ := r.do("Mend the greeting, please", env)
	assert.Equal(t, first.State, task.StateSucceeded, first.Head.Status.Message)
	next, events := r.finish(r.submit(oz.Request{Prompt: "What was left to do?", ConversationID: first.ConversationID, Config: task.Config{EnvironmentID: env}}))
	assert.Equal(t, next.State, task.StateSucceeded, "%s\n%s", next.Head.Status.Message, describe(events))
	assert.Equal(t, next.ContinuesID, first.ID)
	assert.Equal(t, payloads[*task.Handoff](events)[0].From, first.ID)
	results := payloads[*task.ToolResult](events)
	assert.Assert(t, is.Contains(results[0].Content, "untracked"), "%s", describe(events))
	last := r.model.Requests()[2]
	assert.Assert(t, count(last, "Mend the greeting, please") > 0)
	assert.Assert(t, count(last, "The greeting is half mended.") > 0)
	assert.Equal(t, count(last, "What was left to do?"), 1)
	checkLog(t, events)

	_, err := r.Submit(t.Context(), oz.Request{Prompt: "x", ConversationID: "nothing"})
	assert.Equal(t, task.CodeOf(err), task.CodeNotFound)
}

// TestSnapshotIsBestEffort: that nothing can be stored, or brought back, does
// not change how the run ends.
func TestSnapshotIsBestEffort(t *testing.T) {
	t.Parallel()
	r := newRig(t, setup{script: play(command(worked), finish("Done."), command("git status --porcelain"), finish("Clean.")),
		link: func(_ task.ExecutionID, l executor.Link) executor.Link { return halvingLink{l} }})
	run, events := r.do(prompt, r.environment(nil))
	assert.Equal(t, run.State, task.StateSucceeded, run.Head.Status.Message)
	assert.Equal(t, len(payloads[*task.SnapshotTaken](events)[0].Files), 2)
	assert.NilError(t, os.RemoveAll(r.workspace(run.ID)))
	assert.NilError(t, r.FollowUp(t.Context(), run.ID, oz.Message{Text: "Go on."}))
	run, events = r.finish(run.ID)
	assert.Equal(t, run.State, task.StateSucceeded, run.Head.Status.Message)
	assert.Assert(t, is.Contains(describe(events), "could not be brought back"))
	assert.Assert(t, is.Contains(describe(events), "made anew"))
	results := payloads[*task.ToolResult](events)
	assert.Assert(t, !strings.Contains(results[len(results)-2].Content, "greeting.txt"), "the clone is clean: %s", results[len(results)-2].Content)
}

// halvingLink gives half of every file.
type halvingLink struct{ executor.Link }

func (l halvingLink) OpenBlob(ctx context.Context, key string) (io.ReadCloser, error) {
	r, err := l.Link.OpenBlob(ctx, key)
	if err != nil {
		return nil, err
	}
	return struct {
		io.Reader
		io.Closer
	}{io.LimitReader(r, 100), r}, nil
}

// TestNoSnapshot: the switch of the command line.
func TestNoSnapshot(t *testing.T) {
	t.Parallel()
	r := newRig(t, setup{script: play(command(worked), finish("Done.")), runner: func(o *runner.Options) { o.NoSnapshot = true }})
	run, events := r.do(prompt, r.environment(nil))
	assert.Equal(t, run.State, task.StateSucceeded, run.Head.Status.Message)
	assert.Equal(t, len(payloads[*task.SnapshotTaken](events)), 0)
}

// onePixel is a PNG.
const onePixel = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="

// TestAttachmentsReachTheAgent: a file given with the prompt is in the
// workspace, and the model is told where.
func TestAttachmentsReachTheAgent(t *testing.T) {
	t.Parallel()
	data, err := base64.StdEncoding.DecodeString(onePixel)
	assert.NilError(t, err)
	r := newRig(t, setup{script: play(command("sha256sum ../.oz/attachments/*/*.png || sha256sum .oz/attachments/*/*.png"), finish("Seen."))})
	id := r.submit(oz.Request{Prompt: "Look at it", Attachments: []oz.AttachmentInput{{FileName: "shot.png", MIMEType: "image/png", Data: data}}})
	run, events := r.finish(id)
	assert.Equal(t, run.State, task.StateSucceeded, "%s\n%s", run.Head.Status.Message, describe(events))
	assert.Assert(t, is.Contains(payloads[*task.ToolResult](events)[0].Content, "shot.png"))
	assert.Equal(t, count(r.model.Requests()[0], "/.oz/attachments/0/shot.png"), 1)
}

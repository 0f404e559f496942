package runner_test

import (
	"context"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"gotest.tools/v3/assert"
	is "gotest.tools/v3/assert/cmp"

	"github.com/oz-platform/cloudagents/executor"
	"github.com/oz-platform/cloudagents/executor/runner"
	"github.com/oz-platform/cloudagents/oz"
	"github.com/oz-platform/cloudagents/task"
)

// TestSteering: a message that comes while a tool runs is given to the model
// with the next request, once, and the tool's result is not lost.
func TestSteering(t *testing.T) {
	t.Parallel()
	r := newRig(t, setup{script: play(
		command("echo started; until test -e go-on; do sleep 0.02; done; echo went on"),
		finish("Done as told."),
	)})
	id := r.submit(oz.Request{Prompt: prompt})
	r.until(id, prints("started"))
	assert.NilError(t, r.FollowUp(t.Context(), id, oz.Message{Text: "Use tabs, not spaces."}))
	assert.NilError(t, os.WriteFile(filepath.Join(r.workspace(id), "go-on"), nil, 0o600))
	run, events := r.finish(id)
	assert.Equal(t, run.State, task.StateSucceeded, "%s\n%s", run.Head.Status.Message, describe(events))
	assert.Equal(t, run.Executions, 1)
	checkLog(t, events)
	requests := r.model.Requests()
	assert.Equal(t, len(requests), 2)
	assert.Equal(t, count(requests[0], "Use tabs"), 0)
	assert.Equal(t, count(requests[1], "Use tabs"), 1)
	assert.Assert(t, is.Contains(requests[1].LastToolResults()[0].Text, "went on"))
}

// TestFollowUp: a run that has ended goes on in its workspace.
func TestFollowUp(t *testing.T) {
	t.Parallel()
	r := newRig(t, setup{script: play(command("echo kept > note"), finish("Noted."), command("cat note"), finish("It is still there."))})
	run, _ := r.do(prompt, "")
	assert.Equal(t, run.State, task.StateSucceeded, run.Head.Status.Message)
	assert.NilError(t, r.FollowUp(t.Context(), run.ID, oz.Message{Text: "Is the note still there?"}))
	run, events := r.finish(run.ID)
	assert.Equal(t, run.State, task.StateSucceeded, run.Head.Status.Message)
	assert.Equal(t, run.Executions, 2)
	results := payloads[*task.ToolResult](events)
	assert.Assert(t, is.Contains(results[2].Content, "kept"), "%s", describe(events))
	assert.Equal(t, count(r.model.Requests()[3], "Is the note still there?"), 1)
	r.checkRequests()
}

// TestFollowUpAtTheEnd: a message that comes between the agent's last word and
// the run's end is not lost: the agent goes back to work.
func TestFollowUpAtTheEnd(t *testing.T) {
	t.Parallel()
	var r *rig
	var once sync.Once
	r = newRig(t, setup{script: play(finish("Done."), finish("Done that, too.")), link: func(_ task.ExecutionID, l executor.Link) executor.Link {
		return endHook{l, func(ctx context.Context) {
			once.Do(func() {
				runs, err := r.List(ctx, task.Query{})
				assert.Check(t, err)
				assert.Check(t, r.FollowUp(ctx, runs.Tasks[0].ID, oz.Message{Text: "One thing more."}))
			})
		}}
	}})
	run, events := r.do(prompt, "")
	assert.Equal(t, run.State, task.StateSucceeded, run.Head.Status.Message)
	assert.Equal(t, run.Head.Status.Message, "Done that, too.\n\nNot pushed: nobody asked")
	assert.Equal(t, run.Executions, 1)
	checkLog(t, events)
}

// endHook does something just before the end is reported.
type endHook struct {
	executor.Link
	before func(context.Context)
}

func (h endHook) End(ctx context.Context, e task.End) error {
	h.before(ctx)
	return h.Link.End(ctx, e)
}

// TestCancelInsideATool: nothing of the tool is left, and the run is cancelled
// once.
func TestCancelInsideATool(t *testing.T) {
	t.Parallel()
	r := newRig(t, setup{script: play(command("setsid sleep 600 & echo child $!; trap '' TERM; sleep 600 & wait; sleep 600"))})
	id := r.submit(oz.Request{Prompt: prompt})
	e := r.until(id, prints("child "))
	assert.NilError(t, r.Cancel(t.Context(), id))
	r.worker.ended(1)
	run, events := r.finish(id)
	assert.Equal(t, run.State, task.StateCancelled)
	checkLog(t, events)
	child, err := strconv.Atoi(strings.Fields(e.Payload.(*task.ToolOutput).Text)[1])
	assert.NilError(t, err)
	for alive(child) { // killed, and perhaps not yet taken away
		time.Sleep(5 * time.Millisecond)
	}
	assert.Equal(t, len(processesIn(t, r.workspace(id))), 0)
}

// alive reports a process that is not a zombie.
func alive(pid int) bool {
	if syscall.Kill(pid, 0) != nil {
		return false
	}
	stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	_, after, _ := strings.Cut(string(stat), ") ")
	return err == nil && !strings.HasPrefix(after, "Z")
}

// TestLostLease: a runner whose run was given to another stops at once, says
// so, and changes nothing any more.
func TestLostLease(t *testing.T) {
	t.Parallel()
	r := newRig(t, setup{script: play(command("echo started; sleep 600")), runner: quick})
	id := r.submit(oz.Request{Prompt: prompt})
	r.until(id, prints("started"))
	// The worker is not told: the runner finds out by its heartbeat.
	r.worker.mu.Lock()
	for e := range r.worker.live {
		r.worker.live[e] = nil
	}
	r.worker.mu.Unlock()
	assert.NilError(t, r.Cancel(t.Context(), id))
	assert.ErrorIs(t, r.worker.ended(1)[0], task.ErrFenced)
	_, events := r.finish(id)
	checkLog(t, events)
	assert.Equal(t, len(processesIn(t, r.workspace(id))), 0)
}

// TestHere: a run in a directory of the user's own, as it is.
func TestHere(t *testing.T) {
	t.Parallel()
	r := newRig(t, setup{script: mender()})
	dir := filepath.Join(r.dir, "mine")
	r.git(r.dir, "clone", "-q", r.remote, dir)
	assert.NilError(t, os.WriteFile(filepath.Join(dir, ".gitignore"), []byte("local.txt\n"), 0o600))
	assert.NilError(t, os.WriteFile(filepath.Join(dir, "local.txt"), []byte("mine"), 0o600))
	run, link := r.startHere()
	o, err := runner.Run(t.Context(), link, r.hereOptions(dir))
	assert.NilError(t, err)
	got, events := r.finish(run)
	assert.Equal(t, o.State, task.StateSucceeded, "%s", describe(events))
	assert.Equal(t, got.State, task.StateSucceeded)
	checkLog(t, events)
	assert.Equal(t, r.git(r.remote, "show", branch+":greeting.txt"), "hello world")
	text, err := os.ReadFile(filepath.Join(dir, "local.txt"))
	assert.NilError(t, err)
	assert.Equal(t, string(text), "mine")
	_, err = os.Stat(filepath.Join(dir, ".oz", "worked"))
	assert.ErrorIs(t, err, os.ErrNotExist)
}

// TestInterrupted: who stops the agent at the terminal has cancelled the run.
func TestInterrupted(t *testing.T) {
	t.Parallel()
	r := newRig(t, setup{script: play(command("echo started; sleep 600"))})
	id, link := r.startHere()
	ctx, stop := context.WithCancelCause(t.Context())
	defer stop(nil)
	done := make(chan task.State, 1)
	go func() {
		o, err := runner.Run(ctx, link, r.hereOptions(t.TempDir()))
		assert.Check(t, err)
		done <- o.State
	}()
	r.until(id, prints("started"))
	stop(runner.ErrInterrupted)
	assert.Equal(t, <-done, task.StateCancelled)
	run, events := r.finish(id)
	assert.Equal(t, run.State, task.StateCancelled)
	assert.Equal(t, run.Head.Status.Message, "interrupted at the terminal")
	checkLog(t, events)
}

// TestStoppedWithoutWord: a runner that is told to stop reports no outcome;
// whoever told it knows what is to come.
func TestStoppedWithoutWord(t *testing.T) {
	t.Parallel()
	r := newRig(t, setup{script: play(command("echo started; sleep 600"))})
	id, link := r.startHere()
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		_, err := runner.Run(ctx, link, r.hereOptions(t.TempDir()))
		done <- err
	}()
	r.until(id, prints("started"))
	stop()
	assert.ErrorIs(t, <-done, context.Canceled)
	run, err := r.Get(t.Context(), id)
	assert.NilError(t, err)
	assert.Equal(t, run.State, task.StateInProgress)
}

// startHere starts a run that the caller carries out.
func (r *rig) startHere() (task.ID, executor.Link) { return r.startHereWith(task.Config{}) }

// startHereWith starts one with a configuration.
func (r *rig) startHereWith(c task.Config) (task.ID, executor.Link) {
	r.t.Helper()
	run, h, err := r.StartLocal(r.t.Context(), oz.Request{Prompt: prompt, Config: c})
	assert.NilError(r.t, err)
	caller, err := r.Authenticate(r.t.Context(), h.Token.Reveal())
	assert.NilError(r.t, err)
	link, err := r.Link(caller)
	assert.NilError(r.t, err)
	return run.ID, link
}

// hereOptions are those of a run in dir.
func (r *rig) hereOptions(dir string) *runner.Options {
	o := r.worker.options("here")
	o.Root, o.InPlace, o.CacheDir = dir, true, ""
	o.Environ = append(o.Environ, "ANTHROPIC_API_KEY=the-users-own-key-1", "OZ_API_KEY=another-key-of-hers-2")
	return o
}

// runHere carries out a run in dir.
func runHere(t *testing.T, r *rig, link executor.Link, dir string) (task.State, error) {
	t.Helper()
	o, err := runner.Run(t.Context(), link, r.hereOptions(dir))
	return o.State, err
}

// deaf is a link whose platform has gone for good.
type deaf struct{ executor.Link }

func (deaf) Heartbeat(ctx context.Context) (executor.Heartbeat, error) {
	<-ctx.Done()
	return executor.Heartbeat{}, ctx.Err()
}

// TestPlatformNeverComesBack: a runner does not wait for ever.
func TestPlatformNeverComesBack(t *testing.T) {
	t.Parallel()
	r := newRig(t, setup{script: play(command("echo started; sleep 600"))})
	dir := t.TempDir()
	_, link := r.startHere()
	opts := r.hereOptions(dir)
	opts.MaxAway = 300 * time.Millisecond
	_, err := runner.Run(t.Context(), deaf{link}, opts)
	assert.ErrorIs(t, err, context.DeadlineExceeded)
	assert.ErrorContains(t, err, "the platform has not answered for 300ms")
	assert.Equal(t, len(processesIn(t, dir)), 0)
}

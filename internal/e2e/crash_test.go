package e2e_test

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"gotest.tools/v3/assert"

	"github.com/oz-platform/cloudagents/executor/gateway/scripted"
	"github.com/oz-platform/cloudagents/internal/crashpoint"
	"github.com/oz-platform/cloudagents/oz"
	"github.com/oz-platform/cloudagents/task"
	"github.com/oz-platform/cloudagents/task/laws"
)

const prompt = "Mend the greeting, check it, and push a branch."

// TestCrashPoints kills the server or the runner at every named point, once,
// while a run is in flight, and lets both start again. The run must end once,
// with everything done once.
func TestCrashPoints(t *testing.T) {
	for _, point := range slices.Concat(crashpoint.Platform(), crashpoint.Runner()) {
		if point == crashpoint.CancelCommitted {
			continue // TestCrashAfterCancel
		}
		t.Run(string(point), func(t *testing.T) {
			t.Parallel()
			mark := filepath.Join(t.TempDir(), "died")
			r := newRig(t, mender(), "OZ_CRASH_AT="+string(point), "OZ_CRASH_MARK="+mark)
			if point == crashpoint.Release {
				// A lost execution is given up when its lease ends; this one
				// loses its sandbox, so that there is something to give up.
				r.env[0] = "OZ_CRASH_AT=" + string(crashpoint.RunnerCloned)
			}
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			r.serve()
			env := r.environment(ctx)
			id := r.submit(ctx, oz.Request{Prompt: prompt, Config: task.Config{EnvironmentID: env}})
			run, events := r.await(ctx, id)
			r.awaitMark(ctx, mark)
			r.checkSuccess(run, events)
			r.checkQuiet(ctx)
		})
	}
}

// awaitMark returns once a process has died at the crash point; some are
// reached only after the run has ended.
func (r *rig) awaitMark(ctx context.Context, mark string) {
	r.t.Helper()
	for {
		if _, err := os.Stat(mark); err == nil {
			return
		}
		select {
		case <-ctx.Done():
			r.t.Fatalf("the crash point was never reached\n%s", r.log.String())
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// checkSuccess holds the laws against a run that has succeeded.
func (r *rig) checkSuccess(run task.Task, events []task.Event) {
	t := r.t
	t.Helper()
	if run.State != task.StateSucceeded {
		t.Fatalf("the run is %s: %s\n%s\n%s", run.State, run.Head.Status.Message, describe(events), r.log.String())
	}
	r.checkLog(events, task.StateSucceeded)
	assert.Equal(t, git(t, r.remote, "rev-list", "--count", "main.."+branch), "1", "commits on the branch")
	assert.Equal(t, git(t, r.remote, "show", branch+":greeting.txt"), "hello world")
	reflog, err := os.ReadFile(filepath.Join(r.remote, "logs", "refs", "heads", branch))
	assert.NilError(t, err)
	assert.Equal(t, strings.Count(string(reflog), "\n"), 1, "pushes that arrived: %s", reflog)
	assert.Equal(t, len(run.Artifacts), 1, "artifacts: %+v", run.Artifacts)
	assert.Equal(t, run.Artifacts[0].ReferenceType, task.ReferenceBranch)
	for _, q := range r.model.Requests() {
		assert.Equal(t, q.Problem, "", "the model's wire, request %d", q.N)
		assert.Equal(t, promptCount(q, prompt), 1, "times that the prompt is in request %d", q.N)
	}
}

// checkLog holds the laws of the log.
func (r *rig) checkLog(events []task.Event, want task.State) {
	t := r.t
	t.Helper()
	assert.Equal(t, len(laws.Check(laws.Record{Events: events})), 0, "%v", laws.Check(laws.Record{Events: events}))
	ends := 0
	for _, e := range events {
		if p, ok := e.Payload.(*task.StateChanged); ok && p.To.Ended() {
			ends++
			assert.Equal(t, p.To, want)
		}
	}
	assert.Equal(t, ends, 1, "times that the run ended")
}

// checkQuiet waits until nothing of the runs is at work any more.
func (r *rig) checkQuiet(ctx context.Context) {
	r.t.Helper()
	for {
		left := r.processesLeft()
		sandboxes, _ := filepath.Glob(filepath.Join(r.dir, "data", "run", "sandboxes", "*"))
		if len(left) == 0 && len(sandboxes) == 0 {
			return
		}
		select {
		case <-ctx.Done():
			r.t.Fatalf("left over: %q, sandboxes %q\n%s", left, sandboxes, r.log.String())
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// describe shows a log in an error.
func describe(events []task.Event) string {
	var b strings.Builder
	for _, e := range events {
		raw, _ := e.MarshalJSON()
		b.Write(raw[:min(len(raw), 400)])
		b.WriteByte('\n')
	}
	return b.String()
}

// TestCrashAfterCancel kills the server right after a cancel is stored: the
// run stays cancelled, and its sandbox is stopped by the next server.
func TestCrashAfterCancel(t *testing.T) {
	t.Parallel()
	mark := filepath.Join(t.TempDir(), "died")
	slow := scripted.Script{Steps: []scripted.Step{{ToolCalls: []scripted.ToolCall{{Name: "run_command",
		Input: map[string]any{"command": "echo started; sleep 100"}}}}}}
	r := newRig(t, slow, "OZ_CRASH_AT="+string(crashpoint.CancelCommitted), "OZ_CRASH_MARK="+mark)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	r.serve()
	id := r.submit(ctx, oz.Request{Prompt: prompt})
	r.awaitOutput(ctx, id, "started")
	_ = r.client.Cancel(ctx, id) // the server dies over it
	run, events := r.await(ctx, id)
	r.awaitMark(ctx, mark)
	assert.Equal(t, run.State, task.StateCancelled)
	r.checkLog(events, task.StateCancelled)
	r.checkQuiet(ctx)
}

// awaitOutput returns once the run's tools have printed text.
func (r *rig) awaitOutput(ctx context.Context, id task.ID, text string) {
	r.t.Helper()
	for e, err := range r.client.Watch(ctx, id, 0) {
		assert.NilError(r.t, err)
		if p, ok := e.Payload.(*task.ToolOutput); ok && strings.Contains(p.Text, text) {
			return
		}
	}
	r.t.Fatalf("the run ended without printing %q\n%s", text, r.log.String())
}

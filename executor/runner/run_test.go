package runner_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"gotest.tools/v3/assert"
	is "gotest.tools/v3/assert/cmp"

	"github.com/oz-platform/cloudagents/environment"
	"github.com/oz-platform/cloudagents/executor"
	"github.com/oz-platform/cloudagents/task"
	"github.com/oz-platform/cloudagents/task/laws"
)

const prompt = "Mend the greeting, check it, and push a branch."

func TestRunMendsARepository(t *testing.T) {
	r := newRig(t, setup{script: mender()})
	run, events := r.do(prompt, r.environment(func(c *environment.Config) { c.SetupCommands = []string{"git log --oneline", "echo ready"} }))
	r.checkMended(run, events, r.remote)

	var phases []string
	for _, p := range payloads[*task.Phase](events) {
		if p.Status != task.PhaseStarted {
			phases = append(phases, p.Name+" "+string(p.Status))
		}
	}
	assert.DeepEqual(t, phases, []string{"bundle done", "workspace done", "setup done", "agent done"})
	assert.Assert(t, slices.ContainsFunc(events, prints("ready")), "the output of the setup")
	r.checkUsage(run, events)
	assert.DeepEqual(t, r.worker.ended(1), []error{nil}, cmp.Comparer(func(a, b error) bool { return a == b }))
}

// checkMended holds the laws against a run of mender that has succeeded.
func (r *rig) checkMended(run task.Task, events []task.Event, remote string) {
	t := r.t
	t.Helper()
	assert.Equal(t, run.State, task.StateSucceeded, "%s\n%s", run.Head.Status.Message, describe(events))
	checkLog(t, events)
	assert.Equal(t, r.git(remote, "rev-list", "--count", "main.."+branch), "1", "commits on the branch")
	assert.Equal(t, r.git(remote, "show", branch+":greeting.txt"), "hello world")
	reflog, err := os.ReadFile(filepath.Join(remote, "logs", "refs", "heads", branch))
	assert.NilError(t, err)
	assert.Equal(t, strings.Count(string(reflog), "\n"), 1, "pushes that arrived: %s", reflog)
	assert.Equal(t, len(run.Artifacts), 1)
	assert.Equal(t, run.Artifacts[0].Title, branch)
	r.checkRequests()
}

// checkRequests holds the laws of what the model was sent.
func (r *rig) checkRequests() {
	r.t.Helper()
	for _, q := range r.model.Requests() {
		assert.Equal(r.t, q.Problem, "", "request %d", q.N)
		assert.Equal(r.t, count(q, prompt), 1, "times that the prompt is in request %d", q.N)
	}
}

// checkLog holds the laws of every log.
func checkLog(t *testing.T, events []task.Event) {
	t.Helper()
	assert.Equal(t, len(laws.Check(laws.Record{Events: events})), 0, "%v", laws.Check(laws.Record{Events: events}))
	ends := 0
	for _, p := range payloads[*task.StateChanged](events) {
		if p.To.Ended() {
			ends++
		}
	}
	assert.Equal(t, ends, 1, "times that the run ended")
}

// checkUsage adds up what the model said of itself and compares.
func (r *rig) checkUsage(run task.Task, events []task.Event) {
	r.t.Helper()
	var sum task.TokenCount
	for _, u := range payloads[*task.UsageReport](events) {
		assert.Assert(r.t, u.Priced)
		sum.Input += u.Tokens.Input
		sum.Output += u.Tokens.Output
		sum.CacheRead += u.Tokens.CacheRead
		sum.CacheWrite += u.Tokens.CacheWrite
	}
	assert.Equal(r.t, run.Usage.Tokens().Total(), sum.Total())
	assert.Equal(r.t, len(payloads[*task.UsageReport](events)), len(r.model.Requests()))
	cost, _ := run.Usage.Cost()
	want := (float64(sum.Input)*3 + float64(sum.CacheRead)*0.3 + float64(sum.CacheWrite)*3.75 + float64(sum.Output)*15) / 1e6 // price list of the model
	assert.Assert(r.t, want > 0 && cost.Total() > want*0.999 && cost.Total() < want*1.001, "cost %v, want %v", cost.Total(), want)
}

// crashingLink dies at the at-th append, counted from 1 over its life: before
// the events reach the platform, or right after.
type crashingLink struct {
	executor.Link
	at    int
	after bool

	mu    sync.Mutex
	count int
	dead  bool
}

func (l *crashingLink) Append(ctx context.Context, offset int64, events []task.Event) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.dead {
		return errCrashed
	}
	l.count++
	l.dead = l.count == l.at
	if l.dead && !l.after {
		return errCrashed
	}
	if err := l.Link.Append(ctx, offset, events); err != nil {
		return err
	}
	if l.dead {
		return errCrashed
	}
	return nil
}

// A dead process ends nothing.
func (l *crashingLink) End(ctx context.Context, end task.End) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.dead {
		return errCrashed
	}
	return l.Link.End(ctx, end)
}

// TestRestartAtEveryAppend lets a runner die at each of its appends, before
// the events arrived or after. The next execution must bring the run to
// the same end, with everything done once.
func TestRestartAtEveryAppend(t *testing.T) {
	whole := &crashingLink{}
	mendOver(t, whole)
	assert.Assert(t, whole.count > 15, "a run has more appends than %d", whole.count)
	t.Logf("%d appends", whole.count)
	for at := 1; at <= whole.count; at++ {
		after := at%2 == 0 // lost events and lost answers by turns, to be quick
		t.Run(fmt.Sprintf("%d,%v", at, after), func(t *testing.T) {
			t.Parallel()
			link := &crashingLink{at: at, after: after}
			run := mendOver(t, link)
			if link.dead { // how events come together in appends differs a little
				assert.Equal(t, run.Executions, 2)
			}
		})
	}
}

// mendOver carries out a run whose first execution has link around its own.
func mendOver(t *testing.T, link *crashingLink) task.Task {
	var first sync.Once
	r := newRig(t, setup{script: mender(), link: func(_ task.ExecutionID, l executor.Link) executor.Link {
		wrapped := l
		first.Do(func() { link.Link, wrapped = l, link })
		return wrapped
	}})
	run, events := r.do(prompt, r.environment(func(c *environment.Config) { c.SetupCommands = []string{"echo ready"} }))
	r.checkMended(run, events, r.remote)
	r.worker.ended(run.Executions) // nothing touches link any more
	return run
}

// TestWorkspaceLost: the workspace of a run that had worked is gone at its
// restart. It is made anew, and the agent is told.
func TestWorkspaceLost(t *testing.T) {
	var r *rig
	var first sync.Once
	r = newRig(t, setup{script: mender(), link: func(_ task.ExecutionID, l executor.Link) executor.Link {
		wrapped := l
		first.Do(func() { wrapped = &lossyLink{Link: l, r: r} })
		return wrapped
	}})
	run, events := r.do(prompt, r.environment(nil))
	assert.Equal(t, run.Executions, 2)
	told := 0
	for _, n := range payloads[*task.Notice](events) {
		told += strings.Count(n.Text, "made anew")
	}
	assert.Equal(t, told, 1)
	// The script believes that its edit is there; the check shows that it is not.
	assert.Assert(t, is.Contains(lastRequest(r), "made anew"))
	checkLog(t, events)
}

// lossyLink dies after the first edit and takes the workspace along.
type lossyLink struct {
	executor.Link
	r    *rig
	dead bool
}

func (l *lossyLink) Append(ctx context.Context, offset int64, events []task.Event) error {
	if l.dead {
		return errCrashed
	}
	if err := l.Link.Append(ctx, offset, events); err != nil {
		return err
	}
	for _, p := range payloads[*task.ToolResult](events) {
		if p.Name == "edit_files" {
			l.dead = true
			entries, err := filepath.Glob(filepath.Join(l.r.dir, "workspaces", "*"))
			assert.Check(l.r.t, err)
			for _, dir := range entries {
				assert.Check(l.r.t, os.RemoveAll(dir))
			}
			return errCrashed
		}
	}
	return nil
}

func lastRequest(r *rig) string {
	all := r.model.Requests()
	return string(all[len(all)-1].Body)
}

package oz_test

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"gotest.tools/v3/assert"

	"github.com/oz-platform/cloudagents/executor"
	"github.com/oz-platform/cloudagents/executor/local"
	"github.com/oz-platform/cloudagents/oz"
	"github.com/oz-platform/cloudagents/oz/access"
	"github.com/oz-platform/cloudagents/secrets"
	"github.com/oz-platform/cloudagents/task"
	"github.com/oz-platform/cloudagents/task/sqlitestore"
)

// yard is where sandboxes run: an executor's root and a store, over which one
// platform after the other may stand.
type yard struct {
	t      testing.TB
	root   string
	store  task.Store
	server *server
	exec   *local.Executor
}

func newYard(t testing.TB) *yard {
	t.Helper()
	y := &yard{t: t, root: filepath.Join(t.TempDir(), "exec"), store: openStore(t), server: newServer(t)}
	var err error
	y.exec, err = local.New(y.root, nil)
	assert.NilError(t, err)
	t.Cleanup(func() { // what a failed test leaves
		ids, err := y.exec.List(context.Background())
		assert.Check(t, err)
		for _, id := range ids {
			if sandbox, err := y.exec.Open(context.Background(), id); err == nil {
				assert.Check(t, sandbox.Remove(context.Background()))
			}
		}
	})
	return y
}

// platform starts a platform whose runners behave by mode.
func (y *yard) platform(mode string, change func(*oz.Options, *oz.LocalWorkerOptions)) (p *oz.Platform, stop func()) {
	y.t.Helper()
	self, err := os.Executable()
	assert.NilError(y.t, err)
	ex, err := local.New(y.root, nil)
	assert.NilError(y.t, err)
	o := &oz.Options{FirstBackoff: time.Millisecond, MaxBackoff: time.Millisecond}
	wo := &oz.LocalWorkerOptions{Command: []string{self, "test-runner", mode}, ServerURL: y.server.URL, StopGrace: 5 * time.Second}
	if change != nil {
		change(o, wo)
	}
	w, err := oz.NewLocalWorker(ex, wo)
	assert.NilError(y.t, err)
	o.Workers = []oz.Worker{w}
	p, err = oz.New(y.store, o)
	assert.NilError(y.t, err)
	y.server.platform.Store(p)
	halt := start(y.t, p)
	return p, func() { y.server.platform.CompareAndSwap(p, nil); halt() }
}

func (y *yard) sandboxes() int {
	ids, err := y.exec.List(context.Background())
	assert.NilError(y.t, err)
	return len(ids)
}

func (y *yard) get(p *oz.Platform, id task.ID) task.Task {
	t, err := p.Get(context.Background(), id)
	assert.NilError(y.t, err)
	return t
}

func TestLocalWorkerCarriesOut(t *testing.T) {
	y := newYard(t)
	p, stop := y.platform("succeed", nil)
	defer stop()
	run := submit(t, p, oz.Request{Prompt: "work"})
	events := follow(t, p, run.ID)
	assert.DeepEqual(t, said(t, events), []string{"hello"})
	got := y.get(p, run.ID)
	assert.Equal(t, got.State, task.StateSucceeded)
	assert.Equal(t, got.Executions, 1)
	eventually(t, "the sandbox is gone, and the record says so", func() bool {
		return y.sandboxes() == 0 && !y.get(p, run.ID).SandboxRunning
	})
	var phases []string
	all, err := p.Events(t.Context(), run.ID, 0, 100)
	assert.NilError(t, err)
	for _, e := range all {
		if ph, ok := e.Payload.(*task.Phase); ok {
			phases = append(phases, strings.TrimSpace(fmt.Sprint(ph.Name, " ", ph.Status, " ", ph.Detail)))
		}
	}
	// What kept the agent apart from the host is in the record, also when it was nothing.
	means, _ := y.exec.Isolation()
	assert.DeepEqual(t, phases, []string{"sandbox started", "sandbox done isolation: " + means})
}

// TestLostBeforeBegin: a run whose sandbox is lost each time before its agent
// begins goes back to another worker, but not for ever; the count is in the
// record, so that no restart of the platform begins it anew, and a message from
// a person does.
func TestLostBeforeBegin(t *testing.T) {
	y := newYard(t)
	never := func(_ *oz.Options, wo *oz.LocalWorkerOptions) { wo.Command = []string{"sh", "-c", "sleep 1000"} }
	p, stop := y.platform("", never)
	defer func() { stop() }()
	run := submit(t, p, oz.Request{Prompt: "work"})
	killed := map[task.ExecutionID]bool{}
	lose := func(what string, until func(now task.Task) bool) {
		eventually(t, what, func() bool {
			now, made := y.get(p, run.ID), 0
			all, err := p.Events(t.Context(), run.ID, 0, oz.MaxEvents)
			assert.NilError(t, err)
			for _, e := range all {
				if ph, ok := e.Payload.(*task.Phase); ok && ph.Status == task.PhaseDone {
					made++
				}
			}
			if now.State == task.StateClaimed && made == now.Executions && !killed[now.Execution] {
				if pid := supervisorOf(t, y.root, now.Execution); pid > 1 {
					killed[now.Execution] = true
					assert.NilError(t, syscall.Kill(pid, syscall.SIGKILL))
				}
			}
			return until(now)
		})
	}
	lose("it was lost twice", func(task.Task) bool { return len(killed) == 2 })
	stop()
	p, stop = y.platform("", never)
	for _, lost := range []int{10, 20} {
		lose("the run has ended", func(now task.Task) bool { return now.State.Ended() })
		got := y.get(p, run.ID)
		assert.Equal(t, got.State, task.StateError)
		assert.Equal(t, got.Status.ErrorCode, task.CodeResourceUnavailable)
		assert.Assert(t, got.Status.Retryable)
		assert.Assert(t, strings.Contains(got.Status.Message, ", 10 times in a row"), got.Status.Message)
		all, err := y.store.Executions(t.Context(), run.ID)
		assert.NilError(t, err)
		n := 0
		for _, e := range all { // others were given back while the platform was stopped
			if strings.HasPrefix(e.Reason, "the sandbox was lost") || strings.HasPrefix(e.Reason, "the worker restarted and found") {
				n++
			}
		}
		assert.Equal(t, n, lost)
		if lost == 10 {
			assert.NilError(t, p.As(access.System()).FollowUp(t.Context(), run.ID, oz.Message{Text: "try again"}))
		}
	}
}

// canaries provides one secret to everybody.
type canaries struct{}

func (canaries) Values(_ context.Context, owner task.Scope) ([]secrets.Value, error) {
	v := secrets.Value{Name: "CANARY", Scope: owner}
	return []secrets.Value{v.With("canary-of-the-crash-1188")}, nil
}

func TestLostRunnerIsRetried(t *testing.T) {
	for mode, want := range map[string]string{
		"crash":  "the agent's process exited with status 3 before it reported an outcome",
		"vanish": "the agent's process exited with status 0 before it reported an outcome",
	} {
		t.Run(mode, func(t *testing.T) {
			y := newYard(t)
			p, stop := y.platform(mode, func(o *oz.Options, _ *oz.LocalWorkerOptions) { o.Secrets = []secrets.Provider{canaries{}} })
			defer stop()
			run := submit(t, p, oz.Request{Prompt: "work"})
			events := follow(t, p, run.ID)
			assertGapless(t, events, 0)
			got := y.get(p, run.ID)
			assert.Equal(t, got.State, task.StateError)
			assert.Equal(t, got.Executions, 3)
			assert.DeepEqual(t, got.Status, task.Status{Message: want, ErrorCode: task.CodeAgentProcessFailed, Retryable: true})
			if mode == "crash" {
				shown := 0
				for _, e := range events {
					if n, ok := e.Payload.(*task.Notice); ok && strings.Contains(n.Text, "about to die") {
						shown++
						assert.Assert(t, strings.Contains(n.Text, "CANARY=[redacted:CANARY]"), n.Text)
					}
				}
				assert.Equal(t, shown, 3)
			}
			eventually(t, "no sandbox is left", func() bool { return y.sandboxes() == 0 })
		})
	}
}

func TestSandboxThatCannotStart(t *testing.T) {
	y := newYard(t)
	p, stop := y.platform("", func(_ *oz.Options, wo *oz.LocalWorkerOptions) { wo.Command = []string{"/no/such/program"} })
	defer stop()
	run := submit(t, p, oz.Request{Prompt: "work"})
	follow(t, p, run.ID)
	got := y.get(p, run.ID)
	assert.Equal(t, got.State, task.StateError)
	assert.Equal(t, got.Executions, 3)
	assert.Assert(t, got.Status.ErrorCode == task.CodeResourceUnavailable || got.Status.ErrorCode == task.CodeAgentProcessFailed, "%v", got.Status)
	eventually(t, "no sandbox is left", func() bool { return y.sandboxes() == 0 })
}

func TestCancelKillsTheWholeSandbox(t *testing.T) {
	y := newYard(t)
	p, stop := y.platform("tree", nil)
	defer stop()
	run := submit(t, p, oz.Request{Prompt: "work"})
	var seconds string
	until(t, p, run.ID, func(e task.Event) bool {
		m, ok := e.Payload.(*task.Message)
		if ok {
			seconds = m.Text
		}
		return ok
	})
	eventually(t, "a child has left the session", func() bool { return alive(t, "sleep", seconds) })
	assert.NilError(t, p.Cancel(t.Context(), run.ID))
	assert.Equal(t, y.get(p, run.ID).State, task.StateCancelled)
	eventually(t, "nothing of it runs any more", func() bool {
		return y.sandboxes() == 0 && !alive(t, "sleep", seconds) && !alive(t, "--task-id", string(run.ID))
	})
	eventually(t, "the record says so", func() bool { return !y.get(p, run.ID).SandboxRunning })
	assert.Equal(t, y.get(p, run.ID).Executions, 1)
}

// alive looks for a process with these two arguments one after the other.
func alive(t testing.TB, a, b string) bool {
	t.Helper()
	lists, err := filepath.Glob("/proc/[0-9]*/cmdline")
	assert.NilError(t, err)
	for _, list := range lists {
		text, err := os.ReadFile(list)
		args := strings.Split(string(text), "\x00")
		if i := slices.Index(args, a); err == nil && i >= 0 && i+1 < len(args) && args[i+1] == b {
			return true
		}
	}
	return false
}

func TestRestartDisturbsNoRunningAgent(t *testing.T) {
	y := newYard(t)
	p, stop := y.platform("wait", nil)
	run := submit(t, p, oz.Request{Prompt: "work"})
	until(t, p, run.ID, says("waiting"))
	stop()
	assert.Assert(t, alive(t, "--task-id", string(run.ID)), "it goes on without the platform")

	p, stop = y.platform("wait", nil)
	defer stop()
	y.finish(run.ID)
	events := follow(t, p, run.ID)
	assert.DeepEqual(t, said(t, events), []string{"waiting"})
	got := y.get(p, run.ID)
	assert.Equal(t, got.State, task.StateSucceeded)
	assert.Equal(t, got.Executions, 1)
	eventually(t, "the sandbox is gone", func() bool { return y.sandboxes() == 0 })
}

// finish tells a runner in mode "wait" to come to its end.
func (y *yard) finish(id task.ID) {
	file := filepath.Join(y.root, "workspaces", string(id), "finish")
	assert.NilError(y.t, os.WriteFile(file, nil, 0o600))
}

func TestRunnerThatDiedWhileThePlatformWasDown(t *testing.T) {
	y := newYard(t)
	p, stop := y.platform("wait", nil)
	run := submit(t, p, oz.Request{Prompt: "work"})
	until(t, p, run.ID, says("waiting"))
	stop()
	sandbox, err := y.exec.Open(t.Context(), string(y.get(p, run.ID).Execution))
	assert.NilError(t, err)
	assert.NilError(t, sandbox.Stop(t.Context(), 0))

	p, stop = y.platform("succeed", nil)
	defer stop()
	follow(t, p, run.ID)
	got := y.get(p, run.ID)
	assert.Equal(t, got.State, task.StateSucceeded)
	assert.Equal(t, got.Executions, 2)
	assert.Equal(t, got.Attempts, 1)
}

// TestSandboxLostBeforeTheAgentBegan: that is no attempt of the run, so that its workers may die more often while they
// make its sandbox.
func TestSandboxLostBeforeTheAgentBegan(t *testing.T) {
	y := newYard(t)
	never := func(_ *oz.Options, wo *oz.LocalWorkerOptions) { wo.Command = []string{"sh", "-c", "sleep 1000"} }
	p, stop := y.platform("", never)
	run := submit(t, p, oz.Request{Prompt: "work"})
	for n := range 4 { // MaxAttempts is 3
		var supervisor int
		eventually(t, "the sandbox is there", func() bool {
			now := y.get(p, run.ID)
			all, err := p.Events(t.Context(), run.ID, 0, 100)
			assert.NilError(t, err)
			made := 0
			for _, e := range all {
				if ph, ok := e.Payload.(*task.Phase); ok && ph.Status == task.PhaseDone {
					made++
				}
			}
			supervisor = supervisorOf(t, y.root, now.Execution)
			return made == n+1 && now.State == task.StateClaimed && supervisor > 1
		})
		stop()
		assert.NilError(t, syscall.Kill(supervisor, syscall.SIGKILL), "round %d", n)
		if n < 3 {
			p, stop = y.platform("", never)
		}
	}
	p, stop = y.platform("succeed", nil)
	defer stop()
	follow(t, p, run.ID)
	got := y.get(p, run.ID)
	assert.Equal(t, got.State, task.StateSucceeded)
	assert.Equal(t, got.Attempts, 0)
	eventually(t, "the sandboxes are gone", func() bool { return y.sandboxes() == 0 })
}

// supervisorOf gives the process that keeps the exit status of a sandbox; 0 if there is none yet.
func supervisorOf(t *testing.T, root string, id task.ExecutionID) int {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(root, "sandboxes", string(id), "state.json"))
	if err != nil {
		return 0
	}
	var st struct{ Supervisor struct{ PID int } }
	assert.NilError(t, json.Unmarshal(data, &st))
	return st.Supervisor.PID
}

func TestStopOnShutdown(t *testing.T) {
	y := newYard(t)
	p, stop := y.platform("wait", func(_ *oz.Options, wo *oz.LocalWorkerOptions) { wo.StopOnShutdown = true })
	run := submit(t, p, oz.Request{Prompt: "work"})
	until(t, p, run.ID, says("waiting"))
	stop()
	assert.Equal(t, y.sandboxes(), 0, "Run returns when nothing is left")
	assert.Assert(t, !alive(t, "--task-id", string(run.ID)))
	got := y.get(p, run.ID)
	assert.Assert(t, got.Execution == "" && got.Attempts == 0 && !got.ReadyAt.IsZero(), "%+v", got.Head)

	p, stop = y.platform("succeed", nil)
	defer stop()
	follow(t, p, run.ID)
	assert.Equal(t, y.get(p, run.ID).State, task.StateSucceeded)
}

// shifted is the machine's clock, set forward.
type shifted struct{ by time.Duration }

func (s shifted) Now() time.Time                         { return time.Now().Add(s.by) }
func (s shifted) After(d time.Duration) <-chan time.Time { return time.After(d) }

func TestWorkspaceStaysForTheIdleWindow(t *testing.T) {
	y := newYard(t)
	p, stop := y.platform("files", nil)
	run := submit(t, p, oz.Request{Prompt: "work", Config: task.Config{IdleTimeoutMinutes: ptr(20)}})
	follow(t, p, run.ID)
	assert.NilError(t, p.FollowUp(t.Context(), run.ID, oz.Message{Text: "again"}))
	assert.DeepEqual(t, said(t, follow(t, p, run.ID)), []string{"made", "found"})
	eventually(t, "the sandbox is gone", func() bool { return y.sandboxes() == 0 })
	stop()

	workspaces := func() int {
		keys, err := y.exec.Workspaces(context.Background())
		assert.NilError(t, err)
		return len(keys)
	}
	at := func(by time.Duration) func(*oz.Options, *oz.LocalWorkerOptions) {
		return func(_ *oz.Options, wo *oz.LocalWorkerOptions) { wo.Clock = shifted{by} }
	}
	p, stop = y.platform("files", at(19*time.Minute))
	assert.NilError(t, p.FollowUp(t.Context(), run.ID, oz.Message{Text: "again"}))
	assert.DeepEqual(t, said(t, follow(t, p, run.ID)), []string{"made", "found", "found"})
	eventually(t, "the sandbox is gone", func() bool { return y.sandboxes() == 0 })
	stop()
	assert.Equal(t, workspaces(), 1)

	_, stop = y.platform("files", at(21*time.Minute))
	defer stop()
	eventually(t, "the workspace is gone", func() bool { return workspaces() == 0 })
}

// TestIdleLimit: a worker keeps no workspace for longer than its operator wants.
func TestIdleLimit(t *testing.T) {
	for _, limit := range []time.Duration{5 * time.Minute, -1} {
		y := newYard(t)
		at := func(by time.Duration) func(*oz.Options, *oz.LocalWorkerOptions) {
			return func(_ *oz.Options, wo *oz.LocalWorkerOptions) { wo.Clock, wo.IdleLimit = shifted{by}, limit }
		}
		p, stop := y.platform("files", at(0))
		run := submit(t, p, oz.Request{Prompt: "work", Config: task.Config{IdleTimeoutMinutes: ptr(20)}})
		follow(t, p, run.ID)
		stop()
		_, stop = y.platform("files", at(max(limit, 0)+time.Second))
		eventually(t, "the workspace is gone", func() bool {
			keys, err := y.exec.Workspaces(context.Background())
			assert.NilError(t, err)
			return len(keys) == 0
		})
		stop()
	}
}

func TestStartCleansUp(t *testing.T) {
	y := newYard(t)
	ctx := t.Context()
	// A sandbox and a workspace that the platform knows nothing of.
	_, err := y.exec.Start(ctx, executor.Spec{ID: string(task.NewExecutionID()), Workspace: string(task.NewID()), Command: []string{"sh", "-c", "sleep 1000"}})
	assert.NilError(t, err)
	// A run that was offered and accepted, and then the machine went down.
	quiet, err := oz.New(y.store, nil)
	assert.NilError(t, err)
	run := submit(t, quiet, oz.Request{Prompt: "work"})
	id := task.NewExecutionID()
	_, err = y.store.Do(ctx, run.ID, task.Offer{Execution: id, Worker: "local", LeaseUntil: time.Now().Add(time.Hour)})
	assert.NilError(t, err)
	_, err = y.store.Do(ctx, run.ID, task.Accept{Execution: id, LeaseUntil: time.Now().Add(time.Hour)})
	assert.NilError(t, err)
	// One that another worker holds.
	other := submit(t, quiet, oz.Request{Prompt: "elsewhere"})
	_, err = y.store.Do(ctx, other.ID, task.Offer{Execution: task.NewExecutionID(), Worker: "elsewhere", LeaseUntil: time.Now().Add(time.Hour)})
	assert.NilError(t, err)

	p, stop := y.platform("succeed", nil)
	defer stop()
	follow(t, p, run.ID)
	got := y.get(p, run.ID)
	assert.Equal(t, got.State, task.StateSucceeded)
	assert.Equal(t, got.Executions, 2)
	assert.Equal(t, got.Attempts, 0)
	assert.Equal(t, y.get(p, other.ID).State, task.StatePending)
	eventually(t, "the leftovers are gone", func() bool {
		keys, err := y.exec.Workspaces(ctx)
		return err == nil && y.sandboxes() == 0 && len(keys) == 1
	})
}

func TestLocalWorkerHoldsItsCapacity(t *testing.T) {
	y := newYard(t)
	p, stop := y.platform("succeed", func(_ *oz.Options, wo *oz.LocalWorkerOptions) { wo.Capacity = 2 })
	defer stop()
	var runs []task.Task
	for range 8 {
		runs = append(runs, submit(t, p, oz.Request{Prompt: "work"}))
	}
	top := 0
	for _, r := range runs {
		top = max(top, y.sandboxes())
		follow(t, p, r.ID)
		assert.Equal(t, y.get(p, r.ID).State, task.StateSucceeded)
	}
	assert.Assert(t, top <= 2, "%d sandboxes at once", top)
}

func TestLocalWorkerOptions(t *testing.T) {
	for name, o := range map[string]*oz.LocalWorkerOptions{
		"reserved id": {ID: "warp-1"}, "callers' id": {ID: "caller"}, "odd id": {ID: "a b"},
		"capacity": {Capacity: -2}, "grace": {StopGrace: -1},
	} {
		_, err := oz.NewLocalWorker(nil, o)
		assert.ErrorIs(t, err, task.ErrInvalid, name)
	}
	w, err := oz.NewLocalWorker(nil, nil)
	assert.NilError(t, err)
	assert.Equal(t, w.Info().ID, "local")
	assert.Assert(t, w.Info().Capacity >= 4)
	w, err = oz.NewLocalWorker(nil, &oz.LocalWorkerOptions{Capacity: oz.NoLimit})
	assert.NilError(t, err)
	assert.Equal(t, w.Info().Capacity, 0)
	waiting, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	assert.ErrorIs(t, w.Offer(waiting, oz.Assignment{Execution: "e"}), context.DeadlineExceeded) // nobody runs it; but there is room
}

// goneStore is away for its first calls of Live.
type goneStore struct {
	*sqlitestore.Store
	left atomic.Int32
}

func (s *goneStore) Live(ctx context.Context) ([]task.Execution, error) {
	if s.left.Add(-1) >= 0 {
		return nil, task.Errorf(task.CodeResourceUnavailable, "the database cannot be reached")
	}
	return s.Store.Live(ctx)
}

// TestWorkerStartsWhileTheStoreIsAway: a database that goes away in the moment
// of a restart ends neither the server nor what it left running.
func TestWorkerStartsWhileTheStoreIsAway(t *testing.T) {
	y := newYard(t)
	p, stop := y.platform("wait", nil)
	run := submit(t, p, oz.Request{Prompt: "work"})
	until(t, p, run.ID, says("waiting"))
	stop()
	away := &goneStore{Store: y.store.(*sqlitestore.Store)}
	away.left.Store(3)
	y.store = away
	p, stop = y.platform("wait", nil)
	defer stop()
	y.finish(run.ID)
	follow(t, p, run.ID)
	got := y.get(p, run.ID)
	assert.Equal(t, got.State, task.StateSucceeded)
	assert.Equal(t, got.Executions, 1)
	// The runner reports its end by itself; the worker may still be waiting for the store.
	eventually(t, "the worker asks until the store is back", func() bool { return away.left.Load() < 0 })
}

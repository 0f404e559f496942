package worker_test

import (
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"gotest.tools/v3/assert"

	"github.com/oz-platform/cloudagents/environment"
	"github.com/oz-platform/cloudagents/executor/local"
	"github.com/oz-platform/cloudagents/oz"
	"github.com/oz-platform/cloudagents/task"
	"github.com/oz-platform/cloudagents/transport/internal/transporttest"
	"github.com/oz-platform/cloudagents/transport/worker"
)

// TestRunOverTheLink: a run goes to a worker of another host, which carries it
// out, and nothing is left there.
func TestRunOverTheLink(t *testing.T) {
	e := start(t, nil)
	h := newHost(t, e)
	w, _ := h.run("succeed", nil)
	run := submit(t, e, task.Config{})
	got := reaches(t, e, run.ID, task.StateSucceeded)
	assert.Equal(t, got.Executions, 1)
	assert.DeepEqual(t, texts(t, e, run.ID), []string{"hello"})
	eventually(t, "the sandbox is gone, and the record says so", func() bool {
		now, err := e.Platform.Get(t.Context(), run.ID)
		return err == nil && len(h.sandboxes()) == 0 && !now.SandboxRunning
	})
	eventually(t, "the place is free", func() bool { return w.Status().Busy == 0 && h.seen.count(worker.EventEnded) == 1 })
	assert.Equal(t, h.seen.count(worker.EventStarted), 1)
	assert.Equal(t, h.seen.count(worker.EventClaimed), 1)
	for _, ev := range h.seen.list {
		if ev.Kind == worker.EventEnded {
			assert.Equal(t, ev.Result, "SUCCEEDED")
			assert.Equal(t, ev.Task, run.ID)
		}
	}
}

// TestAgentsOutliveTheirWorkers: 100 restarts of the worker's process, and cuts
// of its link between them, kill no agent and lose no event.
func TestAgentsOutliveTheirWorkers(t *testing.T) {
	e := start(t, nil)
	h := newHost(t, e)
	flag := filepath.Join(t.TempDir(), "go-on")
	w, stop := h.run(flag, nil)
	var runs []task.Task
	for range 3 {
		runs = append(runs, submit(t, e, task.Config{}))
	}
	for _, run := range runs {
		reaches(t, e, run.ID, task.StateInProgress)
	}
	for n := range 100 {
		stop()
		w, stop = h.run(flag, nil)
		if n%10 == 0 { // else it is stopped at any moment
			eventually(t, "the worker has taken up what it had", func() bool { return w.Status().Connected && w.Status().Busy == 3 })
		}
	}
	assert.NilError(t, os.WriteFile(flag, nil, 0o600))
	for _, run := range runs {
		got := reaches(t, e, run.ID, task.StateSucceeded)
		assert.Equal(t, got.Executions, 1, "an agent was killed or lost")
		assert.Equal(t, got.Attempts, 0)
		said := texts(t, e, run.ID)
		assert.Assert(t, len(said) > 1)
		for n, text := range said[1:] {
			assert.Equal(t, text, fmt.Sprint("still here ", n))
		}
	}
	eventually(t, "nothing is left", func() bool { return len(h.sandboxes()) == 0 && w.Status().Busy == 0 })
}

// begun counts the runs whose agents are at work.
func begun(t testing.TB, e *transporttest.Env) (n int) {
	t.Helper()
	page, err := e.Platform.List(t.Context(), task.Query{Limit: 100})
	assert.NilError(t, err)
	for _, run := range page.Tasks {
		if run.State == task.StateInProgress {
			n++
		}
	}
	return n
}

// once asks that no more than one execution of the run was ever begun.
func once(t testing.TB, e *transporttest.Env, id task.ID) {
	t.Helper()
	list, err := e.Platform.Executions(t.Context(), id)
	assert.NilError(t, err)
	begun := 0
	for _, x := range list {
		if !x.BegunAt.IsZero() {
			begun++
		}
	}
	assert.Equal(t, begun, 1, "%+v", list)
}

// cutter is a proxy that cuts its connections after so many bytes.
type cutter struct {
	t      testing.TB
	target string
	l      net.Listener
	work   sync.WaitGroup
	limit  func() int64 // bytes that the next connection carries each way; 0: all

	mu   sync.Mutex
	open map[net.Conn]bool
	down bool
}

func newCutter(t testing.TB, target string, limit func() int64) *cutter {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	assert.NilError(t, err)
	c := &cutter{t: t, target: strings.TrimPrefix(target, "http://"), l: l, limit: limit, open: map[net.Conn]bool{}}
	c.work.Go(c.accept)
	t.Cleanup(func() { _ = l.Close(); c.cut(true); c.work.Wait() })
	return c
}

func (c *cutter) url() string { return "http://" + c.l.Addr().String() }

// cut ends all connections, and refuses new ones while down.
func (c *cutter) cut(down bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.down = down
	for conn := range c.open {
		_ = conn.Close()
	}
}

func (c *cutter) accept() {
	for {
		in, err := c.l.Accept()
		if err != nil {
			return
		}
		out, err := net.Dial("tcp", c.target)
		c.mu.Lock()
		if err != nil || c.down {
			_ = in.Close()
			if out != nil {
				_ = out.Close()
			}
			c.mu.Unlock()
			continue
		}
		c.open[in], c.open[out] = true, true
		c.mu.Unlock()
		limit := c.limit()
		c.work.Go(func() { c.copy(in, out, limit) })
		c.work.Go(func() { c.copy(out, in, limit) })
	}
}

func (c *cutter) copy(dst, src net.Conn, limit int64) {
	r := io.Reader(src)
	if limit > 0 {
		r = io.LimitReader(src, limit)
	}
	_, _ = io.Copy(dst, r)
	_, _ = dst.Close(), src.Close()
	c.mu.Lock()
	delete(c.open, dst)
	delete(c.open, src)
	c.mu.Unlock()
}

// TestLinkIsCutAnywhere: the link is cut at random bytes, over and over, in the
// middle of frames too: each run is carried out once, and ends.
func TestLinkIsCutAnywhere(t *testing.T) {
	e := start(t, nil)
	h := newHost(t, e)
	rng := rand.New(rand.NewPCG(7, 11))
	var mu sync.Mutex
	proxy := newCutter(t, e.URL, func() int64 {
		mu.Lock()
		defer mu.Unlock()
		return 600 + rng.Int64N(6000)
	})
	w, _ := h.run("succeed", func(o *worker.Options, _ *oz.LocalWorkerOptions) { o.ServerURL = proxy.url() })
	var runs []task.Task
	for range 12 {
		runs = append(runs, submit(t, e, task.Config{}))
	}
	for _, run := range runs {
		got := reaches(t, e, run.ID, task.StateSucceeded)
		assert.DeepEqual(t, texts(t, e, run.ID), []string{"hello"})
		assert.Equal(t, got.Attempts, 0)
	}
	assert.Assert(t, h.seen.count(worker.EventDisconnected) > 3, "the test cuts nothing")
	eventually(t, "nothing is left", func() bool { return len(h.sandboxes()) == 0 && w.Status().Busy == 0 && w.Status().Unsent == 0 })
	for _, run := range runs {
		gone(t, e, run.ID)
	}
}

// TestServerAway: the server is away, for both worker and agent, until long
// after the lease would have ended: the agent's end arrives in the end, once.
func TestServerAway(t *testing.T) {
	e := start(t, func(o *transporttest.Options) {
		o.Platform.Lease, o.Platform.Heartbeat = 2*time.Second, 300*time.Millisecond
	})
	h := newHost(t, e)
	proxy := newCutter(t, e.URL, func() int64 { return 0 })
	flag := filepath.Join(t.TempDir(), "go-on")
	w, _ := h.run(flag, func(o *worker.Options, _ *oz.LocalWorkerOptions) { o.ServerURL = proxy.url() }) // the agents have another way
	run := submit(t, e, task.Config{})
	reaches(t, e, run.ID, task.StateInProgress)
	proxy.cut(true)
	eventually(t, "the worker knows", func() bool { return !w.Status().Connected })
	time.Sleep(3 * time.Second) // longer than the lease, which the agent renews
	reaches(t, e, run.ID, task.StateInProgress)
	assert.NilError(t, os.WriteFile(flag, nil, 0o600))
	reaches(t, e, run.ID, task.StateSucceeded)
	eventually(t, "the worker has something to report", func() bool { return w.Status().Unsent > 0 })
	proxy.cut(false)
	gone(t, e, run.ID)
	eventually(t, "nothing is left", func() bool { return len(h.sandboxes()) == 0 && w.Status().Busy == 0 && w.Status().Unsent == 0 })
	got, err := e.Platform.Get(t.Context(), run.ID)
	assert.NilError(t, err)
	assert.Equal(t, got.Executions, 1)
}

// TestRouting: runs go by name, by labels, or to any worker of the pool.
func TestRouting(t *testing.T) {
	e := start(t, nil)
	big, small := newHost(t, e), newHost(t, e)
	big.run("succeed", func(o *worker.Options, l *oz.LocalWorkerOptions) { l.ID = "big"; o.Labels = []string{"gpu", "zone=eu"} })
	small.run("succeed", func(o *worker.Options, l *oz.LocalWorkerOptions) { l.ID = "small"; o.Labels = []string{"zone=eu"} })
	done := func(c task.Config) string {
		run := submit(t, e, c)
		reaches(t, e, run.ID, task.StateSucceeded)
		list, err := e.Platform.Executions(t.Context(), run.ID)
		assert.NilError(t, err)
		return strings.Split(list[len(list)-1].Worker, "/")[1]
	}
	assert.Equal(t, done(task.Config{WorkerHost: "small"}), "small")
	assert.Equal(t, done(task.Config{WorkerHost: "big", WorkerLabels: []string{"zone=eu"}}), "big")
	for range 3 {
		assert.Equal(t, done(task.Config{WorkerLabels: []string{"zone=eu", "gpu"}}), "big")
	}
	for _, never := range []task.Config{{WorkerLabels: []string{"zone=us"}}, {WorkerHost: "small", WorkerLabels: []string{"gpu"}}, {WorkerHost: "warp"}, {WorkerHost: "Big"}} {
		run := submit(t, e, never)
		done(task.Config{})
		reaches(t, e, run.ID, task.StateQueued)
	}
	_, err := e.Platform.Submit(t.Context(), oz.Request{Prompt: "x", Config: task.Config{WorkerLabels: []string{"a b"}}})
	assert.Equal(t, task.CodeOf(err), task.CodeInvalidRequest)
	assert.ErrorContains(t, err, "config.worker_labels")
}

// TestTwoProcessesOneID: processes that share an id are told apart, and each
// knows its own.
func TestTwoProcessesOneID(t *testing.T) {
	e := start(t, nil)
	a, b := newHost(t, e), newHost(t, e)
	flag := filepath.Join(t.TempDir(), "go-on")
	one := func(_ *worker.Options, l *oz.LocalWorkerOptions) { l.Capacity = 1 }
	wa, _ := a.run(flag, one)
	wb, stopB := b.run(flag, one)
	config := task.Config{WorkerHost: "build-1"}
	first, second, third := submit(t, e, config), submit(t, e, config), submit(t, e, config)
	eventually(t, "both are at work", func() bool { return wa.Status().Busy == 1 && wb.Status().Busy == 1 })
	var list []oz.WorkerStatus
	eventually(t, "the server knows", func() bool {
		var err error
		list, err = e.Platform.WorkerList(t.Context())
		assert.NilError(t, err)
		return len(list) == 2 && len(list[0].Executions) == 1 && len(list[1].Executions) == 1
	})
	for _, s := range list {
		assert.Equal(t, s.ID, "build-1")
		assert.Assert(t, s.Instance == wa.Status().Instance || s.Instance == wb.Status().Instance)
		assert.Equal(t, len(s.Executions), 1)
		assert.Equal(t, s.Capacity, 1)
		assert.Equal(t, s.Platform, runtime.GOOS+"/"+runtime.GOARCH)
	}
	eventually(t, "both agents have begun", func() bool { // before that a worker which stops gives its run back
		return a.seen.count(worker.EventStarted) == 1 && b.seen.count(worker.EventStarted) == 1 && begun(t, e) == 2
	})
	stopB()
	wb, _ = b.run(flag, one) // it takes up its own, and not the other's
	eventually(t, "it is back", func() bool { return wb.Status().Connected && wb.Status().Busy == 1 })
	assert.Equal(t, len(b.sandboxes()), 1)
	assert.NilError(t, os.WriteFile(flag, nil, 0o600))
	for _, run := range []task.Task{first, second, third} {
		reaches(t, e, run.ID, task.StateSucceeded)
		once(t, e, run.ID)
	}
	// A second process over the same directory is refused.
	ex, err := local.New(a.root, nil)
	assert.NilError(t, err)
	inner, err := oz.NewLocalWorker(ex, nil)
	assert.NilError(t, err)
	third2, err := worker.New(inner, worker.Options{ServerURL: e.URL, Key: "x", StateDir: a.dir})
	assert.NilError(t, err)
	assert.ErrorContains(t, third2.Run(t.Context()), "another worker uses")
}

// TestCancelOverTheLink: a cancelled run's processes end, and the place is free.
func TestCancelOverTheLink(t *testing.T) {
	e := start(t, nil)
	h := newHost(t, e)
	w, _ := h.run(filepath.Join(t.TempDir(), "never"), nil)
	run := submit(t, e, task.Config{})
	reaches(t, e, run.ID, task.StateInProgress)
	assert.NilError(t, e.Platform.Cancel(t.Context(), run.ID))
	reaches(t, e, run.ID, task.StateCancelled)
	eventually(t, "nothing is left", func() bool { return len(h.sandboxes()) == 0 && w.Status().Busy == 0 })
	gone(t, e, run.ID)
}

// TestCrashOverTheLink: a runner that dies is reported with what it printed.
func TestCrashOverTheLink(t *testing.T) {
	e := start(t, func(o *transporttest.Options) { o.Platform.MaxAttempts = 2 })
	h := newHost(t, e)
	h.run("crash", nil)
	run := submit(t, e, task.Config{})
	got := reaches(t, e, run.ID, task.StateError)
	assert.Equal(t, got.Status.ErrorCode, task.CodeAgentProcessFailed)
	assert.Equal(t, got.Executions, 2)
	assert.Assert(t, strings.Contains(got.Status.Message, "exited with status 7"), got.Status.Message)
	events, err := e.Platform.Events(t.Context(), run.ID, 0, 100)
	assert.NilError(t, err)
	printed, phases := 0, 0
	for _, ev := range events {
		switch p := ev.Payload.(type) {
		case *task.Notice:
			if strings.Contains(p.Text, "crash as told") {
				printed++
			}
		case *task.Phase:
			phases++
		}
	}
	assert.Equal(t, printed, 2)
	assert.Equal(t, phases, 4, "each start is logged with its beginning and end")
}

// TestDrain: a draining worker finishes what it has and takes nothing new; one
// shot is a drain after the first.
func TestDrain(t *testing.T) {
	e := start(t, nil)
	h := newHost(t, e)
	flag := filepath.Join(t.TempDir(), "go-on")
	w, stop := h.run(flag, nil)
	first := submit(t, e, task.Config{})
	reaches(t, e, first.ID, task.StateInProgress)
	w.Drain()
	w.Drain()
	eventually(t, "the server knows", func() bool {
		list, err := e.Platform.WorkerList(t.Context())
		return err == nil && len(list) == 1 && list[0].Draining && !list[0].Ready
	})
	second := submit(t, e, task.Config{})
	assert.NilError(t, os.WriteFile(flag, nil, 0o600))
	reaches(t, e, first.ID, task.StateSucceeded)
	eventually(t, "it has left", func() bool {
		list, err := e.Platform.WorkerList(t.Context())
		return err == nil && len(list) == 0
	})
	stop()
	reaches(t, e, second.ID, task.StateQueued)
	gone(t, e, first.ID)

	third := submit(t, e, task.Config{})
	w, _ = h.run("succeed", func(o *worker.Options, _ *oz.LocalWorkerOptions) { o.OneShot = true })
	eventually(t, "one of both is done", func() bool {
		a, err := e.Platform.Get(t.Context(), second.ID)
		assert.NilError(t, err)
		b, err := e.Platform.Get(t.Context(), third.ID)
		assert.NilError(t, err)
		return a.State == task.StateSucceeded || b.State == task.StateSucceeded
	})
	eventually(t, "it has left", func() bool { return !w.Status().Connected || w.Status().Draining })
	eventually(t, "it has ended", func() bool { return h.seen.count(worker.EventEnded) == 2 })
	a, _ := e.Platform.Get(t.Context(), second.ID)
	b, _ := e.Platform.Get(t.Context(), third.ID)
	assert.Assert(t, a.State == task.StateQueued || b.State == task.StateQueued)
}

// TestRefusedWorker: a worker whose key is refused says why, and asks slowly.
func TestRefusedWorker(t *testing.T) {
	e := start(t, nil)
	h := newHost(t, e)
	h.key = transporttest.AdminKey
	w, _ := h.run("succeed", nil)
	eventually(t, "it says why", func() bool { return strings.Contains(w.Status().LastError, "403: only a worker key or a team key") })
	time.Sleep(time.Second)
	assert.Equal(t, h.seen.count(worker.EventDialFailed), 1)
}

// TestFailedWorkspaceIsKeptOverTheLink: a worker of another host learns for how
// long the workspace of a failed run is to be kept, also after a restart, and the
// server learns what it keeps.
func TestFailedWorkspaceIsKeptOverTheLink(t *testing.T) {
	e := start(t, nil)
	h := newHost(t, e)
	minutes, idle := 30, 1
	env, err := e.Platform.CreateEnvironment(t.Context(), environment.Config{Name: "kept", FailureSessionRetentionMinutes: &minutes}, nil)
	assert.NilError(t, err)
	_, stop := h.run("fail", nil)
	kept := submit(t, e, task.Config{EnvironmentID: env.UID, IdleTimeoutMinutes: &idle})
	other := submit(t, e, task.Config{IdleTimeoutMinutes: &idle})
	got := reaches(t, e, kept.ID, task.StateFailed)
	reaches(t, e, other.ID, task.StateFailed)
	assert.Assert(t, oz.DebugUntil(got).Equal(got.EndedAt.Add(30*time.Minute)))
	eventually(t, "nothing runs", func() bool { return len(h.sandboxes()) == 0 })
	stop()

	at := func(by time.Duration) func(*worker.Options, *oz.LocalWorkerOptions) {
		return func(_ *worker.Options, lo *oz.LocalWorkerOptions) { lo.Clock = ahead{by} }
	}
	w, stop := h.run("fail", at(28*time.Minute))
	eventually(t, "one is left", func() bool { return w.Status().Retained == 1 && w.Status().Idle == 0 })
	keys, err := h.exec.Workspaces(t.Context())
	assert.NilError(t, err)
	assert.DeepEqual(t, keys, []string{string(kept.ID)})
	eventually(t, "the server knows", func() bool {
		list, err := e.Platform.WorkerList(t.Context())
		return err == nil && slices.ContainsFunc(list, func(s oz.WorkerStatus) bool { return s.ID == "build-1" && s.Retained == 1 && s.Active == 0 })
	})
	stop()

	w, _ = h.run("fail", at(31*time.Minute))
	eventually(t, "none is left", func() bool {
		keys, err := h.exec.Workspaces(t.Context())
		return err == nil && len(keys) == 0 && w.Status().Retained == 0
	})
}

// ahead is the machine's clock, set forward.
type ahead struct{ by time.Duration }

func (a ahead) Now() time.Time                         { return time.Now().Add(a.by) }
func (a ahead) After(d time.Duration) <-chan time.Time { return time.After(d) }

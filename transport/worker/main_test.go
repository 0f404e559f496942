package worker_test

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest"
	"gotest.tools/v3/assert"

	"github.com/oz-platform/cloudagents/executor"
	"github.com/oz-platform/cloudagents/executor/local"
	"github.com/oz-platform/cloudagents/oz"
	"github.com/oz-platform/cloudagents/oz/access"
	"github.com/oz-platform/cloudagents/task"
	"github.com/oz-platform/cloudagents/transport/client"
	"github.com/oz-platform/cloudagents/transport/internal/transporttest"
	"github.com/oz-platform/cloudagents/transport/worker"
)

func TestMain(m *testing.M) {
	if code, ok := local.Supervise(); ok {
		os.Exit(code)
	}
	if len(os.Args) > 2 && os.Args[1] == "test-runner" {
		os.Exit(runnerMain(os.Args[2]))
	}
	goleak.VerifyTestMain(m)
}

// runnerMain is what this binary does in a sandbox: a runner without an agent.
func runnerMain(mode string) int {
	var h executor.Handshake
	if err := json.NewDecoder(os.Stdin).Decode(&h); err != nil {
		fmt.Println(err)
		return 9
	}
	link, err := client.DialLink(h)
	if err != nil {
		fmt.Println(err)
		return 8
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	if err := carryOut(ctx, link, mode); err != nil {
		fmt.Println(err)
		return 7
	}
	return 0
}

// carryOut works by mode: "succeed" or "fail" at once, "crash", or until a FILE
// exists, with its server or by itself.
func carryOut(ctx context.Context, link executor.Link, mode string) error {
	if _, err := link.Heartbeat(ctx); err != nil {
		return err
	}
	if err := link.Begin(ctx); err != nil {
		return err
	}
	if mode == "crash" {
		return fmt.Errorf("crash as told")
	}
	var offset int64
	say := func(text string) error {
		err := link.Append(ctx, offset, []task.Event{{Payload: &task.Message{ID: "m", Text: text}}})
		offset++
		return err
	}
	if err := say("hello"); err != nil {
		return err
	}
	if file, ok := strings.CutPrefix(mode, aloneMode); ok {
		workAlone(file)
		return endAlone(ctx, link, say, file)
	}
	if file, ok := strings.CutPrefix(mode, dyingMode); ok {
		workAlone(file)
		return fmt.Errorf("died as told")
	}
	var seen int64
	for n := 0; ; n++ {
		beat, err := link.Heartbeat(ctx)
		if err != nil {
			return err
		}
		seen = beat.LastInput
		if _, err := os.Stat(mode); mode == "succeed" || mode == "fail" || err == nil {
			break
		}
		if err := say(fmt.Sprint("still here ", n)); err != nil {
			return err
		}
		time.Sleep(50 * time.Millisecond) // the agent's own pace
	}
	if mode == "fail" {
		return link.End(ctx, task.End{State: task.StateFailed, Status: task.Status{Message: "no luck", ErrorCode: task.CodeEnvironmentSetupFailed}, SeenInput: seen})
	}
	return link.End(ctx, task.End{State: task.StateSucceeded, SeenInput: seen})
}

// Modes of agents that ask their server for nothing until their file exists:
// then they tell it of their good end, or die. Beside the file they show that
// they go on, and that they have come to their end.
const (
	aloneMode      = "alone:"
	dyingMode      = "dying:"
	progressSuffix = ".progress"
	endedSuffix    = ".ended"
)

// workAlone works until file exists.
func workAlone(file string) {
	for n := 1; ; n++ {
		_ = os.WriteFile(file+progressSuffix, make([]byte, n), 0o600)
		if _, err := os.Stat(file); err == nil {
			return
		}
		time.Sleep(10 * time.Millisecond) // the agent's own pace
	}
}

// endAlone tells the server, as soon as there is one.
func endAlone(ctx context.Context, link executor.Link, say func(string) error, file string) error {
	_ = os.WriteFile(file+endedSuffix, nil, 0o600)
	if err := say("alone"); err != nil {
		return err
	}
	beat, err := link.Heartbeat(ctx)
	if err != nil {
		return err
	}
	return link.End(ctx, task.End{State: task.StateSucceeded, SeenInput: beat.LastInput})
}

// start runs a server whose platform has no worker of its own.
func start(t testing.TB, change func(*transporttest.Options)) *transporttest.Env {
	t.Helper()
	o := &transporttest.Options{Idle: true, Platform: oz.Options{FirstBackoff: time.Millisecond, MaxBackoff: time.Millisecond, RefusalBackoff: time.Millisecond}}
	if change != nil {
		change(o)
	}
	return transporttest.Start(t, o)
}

// keyOf makes a key of the person's team.
func keyOf(t testing.TB, e *transporttest.Env, personal string, kind access.KeyType) string {
	t.Helper()
	raw, _, err := e.Platform.Registry().CreateKey(t.Context(), e.Caller(personal), access.KeySpec{Name: "rack", Type: kind})
	assert.NilError(t, err)
	return raw
}

// submit starts a run of the admin's team.
func submit(t testing.TB, e *transporttest.Env, config task.Config) task.Task {
	t.Helper()
	run, err := e.Platform.Submit(t.Context(), oz.Request{Prompt: "work", Config: config})
	assert.NilError(t, err)
	return run
}

// reaches waits until the run is in a state.
func reaches(t testing.TB, e *transporttest.Env, id task.ID, want task.State) task.Task {
	t.Helper()
	var last task.Task
	eventually(t, fmt.Sprintf("run is %s", want), func() bool {
		var err error
		last, err = e.Platform.Get(context.Background(), id)
		assert.NilError(t, err)
		if last.State.Ended() && last.State != want {
			t.Fatalf("run is %s (%+v), not %s", last.State, last.Status, want)
		}
		return last.State == want
	})
	return last
}

// eventually waits for a condition that nobody tells of.
func eventually(t testing.TB, what string, is func() bool) {
	t.Helper()
	for end := time.Now().Add(60 * time.Second); !is(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not within a minute: %s", what)
		}
	}
}

// host is where a worker of ours runs: an executor and a state directory, over
// which one process after the other may stand.
type host struct {
	t    testing.TB
	e    *transporttest.Env
	exec *local.Executor
	root string
	dir  string
	key  string
	seen events
}

// events are what a worker told its observer.
type events struct {
	mu   sync.Mutex
	list []worker.Event
}

func (v *events) note(e worker.Event) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.list = append(v.list, e)
}

func (v *events) count(kind worker.EventKind) (n int) {
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, e := range v.list {
		if e.Kind == kind {
			n++
		}
	}
	return n
}

func newHost(t testing.TB, e *transporttest.Env) *host {
	t.Helper()
	return newHostWith(t, e, keyOf(t, e, transporttest.AdminKey, access.KeyWorker))
}

func newHostWith(t testing.TB, e *transporttest.Env, key string) *host {
	t.Helper()
	h := &host{t: t, e: e, root: filepath.Join(t.TempDir(), "exec"), dir: t.TempDir(), key: key}
	var err error
	h.exec, err = local.New(h.root, nil)
	assert.NilError(t, err)
	t.Cleanup(func() { // what a failed test leaves
		for _, id := range h.sandboxes() {
			if sandbox, err := h.exec.Open(context.Background(), id); err == nil {
				assert.Check(t, sandbox.Remove(context.Background()))
			}
		}
	})
	return h
}

func (h *host) sandboxes() []string {
	ids, err := h.exec.List(context.Background())
	assert.NilError(h.t, err)
	return ids
}

// run starts a worker whose runners behave by mode. stop ends its process, as
// far as a test can: what it does not tell the server stays untold.
func (h *host) run(mode string, change func(*worker.Options, *oz.LocalWorkerOptions)) (w *worker.Worker, stop func()) {
	h.t.Helper()
	self, err := os.Executable()
	assert.NilError(h.t, err)
	lo := &oz.LocalWorkerOptions{ID: "build-1", Capacity: 4, Command: []string{self, "test-runner", mode}, ServerURL: h.e.URL, StopGrace: 5 * time.Second}
	wo := worker.Options{ServerURL: h.e.URL, Key: executor.Sensitive(h.key), StateDir: h.dir, Observer: h.seen.note, Logger: logger(h.t)}
	if change != nil {
		change(&wo, lo)
	}
	ex, err := local.New(h.root, nil)
	assert.NilError(h.t, err)
	inner, err := oz.NewLocalWorker(ex, lo)
	assert.NilError(h.t, err)
	w, err = worker.New(inner, wo)
	assert.NilError(h.t, err)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- w.Run(ctx) }()
	stop = sync.OnceFunc(func() { cancel(); assert.Check(h.t, <-done) })
	h.t.Cleanup(stop)
	return w, stop
}

// logger shows what happens when a test fails or is verbose.
func logger(t testing.TB) *zap.Logger {
	if os.Getenv("OZ_TEST_LOG") == "" {
		return zap.NewNop()
	}
	return zaptest.NewLogger(t)
}

// texts are what the agent said.
func texts(t testing.TB, e *transporttest.Env, id task.ID) (said []string) {
	t.Helper()
	for after := int64(0); ; {
		page, err := e.Platform.Events(context.Background(), id, after, 500)
		assert.NilError(t, err)
		if len(page) == 0 {
			return said
		}
		for _, ev := range page {
			if p, ok := ev.Payload.(*task.Message); ok {
				said = append(said, p.Text)
			}
		}
		after = page[len(page)-1].Seq
	}
}

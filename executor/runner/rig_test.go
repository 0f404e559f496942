package runner_test

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	"gotest.tools/v3/assert"

	"github.com/oz-platform/cloudagents/environment"
	"github.com/oz-platform/cloudagents/executor"
	"github.com/oz-platform/cloudagents/executor/gateway/scripted"
	"github.com/oz-platform/cloudagents/executor/harness"
	ozagent "github.com/oz-platform/cloudagents/executor/harness/oz"
	"github.com/oz-platform/cloudagents/executor/runner"
	"github.com/oz-platform/cloudagents/oz"
	"github.com/oz-platform/cloudagents/secrets/sealed"
	"github.com/oz-platform/cloudagents/task"
	"github.com/oz-platform/cloudagents/task/fileblob"
	"github.com/oz-platform/cloudagents/task/sqlitestore"
)

func TestMain(m *testing.M) {
	if os.Getenv(mcpServerName) != "" {
		serveMCP()
		return
	}
	goleak.VerifyTestMain(m)
}

// patience bounds what a test waits for.
const patience = 2 * time.Minute

// modelID is the model of these runs; it has a price. modelKey opens it.
const (
	modelID  = "claude-sonnet-4-5"
	modelKey = "sk-provider-7Hq2Xw9Lm4"
)

// rig is a platform with a worker whose runners are calls of runner.Run in
// this process: real store, git, commands and gateway; the model is scripted.
type rig struct {
	*oz.Platform
	t      *testing.T
	dir    string
	remote string
	model  *scripted.Server
	worker *worker
}

// setup says what is special about a rig.
type setup struct {
	script scripted.Script
	server scripted.Options
	files  map[string]string // of the remote; nil: the greeting, empty: no commit
	limits task.Limits
	cache  bool // of repositories, shared by the runs
	// private lets teams' model endpoints be at private addresses.
	private bool
	// public is where the platform is reached from outside.
	public string
	// models changes what the runs get.
	models func(*executor.Models)
	// platform changes the platform's options.
	platform func(*oz.Options)
	// runner changes the options of each execution.
	runner func(*runner.Options)
	// link is put around the link of each execution.
	link func(task.ExecutionID, executor.Link) executor.Link
}

func newRig(t *testing.T, s setup) *rig {
	t.Helper()
	r := &rig{t: t, dir: t.TempDir()}
	r.remote = filepath.Join(r.dir, "remote.git")
	r.makeRemote(r.remote, s.files)
	s.server.APIKey = modelKey
	var err error
	r.model, err = scripted.New(s.script, &s.server)
	assert.NilError(t, err)
	at, err := r.model.Start()
	assert.NilError(t, err)
	t.Cleanup(func() { assert.Check(t, at.Close()) })
	models := executor.Models{Default: modelID, Providers: []executor.ModelProvider{
		{Name: "script", Wire: "anthropic", BaseURL: at.AnthropicURL, APIKey: modelKey, Models: []string{"*"}, Scripted: true}}}
	if s.models != nil {
		s.models(&models)
	}
	r.worker = &worker{r: r, setup: s, offers: make(chan oz.Assignment), live: map[task.ExecutionID]context.CancelFunc{}}
	r.Platform = r.newPlatform(models, s)
	r.start()
	return r
}

func (r *rig) newPlatform(models executor.Models, s setup) *oz.Platform {
	t := r.t
	t.Helper()
	store, err := sqlitestore.Open(t.Context(), filepath.Join(r.dir, "oz.db"), nil)
	assert.NilError(t, err)
	t.Cleanup(func() { assert.Check(t, store.Close()) })
	keys, err := sealed.OpenKeys(filepath.Join(r.dir, "secrets.key"))
	assert.NilError(t, err)
	blobs, err := fileblob.Open(filepath.Join(r.dir, "blobs"), nil)
	assert.NilError(t, err)
	t.Cleanup(func() { assert.Check(t, blobs.Close()) })
	opts := &oz.Options{Workers: []oz.Worker{r.worker}, Models: models, PublicURL: s.public, PrivateEndpoints: s.private, Limits: s.limits,
		Sealed: sealed.New(store, keys, nil), Blobs: blobs, Heartbeat: 5 * time.Second}
	if s.platform != nil {
		s.platform(opts)
	}
	p, err := oz.New(store, opts)
	assert.NilError(t, err)
	return p
}

func (r *rig) start() {
	ctx, stop := context.WithCancel(context.WithoutCancel(r.t.Context()))
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx) }()
	r.t.Cleanup(func() { stop(); assert.Check(r.t, <-done) })
}

// greeting is a repository with a bug and a check that shows it.
var greeting = map[string]string{
	"greeting.txt": "helo world\n",
	"check.sh":     "grep -q '^hello' greeting.txt\n",
}

func (r *rig) makeRemote(path string, files map[string]string) {
	r.t.Helper()
	if files == nil {
		files = greeting
	}
	src := r.t.TempDir()
	r.git(src, "init", "-q", "-b", "main")
	for name, text := range files {
		file := filepath.Join(src, name)
		assert.NilError(r.t, os.MkdirAll(filepath.Dir(file), 0o755))
		assert.NilError(r.t, os.WriteFile(file, []byte(text), 0o644))
	}
	if len(files) > 0 {
		r.git(src, "add", ".")
		r.git(src, "commit", "-q", "-m", "Start")
	}
	r.git(src, "clone", "-q", "--bare", src, path)
	r.git(path, "config", "core.logAllRefUpdates", "always") // every push leaves a line
}

// git runs plain git for the test itself.
func (r *rig) git(dir string, args ...string) string {
	r.t.Helper()
	cmd := exec.CommandContext(r.t.Context(), "git", args...)
	cmd.Dir = dir
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + r.dir, "GIT_CONFIG_NOSYSTEM=1",
		"GIT_AUTHOR_NAME=T", "GIT_AUTHOR_EMAIL=t@example.com", "GIT_COMMITTER_NAME=T", "GIT_COMMITTER_EMAIL=t@example.com"}
	out, err := cmd.CombinedOutput()
	assert.NilError(r.t, err, "git %v: %s", args, out)
	return strings.TrimSpace(string(out))
}

// environment stores one over the remote.
func (r *rig) environment(change func(*environment.Config)) string {
	r.t.Helper()
	c := environment.Config{Name: "greeting", Repos: []environment.Repo{{Owner: "demo", Name: "greeting", URL: "file://" + r.remote}}}
	if change != nil {
		change(&c)
	}
	env, err := r.CreateEnvironment(r.t.Context(), c, nil)
	assert.NilError(r.t, err)
	return env.UID
}

func (r *rig) submit(req oz.Request) task.ID {
	r.t.Helper()
	run, err := r.Submit(r.t.Context(), req)
	assert.NilError(r.t, err)
	return run.ID
}

// finish follows a run from an event to its end.
func (r *rig) finish(id task.ID) (task.Task, []task.Event) {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(r.t.Context(), patience)
	defer cancel()
	var events []task.Event
	for e, err := range r.Watch(ctx, id, 0) {
		assert.NilError(r.t, err)
		events = append(events, e)
	}
	run, err := r.Get(ctx, id)
	assert.NilError(r.t, err)
	return run, events
}

// do submits a run over an environment and follows it to its end.
func (r *rig) do(prompt, env string) (task.Task, []task.Event) {
	r.t.Helper()
	return r.finish(r.submit(oz.Request{Prompt: prompt, Config: task.Config{EnvironmentID: env}}))
}

// until waits for an event of a run.
func (r *rig) until(id task.ID, found func(task.Event) bool) task.Event {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(r.t.Context(), patience)
	defer cancel()
	var seen []task.Event
	for e, err := range r.Watch(ctx, id, 0) {
		assert.NilError(r.t, err, describe(seen))
		if seen = append(seen, e); found(e) {
			return e
		}
	}
	r.t.Fatalf("the run ended without the event that was waited for:\n%s", describe(seen))
	return task.Event{}
}

// calls finds the event of a call of a tool.
func calls(tool string) func(task.Event) bool {
	return func(e task.Event) bool {
		c, ok := e.Payload.(*task.ToolCall)
		return ok && c.Name == tool
	}
}

// prints finds output that contains text.
func prints(text string) func(task.Event) bool {
	return func(e task.Event) bool {
		o, ok := e.Payload.(*task.ToolOutput)
		return ok && strings.Contains(o.Text, text)
	}
}

// workspace is where a run works.
func (r *rig) workspace(id task.ID) string { return filepath.Join(r.dir, "workspaces", string(id)) }

// worker is a worker whose sandboxes are goroutines.
type worker struct {
	r      *rig
	setup  setup
	offers chan oz.Assignment

	mu   sync.Mutex
	live map[task.ExecutionID]context.CancelFunc
	errs []error // of runner.Run, in the order of their ends
}

func (w *worker) Info() oz.WorkerInfo { return oz.WorkerInfo{ID: "here", Capacity: 8} }

func (w *worker) Offer(ctx context.Context, a oz.Assignment) error {
	select {
	case w.offers <- a:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (w *worker) Cancel(_ context.Context, id task.ExecutionID) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if cancel := w.live[id]; cancel != nil {
		cancel()
	}
}

func (w *worker) Run(ctx context.Context, h oz.WorkerHost) error {
	var group sync.WaitGroup
	defer group.Wait()
	h.Ready()
	for {
		select {
		case a := <-w.offers:
			group.Go(func() { w.carryOut(ctx, h, a) })
		case <-ctx.Done():
			return nil
		}
	}
}

// carryOut is one execution. A runner that died gives its run back.
func (w *worker) carryOut(ctx context.Context, h oz.WorkerHost, a oz.Assignment) {
	t := w.r.t
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	w.mu.Lock()
	w.live[a.Execution] = cancel
	w.mu.Unlock()
	caller, err := w.r.Authenticate(ctx, a.Token.Reveal())
	if !assert.Check(t, err) {
		return
	}
	link, err := w.r.Link(caller)
	if !assert.Check(t, err) {
		return
	}
	if w.setup.link != nil {
		link = w.setup.link(a.Execution, link)
	}
	_, err = runner.Run(ctx, link, w.options(a.Task.ID))
	w.mu.Lock()
	w.errs = append(w.errs, err)
	w.mu.Unlock()
	if errors.Is(err, errCrashed) {
		e, err := h.Execution(context.WithoutCancel(ctx), a.Execution)
		assert.Check(t, err)
		assert.Check(t, h.Release(context.WithoutCancel(ctx), e, "the runner crashed", 0))
	}
}

func (w *worker) options(id task.ID) *runner.Options {
	root := w.r.workspace(id)
	assert.Check(w.r.t, os.MkdirAll(root, 0o755))
	o := &runner.Options{
		Harnesses: map[string]harness.Harness{"oz": ozagent.New(&ozagent.Options{RetryPause: time.Millisecond})},
		Root:      root,
		Environ:   []string{"PATH=" + os.Getenv("PATH"), "HOME=" + w.r.dir},
	}
	if w.setup.cache {
		o.CacheDir = filepath.Join(w.r.dir, "cache")
	}
	if w.setup.runner != nil {
		w.setup.runner(o)
	}
	return o
}

// ended waits for n executions to end and gives what runner.Run returned.
func (w *worker) ended(n int) []error {
	for deadline := time.Now().Add(patience); ; time.Sleep(5 * time.Millisecond) {
		w.mu.Lock()
		errs := append([]error(nil), w.errs...)
		w.mu.Unlock()
		if len(errs) >= n {
			return errs
		}
		if time.Now().After(deadline) {
			w.r.t.Fatalf("%d executions have ended, %d were awaited", len(errs), n)
		}
	}
}

// errCrashed is what the link of a crashed runner fails with.
var errCrashed = errors.New("the runner has crashed, as the test asked")

// describe shows a log in an error.
func describe(events []task.Event) string {
	var b strings.Builder
	for _, e := range events {
		raw, _ := e.MarshalJSON()
		b.Write(raw[:min(len(raw), 500)])
		b.WriteByte('\n')
	}
	return b.String()
}

// payloads gives those of one type, in order.
func payloads[P task.Payload](events []task.Event) []P {
	var out []P
	for _, e := range events {
		if p, ok := e.Payload.(P); ok {
			out = append(out, p)
		}
	}
	return out
}

// readFile gives a file of the greeting's clone as the run has left it.
func readFile(r *rig, run task.Task, name string) (string, error) {
	data, err := os.ReadFile(filepath.Join(r.workspace(run.ID), "greeting", name))
	return string(data), err
}

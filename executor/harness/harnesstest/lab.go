package harnesstest

import (
	"bytes"
	"cmp"
	"context"
	"io"
	"maps"
	"net/http"
	"net/http/cgi"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"gotest.tools/v3/assert"

	"github.com/oz-platform/cloudagents/environment/git"
	"github.com/oz-platform/cloudagents/executor"
	"github.com/oz-platform/cloudagents/executor/gateway"
	"github.com/oz-platform/cloudagents/executor/gateway/scripted"
	"github.com/oz-platform/cloudagents/executor/harness"
	"github.com/oz-platform/cloudagents/executor/harness/tools"
	"github.com/oz-platform/cloudagents/secrets"
	"github.com/oz-platform/cloudagents/task"
)

// providerKey is the credential behind the gateway; no harness may see it.
const providerKey = "sk-provider-8Zq4Lw2Rk7"

// LabOptions says what a Lab has. The zero value is a lab with an empty script.
type LabOptions struct {
	// Script is what the model plays.
	Script scripted.Script
	// Server are the options of the model server.
	Server scripted.Options
	// Wire is the model's, default "anthropic".
	Wire string
	// Files are those of the repository's first commit. Default: one README.
	Files map[string]string
	// Served has the repository's remote on a server of its own, as it is in life:
	// what kills the agent's processes does not cut it off.
	Served bool
	// NoRepo leaves the workspace empty.
	NoRepo bool
	// Limits and Config are the run's.
	Limits task.Limits
	Config task.Config
	Mode   task.Mode
	// Budget is the gateway's.
	Budget gateway.Budget
	// Secrets are variables of the agent's processes that are redacted.
	Secrets map[string]string
	// ContextWindow and MaxOutput are what the model is said to have, in tokens.
	ContextWindow, MaxOutput int64
	// Clock is the session's. Default: the system's.
	Clock task.Clock
	// ModelID is the model. Default: Model.
	ModelID string
	// Instructions are the session's.
	Instructions string
	// Untrusted says that nobody vouches for the run.
	Untrusted bool
	// WrongKey makes the gateway show the provider a key that it refuses.
	WrongKey bool
}

// Lab is a run's surroundings, all of them real but the model.
type Lab struct {
	Log      *Log
	Server   *scripted.Server
	Git      *git.Git
	Redactor *secrets.Redactor
	// Root is the workspace, Dir the repository in it, Remote its bare remote.
	Root, Dir, Remote string
	// RemoteURL is the address of Remote.
	RemoteURL string
	// Base is the commit that was cloned.
	Base string

	opts     LabOptions
	task     task.Task
	endpoint gateway.Endpoint
	uploads  uploads
	trouble  harness.Trouble
}

// NewLab makes a lab that is taken down with the test.
func NewLab(t testing.TB, opts LabOptions) *Lab {
	t.Helper()
	if opts.Wire == "" {
		opts.Wire = "anthropic"
	}
	if opts.Clock == nil {
		opts.Clock = task.SystemClock()
	}
	dir := t.TempDir()
	l := &Lab{opts: opts, Root: filepath.Join(dir, "workspace"), Remote: filepath.Join(dir, "remote.git"), Redactor: secrets.NewRedactor(nil)}
	assert.NilError(t, os.MkdirAll(filepath.Join(dir, "home"), 0o755))
	assert.NilError(t, os.MkdirAll(l.Root, 0o755))
	l.Dir = l.Root
	l.task = task.Task{ID: task.NewID(), Spec: task.Spec{Config: opts.Config, Mode: opts.Mode, Untrusted: opts.Untrusted}}
	l.Log = NewLog(l.task.ID)
	for name, value := range opts.Secrets {
		assert.NilError(t, l.Redactor.Add(name, value))
	}
	g, err := git.Open(t.Context(), nil)
	assert.NilError(t, err)
	t.Cleanup(func() { assert.Check(t, g.Close()) })
	l.Git = g
	if !opts.NoRepo {
		l.makeRepository(t)
	}
	l.startModel(t)
	return l
}

// makeRepository makes the remote with one commit, and its clone.
func (l *Lab) makeRepository(t testing.TB) {
	t.Helper()
	files := l.opts.Files
	if files == nil {
		files = map[string]string{"README.md": "# demo\n"}
	}
	seed := filepath.Join(filepath.Dir(l.Root), "seed")
	for name, content := range files {
		path := filepath.Join(seed, name)
		assert.NilError(t, os.MkdirAll(filepath.Dir(path), 0o755))
		assert.NilError(t, os.WriteFile(path, []byte(content), 0o644))
	}
	l.Dir = filepath.Join(l.Root, "demo")
	l.RunGit(t, seed, "init", "-q", "-b", "main")
	l.RunGit(t, seed, "add", "--all")
	l.RunGit(t, seed, "commit", "-q", "-m", "Begin")
	l.RunGit(t, seed, "clone", "-q", "--bare", seed, l.Remote)
	l.RunGit(t, l.Remote, "config", "core.logAllRefUpdates", "true") // every push leaves a line
	l.RunGit(t, seed, "clone", "-q", l.Remote, l.Dir)
	l.Base = l.RunGit(t, l.Dir, "rev-parse", "HEAD")
	l.RemoteURL = "file://" + l.Remote
	if l.opts.Served {
		l.RemoteURL = l.serveRemote(t)
		l.RunGit(t, l.Dir, "remote", "set-url", "origin", l.RemoteURL)
	}
}

// serveRemote serves the remote with git's own server and gives its address. An
// answer is made in full, whoever has gone away meanwhile.
func (l *Lab) serveRemote(t testing.TB) string {
	t.Helper()
	l.RunGit(t, l.Remote, "config", "http.receivepack", "true")
	backend := &cgi.Handler{
		Path:       filepath.Join(l.RunGit(t, l.Remote, "--exec-path"), "git-http-backend"),
		Env:        []string{"GIT_PROJECT_ROOT=" + filepath.Dir(l.Remote), "GIT_HTTP_EXPORT_ALL=1", "GIT_CONFIG_NOSYSTEM=1"},
		InheritEnv: []string{"PATH"},
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		answer := httptest.NewRecorder()
		backend.ServeHTTP(answer, r)
		maps.Copy(w.Header(), answer.Header())
		w.WriteHeader(answer.Code)
		_, _ = answer.Body.WriteTo(w) // who asked may be gone
	}))
	t.Cleanup(server.Close)
	return server.URL + "/" + filepath.Base(l.Remote)
}

// RunGit runs plain git for the test itself and gives what it printed.
func (l *Lab) RunGit(t testing.TB, dir string, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "git", args...)
	cmd.Dir = dir
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + filepath.Join(filepath.Dir(l.Root), "home"), "GIT_CONFIG_NOSYSTEM=1",
		"GIT_AUTHOR_NAME=Test", "GIT_AUTHOR_EMAIL=test@example.com", "GIT_COMMITTER_NAME=Test", "GIT_COMMITTER_EMAIL=test@example.com"}
	out, err := cmd.CombinedOutput()
	assert.NilError(t, err, "git %s: %s", strings.Join(args, " "), out)
	return strings.TrimSpace(string(out))
}

// startModel starts the scripted model and the gateway before it.
func (l *Lab) startModel(t testing.TB) {
	t.Helper()
	server := l.opts.Server
	server.APIKey = providerKey
	var err error
	l.Server, err = scripted.New(l.opts.Script, &server)
	assert.NilError(t, err)
	at, err := l.Server.Start()
	assert.NilError(t, err)
	t.Cleanup(func() { assert.Check(t, at.Close()) })
	p := gateway.Provider{Name: "scripted", Wire: gateway.Wire(l.opts.Wire), BaseURL: at.AnthropicURL, APIKey: gateway.NewKey(providerKey), Models: []string{"*"}}
	if p.Wire == gateway.OpenAI {
		p.BaseURL = at.OpenAIURL
	}
	if l.opts.WrongKey {
		p.APIKey = gateway.NewKey("sk-wrong-key-9Yt5Nm1")
	}
	gw, err := gateway.New([]gateway.Provider{p}, &gateway.Options{
		Budget: l.opts.Budget, OnCall: l.trouble.Note,
		Retry: gateway.Retry{MaxAttempts: 3, Initial: time.Millisecond, Max: 5 * time.Millisecond},
	})
	assert.NilError(t, err)
	ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
	ready, done := make(chan gateway.Endpoint, 1), make(chan error, 1)
	go func() { done <- gw.Run(ctx, func(at gateway.Endpoint) { ready <- at }) }()
	select {
	case l.endpoint = <-ready:
	case err := <-done:
		stop()
		t.Fatalf("the gateway did not start: %v", err)
	}
	t.Cleanup(func() { stop(); assert.Check(t, <-done) })
}

// Model is the model's id in a Lab; it has a price.
const Model = "claude-sonnet-4-5"

func (l *Lab) model() string { return cmp.Or(l.opts.ModelID, Model) }

// Session makes a new execution of the run.
func (l *Lab) Session(t testing.TB) *harness.Session { return l.CrashingSession(t, Crash{}) }

// CrashingSession makes a new execution whose journal fails on the way.
func (l *Lab) CrashingSession(t testing.TB, c Crash) *harness.Session {
	t.Helper()
	e := task.Execution{ID: task.NewExecutionID(), TaskID: l.task.ID}
	j := l.Log.Journal(e.ID, l.Redactor, c)
	s := &harness.Session{
		Task: l.task, Execution: e, Limits: l.opts.Limits, Root: l.Root, Dir: l.Dir, Env: l.Env(),
		Model: harness.Model{
			ID: l.model(), Wire: l.opts.Wire, BaseURL: strings.TrimSuffix(l.endpoint.AnthropicURL, "/anthropic"),
			Token: executor.Sensitive(l.endpoint.Token), ContextWindow: l.opts.ContextWindow, MaxOutput: l.opts.MaxOutput, Scripted: true, LastError: l.trouble.Err,
		},
		Journal: j, Effects: harness.NewEffects(j), Redactor: l.Redactor, Git: l.Git, Link: &l.uploads,
		Desk: harness.NewDesk(&l.uploads, l.opts.Clock), Clock: l.opts.Clock,
		StateDir: filepath.Join(filepath.Dir(l.Root), "state"), Instructions: l.opts.Instructions,
	}
	s.Tools = tools.For(s, tools.Standard)
	if !l.opts.NoRepo {
		s.Repos = []harness.Repo{{Name: "demo", Dir: l.Dir, Remote: l.RemoteURL, Base: l.Base, Branch: "main"}}
	}
	return s
}

// Env is the environment of the agent's processes: enough to build Go.
func (l *Lab) Env() []string {
	home := filepath.Join(filepath.Dir(l.Root), "home")
	env := []string{"PATH=" + os.Getenv("PATH"), "HOME=" + home, "GOFLAGS=-mod=mod", "GOPROXY=off", "GOTOOLCHAIN=local",
		"GIT_AUTHOR_NAME=Agent", "GIT_AUTHOR_EMAIL=agent@example.com", "GIT_COMMITTER_NAME=Agent", "GIT_COMMITTER_EMAIL=agent@example.com"}
	for _, name := range []string{"GOCACHE", "GOROOT"} { // the test's own cache saves building the standard library
		if value := goEnv(name); value != "" {
			env = append(env, name+"="+value)
		}
	}
	for name, value := range l.opts.Secrets {
		env = append(env, name+"="+value)
	}
	return env
}

var goEnvs sync.Map

func goEnv(name string) string {
	if v, ok := goEnvs.Load(name); ok {
		return v.(string)
	}
	out, err := exec.Command("go", "env", name).Output()
	if err != nil {
		out = nil
	}
	goEnvs.Store(name, strings.TrimSpace(string(out)))
	return strings.TrimSpace(string(out))
}

// RemoteBranches lists the branches of the remote beside main, with how often
// each was pushed.
func (l *Lab) RemoteBranches(t testing.TB) map[string]int {
	t.Helper()
	out := map[string]int{}
	for name := range strings.Lines(l.RunGit(t, l.Remote, "for-each-ref", "--format=%(refname:short)", "refs/heads")) {
		if name = strings.TrimSpace(name); name != "main" {
			data, err := os.ReadFile(filepath.Join(l.Remote, "logs/refs/heads", name))
			assert.NilError(t, err)
			out[name] = bytes.Count(data, []byte("\n"))
		}
	}
	return out
}

// Uploaded gives the bytes of an uploaded artifact; ok is false without one.
func (l *Lab) Uploaded(uid string) (data []byte, ok bool) { return l.uploads.get(uid) }

// uploads is a link that keeps what is uploaded. A harness needs no other
// method of it.
type uploads struct {
	executor.Link

	mu    sync.Mutex
	blobs map[string][]byte
}

// Upload implements executor.Link.
func (u *uploads) Upload(_ context.Context, uid string, r io.Reader) (string, int64, error) {
	data, err := io.ReadAll(r)
	if err != nil {
		return "", 0, err
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.blobs == nil {
		u.blobs = map[string][]byte{}
	}
	u.blobs[uid] = data
	return "artifacts/" + uid, int64(len(data)), nil
}

func (u *uploads) get(uid string) ([]byte, bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	data, ok := u.blobs[uid]
	return data, ok
}

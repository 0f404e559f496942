package e2e_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"gotest.tools/v3/assert"

	"github.com/oz-platform/cloudagents/environment"
	"github.com/oz-platform/cloudagents/executor/gateway/scripted"
	"github.com/oz-platform/cloudagents/oz"
	"github.com/oz-platform/cloudagents/task"
	"github.com/oz-platform/cloudagents/transport/client"
)

// apiKey is the admin's in these tests.
const apiKey = "e2e admin key, chosen"

// patience bounds what should take seconds.
const patience = 2 * time.Minute

// binaries holds ozd and oz, built with crash points.
var binaries string

func TestMain(m *testing.M) {
	os.Exit(func() int {
		dir, err := os.MkdirTemp("", "oz-e2e-bin-")
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer os.RemoveAll(dir)
		binaries = dir
		if err := os.Chmod(dir, 0o755); err != nil { // for a server that runs as somebody else
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		build := exec.Command("go", "build", "-tags", "crashpoints", "-o", dir+"/", "../../cmd/ozd", "../../cmd/oz")
		build.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := build.CombinedOutput(); err != nil {
			fmt.Fprintf(os.Stderr, "build: %v\n%s", err, out)
			return 1
		}
		return m.Run()
	}())
}

// rig is a server as a process, with a remote and a model around it.
type rig struct {
	t      *testing.T
	dir    string
	remote string
	model  *scripted.Server
	addr   string
	env    []string // of the server, besides the usual
	client *client.Client
	log    *lockedBuffer
	as     *syscall.Credential // whom the server runs as; nil: this user

	mu      sync.Mutex
	process *exec.Cmd
	starts  int
}

// newRig makes everything but the server. env is added to the server's.
func newRig(t *testing.T, script scripted.Script, env ...string) *rig {
	t.Helper()
	r := &rig{t: t, dir: t.TempDir(), env: env, log: &lockedBuffer{}}
	r.remote = filepath.Join(r.dir, "remote.git")
	makeRemote(t, r.remote)
	var err error
	r.model, err = scripted.New(script, &scripted.Options{APIKey: "scripted-model-key-123456"})
	assert.NilError(t, err)
	at, err := r.model.Start()
	assert.NilError(t, err)
	t.Cleanup(func() { _ = at.Close() })
	r.addr = freeAddress(t)
	config := fmt.Sprintf(`
listen: %s
data: %s
model: scripted-model
max_concurrent: 4
max_attempts: 8
log_level: warn
models:
  - {name: script, wire: anthropic, base_url: %q, api_key_env: MODEL_KEY, models: [scripted-model]}
`, r.addr, filepath.Join(r.dir, "data"), at.AnthropicURL)
	assert.NilError(t, os.WriteFile(filepath.Join(r.dir, "ozd.yaml"), []byte(config), 0o600))
	r.client, err = client.New("http://"+r.addr, &client.Options{APIKey: apiKey, MaxRetries: 8})
	assert.NilError(t, err)
	return r
}

// freeAddress reserves nothing: it names a port that was free just now, which
// a server must be able to take again after a crash.
func freeAddress(t *testing.T) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	assert.NilError(t, err)
	defer ln.Close()
	return ln.Addr().String()
}

// makeRemote makes a bare repository with a bug and a check that shows it. It
// keeps a reflog, which counts the pushes that arrived.
func makeRemote(t *testing.T, path string) {
	t.Helper()
	src := t.TempDir()
	for name, text := range map[string]string{
		"greeting.txt": "helo world\n",
		"check.sh":     "grep -q '^hello' greeting.txt\n",
		"README.md":    "A repository with a bug.\n",
	} {
		assert.NilError(t, os.WriteFile(filepath.Join(src, name), []byte(text), 0o600))
	}
	git(t, src, "init", "-q", "-b", "main")
	git(t, src, "add", ".")
	git(t, src, "-c", "user.name=T", "-c", "user.email=t@example.com", "commit", "-q", "-m", "Start")
	git(t, src, "clone", "-q", "--bare", src, path)
	git(t, path, "config", "core.logAllRefUpdates", "always")
}

func git(t *testing.T, dir string, args ...string) string {
	t.Helper()
	cmd := exec.Command("git", args...)
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	assert.NilError(t, err, "git %v: %s", args, out)
	return strings.TrimSpace(string(out))
}

// configure adds lines to the server's configuration file, before serve.
func (r *rig) configure(yaml string) {
	r.t.Helper()
	f, err := os.OpenFile(filepath.Join(r.dir, "ozd.yaml"), os.O_APPEND|os.O_WRONLY, 0)
	assert.NilError(r.t, err)
	defer f.Close()
	_, err = f.WriteString(yaml)
	assert.NilError(r.t, err)
}

// serve keeps a server running: one that was killed is started again, as an
// init system would. It ends with the test, drained by SIGTERM.
func (r *rig) serve() {
	r.t.Helper()
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- r.keepRunning(ctx) }()
	r.t.Cleanup(func() {
		stop()
		r.signal(syscall.SIGTERM)
		if err := <-done; err != nil {
			r.t.Errorf("server: %v\n%s", err, r.log.String())
		}
	})
}

func (r *rig) keepRunning(ctx context.Context) error {
	for ctx.Err() == nil {
		cmd := exec.Command(filepath.Join(binaries, "ozd"), "--config", filepath.Join(r.dir, "ozd.yaml"))
		cmd.Env = append([]string{"PATH=" + os.Getenv("PATH"), "HOME=" + r.dir, "OZ_BOOTSTRAP_API_KEY=" + apiKey,
			"MODEL_KEY=scripted-model-key-123456"}, r.env...)
		cmd.Stdout, cmd.Stderr = r.log, r.log
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: r.as}
		r.mu.Lock()
		err := cmd.Start()
		r.process = cmd
		r.starts++
		r.mu.Unlock()
		if err != nil {
			return err
		}
		if ctx.Err() != nil {
			_ = cmd.Process.Signal(syscall.SIGTERM)
		}
		err = cmd.Wait()
		var exit *exec.ExitError
		if errors.As(err, &exit) && exit.Sys().(syscall.WaitStatus).Signal() == syscall.SIGKILL {
			continue
		}
		if ctx.Err() != nil {
			return err
		}
		return fmt.Errorf("ended by itself: %w", err)
	}
	return nil
}

func (r *rig) signal(s syscall.Signal) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.process != nil && r.process.Process != nil {
		_ = r.process.Process.Signal(s)
	}
}

// environment stores one over the remote.
func (r *rig) environment(ctx context.Context, setup ...string) string {
	r.t.Helper()
	var uid string
	r.insist(ctx, func() error {
		env, err := r.client.CreateEnvironment(ctx, environment.Config{Name: "greeting",
			Repos:         []environment.Repo{{Owner: "demo", Name: "greeting", URL: "file://" + r.remote}},
			SetupCommands: append([]string{"git log --oneline"}, setup...)}, nil)
		uid = env.UID
		return err
	})
	return uid
}

// insist repeats what fails while the server is away.
func (r *rig) insist(ctx context.Context, do func() error) {
	r.t.Helper()
	for {
		err := do()
		if err == nil {
			return
		}
		var e *task.Error
		if errors.As(err, &e) && !e.Code.Retryable() {
			r.t.Fatalf("%v\n%s", err, r.log.String())
		}
		select {
		case <-ctx.Done():
			r.t.Fatalf("%v, last error: %v\n%s", ctx.Err(), err, r.log.String())
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// submit asks for a run, over a crash too.
func (r *rig) submit(ctx context.Context, req oz.Request) task.ID {
	r.t.Helper()
	if req.IdempotencyKey == "" {
		req.IdempotencyKey = "submit of " + r.t.Name()
	}
	var id task.ID
	r.insist(ctx, func() error {
		t, err := r.client.Submit(ctx, req)
		id = t.ID
		return err
	})
	return id
}

// await follows a run to its end, over crashes, and gives its whole log.
func (r *rig) await(ctx context.Context, id task.ID) (task.Task, []task.Event) {
	r.t.Helper()
	return r.follow(ctx, id, func(task.Event) {})
}

// follow is await with a look at each event as it comes, once.
func (r *rig) follow(ctx context.Context, id task.ID, look func(task.Event)) (task.Task, []task.Event) {
	r.t.Helper()
	var events []task.Event
	var t task.Task
	r.insist(ctx, func() error {
		for e, err := range r.client.Watch(ctx, id, int64(len(events))) {
			if err != nil {
				return err
			}
			events = append(events, e)
			look(e)
		}
		var err error
		t, err = r.client.Get(ctx, id)
		if err == nil && !t.State.Ended() {
			return errors.New("not ended yet")
		}
		return err
	})
	return t, events
}

// processesLeft lists the processes that carry the mark of a sandbox of this
// server.
func (r *rig) processesLeft() []string {
	var left []string
	dirs, _ := filepath.Glob("/proc/[0-9]*")
	for _, d := range dirs {
		env, err := os.ReadFile(filepath.Join(d, "environ"))
		if err != nil || !bytes.Contains(env, []byte("OZ_SANDBOX_ID=")) || !bytes.Contains(env, []byte(r.dir)) {
			continue
		}
		args, _ := os.ReadFile(filepath.Join(d, "cmdline"))
		left = append(left, filepath.Base(d)+" "+strings.ReplaceAll(string(args), "\x00", " "))
	}
	return left
}

// lockedBuffer collects a server's output.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

var _ io.Writer = (*lockedBuffer)(nil)

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

package environment_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"gotest.tools/v3/assert"
	"gotest.tools/v3/poll"

	"github.com/oz-platform/cloudagents/environment"
	"github.com/oz-platform/cloudagents/environment/git"
	"github.com/oz-platform/cloudagents/environment/internal/gittest"
	"github.com/oz-platform/cloudagents/task"
)

func newGit(t testing.TB) *git.Git {
	t.Helper()
	g, err := git.Open(t.Context(), nil)
	assert.NilError(t, err)
	t.Cleanup(func() { assert.NilError(t, g.Close()) })
	return g
}

func newPreparer(t testing.TB, opts *environment.PreparerOptions) *environment.Preparer {
	t.Helper()
	return environment.NewPreparer(newGit(t), opts)
}

// config names the remotes as repositories.
func config(commands []string, repos ...*gittest.Repo) environment.Config {
	c := environment.Config{Name: "test", SetupCommands: commands}
	for _, r := range repos {
		name := strings.TrimSuffix(filepath.Base(r.Bare), ".git")
		c.Repos = append(c.Repos, environment.Repo{Owner: "team", Name: name, URL: r.URL()})
	}
	return c
}

// steps collects reports; output is joined by command.
type steps struct {
	list   []string
	output map[int]string
}

func (s *steps) report(step environment.Step) {
	if step.Status == environment.StepOutput {
		if s.output == nil {
			s.output = map[int]string{}
		}
		s.output[step.Number] += string(step.Output)
		return
	}
	s.list = append(s.list, fmt.Sprintf("%s %d %s", step.Phase, step.Number, step.Status))
}

func read(t testing.TB, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	assert.NilError(t, err)
	return string(data)
}

func setupFailure(t *testing.T, err error, says ...string) {
	t.Helper()
	assert.Equal(t, task.CodeOf(err), task.CodeEnvironmentSetupFailed, "%v", err)
	for _, s := range says {
		assert.ErrorContains(t, err, s)
	}
}

func TestPrepareOrder(t *testing.T) {
	ctx := t.Context()
	app := gittest.New(t, "app", map[string]string{"a.txt": "1\n"})
	lib := gittest.New(t, "lib", map[string]string{"b.txt": "2\n"})
	var s steps
	dir := filepath.Join(t.TempDir(), "ws")
	ws, err := newPreparer(t, nil).Prepare(ctx, environment.Options{
		Dir: dir, Report: s.report, Secrets: map[string]string{"TOKEN": "value-of-token"},
		Config: config([]string{
			"cat app/a.txt lib/b.txt; cd lib; export LEAK=1; echo one >> ../log",
			`echo "$PWD|CI=$CI|LEAK=$LEAK|$TOKEN|$OZ_BOOTSTRAP_API_KEY|$GIT_TERMINAL_PROMPT" >&2; echo two >> log; read -r line || echo no input`,
		}, app, lib),
		Env: []string{"PATH=" + os.Getenv("PATH"), "CI=no"},
	})
	assert.NilError(t, err)
	assert.DeepEqual(t, ws, environment.Workspace{Dir: dir, WorkingDir: dir, Checkouts: []environment.Checkout{
		{Repo: "team/app", URL: app.URL(), Dir: filepath.Join(dir, "app"), Branch: "main", Commit: app.Head(t, "main"), From: environment.FromRemote},
		{Repo: "team/lib", URL: lib.URL(), Dir: filepath.Join(dir, "lib"), Branch: "main", Commit: lib.Head(t, "main"), From: environment.FromRemote},
	}})
	slices.Sort(s.list[:4]) // clones run side by side
	assert.DeepEqual(t, s.list, []string{"clone 1 done", "clone 1 started", "clone 2 done", "clone 2 started",
		"setup 1 started", "setup 1 done", "setup 2 started", "setup 2 done"})
	assert.Equal(t, s.output[1], "1\n2\n")
	assert.Equal(t, s.output[2], dir+"|CI=true|LEAK=|value-of-token||0\nno input\n")
	assert.Equal(t, read(t, filepath.Join(dir, "log")), "one\ntwo\n")
	assert.Equal(t, gittest.Git(t, filepath.Join(dir, "app"), "status", "--porcelain", "--branch"), "## main...origin/main")

	// Prepared is prepared, for whoever asks again.
	s = steps{}
	again, err := newPreparer(t, nil).Prepare(ctx, environment.Options{Dir: dir, Report: s.report, Config: config([]string{
		"cat app/a.txt lib/b.txt; cd lib; export LEAK=1; echo one >> ../log",
		`echo "$PWD|CI=$CI|LEAK=$LEAK|$TOKEN|$OZ_BOOTSTRAP_API_KEY|$GIT_TERMINAL_PROMPT" >&2; echo two >> log; read -r line || echo no input`,
	}, app, lib)})
	assert.NilError(t, err)
	assert.DeepEqual(t, again, ws)
	assert.Equal(t, len(s.list), 0)
}

func TestOneRepositoryIsTheWorkingDirectory(t *testing.T) {
	ctx := t.Context()
	app := gittest.New(t, "app", map[string]string{"sub/a": "1"})
	p := newPreparer(t, nil)
	dir := t.TempDir()
	ws, err := p.Prepare(ctx, environment.Options{Dir: dir, Config: config([]string{"cat sub/a; mkdir made"}, app)})
	assert.NilError(t, err)
	assert.Equal(t, ws.WorkingDir, filepath.Join(dir, "app"))

	for _, wd := range []string{"app/made", filepath.Join(dir, "app", "sub")} {
		ws, err = p.Prepare(ctx, environment.Options{Dir: dir, WorkingDir: wd, Config: config(nil, app)})
		assert.NilError(t, err)
		assert.Assert(t, strings.HasSuffix(ws.WorkingDir, wd))
	}
	for _, wd := range []string{"nowhere", "app/sub/a"} {
		_, err = p.Prepare(ctx, environment.Options{Dir: dir, WorkingDir: wd, Config: config(nil, app)})
		setupFailure(t, err, "working directory", wd)
	}
	ws, err = p.Prepare(ctx, environment.Options{Dir: t.TempDir()}) // without an environment
	assert.NilError(t, err)
	assert.Equal(t, ws.WorkingDir, ws.Dir)
	_, err = p.Prepare(ctx, environment.Options{})
	assert.ErrorIs(t, err, task.ErrInvalid)
}

func TestCheckoutRef(t *testing.T) {
	ctx := t.Context()
	app := gittest.New(t, "app", map[string]string{"a": "1"})
	first := app.Head(t, "main")
	second := app.Commit(t, "main", map[string]string{"a": "2"})
	feature := app.Commit(t, "feature/x", map[string]string{"a": "3"})
	gittest.Git(t, app.Work, "push", "--quiet", "origin", first+":refs/tags/v1", feature+":refs/hidden/9")
	gittest.Git(t, app.Bare, "config", "uploadpack.allowAnySHA1InWant", "true")
	hidden := app.Commit(t, "tmp", map[string]string{"a": "4"})
	gittest.Git(t, app.Bare, "update-ref", "-d", "refs/heads/tmp")

	cache, err := environment.OpenCache(t.TempDir(), nil)
	assert.NilError(t, err)
	cached := newPreparer(t, &environment.PreparerOptions{Cache: cache})
	assert.NilError(t, cached.Refill(ctx, environment.Options{Config: config(nil, app)}))
	for i, p := range []*environment.Preparer{newPreparer(t, nil), cached} {
		for ref, want := range map[string]string{"": second, "feature/x": feature, "v1": first, "refs/heads/main": second,
			first: first, hidden: hidden, "refs/hidden/9": feature} {
			c := config(nil, app)
			c.Repos[0].Ref = ref
			ws, err := p.Prepare(ctx, environment.Options{Dir: t.TempDir(), Config: c})
			assert.NilError(t, err, "%d %q", i, ref)
			assert.Equal(t, ws.Checkouts[0].Commit, want, "%d %q", i, ref)
			assert.Equal(t, gittest.Git(t, ws.WorkingDir, "rev-parse", "HEAD"), want)
			assert.Equal(t, gittest.Git(t, ws.WorkingDir, "status", "--porcelain"), "")
			wantBranch := ""
			if ref == "" {
				wantBranch = "main"
			}
			assert.Equal(t, ws.Checkouts[0].Branch, wantBranch)
			assert.Equal(t, gittest.Git(t, ws.WorkingDir, "branch", "--show-current"), wantBranch)
		}
		for _, ref := range []string{"no-such-branch", strings.Repeat("a", 40)} {
			c := config(nil, app)
			c.Repos[0].Ref = ref
			dir := t.TempDir()
			_, err := p.Prepare(ctx, environment.Options{Dir: dir, Config: c})
			setupFailure(t, err, "team/app", "checkout_ref")
			_, err = os.Stat(filepath.Join(dir, "app"))
			assert.ErrorIs(t, err, os.ErrNotExist)
		}
	}
}

func TestCloneFailureNamesTheRepository(t *testing.T) {
	ctx := t.Context()
	app := gittest.New(t, "app", map[string]string{"a": "1"})
	gone := &gittest.Repo{Bare: "/no/such/gone.git"}
	var s steps
	_, err := newPreparer(t, nil).Prepare(ctx, environment.Options{Dir: t.TempDir(), Config: config([]string{"echo never"}, app, gone), Report: s.report})
	setupFailure(t, err, "team/gone", "does not", "Check the spelling")
	assert.Assert(t, slices.Contains(s.list, "clone 2 failed"))
	assert.Assert(t, !slices.ContainsFunc(s.list, func(l string) bool { return strings.HasPrefix(l, "setup") }))

	server := gittest.Serve(t, filepath.Dir(app.Bare), &gittest.Server{Username: "u", Password: "p"})
	c := config(nil, app)
	c.Repos[0].URL = server.URL + "/app.git"
	_, err = newPreparer(t, nil).Prepare(ctx, environment.Options{Dir: t.TempDir(), Config: c})
	setupFailure(t, err, "team/app", "credentials may read")

	gittest.Git(t, app.Bare, "symbolic-ref", "HEAD", "refs/heads/nowhere")
	_, err = newPreparer(t, nil).Prepare(ctx, environment.Options{Dir: t.TempDir(), Config: config(nil, app)})
	setupFailure(t, err, "team/app", "default branch", "checkout_ref")

	dir := t.TempDir()
	gittest.WriteFiles(t, dir, map[string]string{"app": "a file"})
	_, err = newPreparer(t, nil).Prepare(ctx, environment.Options{Dir: dir, Config: config(nil, app)})
	setupFailure(t, err, "team/app", "in the way")

	c.Repos[0].URL = "https://user:canary@host/x"
	_, err = newPreparer(t, nil).Prepare(ctx, environment.Options{Dir: dir, Config: c})
	assert.ErrorIs(t, err, task.ErrInvalid)
	assert.Assert(t, !strings.Contains(err.Error(), "canary"))
}

func TestExistingDirectorySkipsTheClone(t *testing.T) {
	ctx := t.Context()
	app := gittest.New(t, "app", map[string]string{"a": "1"})
	lib := gittest.New(t, "lib", map[string]string{"a": "1"})
	dir := t.TempDir()
	gittest.WriteFiles(t, dir, map[string]string{"app/mine": "kept"})
	gittest.Git(t, dir, "clone", "--quiet", lib.Bare, "lib")
	gittest.Git(t, filepath.Join(dir, "lib"), "checkout", "--quiet", "-b", "local")
	ws, err := newPreparer(t, nil).Prepare(ctx, environment.Options{Dir: dir, Config: config([]string{"cat app/mine"}, app, lib), StripRemotes: true})
	assert.NilError(t, err)
	assert.DeepEqual(t, ws.Checkouts[0], environment.Checkout{Repo: "team/app", URL: app.URL(), Dir: filepath.Join(dir, "app"), From: environment.FromExisting})
	assert.Equal(t, ws.Checkouts[1].Branch, "local")
	assert.Equal(t, gittest.Git(t, filepath.Join(dir, "lib"), "remote"), "")
}

func TestEmptyRepository(t *testing.T) {
	ctx := t.Context()
	empty := gittest.New(t, "empty", nil)
	cache, err := environment.OpenCache(t.TempDir(), nil)
	assert.NilError(t, err)
	p := newPreparer(t, &environment.PreparerOptions{Cache: cache})
	o := environment.Options{Dir: t.TempDir(), Config: config([]string{"git symbolic-ref HEAD"}, empty)}
	var s steps
	o.Report = s.report
	ws, err := p.Prepare(ctx, o)
	assert.NilError(t, err)
	assert.DeepEqual(t, ws.Checkouts[0], environment.Checkout{Repo: "team/empty", URL: empty.URL(),
		Dir: filepath.Join(o.Dir, "empty"), Branch: "main", From: environment.FromRemote})
	assert.Equal(t, s.output[1], "refs/heads/main\n")
	assert.NilError(t, p.Refill(ctx, o))

	// Its first commit can be made and pushed, and the next run has it.
	g := newGit(t)
	gittest.WriteFiles(t, ws.WorkingDir, map[string]string{"README": "x"})
	sha, err := g.Commit(ctx, ws.WorkingDir, "first")
	assert.NilError(t, err)
	_, err = g.Push(ctx, ws.WorkingDir, ws.Checkouts[0].URL, sha, "main")
	assert.NilError(t, err)
	o.Dir = t.TempDir()
	ws, err = p.Prepare(ctx, o)
	assert.NilError(t, err)
	assert.Equal(t, ws.Checkouts[0].Commit, sha)

	nothing := gittest.New(t, "nothing", nil)
	c := config(nil, nothing)
	c.Repos[0].Ref = "main"
	_, err = p.Prepare(ctx, environment.Options{Dir: t.TempDir(), Config: c})
	setupFailure(t, err, "team/nothing", "is empty")
}

func TestSetupCommandFailureNamesTheCommand(t *testing.T) {
	ctx := t.Context()
	secret := "canary-" + strings.Repeat("s3cret", 1000) // longer than the tail that is shown
	for _, tt := range []struct {
		name, command string
		says          []string
	}{
		{"exit code", "echo out; echo why >&2; exit 7", []string{"setup command 2 of 3 (echo out; echo why >&2; exit 7) failed with exit code 7", "out\nwhy"}},
		{"kills the shell", "echo last words; kill -9 $$", []string{"setup command 2 of 3", "signal: killed", "last words"}},
		{"unknown program", "no-such-program", []string{"exit code 127", "no-such-program"}},
		{"silent", "false", []string{"exit code 1", "It printed nothing."}},
		{"syntax", "if then", []string{"setup command 2 of 3", "exit code 2"}},
		{"long output", "yes | head -c 1000000; echo the end; exit 1", []string{"the end"}},
		{"long text", "false # " + strings.Repeat("x", 5000), []string{"exit code 1", "…"}},
		{"secret", `printf '%s %s' "$TOKEN" "$TOKEN"; exit 1`, []string{"***"}},
		{"secret cut at the front", `for i in 1 2 3 4 5; do echo "$TOKEN"; done; exit 1`, []string{"***"}},
		{"removes its directory", `rm -rf "$PWD"`, []string{"working directory"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "ws")
			gittest.WriteFiles(t, dir, map[string]string{"app/x": ""})
			c := config([]string{"echo first", tt.command, "touch ../third"}, &gittest.Repo{Bare: "/app.git"})
			_, err := newPreparer(t, nil).Prepare(ctx, environment.Options{Dir: dir, Config: c,
				Secrets: map[string]string{"TOKEN": secret, "PART": "cret", "EMPTY": ""}})
			setupFailure(t, err, tt.says...)
			assert.Assert(t, len(err.Error()) < 6000, "%d bytes", len(err.Error()))
			assert.Assert(t, !strings.Contains(err.Error(), "s3"), "%v", err)
			_, err = os.Stat(filepath.Join(dir, "third"))
			assert.ErrorIs(t, err, os.ErrNotExist)
		})
	}
}

// gone waits until the process pid has ended. A dead one that nobody has
// waited for yet counts as ended.
func gone(t *testing.T, pid string) {
	t.Helper()
	poll.WaitOn(t, func(poll.LogT) poll.Result {
		stat, err := os.ReadFile("/proc/" + pid + "/stat")
		if errors.Is(err, os.ErrNotExist) || strings.Contains(string(stat), ") Z ") {
			return poll.Success()
		}
		return poll.Continue("process %s lives", pid)
	}, poll.WithTimeout(10*time.Second))
}

// family starts a child, one in its own session, and one whose parent is gone,
// writes their ids to the file pids, and waits.
const family = `sleep 600 & echo $! >> pids
setsid sleep 600 & echo $! >> pids
(setsid sh -c 'echo $$ >> pids; exec sleep 600' >/dev/null 2>&1 &)
while [ $(wc -l < pids) -lt 3 ]; do sleep 0.01; done
echo family`

func TestSetupCommandTimeLimit(t *testing.T) {
	dir := t.TempDir()
	p := newPreparer(t, &environment.PreparerOptions{CommandTimeout: 2 * time.Second})
	_, err := p.Prepare(t.Context(), environment.Options{Dir: dir, Config: environment.Config{
		SetupCommands: []string{"true", family + "\nwait"}}})
	setupFailure(t, err, "setup command 2 of 2 (sleep 600", "limit of 2s", "setup phase", "family")
	assert.ErrorIs(t, err, context.DeadlineExceeded)
	for pid := range strings.FieldsSeq(read(t, filepath.Join(dir, "pids"))) {
		gone(t, pid)
	}
}

func TestCancelEndsTheSetup(t *testing.T) {
	dir := t.TempDir()
	stop := errors.New("the user has changed their mind")
	ctx, cancel := context.WithCancelCause(t.Context())
	defer cancel(nil)
	_, err := newPreparer(t, nil).Prepare(ctx, environment.Options{Dir: dir,
		Config: environment.Config{SetupCommands: []string{family + "\nwait", "touch second"}},
		Report: func(s environment.Step) {
			if strings.Contains(string(s.Output), "family") {
				cancel(stop)
			}
		}})
	assert.ErrorIs(t, err, stop)
	assert.Assert(t, task.CodeOf(err) != task.CodeEnvironmentSetupFailed)
	for pid := range strings.FieldsSeq(read(t, filepath.Join(dir, "pids"))) {
		gone(t, pid)
	}
	_, err = os.Stat(filepath.Join(dir, "second"))
	assert.ErrorIs(t, err, os.ErrNotExist)
}

// A server that a setup command leaves behind is there for the agent.
func TestSetupMayLeaveAServer(t *testing.T) {
	dir := t.TempDir()
	_, err := newPreparer(t, nil).Prepare(t.Context(), environment.Options{Dir: dir,
		Config: environment.Config{SetupCommands: []string{"sleep 600 >/dev/null 2>&1 & echo $! > pid"}}})
	assert.NilError(t, err)
	pid, err := strconv.Atoi(strings.TrimSpace(read(t, filepath.Join(dir, "pid"))))
	assert.NilError(t, err)
	server, err := os.FindProcess(pid)
	assert.NilError(t, err)
	assert.NilError(t, server.Kill()) // it was alive
}

func TestOutputComesInBoundedChunks(t *testing.T) {
	var total, largest int
	_, err := newPreparer(t, nil).Prepare(t.Context(), environment.Options{Dir: t.TempDir(),
		Config: environment.Config{SetupCommands: []string{"yes | head -c 3000000"}},
		Report: func(s environment.Step) { total += len(s.Output); largest = max(largest, len(s.Output)) }})
	assert.NilError(t, err)
	assert.Equal(t, total, 3000000)
	assert.Assert(t, largest <= environment.MaxOutputChunk)
}

// Two processes that prepare one workspace do the work once.
func TestPrepareTwiceAtOnce(t *testing.T) {
	app := gittest.New(t, "app", map[string]string{"a": "1"})
	dir := t.TempDir()
	p := newPreparer(t, nil)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			_, err := p.Prepare(t.Context(), environment.Options{Dir: dir, Config: config([]string{"echo x >> ../log"}, app)})
			assert.Check(t, err)
		})
	}
	wg.Wait()
	assert.Equal(t, read(t, filepath.Join(dir, "log")), "x\n")
}

// The parent's own variables, such as keys of a server, stay out of the setup
// unless they are given.
func TestSetupGetsABasicEnvironment(t *testing.T) {
	t.Setenv("OZ_BOOTSTRAP_API_KEY", "canary")
	var s steps
	_, err := newPreparer(t, nil).Prepare(t.Context(), environment.Options{Dir: t.TempDir(),
		Config: environment.Config{SetupCommands: []string{"env; test -n \"$HOME\""}}, Report: s.report})
	assert.NilError(t, err)
	assert.Assert(t, !strings.Contains(s.output[1], "canary"))
}

func TestCloneOverHTTPWithCredentials(t *testing.T) {
	app := gittest.New(t, "app", map[string]string{"a/b": "1"})
	gittest.Git(t, app.Bare, "config", "uploadpack.allowFilter", "true")
	var mu sync.Mutex
	posts := 0
	server := gittest.Serve(t, filepath.Dir(app.Bare), &gittest.Server{Username: "oz", Password: "tok", Before: func(r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		posts++
	}})
	g, err := git.Open(t.Context(), &git.Options{Credentials: func(context.Context, string) (git.Credential, error) {
		return git.Credential{Username: "oz", Password: "tok"}, nil
	}})
	assert.NilError(t, err)
	defer g.Close()
	p := environment.NewPreparer(g, &environment.PreparerOptions{Forge: server.URL})
	c := environment.Config{Repos: []environment.Repo{{Owner: ".", Name: "app.git"}}}
	_, err = p.Prepare(t.Context(), environment.Options{Dir: t.TempDir(), Config: c})
	assert.ErrorIs(t, err, task.ErrInvalid) // "." is no owner
	c.Repos[0] = environment.Repo{Name: "app", URL: server.URL + "/app.git"}
	ws, err := p.Prepare(t.Context(), environment.Options{Dir: t.TempDir(), Config: c})
	assert.NilError(t, err)
	assert.Equal(t, read(t, filepath.Join(ws.WorkingDir, "a/b")), "1")
	mu.Lock()
	defer mu.Unlock()
	assert.Assert(t, posts > 0)
}

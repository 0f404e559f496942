//go:build linux

package hooks_test

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
	"gotest.tools/v3/assert"
	is "gotest.tools/v3/assert/cmp"

	"github.com/oz-platform/cloudagents/executor"
	"github.com/oz-platform/cloudagents/executor/executortest"
	"github.com/oz-platform/cloudagents/executor/hooks"
	"github.com/oz-platform/cloudagents/executor/local"
)

func TestMain(m *testing.M) {
	if code, ok := local.Supervise(); ok {
		os.Exit(code)
	}
	if code, ok := hooks.Main(); ok {
		os.Exit(code)
	}
	goleak.VerifyTestMain(m)
}

const patience = 60 * time.Second

func newContext(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return ctx
}

// open gives an Executor over a local one, on storage that is root's.
func open(t *testing.T, root string, opts *hooks.Options) *hooks.Executor {
	t.Helper()
	inner, err := local.New(filepath.Join(root, "local"), &local.Options{OutputLimit: 64 << 10})
	assert.NilError(t, err)
	t.Cleanup(func() { assert.NilError(t, inner.Close()) })
	e, err := hooks.New(inner, filepath.Join(root, "hooks"), opts)
	assert.NilError(t, err)
	return e
}

func newRoot(t *testing.T) string {
	root := filepath.Join(t.TempDir(), "r")
	assert.NilError(t, os.Mkdir(root, 0o700))
	return root
}

func spec(id, script string, env ...string) executor.Spec {
	return executor.Spec{ID: id, Workspace: "run-" + id, Command: []string{"sh", "-c", script}, Env: env, Stdin: []byte("handshake")}
}

// run runs a sandbox to its end, and gives its output and how it ended.
func run(t *testing.T, e executor.Executor, s executor.Spec) (string, executor.Exit) {
	t.Helper()
	sandbox, err := e.Start(newContext(t), s)
	assert.NilError(t, err)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), patience)
		defer cancel()
		assert.NilError(t, sandbox.Remove(ctx))
	})
	r, err := sandbox.Output(newContext(t))
	assert.NilError(t, err)
	defer r.Close()
	out, err := io.ReadAll(r)
	assert.NilError(t, err)
	x, err := sandbox.Wait(newContext(t))
	assert.NilError(t, err)
	return string(out), x
}

// TestConformance: what is around a sandbox breaks none of its promises.
func TestConformance(t *testing.T) {
	roots := map[*testing.T]string{}
	executortest.Run(t, executortest.Harness{OutputLimit: 64 << 10, Open: func(t *testing.T) executor.Executor {
		if roots[t] == "" {
			roots[t] = newRoot(t)
		}
		return open(t, roots[t], &hooks.Options{Teardown: "true"})
	}})
}

// TestSetup: the command runs before the agent, in its directory, with the documented variables and no key; what it
// leaves in the environment file wins over the rest, and the agent gets its standard input.
func TestSetup(t *testing.T) {
	t.Setenv("WARP_API_KEY", "canary-worker-key")
	t.Setenv("WORKERS_OWN", "canary-variable")
	e := open(t, newRoot(t), &hooks.Options{Setup: `
		pwd; echo "root=$OZ_WORKSPACE_ROOT run=$OZ_RUN_ID backend=$OZ_WORKER_BACKEND size=$(wc -c <"$OZ_ENVIRONMENT_FILE") mode=$(stat -c %a "$OZ_ENVIRONMENT_FILE")"
		env; echo made by setup >made; cat
		{ echo COLOUR=red; echo 'export GREETING="a b"'; } >>"$OZ_ENVIRONMENT_FILE"`})
	out, x := run(t, e, spec("e1", `echo "agent: $COLOUR, $GREETING, $(cat made), $(cat), ${OZ_HOOKS_JOB-no job}, ${OZ_ENVIRONMENT_FILE-no file}"; ls "$TMPDIR"`, "COLOUR=blue"))
	assert.Equal(t, x, executor.Exit{}, out)
	dir, rest, _ := strings.Cut(out, "\n")
	assert.Assert(t, strings.HasSuffix(dir, "/workspaces/run-e1"), dir)
	assert.Assert(t, is.Contains(rest, "root="+dir+" run=run-e1 backend=direct size=0 mode=600\n"))
	assert.Assert(t, is.Contains(rest, "\nCOLOUR=blue\n"))
	assert.Assert(t, strings.HasSuffix(rest, "agent: red, a b, made by setup, handshake, no job, no file\n"), rest)
	assert.Assert(t, !strings.Contains(out, "canary"), out)
	assert.Assert(t, !strings.Contains(out, "OZ_HOOKS_JOB="), out)
}

// TestSetupFails: the agent is not started, and the output says why.
func TestSetupFails(t *testing.T) {
	for _, tt := range []struct {
		name, setup, want string
		code              int
	}{
		{"status", "echo no network; exit 4", "no network\n[oz] the setup command ended with exit status 4: the agent was not started\n", 4},
		{"signal", "kill -9 $$", "[oz] the setup command ended with signal: killed: the agent was not started\n", 137},
		{"bad file", `echo 'secret value' >"$OZ_ENVIRONMENT_FILE"`, "[oz] the file OZ_ENVIRONMENT_FILE of the setup command: line 1 is not of the form NAME=value\n", 78},
		{"large file", `head -c 2000000 /dev/zero >"$OZ_ENVIRONMENT_FILE"`, "[oz] the file OZ_ENVIRONMENT_FILE of the setup command: it has more than the 1048576 bytes that are read\n", 78},
	} {
		t.Run(tt.name, func(t *testing.T) {
			e := open(t, newRoot(t), &hooks.Options{Setup: tt.setup})
			out, x := run(t, e, spec("e1", "echo the agent runs"))
			assert.Equal(t, out, tt.want)
			assert.Equal(t, x.Code, tt.code)
		})
	}
	t.Run("no agent", func(t *testing.T) {
		s := spec("e1", "")
		s.Command = []string{"no-such-agent"}
		out, x := run(t, open(t, newRoot(t), &hooks.Options{Setup: "true"}), s)
		assert.Equal(t, x.Code, 127)
		assert.Assert(t, is.Contains(out, "[oz] start the agent: "))
	})
	t.Run("no file", func(t *testing.T) {
		out, x := run(t, open(t, newRoot(t), &hooks.Options{Setup: `rm "$OZ_ENVIRONMENT_FILE"`}), spec("e1", "echo fine"))
		assert.Equal(t, out, "fine\n")
		assert.Equal(t, x, executor.Exit{})
	})
}

// TestSetupEndsWithTheSandbox: a run that is cancelled meanwhile leaves nothing of its setup command.
func TestSetupEndsWithTheSandbox(t *testing.T) {
	mark := "9" + fmt.Sprint(os.Getpid()) + "7"
	e := open(t, newRoot(t), &hooks.Options{Setup: "trap : TERM; setsid sleep " + mark + " & echo began; sleep " + mark})
	s, err := e.Start(newContext(t), spec("e1", "true"))
	assert.NilError(t, err)
	r, err := s.Output(newContext(t))
	assert.NilError(t, err)
	defer r.Close()
	_, err = io.ReadFull(r, make([]byte, len("began\n")))
	assert.NilError(t, err)
	assert.NilError(t, s.Remove(newContext(t)))
	all, err := filepath.Glob("/proc/[0-9]*/cmdline")
	assert.NilError(t, err)
	for _, p := range all {
		args, _ := os.ReadFile(p)
		assert.Assert(t, !strings.Contains(string(args), "sleep\x00"+mark), p)
	}
}

// TestTeardown: it runs once all processes are gone and before the files go, once per sandbox, in its directory, without
// the variables of the run or the worker's key, also for a run that was cancelled.
func TestTeardown(t *testing.T) {
	t.Setenv("WARP_API_KEY", "canary-worker-key")
	t.Setenv("WORKERS_OWN", "seen")
	out := filepath.Join(t.TempDir(), "out")
	e := open(t, newRoot(t), &hooks.Options{Backend: "local", Teardown: "{ pwd; cat made; env; } >>" + out})
	s, err := e.Start(newContext(t), spec("e1", "echo made by the agent >made; sleep 600", "COLOUR=blue"))
	assert.NilError(t, err)
	for _, err := os.Stat(filepath.Join(s.Dir(), "made")); err != nil; _, err = os.Stat(filepath.Join(s.Dir(), "made")) {
		assert.NilError(t, newContext(t).Err())
		time.Sleep(5 * time.Millisecond)
	}
	cancelled, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	assert.NilError(t, s.Stop(cancelled, 0))
	_, err = os.Stat(out)
	assert.ErrorIs(t, err, os.ErrNotExist, "it ran before the sandbox was removed")
	assert.NilError(t, s.Remove(cancelled))
	assert.NilError(t, s.Remove(cancelled))
	raw, err := os.ReadFile(out)
	assert.NilError(t, err)
	text := string(raw)
	assert.Assert(t, strings.HasPrefix(text, s.Dir()+"\nmade by the agent\n"), text)
	for _, v := range []string{"OZ_RUN_ID=run-e1", "OZ_WORKER_BACKEND=local", "OZ_WORKSPACE_ROOT=" + s.Dir(), "GIT_CONFIG_GLOBAL=" + s.Dir() + "/.gitconfig", "WORKERS_OWN=seen"} {
		assert.Equal(t, strings.Count(text, "\n"+v+"\n"), 1, "%s\n%s", v, text)
	}
	assert.Assert(t, !strings.Contains(text, "canary") && !strings.Contains(text, "COLOUR="), text)
	assert.NilError(t, e.RemoveWorkspace(newContext(t), "run-e1"))
}

// TestTeardownFails: that is logged with what it printed, holds nothing up, and a hanging one is killed with its children.
func TestTeardownFails(t *testing.T) {
	core, logged := observer.New(zap.ErrorLevel)
	e := open(t, newRoot(t), &hooks.Options{Teardown: `echo no room; [ "$OZ_RUN_ID" = run-e1 ] && exit 3; setsid sleep 600 & sleep 600`,
		TeardownTimeout: 500 * time.Millisecond, Logger: zap.New(core)})
	for _, id := range []string{"e1", "e2"} {
		s, err := e.Start(newContext(t), spec(id, "true"))
		assert.NilError(t, err)
		assert.NilError(t, s.Remove(newContext(t)))
	}
	assert.Equal(t, logged.Len(), 2)
	assert.Equal(t, logged.All()[0].ContextMap()["error"], `exit status 3; it printed "no room\n"`)
	assert.Equal(t, logged.All()[1].ContextMap()["error"], `killed after 500ms; it printed "no room\n"`)
	ids, err := e.List(newContext(t))
	assert.NilError(t, err)
	assert.Equal(t, len(ids), 0)
}

// TestTeardownAfterARestart: the next worker runs what its predecessor owed.
func TestTeardownAfterARestart(t *testing.T) {
	root, out := newRoot(t), filepath.Join(t.TempDir(), "out")
	opts := &hooks.Options{Teardown: `echo "$OZ_RUN_ID" >>` + out}
	_, err := open(t, root, opts).Start(newContext(t), spec("e1", "true"))
	assert.NilError(t, err)
	next := open(t, root, opts)
	s, err := next.Open(newContext(t), "e1")
	assert.NilError(t, err)
	assert.NilError(t, s.Remove(newContext(t)))
	raw, err := os.ReadFile(out)
	assert.NilError(t, err)
	assert.Equal(t, string(raw), "run-e1\n")
}

// TestSharedDirectory: agents work there, and nothing in it is removed.
func TestSharedDirectory(t *testing.T) {
	shared := t.TempDir()
	assert.NilError(t, os.WriteFile(filepath.Join(shared, "precious"), nil, 0o600))
	root := newRoot(t)
	e := open(t, root, &hooks.Options{Dir: shared, Teardown: "pwd >torn"})
	s, err := e.Start(newContext(t), spec("e1", `pwd >made; echo "$OZ_WORKSPACE_ROOT" >>made`))
	assert.NilError(t, err)
	assert.Equal(t, s.Dir(), shared)
	x, err := s.Wait(newContext(t))
	assert.NilError(t, err)
	assert.Equal(t, x, executor.Exit{})
	assert.NilError(t, s.Remove(newContext(t)))
	assert.NilError(t, e.RemoveWorkspace(newContext(t), "run-e1"))
	for name, want := range map[string]string{"precious": "", "made": shared + "\n" + shared + "\n", "torn": shared + "\n"} {
		raw, err := os.ReadFile(filepath.Join(shared, name))
		assert.NilError(t, err)
		assert.Equal(t, string(raw), want)
	}
}

// TestKeepWorkspaces: with it, neither files go nor does the teardown command run, but all processes end.
func TestKeepWorkspaces(t *testing.T) {
	e := open(t, newRoot(t), &hooks.Options{KeepWorkspaces: true, Teardown: "echo >torn"})
	s, err := e.Start(newContext(t), spec("e1", "echo >made"))
	assert.NilError(t, err)
	_, err = s.Wait(newContext(t))
	assert.NilError(t, err)
	assert.NilError(t, s.Remove(newContext(t)))
	keys, err := e.Workspaces(newContext(t))
	assert.NilError(t, err)
	assert.Equal(t, len(keys), 0, "somebody would remove them")
	assert.NilError(t, e.RemoveWorkspace(newContext(t), "run-e1"))
	_, err = os.Stat(filepath.Join(s.Dir(), "made"))
	assert.NilError(t, err)
	_, err = os.Stat(filepath.Join(s.Dir(), "torn"))
	assert.ErrorIs(t, err, os.ErrNotExist)
}

func TestBadOptions(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	assert.NilError(t, os.WriteFile(file, nil, 0o600))
	for _, tt := range []struct {
		name, want string
		opts       hooks.Options
	}{
		{"missing directory", "Dir: stat /nonexistent", hooks.Options{Dir: "/nonexistent"}},
		{"file", "must be a directory, by its absolute path", hooks.Options{Dir: file}},
		{"relative", "must be a directory, by its absolute path", hooks.Options{Dir: "."}},
		{"time", "TeardownTimeout may not be negative", hooks.Options{TeardownTimeout: -1}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := hooks.New(nil, t.TempDir(), &tt.opts)
			assert.ErrorContains(t, err, tt.want)
		})
	}
}

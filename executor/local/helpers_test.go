//go:build linux

package local_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"testing"
	"time"

	"gotest.tools/v3/assert"

	"github.com/oz-platform/cloudagents/executor"
	"github.com/oz-platform/cloudagents/executor/local"
)

const patience = 60 * time.Second

func newContext(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return ctx
}

// newRoot returns a private directory.
func newRoot(t *testing.T) string {
	t.Helper()
	root := filepath.Join(t.TempDir(), "root")
	assert.NilError(t, os.Mkdir(root, 0o700))
	return root
}

// open returns an Executor that is closed at the end.
func open(t *testing.T, root string, opts *local.Options) *local.Executor {
	t.Helper()
	e, err := local.New(root, opts)
	assert.NilError(t, err)
	t.Cleanup(func() { assert.NilError(t, e.Close()) })
	return e
}

func script(id, text string, args ...string) executor.Spec {
	return executor.Spec{ID: id, Workspace: "w", Command: append([]string{"sh", "-c", text, "sh"}, args...)}
}

// start starts spec and removes the sandbox at the end.
func start(t *testing.T, e *local.Executor, spec executor.Spec) executor.Sandbox {
	t.Helper()
	s, err := e.Start(newContext(t), spec)
	assert.NilError(t, err)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), patience)
		defer cancel()
		assert.NilError(t, s.Remove(ctx))
	})
	return s
}

func wait(t *testing.T, s executor.Sandbox) executor.Exit {
	t.Helper()
	exit, err := s.Wait(newContext(t))
	assert.NilError(t, err)
	return exit
}

func output(t *testing.T, s executor.Sandbox) string {
	t.Helper()
	r, err := s.Output(newContext(t))
	assert.NilError(t, err)
	defer r.Close()
	data, err := io.ReadAll(r)
	assert.NilError(t, err)
	return string(data)
}

// ready waits until a sandbox has written something.
func ready(t *testing.T, s executor.Sandbox) {
	t.Helper()
	r, err := s.Output(newContext(t))
	assert.NilError(t, err)
	defer r.Close()
	_, err = r.Read(make([]byte, 1))
	assert.NilError(t, err)
}

// supervisorOf returns the process number of the supervisor.
func supervisorOf(t *testing.T, root, id string) int {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(root, "sandboxes", id, "state.json"))
	assert.NilError(t, err)
	var state struct{ Supervisor struct{ PID int } }
	assert.NilError(t, json.Unmarshal(data, &state))
	assert.Assert(t, state.Supervisor.PID > 1)
	return state.Supervisor.PID
}

func marker() string { return "marker-" + rand.Text() }

// marked returns the processes with an argument that contains mark.
func marked(t *testing.T, mark string) []int {
	t.Helper()
	paths, err := filepath.Glob("/proc/[0-9]*/cmdline")
	assert.NilError(t, err)
	var pids []int
	for _, path := range paths {
		if data, err := os.ReadFile(path); err == nil && bytes.Contains(data, []byte(mark)) {
			pid, err := strconv.Atoi(filepath.Base(filepath.Dir(path)))
			assert.NilError(t, err)
			pids = append(pids, pid)
		}
	}
	return pids
}

// eventually waits for other processes, of which nothing tells us.
func eventually(t *testing.T, what string, done func() bool) {
	t.Helper()
	deadline := time.After(patience)
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for !done() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("waited %v in vain: %s", patience, what)
		}
	}
}

func itoa(n int) string { return strconv.Itoa(n) }

func bootID(t *testing.T) string {
	t.Helper()
	data, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	assert.NilError(t, err)
	return string(bytes.TrimSpace(data))
}

func matches(pattern, s string) bool { return regexp.MustCompile(pattern).MatchString(s) }

// tail returns the end of a long string.
func tail(s string) string { return s[max(0, len(s)-100):] }

// canIsolate skips the test where the host cannot isolate sandboxes, if that is allowed.
func canIsolate(t testing.TB) {
	t.Helper()
	e, err := local.New(filepath.Join(t.TempDir(), "root"), &local.Options{Isolation: local.IsolationRequire})
	if err == nil {
		assert.NilError(t, e.Close())
		return
	}
	if os.Getenv("OZ_TEST_REQUIRE") != "" {
		t.Fatal(err)
	}
	t.Skip(err)
}

// eachIsolation runs a test without isolation and, where the host can, with it.
func eachIsolation(t *testing.T, name string, run func(t *testing.T, opts *local.Options)) {
	t.Run(name, func(t *testing.T) { run(t, &local.Options{Isolation: local.IsolationOff}) })
	t.Run(name+"Isolated", func(t *testing.T) {
		canIsolate(t)
		run(t, &local.Options{Isolation: local.IsolationRequire})
	})
}

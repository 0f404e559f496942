// Package executortest holds the conformance suite for executors. A driver passes when Run does:
//
//	func TestConformance(t *testing.T) {
//		executortest.Run(t, executortest.Harness{Open: func(t *testing.T) executor.Executor {
//			return mydriver.New(storageOf(t))
//		}})
//	}
//
// What only some drivers can do (images, mounts, users, networks, limits, exec) is tested where the driver's Capabilities,
// or Sandbox.Limits, say that it can, and skipped elsewhere.
//
// The sandboxes must have sh, cat, env, head, id, seq, setsid, sleep, tr and wc in their PATH.
package executortest

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"gotest.tools/v3/assert"

	"github.com/oz-platform/cloudagents/executor"
)

// Harness is what a driver brings to its tests.
type Harness struct {
	// Open returns an Executor over storage that is private to t. Each call with the same t opens the same storage
	// anew, as the next worker does after a restart. Required.
	Open func(t *testing.T) executor.Executor

	// OutputLimit is the most output, in bytes, that these Executors keep of one sandbox. The suite writes eight times
	// as much, so make it small. Required.
	OutputLimit int64

	// Processes returns the command lines of all processes of sandboxes, and maybe of others, arguments separated by
	// NUL. The default reads /proc of this host.
	Processes func(t *testing.T) []string
}

// Run runs the suite.
func Run(t *testing.T, h Harness) {
	if h.Processes == nil {
		h.Processes = hostProcesses
	}
	for _, part := range []map[string]func(*testing.T, Harness){
		lifecycleCases, treeCases, environmentCases, outputCases, workspaceCases, placeCases,
	} {
		for name, run := range part {
			t.Run(name, func(t *testing.T) { run(t, h) })
		}
	}
}

// patience bounds everything that takes milliseconds, on a machine that is busy.
const patience = 60 * time.Second

// newContext returns a context that ends with patience.
func newContext(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return ctx
}

// contextFor returns a context that ends soon.
func contextFor(t *testing.T, d time.Duration) (context.Context, context.CancelFunc) {
	return context.WithTimeout(t.Context(), d)
}

// script is a Spec that runs a shell script; args become $1, $2 ...
func script(id, text string, args ...string) executor.Spec {
	return executor.Spec{ID: id, Workspace: "w-" + id, Command: append([]string{"sh", "-c", text, "sh"}, args...)}
}

// start starts spec and removes the sandbox and its workspace at the end of the test.
func start(t *testing.T, e executor.Executor, spec executor.Spec) executor.Sandbox {
	t.Helper()
	sandbox, err := e.Start(newContext(t), spec)
	assert.NilError(t, err)
	t.Cleanup(func() { discard(t, e, sandbox, spec.Workspace) })
	return sandbox
}

func discard(t *testing.T, e executor.Executor, sandbox executor.Sandbox, workspace string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), patience)
	defer cancel()
	assert.NilError(t, sandbox.Remove(ctx))
	if err := e.RemoveWorkspace(ctx, workspace); err != nil {
		assert.ErrorIs(t, err, executor.ErrInUse) // by a sandbox that a later clean-up removes
	}
}

func wait(t *testing.T, s executor.Sandbox) executor.Exit {
	t.Helper()
	exit, err := s.Wait(newContext(t))
	assert.NilError(t, err)
	return exit
}

// output reads all there is, until the sandbox has ended.
func output(t *testing.T, s executor.Sandbox) string {
	t.Helper()
	r, err := s.Output(newContext(t))
	assert.NilError(t, err)
	defer r.Close()
	data, err := io.ReadAll(r)
	assert.NilError(t, err)
	return string(data)
}

// lines follows the output of a sandbox.
type lines struct {
	t *testing.T
	r *bufio.Reader
}

func follow(t *testing.T, s executor.Sandbox) lines {
	t.Helper()
	r, err := s.Output(newContext(t))
	assert.NilError(t, err)
	t.Cleanup(func() { r.Close() })
	return lines{t, bufio.NewReader(r)}
}

// next returns the next line without its end.
func (l lines) next() string {
	l.t.Helper()
	line, err := l.r.ReadString('\n')
	assert.NilError(l.t, err)
	return strings.TrimSuffix(line, "\n")
}

// run starts a script, waits for its success and returns its output.
func run(t *testing.T, e executor.Executor, spec executor.Spec) string {
	t.Helper()
	s := start(t, e, spec)
	out := output(t, s)
	assert.Equal(t, wait(t, s), executor.Exit{}, "output:\n%s", out)
	return out
}

// marker is a word that no other process of the host has in its arguments.
func marker() string { return "marker-" + rand.Text() }

// hostProcesses reads the arguments of all processes in /proc.
func hostProcesses(t *testing.T) []string {
	t.Helper()
	paths, err := filepath.Glob("/proc/[0-9]*/cmdline")
	assert.NilError(t, err)
	var list []string
	for _, path := range paths {
		if data, err := os.ReadFile(path); err == nil && len(data) > 0 { // zombies have none
			list = append(list, string(bytes.TrimRight(data, "\x00")))
		}
	}
	return list
}

// marked counts the processes with an argument that contains mark.
func (h Harness) marked(t *testing.T, mark string) int {
	t.Helper()
	n := 0
	for _, args := range h.Processes(t) {
		if strings.Contains(args, mark) {
			n++
		}
	}
	return n
}

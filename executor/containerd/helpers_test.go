//go:build linux

package containerd_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"gotest.tools/v3/assert"

	"github.com/oz-platform/cloudagents/executor"
	"github.com/oz-platform/cloudagents/executor/containerd"
	"github.com/oz-platform/cloudagents/internal/containerdtest"
)

// patience bounds everything that takes milliseconds, on a machine that is busy.
const patience = 60 * time.Second

func newContext(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), patience)
	t.Cleanup(cancel)
	return ctx
}

// script is a Spec that runs a shell script.
func script(id, text string) executor.Spec {
	return executor.Spec{ID: id, Workspace: "w-" + id, Command: []string{"sh", "-c", text}}
}

// start starts spec and removes the sandbox at the end of the test.
func start(t testing.TB, e executor.Executor, spec executor.Spec) executor.Sandbox {
	t.Helper()
	s, err := e.Start(newContext(t), spec)
	assert.NilError(t, err)
	t.Cleanup(func() { assert.Check(t, s.Remove(newContext(t))) })
	return s
}

// output reads all there is, until the sandbox has ended.
func output(t testing.TB, s executor.Sandbox) string {
	t.Helper()
	r, err := s.Output(newContext(t))
	assert.NilError(t, err)
	defer r.Close()
	data, err := io.ReadAll(r)
	assert.NilError(t, err)
	return string(data)
}

func wait(t testing.TB, s executor.Sandbox) executor.Exit {
	t.Helper()
	exit, err := s.Wait(newContext(t))
	assert.NilError(t, err)
	return exit
}

// until reads output up to a line.
func until(t testing.TB, s executor.Sandbox, line string) {
	t.Helper()
	r, err := s.Output(newContext(t))
	assert.NilError(t, err)
	defer r.Close()
	var seen strings.Builder
	buf := make([]byte, 4096)
	for !strings.Contains("\n"+seen.String(), "\n"+line+"\n") {
		n, err := r.Read(buf)
		seen.Write(buf[:n])
		assert.NilError(t, err, "before %q: %q", line, seen.String())
	}
}

func isImageError(err error) bool { return errors.Is(err, executor.ErrImage) }

// staticProgram is one that ends with status 2 when it is not the first process.
func staticProgram(t testing.TB) []byte {
	t.Helper()
	bin, err := runner()
	assert.NilError(t, err)
	data, err := os.ReadFile(bin)
	assert.NilError(t, err)
	return data
}

// left checks that there is no sandbox and that none has left a container, a snapshot, a mount, a shim, a directory, a
// network device or a control group.
func left(t testing.TB, d *containerdtest.Daemon, e *containerd.Executor, root string) {
	t.Helper()
	ids, err := e.List(newContext(t))
	assert.NilError(t, err)
	assert.DeepEqual(t, ids, []string{})
	assert.DeepEqual(t, boxes(t, root), []string{})
	ns := containerd.NamespaceOf(root)
	for _, args := range [][]string{{"containers", "ls", "-q"}, {"tasks", "ls", "-q"}} {
		assert.Equal(t, ctr(t, d, ns, args...), "", "%v", args)
	}
	for line := range strings.Lines(ctr(t, d, ns, "snapshots", "ls")) {
		assert.Check(t, !strings.Contains(line, "Active"), line)
	}
	// containerd itself takes a moment to undo what a client asked for that died.
	ctx := newContext(t)
	for strings.Contains(strings.Join(d.Mounts(), " "), ns) || len(shimsOf(d, ns)) > 0 {
		assert.NilError(t, ctx.Err(), "%q %v", d.Mounts(), shimsOf(d, ns))
		_ = pauseFor(t, 10)
	}
	for { // nor processes in their control groups, one that runc was just about to start included
		groups := glob(t, "/sys/fs/cgroup/*/"+ns+"/box-*")
		if len(groups) == 0 {
			break
		}
		assert.NilError(t, ctx.Err(), "%q", groups)
		_ = pauseFor(t, 10)
	}
	addresses, err := filepath.Glob(filepath.Join(root, "network/addresses/*/[0-9]*"))
	assert.NilError(t, err)
	assert.Check(t, len(addresses) == 0, "%q", addresses)
	device := "oz" + strings.TrimPrefix(ns, "oz-")
	_, err = net.InterfaceByName(device)
	assert.Check(t, err != nil, "the bridge is left")
	rules, err := exec.Command("iptables", "-t", "nat", "-S", "POSTROUTING").CombinedOutput()
	assert.NilError(t, err, "%s", rules)
	assert.Check(t, !strings.Contains(string(rules), device), "%s", rules)
}

// shimsOf lists the shims of a namespace.
func shimsOf(d *containerdtest.Daemon, ns string) (pids []int) {
	for _, pid := range d.Shims() {
		data, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
		if err == nil && strings.Contains(string(data), "\x00"+ns+"\x00") {
			pids = append(pids, pid)
		}
	}
	return pids
}

// boxes lists what the containers share with the host.
func boxes(t testing.TB, root string) []string {
	t.Helper()
	entries, err := os.ReadDir(filepath.Join(root, "boxes"))
	assert.NilError(t, err)
	names := []string{}
	for _, entry := range entries {
		names = append(names, entry.Name())
	}
	return names
}

// ctr asks containerd by its own tool.
func ctr(t testing.TB, d *containerdtest.Daemon, ns string, args ...string) string {
	t.Helper()
	out, err := exec.Command("ctr", append([]string{"-a", d.Address(), "-n", ns}, args...)...).CombinedOutput()
	assert.NilError(t, err, "%s", out)
	return string(out)
}

// shortContext ends before anyone loses patience.
func shortContext(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	t.Cleanup(cancel)
	return ctx
}

// pauseFor waits for some milliseconds: the tests that kill do so at a moment of their own choice.
func pauseFor(t testing.TB, ms int) error {
	select {
	case <-time.After(time.Duration(ms) * time.Millisecond):
		return nil
	case <-t.Context().Done():
		return t.Context().Err()
	}
}

func glob(t testing.TB, pattern string) []string {
	t.Helper()
	paths, err := filepath.Glob(pattern)
	assert.NilError(t, err)
	return paths
}

//go:build linux

package local_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
	"gotest.tools/v3/assert"
	"gotest.tools/v3/assert/cmp"

	"github.com/oz-platform/cloudagents/executor"
	"github.com/oz-platform/cloudagents/executor/executortest"
	"github.com/oz-platform/cloudagents/executor/local"
)

func TestIsolatedConformance(t *testing.T) {
	canIsolate(t)
	executortest.Run(t, harness(local.Options{Isolation: local.IsolationRequire}))
}

// TestIsolatedViewOfRoot and TestIsolatedViewOfUser: what a sandbox sees of its host, by who its worker is.
func TestIsolatedViewOfRoot(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("is for root")
	}
	canIsolate(t)
	testView(t)
	t.Run("CannotBeTakenOff", testTakenOff)
}

func TestIsolatedViewOfUser(t *testing.T) {
	canIsolate(t)
	if asNobody(t) {
		// A server hides its memory, and goes on doing so.
		assert.NilError(t, unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0))
		testView(t)
		hidden, err := unix.PrctlRetInt(unix.PR_GET_DUMPABLE, 0, 0, 0, 0)
		assert.NilError(t, err)
		assert.Equal(t, hidden, 0)
		t.Run("CannotBeTakenOff", testTakenOff)
	}
}

// host is the directory of a server: its data, with the Executor's root and a cache in it, and a file beside.
type host struct {
	dir  string
	opts *local.Options
}

func newHost(t *testing.T) host {
	t.Helper()
	dir := newRoot(t)
	for _, name := range []string{"data/mirrors", "data/run"} {
		assert.NilError(t, os.MkdirAll(filepath.Join(dir, name), 0o700))
	}
	for _, name := range []string{"data/store.db", "config.yaml"} {
		assert.NilError(t, os.WriteFile(filepath.Join(dir, name), []byte("precious"), 0o600))
	}
	return host{dir, &local.Options{
		Isolation: local.IsolationRequire,
		Hide:      []string{filepath.Join(dir, "data"), filepath.Join(dir, "config.yaml"), filepath.Join(dir, "missing"), "/root/closed/to/most"},
		Visible:   []string{filepath.Join(dir, "data", "mirrors"), filepath.Join(dir, "data", "missing")},
	}}
}

func (h host) open(t *testing.T) *local.Executor {
	return open(t, filepath.Join(h.dir, "data", "run"), h.opts)
}

func testView(t *testing.T) {
	h := newHost(t)
	e := h.open(t)
	means, why := e.Isolation()
	assert.Equal(t, means, "namespaces (user, mount, pid, ipc)")
	assert.Equal(t, why, "")
	other := start(t, e, executor.Spec{ID: "other", Workspace: "others", Command: []string{"sh", "-c", "echo secret > $HOME/f; echo ready" + forever}})
	ready(t, other)

	s := start(t, e, script("x", `
		cd "$1"
		echo "processes: $(ls /proc | grep -c '^[0-9]')"
		echo "config: $(cat config.yaml)"
		echo "data: $(ls data)"
		echo "run: $(ls data/run) $(ls data/run/sandboxes) $(ls data/run/sandboxes/x) $(ls data/run/workspaces)"
		echo mine > "$HOME/f" && echo mine > "$TMPDIR/f" && echo mine > "$OLDPWD/f" && echo mine > data/mirrors/f && echo written
		echo x 2>/dev/null > data/new || echo sealed
		echo x 2>/dev/null > data/run/sandboxes/x/exit || echo sealed
		id -u; git --version | cut -c 1-11`, h.dir))
	assert.Equal(t, wait(t, s), executor.Exit{}, output(t, s))
	lines := strings.Split(output(t, s), "\n")
	assert.Equal(t, strings.Join(lines[1:], "\n"), strings.ReplaceAll(`config: 
data: mirrors
run
run: sandboxes
workspaces x home
tmp w
written
sealed
sealed
UID
git version
`, "UID", itoa(os.Geteuid())))
	var processes int
	_, err := fmt.Sscanf(lines[0], "processes: %d", &processes)
	assert.NilError(t, err, lines[0])
	assert.Assert(t, processes >= 2 && processes <= 5, "it and its own: %d", processes)
	assert.Equal(t, executor.IsolationOf(s), "namespaces (user, mount, pid, ipc)")
	for _, path := range []string{"data/mirrors/f", "data/run/workspaces/w/f"} {
		data, err := os.ReadFile(filepath.Join(h.dir, path))
		assert.NilError(t, err)
		assert.Equal(t, string(data), "mine\n")
	}
}

// testTakenOff has an agent try what would show it the host again.
func testTakenOff(t *testing.T) {
	h := newHost(t)
	for name, text := range map[string]string{
		"Unmount":         `umount "$1/data"; umount -l /proc; cat "$1/data/store.db"`,
		"UnmountNested":   `unshare --user --map-root-user --mount sh -c 'umount "$1/data"; cat "$1/data/store.db"' sh "$1"`,
		"BindNested":      `unshare --user --map-root-user --mount sh -c 'mount --bind "$1" /mnt; cat /mnt/data/store.db' sh "$1"`,
		"Enter":           `nsenter --target 1 --mount cat "$1/data/store.db"; nsenter --target 1 --user --mount cat "$1/data/store.db"`,
		"RootOfFirst":     `cat "/proc/1/root$1/data/store.db"; ls -l /proc/1/fd/`,
		"Trace":           `for f in environ maps mem; do head -c 1 /proc/1/$f > /dev/null && echo precious; done; test -e /proc/1/cwd/usr && echo precious`,
		"SettingOfKernel": `cat /proc/sys/kernel/core_pattern > /proc/sys/kernel/core_pattern && echo precious`,
		"Devices":         `mount -t devtmpfs none /mnt; for d in /dev/vda /dev/sda /dev/nvme0n1 /dev/loop0; do head -c 1 "$d" 2>/dev/null | grep -q . && echo precious; done; mknod "$HOME/d" b 254 0 && head -c 1 "$HOME/d" && echo precious`,
		"Kill":            `test $PPID = 1 || exit 1; kill -KILL 1; kill -STOP 1; sleep 0.1; kill -0 1 || echo precious`,
	} {
		t.Run(name, func(t *testing.T) {
			s := start(t, h.open(t), script("x", text+"; echo tried", h.dir))
			assert.Equal(t, wait(t, s), executor.Exit{})
			out := output(t, s)
			assert.Check(t, cmp.Contains(out, "tried\n"))
			assert.Check(t, !strings.Contains(out, "precious"), out)
		})
	}
}

// TestIsolatedNetwork: a network of its own has a loopback device that works, and the default is the host's.
func TestIsolatedNetwork(t *testing.T) {
	canIsolate(t)
	e := open(t, newRoot(t), &local.Options{Isolation: local.IsolationRequire})
	spec := executor.Spec{ID: "none", Workspace: "w", Network: executor.NetworkNone,
		Command: []string{"bash", "-c", `(: < /dev/tcp/127.0.0.1/1) 2>&1 | grep -m 1 -o refused | head -n 1; readlink /proc/self/ns/net`}}
	s := start(t, e, spec)
	assert.Equal(t, wait(t, s), executor.Exit{}, output(t, s))
	assert.Equal(t, executor.IsolationOf(s), "namespaces (user, mount, pid, ipc, network)")
	ours, err := os.Readlink("/proc/self/ns/net")
	assert.NilError(t, err)
	assert.Check(t, matches(`^refused\nnet:\[\d+\]\n$`, output(t, s)), output(t, s))
	assert.Check(t, !strings.Contains(output(t, s), ours))
	s = start(t, e, script("host", "readlink /proc/self/ns/net"))
	assert.Equal(t, output(t, s), ours+"\n")
}

// helperClosed is the variable that makes this test binary find out what New does where the kernel refuses.
const helperClosed = "OZ_LOCAL_TEST_CLOSED"

// TestIsolationMissing: where the kernel refuses namespaces, "require" fails with what to mend, and "auto" goes on and
// says so. The refusal is real: the limit is one of a user namespace that the test makes.
func TestIsolationMissing(t *testing.T) {
	canIsolate(t)
	if os.Getenv(helperClosed) == "" {
		cmd := exec.CommandContext(newContext(t), "/proc/self/exe", "-test.run=^TestIsolationMissing$", "-test.v")
		cmd.Env = append(os.Environ(), helperClosed+"=1")
		cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWUSER,
			UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Geteuid(), Size: 1}},
			GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getegid(), Size: 1}}}
		out, err := cmd.CombinedOutput()
		assert.NilError(t, err, "%s", out)
		assert.Assert(t, strings.Contains(string(out), "--- PASS: TestIsolationMissing"), "%s", out)
		return
	}
	assert.NilError(t, os.WriteFile("/proc/sys/user/max_user_namespaces", []byte("0"), 0))
	_, err := local.New(newRoot(t), &local.Options{Isolation: local.IsolationRequire})
	assert.ErrorContains(t, err, `Isolation is "require", but this host cannot isolate sandboxes: make namespaces: `)
	assert.ErrorContains(t, err, "to mend it: sysctl -w user.max_user_namespaces=10000")
	e := open(t, newRoot(t), nil)
	means, why := e.Isolation()
	assert.Equal(t, means, executor.IsolationNone)
	assert.Assert(t, cmp.Contains(why, "user.max_user_namespaces"))
	s := start(t, e, script("x", "echo works"))
	assert.Equal(t, output(t, s), "works\n")
	assert.Equal(t, executor.IsolationOf(s), executor.IsolationNone)
	spec := script("y", "true")
	spec.Network = executor.NetworkNone
	_, err = e.Start(newContext(t), spec)
	assert.ErrorIs(t, err, executor.ErrUnsupported)
}

// TestVisibleHoldsHidden: what is to be seen cannot hold what is not.
func TestVisibleHoldsHidden(t *testing.T) {
	h := newHost(t)
	h.opts.Visible = []string{filepath.Join(h.dir, "data")}
	_, err := local.New(filepath.Join(h.dir, "data", "run"), h.opts)
	assert.ErrorContains(t, err, "Visible: "+h.dir)
	assert.ErrorContains(t, err, "must stay hidden")
}

// TestCommandBelowHidden: the program of a sandbox is there, wherever it lies.
func TestCommandBelowHidden(t *testing.T) {
	canIsolate(t)
	h := newHost(t)
	program := filepath.Join(h.dir, "data", "bin", "agent")
	assert.NilError(t, os.MkdirAll(filepath.Dir(program), 0o700))
	assert.NilError(t, os.WriteFile(program, []byte("#!/bin/sh\nls \"${0%/*}/..\""), 0o700))
	s := start(t, h.open(t), executor.Spec{ID: "x", Workspace: "w", Command: []string{program}})
	assert.Equal(t, output(t, s), "bin\nmirrors\nrun\n")
	assert.Equal(t, wait(t, s), executor.Exit{})
}

// TestCancelLeavesNothing cancels 200 sandboxes, in each way that there is, whose children hide.
func TestCancelLeavesNothing(t *testing.T) {
	eachIsolation(t, "Cancel", func(t *testing.T, opts *local.Options) {
		tries := 200
		if testing.Short() {
			tries = 10
		}
		e, mark := open(t, newRoot(t), opts), marker()
		for i := range tries {
			s, err := e.Start(newContext(t), script("x", hidden+forever, mark))
			assert.NilError(t, err)
			ready(t, s)
			if i%2 == 0 {
				assert.NilError(t, s.Stop(newContext(t), 0))
				assert.Equal(t, len(marked(t, mark)), 0, "try %d", i)
			}
			assert.NilError(t, s.Remove(context.WithoutCancel(t.Context())))
			assert.Equal(t, len(marked(t, mark)), 0, "try %d", i)
			assert.NilError(t, e.RemoveWorkspace(newContext(t), "w"))
		}
	})
}

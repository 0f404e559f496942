//go:build linux

package local_test

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
	"gotest.tools/v3/assert"

	"github.com/oz-platform/cloudagents/executor"
	"github.com/oz-platform/cloudagents/executor/executortest"
	"github.com/oz-platform/cloudagents/executor/local"
)

// harness runs the suite on Executors with these options.
func harness(opts local.Options) executortest.Harness {
	opts.OutputLimit = 1 << 20
	roots := map[*testing.T]string{}
	return executortest.Harness{
		OutputLimit: opts.OutputLimit,
		Open: func(t *testing.T) executor.Executor {
			if roots[t] == "" {
				roots[t] = newRoot(t)
			}
			return open(t, roots[t], &opts)
		},
	}
}

func TestLocalConformance(t *testing.T) {
	executortest.Run(t, harness(local.Options{Isolation: local.IsolationOff}))
}

func TestNewRefusesUnsafeRoots(t *testing.T) {
	dir := func(t *testing.T, mode os.FileMode) string {
		path := filepath.Join(t.TempDir(), "root")
		assert.NilError(t, os.Mkdir(path, 0o700))
		assert.NilError(t, os.Chmod(path, mode))
		return path
	}
	for _, tt := range []struct {
		name string
		root func(t *testing.T) string
		want string
	}{
		{"empty", func(*testing.T) string { return "" }, "empty"},
		{"world-writable", func(t *testing.T) string { return dir(t, 0o777) }, "writable by others"},
		{"sticky", func(t *testing.T) string { return dir(t, 0o777|os.ModeSticky) }, "writable by others"},
		{"group-writable", func(t *testing.T) string { return dir(t, 0o770) }, "writable by others"},
		{"below a world-writable directory", func(t *testing.T) string {
			return filepath.Join(dir(t, 0o777), "root")
		}, "writable by everybody"},
		{"file", func(t *testing.T) string {
			path := filepath.Join(t.TempDir(), "file")
			assert.NilError(t, os.WriteFile(path, nil, 0o600))
			return path
		}, "not a directory"},
		{"linked sandboxes", func(t *testing.T) string {
			root := dir(t, 0o700)
			assert.NilError(t, os.Symlink(t.TempDir(), filepath.Join(root, "sandboxes")))
			return root
		}, "not a directory"},
		{"writable workspaces", func(t *testing.T) string {
			root := dir(t, 0o700)
			assert.NilError(t, os.Mkdir(filepath.Join(root, "workspaces"), 0o700))
			assert.NilError(t, os.Chmod(filepath.Join(root, "workspaces"), 0o777))
			return root
		}, "writable by others"},
		{"someone else's", func(t *testing.T) string {
			root := dir(t, 0o700)
			if err := os.Chown(root, 12345, -1); errors.Is(err, os.ErrPermission) {
				t.Skip("only root can give a directory away")
			}
			return root
		}, "belongs to user 12345"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := local.New(tt.root(t), nil)
			assert.ErrorContains(t, err, tt.want)
		})
	}
}

func TestNewOptions(t *testing.T) {
	_, err := local.New(newRoot(t), &local.Options{OutputLimit: 1})
	assert.ErrorContains(t, err, "OutputLimit")
	_, err = local.New(newRoot(t), &local.Options{Isolation: "some"})
	assert.ErrorContains(t, err, `Isolation: "some" is none of auto, require, off`)
	_, err = local.New(newRoot(t), &local.Options{Hide: []string{"data"}})
	assert.ErrorContains(t, err, `Hide: "data" must be an absolute path`)
	_, err = local.New(newRoot(t), &local.Options{Visible: []string{"/"}})
	assert.ErrorContains(t, err, `Visible: "/" must be an absolute path, and not /`)
	_, err = local.New(newRoot(t), &local.Options{Cgroup: t.TempDir()})
	assert.ErrorContains(t, err, "not a cgroup v2 directory")
	_, err = local.New(newRoot(t), &local.Options{Cgroup: "/no/such"})
	assert.ErrorIs(t, err, os.ErrNotExist)
}

// TestRootIsMadePrivate: a root that does not exist is made, and a linked one resolved.
func TestRootIsMadePrivate(t *testing.T) {
	base := newRoot(t)
	assert.NilError(t, os.Symlink(base, filepath.Join(base, "link")))
	e := open(t, filepath.Join(base, "link", "a", "b"), nil)
	s := start(t, e, script("x", "true"))
	assert.Equal(t, s.Dir(), filepath.Join(base, "a", "b", "workspaces", "w"))
	for _, path := range []string{"a/b", "a/b/sandboxes", "a/b/sandboxes/x", "a/b/sandboxes/x/home", "a/b/workspaces/w"} {
		info, err := os.Stat(filepath.Join(base, path))
		assert.NilError(t, err)
		assert.Equal(t, info.Mode().Perm(), os.FileMode(0o700), path)
	}
}

// TestInterruptedStart: what a worker leaves behind that died before the command could start.
func TestInterruptedStart(t *testing.T) {
	root := newRoot(t)
	e := open(t, root, nil)
	dir := filepath.Join(root, "sandboxes", "x")
	assert.NilError(t, os.MkdirAll(filepath.Join(dir, "home"), 0o700))

	s, err := e.Open(newContext(t), "x")
	assert.NilError(t, err)
	assert.Equal(t, wait(t, s), executor.Exit{Code: -1, Unknown: true})
	assert.Equal(t, output(t, s), "")
	assert.Equal(t, s.Dir(), "")
	assert.NilError(t, s.Stop(newContext(t), 0))

	started := start(t, e, script("x", "echo here; exit 3"))
	assert.Equal(t, output(t, started), "here\n")
	assert.Equal(t, wait(t, started), executor.Exit{Code: 3})
	assert.NilError(t, s.Remove(newContext(t)), "the older value means the same sandbox")
	_, err = e.Open(newContext(t), "x")
	assert.ErrorIs(t, err, executor.ErrNotFound)
}

// TestUnreadableState: a sandbox that lost its state with the power never runs again, and can be removed.
func TestUnreadableState(t *testing.T) {
	for name, state := range map[string]string{"empty": "", "zeros": "\x00\x00\x00", "cut": `{"version":1,"id":"x","wor`} {
		t.Run(name, func(t *testing.T) {
			root := newRoot(t)
			dir := filepath.Join(root, "sandboxes", "x")
			assert.NilError(t, os.MkdirAll(dir, 0o700))
			assert.NilError(t, os.WriteFile(filepath.Join(dir, "state.json"), []byte(state), 0o600))
			e := open(t, root, nil)
			s := start(t, e, script("x", "echo again"))
			assert.Equal(t, wait(t, s), executor.Exit{Code: -1, Unknown: true})
			assert.Equal(t, output(t, s), "")
			assert.NilError(t, e.RemoveWorkspace(newContext(t), "w"))
			assert.NilError(t, s.Remove(newContext(t)))
			assert.Equal(t, output(t, start(t, e, script("x", "echo again"))), "again\n")
		})
	}
}

// TestOtherBoot: after a restart of the machine the supervisor's number may belong to anyone.
func TestOtherBoot(t *testing.T) {
	root := newRoot(t)
	s := start(t, open(t, root, nil), script("x", "exit 3"))
	wait(t, s)
	dir := filepath.Join(root, "sandboxes", "x")
	assert.NilError(t, os.Remove(filepath.Join(dir, "exit")))
	self := os.Getpid()
	for name, identity := range map[string]string{
		"other boot":  `{"pid":` + itoa(self) + `,"start":1,"boot":"00000000-0000-0000-0000-000000000000"}`,
		"other start": `{"pid":` + itoa(self) + `,"start":1,"boot":"` + bootID(t) + `"}`,
	} {
		state := `{"version":1,"id":"x","workspace":"w","supervisor":` + identity + `,"mark":0,"output":65536}`
		assert.NilError(t, os.WriteFile(filepath.Join(dir, "state.json"), []byte(state), 0o600))
		s, err := open(t, root, nil).Open(newContext(t), "x")
		assert.NilError(t, err, name)
		assert.NilError(t, s.Stop(newContext(t), patience), "%s: it kills this very process", name)
		assert.Equal(t, wait(t, s), executor.Exit{Code: -1, Unknown: true}, name)
	}
}

// TestLimitsHold: what is said to be enforced is what the kernel says.
func TestLimitsHold(t *testing.T) {
	spec := script("x", "ulimit -n; ulimit -Hn; ulimit -c")
	spec.Limits.OpenFiles = 7
	s := start(t, open(t, newRoot(t), nil), spec)
	assert.Equal(t, s.Limits(), executor.Limits{OpenFiles: 64}, "the least a program can live with")
	assert.Equal(t, output(t, s), "64\n64\n0\n")
}

// TestFullDisk: a sandbox that fills the disk with its output ends as if nothing was, and its status is kept.
func TestFullDisk(t *testing.T) {
	root := newRoot(t)
	if err := unix.Mount("tmpfs", root, "tmpfs", 0, "size=512k,mode=0700"); errors.Is(err, unix.EPERM) {
		t.Skip("only root can mount a small disk")
	} else {
		assert.NilError(t, err)
	}
	t.Cleanup(func() { assert.NilError(t, unix.Unmount(root, 0)) })
	e := open(t, root, &local.Options{OutputLimit: 4 << 20})
	s := start(t, e, script("x", `
		head -c 300000 /dev/zero > ballast; head -c 1000000 /dev/zero | tr '\0' x
		rm ballast; echo; echo end; exit 3`))
	assert.Equal(t, wait(t, s), executor.Exit{Code: 3})
	out := output(t, s)
	// What was in the pipe when there was room again comes after the note.
	assert.Assert(t, len(out) > 1000 && len(out) < 1_000_000, "%d bytes", len(out))
	assert.Assert(t, matches(`^x+\n\[\d+ bytes of output lost: cannot write to disk\]\nx*\n?end\n$`, out), "%.50q ... %q", out, tail(out))
}

// TestKilledMain: a crash is a crash, without a core file.
func TestKilledMain(t *testing.T) {
	s := start(t, open(t, newRoot(t), nil), script("x", "kill -SEGV $$"))
	assert.Equal(t, wait(t, s), executor.Exit{Code: 128 + int(syscall.SIGSEGV), Signal: syscall.SIGSEGV})
}

// helperUnsupervised is the variable that makes this test binary a program whose main forgot to call Supervise.
const helperUnsupervised = "OZ_LOCAL_TEST_UNSUPERVISED"

// TestSuperviseIsMissed: without the call a Start would run the whole program again, so there is no Executor.
func TestSuperviseIsMissed(t *testing.T) {
	exe, err := os.Executable()
	assert.NilError(t, err)
	cmd := exec.Command(exe, newRoot(t))
	cmd.Env = append(os.Environ(), helperUnsupervised+"=1")
	out, err := cmd.Output()
	assert.NilError(t, err)
	assert.Assert(t, matches("main must call local.Supervise", string(out)), "%s", out)
}

// TestReserve: the helper in reserve may be killed by anyone at any time, and goes with Close.
func TestReserve(t *testing.T) {
	e := open(t, newRoot(t), nil)
	reserve := func() []int { return childrenNamed(t, os.Getpid(), "oz-sandbox-supervisor") }
	assert.Equal(t, len(reserve()), 0, "New starts nothing")
	for i := range 3 {
		s := start(t, e, script("x"+itoa(i), "exit 3"))
		assert.Equal(t, wait(t, s), executor.Exit{Code: 3})
		eventually(t, "the supervisor is reaped", func() bool { return len(reserve()) == 1 })
		assert.NilError(t, syscall.Kill(reserve()[0], syscall.SIGKILL))
		eventually(t, "the helper ends", func() bool { return len(reserve()) == 0 })
	}
	start(t, e, script("last", "exit 0"))
	for range 2 {
		assert.NilError(t, e.Close())
	}
	eventually(t, "no helper is left", func() bool { return len(reserve()) == 0 })
}

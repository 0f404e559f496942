//go:build linux

// Package containerdtest starts a private containerd for tests: its own root,
// state and socket in a short temporary directory, ended and wiped with the
// test. It also makes images on the spot and serves them from a registry on
// loopback.
//
//	func TestMain(m *testing.M) { goleak.VerifyTestMain(containerdtest.Main(m)) }
//
//	func TestX(t *testing.T) {
//		d := containerdtest.Shared(t)
//		...
//	}
//
// It needs root, containerd and runc. Without them tests are skipped, with the
// reason; with OZ_TEST_REQUIRE=1 in the environment they fail.
package containerdtest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// Require is the environment variable that makes a missing containerd a
// failure, when it is 1.
const Require = "OZ_TEST_REQUIRE"

// ErrNotAvailable is what Start fails with where containers cannot be tested.
var ErrNotAvailable = errors.New("containers cannot be tested here")

// shared is the daemon that the tests of one binary share.
var shared struct {
	once   sync.Once
	daemon *Daemon
	err    error
}

// Shared returns the daemon that the tests of this binary share.
func Shared(t testing.TB) *Daemon {
	t.Helper()
	shared.once.Do(func() { shared.daemon, shared.err = Start() })
	must(t, shared.err)
	return shared.daemon
}

// New starts a daemon that belongs to one test, for tests that stop it.
func New(t testing.TB) *Daemon {
	t.Helper()
	d, err := Start()
	must(t, err)
	t.Cleanup(func() {
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	})
	return d
}

// must ends a test that has no daemon: skipped where there can be none.
func must(t testing.TB, err error) {
	t.Helper()
	switch {
	case errors.Is(err, ErrNotAvailable) && os.Getenv(Require) != "1":
		t.Skip(err)
	case err != nil:
		t.Fatal(err)
	}
}

// M is the part of *testing.M that Main needs.
type M interface{ Run() int }

// Main wraps m so that the shared daemon is stopped after the tests.
func Main(m M) M { return closing{m} }

type closing struct{ m M }

// Run implements M.
func (c closing) Run() int {
	code := c.m.Run()
	if shared.daemon == nil {
		return code
	}
	if err := shared.daemon.Close(); err != nil {
		fmt.Fprintln(os.Stderr, "containerdtest:", err)
		return max(code, 1)
	}
	return code
}

// Daemon is a running containerd.
type Daemon struct {
	dir string
	cmd *exec.Cmd
}

// Start starts a daemon. It fails with ErrNotAvailable without root, containerd or runc.
func Start() (*Daemon, error) {
	if os.Geteuid() != 0 {
		return nil, fmt.Errorf("%w: needs root", ErrNotAvailable)
	}
	for _, program := range []string{"containerd", "runc"} {
		if _, err := exec.LookPath(program); err != nil {
			return nil, fmt.Errorf("%w: %s is not installed: apt-get install containerd runc containernetworking-plugins busybox-static", ErrNotAvailable, program)
		}
	}
	dir, err := os.MkdirTemp("/tmp", "ctd") // short: sockets have little room
	if err != nil {
		return nil, err
	}
	d := &Daemon{dir: dir}
	if err := errors.Join(os.Chmod(dir, 0o711), os.WriteFile(d.path("config.toml"), []byte(d.config()), 0o600)); err != nil {
		return nil, err
	}
	if err := d.Start(); err != nil {
		return nil, errors.Join(err, d.Close())
	}
	return d, nil
}

func (d *Daemon) path(name string) string { return filepath.Join(d.dir, name) }

func (d *Daemon) config() string {
	return fmt.Sprintf(`version = 2
root = %q
state = %q
disabled_plugins = ["io.containerd.grpc.v1.cri", "io.containerd.internal.v1.restart", "io.containerd.snapshotter.v1.aufs",
  "io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.zfs",
  "io.containerd.tracing.processor.v1.otlp"]
[grpc]
address = %q
[debug]
level = "warn"
[plugins."io.containerd.internal.v1.opt"]
path = %q
`, d.path("root"), d.path("state"), d.Address(), d.path("opt"))
}

// Address is the daemon's socket.
func (d *Daemon) Address() string { return d.path("c.sock") }

// Dir is a directory that goes with the daemon. Paths in it are short.
func (d *Daemon) Dir() string { return d.dir }

// Start starts a daemon that was killed anew, and waits until it answers.
func (d *Daemon) Start() error {
	log, err := os.OpenFile(d.path("log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	cmd := exec.Command("containerd", "--config", d.path("config.toml"))
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return err
	}
	d.cmd = cmd
	gone := make(chan struct{})
	go func() { _ = cmd.Wait(); close(gone) }()
	deadline := time.Now().Add(30 * time.Second)
	for {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		err := exec.CommandContext(ctx, "ctr", "-a", d.Address(), "version").Run()
		cancel()
		if err == nil {
			return nil
		}
		select {
		case <-gone:
			data, _ := os.ReadFile(d.path("log"))
			return fmt.Errorf("containerd ended: %s", data)
		case <-time.After(10 * time.Millisecond):
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("containerd does not answer: %w", err)
		}
	}
}

// Kill kills the daemon as a crash does: containers go on.
func (d *Daemon) Kill() error {
	if d.cmd == nil {
		return nil
	}
	if err := d.cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	for syscall.Kill(d.cmd.Process.Pid, 0) == nil { // reaped by the goroutine of Start
		time.Sleep(time.Millisecond)
	}
	d.cmd = nil
	return nil
}

// Shims returns the process numbers of the daemon's shims.
func (d *Daemon) Shims() []int {
	var pids []int
	paths, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, path := range paths {
		data, err := os.ReadFile(path)
		if err == nil && strings.Contains(string(data), "containerd-shim") && strings.Contains(string(data), d.Address()) {
			if pid, err := strconv.Atoi(filepath.Base(filepath.Dir(path))); err == nil {
				pids = append(pids, pid)
			}
		}
	}
	return pids
}

// Mounts returns the mount points below the daemon's directory.
func (d *Daemon) Mounts() []string {
	data, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return nil
	}
	var list []string
	for line := range strings.Lines(string(data)) {
		if f := strings.Fields(line); len(f) > 4 && strings.HasPrefix(f[4], d.dir+"/") {
			list = append(list, f[4])
		}
	}
	return list
}

// Close kills what is left of containers, the daemon and its shims, and removes all files.
func (d *Daemon) Close() error {
	if d.cmd != nil {
		d.wipe()
	}
	err := d.Kill()
	for _, pid := range d.Shims() {
		_ = syscall.Kill(pid, syscall.SIGKILL)
	}
	mounts := d.Mounts()
	for i := range mounts {
		_ = unix.Unmount(mounts[len(mounts)-1-i], unix.MNT_DETACH)
	}
	return errors.Join(err, os.RemoveAll(d.dir))
}

// wipe kills the tasks in all namespaces, and removes what runc keeps elsewhere.
func (d *Daemon) wipe() {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	ctr := func(args ...string) string {
		out, _ := exec.CommandContext(ctx, "ctr", append([]string{"-a", d.Address()}, args...)...).Output()
		return string(out)
	}
	for ns := range strings.FieldsSeq(ctr("namespaces", "ls", "-q")) {
		for task := range strings.FieldsSeq(ctr("-n", ns, "tasks", "ls", "-q")) {
			ctr("-n", ns, "tasks", "rm", "-f", task)
		}
		_ = os.RemoveAll(filepath.Join("/run/containerd/runc", ns))
		groups, _ := filepath.Glob("/sys/fs/cgroup/*/" + ns)
		for _, g := range append(groups, "/sys/fs/cgroup/"+ns) {
			_ = os.Remove(g) // empty, or still in use
		}
	}
}

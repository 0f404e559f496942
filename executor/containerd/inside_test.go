//go:build linux

package containerd_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"gotest.tools/v3/assert"
	"gotest.tools/v3/assert/cmp"

	"github.com/oz-platform/cloudagents/executor"
	"github.com/oz-platform/cloudagents/executor/containerd"
	"github.com/oz-platform/cloudagents/internal/containerdtest"
)

// TestUser: who the main command is, where its home is, and that it can write there and in the workspace.
func TestUser(t *testing.T) {
	d := containerdtest.Shared(t)
	root := newRoot(t, d)
	load(t, d, root, containerdtest.Archive(t, "docker.io/library/builder:1",
		containerdtest.Image(t, containerdtest.Busybox(t), func(c *v1.ConfigFile) { c.Config.User = "builder" })))
	e := open(t, d, root, containerd.Options{})
	const ask = `echo $(id -un):$(id -u):$(id -g):$(id -G):$HOME; touch $HOME/a $TMPDIR/b c && echo writable; test -w / && echo "owns /"; ls -la $HOME | wc -l > /dev/null`
	for _, tt := range []struct{ name, image, user, want string }{
		{"root images run as an ordinary user", "", "", "agent:1000:1000:1000:/home/agent\nwritable\n"},
		{"the image's own user", "builder:1", "", "builder:1234:1234:1234 77:/home/builder\nwritable\n"},
		{"a user by name", "", "builder", "builder:1234:1234:1234 77:/home/builder\nwritable\n"},
		{"a user and a group", "", "builder:extra", "builder:1234:77:77:/home/builder\nwritable\n"},
		{"a number without a name", "", "4321", "agent:4321:0:0:/home/agent\nwritable\n"},
		{"root, wanted", "", "root", "root:0:0:0:/root\nwritable\nowns /\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			spec := script("x", ask)
			spec.Image.Reference, spec.User, spec.Workspace = tt.image, tt.user, "w"+strconv.Itoa(len(tt.name))
			assert.Equal(t, output(t, start(t, e, spec)), tt.want)
		})
	}
	for _, user := range []string{"nobody-here", "builder:nothing", "4294967295"} {
		spec := script("y", "true")
		spec.User = user
		_, err := e.Start(newContext(t), spec)
		assert.ErrorContains(t, err, "the image has no", user)
	}
	keep := open(t, d, root, containerd.Options{RootUser: true})
	assert.Equal(t, output(t, start(t, keep, script("z", "id -u"))), "0\n")
}

// TestHardening: no capability, none to be gained, system calls filtered, the kernel's knobs out of reach.
func TestHardening(t *testing.T) {
	d := containerdtest.Shared(t)
	e := open(t, d, newRoot(t, d), containerd.Options{})
	got := output(t, start(t, e, script("x", `grep -E '^(Cap|NoNewPrivs|Seccomp:)' /proc/self/status | tr -d '\t '
		mount -t tmpfs none /mnt 2>/dev/null && echo mounted; unshare -U true 2>/dev/null && echo unshared
		chroot / true 2>/dev/null && echo chrooted; kill -9 1 2>/dev/null && echo killed; ls /.oz/box 2>/dev/null && echo looked
		echo 1 2>/dev/null > /.oz/bin/oz && echo "wrote the runner"; cat /proc/kcore 2>/dev/null && echo kcore; cat /proc/1/environ 2>/dev/null && echo environ; echo done`)))
	zero := strings.Repeat("0", 16)
	assert.Equal(t, got, strings.Join([]string{"CapInh:" + zero, "CapPrm:" + zero, "CapEff:" + zero, "CapBnd:" + zero, "CapAmb:" + zero,
		"NoNewPrivs:1", "Seccomp:2", "done", ""}, "\n"))
}

// TestSecretsStayOut of containerd's records: command, environment and input are nowhere in its database.
func TestSecretsStayOut(t *testing.T) {
	d := containerdtest.Shared(t)
	root := newRoot(t, d)
	e := open(t, d, root, containerd.Options{})
	spec := script("x", "read token; echo ready; sleep 1000")
	spec.Env, spec.Stdin = []string{"SECRET=env-canary-1"}, []byte("stdin-canary-2\n")
	s := start(t, e, spec)
	until(t, s, "ready")
	info := ctr(t, d, containerd.NamespaceOf(root), "containers", "info", boxes(t, root)[0])
	assert.Assert(t, !strings.Contains(info, "canary"))
	assert.NilError(t, filepath.WalkDir(d.Dir(), func(path string, entry os.DirEntry, err error) error {
		if err == nil && entry.Type().IsRegular() {
			data, _ := os.ReadFile(path)
			assert.Check(t, !bytes.Contains(data, []byte("canary-")), path)
		}
		return nil
	}))
}

// TestMounts: read-only ones cannot be written to, writable ones can, links in a workspace lead nowhere on the host, and
// a source that is missing is named.
func TestMounts(t *testing.T) {
	d := containerdtest.Shared(t)
	root := newRoot(t, d)
	data := t.TempDir()
	assert.NilError(t, os.Chmod(data, 0o777))
	assert.NilError(t, os.WriteFile(filepath.Join(data, "f"), []byte("precious"), 0o666))
	e := open(t, d, root, containerd.Options{Mounts: []executor.Mount{{Source: data, Target: "/cache/ro"}}})
	spec := script("x", `cat /cache/ro/f /rw/f; echo; touch /cache/ro/g 2>/dev/null && echo wrote; echo more > /rw/g && ln -s `+data+` link && echo done`)
	spec.Mounts = []executor.Mount{{Source: data, Target: "/rw", Writable: true}}
	s := start(t, e, spec)
	assert.Equal(t, output(t, s), "preciousprecious\ndone\n")
	wait(t, s)
	_, err := os.Stat(filepath.Join(data, "g"))
	assert.NilError(t, err)
	assert.NilError(t, s.Remove(newContext(t)))
	assert.NilError(t, e.RemoveWorkspace(newContext(t), "w-x"))
	_, err = os.Stat(filepath.Join(data, "f"))
	assert.NilError(t, err, "the link is gone, what it led to is not")

	for target, m := range map[string]executor.Mount{
		"Mounts[1].Source": {Source: filepath.Join(data, "missing"), Target: "/x"},
		"Mounts[1].Target": {Source: data, Target: "/workspace"},
	} {
		spec := script("y", "true")
		spec.Mounts = []executor.Mount{m}
		_, err := e.Start(newContext(t), spec)
		assert.ErrorIs(t, err, executor.ErrInvalidSpec)
		assert.ErrorContains(t, err, target)
	}
}

// TestMemoryLimit: what eats all memory is killed, told so, and hurts no one else.
func TestMemoryLimit(t *testing.T) {
	d := containerdtest.Shared(t)
	root := newRoot(t, d)
	e := open(t, d, root, containerd.Options{})
	spec := script("x", "exec tail /dev/zero")
	spec.Limits.Memory = 64 << 20
	s := start(t, e, spec)
	exit := wait(t, s)
	assert.Check(t, exit.OOM, "%+v", exit)
	assert.Equal(t, exit.Signal, syscall.SIGKILL)
	assert.Equal(t, s.Limits().Memory, int64(64<<20))

	spec = script("y", "tail /dev/zero; echo survived")
	spec.Limits.Memory = 64 << 20
	assert.Equal(t, wait(t, start(t, e, spec)), executor.Exit{}, "a child that is killed need not end the main command")
}

// TestProcessLimit: a fork bomb does not get far, and can be stopped.
func TestProcessLimit(t *testing.T) {
	d := containerdtest.Shared(t)
	e := open(t, d, newRoot(t, d), containerd.Options{})
	spec := script("x", `echo ready; i=0; while [ $i -lt 200 ]; do sleep 1000 & i=$((i+1)); done 2>&1; echo not reached; sleep 1000`)
	spec.Limits.Processes = 50
	s := start(t, e, spec)
	assert.Assert(t, cmp.Contains(output(t, s), "can't fork"))
	assert.Assert(t, wait(t, s).Code != 0)
}

// TestCPULimit: the kernel is told.
func TestCPULimit(t *testing.T) {
	d := containerdtest.Shared(t)
	root := newRoot(t, d)
	e := open(t, d, root, containerd.Options{})
	spec := script("x", "echo ready; sleep 1000")
	spec.Limits.CPUs = 0.5
	s := start(t, e, spec)
	until(t, s, "ready")
	group := filepath.Join(containerd.NamespaceOf(root), boxes(t, root)[0])
	if data, err := os.ReadFile("/sys/fs/cgroup/cpu/" + group + "/cpu.cfs_quota_us"); err == nil {
		assert.Equal(t, string(data), "50000\n")
		return
	}
	data, err := os.ReadFile("/sys/fs/cgroup/" + group + "/cpu.max")
	assert.NilError(t, err)
	assert.Equal(t, string(data), "50000 100000\n")
}

// TestDiskLimit: whoever writes too much is killed and told so, whether into the workspace or elsewhere.
func TestDiskLimit(t *testing.T) {
	d := containerdtest.Shared(t)
	e := open(t, d, newRoot(t, d), containerd.Options{DiskPeriod: 20 * time.Millisecond})
	for i, dir := range []string{".", "$HOME", "/tmp"} {
		spec := script("x"+strconv.Itoa(i), `while :; do head -c 1000000 /dev/zero >> `+dir+`/full; sleep 0.01; done`)
		spec.Limits.Disk = 20 << 20
		s := start(t, e, spec)
		exit := wait(t, s)
		assert.Equal(t, exit, executor.Exit{Code: 137, Signal: syscall.SIGKILL, Disk: true}, dir)
	}
	spec := script("small", `head -c 1000000 /dev/zero > full; sleep 0.1`)
	spec.Limits.Disk = 20 << 20
	s := start(t, e, spec)
	assert.Equal(t, wait(t, s), executor.Exit{})
	assert.Equal(t, s.Limits().Disk, int64(20<<20))
}

// listener serves a word on an address of the host.
func listener(t *testing.T, host string) string {
	t.Helper()
	ln, err := net.Listen("tcp", net.JoinHostPort(host, "0"))
	assert.NilError(t, err)
	srv := &httptest.Server{Listener: ln, Config: &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, "hello\n")
	})}}
	srv.Start()
	t.Cleanup(srv.Close)
	return srv.Listener.Addr().String()
}

// TestNetworks: what each mode reaches, and that nothing stays.
func TestNetworks(t *testing.T) {
	d := containerdtest.Shared(t)
	root := newRoot(t, d)
	e := open(t, d, root, containerd.Options{Subnet: "10.91.0.0/24"})
	loopback := listener(t, "127.0.0.1")
	_, port, err := net.SplitHostPort(listener(t, "0.0.0.0"))
	assert.NilError(t, err)
	for _, tt := range []struct {
		mode executor.NetworkMode
		text string
		want string
	}{
		{executor.NetworkHost, "/.oz/bin/oz get http://" + loopback, "hello\n"},
		{executor.NetworkNone, "ip -o link | wc -l; /.oz/bin/oz get http://" + loopback, "1\nunreachable\n"},
		{executor.NetworkBridge, "ip -o -4 addr show eth0 | wc -l; /.oz/bin/oz get http://10.91.0.1:" + port +
			"; /.oz/bin/oz get http://" + loopback + "; test -s /etc/resolv.conf && grep -c localhost /etc/hosts", "1\nhello\nunreachable\n2\n"},
	} {
		t.Run(string(tt.mode), func(t *testing.T) {
			spec := script("x", tt.text)
			spec.Network = tt.mode
			s, err := e.Start(newContext(t), spec)
			assert.NilError(t, err)
			assert.Check(t, cmp.Equal(output(t, s), tt.want))
			assert.NilError(t, s.Remove(newContext(t)))
			left(t, d, e, root)
		})
	}
	missing := open(t, d, root, containerd.Options{PluginDir: t.TempDir()})
	spec := script("y", "true")
	spec.Network = executor.NetworkBridge
	_, err = missing.Start(newContext(t), spec)
	assert.ErrorContains(t, err, "install containernetworking-plugins")
	left(t, d, missing, root)

	// Two networks with the same addresses would take each other's answers.
	a := script("a", "sleep 1000")
	a.Network = executor.NetworkBridge
	start(t, e, a)
	second := newRoot(t, d)
	other := open(t, d, second, containerd.Options{Subnet: "10.91.0.0/16"})
	_, err = other.Start(newContext(t), spec)
	assert.ErrorContains(t, err, "is in use by the device")
	left(t, d, other, second)
}

// TestExec runs further commands: same user, directory and environment, own streams and status.
func TestExec(t *testing.T) {
	d := containerdtest.Shared(t)
	root := newRoot(t, d)
	e := open(t, d, root, containerd.Options{})
	spec := script("x", `echo kept > file; echo ready; sleep 1000`)
	spec.Env = []string{"A=one two"}
	s := start(t, e, spec)
	until(t, s, "ready")
	x, ok := s.(executor.Execer)
	assert.Assert(t, ok)
	var stdout, stderr bytes.Buffer
	exit, err := x.Exec(newContext(t), executor.ExecSpec{Command: []string{"sh", "-c", `id -u; pwd; echo "$A $B $HOME $OZ_SANDBOX_ID"; cat file; cat; echo bad >&2; exit 7`},
		Env: []string{"B=three"}, Stdin: strings.NewReader("input\n"), Stdout: &stdout, Stderr: &stderr})
	assert.NilError(t, err)
	assert.Equal(t, exit, executor.Exit{Code: 7})
	assert.Equal(t, stdout.String(), "1000\n/workspace\none two three /home/agent x\nkept\ninput\n")
	assert.Equal(t, stderr.String(), "bad\n")

	exit, err = x.Exec(newContext(t), executor.ExecSpec{Command: []string{"true"}})
	assert.NilError(t, err)
	assert.Equal(t, exit, executor.Exit{})
	_, err = x.Exec(newContext(t), executor.ExecSpec{Command: []string{"no-such-program"}})
	assert.ErrorContains(t, err, "no-such-program")
	_, err = x.Exec(newContext(t), executor.ExecSpec{})
	assert.ErrorIs(t, err, executor.ErrInvalidSpec)

	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	_, err = x.Exec(ctx, executor.ExecSpec{Command: []string{"sleep", "1000"}})
	assert.ErrorIs(t, err, context.DeadlineExceeded)

	result := make(chan error, 1)
	started, w := io.Pipe()
	go func() {
		_, err := x.Exec(newContext(t), executor.ExecSpec{Command: []string{"sh", "-c", "echo go; sleep 1000"}, Stdout: w})
		result <- err
	}()
	_, err = io.ReadFull(started, make([]byte, 3))
	assert.NilError(t, err)
	assert.NilError(t, s.Stop(newContext(t), 0))
	<-result // with the status or without: it ended with the sandbox
	_, err = x.Exec(newContext(t), executor.ExecSpec{Command: []string{"true"}})
	assert.Check(t, errors.Is(err, executor.ErrNotFound), "%v", err)
	assert.NilError(t, s.Remove(newContext(t)))
	left(t, d, e, root)
}

// TestOptions: each bad one is named.
func TestOptions(t *testing.T) {
	d := containerdtest.Shared(t)
	bin, err := runner()
	assert.NilError(t, err)
	text := filepath.Join(t.TempDir(), "text")
	assert.NilError(t, os.WriteFile(text, []byte("#!/bin/sh\n"), 0o755))
	dynamic, err := os.Executable()
	assert.NilError(t, err)
	for _, tt := range []struct {
		want string
		opts containerd.Options
	}{
		{"Namespace", containerd.Options{Namespace: "a/b"}},
		{"OutputLimit", containerd.Options{OutputLimit: 1}},
		{"DiskPeriod", containerd.Options{DiskPeriod: -1}},
		{"Subnet", containerd.Options{Subnet: "10.0.0.0"}},
		{"Mounts[0].Source", containerd.Options{Mounts: []executor.Mount{{Source: "a", Target: "/b"}}}},
		{"Network", containerd.Options{Network: "internet"}},
		{"mirror", containerd.Options{Registries: map[string]containerd.Registry{"docker.io": {Mirrors: []string{"ftp://x"}}}}},
		{"Runner", containerd.Options{Runner: "relative"}},
		{"Runner", containerd.Options{Runner: "/no/such/file"}},
		{"no Linux program", containerd.Options{Runner: text}},
	} {
		tt.opts.Address = d.Address()
		if tt.opts.Runner == "" {
			tt.opts.Runner = bin
		}
		_, err := containerd.Open(t.Context(), t.TempDir(), &tt.opts)
		assert.ErrorContains(t, err, tt.want)
	}
	if _, err := containerd.Open(t.Context(), t.TempDir(), &containerd.Options{Address: d.Address(), Runner: dynamic}); err != nil {
		assert.ErrorContains(t, err, "CGO_ENABLED=0") // the test itself is static when it was built so
	}
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	_, err = containerd.Open(ctx, t.TempDir(), &containerd.Options{Address: filepath.Join(t.TempDir(), "none.sock"), Runner: bin})
	assert.ErrorContains(t, err, "is it running")
}

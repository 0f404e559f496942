//go:build linux

package containerd_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	ctd "github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"gotest.tools/v3/assert"

	"github.com/oz-platform/cloudagents/executor"
	"github.com/oz-platform/cloudagents/executor/containerd"
	"github.com/oz-platform/cloudagents/internal/containerdtest"
)

// counting prints numbers until it is told to stop.
const counting = `trap 'echo stopped; exit 5' TERM; i=0; while :; do echo $i; i=$((i+1)); sleep 0.01; done`

// checkCounting expects all numbers without a gap.
func checkCounting(t *testing.T, out string) {
	t.Helper()
	lines := strings.Split(strings.TrimSuffix(out, "\nstopped\n"), "\n")
	for i, line := range lines {
		assert.Equal(t, line, strconv.Itoa(i))
	}
	assert.Assert(t, len(lines) > 10, "%q", out)
}

// TestContainerdRestarts: a containerd that is killed and comes back disturbs no sandbox. Whoever waits goes on waiting,
// what ends meanwhile keeps its status, no line is lost.
func TestContainerdRestarts(t *testing.T) {
	d := containerdtest.New(t)
	root := newRoot(t, d)
	e := open(t, d, root, containerd.Options{})
	s := start(t, e, script("x", counting))
	short := start(t, e, script("short", "echo ready; while ! test -e /workspace/go; do sleep 0.01; done; echo bye; exit 9"))
	until(t, s, "3")
	until(t, short, "ready")
	type result struct {
		exit executor.Exit
		err  error
	}
	waited := make(chan result, 1)
	go func() {
		exit, err := s.Wait(newContext(t))
		waited <- result{exit, err}
	}()
	assert.NilError(t, d.Kill())
	_, err := e.Start(shortContext(t), script("y", "true"))
	assert.Assert(t, err != nil, "without containerd nothing starts")
	assert.NilError(t, os.WriteFile(filepath.Join(root, "workspaces/w-short/go"), nil, 0o644))
	assert.NilError(t, d.Start())
	assert.Equal(t, wait(t, short), executor.Exit{Code: 9})
	assert.Equal(t, output(t, short), "ready\nbye\n")
	until(t, s, "100")
	assert.NilError(t, s.Stop(newContext(t), patience))
	r := <-waited
	assert.NilError(t, r.err)
	assert.Equal(t, r.exit, executor.Exit{Code: 5})
	checkCounting(t, output(t, s))
	assert.NilError(t, s.Remove(newContext(t)))
	assert.NilError(t, short.Remove(newContext(t)))
	assert.Equal(t, output(t, start(t, e, script("z", "echo again"))), "again\n")
}

// TestShimKilled: with its shim a container dies; that is a lost sandbox and no exit status, and it leaves nothing.
func TestShimKilled(t *testing.T) {
	d := containerdtest.New(t)
	root := newRoot(t, d)
	e := open(t, d, root, containerd.Options{})
	s := start(t, e, script("x", counting))
	until(t, s, "3")
	shims := d.Shims()
	assert.Equal(t, len(shims), 1)
	assert.NilError(t, syscall.Kill(shims[0], syscall.SIGKILL))
	exit := wait(t, s)
	assert.Check(t, exit.Unknown || exit.Signal == syscall.SIGKILL, "%+v", exit)
	assert.NilError(t, s.Remove(newContext(t)))
	left(t, d, e, root)
}

// worker is another process that opens the Executor, starts sandboxes and waits to be killed.
func worker(t *testing.T, d *containerdtest.Daemon, root string, mode string) *exec.Cmd {
	t.Helper()
	bin, err := runner()
	assert.NilError(t, err)
	cmd := exec.Command(os.Args[0], "-test.run=^TestWorkerProcess$")
	cmd.Env = append(os.Environ(), "OZ_TEST_WORKER="+mode, "OZ_TEST_ROOT="+root, "OZ_TEST_ADDRESS="+d.Address(), "OZ_TEST_RUNNER="+bin)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	assert.NilError(t, err)
	assert.NilError(t, cmd.Start())
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	buf := make([]byte, 64)
	n, err := out.Read(buf)
	assert.NilError(t, err)
	assert.Assert(t, strings.HasPrefix(string(buf[:n]), "ready"), "%s", buf[:n])
	return cmd
}

// TestWorkerProcess is the worker of the tests below and no test.
func TestWorkerProcess(t *testing.T) {
	mode := os.Getenv("OZ_TEST_WORKER")
	if mode == "" {
		t.Skip("started by other tests")
	}
	e, err := containerd.Open(t.Context(), os.Getenv("OZ_TEST_ROOT"),
		&containerd.Options{Address: os.Getenv("OZ_TEST_ADDRESS"), Runner: os.Getenv("OZ_TEST_RUNNER"), Image: testImage, WarmStates: 2,
			PoolSize: map[string]int{"pool": 2}[mode]})
	assert.NilError(t, err)
	if mode == "one" {
		_, err = e.Start(newContext(t), script("x", counting))
		assert.NilError(t, err)
		fmt.Println("ready")
		select {}
	}
	fmt.Println("ready")
	for i := 0; ; i++ {
		spec := script("x"+strconv.Itoa(i), "true")
		for names, _ := e.Ready(); mode == "pool" && i > 0 && len(names) == 0; names, _ = e.Ready() {
			_ = pauseFor(t, 1)
		}
		if mode == "warm" {
			spec = warmSpec(spec.ID, "cat n m 2>/dev/null; exit 0", "echo 1 > n; echo 2 > m")
			spec.Warm.Key = fmt.Sprintf("%032x", i/4)
		}
		s, err := e.Start(newContext(t), spec)
		assert.NilError(t, err)
		if i%2 == 0 {
			assert.NilError(t, s.Remove(newContext(t)))
		}
	}
}

// TestWorkerKilled: the sandboxes of a worker that was killed go on, and the next one has them whole.
func TestWorkerKilled(t *testing.T) {
	d := containerdtest.Shared(t)
	root := newRoot(t, d)
	cmd := worker(t, d, root, "one")
	assert.NilError(t, cmd.Process.Kill())
	_ = cmd.Wait()
	e := open(t, d, root, containerd.Options{})
	s, err := e.Open(newContext(t), "x")
	assert.NilError(t, err)
	until(t, s, "50")
	again, err := e.Start(newContext(t), script("x", "echo another"))
	assert.NilError(t, err)
	assert.NilError(t, again.Stop(newContext(t), patience))
	assert.Equal(t, wait(t, s), executor.Exit{Code: 5})
	checkCounting(t, output(t, s))
	assert.NilError(t, s.Remove(newContext(t)))
	left(t, d, e, root)
}

// TestWorkerKilledAnywhere: a worker that is killed while it makes and removes sandboxes leaves nothing that the next one
// does not see or has not removed.
func TestWorkerKilledAnywhere(t *testing.T) {
	d := containerdtest.Shared(t)
	root := newRoot(t, d)
	rounds := 30
	if testing.Short() {
		rounds = 8
	}
	for round := range rounds {
		cmd := worker(t, d, root, []string{"many", "pool", "warm"}[round%3])
		// Somewhere in the second sandbox, further each time.
		assert.NilError(t, pauseFor(t, 10+round*240/rounds))
		assert.NilError(t, cmd.Process.Kill())
		_ = cmd.Wait()
		e := open(t, d, root, containerd.Options{})
		ids, err := e.List(newContext(t))
		assert.NilError(t, err)
		for _, id := range ids {
			s, err := e.Open(newContext(t), id)
			assert.NilError(t, err)
			wait(t, s)
			assert.NilError(t, s.Remove(newContext(t)))
		}
		left(t, d, e, root)
	}
}

// TestLostShims: a shim that containerd has forgotten is ended, and nothing else is.
func TestLostShims(t *testing.T) {
	d := containerdtest.Shared(t)
	root := newRoot(t, d)
	ns := containerd.NamespaceOf(root)
	bundle := filepath.Join(t.TempDir(), ns, "box-lost")
	work := filepath.Join(t.TempDir(), ns, "box-lost")
	assert.NilError(t, os.MkdirAll(filepath.Join(bundle, "rootfs"), 0o755))
	assert.NilError(t, os.MkdirAll(work, 0o755))
	assert.NilError(t, os.Symlink(work, filepath.Join(bundle, "work")))
	shim := func(id, ns, address string) (ended chan struct{}) {
		const stubborn = `trap "" TERM; while :; do sleep 0.1; done`
		cmd := &exec.Cmd{Path: "/bin/sh", Dir: bundle, Args: []string{"/usr/bin/containerd-shim-runc-v2", "-c", stubborn, "-namespace", ns, "-id", id, "-address", address}}
		assert.NilError(t, cmd.Start())
		ended = make(chan struct{})
		go func() { defer close(ended); _ = cmd.Wait() }()
		t.Cleanup(func() { _ = cmd.Process.Kill(); <-ended })
		return ended
	}
	others := []chan struct{}{shim("stranger", ns, d.Address()), shim("box-lost", "oz-other", d.Address()), shim("box-lost", ns, "/other.sock")}
	lost := shim("box-lost", ns, d.Address())
	open(t, d, root, containerd.Options{})
	select {
	case <-lost:
	case <-newContext(t).Done():
		t.Fatal("the shim is left")
	}
	_, err := os.Stat(bundle)
	assert.Assert(t, os.IsNotExist(err))
	_, err = os.Stat(work)
	assert.Assert(t, os.IsNotExist(err))
	for i, other := range others {
		select {
		case <-other:
			t.Errorf("stranger %d was ended", i)
		default:
		}
	}

}

// TestLostTask: a task whose container is gone, and which no sandbox names, is removed.
func TestLostTask(t *testing.T) {
	d := containerdtest.Shared(t)
	root := newRoot(t, d)
	ns := containerd.NamespaceOf(root)
	e := open(t, d, root, containerd.Options{})
	s := start(t, e, script("x", counting))
	until(t, s, "3")
	client, err := ctd.New(d.Address(), ctd.WithDefaultNamespace(ns))
	assert.NilError(t, err)
	defer client.Close()
	ctx := namespaces.WithNamespace(newContext(t), ns)
	assert.NilError(t, client.ContainerService().Delete(ctx, boxes(t, root)[0]))
	assert.NilError(t, os.RemoveAll(filepath.Join(root, "sandboxes/x")))
	next := open(t, d, root, containerd.Options{})
	left(t, d, next, root)
}

// TestOrphans: what no sandbox names is removed when an Executor opens, and nothing else is.
func TestOrphans(t *testing.T) {
	d := containerdtest.Shared(t)
	root := newRoot(t, d)
	e := open(t, d, root, containerd.Options{})
	lost, kept := start(t, e, script("lost", counting)), start(t, e, script("kept", counting))
	until(t, lost, "1")
	until(t, kept, "1")
	assert.NilError(t, os.RemoveAll(filepath.Join(root, "sandboxes/lost")))
	ns := containerd.NamespaceOf(root)
	ctr(t, d, ns, "containers", "create", testImage, "stranger", "true")
	next := open(t, d, root, containerd.Options{})
	assert.Equal(t, len(boxes(t, root)), 1)
	assert.Assert(t, strings.Contains(ctr(t, d, ns, "containers", "ls", "-q"), "stranger"), "not ours")
	ctr(t, d, ns, "containers", "rm", "stranger")
	s, err := next.Open(newContext(t), "kept")
	assert.NilError(t, err)
	assert.NilError(t, s.Remove(newContext(t)))
	left(t, d, next, root)
}

// TestCancelLeavesNoProcess: 200 sandboxes whose children hide in every way, stopped and removed, leave no process.
func TestCancelLeavesNoProcess(t *testing.T) {
	d := containerdtest.Shared(t)
	root := newRoot(t, d)
	e := open(t, d, root, containerd.Options{})
	tries := 200
	if testing.Short() {
		tries = 20
	}
	const hide = `trap '' TERM
		(setsid sh -c '(setsid sh -c "trap \"\" TERM; while :; do sleep 1000; done" &) &' &)
		(env -i PATH="$PATH" setsid sh -c 'exec <&- >/dev/null 2>&1; cd /; while :; do sleep 0.01; done' &)
		(while :; do setsid sleep 1000 & sleep 0.02; done &)
		echo ready; while :; do sleep 1000; done`
	limit := make(chan struct{}, 4)
	done := make(chan error, tries)
	for i := range tries {
		go func() {
			limit <- struct{}{}
			defer func() { <-limit }()
			done <- func() error {
				spec := script("c"+strconv.Itoa(i), hide)
				spec.Limits.Processes = 100
				s, err := e.Start(newContext(t), spec)
				if err != nil {
					return err
				}
				r, err := s.Output(newContext(t))
				if err != nil {
					return err
				}
				defer r.Close()
				if _, err := r.Read(make([]byte, 10)); err != nil {
					return err
				}
				if err := s.Stop(newContext(t), 1); err != nil {
					return err
				}
				return s.Remove(newContext(t))
			}()
		}()
	}
	for range tries {
		assert.Check(t, <-done)
	}
	left(t, d, e, root)
	for _, path := range glob(t, "/proc/[0-9]*/cgroup") {
		data, err := os.ReadFile(path)
		assert.Check(t, err != nil || !strings.Contains(string(data), containerd.NamespaceOf(root)), "%s", data)
	}
}

//go:build linux

package containerd_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"gotest.tools/v3/assert"

	"github.com/oz-platform/cloudagents/executor"
	"github.com/oz-platform/cloudagents/executor/containerd"
	"github.com/oz-platform/cloudagents/executor/executortest"
	"github.com/oz-platform/cloudagents/internal/containerdtest"
)

// ready waits until as many sandboxes as there are to be stand ready, at least one, and none of those in not is among them.
func ready(t testing.TB, e *containerd.Executor, not ...string) []string {
	t.Helper()
	for ctx := newContext(t); ; {
		names, want := e.Ready()
		old := slices.ContainsFunc(names, func(n string) bool { return slices.Contains(not, n) })
		if len(names) == want && want > 0 && !old {
			return names
		}
		assert.NilError(t, ctx.Err(), "%q of %d, not %q", names, want, not)
		_ = pauseFor(t, 5)
	}
}

// origin starts a sandbox, expects its output and says from what it was started.
func origin(t testing.TB, e executor.Executor, spec executor.Spec, want string) executor.Origin {
	t.Helper()
	s := start(t, e, spec)
	assert.Equal(t, output(t, s), want)
	return executor.OriginOf(s)
}

// TestConformancePooled: sandboxes that stood ready are like all others.
func TestConformancePooled(t *testing.T) {
	d := containerdtest.Shared(t)
	const limit = 1 << 20
	roots := map[*testing.T]string{}
	executortest.Run(t, executortest.Harness{
		OutputLimit: limit,
		Open: func(t *testing.T) executor.Executor {
			first := roots[t] == ""
			if first {
				roots[t] = newRoot(t, d)
			}
			e := open(t, d, roots[t], containerd.Options{OutputLimit: limit, DiskPeriod: 20 * time.Millisecond, PoolSize: 1})
			if first {
				first, err := e.Start(newContext(t), script("first-of-all", "true"))
				assert.NilError(t, err)
				assert.NilError(t, first.Remove(newContext(t)))
				assert.NilError(t, e.RemoveWorkspace(newContext(t), "w-first-of-all"))
				ready(t, e)
			}
			return e
		},
	})
}

// TestPool: a sandbox that is like an earlier one is taken from those that stand ready, each once, and has its own command,
// environment, input, labels and workspace.
func TestPool(t *testing.T) {
	d := containerdtest.Shared(t)
	root := newRoot(t, d)
	e := open(t, d, root, containerd.Options{PoolSize: 2})
	const look = `echo "$A $OZ_SANDBOX_ID $HOME $TMPDIR"; id -u; pwd; ls -A; ls -A ~; cat; touch ~/mine mine /tmp/mine; exit 3`
	spec := func(id string) executor.Spec {
		s := script(id, look)
		s.Env, s.Stdin, s.Labels = []string{"A=a-" + id}, []byte("in-"+id+"\n"), map[string]string{"run": id}
		return s
	}
	want := func(id string) string {
		return fmt.Sprintf("a-%s %s /home/agent /tmp\n1000\n/workspace\nin-%s\n", id, id, id)
	}
	assert.Equal(t, origin(t, e, spec("first"), want("first")), executor.OriginCold)
	seen := map[string]bool{}
	for i := range 5 {
		id := "x" + strconv.Itoa(i)
		for _, name := range ready(t, e) {
			seen[name] = true
		}
		s := start(t, e, spec(id))
		assert.Equal(t, output(t, s), want(id))
		assert.Equal(t, executor.OriginOf(s), executor.OriginPool)
		assert.Equal(t, wait(t, s), executor.Exit{Code: 3})
		again, err := e.Open(newContext(t), id)
		assert.NilError(t, err)
		assert.Equal(t, executor.OriginOf(again), executor.OriginPool)
	}
	ready(t, e)
	assert.Equal(t, len(seen), 6, "one more was made for each that was taken")
	labelled := start(t, e, func() executor.Spec { s := spec("labelled"); s.Command = []string{"sleep", "1000"}; return s }())
	assert.Equal(t, executor.OriginOf(labelled), executor.OriginPool)
	for ctx := newContext(t); ; {
		info := ctr(t, d, containerd.NamespaceOf(root), "containers", "ls", `labels."oz.label.run"==labelled`, "-q")
		if len(strings.Fields(info)) == 1 {
			break
		}
		assert.NilError(t, ctx.Err(), info)
		_ = pauseFor(t, 5)
	}
	// What was worked on stays, so no ready sandbox is of use.
	ready(t, e)
	follow := script("follow", "ls")
	follow.Workspace = "w-x1"
	assert.Equal(t, origin(t, e, follow, "mine\n"), executor.OriginCold)
	for name, change := range map[string]func(*executor.Spec){
		"user":    func(s *executor.Spec) { s.User = "1000" },
		"network": func(s *executor.Spec) { s.Network = executor.NetworkNone },
		"limits":  func(s *executor.Spec) { s.Limits.Processes = 50 },
		"mounts":  func(s *executor.Spec) { s.Mounts = []executor.Mount{{Source: t.TempDir(), Target: "/mnt"}} },
	} {
		other := script("other-"+name, "true")
		change(&other)
		assert.Equal(t, origin(t, e, other, ""), executor.OriginCold, name)
	}
	// A command that cannot run says so as ever, and its name is free.
	ready(t, e)
	bad := executor.Spec{ID: "bad", Workspace: "w-bad", Command: []string{"no-such-program"}}
	_, err := e.Start(newContext(t), bad)
	assert.ErrorContains(t, err, "no-such-program: executable file not found")
	_, err = e.Open(newContext(t), "bad")
	assert.ErrorIs(t, err, executor.ErrNotFound)
}

// TestPoolWarm: what stands ready is in the environment's prepared state, and only in the newest one.
func TestPoolWarm(t *testing.T) {
	d := containerdtest.Shared(t)
	root := newRoot(t, d)
	e := open(t, d, root, containerd.Options{WarmStates: 2, PoolSize: 1})
	assert.Equal(t, origin(t, e, warmSpec("cold", "ls -A", preparation), ""), executor.OriginCold)
	states(t, root, 1)
	ready(t, e)
	const want = "home\nwork\nwork\ntool\n1000\n640 1000 2\n1000\n"
	assert.Equal(t, origin(t, e, warmSpec("a", lookAround, preparation), want), executor.OriginPool)
	names := ready(t, e)
	assert.Equal(t, origin(t, e, warmSpec("b", lookAround, preparation), want), executor.OriginPool)

	// The environment changes: what was ready for it goes, though nobody has waited for its age.
	changed := warmSpec("changed", "cat new 2>/dev/null; exit 0", "echo 2 > new")
	changed.Warm.Key, changed.Environment = strings.Repeat("cd", 16), "env"
	old := warmSpec("c", "true", preparation)
	old.Environment = "env"
	start(t, e, old)
	names = append(names, ready(t, e)...)
	assert.Equal(t, origin(t, e, changed, ""), executor.OriginCold)
	states(t, root, 2)
	ready(t, e, names...)
	found, _ := e.Ready()
	assert.Equal(t, len(found), 1)
	changed.ID, changed.Workspace = "changed-2", "w-changed-2"
	assert.Equal(t, origin(t, e, changed, "2\n"), executor.OriginPool)
}

// TestPoolRefreshed: a newer state, and a newer image under the same name, replace what stands ready.
func TestPoolRefreshed(t *testing.T) {
	d := containerdtest.Shared(t)
	root := newRoot(t, d)
	e := open(t, d, root, containerd.Options{WarmStates: 2, PoolSize: 1, WarmRefresh: 1})
	stamp := t.TempDir()
	spec := func(id string) executor.Spec {
		s := warmSpec(id, "test -e n && cat n; exit 0", "while ! test -e /stamp/n; do sleep 0.01; done; cat /stamp/n > n")
		s.Mounts = []executor.Mount{{Source: stamp, Target: "/stamp"}}
		return s
	}
	assert.NilError(t, os.WriteFile(filepath.Join(stamp, "n"), []byte("1\n"), 0o644))
	assert.NilError(t, os.Chmod(stamp, 0o755))
	assert.Equal(t, origin(t, e, spec("a"), ""), executor.OriginCold)
	first := states(t, root, 1)
	names := ready(t, e)
	assert.NilError(t, os.Remove(filepath.Join(stamp, "n")))
	b := start(t, e, spec("b"))
	assert.Equal(t, executor.OriginOf(b), executor.OriginPool)
	assert.Equal(t, output(t, b), "1\n")
	assert.NilError(t, b.Remove(newContext(t)))
	names = append(names, ready(t, e)...) // still on the old state, which is all there is
	assert.NilError(t, os.WriteFile(filepath.Join(stamp, "n"), []byte("2\n"), 0o644))
	ready(t, e, names...)
	for ctx := newContext(t); ; { // the new state is there, and the old one gone
		if now := glob(t, filepath.Join(root, "warm/*/state.json")); len(now) == 1 && now[0] != first[0] {
			break
		}
		assert.NilError(t, ctx.Err())
		_ = pauseFor(t, 5)
	}
	for ctx := newContext(t); ; { // nor is anything of it left once nothing stands on it
		if len(glob(t, filepath.Join(root, "warm/*"))) == 1 {
			break
		}
		assert.NilError(t, ctx.Err())
		_ = pauseFor(t, 5)
	}
	ready(t, e)
	assert.Equal(t, origin(t, e, spec("c"), "2\n"), executor.OriginPool)

	root = newRoot(t, d)
	e = open(t, d, root, containerd.Options{PoolSize: 1})
	start(t, e, script("a", "true"))
	names = ready(t, e)
	img := containerdtest.Image(t, append(containerdtest.Busybox(t), containerdtest.File{Name: "new", Data: []byte("newer\n"), Mode: 0o644}), nil)
	load(t, d, root, containerdtest.Archive(t, testImage, img)) // its Open takes what stands ready for leftovers
	assert.Equal(t, origin(t, e, script("b", "cat /new"), "newer\n"), executor.OriginCold)
	ready(t, e, names...)
	assert.Equal(t, origin(t, e, script("c", "cat /new"), "newer\n"), executor.OriginPool)
}

// TestPoolHasNoSecrets: nothing of a run is in what stands ready, before a run takes it and when another one does.
func TestPoolHasNoSecrets(t *testing.T) {
	const canary = "cnry-pool-31d0ee"
	d := containerdtest.Shared(t)
	root := newRoot(t, d)
	e := open(t, d, root, containerd.Options{PoolSize: 2})
	for i := range 3 {
		spec := script("x"+strconv.Itoa(i), "cat > secret; cp secret ~; echo done; sleep 1000")
		spec.Stdin, spec.Env = []byte(canary), []string{"TOKEN=" + canary}
		s := start(t, e, spec)
		until(t, s, "done")
		for _, name := range ready(t, e) {
			pid := strings.TrimSpace(ctr(t, d, containerd.NamespaceOf(root), "tasks", "ls"))
			for line := range strings.Lines(pid) {
				f := strings.Fields(line)
				if len(f) < 2 || f[0] != name {
					continue
				}
				for _, file := range []string{"environ", "cmdline"} {
					data, err := os.ReadFile("/proc/" + f[1] + "/" + file)
					assert.NilError(t, err)
					assert.Assert(t, len(data) > 0 && !strings.Contains(string(data), canary))
				}
			}
			_, found := grep(t, canary, filepath.Join(root, "boxes", name))
			assert.Equal(t, len(found), 0, "%q", found)
			assert.Assert(t, !strings.Contains(ctr(t, d, containerd.NamespaceOf(root), "containers", "info", name), canary))
		}
		_, found := grep(t, canary, filepath.Join(root, "workspaces"))
		assert.DeepEqual(t, found, []string{filepath.Join(root, "workspaces", spec.Workspace, "secret")})
		assert.NilError(t, s.Remove(newContext(t)))
		assert.NilError(t, e.RemoveWorkspace(newContext(t), spec.Workspace))
	}
}

// TestPoolLost: ready sandboxes that die are replaced, and a Start that meets one all the same works.
func TestPoolLost(t *testing.T) {
	d := containerdtest.New(t)
	root := newRoot(t, d)
	e := open(t, d, root, containerd.Options{PoolSize: 2})
	start(t, e, script("first", "true"))
	kill := func() {
		for line := range strings.Lines(ctr(t, d, containerd.NamespaceOf(root), "tasks", "ls")) {
			if f := strings.Fields(line); len(f) > 1 && strings.HasPrefix(f[0], "box-") {
				if pid, err := strconv.Atoi(f[1]); err == nil {
					_ = syscall.Kill(pid, syscall.SIGKILL)
				}
			}
		}
	}
	names := ready(t, e)
	kill()
	names = append(names, ready(t, e, names...)...)
	kill()
	assert.Equal(t, len(strings.Split(output(t, start(t, e, script("x", "echo a"))), "\n")), 2)
	ready(t, e, names...)
	assert.NilError(t, d.Kill())
	assert.NilError(t, d.Start())
	for ctx := newContext(t); ; { // the client takes a moment to connect again
		s, err := e.Start(ctx, script("y", "echo b"))
		if err == nil {
			assert.Equal(t, output(t, s), "b\n")
			assert.NilError(t, s.Remove(ctx))
			break
		}
		assert.NilError(t, ctx.Err())
		_ = pauseFor(t, 20)
	}
	assert.Assert(t, len(ready(t, e)) == 2)
}

// TestPoolStuck: a container that could not be removed when it was given up is removed by this process later.
func TestPoolStuck(t *testing.T) {
	d := containerdtest.Shared(t)
	root := newRoot(t, d)
	e := open(t, d, root, containerd.Options{PoolSize: 1})
	start(t, e, script("first", "true"))
	stuck := ready(t, e)[0]
	mount := filepath.Join(root, "boxes", stuck, "mount")
	assert.NilError(t, os.Mkdir(mount, 0o700))
	assert.NilError(t, syscall.Mount("none", mount, "tmpfs", 0, ""))
	_, err := e.Start(newContext(t), executor.Spec{ID: "bad", Workspace: "w-bad", Command: []string{"no-such-program"}})
	left := errors.Join(e.Sweep(), syscall.Unmount(mount, 0))
	assert.ErrorContains(t, err, "is a mount point")
	assert.NilError(t, left)
	assert.Assert(t, slices.Contains(boxes(t, root), stuck))
	assert.NilError(t, e.Sweep())
	assert.Assert(t, !slices.Contains(boxes(t, root), stuck))
}

// TestPoolBounds: there are never more than asked for, of the kinds that were last asked for, and none after a time without
// use; what is closed leaves none.
func TestPoolBounds(t *testing.T) {
	d := containerdtest.Shared(t)
	root := newRoot(t, d)
	bin, err := runner()
	assert.NilError(t, err)
	e, err := containerd.Open(t.Context(), root, &containerd.Options{Address: d.Address(), Runner: bin, Image: testImage, PoolSize: 1, PoolKinds: 2})
	assert.NilError(t, err)
	for i := range 4 {
		s := script("x"+strconv.Itoa(i), "true")
		s.Limits.Processes = 100 + i
		sandbox, err := e.Start(newContext(t), s)
		assert.NilError(t, err)
		wait(t, sandbox)
		assert.NilError(t, sandbox.Remove(newContext(t)))
	}
	for ctx := newContext(t); ; {
		names, want := e.Ready()
		if len(names) == 2 && want == 2 && len(boxes(t, root)) == 2 {
			break
		}
		assert.NilError(t, ctx.Err(), "%q of %d", names, want)
		_ = pauseFor(t, 5)
	}
	assert.NilError(t, e.Close())
	next := open(t, d, root, containerd.Options{PoolSize: 1, PoolIdle: 1})
	left(t, d, next, root)
	assert.Equal(t, len(glob(t, filepath.Join(root, "workspaces/.new-*"))), 0)
	start(t, next, script("idle", "true"))
	for ctx := newContext(t); ; {
		if names, want := next.Ready(); len(names) == 0 && want == 0 {
			break
		}
		assert.NilError(t, ctx.Err())
		_ = pauseFor(t, 5)
	}
	for _, bad := range []containerd.Options{{PoolSize: -1}, {PoolKinds: -1}, {PoolIdle: -1}} {
		bad.Address, bad.Runner = d.Address(), bin
		_, err := containerd.Open(t.Context(), root, &bad)
		assert.ErrorContains(t, err, "may not be negative")
	}
}

// TestPoolConcurrent: many that want the same ready sandboxes get one each.
func TestPoolConcurrent(t *testing.T) {
	d := containerdtest.Shared(t)
	root := newRoot(t, d)
	e := open(t, d, root, containerd.Options{PoolSize: 3})
	start(t, e, script("first", "true"))
	ready(t, e)
	var group sync.WaitGroup
	var pooled atomic.Int64
	for i := range 8 {
		group.Go(func() {
			spec := script("x"+strconv.Itoa(i), `ls -A; echo $OZ_SANDBOX_ID > mine; cat mine`)
			s, err := e.Start(newContext(t), spec)
			if !assert.Check(t, err) {
				return
			}
			if executor.OriginOf(s) == executor.OriginPool {
				pooled.Add(1)
			}
			assert.Check(t, output(t, s) == spec.ID+"\n")
			assert.Check(t, s.Remove(newContext(t)))
		})
	}
	group.Wait()
	assert.Assert(t, pooled.Load() >= 3, "%d", pooled.Load())
}

// TestPoolWorkerKilled: a worker that is killed with sandboxes that stand ready, are being made or are being taken, leaves
// nothing that the next one does not see or has not removed.
func TestPoolWorkerKilled(t *testing.T) {
	d := containerdtest.Shared(t)
	root := newRoot(t, d)
	pooled := 0
	for round, ctx := 0, newContext(t); round < 8 || pooled == 0; round++ {
		assert.NilError(t, ctx.Err(), "no round got as far as taking one")
		cmd := worker(t, d, root, "pool")
		assert.NilError(t, pauseFor(t, 20+round*60))
		assert.NilError(t, cmd.Process.Kill())
		_ = cmd.Wait()
		e := open(t, d, root, containerd.Options{})
		assert.Equal(t, len(glob(t, filepath.Join(root, "workspaces/.new-*"))), 0)
		ids, err := e.List(newContext(t))
		assert.NilError(t, err)
		for _, id := range ids {
			s, err := e.Open(newContext(t), id)
			assert.NilError(t, err)
			wait(t, s)
			if executor.OriginOf(s) == executor.OriginPool {
				pooled++
			}
			assert.NilError(t, s.Remove(newContext(t)))
		}
		left(t, d, e, root)
	}
}

// BenchmarkPool compares the first byte of a sandbox that stood ready with that of the same command as a process of the
// host, in turns. Target: at most 15 ms more.
func BenchmarkPool(b *testing.B) {
	d := containerdtest.Shared(b)
	root := newRoot(b, d)
	e := open(b, d, root, containerd.Options{PoolSize: 1})
	_, err := ours(b.Context(), e, "warm-up")
	assert.NilError(b, err)
	var host, own []time.Duration
	for i := 0; b.Loop(); i++ {
		ready(b, e)
		began := time.Now()
		s, err := e.Start(context.Background(), executor.Spec{ID: "p" + strconv.Itoa(i), Workspace: "p" + strconv.Itoa(i), Command: []string{"sh", "-c", "echo ready"}})
		assert.NilError(b, err)
		out, err := s.Output(b.Context())
		assert.NilError(b, err)
		_, err = bufio.NewReader(out).ReadString('\n')
		assert.NilError(b, err)
		own = append(own, time.Since(began))
		assert.Equal(b, executor.OriginOf(s), executor.OriginPool)
		assert.NilError(b, out.Close())
		assert.NilError(b, s.Remove(newContext(b)))
		began = time.Now()
		cmd := exec.Command("sh", "-c", "echo ready")
		pipe, err := cmd.StdoutPipe()
		assert.NilError(b, err)
		assert.NilError(b, cmd.Start())
		_, err = bufio.NewReader(pipe).ReadString('\n')
		assert.NilError(b, err)
		host = append(host, time.Since(began))
		assert.NilError(b, cmd.Wait())
	}
	b.ReportMetric(median(own), "ms-ready")
	b.ReportMetric(median(host), "ms-fork")
	b.ReportMetric(median(own)-median(host), "ms-more")
}

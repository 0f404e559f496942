//go:build linux

package containerd_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	ctd "github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/core/leases"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"gotest.tools/v3/assert"

	"github.com/oz-platform/cloudagents/executor"
	"github.com/oz-platform/cloudagents/executor/containerd"
	"github.com/oz-platform/cloudagents/internal/containerdtest"
)

// warmSpec is a script that may start from a state made by another script.
func warmSpec(id, text, prepare string) executor.Spec {
	s := script(id, text)
	s.Warm = &executor.Warm{Key: strings.Repeat("ab", 16), Prepare: []string{"sh", "-c", prepare}}
	return s
}

// states lists the kept states that are whole, and waits until there are n.
func states(t testing.TB, root string, n int) []string {
	t.Helper()
	for ctx := newContext(t); ; {
		found := glob(t, filepath.Join(root, "warm/*/state.json"))
		if len(found) == n {
			return found
		}
		assert.NilError(t, ctx.Err(), "%q, want %d", found, n)
		_ = pauseFor(t, 5)
	}
}

// settled waits until nothing is being prepared and removed.
func settled(t testing.TB, d *containerdtest.Daemon, e *containerd.Executor, root string) {
	t.Helper()
	for ctx := newContext(t); len(boxes(t, root)) > 0; {
		assert.NilError(t, ctx.Err())
		_ = pauseFor(t, 5)
	}
	left(t, d, e, root)
}

const preparation = `mkdir -p ~/.cache bin && echo home > ~/.cache/x && echo work > file && chmod 640 file && ln file second && ln -s file link && echo 'echo tool' > bin/tool && chmod 755 bin/tool; touch -d @1000 bin`

const lookAround = `cat ~/.cache/x file link 2>/dev/null; bin/tool 2>/dev/null; id -u; stat -c '%a %u %h' file; stat -c %Y bin; echo mine >> file; echo mine >> ~/.cache/x; exit 0`

// TestWarm: a later sandbox with the same key starts from the state that a preparation has left, home and workspace, and
// none sees what another has done.
func TestWarm(t *testing.T) {
	d := containerdtest.Shared(t)
	root := newRoot(t, d)
	e := open(t, d, root, containerd.Options{WarmStates: 2})
	assert.Assert(t, e.Capabilities().Warm)
	cold := start(t, e, warmSpec("cold", "ls -A; ls -A ~", preparation))
	assert.Equal(t, executor.OriginOf(cold), executor.OriginCold)
	assert.Equal(t, output(t, cold), "")
	states(t, root, 1)
	for _, id := range []string{"a", "b"} {
		s := start(t, e, warmSpec(id, lookAround, preparation))
		assert.Equal(t, executor.OriginOf(s), executor.OriginWarm)
		assert.Equal(t, output(t, s), "home\nwork\nwork\ntool\n1000\n640 1000 2\n1000\n")
	}
	again, err := e.Open(newContext(t), "a")
	assert.NilError(t, err)
	assert.Equal(t, executor.OriginOf(again), executor.OriginWarm)

	// What a run has worked on stays, also when there is a state.
	follow := warmSpec("follow", "cat file", preparation)
	follow.Workspace = "w-a"
	assert.Equal(t, output(t, start(t, e, follow)), "work\nmine\n")

	for name, change := range map[string]func(*executor.Spec){
		"key":  func(s *executor.Spec) { s.Warm.Key = strings.Repeat("cd", 16) },
		"user": func(s *executor.Spec) { s.User = "builder" },
		"env":  func(s *executor.Spec) { s.Env = []string{"A=b"} },
		"none": func(s *executor.Spec) { s.Warm = nil },
	} {
		other := warmSpec("other-"+name, "ls -A", "exit 1")
		change(&other)
		s := start(t, e, other)
		assert.Equal(t, executor.OriginOf(s), executor.OriginCold, name)
		assert.Equal(t, output(t, s), "", name)
	}
}

// TestWarmHasNoSecrets: what a run gets on its standard input is nowhere in what is kept, though its state was prepared
// beside it.
func TestWarmHasNoSecrets(t *testing.T) {
	const canary = "cnry-warm-77aa31"
	d := containerdtest.Shared(t)
	root := newRoot(t, d)
	e := open(t, d, root, containerd.Options{WarmStates: 2})
	for i, want := range []executor.Origin{executor.OriginCold, executor.OriginWarm} {
		spec := warmSpec("x"+strconv.Itoa(i), "cat > secret; cp secret ~/secret; cp secret /tmp/secret; echo done", preparation)
		spec.Stdin = []byte(canary)
		s := start(t, e, spec)
		assert.Equal(t, output(t, s), "done\n")
		assert.Equal(t, executor.OriginOf(s), want)
		states(t, root, 1)
		wait(t, s)
		assert.NilError(t, s.Remove(newContext(t)))
		assert.NilError(t, e.RemoveWorkspace(newContext(t), spec.Workspace))
	}
	settled(t, d, e, root)
	// States, and containerd's snapshots with all else it keeps. It removes the files of containers later: as it finds
	// time, and the busier it was, the later.
	for ctx := newContext(t); ; {
		collect(t, d, containerd.NamespaceOf(root))
		files, found := grep(t, canary, root, filepath.Join(d.Dir(), "root"))
		assert.Assert(t, files > 10)
		if len(found) == 0 {
			return
		}
		assert.NilError(t, ctx.Err(), "%q", found)
		_ = pauseFor(t, 20)
	}
}

// collect has containerd remove now what nobody needs any more.
func collect(t testing.TB, d *containerdtest.Daemon, ns string) {
	t.Helper()
	client, err := ctd.New(d.Address(), ctd.WithDefaultNamespace(ns))
	assert.NilError(t, err)
	defer client.Close()
	ctx := namespaces.WithNamespace(newContext(t), ns)
	lease, err := client.LeasesService().Create(ctx, leases.WithRandomID())
	assert.NilError(t, err)
	assert.NilError(t, client.LeasesService().Delete(ctx, lease, leases.SynchronousDelete))
}

// grep looks for text in all files below dirs.
func grep(t testing.TB, text string, dirs ...string) (files int, found []string) {
	t.Helper()
	for _, dir := range dirs {
		assert.NilError(t, filepath.WalkDir(dir, func(path string, f fs.DirEntry, err error) error {
			if errors.Is(err, fs.ErrNotExist) || err == nil && !f.Type().IsRegular() {
				return nil
			}
			if err != nil {
				return err
			}
			data, err := os.ReadFile(path)
			if errors.Is(err, fs.ErrNotExist) {
				return nil
			}
			files++
			if bytes.Contains(data, []byte(text)) {
				found = append(found, path)
			}
			return err
		}))
	}
	return files, found
}

// TestWarmBounds: there are never more states than allowed, the least recently used gives way, and one in use goes when it
// is free.
func TestWarmBounds(t *testing.T) {
	d := containerdtest.Shared(t)
	root := newRoot(t, d)
	e := open(t, d, root, containerd.Options{WarmStates: 2})
	spec := func(id string, key int, text string) executor.Spec {
		s := warmSpec(id, text, "echo "+strconv.Itoa(key)+" > n")
		s.Warm.Key = fmt.Sprintf("%032x", key)
		return s
	}
	start(t, e, spec("a1", 1, "true"))
	first := states(t, root, 1)[0]
	user := start(t, e, spec("a2", 1, "cat n; sleep 1000"))
	until(t, user, "1")
	start(t, e, spec("b1", 2, "true"))
	states(t, root, 2)
	assert.Equal(t, output(t, start(t, e, spec("b2", 2, "cat n"))), "2\n")
	start(t, e, spec("c1", 3, "true"))
	for ctx := newContext(t); ; {
		if _, err := os.Stat(first); os.IsNotExist(err) {
			break
		}
		assert.NilError(t, ctx.Err())
		_ = pauseFor(t, 5)
	}
	states(t, root, 2)
	assert.Equal(t, executor.OriginOf(start(t, e, spec("c2", 3, "true"))), executor.OriginWarm)
	assert.Equal(t, executor.OriginOf(start(t, e, spec("b3", 2, "true"))), executor.OriginWarm)

	// With the setting gone, all go: but for what a sandbox stands on.
	other := open(t, d, root, containerd.Options{})
	assert.Assert(t, !other.Capabilities().Warm)
	states(t, root, 0)
	assert.NilError(t, user.Stop(newContext(t), 0))
	ids, err := e.List(newContext(t))
	assert.NilError(t, err)
	for _, id := range ids {
		s, err := other.Open(newContext(t), id)
		assert.NilError(t, err)
		assert.NilError(t, s.Remove(newContext(t)))
	}
	last := open(t, d, root, containerd.Options{})
	assert.DeepEqual(t, glob(t, filepath.Join(root, "warm/*")), []string(nil))
	assert.Assert(t, !strings.Contains(ctr(t, d, containerd.NamespaceOf(root), "snapshots", "ls"), "warm-"))
	settled(t, d, last, root)
}

// TestWarmNotKept: a preparation that fails, writes too much, or takes too long is not kept, leaves nothing, and is not
// tried again at once.
func TestWarmNotKept(t *testing.T) {
	d := containerdtest.Shared(t)
	for name, tt := range map[string]struct {
		prepare string
		opts    containerd.Options
	}{
		"fails":  {"echo x > file; exit 3", containerd.Options{}},
		"large":  {"dd if=/dev/zero of=file bs=1M count=8 2>/dev/null", containerd.Options{WarmDisk: 4 << 20}},
		"floods": {"cat /dev/zero > file", containerd.Options{WarmDisk: 4 << 20, DiskPeriod: 10 * time.Millisecond}},
		"hangs":  {"(setsid sleep 1000 &); sleep 1000", containerd.Options{WarmTimeout: time.Second}},
	} {
		t.Run(name, func(t *testing.T) {
			root := newRoot(t, d)
			tt.opts.WarmStates = 2
			e := open(t, d, root, tt.opts)
			for _, id := range []string{"a", "b"} {
				s := start(t, e, warmSpec(id, "ls -A", tt.prepare))
				assert.Equal(t, executor.OriginOf(s), executor.OriginCold)
				assert.Equal(t, output(t, s), "")
				wait(t, s)
				assert.NilError(t, s.Remove(newContext(t)))
				if id == "a" {
					for ctx := newContext(t); !e.Unprepared(); {
						assert.NilError(t, ctx.Err())
						_ = pauseFor(t, 5)
					}
				}
			}
			assert.Assert(t, e.Unprepared(), "not again at once")
			assert.DeepEqual(t, glob(t, filepath.Join(root, "warm/*")), []string(nil))
			settled(t, d, e, root)
		})
	}
}

// TestWarmConcurrent: many sandboxes start from a state at once while others make it give way; each is whole.
func TestWarmConcurrent(t *testing.T) {
	d := containerdtest.Shared(t)
	root := newRoot(t, d)
	e := open(t, d, root, containerd.Options{WarmStates: 1, WarmRefresh: 1})
	run := func(i int) error {
		spec := warmSpec("r"+strconv.Itoa(i), "cat n m 2>/dev/null; exit 0", "echo 1 > n; echo 2 > m")
		spec.Warm.Key = fmt.Sprintf("%032x", i%2)
		s, err := e.Start(newContext(t), spec)
		if err != nil {
			return err
		}
		want := map[executor.Origin]string{executor.OriginCold: "", executor.OriginWarm: "1\n2\n"}[executor.OriginOf(s)]
		if out := output(t, s); out != want {
			return fmt.Errorf("%s: %q", executor.OriginOf(s), out)
		}
		return s.Remove(newContext(t))
	}
	assert.NilError(t, run(0))
	states(t, root, 1)
	var group sync.WaitGroup
	for w := range 4 {
		group.Go(func() {
			for i := range 6 {
				assert.Check(t, run(1+w*6+i))
			}
		})
	}
	group.Wait()
}

// TestWarmWorkerKilled: a worker that is killed while it prepares and copies states leaves no half ones.
func TestWarmWorkerKilled(t *testing.T) {
	d := containerdtest.Shared(t)
	root := newRoot(t, d)
	whole := 0
	for round, ctx := 0, newContext(t); round < 8 || whole == 0; round++ {
		assert.NilError(t, ctx.Err(), "no round got as far as a state")
		cmd := worker(t, d, root, "warm")
		assert.NilError(t, pauseFor(t, 20+round*60))
		assert.NilError(t, cmd.Process.Kill())
		_ = cmd.Wait()
		e := open(t, d, root, containerd.Options{WarmStates: 2})
		dirs, whole1 := glob(t, filepath.Join(root, "warm/*")), glob(t, filepath.Join(root, "warm/*/state.json"))
		assert.Equal(t, len(dirs), len(whole1), "%q", dirs)
		assert.Equal(t, len(glob(t, filepath.Join(root, "workspaces/.new-*"))), 0)
		whole += len(whole1)
		ids, err := e.List(newContext(t))
		assert.NilError(t, err)
		for _, id := range ids {
			s, err := e.Open(newContext(t), id)
			assert.NilError(t, err)
			wait(t, s)
			if executor.OriginOf(s) == executor.OriginWarm {
				if out := output(t, s); out != "" {
					assert.Equal(t, out, "1\n2\n")
				}
			}
			assert.NilError(t, s.Remove(newContext(t)))
		}
		left(t, d, e, root)
	}
}

// BenchmarkWarm compares the second run of an environment with its first: a workspace of 200 MiB and a setup of 30 s, here
// done by shell commands. Target: at most 3 s to the first line.
func BenchmarkWarm(b *testing.B) {
	d := containerdtest.Shared(b)
	root := newRoot(b, d)
	e := open(b, d, root, containerd.Options{WarmStates: 2})
	const setup = `i=0; while [ $i -lt 2000 ]; do head -c 100000 /dev/urandom > f$i; i=$((i+1)); done; sleep 30`
	life := func(id, text string) (executor.Origin, time.Duration) {
		began := time.Now()
		spec := warmSpec(id, text+"; echo ready", setup)
		s, err := e.Start(context.Background(), spec)
		assert.NilError(b, err)
		assert.Equal(b, output(b, s), "ready\n")
		took := time.Since(began)
		assert.NilError(b, s.Remove(newContext(b)))
		assert.NilError(b, e.RemoveWorkspace(newContext(b), spec.Workspace))
		return executor.OriginOf(s), took
	}
	_, cold := life("cold", setup)
	states(b, root, 1)
	var warm []time.Duration
	for i := 0; b.Loop(); i++ {
		origin, took := life("warm-"+strconv.Itoa(i), "test -e f1999")
		assert.Equal(b, origin, executor.OriginWarm)
		warm = append(warm, took)
	}
	b.ReportMetric(median(warm), "ms-warm")
	b.ReportMetric(median([]time.Duration{cold}), "ms-cold")
	b.ReportMetric(median(warm)/median([]time.Duration{cold}), "ratio")
}

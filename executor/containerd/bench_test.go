//go:build linux

package containerd_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	ctd "github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/contrib/seccomp"
	"github.com/containerd/containerd/v2/pkg/cio"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/containerd/containerd/v2/pkg/oci"
	specs "github.com/opencontainers/runtime-spec/specs-go"
	"gotest.tools/v3/assert"

	"github.com/oz-platform/cloudagents/executor"
	"github.com/oz-platform/cloudagents/executor/containerd"
	"github.com/oz-platform/cloudagents/internal/containerdtest"
)

// bare runs containers as a short program over containerd's client does, with the same hardening, and no more.
type bare struct {
	client *ctd.Client
	image  ctd.Image
	ctx    context.Context
	dir    string
}

func newBare(b *testing.B, d *containerdtest.Daemon, root string) *bare {
	client, err := ctd.New(d.Address())
	assert.NilError(b, err)
	b.Cleanup(func() { client.Close() })
	ctx := namespaces.WithNamespace(b.Context(), containerd.NamespaceOf(root))
	img, err := client.GetImage(ctx, testImage)
	assert.NilError(b, err)
	return &bare{client: client, image: img, ctx: ctx, dir: b.TempDir()}
}

// life makes a container, waits for its first line, then for its end, and removes it.
func (r *bare) life(id string) (first time.Duration, err error) {
	began := time.Now()
	pipe := make(chan time.Duration, 1)
	caps := []string{"CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FOWNER", "CAP_KILL", "CAP_SETGID", "CAP_SETUID", "CAP_SETPCAP"}
	c, err := r.client.NewContainer(r.ctx, id, ctd.WithNewSnapshot(id, r.image), ctd.WithNewSpec(oci.WithImageConfig(r.image),
		oci.WithProcessArgs("sh", "-c", "echo ready"), oci.WithCapabilities(caps), seccomp.WithDefaultProfile(),
		oci.WithHostNamespace(specs.NetworkNamespace), oci.WithMounts([]specs.Mount{
			{Type: "bind", Source: r.dir, Destination: "/workspace", Options: []string{"rbind", "rw"}}})))
	if err != nil {
		return 0, err
	}
	task, err := c.NewTask(r.ctx, cio.NewCreator(cio.WithFIFODir(r.dir), cio.WithStreams(nil, firstWrite{began, pipe}, io.Discard)))
	if err != nil {
		return 0, err
	}
	exited, err := task.Wait(r.ctx)
	if err != nil {
		return 0, err
	}
	if err := task.Start(r.ctx); err != nil {
		return 0, err
	}
	first = <-pipe
	<-exited
	if _, err := task.Delete(r.ctx); err != nil {
		return 0, err
	}
	return first, c.Delete(r.ctx, ctd.WithSnapshotCleanup)
}

// firstWrite tells when the first byte comes.
type firstWrite struct {
	began time.Time
	seen  chan time.Duration
}

// Write implements io.Writer.
func (w firstWrite) Write(p []byte) (int, error) {
	select {
	case w.seen <- time.Since(w.began):
	default:
	}
	return len(p), nil
}

// ours is the same life by way of an Executor.
func ours(ctx context.Context, e executor.Executor, id string) (first time.Duration, err error) {
	began := time.Now()
	s, err := e.Start(ctx, executor.Spec{ID: id, Workspace: id, Command: []string{"sh", "-c", "echo ready"}})
	if err != nil {
		return 0, err
	}
	out, err := s.Output(ctx)
	if err != nil {
		return 0, err
	}
	defer out.Close()
	if _, err := bufio.NewReader(out).ReadString('\n'); err != nil {
		return 0, err
	}
	first = time.Since(began)
	if _, err := s.Wait(ctx); err != nil {
		return 0, err
	}
	if err := s.Remove(ctx); err != nil {
		return 0, err
	}
	return first, e.RemoveWorkspace(ctx, id)
}

func median(list []time.Duration) float64 {
	slices.Sort(list)
	return list[len(list)/2].Seconds() * 1000
}

// BenchmarkFirstByte compares the first byte of a container by an Executor with that by the bare client, alternating, so
// that both see the same machine. Target: ratio at most 1.25.
func BenchmarkFirstByte(b *testing.B) {
	d := containerdtest.Shared(b)
	root := newRoot(b, d)
	e := open(b, d, root, containerd.Options{})
	_, err := ours(b.Context(), e, "warm-up")
	assert.NilError(b, err)
	r := newBare(b, d, root)
	var theirs, own []time.Duration
	for i := 0; b.Loop(); i++ {
		t, err := r.life("bare-" + strconv.Itoa(i))
		assert.NilError(b, err)
		o, err := ours(b.Context(), e, "own-"+strconv.Itoa(i))
		assert.NilError(b, err)
		theirs, own = append(theirs, t), append(own, o)
	}
	b.ReportMetric(median(own), "ms-ours")
	b.ReportMetric(median(theirs), "ms-bare")
	b.ReportMetric(median(own)/median(theirs), "ratio")
}

// BenchmarkLives compares whole lives per second, four at a time, in turns. Target: ratio at least 0.9.
func BenchmarkLives(b *testing.B) {
	d := containerdtest.Shared(b)
	root := newRoot(b, d)
	e := open(b, d, root, containerd.Options{})
	_, err := ours(b.Context(), e, "warm-up")
	assert.NilError(b, err)
	r := newBare(b, d, root)
	const batch = 20
	var n atomic.Int64
	run := func(life func(id string) (time.Duration, error)) time.Duration {
		began := time.Now()
		var group sync.WaitGroup
		for range 4 {
			group.Go(func() {
				for range batch / 4 {
					_, err := life(fmt.Sprintf("life-%d", n.Add(1)))
					assert.Check(b, err)
				}
			})
		}
		group.Wait()
		return time.Since(began)
	}
	var own, theirs time.Duration
	rounds := 0
	for ; b.Loop(); rounds++ {
		theirs += run(r.life)
		own += run(func(id string) (time.Duration, error) { return ours(b.Context(), e, id) })
	}
	total := float64(rounds * batch)
	b.ReportMetric(total/own.Seconds(), "lives/s-ours")
	b.ReportMetric(total/theirs.Seconds(), "lives/s-bare")
	b.ReportMetric(theirs.Seconds()/own.Seconds(), "ratio")
}

// BenchmarkForkExec is the floor: a process of the host.
func BenchmarkForkExec(b *testing.B) {
	path, err := exec.LookPath("true")
	assert.NilError(b, err)
	for b.Loop() {
		assert.NilError(b, exec.Command(filepath.Clean(path)).Run())
	}
}

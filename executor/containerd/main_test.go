//go:build linux

package containerd_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	"gotest.tools/v3/assert"

	"github.com/oz-platform/cloudagents/executor"
	"github.com/oz-platform/cloudagents/executor/containerd"
	"github.com/oz-platform/cloudagents/executor/executortest"
	"github.com/oz-platform/cloudagents/internal/containerdtest"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(containerdtest.Main(cleaning{m}))
}

// cleaning removes what runner built.
type cleaning struct{ m *testing.M }

// Run implements containerdtest.M.
func (c cleaning) Run() int {
	defer func() { _ = os.RemoveAll(runnerDir) }() // as it is then
	return c.m.Run()
}

const testImage = "docker.io/library/tools:1"

// runnerDir is where runner builds; empty before that.
var runnerDir string

// runner builds the smallest static binary that calls pid1.Main, once.
var runner = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("/tmp", "ozr")
	if err != nil {
		return "", err
	}
	runnerDir = dir
	path := filepath.Join(dir, "oz")
	cmd := exec.Command("go", "build", "-o", path, "./testdata/runner")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build the runner: %w: %s", err, out)
	}
	return path, nil
})

// open opens an Executor on the shared daemon, with the test image in it.
func open(t testing.TB, d *containerdtest.Daemon, root string, opts containerd.Options) *containerd.Executor {
	t.Helper()
	bin, err := runner()
	assert.NilError(t, err)
	opts.Address = d.Address()
	if opts.Runner == "" {
		opts.Runner = bin
	}
	if opts.Image == "" {
		opts.Image = testImage
	}
	e, err := containerd.Open(context.Background(), root, &opts)
	assert.NilError(t, err)
	t.Cleanup(func() { assert.Check(t, e.Close()) })
	return e
}

var archive = struct {
	once sync.Once
	data []byte
}{}

// newRoot makes a root whose namespace has the test image.
func newRoot(t testing.TB, d *containerdtest.Daemon) string {
	t.Helper()
	root, err := os.MkdirTemp(d.Dir(), "r")
	assert.NilError(t, err)
	load(t, d, root, archiveOf(t))
	return root
}

// archiveOf gives the archive of the test image.
func archiveOf(t testing.TB) []byte {
	t.Helper()
	archive.once.Do(func() {
		archive.data = containerdtest.Archive(t, testImage, containerdtest.Image(t, containerdtest.Busybox(t), nil))
	})
	return archive.data
}

func load(t testing.TB, d *containerdtest.Daemon, root string, archive []byte) {
	t.Helper()
	bin, err := runner()
	assert.NilError(t, err)
	e, err := containerd.Open(t.Context(), root, &containerd.Options{Address: d.Address(), Runner: bin})
	assert.NilError(t, err)
	_, err = e.Import(t.Context(), bytes.NewReader(archive))
	assert.Check(t, err)
	assert.NilError(t, e.Close())
}

func TestConformance(t *testing.T) {
	d := containerdtest.Shared(t)
	const limit = 1 << 20
	roots := map[*testing.T]string{}
	executortest.Run(t, executortest.Harness{
		OutputLimit: limit,
		Open: func(t *testing.T) executor.Executor {
			if roots[t] == "" {
				roots[t] = newRoot(t, d)
			}
			return open(t, d, roots[t], containerd.Options{OutputLimit: limit, DiskPeriod: 20 * time.Millisecond})
		},
	})
}

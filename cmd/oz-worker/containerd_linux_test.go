package main

import (
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"gotest.tools/v3/assert"

	"github.com/oz-platform/cloudagents/internal/containerdtest"
	"github.com/oz-platform/cloudagents/task"
)

// TestContainerBackend: agents of a worker work in containers, as an ordinary user, outlive a worker that is killed, and
// leave no container.
func TestContainerBackend(t *testing.T) {
	d := containerdtest.New(t)
	archive := filepath.Join(d.Dir(), "tools.tar")
	img := containerdtest.Image(t, containerdtest.Tools(t), nil)
	assert.NilError(t, os.WriteFile(archive, containerdtest.Archive(t, "docker.io/library/tools:1", img), 0o600))
	r := newRig(t, fmt.Sprintf(`backend:
  containerd:
    root: %s
    address: %s
    image: tools:1
    import: [%s]
    memory_gb: 1
    processes: 500
`, filepath.Join(d.Dir(), "w"), d.Address(), archive))
	r.work()
	r.healthy()
	assert.Equal(t, r.finished(r.submit("greet")).State, task.StateSucceeded, r.out.String())

	id := r.submit("wait")
	r.waits(id)
	r.eventually("one container runs", func() bool { return len(d.Shims()) == 1 })
	shim := d.Shims()[0]
	r.signal(syscall.SIGKILL)
	_ = r.exit()
	r.work()
	r.healthy()
	assert.DeepEqual(t, d.Shims(), []int{shim})
	r.eventually("it is taken up", func() bool { _, h := r.health(); return h.Busy == 1 })
	assert.NilError(t, r.Client().Cancel(r.ctx, id))
	assert.Equal(t, r.finished(id).State, task.StateCancelled, r.out.String())
	executions, err := r.Client().Executions(r.ctx, id)
	assert.NilError(t, err)
	assert.Equal(t, len(executions), 1)
	r.eventually("no container is left", func() bool { return len(d.Shims()) == 0 && len(d.Mounts()) == 0 })
	r.eventually("no directory is left", func() bool {
		boxes, err := filepath.Glob(filepath.Join(d.Dir(), "w/*/boxes/*"))
		return err == nil && len(boxes) == 0
	})
	r.signal(syscall.SIGTERM)
	assert.Equal(t, r.exit(), 0)
}

package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"gotest.tools/v3/assert"

	"github.com/oz-platform/cloudagents/internal/containerdtest"
	"github.com/oz-platform/cloudagents/internal/servertest"
	"github.com/oz-platform/cloudagents/task"
)

// kills is how often a test kills its worker.
func kills() int {
	if testing.Short() {
		return 6
	}
	return 40
}

// killing kills the worker again and again while one agent works all the time and others come and go, then lets all end:
// no agent was killed and no event is lost. more is checked while the long one works.
func (r *rig) killing(more func()) {
	r.t.Helper()
	r.work()
	r.healthy()
	long := r.submit("wait")
	r.waits(long)
	var runs []task.ID
	for n := range kills() {
		if len(runs) == 0 || r.run(runs[len(runs)-1]).State.Ended() {
			runs = append(runs, r.submit("greet"))
		}
		select { // another moment each time: from the start of the worker to long after
		case <-time.After(time.Duration(n*37%40) * 20 * time.Millisecond):
		case <-r.ctx.Done():
		}
		r.signal(syscall.SIGKILL)
		_ = r.exit()
		r.work()
	}
	r.healthy()
	for _, id := range runs {
		r.survived(id, servertest.GreetCommand)
	}
	r.eventually("the long one is taken up, and nothing else is at work", func() bool { _, h := r.health(); return h.Busy == 1 })
	more()
	r.free()
	r.survived(long, "released")
	r.eventually("the place is free", func() bool { _, h := r.health(); return h.Busy == 0 })
	r.signal(syscall.SIGTERM)
	assert.Equal(r.t, r.exit(), 0)
	assert.Equal(r.t, len(r.Runners()), 0)
}

// survived waits for the good end of a run, of which no agent was killed and no event is lost.
func (r *rig) survived(id task.ID, said string) {
	r.t.Helper()
	defer r.tell(id)
	run := r.finished(id)
	assert.Equal(r.t, run.State, task.StateSucceeded, "%s\n%s", run.Status.Message, r.out)
	assert.Equal(r.t, run.Attempts, 0)
	executions, err := r.Client().Executions(r.ctx, id)
	assert.NilError(r.t, err)
	begun := 0
	for _, x := range executions {
		if !x.BegunAt.IsZero() {
			begun++
		}
	}
	assert.Equal(r.t, begun, 1, "%+v", executions)
	seq := int64(0)
	var text strings.Builder
	for e, err := range r.Client().Watch(r.ctx, id, 0) {
		assert.NilError(r.t, err)
		seq++
		assert.Equal(r.t, e.Seq, seq)
		switch p := e.Payload.(type) {
		case *task.ToolOutput:
			text.WriteString(p.Text)
		case *task.ToolCall:
			text.WriteString(string(p.Input))
		}
	}
	assert.Assert(r.t, strings.Contains(text.String(), said), "%s", text.String())
}

// tell logs what is known of a run, if the test has failed.
func (r *rig) tell(id task.ID) {
	if !r.t.Failed() {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.ctx), time.Minute)
	defer cancel()
	run, err := r.Client().Get(ctx, id)
	r.t.Logf("run %s: %s, %d attempts, %d executions, %s, %v", id, run.State, run.Attempts, run.Executions, run.Status.Message, err)
	executions, err := r.Client().Executions(ctx, id)
	for _, x := range executions {
		r.t.Logf("  execution %s: %s, offered %s, begun %s, lease %s, %q, %v", x.ID, x.State, x.OfferedAt, x.BegunAt, x.LeaseUntil, x.Reason, err)
	}
}

// TestKilledDirect: the worker's binary is killed at 40 moments, its agents being processes of the host: no agent is killed,
// no event is lost, and nothing is left.
func TestKilledDirect(t *testing.T) {
	r := newRig(t, "")
	r.killing(func() {
		assert.Equal(t, len(r.Runners()), 1)
	})
	found, err := os.ReadDir(filepath.Join(r.Dir, "state", "workspaces", workerID, "sandboxes"))
	assert.NilError(t, err)
	assert.Equal(t, len(found), 0, "%v", found)
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	assert.NilError(t, err)
	assert.Assert(t, !strings.Contains(string(mounts), r.Dir))
}

// TestKilledContainerd: the same with agents in containers, some of which stand ready: afterwards there is no container,
// snapshot, mount, control group, shim or directory.
func TestKilledContainerd(t *testing.T) {
	d := containerdtest.New(t)
	archive := filepath.Join(d.Dir(), "tools.tar")
	img := containerdtest.Image(t, containerdtest.Tools(t), nil)
	assert.NilError(t, os.WriteFile(archive, containerdtest.Archive(t, "docker.io/library/tools:1", img), 0o600))
	namespace := "oz-killed-" + filepath.Base(d.Dir()) // no other on this host may have it
	r := newRig(t, fmt.Sprintf(`backend:
  containerd:
    root: %s
    address: %s
    namespace: %s
    image: tools:1
    import: [%s]
    mounts: ["{release}:{release}"]
    warm_pool: 1
    memory_gb: 1
    processes: 500
`, filepath.Join(d.Dir(), "w"), d.Address(), namespace, archive))
	r.killing(func() {
		r.eventually("one runs, and one stands ready", func() bool { return len(d.Shims()) == 2 })
	})
	r.eventually("nothing is left", func() bool {
		boxes, err := filepath.Glob(filepath.Join(d.Dir(), "w/*/boxes/*"))
		assert.NilError(t, err)
		groups, err := filepath.Glob("/sys/fs/cgroup/*/" + namespace + "/*box-*")
		assert.NilError(t, err)
		return len(boxes)+len(groups)+len(d.Shims())+len(d.Mounts()) == 0
	})
	for _, args := range [][]string{{"containers", "ls", "-q"}, {"tasks", "ls", "-q"}, {"snapshots", "ls"}} {
		out, err := exec.Command("ctr", append([]string{"-a", d.Address(), "-n", namespace}, args...)...).CombinedOutput()
		assert.NilError(t, err, "%s", out)
		assert.Assert(t, !strings.Contains(string(out), "box-"), "%s", out)
	}
}

//go:build linux

package local_test

import (
	"context"
	"crypto/rand"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"gotest.tools/v3/assert"

	"github.com/oz-platform/cloudagents/executor"
	"github.com/oz-platform/cloudagents/executor/executortest"
	"github.com/oz-platform/cloudagents/executor/local"
)

// newCgroup makes a group of our own, or skips the test.
func newCgroup(t *testing.T) string {
	t.Helper()
	mounts, err := os.ReadFile("/proc/self/mounts")
	assert.NilError(t, err)
	for line := range strings.Lines(string(mounts)) {
		fields := strings.Fields(line)
		if len(fields) < 3 || fields[2] != "cgroup2" {
			continue
		}
		path := filepath.Join(fields[1], "oz-test-"+rand.Text())
		if err := os.Mkdir(path, 0o700); err != nil {
			t.Skipf("cannot make a control group: %v", err)
		}
		t.Cleanup(func() { assert.NilError(t, os.Remove(path), "groups are left over") })
		return path
	}
	t.Skip("no cgroup v2 here")
	return ""
}

func TestCgroupConformance(t *testing.T) {
	executortest.Run(t, harness(local.Options{Cgroup: newCgroup(t)}))
}

// TestCgroupKills: with a group, what has neither ancestry nor mark is found too.
func TestCgroupKills(t *testing.T) {
	root, mark := newRoot(t), marker()
	e := open(t, root, &local.Options{Cgroup: newCgroup(t)})
	// Having changed its mark (ulimit -x) and lost its supervisor, only the group knows where this one belongs.
	s := start(t, e, script("x", `
		(setsid bash -c 'ulimit -x 1; exec <&- >/dev/null 2>&1; : > grown; while :; do sleep 1000; done' "$1" &)
		while ! test -e grown; do sleep 0.01; done; echo ready`+forever, mark))
	ready(t, s)
	assert.NilError(t, syscall.Kill(supervisorOf(t, root, "x"), syscall.SIGKILL))
	assert.Equal(t, wait(t, s), executor.Exit{Code: -1, Unknown: true})
	assert.Equal(t, len(marked(t, mark)), 0)
}

// TestCgroupInterruptedStart: a group whose Start was interrupted goes with the sandbox.
func TestCgroupInterruptedStart(t *testing.T) {
	root, group := newRoot(t), newCgroup(t)
	e := open(t, root, &local.Options{Cgroup: group})
	assert.NilError(t, os.MkdirAll(filepath.Join(root, "sandboxes", "x"), 0o700))
	assert.NilError(t, os.MkdirAll(filepath.Join(group, "x", "nested"), 0o700))
	s, err := e.Open(newContext(t), "x")
	assert.NilError(t, err)
	assert.NilError(t, s.Remove(context.WithoutCancel(t.Context())))
	_, err = os.Stat(filepath.Join(group, "x"))
	assert.ErrorIs(t, err, os.ErrNotExist)
}

// TestCgroupLimits: what is said to be enforced is in the group's files, and what has no controller is not said.
func TestCgroupLimits(t *testing.T) {
	group := newCgroup(t)
	e := open(t, newRoot(t), &local.Options{Cgroup: group})
	spec := script("x", "echo ready"+forever)
	spec.Limits = executor.Limits{Memory: 64 << 20, Processes: 50, CPUs: 0.5}
	s := start(t, e, spec)
	ready(t, s)
	got := s.Limits()
	for _, tt := range []struct {
		file, want string
		enforced   bool
	}{
		{"memory.max", "67108864\n", got.Memory == spec.Limits.Memory},
		{"pids.max", "50\n", got.Processes == spec.Limits.Processes},
		{"cpu.max", "50000 100000\n", got.CPUs == spec.Limits.CPUs},
	} {
		data, err := os.ReadFile(filepath.Join(group, "x", tt.file))
		assert.Equal(t, err == nil, tt.enforced, tt.file)
		if tt.enforced {
			assert.Equal(t, string(data), tt.want)
		}
	}
	if got.Memory != 0 {
		greedy := script("greedy", `exec head -c 200m /dev/zero | tail`)
		greedy.Command = []string{"tail", "/dev/zero"}
		greedy.Limits = spec.Limits
		assert.Equal(t, wait(t, start(t, e, greedy)), executor.Exit{Code: 137, Signal: syscall.SIGKILL, OOM: true})
	}
}

//go:build linux

package containerd

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"gotest.tools/v3/assert"

	"github.com/oz-platform/cloudagents/executor"
)

func TestParseOOMKill(t *testing.T) {
	for data, want := range map[string]int{
		"oom_kill_disable 0\nunder_oom 0\noom_kill 3\n": 3,
		"low 0\noom 1\noom_kill 2\noom_group_kill 1\n":  2,
		"oom_kill x\n": 0, "oom_kill -1\n": 0, "": 0,
	} {
		assert.Equal(t, parseOOMKill([]byte(data)), want, data)
	}
}

func TestWithoutLoopback(t *testing.T) {
	kept, n := withoutLoopback([]byte("# made by\nnameserver 127.0.0.53\nnameserver 10.0.0.2\nsearch x\nnameserver ::1\n"))
	assert.Equal(t, string(kept), "# made by\nnameserver 10.0.0.2\nsearch x\n")
	assert.Equal(t, n, 1)
}

// TestEnforceable: limits that hold, and those that the host cannot hold.
func TestEnforceable(t *testing.T) {
	host := hostLimits{memory: 8 << 30, cpus: 4, processes: 1 << 15, openFiles: 1 << 16}
	assert.Equal(t, enforceable(executor.Limits{Memory: 1, CPUs: 0.5, Processes: 10, OpenFiles: 1, Disk: 5}, host),
		executor.Limits{Memory: minMemory, CPUs: 0.5, Processes: 10, OpenFiles: minOpenFiles, Disk: 5})
	assert.Equal(t, enforceable(executor.Limits{Memory: 1 << 62, CPUs: 4, Processes: 1 << 30, OpenFiles: 1 << 30}, host), executor.Limits{})
}

// FuzzReadState: what a power cut leaves is no state, and no crash.
func FuzzReadState(f *testing.F) {
	f.Add([]byte(`{"version":1,"workspace":"w","box":"box-a","output":65536,"origin":"cold","enforced":{}}`))
	f.Add([]byte(`{"version":2}`))
	f.Add([]byte(strings.Repeat("\x00", 20)))
	f.Fuzz(func(t *testing.T, data []byte) {
		dir := t.TempDir()
		assert.NilError(t, os.WriteFile(filepath.Join(dir, stateFile), data, 0o600))
		st, err := readState(dir)
		assert.Assert(t, err != nil || st.Version == stateVersion)
		assert.Assert(t, !errors.Is(err, os.ErrNotExist))
	})
}

//go:build linux

package local_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"gotest.tools/v3/assert"
)

// asNobody runs the calling test once more as a user without rights, since root may read every process. It reports
// whether this is that run.
func asNobody(t *testing.T) bool {
	t.Helper()
	if os.Geteuid() != 0 {
		return true
	}
	const nobody = 65534
	dir, err := os.MkdirTemp("", "nobody-")
	assert.NilError(t, err)
	defer os.RemoveAll(dir)
	assert.NilError(t, os.Chown(dir, nobody, nobody))
	// By the link, because the way to the file may be closed to that user.
	cmd := exec.CommandContext(newContext(t), "/proc/self/exe", "-test.run=^"+t.Name()+"$", "-test.v")
	cmd.Dir, cmd.Env = dir, []string{"PATH=" + os.Getenv("PATH"), "TMPDIR=" + dir}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	out, err := cmd.CombinedOutput()
	assert.NilError(t, err, "%s", out)
	assert.Assert(t, strings.Contains(string(out), "--- PASS: "+t.Name()), "%s", out)
	return false
}

// readable reports whether an agent could look into the process pid.
func readable(pid int) bool {
	_, err := os.ReadFile("/proc/" + itoa(pid) + "/environ")
	return err == nil
}

// TestSupervisorsHideTheirMemory: one that waits for its job does too, since the job holds a token.
func TestSupervisorsHideTheirMemory(t *testing.T) {
	if !asNobody(t) {
		return
	}
	root := newRoot(t)
	s := start(t, open(t, root, nil), script("x", "echo ready; exec sleep 1000"))
	ready(t, s)
	active := supervisorOf(t, root, "x")
	reserve := 0
	eventually(t, "a supervisor in reserve", func() bool {
		paths, err := filepath.Glob("/proc/self/task/*/children")
		assert.NilError(t, err)
		for _, path := range paths {
			children, _ := os.ReadFile(path) // a thread may have ended
			for _, child := range strings.Fields(string(children)) {
				pid, err := strconv.Atoi(child)
				assert.NilError(t, err)
				argv, _ := os.ReadFile("/proc/" + child + "/cmdline")
				if pid != active && strings.HasPrefix(string(argv), "oz-sandbox-supervisor\x00") {
					reserve = pid
				}
			}
		}
		return reserve != 0
	})
	other := exec.CommandContext(newContext(t), "sleep", "1000")
	assert.NilError(t, other.Start())
	assert.Assert(t, readable(other.Process.Pid), "an ordinary process can be read")
	assert.NilError(t, other.Process.Kill())
	assert.ErrorContains(t, other.Wait(), "killed")
	assert.Assert(t, !readable(active))
	eventually(t, "the supervisor in reserve hides its memory", func() bool { return !readable(reserve) })
	_, err := os.Stat("/proc/" + itoa(reserve))
	assert.NilError(t, err, "it must still be there")
}

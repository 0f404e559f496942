//go:build unix

package proc

import (
	"errors"
	"os/exec"
	"syscall"
	"time"
)

// pipeGrace is how long a finished child's descendants may keep its output
// pipe open before the pipe is closed under them.
const pipeGrace = 2 * time.Second

// Group makes cmd lead a process group of its own, and makes the end of cmd's
// context kill that whole group. Call it before Start.
func Group(cmd *exec.Cmd) {
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Setpgid = true
	cmd.Cancel = func() error { return KillGroup(cmd) }
	cmd.WaitDelay = pipeGrace
}

// KillGroup kills the process group that cmd leads. A group that is gone is
// no error.
func KillGroup(cmd *exec.Cmd) error {
	if cmd.Process == nil {
		return nil
	}
	err := syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
	if errors.Is(err, syscall.ESRCH) {
		return nil
	}
	return err
}

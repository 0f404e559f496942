package proc

import (
	"errors"
	"os"
	"os/exec"
	"time"
)

// pipeGrace is how long a finished child's descendants may keep its output
// pipe open before the pipe is closed under them.
const pipeGrace = 2 * time.Second

// Group bounds the wait for cmd's output. Windows has no process groups to
// kill: only cmd itself ends with its context.
func Group(cmd *exec.Cmd) { cmd.WaitDelay = pipeGrace }

// KillGroup kills cmd itself. A process that is gone is no error.
func KillGroup(cmd *exec.Cmd) error {
	if cmd.Process == nil {
		return nil
	}
	if err := cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	return nil
}

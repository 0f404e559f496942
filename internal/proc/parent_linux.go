package proc

import (
	"os/exec"
	"runtime"
	"syscall"
)

// RunBound runs cmd like cmd.Run, and has the kernel kill it if this process
// dies first. Call it after Group.
func RunBound(cmd *exec.Cmd) error {
	// The kernel watches the thread that starts the child, so it must live as long.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Pdeathsig = syscall.SIGKILL
	return cmd.Run()
}

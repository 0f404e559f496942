package ozagent

import (
	"os"
	"syscall"
)

// ownGroup keeps a command from getting our Ctrl-C.
func ownGroup() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{CreationFlags: syscall.CREATE_NEW_PROCESS_GROUP}
}

// terminate does nothing: Windows has no signal to ask with.
func terminate(int) {}

// killTree kills pid alone: Windows has no process groups to kill.
func killTree(pid int, _ string) {
	if p, err := os.FindProcess(pid); err == nil {
		_ = p.Kill() // it may be gone
		_ = p.Release()
	}
}

//go:build unix

package ozagent

import "syscall"

// ownGroup makes a command lead a process group of its own.
func ownGroup() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }

// terminate asks the process group of pid to end.
func terminate(pid int) {
	_ = syscall.Kill(-pid, syscall.SIGTERM) // it may be gone
}

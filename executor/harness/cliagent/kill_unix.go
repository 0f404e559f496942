//go:build unix && !linux

package cliagent

import "syscall"

// ownGroup makes the program lead a process group of its own.
func ownGroup() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }

// interrupt asks the program itself to end its work.
func interrupt(pid int) { _ = syscall.Kill(pid, syscall.SIGINT) }

// tree is the process group of a program. Only Linux shows parents and
// environments, by which those that left the group could be found.
type tree struct{ root int }

func newTree(pid int, _ string) *tree { return &tree{pid} }
func (t *tree) look()                 {}
func (t *tree) kill()                 { _ = syscall.Kill(-t.root, syscall.SIGKILL) } // it may be gone

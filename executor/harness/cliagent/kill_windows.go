package cliagent

import (
	"os"
	"syscall"
)

// ownGroup has nothing to set on Windows.
func ownGroup() *syscall.SysProcAttr { return nil }

// interrupt cannot ask on Windows; the grace passes and the tree is killed.
func interrupt(int) {}

// tree is the program alone: Windows keeps no process group for us.
type tree struct{ root int }

func newTree(pid int, _ string) *tree { return &tree{pid} }
func (t *tree) look()                 {}

func (t *tree) kill() {
	if p, err := os.FindProcess(t.root); err == nil {
		_ = p.Kill() // it may be gone
	}
}

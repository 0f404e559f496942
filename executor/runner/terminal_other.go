//go:build !unix

package runner

import (
	"errors"
	"io"
	"os/exec"

	"github.com/oz-platform/cloudagents/executor"
)

// tty would be a terminal: there is none on this system.
type tty struct{}

func startTTY(*exec.Cmd, executor.TerminalSize) (*tty, error) {
	return nil, errors.New("this system has no pseudo terminals")
}

func (*tty) read([]byte) (int, error)     { return 0, io.EOF }
func (*tty) write([]byte)                 {}
func (*tty) resize(executor.TerminalSize) {}
func (*tty) kill(*exec.Cmd)               {}
func (*tty) close()                       {}

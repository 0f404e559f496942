//go:build unix

package runner

import (
	"os"
	"os/exec"
	"syscall"

	"github.com/creack/pty"
	"golang.org/x/sys/unix"

	"github.com/oz-platform/cloudagents/executor"
)

// tty is the side of a pseudo terminal that a person would sit at.
type tty struct{ f *os.File }

// startTTY starts a program at a terminal of its own.
func startTTY(cmd *exec.Cmd, size executor.TerminalSize) (*tty, error) {
	f, err := pty.StartWithSize(cmd, &pty.Winsize{Cols: uint16(size.Cols), Rows: uint16(size.Rows)})
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	// A descriptor of our own that does not block: closing it then ends a read,
	// also when a process that got away keeps the other side open.
	fd, err := unix.FcntlInt(f.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	if err == nil {
		err = unix.SetNonblock(fd, true)
	}
	if err != nil {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		return nil, err
	}
	return &tty{os.NewFile(uintptr(fd), "terminal")}, nil
}

func (t *tty) read(p []byte) (int, error) { return t.f.Read(p) }

// write types. What a program that has ended does not take is lost.
func (t *tty) write(p []byte) { _, _ = t.f.Write(p) }

func (t *tty) resize(size executor.TerminalSize) {
	raw, err := t.f.SyscallConn()
	if err != nil {
		return // closed
	}
	_ = raw.Control(func(fd uintptr) {
		_ = unix.IoctlSetWinsize(int(fd), unix.TIOCSWINSZ, &unix.Winsize{Col: uint16(size.Cols), Row: uint16(size.Rows)})
	})
}

// kill ends the shell's process group; the shell leads a session of its own.
func (t *tty) kill(cmd *exec.Cmd) { _ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }

func (t *tty) close() { _ = t.f.Close() }

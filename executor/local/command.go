//go:build linux

package local

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/oz-platform/cloudagents/executor/internal/outlog"
)

// limitResources returns the limit for open files that holds, 0 if none was asked for.
func limitResources(openFiles int) int {
	_ = syscall.Setrlimit(syscall.RLIMIT_CORE, &syscall.Rlimit{}) // to lower it needs no privilege
	if openFiles == 0 {
		return 0
	}
	var limit syscall.Rlimit
	if syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit) != nil {
		return 0
	}
	n := min(uint64(max(openFiles, minOpenFiles)), limit.Max)
	if syscall.Setrlimit(syscall.RLIMIT_NOFILE, &syscall.Rlimit{Cur: n, Max: n}) != nil {
		return 0
	}
	return int(n)
}

// startMain starts the main command with its standard streams on pipes. What it does to the calling thread, the command
// inherits.
func (s *supervisor) startMain() error {
	writer, err := outlog.NewWriter(s.job.Sandbox, outlog.NewLayout(s.job.Output))
	if err != nil {
		return err
	}
	var in, out [2]int
	if err := errors.Join(unix.Pipe2(in[:], unix.O_CLOEXEC), unix.Pipe2(out[:], unix.O_CLOEXEC)); err != nil {
		return os.NewSyscallError("pipe2", err)
	}
	sys := &syscall.SysProcAttr{Setsid: true, Pdeathsig: syscall.SIGKILL, PidFD: &s.pidfd}
	if s.job.Cgroup != "" {
		group, err := os.Open(s.job.Cgroup)
		if err != nil {
			return err
		}
		defer group.Close()
		sys.UseCgroupFD, sys.CgroupFD = true, int(group.Fd())
	}
	if s.job.View != nil {
		if err := s.job.View.enter(); err != nil {
			return fmt.Errorf("isolate: %w", err)
		}
	}
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return os.NewSyscallError("prctl", err)
	}
	path, err := s.lookPath()
	if err != nil {
		return err
	}
	s.main, err = syscall.ForkExec(path, s.job.Command, &syscall.ProcAttr{
		Dir: s.job.Dir, Env: s.job.Env, Files: []uintptr{uintptr(in[0]), uintptr(out[1]), uintptr(out[1])}, Sys: sys,
	})
	unix.Close(in[0])
	unix.Close(out[1])
	if err != nil {
		return fmt.Errorf("start %s: %w", s.job.Command[0], err)
	}
	_ = unix.SetNonblock(out[0], true) // gives the file a read deadline
	s.pipe = os.NewFile(uintptr(out[0]), "output")
	go s.copyOutput(writer)
	go feed(os.NewFile(uintptr(in[1]), "stdin"), s.job.Stdin)
	return nil
}

// lookPath finds the program in the sandbox's PATH, not in ours.
func (s *supervisor) lookPath() (string, error) {
	name := s.job.Command[0]
	if strings.Contains(name, "/") {
		return name, nil // relative to the workspace
	}
	if err := os.Setenv("PATH", s.job.Path); err != nil {
		return "", err
	}
	path, err := exec.LookPath(name)
	if err != nil {
		return "", fmt.Errorf("%w (PATH=%s)", err, s.job.Path)
	}
	return path, nil
}

// feed gives the main command its standard input. A pipe, unlike a file, cannot be read twice.
func feed(stdin *os.File, data []byte) {
	_, _ = stdin.Write(data) // EPIPE: the command does not read
	stdin.Close()
	clear(data)
}

// copyOutput moves output to disk until all writers have closed it.
func (s *supervisor) copyOutput(w *outlog.Writer) {
	defer close(s.output)
	defer w.Close()
	buf := make([]byte, 64<<10) // the size of a pipe
	for {
		n, err := s.pipe.Read(buf)
		w.Write(buf[:n])
		if err != nil {
			return
		}
	}
}

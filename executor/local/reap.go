//go:build linux

package local

import (
	"errors"
	"os"
	"syscall"
	"time"

	"github.com/oz-platform/cloudagents/executor"
)

// reap waits for the main command, and on the way for all orphans that became our children.
func (s *supervisor) reap() executor.Exit {
	for {
		var status syscall.WaitStatus
		pid, err := syscall.Wait4(-1, &status, 0, nil)
		switch {
		case errors.Is(err, syscall.EINTR):
		case err != nil:
			return unknownExit
		case pid != s.main:
		case status.Signaled():
			return executor.Exit{
				Code:   128 + int(status.Signal()),
				Signal: status.Signal(),
				OOM:    status.Signal() == syscall.SIGKILL && oomKilled(s.job.Cgroup),
			}
		default:
			return executor.Exit{Code: status.ExitStatus()}
		}
	}
}

// finish ends what the main command left running, and then records its status.
func (s *supervisor) finish(exit executor.Exit) error {
	killed := s.killRest()
	_ = s.pipe.SetReadDeadline(time.Now().Add(drainPatience))
	<-s.output
	return errors.Join(killed, writeExit(s.job.Sandbox, exit))
}

// killRest kills until wait(2) says that no child is left. Since orphans become our children, none is left at all then.
func (s *supervisor) killRest() error {
	deadline := time.Now().Add(killPatience)
	for delay := 100 * time.Microsecond; ; delay = min(2*delay, 20*time.Millisecond) {
		if reapDead() {
			return nil
		}
		if time.Now().After(deadline) {
			return errors.New("processes are left that cannot be killed within " + killPatience.String())
		}
		if err := errors.Join(killCgroup(s.job.Cgroup), s.killChildren()); err != nil {
			return err
		}
		if reapDead() {
			return nil
		}
		time.Sleep(delay)
	}
}

// killChildren kills everything that descends from this process.
func (s *supervisor) killChildren() error {
	if s.job.View == nil || os.Getpid() != 1 {
		return killDescendants()
	}
	// Every process of our namespace but us. /proc, here, is the host's.
	if err := syscall.Kill(-1, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
		return os.NewSyscallError("kill", err)
	}
	return nil
}

// reapDead waits for all children that have ended, and reports whether none is left.
func reapDead() bool {
	for {
		pid, err := syscall.Wait4(-1, nil, syscall.WNOHANG, nil)
		switch {
		case errors.Is(err, syscall.EINTR):
		case errors.Is(err, syscall.ECHILD):
			return true
		case err != nil || pid == 0:
			return false
		}
	}
}

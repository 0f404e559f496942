//go:build linux

package local

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// helper is a supervisor process that waits for its job, or is about it. Executor keeps one in reserve: to start a
// program takes as long as its packages need to initialise, 10 ms and more for a whole server, and the job, once sent,
// one or two. A helper without a job ends when its socket is closed, so none outlives its worker.
type helper struct {
	cmd     *exec.Cmd
	control *os.File // our end of the socket
}

// spawn starts a helper, in namespaces of its own if sandboxes are isolated.
func (e *Executor) spawn() (*helper, error) {
	ours, theirs, err := socketPair()
	if err != nil {
		return nil, err
	}
	defer theirs.Close()
	// Not os.Executable: the file may have been replaced by a newer release, the link still leads to ours.
	cmd := exec.Command("/proc/self/exe")
	cmd.Args = []string{supervisorName}
	cmd.Dir = "/"
	// It mostly sleeps. The second has a meaning in programs built with -race only, which else take a second to exit.
	cmd.Env = []string{"GOMAXPROCS=1", "GORACE=atexit_sleep_ms=0"}
	cmd.ExtraFiles = []*os.File{theirs} // controlFD
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if e.isolate {
		if err := isolated(cmd.SysProcAttr); err != nil {
			ours.Close()
			return nil, err
		}
		e.spawning.Lock()
		defer e.spawning.Unlock()
		defer showMemory()()
	}
	if err := cmd.Start(); err != nil {
		ours.Close()
		return nil, err
	}
	return &helper{cmd: cmd, control: ours}, nil
}

// showMemory lets this process write the user mapping of a child that it starts, which the kernel counts as its memory,
// until the function that it returns is called. A server hides its memory from processes of its user; isolated sandboxes
// cannot see it anyway.
func showMemory() (hide func()) {
	hidden, err := unix.PrctlRetInt(unix.PR_GET_DUMPABLE, 0, 0, 0, 0)
	if os.Geteuid() == 0 || err != nil || hidden == 1 || unix.Prctl(unix.PR_SET_DUMPABLE, 1, 0, 0, 0) != nil {
		return func() {}
	}
	return func() { _ = unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0) }
}

// socketPair returns two connected sockets; ours has deadlines.
func socketPair() (ours, theirs *os.File, err error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, os.NewSyscallError("socketpair", err)
	}
	if err := unix.SetNonblock(fds[0], true); err != nil {
		unix.Close(fds[0])
		unix.Close(fds[1])
		return nil, nil, os.NewSyscallError("fcntl", err)
	}
	return os.NewFile(uintptr(fds[0]), "control"), os.NewFile(uintptr(fds[1]), "control"), nil
}

// alive reports whether a helper without a job can still take one.
func (h *helper) alive() bool {
	conn, err := h.control.SyscallConn()
	if err != nil {
		return false
	}
	alive := false
	err = conn.Control(func(fd uintptr) {
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN | unix.POLLRDHUP}}, 0)
		alive = err == nil && n == 0
	})
	return err == nil && alive
}

// dismiss ends a helper, whatever it is about, and waits for that.
func (h *helper) dismiss() {
	h.control.Close()
	_ = h.cmd.Process.Kill()
	_ = h.cmd.Wait()
}

// send hands over the job and the lock, which goes with the first byte.
func (h *helper) send(j job, lock *os.File) error {
	conn, err := h.control.SyscallConn()
	if err != nil {
		return err
	}
	var sent error
	err = conn.Write(func(fd uintptr) bool {
		sent = unix.Sendmsg(int(fd), []byte{'j'}, unix.UnixRights(int(lock.Fd())), nil, unix.MSG_NOSIGNAL)
		return !errors.Is(sent, unix.EAGAIN)
	})
	if err := errors.Join(err, sent); err != nil {
		return fmt.Errorf("send lock to supervisor: %w", err)
	}
	if err := json.NewEncoder(h.control).Encode(j); err != nil {
		return fmt.Errorf("send job to supervisor: %w", err)
	}
	return nil
}

// receive waits for the answer.
func (h *helper) receive() error {
	var answer reply
	if err := json.NewDecoder(h.control).Decode(&answer); err != nil {
		return fmt.Errorf("supervisor gave no answer: %w", err)
	}
	if answer.Error != "" {
		return errors.New(answer.Error)
	}
	return nil
}

// await reaps a supervisor when it has ended. It waits for that without a thread, which cmd.Wait alone would take.
func (h *helper) await() {
	if fd, err := unix.PidfdOpen(h.cmd.Process.Pid, unix.PIDFD_NONBLOCK); err == nil {
		pidfd := os.NewFile(uintptr(fd), "pidfd")
		_ = waitPidfd(context.Background(), pidfd)
		pidfd.Close()
	}
	_ = h.cmd.Wait()
}

// supervise has a helper do j, and returns when the main command runs. After an error the helper does not.
func (e *Executor) supervise(ctx context.Context, j job, lock *os.File) error {
	h, reserved, err := e.takeHelper()
	if err != nil {
		return err
	}
	err = e.employ(ctx, h, j, lock)
	// One that was kept in reserve may be dying without showing it yet. Either error says that it has not read the job.
	if reserved && ctx.Err() == nil && (errors.Is(err, unix.ECONNRESET) || errors.Is(err, unix.EPIPE)) {
		if h, err = e.spawn(); err == nil {
			err = e.employ(ctx, h, j, lock)
		}
	}
	return err
}

// employ gives a helper the job, and dismisses it after an error.
func (e *Executor) employ(ctx context.Context, h *helper, j job, lock *os.File) (err error) {
	stop := context.AfterFunc(ctx, func() { h.control.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	if err = h.send(j, lock); err == nil {
		e.reserveHelper() // while this one works
		err = h.receive()
	}
	if err == nil {
		h.control.Close()
		go h.await() // ends with the supervisor, which is our child and has to be reaped
		return nil
	}
	// The command may run already. It dies with its supervisor, and discard finds by the mark what it has started.
	h.dismiss()
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

// takeHelper returns the helper in reserve, or a new one.
func (e *Executor) takeHelper() (h *helper, reserved bool, err error) {
	e.mu.Lock()
	h = e.reserve
	e.reserve = nil
	e.mu.Unlock()
	if h != nil {
		if h.alive() {
			return h, true, nil
		}
		h.dismiss()
	}
	h, err = e.spawn()
	return h, false, err
}

// reserveHelper makes sure that there is one in reserve. Without one the next Start is slower, that is all.
func (e *Executor) reserveHelper() {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.reserve == nil {
		e.reserve, _ = e.spawn()
	}
}

// Close ends the helper process that the Executor keeps in reserve after the first Start, and which else ends with
// this process. Sandboxes go on, and the Executor remains usable.
func (e *Executor) Close() error {
	e.mu.Lock()
	h := e.reserve
	e.reserve = nil
	e.mu.Unlock()
	if h != nil {
		h.dismiss()
	}
	return nil
}

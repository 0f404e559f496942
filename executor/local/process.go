//go:build linux

package local

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// process names one process for good: numbers are reused, a number with the start time within one boot is not.
type process struct {
	PID   int    `json:"pid"`
	Start uint64 `json:"start"` // clock ticks after boot, proc_pid_stat(5) field 22
	Boot  string `json:"boot"`  // /proc/sys/kernel/random/boot_id
}

// errGone says that a process does not exist any more.
var errGone = errors.New("process is gone")

// self names the calling process.
func self() (process, error) {
	boot, err := bootID()
	if err != nil {
		return process{}, err
	}
	// Not os.Getpid, which in a namespace of our own is 1: the worker's number is meant, and /proc is the worker's.
	link, err := os.Readlink("/proc/self")
	if err != nil {
		return process{}, err
	}
	pid, err := strconv.Atoi(link)
	if err != nil {
		return process{}, fmt.Errorf("/proc/self: %w", err)
	}
	stat, err := readStat(pid)
	if err != nil {
		return process{}, err
	}
	return process{PID: pid, Start: stat.start, Boot: boot}, nil
}

func bootID() (string, error) {
	data, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	return string(bytes.TrimSpace(data)), err
}

// open returns a descriptor (pidfd_open(2)) that stands for this very process. It fails with errGone.
func (p process) open() (*os.File, error) {
	if p.PID <= 0 {
		return nil, errGone
	}
	if boot, err := bootID(); err != nil {
		return nil, err
	} else if boot != p.Boot {
		return nil, errGone
	}
	fd, err := unix.PidfdOpen(p.PID, unix.PIDFD_NONBLOCK)
	if errors.Is(err, unix.ESRCH) {
		return nil, errGone
	}
	if err != nil {
		return nil, os.NewSyscallError("pidfd_open", err)
	}
	// The descriptor holds on to whatever process has the number now; only then is its start time worth reading.
	stat, err := readStat(p.PID)
	if err != nil || stat.start != p.Start {
		unix.Close(fd)
		return nil, errGone
	}
	return os.NewFile(uintptr(fd), "pidfd"), nil
}

// running reports whether the process exists and has not ended.
func (p process) running() bool {
	pidfd, err := p.open()
	if err != nil {
		return !errors.Is(err, errGone)
	}
	defer pidfd.Close()
	return !pidfdReadable(int(pidfd.Fd()))
}

// wait blocks until the process has ended. It returns the error of ctx if that ends first.
func (p process) wait(ctx context.Context) error {
	pidfd, err := p.open()
	if errors.Is(err, errGone) {
		return nil
	}
	if err != nil {
		return err
	}
	defer pidfd.Close()
	return waitPidfd(ctx, pidfd)
}

// waitPidfd waits in the runtime's poller, so that a waiting goroutine costs no thread.
func waitPidfd(ctx context.Context, pidfd *os.File) error {
	conn, err := pidfd.SyscallConn()
	if err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { pidfd.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	err = conn.Read(func(fd uintptr) bool { return pidfdReadable(int(fd)) })
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return context.Cause(ctx)
	}
	return err
}

func pidfdReadable(fd int) bool {
	n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 0)
	return err == nil && n > 0
}

// signal sends sig unless the process is gone.
func (p process) signal(sig unix.Signal) error {
	pidfd, err := p.open()
	if err != nil {
		return err
	}
	defer pidfd.Close()
	if err := unix.PidfdSendSignal(int(pidfd.Fd()), sig, nil, 0); errors.Is(err, unix.ESRCH) {
		return errGone
	} else if err != nil {
		return os.NewSyscallError("pidfd_send_signal", err)
	}
	return nil
}

// stat holds the fields of /proc/PID/stat that we need.
type stat struct {
	state  byte // R, S, D, Z, T ...
	parent int
	start  uint64
}

func readStat(pid int) (stat, error) {
	data, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return stat{}, err
	}
	return parseStat(data)
}

// parseStat reads "PID (NAME) STATE PPID ...". NAME is the program's choice and may hold spaces and parentheses.
func parseStat(data []byte) (stat, error) {
	const parent, start = 1, 19 // counted from the state, field 3 of proc_pid_stat(5)
	end := bytes.LastIndexByte(data, ')')
	fields := bytes.Fields(data[end+1:])
	if end < 0 || len(fields) <= start || len(fields[0]) != 1 {
		return stat{}, fmt.Errorf("unknown format of /proc/PID/stat: %.80q", data)
	}
	ppid, err := strconv.Atoi(string(fields[parent]))
	if err != nil {
		return stat{}, fmt.Errorf("parent in /proc/PID/stat: %w", err)
	}
	ticks, err := strconv.ParseUint(string(fields[start]), 10, 64)
	if err != nil {
		return stat{}, fmt.Errorf("start time in /proc/PID/stat: %w", err)
	}
	return stat{state: fields[0][0], parent: ppid, start: ticks}, nil
}

// eachProcess calls f with the number of every process of the host, in ascending order. It reads /proc in small steps
// and calls f at once, so that a process which lives for a moment only is still there when f looks at it.
func eachProcess(f func(pid int)) error {
	dir, err := os.Open("/proc")
	if err != nil {
		return err
	}
	defer dir.Close()
	// 1 KiB holds about 40 entries.
	buf := make([]byte, 1<<10)
	for {
		n, err := unix.ReadDirent(int(dir.Fd()), buf)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return os.NewSyscallError("getdents", err)
		}
		if n <= 0 {
			return nil
		}
		_, _, names := unix.ParseDirent(buf[:n], -1, nil)
		for _, name := range names {
			if pid, err := strconv.Atoi(name); err == nil {
				f(pid)
			}
		}
	}
}

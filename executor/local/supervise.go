//go:build linux

package local

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/oz-platform/cloudagents/executor"
)

const (
	// supervisorName is argv[0] of a supervisor.
	supervisorName = "oz-sandbox-supervisor"

	// controlFD is the socket that a supervisor inherits: a lock and a job come in, a reply goes out.
	controlFD = 3

	// signalKill asks a supervisor to kill its sandbox. The C library uses the first real-time signals (32 to 34).
	signalKill = syscall.Signal(40)

	// oomScoreAdj, of -1000 to 1000, makes the kernel prefer a sandbox over the worker when memory runs out.
	oomScoreAdj = "500"

	// minOpenFiles leaves the supervisor and an ordinary program enough to work with.
	minOpenFiles = 64

	// killPatience is how long a supervisor waits for killed processes. Only one in uninterruptible sleep (a dead
	// network mount) takes longer; it dies when it wakes up.
	killPatience = 10 * time.Second

	// drainPatience is how long the copying of output may go on when all processes are dead: someone outside may
	// have been passed the pipe.
	drainPatience = 2 * time.Second
)

// forwarded are the signals that a supervisor hands to the main command.
var forwarded = []os.Signal{syscall.SIGHUP, syscall.SIGINT, syscall.SIGQUIT, syscall.SIGTERM, syscall.SIGUSR1, syscall.SIGUSR2}

// supervising says that main has called Supervise. It is the one thing in the package that is global, because it is
// about the process: without the call, a second copy of this program would be a second server, not a supervisor.
var supervising atomic.Bool

// Supervise must be called by main before anything else. In a process that was started to supervise a sandbox it does
// so until the sandbox has ended and returns ok; main must then exit with code. In all others it returns at once.
// TestMain of a package whose tests use the driver must call it too.
func Supervise() (code int, ok bool) {
	supervising.Store(true)
	if len(os.Args) != 1 || os.Args[0] != supervisorName {
		return 0, false
	}
	if err := supervise(); err != nil {
		fmt.Fprintln(os.Stderr, err) // goes to supervisor.log
		return 1, true
	}
	return 0, true
}

// job is what a worker asks of a supervisor.
type job struct {
	ID        string
	Workspace string // key
	Dir       string // of the workspace
	Sandbox   string // directory of the sandbox
	Command   []string
	Env       []string
	Path      string // PATH of Env, to find Command in
	Stdin     []byte
	OpenFiles int
	Output    int64  // limit, in bytes
	Cgroup    string // group to start the command in; empty: none
	Enforced  executor.Limits
}

// reply is what a supervisor answers when the main command runs, or cannot.
type reply struct {
	Error string // empty: it runs
}

// supervisor is the state of the supervising process.
type supervisor struct {
	job    job
	main   int // process number of the main command
	pidfd  int // of the main command
	output chan struct{}
	pipe   *os.File // read end of the output
}

func supervise() error {
	// The kernel ties PR_SET_PDEATHSIG to the thread that starts the child. This one lives as long as the process.
	runtime.LockOSThread()
	signals := make(chan os.Signal, 64)
	signal.Notify(signals, append([]os.Signal{signalKill}, forwarded...)...)
	if err := closeOnExec(); err != nil {
		return err
	}
	if received, err := receiveLock(); err != nil || !received {
		return err
	}
	control := os.NewFile(controlFD, "control")
	defer control.Close()
	s := &supervisor{output: make(chan struct{})}
	if err := json.NewDecoder(control).Decode(&s.job); err != nil {
		return fmt.Errorf("read job: %w", err) // the worker died before it had asked
	}
	if err := redirectErrors(s.job.Sandbox); err != nil {
		return err
	}
	if err := s.start(); err != nil {
		return json.NewEncoder(control).Encode(reply{Error: err.Error()})
	}
	_ = json.NewEncoder(control).Encode(reply{}) // that the worker died since is no reason to stop
	control.Close()
	go s.forward(signals)
	return s.finish(s.reap())
}

// receiveLock waits for the descriptor that holds the lock of the sandbox, and leaves it open for as long as the process
// lives. It receives none if the worker ends without having a job.
func receiveLock() (bool, error) {
	oob := make([]byte, unix.CmsgSpace(4)) // one descriptor
	for {
		n, _, _, _, err := unix.Recvmsg(controlFD, make([]byte, 1), oob, unix.MSG_CMSG_CLOEXEC)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		return n > 0, os.NewSyscallError("recvmsg", err)
	}
}

// redirectErrors sends what this process has to say about itself, a panic for one, to a file.
func redirectErrors(sandbox string) error {
	log, err := os.OpenFile(filepath.Join(sandbox, "supervisor.log"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	return os.NewSyscallError("dup3", unix.Dup3(int(log.Fd()), 2, 0))
}

// closeOnExec keeps every descriptor above the standard ones from the main command, those included that this process's
// parent inherited itself without knowing.
func closeOnExec() error {
	err := unix.CloseRange(controlFD, math.MaxUint32, unix.CLOSE_RANGE_CLOEXEC)
	if err != nil {
		return os.NewSyscallError("close_range", err)
	}
	return nil
}

// start prepares this process for what its children inherit, and starts the main command.
func (s *supervisor) start() error {
	unix.Umask(0o077)
	for _, option := range []int{unix.PR_SET_CHILD_SUBREAPER, unix.PR_SET_NO_NEW_PRIVS} {
		if err := unix.Prctl(option, 1, 0, 0, 0); err != nil {
			return os.NewSyscallError("prctl", err)
		}
	}
	st := state{
		Version: stateVersion, ID: s.job.ID, Workspace: s.job.Workspace,
		Output: s.job.Output, Cgroup: s.job.Cgroup, Enforced: s.job.Enforced,
	}
	st.Enforced.OpenFiles = limitResources(s.job.OpenFiles)
	st.Mark = setMark()
	var err error
	if st.Supervisor, err = self(); err != nil {
		return err
	}
	// Not before self has read /proc: this process holds the token, and its memory is nobody's business.
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		return os.NewSyscallError("prctl", err)
	}
	if err := reserveExit(s.job.Sandbox); err != nil {
		return err
	}
	if err := writeJSON(filepath.Join(s.job.Sandbox, stateFile), st); err != nil {
		return err
	}
	return s.startMain()
}

// limitResources returns the limit for open files that holds, 0 if none was asked for.
func limitResources(openFiles int) int {
	// Neither can fail for want of privilege: both only lower something.
	_ = syscall.Setrlimit(syscall.RLIMIT_CORE, &syscall.Rlimit{})
	_ = os.WriteFile("/proc/self/oom_score_adj", []byte(oomScoreAdj), 0)
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

// startMain starts the main command with its standard streams on pipes.
func (s *supervisor) startMain() error {
	path, err := s.lookPath()
	if err != nil {
		return err
	}
	writer, err := newOutputWriter(s.job.Sandbox, newLayout(s.job.Output))
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
func (s *supervisor) copyOutput(w *outputWriter) {
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

// forward hands signals to the main command. The descriptor is safe after the command has ended.
func (s *supervisor) forward(signals <-chan os.Signal) {
	for sig := range signals {
		if sig == signalKill {
			sig = syscall.SIGKILL
			_ = killCgroup(s.job.Cgroup)
		}
		_ = unix.PidfdSendSignal(s.pidfd, sig.(syscall.Signal), nil, 0)
	}
}

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
		if err := errors.Join(killCgroup(s.job.Cgroup), killDescendants()); err != nil {
			return err
		}
		if reapDead() {
			return nil
		}
		time.Sleep(delay)
	}
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

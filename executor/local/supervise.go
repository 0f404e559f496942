//go:build linux

package local

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
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
	View      *view  // nil: not isolated
	Isolation string // in words
	Probe     bool   // start nothing, only find out whether View can be
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
	if err := hideMemory(); err != nil {
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
	if s.job.Probe {
		return json.NewEncoder(control).Encode(replyOf(apart(s.job.View.probe)))
	}
	if err := redirectErrors(s.job.Sandbox); err != nil {
		return err
	}
	if err := s.start(); err != nil {
		return json.NewEncoder(control).Encode(replyOf(err))
	}
	_ = json.NewEncoder(control).Encode(reply{}) // that the worker died since is no reason to stop
	control.Close()
	go s.forward(signals)
	return s.finish(s.reap())
}

func replyOf(err error) reply {
	if err != nil {
		return reply{Error: err.Error()}
	}
	return reply{}
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

// hideMemory keeps processes of other sandboxes, which run as the same user, from reading or tracing this one, before
// it receives a token. The files of /proc/self belong to root from then on.
func hideMemory() error {
	// It can only raise the score, which needs no privilege, and may be missing.
	_ = os.WriteFile("/proc/self/oom_score_adj", []byte(oomScoreAdj), 0)
	return os.NewSyscallError("prctl", unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0))
}

// start prepares this process for what its children inherit, and starts the main command.
func (s *supervisor) start() error {
	unix.Umask(0o077)
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return os.NewSyscallError("prctl", err)
	}
	st := state{
		Version: stateVersion, ID: s.job.ID, Workspace: s.job.Workspace,
		Output: s.job.Output, Cgroup: s.job.Cgroup, Enforced: s.job.Enforced, Isolation: s.job.Isolation,
	}
	st.Enforced.OpenFiles = limitResources(s.job.OpenFiles)
	st.Mark = setMark()
	var err error
	if st.Supervisor, err = self(); err != nil {
		return err
	}
	if err := reserveExit(s.job.Sandbox); err != nil {
		return err
	}
	if err := writeJSON(filepath.Join(s.job.Sandbox, stateFile), st); err != nil {
		return err
	}
	if s.job.View != nil {
		return apart(s.startMain)
	}
	return s.startMain()
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

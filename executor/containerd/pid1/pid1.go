//go:build linux

package pid1

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/oz-platform/cloudagents/executor"
	"github.com/oz-platform/cloudagents/executor/internal/outlog"
)

const (
	tempDir     = "/tmp"
	defaultPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

	// drainPatience is how long the end of the output may take to be written once no process is left.
	drainPatience = 5 * time.Second

	// Exit codes that say that this process failed, as shells have them.
	codeFailed = 125
)

// forwarded are the signals that the main command gets when this process does.
var forwarded = []os.Signal{
	syscall.SIGHUP, syscall.SIGINT, syscall.SIGQUIT, syscall.SIGTERM, syscall.SIGUSR1, syscall.SIGUSR2,
}

// Forwarded returns the signals that reach the main command.
func Forwarded() []os.Signal { return slices.Clone(forwarded) }

// Main is the whole program of a container's first process. ok is false when this process is none.
func Main() (code int, ok bool) {
	if len(os.Args) != 3 || os.Args[1] != Invocation {
		return 0, false
	}
	p := process{box: os.Args[2]}
	if err := p.run(); err != nil {
		fmt.Fprintln(os.Stderr, "sandbox:", err)
		return codeFailed, true
	}
	return p.status.Code, true
}

// process is the first process of a container.
type process struct {
	box    string
	main   int
	output chan struct{} // closed when all output is written
	pipe   *os.File
	over   atomic.Bool // main is reaped, its number may be another's
	status status
}

// run gets the job, does it, and waits for its end.
func (p *process) run() error {
	signals := make(chan os.Signal, 64)
	signal.Notify(signals, forwarded...) // before there is anyone to forward to: the first process has no defaults
	conn, err := net.Dial("unix", filepath.Join(p.box, Socket))
	if err != nil {
		return fmt.Errorf("connect to the worker: %w", err)
	}
	defer conn.Close()
	j, err := readJob(conn)
	if err != nil {
		return fmt.Errorf("wait for the job: %w", err) // the worker went away: nothing has run
	}
	err = p.start(j)
	var a Answer
	if err != nil {
		a.Error = err.Error()
	}
	_ = json.NewEncoder(conn).Encode(a) // the worker may be gone, what runs goes on
	_ = conn.Close()
	if err != nil {
		return err
	}
	go p.forward(signals)
	p.wait()
	return writeExit(p.box, p.status)
}

// start starts the main command.
func (p *process) start(j Job) error {
	a, err := admit(j.User)
	if err != nil {
		return err
	}
	if err := give(j.Dir, a); err != nil {
		return fmt.Errorf("working directory: %w", err)
	}
	env := environment(j, a)
	path, err := lookPath(j.Command[0], j.Dir, env)
	if err != nil {
		return err
	}
	logs := filepath.Join(p.box, Log)
	if err := os.Mkdir(logs, 0o700); err != nil {
		return err
	}
	writer, err := outlog.NewWriter(logs, outlog.NewLayout(j.Output))
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(p.box, started), nil, 0o600); err != nil {
		return err
	}
	if err := p.fork(j, a, path, env, writer); err != nil {
		_ = os.Remove(filepath.Join(p.box, started))
		return err
	}
	return nil
}

// fork runs the program with its standard streams on pipes.
func (p *process) fork(j Job, a account, path string, env []string, writer *outlog.Writer) error {
	var in, out [2]int
	if err := errors.Join(unix.Pipe2(in[:], unix.O_CLOEXEC), unix.Pipe2(out[:], unix.O_CLOEXEC)); err != nil {
		return os.NewSyscallError("pipe2", err)
	}
	_ = syscall.Setrlimit(syscall.RLIMIT_CORE, &syscall.Rlimit{})
	var err error
	p.main, err = forkAs(a, path, j.Command, &syscall.ProcAttr{
		Dir: j.Dir, Env: env, Files: []uintptr{uintptr(in[0]), uintptr(out[1]), uintptr(out[1])},
	})
	unix.Close(in[0])
	unix.Close(out[1])
	if err != nil {
		return fmt.Errorf("start %s: %w", j.Command[0], err)
	}
	p.output = make(chan struct{})
	_ = unix.SetNonblock(out[0], true) // gives the file a read deadline
	p.pipe = os.NewFile(uintptr(out[0]), "output")
	go p.copyOutput(writer)
	go feed(os.NewFile(uintptr(in[1]), "stdin"), j.Stdin)
	return nil
}

// forkAs forks from a thread of its own, which ends afterwards: for an ordinary user it takes from it what no child may
// ever have.
func forkAs(a account, path string, argv []string, attr *syscall.ProcAttr) (pid int, err error) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // and never unlocked: the thread ends with the goroutine
		attr.Sys = &syscall.SysProcAttr{Setsid: true}
		if a.uid != 0 {
			attr.Sys.Credential = &syscall.Credential{Uid: a.uid, Gid: a.gid, Groups: a.groups}
			if err = dropBounding(); err != nil {
				return
			}
		}
		pid, err = syscall.ForkExec(path, argv, attr)
	}()
	<-done
	return pid, err
}

// dropBounding empties the bounding set of this thread. What the thread holds stays, until the child changes its user.
func dropBounding() error {
	for c := uintptr(0); ; c++ {
		held, err := unix.PrctlRetInt(unix.PR_CAPBSET_READ, c, 0, 0, 0)
		if errors.Is(err, unix.EINVAL) {
			return nil // beyond the last
		}
		if err == nil && held == 1 {
			err = unix.Prctl(unix.PR_CAPBSET_DROP, c, 0, 0, 0)
		}
		if err != nil {
			return fmt.Errorf("drop capability %d: %w", c, err)
		}
	}
}

// environment is that of the main command.
func environment(j Job, a account) []string {
	env := make([]string, 0, len(j.Env)+4)
	path := false
	for _, v := range j.Env {
		path = path || strings.HasPrefix(v, "PATH=")
		env = append(env, v)
	}
	if !path {
		env = append(env, "PATH="+defaultPath)
	}
	return append(env, executor.EnvHome+"="+a.home, executor.EnvTempDir+"="+tempDir, executor.EnvSandboxID+"="+j.ID)
}

// lookPath finds the program in the sandbox's PATH, not in ours.
func lookPath(name, dir string, env []string) (string, error) {
	if strings.Contains(name, "/") {
		return name, nil // relative to the working directory
	}
	path := ""
	for _, v := range env {
		if value, ok := strings.CutPrefix(v, "PATH="); ok {
			path = value
		}
	}
	for _, d := range filepath.SplitList(path) {
		if !filepath.IsAbs(d) {
			d = filepath.Join(dir, d)
		}
		file := filepath.Join(d, name)
		if info, err := os.Stat(file); err == nil && info.Mode().IsRegular() && info.Mode().Perm()&0o111 != 0 {
			return file, nil
		}
	}
	return "", fmt.Errorf("%s: executable file not found in the sandbox's PATH (%s)", name, path)
}

// feed gives the main command its standard input. A pipe, unlike a file, cannot be read twice.
func feed(stdin *os.File, data []byte) {
	_, _ = stdin.Write(data) // EPIPE: the command does not read
	stdin.Close()
	clear(data)
}

// copyOutput moves output to disk until all writers have closed it.
func (p *process) copyOutput(w *outlog.Writer) {
	defer close(p.output)
	defer w.Close()
	buf := make([]byte, 64<<10) // the size of a pipe
	for {
		n, err := p.pipe.Read(buf)
		w.Write(buf[:n])
		if err != nil {
			return
		}
	}
}

// forward passes signals on for as long as there is a main command.
func (p *process) forward(signals <-chan os.Signal) {
	for sig := range signals {
		if s, ok := sig.(syscall.Signal); ok && !p.over.Load() {
			_ = syscall.Kill(p.main, s) // ESRCH: it has just ended
		}
	}
}

// wait reaps until the main command has ended, kills what is left, and reaps that.
func (p *process) wait() {
	for ended := false; ; {
		var ws syscall.WaitStatus
		pid, err := syscall.Wait4(-1, &ws, 0, nil)
		switch {
		case errors.Is(err, syscall.EINTR):
			continue
		case err != nil: // ECHILD: all are gone
			p.drain()
			return
		case pid == p.main && !ended:
			ended = true
			p.over.Store(true)
			p.status = status{Code: ws.ExitStatus()}
			if ws.Signaled() {
				p.status = status{Code: 128 + int(ws.Signal()), Signal: ws.Signal()}
			}
		}
		if ended {
			_ = syscall.Kill(-1, syscall.SIGKILL) // all but this process
		}
	}
}

// drain waits for the end of the output.
func (p *process) drain() {
	_ = p.pipe.SetReadDeadline(time.Now().Add(drainPatience))
	<-p.output
}

//go:build linux

package local

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/oz-platform/cloudagents/executor"
)

const (
	// startPatience bounds the start of a supervisor, which takes milliseconds.
	startPatience = 30 * time.Second

	// cleanupPatience bounds the clearing up after a start that failed.
	cleanupPatience = 15 * time.Second

	// lockPoll is how often Start looks whether another Start of the same ID is done.
	lockPoll = 2 * time.Millisecond

	defaultPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
)

// Start implements executor.Executor.
func (e *Executor) Start(ctx context.Context, spec executor.Spec) (executor.Sandbox, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if err := spec.Validate(); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, startPatience)
	defer cancel()
	s, err := e.start(ctx, spec)
	if err != nil {
		return nil, fmt.Errorf("start sandbox %s: %w", spec.ID, err)
	}
	return s, nil
}

func (e *Executor) start(ctx context.Context, spec executor.Spec) (*sandbox, error) {
	done, err := e.change(ctx, spec.ID)
	if err != nil {
		return nil, err
	}
	defer done()
	if err := os.Mkdir(e.sandboxDir(spec.ID), 0o700); err != nil && !errors.Is(err, os.ErrExist) {
		return nil, err
	}
	lock, found, err := e.claim(ctx, spec.ID)
	if err != nil || found != nil {
		return found, err
	}
	defer lock.Close()
	release, err := e.useWorkspace(spec.Workspace)
	if err != nil {
		return nil, errors.Join(err, e.discard(ctx, spec.ID))
	}
	defer release()
	s, err := e.launch(ctx, spec, lock)
	if err != nil {
		return nil, errors.Join(err, e.discard(ctx, spec.ID))
	}
	return s, nil
}

// claim looks at a sandbox that exists: it returns the sandbox if it was started, and the lock if not. The lock is free
// when no one takes care of the sandbox: it is new, its supervisor has ended, or its Start was interrupted. It fails
// with ErrNotFound. The caller has called change.
func (e *Executor) claim(ctx context.Context, id string) (*os.File, *sandbox, error) {
	for {
		lock, err := e.lockSandbox(id)
		if err != nil && !errors.Is(err, unix.EWOULDBLOCK) {
			return nil, nil, err
		}
		s, err := e.handle(id)
		if lock != nil && errors.Is(err, os.ErrNotExist) {
			return lock, nil, nil
		}
		if lock != nil {
			lock.Close()
		}
		if !errors.Is(err, os.ErrNotExist) {
			return nil, s, err
		}
		// The supervisor of a worker that died is about to write the state.
		if err := pause(ctx, lockPoll); err != nil {
			return nil, nil, err
		}
	}
}

// lockSandbox locks the directory of a sandbox. It fails with ErrNotFound, or with EWOULDBLOCK while another process
// holds the lock.
func (e *Executor) lockSandbox(id string) (*os.File, error) {
	dir := e.sandboxDir(id)
	fd, err := unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if errors.Is(err, unix.ENOENT) {
		return nil, executor.ErrNotFound
	}
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: dir, Err: err}
	}
	lock := os.NewFile(uintptr(fd), dir)
	if err := unix.Flock(fd, unix.LOCK_EX|unix.LOCK_NB); err != nil {
		lock.Close()
		return nil, err
	}
	return lock, nil
}

// launch starts the supervisor and waits until the main command runs.
func (e *Executor) launch(ctx context.Context, spec executor.Spec, lock *os.File) (*sandbox, error) {
	dir := e.sandboxDir(spec.ID)
	if err := e.makeDirs(spec); err != nil {
		return nil, err
	}
	j := job{
		ID: spec.ID, Workspace: spec.Workspace, Dir: e.workspaceDir(spec.Workspace), Sandbox: dir,
		Command: spec.Command, Stdin: spec.Stdin, OpenFiles: spec.Limits.OpenFiles, Output: e.opts.OutputLimit,
	}
	j.Env, j.Path = e.environment(spec)
	if e.opts.Cgroup != "" {
		var err error
		j.Cgroup = filepath.Join(e.opts.Cgroup, spec.ID)
		if j.Enforced, err = makeCgroup(j.Cgroup, spec.Limits); err != nil {
			return nil, fmt.Errorf("cgroup: %w", err)
		}
	}
	if err := runSupervisor(ctx, j, lock); err != nil {
		return nil, err
	}
	return e.handle(spec.ID)
}

// makeDirs makes home, temporary directory and workspace. A workspace may be there, but only as a real directory: the
// last sandbox could have put a link to somewhere else in its place.
func (e *Executor) makeDirs(spec executor.Spec) error {
	for _, name := range []string{"home", "tmp"} {
		if err := os.Mkdir(filepath.Join(e.sandboxDir(spec.ID), name), 0o700); err != nil && !errors.Is(err, os.ErrExist) {
			return err
		}
	}
	dir := e.workspaceDir(spec.Workspace)
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, os.ErrExist) {
		return err
	}
	info, err := os.Lstat(dir)
	if err != nil {
		return err
	}
	if !info.IsDir() {
		return fmt.Errorf("workspace %s is no directory any more; remove it", spec.Workspace)
	}
	return nil
}

// environment returns the main command's variables, and the value of PATH among them.
func (e *Executor) environment(spec executor.Spec) (env []string, path string) {
	path = defaultPath
	env = append(env, "PATH="+path)
	for _, name := range e.opts.InheritEnv {
		if value, ok := os.LookupEnv(name); ok {
			env = append(env, name+"="+value)
		}
	}
	env = append(env, spec.Env...)
	dir := e.sandboxDir(spec.ID)
	env = append(env,
		executor.EnvHome+"="+filepath.Join(dir, "home"),
		executor.EnvTempDir+"="+filepath.Join(dir, "tmp"),
		executor.EnvSandboxID+"="+spec.ID)
	env = lastOfEach(env)
	for _, entry := range env {
		if value, found := strings.CutPrefix(entry, "PATH="); found {
			path = value
		}
	}
	return env, path
}

// lastOfEach drops entries that a later one with the same name replaces: programs differ in which one they take.
func lastOfEach(env []string) []string {
	last := make(map[string]int, len(env))
	for i, entry := range env {
		name, _, _ := strings.Cut(entry, "=")
		last[name] = i
	}
	kept := env[:0:0]
	for i, entry := range env {
		if name, _, _ := strings.Cut(entry, "="); last[name] == i {
			kept = append(kept, entry)
		}
	}
	return kept
}

// runSupervisor starts a supervisor for j and returns when the main command runs. After an error the supervisor does
// not. It inherits the lock.
func runSupervisor(ctx context.Context, j job, lock *os.File) error {
	ours, theirs, err := socketPair()
	if err != nil {
		return err
	}
	defer ours.Close()
	cmd, err := startSupervisor(j.Sandbox, theirs, lock)
	theirs.Close()
	if err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { ours.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	if err = ask(ours, j); err == nil {
		go await(cmd) // ends with the supervisor, which is our child and has to be reaped
		return nil
	}
	// The command may run already. It dies with its supervisor, and discard finds by the mark what it has started.
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
	if ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	return err
}

func startSupervisor(dir string, control, lock *os.File) (*exec.Cmd, error) {
	log, err := os.OpenFile(filepath.Join(dir, "supervisor.log"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	// Not os.Executable: the file may have been replaced by a newer release, the link still leads to ours.
	cmd := exec.Command("/proc/self/exe")
	cmd.Args = []string{supervisorName, filepath.Base(dir)}
	cmd.Dir = "/"
	// It mostly sleeps. The second has a meaning in programs built with -race only, which else take a second to exit.
	cmd.Env = []string{"GOMAXPROCS=1", "GORACE=atexit_sleep_ms=0"}
	cmd.Stderr = log
	cmd.ExtraFiles = []*os.File{control, lock} // controlFD, lockFD
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	return cmd, cmd.Start()
}

// ask sends the job and waits for the supervisor's answer.
func ask(control *os.File, j job) error {
	if err := json.NewEncoder(control).Encode(j); err != nil {
		return fmt.Errorf("send job to supervisor: %w", err)
	}
	var answer reply
	if err := json.NewDecoder(control).Decode(&answer); err != nil {
		return fmt.Errorf("supervisor gave no answer: %w", err)
	}
	if answer.Error != "" {
		return errors.New(answer.Error)
	}
	return nil
}

// await reaps a supervisor when it has ended. It waits for that without a thread, which cmd.Wait alone would take.
func await(cmd *exec.Cmd) {
	if fd, err := unix.PidfdOpen(cmd.Process.Pid, unix.PIDFD_NONBLOCK); err == nil {
		pidfd := os.NewFile(uintptr(fd), "pidfd")
		_ = waitPidfd(context.Background(), pidfd)
		pidfd.Close()
	}
	_ = cmd.Wait()
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

// discard clears up after a start that failed. The caller has called change and holds the lock.
func (e *Executor) discard(ctx context.Context, id string) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanupPatience)
	defer cancel()
	s, err := e.handle(id)
	if errors.Is(err, os.ErrNotExist) {
		s, err = &sandbox{executor: e, id: id, dir: e.sandboxDir(id)}, nil
	}
	if err != nil {
		return err
	}
	return s.destroy(ctx)
}

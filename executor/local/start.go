//go:build linux

package local

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
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
	if err := spec.Supported(e.Capabilities()); err != nil {
		return nil, fmt.Errorf("start sandbox %s: %w", spec.ID, err)
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
	release, err := e.workspaces.Use(spec.Workspace)
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
			if errors.Is(err, errBadState) {
				return nil, e.stateless(id), nil
			}
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
	if e.isolate {
		j.View = e.view.with(spec, e.pathsOf(spec)...)
	}
	j.Isolation = j.View.String()
	if e.opts.Cgroup != "" {
		var err error
		j.Cgroup = filepath.Join(e.opts.Cgroup, spec.ID)
		if j.Enforced, err = makeCgroup(j.Cgroup, spec.Limits); err != nil {
			return nil, fmt.Errorf("cgroup: %w", err)
		}
	}
	if err := e.supervise(ctx, j, lock); err != nil {
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

// discard clears up after a start that failed. The caller has called change and holds the lock.
func (e *Executor) discard(ctx context.Context, id string) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanupPatience)
	defer cancel()
	s, err := e.handle(id)
	if errors.Is(err, os.ErrNotExist) {
		s, err = e.stateless(id), nil
	}
	if err != nil {
		return err
	}
	return s.destroy(ctx)
}

//go:build linux

package local

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/oz-platform/cloudagents/executor"
	"github.com/oz-platform/cloudagents/executor/internal/outlog"
	"github.com/oz-platform/cloudagents/executor/internal/tree"
)

// supervisorPatience is how long a supervisor may take to end its sandbox before it is killed itself. It gives up by
// itself after killPatience and drainPatience.
const supervisorPatience = killPatience + drainPatience + 3*time.Second

// sandbox implements executor.Sandbox. Executor keeps one per ID.
type sandbox struct {
	executor *Executor
	id       string
	dir      string
	state    state

	mu      sync.Mutex
	exit    *executor.Exit // once known
	removed bool
}

// ID implements executor.Sandbox.
func (s *sandbox) ID() string { return s.id }

// Dir implements executor.Sandbox. It is empty if the state is lost.
func (s *sandbox) Dir() string {
	if !s.started() {
		return ""
	}
	return s.executor.workspaceDir(s.state.Workspace)
}

// Limits implements executor.Sandbox.
func (s *sandbox) Limits() executor.Limits { return s.state.Enforced }

// Isolation implements executor.Isolated.
func (s *sandbox) Isolation() string { return cmp.Or(s.state.Isolation, executor.IsolationNone) }

// Output implements executor.Sandbox.
func (s *sandbox) Output(ctx context.Context) (io.ReadCloser, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if s.isRemoved() {
		return nil, fmt.Errorf("output of sandbox %s: %w", s.id, executor.ErrNotFound)
	}
	return outlog.NewReader(ctx, s.dir, outlog.NewLayout(s.state.Output), s.ended), nil
}

// Signal implements executor.Sandbox.
func (s *sandbox) Signal(ctx context.Context, sig os.Signal) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if !slices.Contains(forwarded, sig) {
		return fmt.Errorf("sandbox %s: %w: %v", s.id, executor.ErrUnsupportedSignal, sig)
	}
	if s.isRemoved() {
		return fmt.Errorf("signal sandbox %s: %w", s.id, executor.ErrNotFound)
	}
	err := s.state.Supervisor.signal(sig.(syscall.Signal))
	if err != nil && !errors.Is(err, errGone) {
		return fmt.Errorf("signal sandbox %s: %w", s.id, err)
	}
	return nil
}

// Wait implements executor.Sandbox.
func (s *sandbox) Wait(ctx context.Context) (executor.Exit, error) {
	if err := ctx.Err(); err != nil {
		return executor.Exit{}, err
	}
	if err := s.state.Supervisor.wait(ctx); err != nil {
		return executor.Exit{}, fmt.Errorf("wait for sandbox %s: %w", s.id, err)
	}
	exit, err := s.settle(ctx)
	if err != nil {
		return executor.Exit{}, fmt.Errorf("wait for sandbox %s: %w", s.id, err)
	}
	return exit, nil
}

// ended reports whether nothing of the sandbox is running or will write output.
func (s *sandbox) ended() bool {
	if _, err := readExit(s.dir); err == nil {
		return true
	}
	return !s.state.Supervisor.running()
}

// settle returns how a sandbox ended whose supervisor is gone. If the supervisor could not record it, what it left
// running is killed and the status is lost.
func (s *sandbox) settle(ctx context.Context) (executor.Exit, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.exit != nil {
		return *s.exit, nil
	}
	if s.removed {
		return executor.Exit{}, executor.ErrNotFound
	}
	exit, err := readExit(s.dir)
	if errors.Is(err, os.ErrNotExist) {
		if err := s.killOrphans(ctx); err != nil {
			return executor.Exit{}, err
		}
		exit, err = unknownExit, nil
		if s.started() {
			err = writeExit(s.dir, exit)
		}
	}
	if errors.Is(err, os.ErrNotExist) {
		return executor.Exit{}, executor.ErrNotFound // removed by another worker
	}
	if err != nil {
		return executor.Exit{}, err
	}
	s.exit = &exit
	return exit, nil
}

// killOrphans kills what a supervisor left running that was killed itself.
func (s *sandbox) killOrphans(ctx context.Context) error {
	if err := emptyCgroup(ctx, s.state.Cgroup); err != nil {
		return err
	}
	return killMarked(ctx, s.state.Mark)
}

// Stop implements executor.Sandbox.
func (s *sandbox) Stop(ctx context.Context, grace time.Duration) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if s.isRemoved() {
		return fmt.Errorf("stop sandbox %s: %w", s.id, executor.ErrNotFound)
	}
	if err := s.stop(ctx, grace); err != nil {
		return fmt.Errorf("stop sandbox %s: %w", s.id, err)
	}
	return nil
}

func (s *sandbox) stop(ctx context.Context, grace time.Duration) error {
	if grace > 0 {
		if err := s.terminate(ctx, grace); err != nil {
			return err
		}
	}
	if err := s.kill(ctx); err != nil {
		return err
	}
	_, err := s.settle(ctx)
	return err
}

// terminate asks politely and waits. That the time is up is no error.
func (s *sandbox) terminate(ctx context.Context, grace time.Duration) error {
	err := s.state.Supervisor.signal(unix.SIGTERM)
	if errors.Is(err, errGone) {
		return nil
	}
	if err != nil {
		return err
	}
	polite, cancel := context.WithTimeout(ctx, grace)
	defer cancel()
	if err := s.state.Supervisor.wait(polite); err != nil && polite.Err() == nil {
		return err
	}
	return ctx.Err()
}

// kill ends the sandbox and returns when its supervisor is gone.
func (s *sandbox) kill(ctx context.Context) error {
	supervisor := s.state.Supervisor
	patience, cancel := context.WithTimeout(ctx, supervisorPatience)
	defer cancel()
	// SIGCONT because someone may have stopped the supervisor.
	for _, sig := range []unix.Signal{signalKill, unix.SIGCONT} {
		if err := supervisor.signal(sig); errors.Is(err, errGone) {
			return nil
		} else if err != nil {
			return err
		}
	}
	if supervisor.wait(patience) == nil {
		return nil
	}
	if err := ctx.Err(); err != nil {
		return context.Cause(ctx)
	}
	if err := supervisor.signal(unix.SIGKILL); err != nil && !errors.Is(err, errGone) {
		return err
	}
	return supervisor.wait(ctx)
}

// Remove implements executor.Sandbox.
func (s *sandbox) Remove(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if s.isRemoved() {
		return nil
	}
	if err := s.remove(ctx); err != nil {
		return fmt.Errorf("remove sandbox %s: %w", s.id, err)
	}
	return nil
}

func (s *sandbox) remove(ctx context.Context) error {
	done, err := s.executor.change(ctx, s.id)
	if err != nil {
		return err
	}
	defer done()
	if !s.started() {
		// It could have been started since Open.
		if now, err := s.executor.handle(s.id); err == nil {
			s = now
		}
	}
	if err := s.kill(ctx); err != nil {
		return err
	}
	lock, err := s.lock(ctx)
	if errors.Is(err, executor.ErrNotFound) {
		s.markRemoved()
		return nil
	}
	if err != nil {
		return err
	}
	defer lock.Close()
	return s.destroy(ctx)
}

// started reports whether there is, or was, a supervisor.
func (s *sandbox) started() bool { return s.state.Supervisor.PID != 0 }

// lock waits for the lock of a sandbox. Who may hold it is a supervisor about to end.
func (s *sandbox) lock(ctx context.Context) (*os.File, error) {
	for {
		lock, err := s.executor.lockSandbox(s.id)
		if !errors.Is(err, unix.EWOULDBLOCK) {
			return lock, err
		}
		if err := pause(ctx, lockPoll); err != nil {
			return nil, err
		}
	}
}

// destroy deletes everything of a sandbox whose supervisor is gone. The state goes last, so that an interrupted removal
// is still a sandbox that has ended.
func (s *sandbox) destroy(ctx context.Context) error {
	// The status is kept for whoever waits.
	if _, err := s.settle(ctx); err != nil && !errors.Is(err, executor.ErrNotFound) {
		return err
	}
	if err := removeCgroup(ctx, s.cgroup()); err != nil {
		return err
	}
	entries, err := os.ReadDir(s.dir)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	for _, entry := range entries {
		if entry.Name() != stateFile {
			if err := tree.Remove(ctx, s.dir, entry.Name()); err != nil {
				return err
			}
		}
	}
	if err := tree.Remove(ctx, filepath.Dir(s.dir), s.id); err != nil {
		return err
	}
	s.markRemoved()
	return nil
}

// cgroup is the group of the sandbox, also of one whose Start was interrupted before it could write its name down.
func (s *sandbox) cgroup() string {
	if s.state.Cgroup == "" && s.executor.opts.Cgroup != "" {
		return filepath.Join(s.executor.opts.Cgroup, s.id)
	}
	return s.state.Cgroup
}

func (s *sandbox) isRemoved() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.removed
}

func (s *sandbox) markRemoved() {
	s.mu.Lock()
	s.removed = true
	s.mu.Unlock()
	s.executor.forget(s.id)
}

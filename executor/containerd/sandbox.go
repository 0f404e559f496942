//go:build linux

package containerd

import (
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

	ctd "github.com/containerd/containerd/v2/client"
	"github.com/containerd/errdefs"
	"go.uber.org/zap"

	"github.com/oz-platform/cloudagents/executor"
	"github.com/oz-platform/cloudagents/executor/containerd/pid1"
	"github.com/oz-platform/cloudagents/executor/internal/outlog"
	"github.com/oz-platform/cloudagents/executor/internal/tree"
)

// How long to wait before containerd is asked again.
const (
	minRetry = 20 * time.Millisecond
	maxRetry = time.Second
)

// sandbox implements executor.Sandbox. Executor keeps one per ID.
type sandbox struct {
	e     *Executor
	id    string
	state state
	done  chan struct{} // closed once the sandbox has ended and exit is set

	mu      sync.Mutex
	exit    executor.Exit
	removed bool
}

var (
	_ executor.Sandbox = (*sandbox)(nil)
	_ executor.Starter = (*sandbox)(nil)
	_ executor.Execer  = (*sandbox)(nil)
)

// ID implements executor.Sandbox.
func (s *sandbox) ID() string { return s.id }

// Dir implements executor.Sandbox.
func (s *sandbox) Dir() string { return workspacePath }

// Limits implements executor.Sandbox.
func (s *sandbox) Limits() executor.Limits { return s.state.Enforced }

// Isolation implements executor.Isolated.
func (s *sandbox) Isolation() string { return "container" }

// Origin implements executor.Starter.
func (s *sandbox) Origin() executor.Origin { return s.state.Origin }

// started reports whether the main command may have run.
func (s *sandbox) started() bool { return s.state.Version != 0 }

func (s *sandbox) ended() bool {
	select {
	case <-s.done:
		return true
	default:
		return false
	}
}

// Output implements executor.Sandbox.
func (s *sandbox) Output(ctx context.Context) (io.ReadCloser, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if s.isRemoved() || !s.started() {
		return nil, fmt.Errorf("output of sandbox %s: %w", s.id, executor.ErrNotFound)
	}
	return outlog.NewReader(ctx, filepath.Join(s.e.boxDir(s.state.Box), pid1.Log), outlog.NewLayout(s.state.Output), s.ended), nil
}

// Signal implements executor.Sandbox.
func (s *sandbox) Signal(ctx context.Context, sig os.Signal) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if !slices.Contains(pid1.Forwarded(), sig) {
		return fmt.Errorf("sandbox %s: %w: %v", s.id, executor.ErrUnsupportedSignal, sig)
	}
	if s.isRemoved() {
		return fmt.Errorf("signal sandbox %s: %w", s.id, executor.ErrNotFound)
	}
	if err := s.kill(ctx, sig.(syscall.Signal)); err != nil {
		return fmt.Errorf("signal sandbox %s: %w", s.id, err)
	}
	return nil
}

// kill signals the first process. One that has ended is no error.
func (s *sandbox) kill(ctx context.Context, sig syscall.Signal) error {
	if !s.started() {
		return nil
	}
	ctx = s.e.with(ctx)
	// A sandbox that ends meanwhile takes its shim away in the middle of the call: asking again tells that it is gone.
	for try := 1; ; try++ {
		if s.ended() {
			return nil
		}
		_, task, err := s.e.load(ctx, s.state.Box)
		if err == nil {
			err = task.Kill(ctx, sig)
		}
		if err == nil || errdefs.IsNotFound(err) {
			return nil
		}
		if try == deleteTries || ctx.Err() != nil {
			return err
		}
		if err := pause(ctx, minRetry<<try); err != nil {
			return err
		}
	}
}

// Wait implements executor.Sandbox.
func (s *sandbox) Wait(ctx context.Context) (executor.Exit, error) {
	if err := ctx.Err(); err != nil {
		return executor.Exit{}, err
	}
	if err := s.wait(ctx); err != nil {
		return executor.Exit{}, fmt.Errorf("wait for sandbox %s: %w", s.id, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.exit, nil
}

func (s *sandbox) wait(ctx context.Context) error {
	select {
	case <-s.done:
		return nil
	default:
	}
	select {
	case <-s.done:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-s.e.ctx.Done():
		return errClosed
	}
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
	if !s.started() {
		lock, err := s.e.lock(ctx, s.id)
		if errors.Is(err, executor.ErrNotFound) {
			return nil
		}
		if err != nil {
			return err
		}
		defer lock.Close()
		return s.discard(s.e.with(ctx))
	}
	if grace > 0 {
		if err := s.kill(ctx, syscall.SIGTERM); err != nil {
			return err
		}
		polite, cancel := context.WithTimeout(ctx, grace)
		err := s.wait(polite)
		cancel()
		if err == nil {
			return nil
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
	}
	if err := s.kill(ctx, syscall.SIGKILL); err != nil {
		return err
	}
	return s.wait(ctx)
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
	lock, err := s.e.lock(ctx, s.id)
	if errors.Is(err, executor.ErrNotFound) {
		s.markRemoved()
		return nil
	}
	if err != nil {
		return err
	}
	defer lock.Close()
	if st, err := readState(s.e.sandboxDir(s.id)); err == nil && s.started() && st.Box != s.state.Box {
		s.markRemoved() // by another worker, which has used the ID anew
		return nil
	}
	if s.started() {
		if err := s.kill(ctx, syscall.SIGKILL); err != nil {
			return err
		}
		if err := s.wait(ctx); err != nil { // the status is kept for whoever waits
			return err
		}
	}
	if err := s.discard(s.e.with(ctx)); err != nil {
		return err
	}
	if err := tree.Remove(ctx, filepath.Join(s.e.root, sandboxesDir), s.id); err != nil {
		return err
	}
	s.markRemoved()
	return nil
}

// discard removes the container, if there is one. The caller holds the lock.
func (s *sandbox) discard(ctx context.Context) error {
	if s.state.Box == "" {
		return nil
	}
	// Whether an interrupted Start got as far as the network is not known: disconnecting twice does no harm.
	return s.e.scrapNow(ctx, s.state.Box, s.state.Bridge || !s.started())
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
	s.e.forget(s)
}

// watch waits for the end of the sandbox, through restarts of containerd, and settles it. It ends with the Executor.
func (s *sandbox) watch(b *box) {
	ctx, cancel := context.WithCancel(s.e.ctx)
	defer cancel()
	var measured sync.WaitGroup
	if s.state.Enforced.Disk > 0 {
		measured.Go(func() { s.measure(ctx) })
	}
	exit, ok := s.awaitEnd(ctx, b)
	cancel()
	measured.Wait()
	if !ok {
		return
	}
	s.mu.Lock()
	s.exit = exit
	s.mu.Unlock()
	close(s.done)
}

// awaitEnd returns false when ctx ended first.
func (s *sandbox) awaitEnd(ctx context.Context, b *box) (executor.Exit, bool) {
	if b != nil { // its end is being waited for since before its start
		if exit, err := s.ending(ctx, b.task, b.exited); err == nil {
			return exit, true
		}
	}
	for delay := minRetry; ; delay = min(2*delay, maxRetry) {
		if exit, err := readExit(s.e.sandboxDir(s.id)); err == nil {
			return exit, true
		}
		exit, err := s.follow(ctx)
		if err == nil {
			return exit, true
		}
		if ctx.Err() != nil {
			return executor.Exit{}, false
		}
		s.e.opts.Logger.Warn("wait for a container", zap.String("sandbox", s.id), zap.Error(err))
		if pause(ctx, delay) != nil {
			return executor.Exit{}, false
		}
	}
}

// follow waits for the end of the task once. An error says that it is not known yet.
func (s *sandbox) follow(ctx context.Context) (executor.Exit, error) {
	_, task, err := s.e.load(ctx, s.state.Box)
	if errdefs.IsNotFound(err) {
		return s.settle(ctx, nil, -1)
	}
	if err != nil {
		return executor.Exit{}, err
	}
	exited, err := task.Wait(ctx)
	if errdefs.IsNotFound(err) {
		return s.settle(ctx, nil, -1)
	}
	if err != nil {
		return executor.Exit{}, err
	}
	return s.ending(ctx, task, exited)
}

// ending waits for the end of the task.
func (s *sandbox) ending(ctx context.Context, task ctd.Task, exited <-chan ctd.ExitStatus) (executor.Exit, error) {
	select {
	case status := <-exited:
		code, _, err := status.Result()
		if errdefs.IsNotFound(err) {
			return s.settle(ctx, nil, -1)
		}
		if err != nil { // containerd went away, or the container's shim
			return executor.Exit{}, err
		}
		return s.settle(ctx, task, int(code))
	case <-ctx.Done():
		return executor.Exit{}, context.Cause(ctx)
	}
}

// settle finds out how a sandbox ended whose processes are gone, writes it down, and lets go of what only a running one
// needs. code is the first process's, -1 when it is lost.
func (s *sandbox) settle(ctx context.Context, task ctd.Task, code int) (executor.Exit, error) {
	exit, err := pid1.ReadExit(s.e.boxDir(s.state.Box))
	switch {
	case err == nil:
	case code > 128:
		exit = executor.Exit{Code: code, Signal: syscall.Signal(code - 128)} // the first process was killed
	case code >= 0:
		exit = executor.Exit{Code: code}
	default:
		exit = unknownExit
	}
	exit.OOM = exit.Signal == syscall.SIGKILL && oomKills(s.e.cgroup(s.state.Box)) > 0
	if _, err := os.Lstat(filepath.Join(s.e.sandboxDir(s.id), fullFile)); err == nil && exit.Signal == syscall.SIGKILL {
		exit.Disk = true
	}
	err = writeFile(filepath.Join(s.e.sandboxDir(s.id), exitFile), exit)
	if err != nil && !errors.Is(err, os.ErrNotExist) { // not there: removed by another worker
		s.e.opts.Logger.Warn("keep an exit status", zap.String("sandbox", s.id), zap.Error(err))
	}
	if task != nil {
		// Not with ctx: containerd loses the shim of a task whose removal is cut off.
		deleting, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanupPatience)
		defer cancel()
		if _, err := task.Delete(deleting); err != nil && !errdefs.IsNotFound(err) {
			s.e.opts.Logger.Warn("remove an ended task", zap.String("sandbox", s.id), zap.Error(err))
		}
	}
	return exit, nil
}

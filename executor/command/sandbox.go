//go:build linux

package command

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sys/unix"

	"github.com/oz-platform/cloudagents/executor"
	"github.com/oz-platform/cloudagents/internal/proc"
	"github.com/oz-platform/cloudagents/task"
)

// sandbox is one execution that was handed over.
type sandbox struct {
	ex  *Executor
	id  string
	dir string
	// reopened says that an earlier process has started the dispatch command.
	reopened bool
	running  chan struct{} // closes when our dispatch command has ended; nil when reopened

	stopping chan struct{} // holds a token: one Stop, Remove or Reported at a time
	abort    chan struct{} // closes when the dispatch command is to be killed
	aborting sync.Once
	trimming sync.Mutex

	mu    sync.Mutex
	entry entry
	gone  bool
	ended chan struct{} // closes when the state is ended
}

var _ executor.Remote = (*sandbox)(nil)

// newSandbox makes the value for an entry. What launch does not start is reopened.
func newSandbox(e *Executor, en entry) *sandbox {
	s := &sandbox{ex: e, id: en.ID, dir: e.dir(en.ID), entry: en, stopping: make(chan struct{}, 1), abort: make(chan struct{}), ended: make(chan struct{})}
	if en.State == ended {
		close(s.ended)
	}
	return s
}

// ID implements executor.Sandbox.
func (s *sandbox) ID() string { return s.id }

// Dir implements executor.Sandbox: nobody here knows it.
func (s *sandbox) Dir() string { return "" }

// Limits implements executor.Sandbox: none is enforced here.
func (s *sandbox) Limits() executor.Limits { return executor.Limits{} }

// Signal implements executor.Sandbox: there is no process to be told.
func (s *sandbox) Signal(ctx context.Context, sig os.Signal) error {
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case s.removed():
		return fmt.Errorf("signal sandbox %s: %w", s.id, executor.ErrNotFound)
	case s.state() == ended:
		return nil
	}
	return fmt.Errorf("signal sandbox %s: %w: it runs elsewhere, stop it instead", s.id, executor.ErrUnsupportedSignal)
}

func (s *sandbox) state() state {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.entry.State
}

func (s *sandbox) removed() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.gone
}

func (s *sandbox) run() task.ID { return s.entry.RunID } // never changes

// left is how long the dispatch command may still take.
func (s *sandbox) left() time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.entry.Deadline.Sub(s.ex.opts.Clock.Now())
}

// change writes down a change of the entry. One that cannot be written counts nevertheless: this process knows better
// than the file, and a later one will learn the same.
func (s *sandbox) change(f func(*entry)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	before := s.entry.State
	f(&s.entry)
	if before == ended {
		s.entry.State = ended // for good
	}
	if !s.gone {
		if err := s.entry.save(s.dir); err != nil && !errors.Is(err, os.ErrNotExist) {
			s.ex.opts.Logger.Error("write the journal", zap.String("execution_id", s.id), zap.Error(err))
		}
	}
	if before != ended && s.entry.State == ended {
		close(s.ended)
	}
}

// dispatched takes note of how the dispatch command ended. Only a refusal owes no cancelling.
func (s *sandbox) dispatched(x executor.Exit) {
	s.change(func(e *entry) {
		switch {
		case e.State != dispatching:
		case x.Success():
			e.State = accepted
		default:
			e.State, e.Exit = ended, x
			e.Owed = e.Owed && (x.Unknown || x.Signal != 0)
		}
	})
}

// peek learns what can be learnt of a reopened sandbox without waiting.
func (s *sandbox) peek() {
	if code, ok := status(s.dir); ok && s.state() == dispatching {
		s.dispatched(executor.Exit{Code: code})
	}
}

// Reported implements executor.Remote.
func (s *sandbox) Reported(ctx context.Context) error {
	if err := s.acquire(ctx); err != nil {
		return err
	}
	defer s.release()
	if s.removed() {
		return nil
	}
	s.change(func(e *entry) {
		if e.State != ended {
			e.State, e.Exit = ended, executor.Exit{}
		}
		e.Owed = false
	})
	return nil
}

// Wait implements executor.Sandbox.
func (s *sandbox) Wait(ctx context.Context) (executor.Exit, error) {
	if err := ctx.Err(); err != nil {
		return executor.Exit{}, context.Cause(ctx)
	}
	if s.reopened && s.state() == dispatching {
		if err := s.awaitStatus(ctx); err != nil {
			return executor.Exit{}, err
		}
	}
	select {
	case <-s.ended:
	case <-s.ex.opts.Clock.After(s.lifetime()):
		s.note("nobody has ended this sandbox: it counts as lost")
		s.change(func(e *entry) {
			if e.State != ended {
				e.State, e.Exit = ended, executor.Exit{Code: -1, Unknown: true}
			}
		})
	case <-ctx.Done():
		return executor.Exit{}, context.Cause(ctx)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.entry.Exit, nil
}

// lifetime is how long the sandbox may still be there.
func (s *sandbox) lifetime() time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.entry.Expires.Sub(s.ex.opts.Clock.Now())
}

// Stop implements executor.Sandbox. There is nobody to be given grace: the cancel command has its own time.
func (s *sandbox) Stop(ctx context.Context, _ time.Duration) error {
	if err := s.acquire(ctx); err != nil {
		return err
	}
	defer s.release()
	if s.removed() {
		return fmt.Errorf("stop sandbox %s: %w", s.id, executor.ErrNotFound)
	}
	return s.stop(ctx)
}

// stop ends what may run. The caller holds the token.
func (s *sandbox) stop(ctx context.Context) error {
	if s.state() == dispatching {
		s.aborting.Do(func() { close(s.abort) })
		if err := s.settled(ctx); err != nil {
			return err
		}
	}
	if s.owes() {
		if err := s.cancel(ctx); err != nil && (ctx.Err() != nil || s.lifetime() > 0) {
			return fmt.Errorf("stop sandbox %s: %w", s.id, err)
		} else if err != nil {
			s.ex.opts.Logger.Warn("gave up cancelling", zap.String("execution_id", s.id), zap.String("task_id", string(s.run())), zap.Error(err))
		}
	}
	s.change(func(e *entry) {
		if e.State != ended {
			e.State, e.Exit = ended, executor.Exit{Code: 128 + int(unix.SIGTERM), Signal: unix.SIGTERM}
		}
		e.Owed = false
	})
	return nil
}

// settled waits until it is known how the dispatch command has ended.
func (s *sandbox) settled(ctx context.Context) error {
	if s.reopened {
		return s.awaitStatus(ctx)
	}
	select {
	case <-s.running:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (s *sandbox) owes() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.entry.Owed
}

// Remove implements executor.Sandbox.
func (s *sandbox) Remove(ctx context.Context) error {
	if err := s.acquire(ctx); err != nil {
		return err
	}
	defer s.release()
	if s.removed() {
		return nil
	}
	if err := s.stop(ctx); err != nil {
		return err
	}
	if err := s.quiet(ctx); err != nil {
		return fmt.Errorf("remove sandbox %s: %w", s.id, err)
	}
	s.ex.starting.Lock()
	defer s.ex.starting.Unlock()
	if err := os.RemoveAll(s.dir); err != nil {
		return fmt.Errorf("remove sandbox %s: %w", s.id, err)
	}
	s.mu.Lock()
	s.gone = true
	s.mu.Unlock()
	s.ex.forget(s.id)
	return nil
}

// quiet ends a dispatch command that still runs although the agent has reported already.
func (s *sandbox) quiet(ctx context.Context) error {
	s.aborting.Do(func() { close(s.abort) })
	if s.reopened {
		if _, ok := status(s.dir); !ok {
			proc.KillMarked(executor.EnvSandboxID, s.id)
		}
		return nil
	}
	select {
	case <-s.running:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// acquire takes the token.
func (s *sandbox) acquire(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return context.Cause(ctx)
	}
	select {
	case s.stopping <- struct{}{}:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (s *sandbox) release() { <-s.stopping }

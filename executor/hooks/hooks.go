package hooks

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/oz-platform/cloudagents/executor"
	"github.com/oz-platform/cloudagents/internal/proc"
)

const (
	defaultTeardownTimeout = 5 * time.Minute
	// teardownOutput is how much of what a failed teardown command printed is logged, in bytes.
	teardownOutput = 4 << 10
)

// ownKeys are the variables that hold the worker's own credential.
var ownKeys = []string{"WARP_API_KEY", "OZ_API_KEY", "OZ_BOOTSTRAP_API_KEY"}

// Options holds what an Executor can do without. The zero value changes nothing.
type Options struct {
	// Setup is a shell command that runs before the agent. Default: none.
	Setup string

	// Teardown is a shell command that runs after the agent. Default: none.
	Teardown string

	// TeardownTimeout is how long a teardown command may take; then it is killed with all it has started. Default 5 min.
	TeardownTimeout time.Duration

	// Dir is an existing directory in which every agent works, instead of a workspace of its run's own. Runs at the same
	// time are in each other's way there. Nothing in it is ever removed. Default: the workspace.
	Dir string

	// KeepWorkspaces leaves workspaces where they are, and runs no teardown command.
	KeepWorkspaces bool

	// Backend is the value of OZ_WORKER_BACKEND. Default "direct".
	Backend string

	// Logger receives what nobody is there to return to. Default: none.
	Logger *zap.Logger
}

// Executor is an executor.Executor with commands around its sandboxes. See the package comment.
type Executor struct {
	executor.Executor
	root string
	opts Options
	self string

	mu       sync.Mutex
	settling map[string]chan struct{} // by sandbox: its teardown command runs; closed when that is over
}

var (
	_ executor.Executor = (*Executor)(nil)
	_ executor.Capable  = (*Executor)(nil)
)

// New returns an Executor over inner, which must give its sandboxes to nobody else. What it must remember is below root,
// which is made if missing. opts may be nil. The program's main must call Main.
func New(inner executor.Executor, root string, opts *Options) (*Executor, error) {
	if opts == nil {
		opts = &Options{}
	}
	o := *opts
	o.TeardownTimeout = cmp.Or(o.TeardownTimeout, defaultTeardownTimeout)
	o.Backend = cmp.Or(o.Backend, "direct")
	if o.Logger == nil {
		o.Logger = zap.NewNop()
	}
	if o.TeardownTimeout < 0 {
		return nil, errors.New("hooks: TeardownTimeout may not be negative")
	}
	if o.Dir != "" {
		info, err := os.Stat(o.Dir)
		switch {
		case err != nil:
			return nil, fmt.Errorf("hooks: Dir: %w", err)
		case !info.IsDir() || !filepath.IsAbs(o.Dir):
			return nil, fmt.Errorf("hooks: Dir: %s must be a directory, by its absolute path", o.Dir)
		}
	}
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("hooks: find this executable: %w", err)
	}
	if root, err = filepath.Abs(root); err == nil {
		err = os.MkdirAll(root, 0o700)
	}
	if err != nil {
		return nil, fmt.Errorf("hooks: %w", err)
	}
	return &Executor{Executor: inner, root: root, opts: o, self: self, settling: map[string]chan struct{}{}}, nil
}

// Capabilities implements executor.Capable: they are those of the Executor within.
func (e *Executor) Capabilities() executor.Capabilities { return executor.CapabilitiesOf(e.Executor) }

// Start implements executor.Executor.
func (e *Executor) Start(ctx context.Context, spec executor.Spec) (executor.Sandbox, error) {
	if err := spec.Validate(); err != nil {
		return nil, err
	}
	wrapped := spec
	if e.opts.Setup != "" || e.opts.Dir != "" {
		job, err := json.Marshal(job{Setup: e.opts.Setup, Dir: e.opts.Dir, Run: spec.Workspace, Backend: e.opts.Backend})
		if err != nil {
			return nil, fmt.Errorf("start sandbox %s: %w", spec.ID, err)
		}
		wrapped.Command = append([]string{e.self, invocation}, spec.Command...)
		wrapped.Env = append(slices.Clone(spec.Env), jobVariable+"="+string(job))
	}
	if e.teardown() {
		if err := e.owe(spec.ID, spec.Workspace); err != nil {
			return nil, fmt.Errorf("start sandbox %s: note the teardown command: %w", spec.ID, err)
		}
	}
	s, err := e.Executor.Start(ctx, wrapped)
	if err != nil {
		if _, gone := e.Executor.Open(context.WithoutCancel(ctx), spec.ID); errors.Is(gone, executor.ErrNotFound) {
			_ = os.Remove(e.note(spec.ID)) // nothing has run
		}
		return nil, err
	}
	return e.wrap(s), nil
}

// Open implements executor.Executor.
func (e *Executor) Open(ctx context.Context, id string) (executor.Sandbox, error) {
	s, err := e.Executor.Open(ctx, id)
	if err != nil {
		return nil, err
	}
	return e.wrap(s), nil
}

// Workspaces implements executor.Executor.
func (e *Executor) Workspaces(ctx context.Context) ([]string, error) {
	if e.opts.KeepWorkspaces {
		return nil, ctx.Err()
	}
	return e.Executor.Workspaces(ctx)
}

// RemoveWorkspace implements executor.Executor. What is to be kept is kept.
func (e *Executor) RemoveWorkspace(ctx context.Context, key string) error {
	if e.opts.KeepWorkspaces {
		return errors.Join(ctx.Err(), executor.ValidateName("workspace", key))
	}
	return e.Executor.RemoveWorkspace(ctx, key)
}

func (e *Executor) teardown() bool { return e.opts.Teardown != "" && !e.opts.KeepWorkspaces }

func (e *Executor) wrap(s executor.Sandbox) executor.Sandbox { return &sandbox{Sandbox: s, ex: e} }

func (e *Executor) note(id string) string { return filepath.Join(e.root, id) }

// owe writes down that a teardown command is owed. The file holds the run.
func (e *Executor) owe(id, run string) error {
	f, err := os.OpenFile(e.note(id), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, os.ErrExist) {
		return nil // a second Start, or one that was interrupted
	}
	if err != nil {
		return err
	}
	_, err = f.WriteString(run)
	return errors.Join(err, f.Sync(), f.Close())
}

// sandbox owes a teardown command.
type sandbox struct {
	executor.Sandbox
	ex *Executor
}

var _ executor.Starter = (*sandbox)(nil)

// Origin implements executor.Starter.
func (s *sandbox) Origin() executor.Origin { return executor.OriginOf(s.Sandbox) }

// Isolation implements executor.Isolated.
func (s *sandbox) Isolation() string { return executor.IsolationOf(s.Sandbox) }

// Dir implements executor.Sandbox.
func (s *sandbox) Dir() string { return cmp.Or(s.ex.opts.Dir, s.Sandbox.Dir()) }

// Remove implements executor.Sandbox: the teardown command comes between the end of the processes and the rest.
func (s *sandbox) Remove(ctx context.Context) error {
	if err := s.Stop(ctx, 0); err != nil && !errors.Is(err, executor.ErrNotFound) {
		return err
	}
	if err := s.ex.settle(ctx, s.ID(), s.Dir()); err != nil {
		return fmt.Errorf("remove sandbox %s: %w", s.ID(), err)
	}
	return s.Sandbox.Remove(ctx)
}

// turn waits until no other call settles the sandbox, and keeps them away until done is called.
func (e *Executor) turn(ctx context.Context, id string) (done func(), err error) {
	ours := make(chan struct{})
	for {
		e.mu.Lock()
		other := e.settling[id]
		if other == nil {
			e.settling[id] = ours
			e.mu.Unlock()
			return func() {
				e.mu.Lock()
				delete(e.settling, id)
				e.mu.Unlock()
				close(ours)
			}, nil
		}
		e.mu.Unlock()
		select {
		case <-other:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

// settle runs a teardown command that is owed.
func (e *Executor) settle(ctx context.Context, id, dir string) error {
	done, err := e.turn(ctx, id)
	if err != nil {
		return err
	}
	defer done()
	raw, err := os.ReadFile(e.note(id))
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if run := string(raw); run != "" && e.teardown() && dir != "" {
		if err := e.runTeardown(ctx, run, id, dir); err != nil {
			e.opts.Logger.Error("teardown command", zap.String("task_id", run), zap.String("execution_id", id), zap.Error(err))
		}
	}
	if err := os.Remove(e.note(id)); !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}

// runTeardown runs the teardown command, with its own time, whatever becomes of the caller.
func (e *Executor) runTeardown(ctx context.Context, run, id, dir string) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), e.opts.TeardownTimeout)
	defer cancel()
	tail := proc.Tail{Limit: teardownOutput}
	cmd := shell(ctx, e.opts.Teardown)
	cmd.Dir, cmd.Stdout, cmd.Stderr = dir, &tail, &tail
	mark := id + "-teardown"
	cmd.Env = append(inherited(), "OZ_WORKSPACE_ROOT="+dir, "GIT_CONFIG_GLOBAL="+filepath.Join(dir, ".gitconfig"),
		"OZ_WORKER_BACKEND="+e.opts.Backend, "OZ_RUN_ID="+run, executor.EnvSandboxID+"="+mark)
	proc.Group(cmd)
	err := proc.RunBound(cmd) // the next worker begins again, and must not meet this one
	proc.KillMarked(executor.EnvSandboxID, mark)
	if err != nil && ctx.Err() != nil {
		return fmt.Errorf("killed after %s; it printed %q", e.opts.TeardownTimeout, tail.String())
	}
	if err != nil {
		return fmt.Errorf("%w; it printed %q", err, tail.String())
	}
	return nil
}

// inherited is this process's environment without its own keys.
func inherited() []string {
	return slices.DeleteFunc(os.Environ(), func(v string) bool {
		name, _, _ := strings.Cut(v, "=")
		return slices.Contains(ownKeys, name)
	})
}

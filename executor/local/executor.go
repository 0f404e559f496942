//go:build linux

package local

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"github.com/oz-platform/cloudagents/executor"
	"github.com/oz-platform/cloudagents/executor/internal/outlog"
	"github.com/oz-platform/cloudagents/executor/internal/tree"
	"github.com/oz-platform/cloudagents/executor/internal/workspaces"
)

const (
	defaultOutputLimit = 64 << 20

	sandboxesDir  = "sandboxes"
	workspacesDir = "workspaces"
)

// Options holds what an Executor can do without. The zero value is ready to use.
type Options struct {
	// OutputLimit is the most that one sandbox's output may take on disk, in bytes. Default 64 MiB, at least 64 KiB.
	OutputLimit int64

	// InheritEnv names the variables that sandboxes inherit from this process where a Spec has no value of its own.
	// Default PATH, LANG, LANGUAGE, LC_ALL, LC_CTYPE, TZ, SSL_CERT_FILE and SSL_CERT_DIR. An empty, non-nil list
	// inherits nothing; PATH then has the system's default value.
	InheritEnv []string

	// Cgroup is the path of a cgroup v2 directory that this process may manage, such as a unit's own with
	// Delegate=yes, and in which no process is. Each sandbox gets a group below it, which makes Limits.Memory,
	// Processes and CPUs hold (as far as the controllers are there) and killing atomic. Default none.
	Cgroup string

	// Isolation says whether sandboxes get namespaces of their own. Default IsolationAuto.
	Isolation Isolation

	// Hide are files and directories of the host that isolated sandboxes do not see, besides the Executor's own root: the
	// server's data and its configuration. Absolute; one that is missing or out of reach is no error. Default none.
	Hide []string

	// Visible are parts of what is hidden that all isolated sandboxes see and may write to: caches that they share. This
	// program's file and a sandbox's own directories are always visible. Absolute; one that is missing when a sandbox
	// starts is left out. Default none.
	Visible []string
}

func (o *Options) withDefaults() (Options, error) {
	var opts Options
	if o != nil {
		opts = *o
	}
	opts.OutputLimit = cmp.Or(opts.OutputLimit, defaultOutputLimit)
	if opts.OutputLimit < outlog.MinLimit {
		return opts, fmt.Errorf("local executor: OutputLimit is %d bytes, must be at least %d", opts.OutputLimit, outlog.MinLimit)
	}
	opts.Isolation = cmp.Or(opts.Isolation, IsolationAuto)
	if !opts.Isolation.valid() {
		return opts, fmt.Errorf("local executor: Isolation: %q is none of auto, require, off", opts.Isolation)
	}
	if opts.InheritEnv == nil {
		opts.InheritEnv = []string{"PATH", "LANG", "LANGUAGE", "LC_ALL", "LC_CTYPE", "TZ", "SSL_CERT_FILE", "SSL_CERT_DIR"}
	}
	opts.InheritEnv = slices.Clone(opts.InheritEnv)
	if opts.Cgroup != "" {
		if err := checkCgroup(opts.Cgroup); err != nil {
			return opts, fmt.Errorf("local executor: Cgroup: %w", err)
		}
	}
	return opts, nil
}

// Executor runs sandboxes as processes of this host. See the package comment.
type Executor struct {
	root       string
	opts       Options
	workspaces *workspaces.Workspaces

	mu       sync.Mutex
	known    map[string]*sandbox      // by ID: what Start and Open returned and Remove has not removed
	changing map[string]chan struct{} // by ID: being started, found or removed; closed when that is done
	reserve  *helper                  // nil: none
	spawning sync.Mutex               // held while an isolated helper is started

	// Settled by New.
	isolate bool
	view    view   // of isolated sandboxes
	why     string // they are not isolated
}

var (
	_ executor.Executor = (*Executor)(nil)
	_ executor.Capable  = (*Executor)(nil)
)

// New returns an Executor that keeps its sandboxes and workspaces below root, which is made if missing. Unless isolation is
// off it runs a child that tries what isolation needs, which takes as long as a start. opts may be nil.
//
// root must belong to this process's user and be writable by no one else, and the directories above it must not allow
// others to replace it. New fails if main has not called Supervise.
func New(root string, opts *Options) (*Executor, error) {
	if !supervising.Load() {
		return nil, errors.New("local executor: main must call local.Supervise before anything else, " +
			"since sandboxes are supervised by a second process of this program")
	}
	o, err := opts.withDefaults()
	if err != nil {
		return nil, err
	}
	root, err = tree.PrepareRoot(root, sandboxesDir, workspacesDir)
	if err != nil {
		return nil, fmt.Errorf("local executor: %w", err)
	}
	e := &Executor{
		root: root, opts: o, workspaces: workspaces.New(filepath.Join(root, workspacesDir)),
		known: map[string]*sandbox{}, changing: map[string]chan struct{}{},
	}
	if err := e.decide(); err != nil {
		return nil, err
	}
	return e, nil
}

// Capabilities implements executor.Capable: sandboxes are processes of the host, with the host's
// files, user and network, or with isolation none.
func (e *Executor) Capabilities() executor.Capabilities {
	networks := []executor.NetworkMode{executor.NetworkHost}
	if e.isolate {
		networks = append(networks, executor.NetworkNone)
	}
	return executor.Capabilities{Networks: networks}
}

// Open implements executor.Executor.
func (e *Executor) Open(ctx context.Context, id string) (executor.Sandbox, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if err := executor.ValidateName("ID", id); err != nil {
		return nil, err
	}
	s, err := e.find(ctx, id)
	if err != nil {
		return nil, fmt.Errorf("open sandbox %s: %w", id, err)
	}
	return s, nil
}

// find returns a sandbox that exists, after whatever is being done to it.
func (e *Executor) find(ctx context.Context, id string) (*sandbox, error) {
	done, err := e.change(ctx, id)
	if err != nil {
		return nil, err
	}
	defer done()
	lock, s, err := e.claim(ctx, id)
	if lock != nil {
		// A Start was interrupted before it came to anything.
		lock.Close()
		return e.stateless(id), nil
	}
	return s, err
}

// stateless returns a sandbox of which nothing is known but that no one takes care of it.
func (e *Executor) stateless(id string) *sandbox {
	return &sandbox{executor: e, id: id, dir: e.sandboxDir(id)}
}

// change waits until no other call starts, finds or removes the sandbox, and keeps them away until done is called.
func (e *Executor) change(ctx context.Context, id string) (done func(), err error) {
	for {
		e.mu.Lock()
		other := e.changing[id]
		if other == nil {
			break
		}
		e.mu.Unlock()
		select {
		case <-other:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
	defer e.mu.Unlock()
	ours := make(chan struct{})
	e.changing[id] = ours
	return func() {
		e.mu.Lock()
		defer e.mu.Unlock()
		delete(e.changing, id)
		close(ours)
	}, nil
}

// handle returns the one sandbox value of this process for a sandbox that was started. It fails with os.ErrNotExist if
// there is no state.
func (e *Executor) handle(id string) (*sandbox, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	dir := e.sandboxDir(id)
	st, err := readState(dir)
	if err != nil {
		delete(e.known, id)
		return nil, err
	}
	// Another worker may have removed the sandbox, and even started one with the same ID.
	if s := e.known[id]; s != nil && s.state == st {
		return s, nil
	}
	s := &sandbox{executor: e, id: id, dir: dir, state: st}
	e.known[id] = s
	return s, nil
}

// List implements executor.Executor.
func (e *Executor) List(ctx context.Context) ([]string, error) {
	return workspaces.Names(ctx, filepath.Join(e.root, sandboxesDir))
}

// Workspaces implements executor.Executor.
func (e *Executor) Workspaces(ctx context.Context) ([]string, error) { return e.workspaces.Names(ctx) }

// RemoveWorkspace implements executor.Executor.
func (e *Executor) RemoveWorkspace(ctx context.Context, key string) error {
	return e.workspaces.Remove(ctx, key, e.checkUnused)
}

// checkUnused fails with ErrInUse if a sandbox that has not ended works in the workspace.
func (e *Executor) checkUnused(ctx context.Context, key string) error {
	ids, err := e.List(ctx)
	if err != nil {
		return err
	}
	for _, id := range ids {
		s, err := e.handle(id)
		if errors.Is(err, os.ErrNotExist) || errors.Is(err, errBadState) {
			continue // never ran, removed since, or lost with its machine
		}
		if err != nil {
			return err
		}
		if s.state.Workspace == key && !s.ended() {
			return fmt.Errorf("%w by sandbox %s; stop it first", executor.ErrInUse, id)
		}
	}
	return nil
}

func (e *Executor) forget(id string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	delete(e.known, id)
}

func (e *Executor) sandboxDir(id string) string    { return filepath.Join(e.root, sandboxesDir, id) }
func (e *Executor) workspaceDir(key string) string { return filepath.Join(e.root, workspacesDir, key) }

//go:build linux

package containerd

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"time"

	ctd "github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/core/remotes/docker"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/containerd/errdefs"
	"github.com/containerd/log"
	"github.com/sirupsen/logrus"
	"go.uber.org/zap"

	"github.com/oz-platform/cloudagents/executor"
	"github.com/oz-platform/cloudagents/executor/containerd/pid1"
	"github.com/oz-platform/cloudagents/executor/internal/tree"
	"github.com/oz-platform/cloudagents/executor/internal/workspaces"
)

const (
	sandboxesDir  = "sandboxes"
	workspacesDir = "workspaces"
	boxesDir      = "boxes"
	networkDir    = "network"

	ownDir        = pid1.Dir
	workspacePath = "/workspace"

	// dialPatience bounds the first answer of containerd.
	dialPatience = 10 * time.Second

	// labels of containers and snapshots.
	labelOwner   = "oz.executor"
	labelSandbox = "oz.sandbox"
	labelUser    = "oz.label."
)

// Executor runs sandboxes as containers. See the package comment.
type Executor struct {
	root       string
	ns         string
	opts       Options
	client     *ctd.Client
	images     images
	net        *bridge
	workspaces *workspaces.Workspaces

	ctx    context.Context // of the goroutines that watch sandboxes, see Close
	cancel context.CancelFunc
	group  sync.WaitGroup

	mu        sync.Mutex
	closed    bool
	known     map[string]*sandbox // by ID
	sn        string              // containerd's own snapshotter, once asked for
	diskDir   *string             // a directory on its disk, once asked for
	preparing preparer
	made      map[string]bool // containers of ours, also such as no state names

	pool pool

	warmTidy sync.Mutex // one at a time removes kept states
}

var (
	_ executor.Executor = (*Executor)(nil)
	_ executor.Capable  = (*Executor)(nil)
)

// Open connects to containerd and returns an Executor that keeps its sandboxes and workspaces below root, which is made
// if missing. It removes what an earlier process has left half-made. The caller closes it. opts may be nil.
//
// root must be writable by root alone, and the directories above it must not allow others to replace it.
func Open(ctx context.Context, root string, opts *Options) (*Executor, error) {
	e, err := open(ctx, root, opts)
	if err != nil {
		return nil, fmt.Errorf("containerd executor: %w", err)
	}
	return e, nil
}

func open(ctx context.Context, root string, opts *Options) (*Executor, error) {
	if os.Geteuid() != 0 {
		return nil, errors.New("needs root: it makes mounts and control groups and looks at their processes")
	}
	o, err := opts.withDefaults()
	if err != nil {
		return nil, err
	}
	if root, err = tree.PrepareRoot(root, sandboxesDir, workspacesDir, boxesDir, networkDir, warmDir); err != nil {
		return nil, err
	}
	ns := cmp.Or(o.Namespace, namespaceOf(root))
	client, err := ctd.New(o.Address, ctd.WithDefaultNamespace(ns), ctd.WithTimeout(dialPatience))
	if err != nil {
		return nil, fmt.Errorf("connect to containerd at %s: %w", o.Address, err)
	}
	e := &Executor{root: root, ns: ns, opts: o, client: client, workspaces: workspaces.New(filepath.Join(root, workspacesDir)), known: map[string]*sandbox{}, made: map[string]bool{}}
	e.preparing = preparer{under: map[string]bool{}, failed: map[string]time.Time{}, turn: make(chan struct{}, 1)}
	e.pool = pool{wake: make(chan struct{}, 1), kinds: map[string]*kind{}}
	e.ctx, e.cancel = context.WithCancel(e.with(context.Background()))
	e.images = images{client: client, http: &http.Client{Transport: docker.DefaultHTTPTransport(nil)}, lock: filepath.Join(root, "pull.lock"), opts: &e.opts, minUnused: minUnused}
	e.net = newBridge(filepath.Join(root, networkDir), ns, &e.opts)
	if err := e.begin(ctx); err != nil {
		return nil, errors.Join(err, e.Close())
	}
	return e, nil
}

// namespaceOf is the default namespace.
func namespaceOf(root string) string {
	sum := sha256.Sum256([]byte(root))
	return "oz-" + hex.EncodeToString(sum[:6])
}

// begin asks whether containerd is there, and clears up.
func (e *Executor) begin(ctx context.Context) error {
	ctx = e.with(ctx)
	quick, cancel := context.WithTimeout(ctx, dialPatience)
	defer cancel()
	if _, err := e.client.Version(quick); err != nil {
		return fmt.Errorf("no answer from containerd at %s; is it running, and may this process use it: %w", e.opts.Address, err)
	}
	// After many leftovers the rest is for keepSwept.
	sweeping, cancel := context.WithTimeout(ctx, cleanupPatience)
	defer cancel()
	if err := e.sweep(sweeping); err != nil {
		return err
	}
	pulls, cancel := context.WithTimeout(ctx, cleanupPatience)
	defer cancel()
	if err := e.sweepPulls(pulls); err != nil {
		return fmt.Errorf("look for leftovers: %w", err)
	}
	// After the containers, which may stand on states. What is left over there stands in nobody's way.
	if err := errors.Join(e.tidyWarm(ctx), e.sweepWorkspaces(ctx)); err != nil {
		if ctx.Err() != nil {
			return err
		}
		e.opts.Logger.Warn("remove what is left of kept states", zap.Error(err))
	}
	e.goes(e.keepSwept)
	if e.opts.ImageAge > 0 || e.opts.ImageDisk > 0 {
		e.goes(e.keepPruned)
	}
	if e.opts.PoolSize > 0 {
		e.goes(e.keepReady)
	}
	return nil
}

// with gives ctx the namespace, and containerd's client nothing to print on: what it has to say is in its errors.
func (e *Executor) with(ctx context.Context) context.Context {
	silent := logrus.New()
	silent.SetOutput(io.Discard)
	return log.WithLogger(namespaces.WithNamespace(ctx, e.ns), logrus.NewEntry(silent))
}

// Close ends what the Executor does in the background, and removes the sandboxes that stand ready. Those that run go on
// running. A Wait under way fails.
func (e *Executor) Close() error {
	e.mu.Lock()
	e.closed = true
	e.mu.Unlock()
	e.cancel()
	e.group.Wait()
	e.images.http.CloseIdleConnections()
	return e.client.Close()
}

// goes starts a goroutine that Close waits for. It does nothing after Close.
func (e *Executor) goes(f func()) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed {
		return false
	}
	e.group.Go(f)
	return true
}

// Capabilities implements executor.Capable.
func (e *Executor) Capabilities() executor.Capabilities {
	return executor.Capabilities{
		Images: true, Mounts: true, Users: true, Exec: true, OwnFiles: true, Warm: e.opts.WarmStates > 0,
		Networks: []executor.NetworkMode{executor.NetworkHost, executor.NetworkNone, executor.NetworkBridge},
	}
}

// Import takes images from an archive, as "docker save" or an OCI layout in a tar file, and returns their names, which
// Spec.Image then finds without a registry.
func (e *Executor) Import(ctx context.Context, archive io.Reader) ([]string, error) {
	ctx = e.with(ctx)
	var names []string
	err := e.room(ctx)
	if err == nil {
		names, err = e.images.load(ctx, archive)
	}
	if err != nil {
		return nil, fmt.Errorf("containerd executor: import images: %w", err)
	}
	return names, nil
}

// Pull makes sure that an image is here, and its files unpacked, so that a Start need not wait for it.
func (e *Executor) Pull(ctx context.Context, image executor.Image) error {
	ctx = e.with(ctx)
	if err := e.room(ctx); err != nil {
		return fmt.Errorf("pull image %s: %w", image.Reference, err)
	}
	_, err := e.images.get(ctx, image)
	return err
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
	lock, err := e.lock(ctx, id)
	if err != nil {
		return nil, err
	}
	defer lock.Close()
	return e.handle(id)
}

// handle returns the one sandbox value of this process. The caller holds the lock.
func (e *Executor) handle(id string) (*sandbox, error) {
	st, err := readState(e.sandboxDir(id))
	if errors.Is(err, os.ErrNotExist) || errors.Is(err, errBadState) || err == nil && !pid1.Started(e.boxDir(st.Box)) {
		// A Start was interrupted before the main command could run.
		return &sandbox{e: e, id: id, state: state{Box: st.Box}, done: closedChan(), exit: unknownExit}, nil
	}
	if err != nil {
		return nil, err
	}
	return e.take(id, st, nil)
}

// take makes the handle of a sandbox that was started, and has it watched. b is its container, where we have just made
// it.
func (e *Executor) take(id string, st state, b *box) (*sandbox, error) {
	e.mu.Lock()
	s := e.known[id]
	if s != nil && s.state.Box == st.Box {
		e.mu.Unlock()
		return s, nil
	}
	s = &sandbox{e: e, id: id, state: st, done: make(chan struct{})}
	e.known[id] = s
	e.mu.Unlock()
	if !e.goes(func() { s.watch(b) }) {
		return nil, errClosed
	}
	return s, nil
}

func (e *Executor) forget(s *sandbox) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.known[s.id] == s {
		delete(e.known, s.id)
	}
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
		st, err := readState(e.sandboxDir(id))
		if errors.Is(err, os.ErrNotExist) || errors.Is(err, errBadState) {
			continue // never ran, or removed since
		}
		if err != nil {
			return err
		}
		if st.Workspace != key {
			continue
		}
		running, err := e.running(e.with(ctx), id, st)
		if err != nil {
			return err
		}
		if running {
			return fmt.Errorf("%w by sandbox %s; stop it first", executor.ErrInUse, id)
		}
	}
	return nil
}

// running asks containerd, since nobody may be watching.
func (e *Executor) running(ctx context.Context, id string, st state) (bool, error) {
	if _, err := readExit(e.sandboxDir(id)); err == nil {
		return false, nil
	}
	_, task, err := e.load(ctx, st.Box)
	if errdefs.IsNotFound(err) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	status, err := task.Status(ctx)
	if errdefs.IsNotFound(err) {
		return false, nil
	}
	return err == nil && status.Status != ctd.Stopped, err
}

// load finds a container and its task. It fails with what errdefs.IsNotFound tells if either is gone; the container is
// returned if it is there.
func (e *Executor) load(ctx context.Context, box string) (ctd.Container, ctd.Task, error) {
	c, err := e.client.LoadContainer(ctx, box)
	if err != nil {
		return nil, nil, err
	}
	t, err := c.Task(ctx, nil)
	return c, t, err
}

func (e *Executor) sandboxDir(id string) string    { return filepath.Join(e.root, sandboxesDir, id) }
func (e *Executor) workspaceDir(key string) string { return filepath.Join(e.root, workspacesDir, key) }
func (e *Executor) boxDir(name string) string      { return filepath.Join(e.root, boxesDir, name) }

func closedChan() chan struct{} {
	c := make(chan struct{})
	close(c)
	return c
}

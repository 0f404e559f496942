//go:build linux

package containerd

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/containerd/errdefs"
	"go.uber.org/zap"

	"github.com/oz-platform/cloudagents/executor"
	"github.com/oz-platform/cloudagents/executor/containerd/pid1"
	"github.com/oz-platform/cloudagents/executor/internal/tree"
)

// cleanupPatience bounds the clearing up after something failed.
const cleanupPatience = 30 * time.Second

// Start implements executor.Executor. A missing image is pulled first, for as long as ctx allows.
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
	s, err := e.start(e.with(ctx), spec)
	if err != nil {
		return nil, fmt.Errorf("start sandbox %s: %w", spec.ID, plainError(err))
	}
	return s, nil
}

// plainError makes the ends of contexts that come back from containerd those of package context.
func plainError(err error) error {
	for _, end := range []error{context.DeadlineExceeded, context.Canceled} {
		if contextEnd(err) == end && !errors.Is(err, end) {
			return fmt.Errorf("%w: %w", end, err)
		}
	}
	return err
}

// contextEnd tells of which end of a context an error of containerd's client speaks; nil for others. Not all of its calls
// translate the errors of gRPC, and shims say of a call that was cut off only what it was, so the text is looked at too.
func contextEnd(err error) error {
	switch {
	case err == nil:
		return nil
	case errdefs.IsDeadlineExceeded(err), strings.Contains(err.Error(), "code = DeadlineExceeded"),
		strings.Contains(err.Error(), context.DeadlineExceeded.Error()):
		return context.DeadlineExceeded
	case errdefs.IsCanceled(err), strings.Contains(err.Error(), "code = Canceled"),
		strings.Contains(err.Error(), context.Canceled.Error()):
		return context.Canceled
	}
	return nil
}

func (e *Executor) start(ctx context.Context, spec executor.Spec) (*sandbox, error) {
	lock, err := e.lockNew(ctx, spec.ID)
	if err != nil {
		return nil, err
	}
	defer lock.Close()
	s, err := e.handle(spec.ID)
	if err != nil {
		return nil, err
	}
	if s.started() {
		return s, nil
	}
	// What an interrupted Start left must not come to life later.
	if err := s.discard(ctx); err != nil {
		return nil, err
	}
	release, err := e.workspaces.Use(spec.Workspace)
	if err == nil {
		defer release()
		s, err = e.launch(ctx, spec)
	}
	if err != nil {
		return nil, errors.Join(err, e.dropDir(ctx, spec.ID))
	}
	return s, nil
}

// lockNew locks the directory of a sandbox, and makes it if there is none.
func (e *Executor) lockNew(ctx context.Context, id string) (*os.File, error) {
	for {
		if err := os.Mkdir(e.sandboxDir(id), 0o700); err != nil && !errors.Is(err, os.ErrExist) {
			return nil, err
		}
		lock, err := e.lock(ctx, id)
		if !errors.Is(err, executor.ErrNotFound) { // else another call has just removed it
			return lock, err
		}
	}
}

// launch starts the main command in a container of its own. After an error the container is gone.
func (e *Executor) launch(ctx context.Context, spec executor.Spec) (*sandbox, error) {
	p, err := e.plan(ctx, spec)
	if err != nil {
		return nil, err
	}
	defer e.wantReady(spec, p) // after this one, which is waited for
	w := e.warmFor(ctx, spec, p)
	defer w.release()
	if s, err := e.launchReady(ctx, spec, p, w); s != nil || err != nil {
		return s, err
	}
	origin, err := e.originOf(ctx, spec, &p, w)
	if err != nil {
		return nil, err
	}
	if err := e.makeWorkspace(spec.Workspace); err != nil {
		return nil, err
	}
	st := newState(spec, p, newBoxName(), e.opts.OutputLimit, origin)
	// Before there is a container: one that no sandbox names is an orphan.
	if err := writeFile(filepath.Join(e.sandboxDir(spec.ID), stateFile), st); err != nil {
		return nil, err
	}
	b, err := e.boot(ctx, st.Box, p)
	if err != nil {
		return nil, err
	}
	if err := b.handOver(ctx, e.job(spec, p)); err != nil {
		return nil, errors.Join(err, e.scrap(ctx, st.Box, st.Bridge))
	}
	return e.take(spec.ID, st, b)
}

// job is what the first process of a sandbox is told.
func (e *Executor) job(spec executor.Spec, p plan) pid1.Job {
	return pid1.Job{ID: spec.ID, Command: spec.Command, Env: lastOfEach(append(slices.Clone(p.image.env), spec.Env...)),
		Dir: workspacePath, User: p.user, Stdin: spec.Stdin, Output: e.opts.OutputLimit}
}

// originOf finds out from what the sandbox starts, and makes its workspace from the kept state w, if there is one. Where
// that fails, it starts cold.
func (e *Executor) originOf(ctx context.Context, spec executor.Spec, p *plan, w *warm) (executor.Origin, error) {
	if w == nil {
		return executor.OriginCold, nil
	}
	if err := e.workspaceFrom(ctx, spec.Workspace, w); err != nil {
		if ctx.Err() != nil {
			return "", context.Cause(ctx)
		}
		e.opts.Logger.Warn("a kept state cannot be used", zap.String("sandbox", spec.ID), zap.Error(err))
		return executor.OriginCold, nil
	}
	p.parent = warmPrefix + w.name
	return executor.OriginWarm, nil
}

// plan decides what a Spec leaves open.
func (e *Executor) plan(ctx context.Context, spec executor.Spec) (plan, error) {
	p := plan{user: spec.User, network: cmp.Or(spec.Network, e.opts.Network), limits: enforceable(spec.Limits, readHostLimits()),
		mounts: slices.Concat(e.opts.Mounts, spec.Mounts), dir: e.workspaceDir(spec.Workspace), labels: map[string]string{}}
	if err := checkMounts(p.mounts); err != nil {
		return p, err
	}
	if err := e.room(ctx); err != nil {
		return p, err
	}
	for k, v := range spec.Labels {
		p.labels[k] = v
	}
	wanted := spec.Image
	wanted.Reference = cmp.Or(wanted.Reference, e.opts.Image)
	var err error
	if p.image, err = e.images.get(ctx, wanted); err != nil {
		return p, err
	}
	if p.user == "" && (e.opts.RootUser || !isRoot(cmp.Or(p.image.user, "root"))) {
		p.user = cmp.Or(p.image.user, "root")
	}
	return p, nil
}

// makeWorkspace makes the directory. One may be there, but only as a real directory: the last sandbox could have put a
// link to somewhere else in its place.
func (e *Executor) makeWorkspace(key string) error {
	dir := e.workspaceDir(key)
	if err := os.Mkdir(dir, 0o755); err != nil && !errors.Is(err, os.ErrExist) {
		return err
	}
	info, err := os.Lstat(dir)
	if err != nil {
		return err
	}
	if !info.IsDir() {
		return fmt.Errorf("workspace %s is no directory any more; remove it", key)
	}
	return nil
}

// dropDir frees the ID of a sandbox that has no container. The caller holds the lock.
func (e *Executor) dropDir(ctx context.Context, id string) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanupPatience)
	defer cancel()
	return tree.Remove(ctx, filepath.Join(e.root, sandboxesDir), id)
}

// lastOfEach drops entries that a later one with the same name replaces: programs differ in which one they take. Those
// that belong to the driver go too: images may set them.
func lastOfEach(env []string) []string {
	last := make(map[string]int, len(env))
	for i, entry := range env {
		name, _, _ := strings.Cut(entry, "=")
		last[name] = i
	}
	kept := make([]string, 0, len(env))
	for i, entry := range env {
		name, _, _ := strings.Cut(entry, "=")
		switch name {
		case executor.EnvHome, executor.EnvTempDir, executor.EnvSandboxID:
			continue
		}
		if last[name] == i {
			kept = append(kept, entry)
		}
	}
	return kept
}

//go:build linux

package containerd

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/errdefs"
	"go.uber.org/zap"
	"golang.org/x/sys/unix"
)

// When leftovers are looked for after Open, which has done so too: containerd may then still have been at work for a client
// that was killed. Later ones are of calls of our own that failed.
const (
	firstSweep = time.Second
	lastSweep  = 10 * time.Minute
)

// keepSwept looks for leftovers, ever less often, until the Executor is closed.
func (e *Executor) keepSwept() {
	for delay := firstSweep; pause(e.ctx, delay) == nil; delay = min(4*delay, lastSweep) {
		ctx, cancel := context.WithTimeout(e.ctx, cleanupPatience)
		err := e.sweep(ctx)
		cancel()
		if err != nil && e.ctx.Err() == nil {
			e.opts.Logger.Warn("keep the host free of leftovers", zap.Error(err))
		}
	}
}

// sweep removes what no sandbox names: containers, their file systems and directories, and the shims of those that are
// gone. Everything of a sandbox is named by its state before it is made, and what this Executor makes besides is known to
// it, so what is swept can belong to nobody. What cannot be removed is left to the next time. The error is that of looking.
func (e *Executor) sweep(ctx context.Context) error {
	found, err := e.boxes(ctx)
	if err != nil {
		return fmt.Errorf("look for leftovers: %w", err)
	}
	// Read after the containers: what was started meanwhile has a state, or is among ours.
	named, err := e.named(ctx)
	if err != nil {
		return fmt.Errorf("look for leftovers: %w", err)
	}
	for name := range found {
		if named[name] || e.makes(name) {
			continue
		}
		log := e.opts.Logger.With(zap.String("container", name))
		if err := errors.Join(e.scrapNow(ctx, name, true), e.endShims(ctx, name), e.dropProcesses(ctx, name)); err != nil {
			log.Warn("remove a leftover", zap.Error(err))
			continue
		}
		log.Info("removed a leftover")
	}
	return nil
}

// making notes that a container is made which no state names yet, and may never; see scrapNow.
func (e *Executor) making(name string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.made[name] = true
}

func (e *Executor) makes(name string) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.made[name]
}

// unmade says that nothing is left of a container, or that nobody here will remove it.
func (e *Executor) unmade(name string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	delete(e.made, name)
}

// sweepPulls removes what pulls have left whose process died: leases, which would keep it for a day, and layers that were
// being unpacked. It does nothing while any process pulls.
func (e *Executor) sweepPulls(ctx context.Context) error {
	lock, err := e.images.exclude(unix.LOCK_EX)
	if errors.Is(err, unix.EWOULDBLOCK) {
		return nil
	}
	if err != nil {
		return err
	}
	defer lock.Close()
	leases, err := e.client.LeasesService().List(ctx)
	if err != nil {
		return err
	}
	for _, l := range leases {
		if err := e.client.LeasesService().Delete(ctx, l); err != nil && !errdefs.IsNotFound(err) {
			return err
		}
	}
	sn, err := e.snapshotter(ctx)
	if err != nil {
		return err
	}
	var extracts []string
	err = e.client.SnapshotService(sn).Walk(ctx, func(_ context.Context, info snapshots.Info) error {
		if info.Kind == snapshots.KindActive && strings.HasPrefix(info.Name, snapshots.UnpackKeyPrefix+"-") {
			extracts = append(extracts, info.Name)
		}
		return nil
	})
	for _, name := range extracts {
		if err := e.client.SnapshotService(sn).Remove(ctx, name); err != nil && !errdefs.IsNotFound(err) {
			return err
		}
	}
	return err
}

// boxes returns the names of all containers, container file systems, directories, tasks and shims of ours.
func (e *Executor) boxes(ctx context.Context) (map[string]bool, error) {
	found := map[string]bool{}
	list, err := e.client.ContainerService().List(ctx, fmt.Sprintf("labels.%q==%q", labelOwner, e.root))
	if err != nil {
		return nil, err
	}
	for _, c := range list {
		found[c.ID] = true
	}
	sn, err := e.snapshotter(ctx)
	if err != nil {
		return nil, err
	}
	err = e.client.SnapshotService(sn).Walk(ctx, func(_ context.Context, info snapshots.Info) error {
		if info.Kind == snapshots.KindActive {
			found[info.Name] = true
		}
		return nil
	}, fmt.Sprintf("labels.%q==%q", labelOwner, e.root))
	if err != nil {
		return nil, err
	}
	entries, err := os.ReadDir(filepath.Join(e.root, boxesDir))
	if err != nil {
		return nil, err
	}
	for _, entry := range entries {
		found[entry.Name()] = true
	}
	shims, err := e.shims()
	if err != nil {
		return nil, err
	}
	for name := range shims {
		found[name] = true
	}
	for _, group := range e.groups(boxPrefix + "*") {
		found[filepath.Base(group)] = true
	}
	return found, e.lostTasks(ctx, found)
}

// named returns the names that the states of sandboxes mention.
func (e *Executor) named(ctx context.Context) (map[string]bool, error) {
	ids, err := e.List(ctx)
	if err != nil {
		return nil, err
	}
	named := map[string]bool{}
	for _, id := range ids {
		st, err := readState(e.sandboxDir(id))
		switch {
		case err == nil:
			named[st.Box] = true
		case errors.Is(err, errBadState), errors.Is(err, os.ErrNotExist):
		default:
			return nil, err
		}
	}
	return named, nil
}

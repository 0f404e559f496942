//go:build linux

package containerd

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"
)

// sweep removes what no sandbox names: containers, their file systems and directories, and leases of pulls that died.
// Everything of a sandbox is named by its state before it is made, so what is swept can belong to nobody.
func (e *Executor) sweep(ctx context.Context) error {
	found, err := e.boxes(ctx)
	if err != nil {
		return fmt.Errorf("look for leftovers: %w", err)
	}
	// Read after the containers: what was started meanwhile has a state.
	named, err := e.named(ctx)
	if err != nil {
		return fmt.Errorf("look for leftovers: %w", err)
	}
	for name := range found {
		if named[name] {
			continue
		}
		if err := e.scrapNow(ctx, name, true); err != nil {
			return fmt.Errorf("remove a leftover: %w", err)
		}
	}
	if err := e.sweepPulls(ctx); err != nil {
		return fmt.Errorf("look for leftovers: %w", err)
	}
	return nil
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

// boxes returns the names of all containers, container file systems and directories of ours.
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
	return found, nil
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

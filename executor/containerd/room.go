//go:build linux

package containerd

import (
	"context"
	"errors"
	"os"
	"strings"

	"github.com/containerd/containerd/v2/core/snapshots"
	"go.uber.org/zap"
	"golang.org/x/sys/unix"

	"github.com/oz-platform/cloudagents/executor/internal/tree"
)

// leastRoom is how much of containerd's disk must be free for anything new, in bytes. On a disk without a byte containerd
// itself may crash, or spoil its database.
const leastRoom = 16 << 20

// noSpace is what containerd's errors say of a full disk: their kinds do not cross its socket.
const noSpace = "no space left on device"

var errNoSpace = errors.New("no space left on this host's disk for containerd's data; make room there, or bound what images may take")

// spaceError is err, in words of our own where containerd's disk is full.
func spaceError(err error) error {
	if strings.Contains(err.Error(), noSpace) {
		return errNoSpace
	}
	return err
}

// room fails with errNoSpace when containerd's disk has next to none. A daemon that does not say where its disk is, is
// asked all the same.
func (e *Executor) room(ctx context.Context) error {
	dir, err := e.disk(ctx)
	if err != nil || dir == "" {
		return err
	}
	var fs unix.Statfs_t
	if err := unix.Statfs(dir, &fs); err == nil && fs.Bavail*uint64(fs.Bsize) < leastRoom {
		return errNoSpace
	}
	return nil
}

// disk is where the snapshotter has its files; empty when containerd does not say. It is asked for once.
func (e *Executor) disk(ctx context.Context) (string, error) {
	e.mu.Lock()
	dir := e.diskDir
	e.mu.Unlock()
	if dir != nil {
		return *dir, nil
	}
	sn, err := e.snapshotter(ctx)
	if err != nil {
		return "", err
	}
	answer, err := e.client.IntrospectionService().Plugins(ctx, "type==io.containerd.snapshotter.v1,id=="+sn)
	if err != nil {
		return "", err
	}
	root := ""
	for _, p := range answer.GetPlugins() {
		root = p.GetExports()["root"]
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.diskDir = &root
	return root, nil
}

// emptyPatience bounds the time for a container's files, of which there may be millions: the removal of the container itself
// needs some of cleanupPatience, too.
const emptyPatience = cleanupPatience / 3

// emptySnapshot removes what a container has written, as far as it can in emptyPatience. containerd would do so at its next
// collection of garbage; until then a container that has filled the disk would keep it full, so that nothing can start, or
// even be noted as removed.
func (e *Executor) emptySnapshot(ctx context.Context, service snapshots.Snapshotter, name string) {
	ctx, cancel := context.WithTimeout(ctx, emptyPatience)
	defer cancel()
	mounts, err := service.Mounts(ctx, name)
	if err != nil {
		return // none, or the removal says what is wrong
	}
	for _, m := range mounts {
		for _, option := range m.Options {
			dir, ok := strings.CutPrefix(option, "upperdir=")
			if !ok {
				continue
			}
			entries, err := os.ReadDir(dir)
			for _, entry := range entries {
				err = errors.Join(err, tree.Remove(ctx, dir, entry.Name()))
			}
			if err != nil {
				e.opts.Logger.Warn("remove a container's files; containerd does later", zap.String("container", name), zap.Error(err))
			}
		}
	}
}

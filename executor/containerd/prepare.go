//go:build linux

package containerd

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/containerd/containerd/v2/core/snapshots"
	"go.uber.org/zap"
	"golang.org/x/sys/unix"

	"github.com/oz-platform/cloudagents/executor"
	"github.com/oz-platform/cloudagents/executor/containerd/pid1"
	"github.com/oz-platform/cloudagents/executor/internal/outlog"
)

const (
	// maxPreparing bounds the preparations that wait for their turn. They have it one after another.
	maxPreparing = 16
	// failedPause is how long a preparation that failed is not tried again.
	failedPause = 10 * time.Minute
	// maxPreparingTail bounds how much of the output of a failed preparation is logged.
	maxPreparingTail = 2 << 10
)

// preparer has the preparations of kept states, guarded by Executor.mu.
type preparer struct {
	under  map[string]bool      // by ID: under way or waiting
	failed map[string]time.Time // by ID: not again before
	turn   chan struct{}
}

// prepareLater has a state made in the background, unless that is being done, or has just failed.
func (e *Executor) prepareLater(id string, spec executor.Spec, p plan) {
	e.mu.Lock()
	pr := &e.preparing
	now := time.Now()
	for other, until := range pr.failed {
		if now.After(until) {
			delete(pr.failed, other)
		}
	}
	_, failed := pr.failed[id]
	skip := failed || pr.under[id] || len(pr.under) >= maxPreparing
	if !skip {
		pr.under[id] = true
	}
	e.mu.Unlock()
	if skip {
		return
	}
	done := func(err error) {
		e.mu.Lock()
		defer e.mu.Unlock()
		delete(pr.under, id)
		if err != nil {
			pr.failed[id] = time.Now().Add(failedPause)
		}
		e.wakePool()
	}
	if !e.goes(func() { done(e.prepareInTurn(id, spec, p)) }) {
		done(nil)
	}
}

func (e *Executor) prepareInTurn(id string, spec executor.Spec, p plan) error {
	select {
	case e.preparing.turn <- struct{}{}:
	case <-e.ctx.Done():
		return nil
	}
	defer func() { <-e.preparing.turn }()
	ctx, cancel := context.WithTimeout(e.ctx, e.opts.WarmTimeout)
	defer cancel()
	log := e.opts.Logger.With(zap.String("state", id))
	began := time.Now()
	size, err := e.prepareWarm(ctx, id, spec, p)
	switch {
	case e.ctx.Err() != nil:
		return nil
	case err != nil:
		log.Warn("a state was not kept", zap.Error(err))
		return err
	}
	log.Info("a state is kept", zap.Int64("bytes", size), zap.Duration("took", time.Since(began)))
	if err := e.tidyWarm(e.ctx); err != nil && e.ctx.Err() == nil {
		log.Warn("remove old states", zap.Error(err))
	}
	return nil
}

// prepareWarm makes a state. After an error nothing of it is left, unless this process is killed: then the next Open
// removes it.
func (e *Executor) prepareWarm(ctx context.Context, id string, spec executor.Spec, p plan) (size int64, err error) {
	name := newWarmName(id)
	if err := os.Mkdir(e.warmPath(name), 0o700); err != nil {
		return 0, err
	}
	lock, err := e.lockWarm(name, unix.LOCK_EX)
	if err != nil {
		return 0, err // removed as not whole just now
	}
	defer lock.Close()
	defer func() {
		if err != nil {
			cleaning, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanupPatience)
			defer cancel()
			err = errors.Join(err, e.dropLocked(cleaning, name))
		}
	}()
	p.dir, p.labels, p.parent = filepath.Join(e.warmPath(name), warmWorkspace), map[string]string{"warm": id}, ""
	if err := os.Mkdir(p.dir, 0o755); err != nil {
		return 0, err
	}
	box := newBoxName()
	size, err = e.fillWarm(ctx, box, name, spec, p)
	if err := errors.Join(err, e.scrap(ctx, box, p.network == executor.NetworkBridge)); err != nil {
		return 0, err
	}
	// What a power failure could take must be on the disk before it counts.
	if err := unix.Syncfs(int(lock.Fd())); err != nil {
		return 0, os.NewSyscallError("syncfs", err)
	}
	st := warmState{Version: warmForm, ID: id, Made: time.Now().UTC(), Bytes: size}
	return size, writeFile(filepath.Join(e.warmPath(name), stateFile), st)
}

// fillWarm runs the preparation in a container and keeps the container's files. The container is left to the caller.
func (e *Executor) fillWarm(ctx context.Context, box, name string, spec executor.Spec, p plan) (int64, error) {
	b, err := e.boot(ctx, box, p)
	if err != nil {
		return 0, err
	}
	job := pid1.Job{ID: name, Command: spec.Warm.Prepare, Env: lastOfEach(append(slices.Clone(p.image.env), spec.Env...)),
		Dir: workspacePath, User: p.user, Stdin: slices.Clone(spec.Warm.Stdin), Output: e.opts.OutputLimit}
	if err := b.handOver(ctx, job); err != nil {
		return 0, err
	}
	if err := b.prepared(ctx); err != nil {
		return 0, err
	}
	if err := e.endTask(ctx, box); err != nil {
		return 0, err
	}
	size, err := e.usage(ctx, box, p.dir)
	if err != nil {
		return 0, err
	}
	if limit := b.warmLimit(); size > limit {
		return 0, fmt.Errorf("it has %d bytes, more than the %d that it may have", size, limit)
	}
	sn, err := e.snapshotter(ctx)
	if err != nil {
		return 0, err
	}
	labels := map[string]string{labelOwner: e.root, gcRoot: time.Now().UTC().Format(time.RFC3339)}
	if err := e.client.SnapshotService(sn).Commit(ctx, warmPrefix+name, box, snapshots.WithLabels(labels)); err != nil {
		return 0, fmt.Errorf("keep the container's file system: %w", err)
	}
	return size, nil
}

// warmLimit is what a state may have on disk.
func (b *box) warmLimit() int64 {
	limit := b.e.opts.WarmDisk
	if d := b.plan.limits.Disk; d > 0 {
		limit = min(limit, d)
	}
	return limit
}

// prepared waits for the preparation's good end, and sees to it that it does not fill the disk.
func (b *box) prepared(ctx context.Context) error {
	ticker := time.NewTicker(b.e.opts.DiskPeriod)
	defer ticker.Stop()
	for {
		select {
		case status := <-b.exited:
			code, _, err := status.Result()
			if err != nil {
				return fmt.Errorf("wait for the preparation: %w", err)
			}
			if code != 0 {
				return fmt.Errorf("the preparation ended with status %d: %s", code, b.tail(ctx))
			}
			return nil
		case <-ticker.C:
			began := time.Now()
			used, err := b.e.usage(ctx, b.name, b.plan.dir)
			if limit := b.warmLimit(); err == nil && used > limit {
				return fmt.Errorf("the preparation has written %d bytes, more than the %d that a state may have", used, limit)
			}
			ticker.Reset(max(b.e.opts.DiskPeriod, measureShare*time.Since(began)))
		case <-ctx.Done():
			return fmt.Errorf("the preparation did not end in time: %w", context.Cause(ctx))
		}
	}
}

// tail gives the end of what a preparation has printed.
func (b *box) tail(ctx context.Context) string {
	r := outlog.NewReader(ctx, filepath.Join(b.e.boxDir(b.name), pid1.Log), outlog.NewLayout(b.e.opts.OutputLimit), func() bool { return true })
	defer r.Close()
	var kept []byte
	buf := make([]byte, 32<<10)
	for {
		n, err := r.Read(buf)
		kept = append(kept, buf[:n]...)
		kept = kept[max(0, len(kept)-maxPreparingTail):]
		if err != nil {
			if !errors.Is(err, io.EOF) {
				return "its output cannot be read: " + err.Error()
			}
			return cmp.Or(strings.ToValidUTF8(strings.TrimSpace(string(kept)), "\uFFFD"), "it printed nothing")
		}
	}
}

// usage is what a container has added to its image, and what is in its workspace.
func (e *Executor) usage(ctx context.Context, box, workspace string) (int64, error) {
	sn, err := e.snapshotter(ctx)
	if err != nil {
		return 0, err
	}
	usage, err := e.client.SnapshotService(sn).Usage(ctx, box)
	if err != nil {
		return 0, err
	}
	n, err := diskUsage(ctx, workspace)
	return usage.Size + n, err
}

package oz

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.uber.org/zap"

	"github.com/oz-platform/cloudagents/task"
)

// Sizes of the steps in which old transcripts are removed, so that live runs
// need not wait for it.
const (
	pruneRuns   = 100  // runs looked at together
	trimEvents  = 500  // events deleted in one transaction
	trimNumbers = 5000 // signals deleted in one transaction
	pruneAtMost = time.Hour
	pruneLeast  = time.Minute
)

// retain removes the transcripts and files of runs that ended longer ago than
// Options.Retention, until ctx ends.
func (p *Platform) retain(ctx context.Context) {
	pruner, ok := p.store.(task.Pruner)
	if !ok || p.opts.Retention == 0 {
		return
	}
	interval := min(max(p.opts.Retention/10, pruneLeast), pruneAtMost)
	for {
		if err := p.retainOnce(ctx, pruner); err != nil && ctx.Err() == nil {
			p.opts.Logger.Error("remove old transcripts", zap.Error(err))
		}
		select {
		case <-p.opts.Clock.After(interval):
		case <-ctx.Done():
			return
		}
	}
}

// retainOnce hides what is too old, and then deletes what is hidden. Every
// step may be cut off: the next look finds what is left.
func (p *Platform) retainOnce(ctx context.Context, pruner task.Pruner) error {
	before := p.opts.Clock.Now().Add(-p.opts.Retention)
	if err := p.trimSignals(ctx, before); err != nil {
		return err
	}
	for {
		old, err := pruner.Prunable(ctx, before, pruneRuns)
		if err != nil {
			return err
		}
		hidden := 0
		for _, id := range old {
			switch _, err := p.store.Do(ctx, id, task.Prune{Before: before}); {
			case err == nil:
				hidden++
			case !errors.Is(err, task.ErrConflict): // a person took it up meanwhile
				return err
			}
		}
		if err := p.trim(ctx, pruner); hidden == 0 || len(old) < pruneRuns || ctx.Err() != nil {
			return err
		}
	}
}

// trimSignals removes old signals. Whoever is further behind reads the runs.
func (p *Platform) trimSignals(ctx context.Context, before time.Time) error {
	box, ok := p.store.(task.Mailbox)
	for done := !ok; !done; {
		var err error
		if done, err = box.TrimSignals(ctx, before, trimNumbers); err != nil {
			return err
		}
	}
	return nil
}

// trim deletes the files and hidden events of pruned runs. One that cannot be
// dealt with does not keep the others waiting.
func (p *Platform) trim(ctx context.Context, pruner task.Pruner) error {
	for {
		left, err := pruner.Leftovers(ctx, pruneRuns)
		if err != nil {
			return err
		}
		var errs []error
		for _, id := range left {
			if err := p.trimRun(ctx, pruner, id); err != nil {
				errs = append(errs, fmt.Errorf("run %s: %w", id, err))
			}
		}
		if len(errs) == len(left) { // none is left, or none of these can be dealt with now
			return errors.Join(errs...)
		}
	}
}

func (p *Platform) trimRun(ctx context.Context, pruner task.Pruner, id task.ID) error {
	if err := p.deleteFiles(ctx, id); err != nil {
		return err
	}
	if box, ok := p.store.(task.Mailbox); ok {
		if err := box.DropMail(ctx, id); err != nil {
			return err
		}
	}
	if p.triggers != nil {
		if err := p.triggers.ForgetProgress(ctx, id); err != nil {
			return err
		}
	}
	for done := false; !done; {
		var err error
		if done, err = pruner.Trim(ctx, id, trimEvents); err != nil {
			return err
		}
	}
	p.opts.Logger.Info("transcript removed", zap.String("task_id", string(id)))
	return nil
}

// deleteFiles deletes the attachments, artifacts and snapshot of a run.
func (p *Platform) deleteFiles(ctx context.Context, id task.ID) error {
	if p.opts.Blobs == nil {
		return nil
	}
	t, err := p.store.Get(ctx, id)
	if err != nil {
		return err
	}
	var keys []string
	for _, a := range t.Attachments {
		keys = append(keys, a.Blob)
	}
	for _, a := range t.Artifacts {
		keys = append(keys, a.Blob)
	}
	snapshot, err := p.snapshot(ctx, id)
	if err != nil {
		return err
	}
	if snapshot != nil {
		for _, f := range snapshot.Files {
			keys = append(keys, f.Blob)
		}
	}
	for _, key := range keys {
		if key == "" { // an artifact that is a link
			continue
		}
		if err := p.opts.Blobs.DeleteBlob(ctx, key); err != nil {
			return err
		}
	}
	if snapshot == nil {
		return nil
	}
	if err := p.store.DeleteRecord(ctx, kindSnapshot, string(id)); !errors.Is(err, task.ErrNotFound) {
		return err
	}
	return nil
}

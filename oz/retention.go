package oz

import (
	"context"
	"errors"
	"time"

	"go.uber.org/zap"

	"github.com/oz-platform/cloudagents/task"
)

// Sizes of the steps in which old transcripts are removed, so that live runs
// need not wait for it.
const (
	pruneRuns   = 100 // runs looked at together
	trimEvents  = 500 // events deleted in one transaction
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
		if err := p.trim(ctx, pruner); err != nil {
			return err
		}
		if hidden == 0 || len(old) < pruneRuns {
			return nil
		}
	}
}

// trim deletes the files and hidden events of pruned runs.
func (p *Platform) trim(ctx context.Context, pruner task.Pruner) error {
	for {
		left, err := pruner.Leftovers(ctx, pruneRuns)
		if err != nil || len(left) == 0 {
			return err
		}
		for _, id := range left {
			if err := p.deleteFiles(ctx, id); err != nil {
				return err
			}
			for done := false; !done; {
				if done, err = pruner.Trim(ctx, id, trimEvents); err != nil {
					return err
				}
			}
			p.opts.Logger.Info("transcript removed", zap.String("task_id", string(id)))
		}
	}
}

// deleteFiles deletes the attachments and artifacts of a run.
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
	for _, key := range keys {
		if key == "" { // an artifact that is a link
			continue
		}
		if err := p.opts.Blobs.DeleteBlob(ctx, key); err != nil {
			return err
		}
	}
	return nil
}

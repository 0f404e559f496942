package sqlitestore

import (
	"context"
	"time"

	"github.com/oz-platform/cloudagents/task"
)

var _ task.Pruner = (*Store)(nil)

// The statements of pruning. The states are written out as the index has them.
const (
	selectPrunable = `SELECT id, idle_at AS at FROM runs INDEXED BY runs_prunable WHERE idle_at < ?1 AND ` + prunable + `
		UNION ALL SELECT id, updated_at FROM runs INDEXED BY runs_live WHERE idle_at IS NULL AND updated_at < ?1 AND ` + prunable + `
		ORDER BY at LIMIT +?2`
	prunable        = `pruned_to = 0 AND state IN ('SUCCEEDED', 'FAILED', 'BLOCKED', 'ERROR', 'CANCELLED')`
	selectLeftovers = `SELECT id FROM runs INDEXED BY runs_leftover WHERE leftover = 1 LIMIT +?`
	deleteHidden    = `DELETE FROM events WHERE key IN (SELECT key FROM events WHERE key > ?1 << 32 AND key <= (?1 << 32 | ?2) ORDER BY key LIMIT +?3)`
	selectHidden    = `SELECT 1 FROM events WHERE key > ?1 << 32 AND key <= (?1 << 32 | ?2) LIMIT 1`
)

// Prunable implements task.Pruner.
func (s *Store) Prunable(ctx context.Context, before time.Time, limit int) ([]task.ID, error) {
	out, err := collect(ctx, s.read, scanPrunable, selectPrunable, nanos(before), max(limit, 0))
	return out, s.explainRead(ctx, "look for old runs", err)
}

// Leftovers implements task.Pruner.
func (s *Store) Leftovers(ctx context.Context, limit int) ([]task.ID, error) {
	out, err := collect(ctx, s.read, scanID, selectLeftovers, max(limit, 0))
	return out, s.explainRead(ctx, "look for pruned runs", err)
}

func scanPrunable(row scanner) (id task.ID, err error) {
	var at int64
	err = row.Scan(&id, &at)
	return id, err
}

func scanID(row scanner) (id task.ID, err error) {
	err = row.Scan(&id)
	return id, err
}

// Trim implements task.Pruner.
func (s *Store) Trim(ctx context.Context, id task.ID, limit int) (done bool, err error) {
	if limit < 1 {
		return false, task.Invalid("limit", "must be at least 1")
	}
	err = s.w.do(ctx, "trim the log of run "+string(id), 0, func(w *writer) (err error) {
		done, err = w.trim(id, limit)
		return err
	})
	return done, err
}

func (w *writer) trim(id task.ID, limit int) (done bool, err error) {
	e, err := w.head(id)
	if err != nil {
		return false, err
	}
	if _, err := w.exec(deleteHidden, e.n, e.head.PrunedTo, int64(limit)); err != nil {
		return false, err
	}
	left, err := w.row(selectHidden, e.n, e.head.PrunedTo)
	if err != nil || left != nil {
		return false, err
	}
	_, err = w.exec(`UPDATE runs SET leftover = 0 WHERE n = ? AND leftover = 1`, e.n)
	return true, err
}

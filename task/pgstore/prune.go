package pgstore

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/oz-platform/cloudagents/task"
)

var _ task.Pruner = (*Store)(nil)

// The statements of pruning. The states are written out as the index has them.
// For filed runs idle_at is updated_at.
const (
	selectPrunable = `(SELECT id, idle_at AS at, n FROM runs WHERE pruned_to = 0 AND filed_state IN ('SUCCEEDED', 'FAILED', 'BLOCKED', 'ERROR', 'CANCELLED')
			AND idle_at < $1 ORDER BY idle_at, n LIMIT $2)
		UNION ALL (SELECT id, updated_at, n FROM runs WHERE pruned_to = 0 AND state IN ('SUCCEEDED', 'FAILED', 'BLOCKED', 'ERROR', 'CANCELLED')
			AND idle_at IS NULL AND updated_at < $1 ORDER BY updated_at, n LIMIT $2)
		ORDER BY at, n LIMIT $2`
	selectLeftovers = `SELECT id FROM runs WHERE leftover ORDER BY n LIMIT $1`
	deleteHidden    = `DELETE FROM events WHERE n = $1 AND seq IN (SELECT seq FROM events WHERE n = $1 AND seq <= $2 ORDER BY seq LIMIT $3)`
	finishTrim      = `WITH rest AS (SELECT EXISTS (SELECT 1 FROM events WHERE n = $1 AND seq <= $2) AS hidden),
		done AS (UPDATE runs SET leftover = false WHERE n = $1 AND leftover AND NOT (SELECT hidden FROM rest))
		SELECT NOT hidden FROM rest`
)

// Prunable implements task.Pruner.
func (s *Store) Prunable(ctx context.Context, before time.Time, limit int) ([]task.ID, error) {
	out, err := collect(ctx, s, scanPrunable, selectPrunable, nanos(before), max(limit, 0))
	return out, s.explainCall(ctx, "look for old runs", err)
}

// Leftovers implements task.Pruner.
func (s *Store) Leftovers(ctx context.Context, limit int) ([]task.ID, error) {
	out, err := collect(ctx, s, scanID, selectLeftovers, max(limit, 0))
	return out, s.explainCall(ctx, "look for pruned runs", err)
}

func scanPrunable(row pgx.CollectableRow) (task.ID, error) {
	var id string
	var at, n int64
	err := row.Scan(&id, &at, &n)
	return task.ID(untext(id)), err
}

func scanID(row pgx.CollectableRow) (task.ID, error) {
	var id string
	err := row.Scan(&id)
	return task.ID(untext(id)), err
}

// Trim implements task.Pruner.
func (s *Store) Trim(ctx context.Context, id task.ID, limit int) (done bool, err error) {
	if limit < 1 {
		return false, task.Invalid("limit", "must be at least 1")
	}
	op := &trim{id: id, limit: limit}
	err = s.do(ctx, "trim the log of run "+string(id), string(id), 0, op)
	return op.done, err
}

// trim is the operation of Trim.
type trim struct {
	id    task.ID
	limit int
	run   *run
	done  bool
}

func (o *trim) need(n *needs) { n.runs = append(n.runs, text(string(o.id))) }

func (o *trim) decide(tx *transaction) error {
	if o.run = tx.runs[o.id]; o.run == nil {
		return noRun(o.id)
	}
	tx.trims = append(tx.trims, o)
	return nil
}

// queueTrims deletes what was hidden before, or is by now.
func (tx *transaction) queueTrims(b *pgx.Batch) {
	for _, o := range tx.trims {
		b.Queue(deleteHidden, o.run.n, o.run.head.PrunedTo, o.limit)
		b.Queue(finishTrim, o.run.n, o.run.head.PrunedTo).QueryRow(func(row pgx.Row) error { return row.Scan(&o.done) })
	}
}

package pgstore

import (
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/oz-platform/cloudagents/task"
)

// To count the waiting runs exactly, stores must create one after the other.
// So they do it only when Creation.MaxWaiting is near; else a count that is a
// little old will do.
const (
	// quotaMargin is how near: more than all stores create within quotaAge.
	quotaMargin = 4096
	quotaAge    = 100 * time.Millisecond
)

// quota is a recent count of the waiting runs.
type quota struct {
	mu    sync.Mutex
	count int
	at    time.Time
}

func (q *quota) recent() (count int, ok bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.count, !q.at.IsZero() && time.Since(q.at) < quotaAge
}

func (q *quota) set(count int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.count, q.at = count, time.Now()
}

func (q *quota) add(delta int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.count += delta
}

// queueQuota asks for the count of waiting runs, if the batch needs it.
func (tx *transaction) queueQuota(b *pgx.Batch) {
	n := tx.needs
	if n.least == 0 {
		return
	}
	if tx.exact {
		b.Queue(lockQuota, lockKey(tx.s.opts.Schema, "quota"))
	} else if count, ok := tx.s.quota.recent(); ok {
		tx.waiting = count
		return
	}
	b.Queue(countWaiting, n.most+quotaMargin).QueryRow(func(row pgx.Row) error {
		if err := row.Scan(&tx.waiting); err != nil {
			return err
		}
		tx.s.quota.set(tx.waiting)
		return nil
	})
}

// checkQuota fails with errBusyQuota when the count must be exact and is not.
func (tx *transaction) checkQuota() error {
	if tx.needs.least > 0 && !tx.exact && tx.waiting+quotaMargin >= tx.needs.least {
		return errBusyQuota
	}
	return nil
}

// countChange keeps count of the waiting runs within the transaction.
func (tx *transaction) countChange(old, next task.Head) {
	was, is := !old.ReadyAt.IsZero(), !next.ReadyAt.IsZero()
	switch {
	case is && !was:
		tx.delta++
	case was && !is:
		tx.delta--
	}
}

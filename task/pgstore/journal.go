package pgstore

import (
	"context"
	"errors"
	"sync"

	"github.com/cenkalti/backoff/v4"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/oz-platform/cloudagents/task"
)

var _ task.Journal = (*Store)(nil)

const (
	selectJournalHead = `SELECT seq, hash, body_hash, ''::bytea FROM journal ORDER BY seq DESC LIMIT 1`
	insertJournal     = `INSERT INTO journal (seq, hash, body_hash, body) SELECT * FROM unnest($1::bigint[], $2::bytea[], $3::bytea[], $4::bytea[])`
	// The sum of what comes before tells when a page is full.
	selectJournal = `SELECT seq, hash, body_hash, body FROM (
			SELECT j.*, sum(octet_length(body)) OVER (ORDER BY seq) - octet_length(body) AS before
			FROM (SELECT * FROM journal WHERE seq > $1 ORDER BY seq LIMIT $2) j) w
		WHERE before < $3 ORDER BY seq`
)

// journal gathers what is to be appended. It has transactions of its own, so
// that the lock which keeps the chain in one piece is held for nothing else.
type journal struct {
	turn sync.Mutex // held by whoever commits

	mu    sync.Mutex
	queue []*journalRequest
}

// journalRequest is one append that waits.
type journalRequest struct {
	bodies [][]byte
	out    []task.JournalEntry
	done   chan error
}

func (j *journal) push(r *journalRequest) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.queue = append(j.queue, r)
}

// take removes the next batch from the queue.
func (j *journal) take(most int) []*journalRequest {
	j.mu.Lock()
	defer j.mu.Unlock()
	n, size := 0, 0
	for n < len(j.queue) && n < most && size < maxBatchBytes {
		for _, b := range j.queue[n].bodies {
			size += len(b)
		}
		n++
	}
	batch := append([]*journalRequest(nil), j.queue[:n]...)
	j.queue = append([]*journalRequest(nil), j.queue[n:]...)
	return batch
}

// AppendJournal implements task.Journal. Whoever comes first commits for all
// who have come meanwhile.
func (s *Store) AppendJournal(ctx context.Context, bodies ...[]byte) ([]task.JournalEntry, error) {
	if err := task.CheckJournal(bodies); err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if s.closed.Load() {
		return nil, errClosed
	}
	r := &journalRequest{bodies: make([][]byte, len(bodies)), done: make(chan error, 1)}
	for i, b := range bodies {
		r.bodies[i] = append([]byte{}, b...)
	}
	s.journal.push(r)
	s.serveJournal(r)
	if err := <-r.done; err != nil {
		return nil, s.explainCall(context.WithoutCancel(ctx), "write to the journal", err)
	}
	return r.out, nil
}

// serveJournal commits batches until r has its answer.
func (s *Store) serveJournal(r *journalRequest) {
	s.journal.turn.Lock()
	defer s.journal.turn.Unlock()
	for len(r.done) == 0 {
		batch := s.journal.take(s.opts.MaxBatch)
		err := s.commitJournal(batch)
		for _, q := range batch {
			q.done <- err
		}
	}
}

// commitJournal appends a batch in one transaction, again when another one was
// in its way.
func (s *Store) commitJournal(batch []*journalRequest) error {
	wait := backoff.WithMaxRetries(backoff.NewExponentialBackOff(backoff.WithInitialInterval(firstRetry), backoff.WithMaxInterval(lastRetry)), maxRetries)
	return backoff.Retry(func() error {
		err := s.attemptJournal(batch)
		if err != nil && (!passing(err) || s.closed.Load()) {
			return backoff.Permanent(err)
		}
		return err
	}, wait)
}

// attemptJournal tries once. The lock ends with the transaction, so that the
// next one, here or at another store, sees what this one has written.
func (s *Store) attemptJournal(batch []*journalRequest) error {
	ctx, cancel := context.WithTimeout(context.Background(), 2*s.opts.StatementTimeout)
	defer cancel()
	conn, err := s.writes.Acquire(ctx)
	if err != nil {
		return err
	}
	defer conn.Release() // the pool closes one that is broken or within a transaction
	var xid string
	var last task.JournalEntry
	b := &pgx.Batch{}
	b.Queue(beginTransaction)
	b.Queue(selectXID).QueryRow(func(row pgx.Row) error { return row.Scan(&xid) })
	b.Queue(lockNumbers, lockKey(s.opts.Schema, "journal"))
	b.Queue(selectJournalHead).Query(func(rows pgx.Rows) (err error) {
		last, err = pgx.CollectExactlyOneRow(rows, scanJournal)
		if errors.Is(err, pgx.ErrNoRows) {
			return nil
		}
		return err
	})
	if err := conn.SendBatch(ctx, b).Close(); err != nil {
		return err
	}
	b = &pgx.Batch{}
	queueJournal(b, batch, last)
	b.Queue(`COMMIT`)
	err = conn.SendBatch(ctx, b).Close()
	var db *pgconn.PgError
	if err == nil || errors.As(err, &db) && db.Severity == "ERROR" { // said before the COMMIT was reached
		return err
	}
	return s.settle(xid, err)
}

// queueJournal chains the batch behind last.
func queueJournal(b *pgx.Batch, batch []*journalRequest, last task.JournalEntry) {
	var seqs []int64
	var hashes, bodyHashes, bodies [][]byte
	for _, r := range batch {
		r.out = task.Chain(last, r.bodies...)
		for _, e := range r.out {
			seqs, hashes = append(seqs, e.Seq), append(hashes, e.Hash[:])
			bodyHashes, bodies = append(bodyHashes, e.BodyHash[:]), append(bodies, e.Body)
			last = e
		}
	}
	b.Queue(insertJournal, seqs, hashes, bodyHashes, bodies)
}

// Journal implements task.Journal.
func (s *Store) Journal(ctx context.Context, after int64, limit int) ([]task.JournalEntry, error) {
	out, err := collect(ctx, s, scanJournal, selectJournal, after, max(limit, 0), task.MaxJournalPage)
	return out, s.explainCall(ctx, "read the journal", err)
}

// JournalHead implements task.Journal.
func (s *Store) JournalHead(ctx context.Context) (task.JournalEntry, error) {
	e, err := one(ctx, s, scanJournal, selectJournalHead)
	if errors.Is(err, pgx.ErrNoRows) {
		return task.JournalEntry{}, nil
	}
	e.Body = nil
	return e, s.explainCall(ctx, "read the journal", err)
}

func scanJournal(row pgx.CollectableRow) (e task.JournalEntry, err error) {
	var hash, bodyHash []byte
	err = row.Scan(&e.Seq, &hash, &bodyHash, &e.Body)
	e.Hash, e.BodyHash = hashOf(hash), hashOf(bodyHash)
	return e, err
}

// hashOf reads a hash. One of another length cannot be the chain's: it is read
// as zero, which fits nothing, so that a check of the chain says where it is.
func hashOf(b []byte) (h task.Hash) {
	if len(b) == len(h) {
		copy(h[:], b)
	}
	return h
}

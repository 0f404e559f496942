package sqlitestore

import (
	"context"
	"database/sql"
	"errors"

	"github.com/oz-platform/cloudagents/task"
)

var _ task.Journal = (*Store)(nil)

const (
	selectJournal     = `SELECT seq, hash, body_hash, body FROM journal WHERE seq > ? ORDER BY seq LIMIT +?`
	selectJournalHead = `SELECT seq, hash, body_hash, x'' FROM journal WHERE seq = (SELECT max(seq) FROM journal)`
	insertJournal     = `INSERT INTO journal (seq, hash, body_hash, body) VALUES (?, ?, ?, ?)`
)

// AppendJournal implements task.Journal. It shares the writer's transactions,
// and so waits for the disk together with other writes.
func (s *Store) AppendJournal(ctx context.Context, bodies ...[]byte) (out []task.JournalEntry, err error) {
	if err := task.CheckJournal(bodies); err != nil {
		return nil, err
	}
	copies, size := make([][]byte, len(bodies)), 0
	for i, b := range bodies {
		copies[i] = append([]byte{}, b...)
		size += len(b)
	}
	err = s.w.do(ctx, "write to the journal", size, func(w *writer) (err error) {
		out, err = w.appendJournal(copies)
		return err
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

func (w *writer) appendJournal(bodies [][]byte) ([]task.JournalEntry, error) {
	vals, err := w.row(selectJournalHead)
	if err != nil {
		return nil, err
	}
	var last task.JournalEntry
	if vals != nil {
		last.Seq = vals[0].(int64)
		last.Hash = hashOf(vals[1].([]byte))
	}
	out := task.Chain(last, bodies...)
	for _, e := range out {
		if _, err := w.exec(insertJournal, e.Seq, e.Hash[:], e.BodyHash[:], e.Body); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// Journal implements task.Journal.
func (s *Store) Journal(ctx context.Context, after int64, limit int) ([]task.JournalEntry, error) {
	out, err := s.journalPage(ctx, after, max(limit, 0))
	return out, s.explainRead(ctx, "read the journal", err)
}

func (s *Store) journalPage(ctx context.Context, after int64, limit int) (out []task.JournalEntry, err error) {
	rows, err := s.fixed.QueryContext(ctx, selectJournal, after, limit)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for size := 0; size < task.MaxJournalPage && rows.Next(); {
		e, err := scanJournal(rows)
		if err != nil {
			return nil, err
		}
		size += len(e.Body)
		out = append(out, e)
	}
	return out, rows.Err()
}

// JournalHead implements task.Journal.
func (s *Store) JournalHead(ctx context.Context) (task.JournalEntry, error) {
	e, err := scanJournal(s.fixed.row(ctx, selectJournalHead))
	if errors.Is(err, sql.ErrNoRows) {
		return task.JournalEntry{}, nil
	}
	e.Body = nil
	return e, s.explainRead(ctx, "read the journal", err)
}

func scanJournal(row scanner) (e task.JournalEntry, err error) {
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

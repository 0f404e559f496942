package sqlitestore

import (
	"context"
	"database/sql"
	"errors"

	"github.com/oz-platform/cloudagents/task"
)

// Limits of a record's names (task.Record).
const (
	maxKindBytes = 64
	maxKeyBytes  = 512
)

// The statements of reads.
const (
	recordColumns   = `SELECT kind, key, owner, revision, updated_at, data FROM records WHERE kind = ?`
	selectRecord    = recordColumns + ` AND key = ?`
	selectRecords   = recordColumns + ` ORDER BY key`
	selectRecordsOf = recordColumns + ` AND owner = ? ORDER BY key`
)

// PutRecord implements task.Records.
func (s *Store) PutRecord(ctx context.Context, r task.Record) (int64, error) {
	switch {
	case r.Kind == "" || len(r.Kind) > maxKindBytes:
		return 0, task.Invalid("kind", "must have 1 to %d bytes", maxKindBytes)
	case r.Key == "" || len(r.Key) > maxKeyBytes:
		return 0, task.Invalid("key", "must have 1 to %d bytes", maxKeyBytes)
	case len(r.Data) > task.MaxRecordBytes:
		return 0, task.Invalid("data", "has %d bytes, at most %d are allowed", len(r.Data), task.MaxRecordBytes)
	case r.Revision < 0:
		return 0, task.Invalid("revision", "must not be negative")
	}
	err := s.w.do(ctx, "write "+r.Kind+" "+r.Key, len(r.Data), func(w *writer) error { return w.putRecord(r) })
	if err != nil {
		return 0, err
	}
	return r.Revision + 1, nil
}

func (w *writer) putRecord(r task.Record) error {
	vals, err := w.row(`SELECT revision FROM records WHERE kind = ? AND key = ?`, r.Kind, r.Key)
	if err != nil {
		return err
	}
	has := int64(0)
	if vals != nil {
		has = vals[0].(int64)
	}
	if has != r.Revision {
		return task.Errorf(task.CodeConflict, "%s %q has revision %d, not %d: read it again and repeat the change", r.Kind, r.Key, has, r.Revision)
	}
	w.records.changed(r.Kind, r.Key)
	data, at := append([]byte{}, r.Data...), nanos(r.UpdatedAt)
	if has == 0 {
		_, err = w.exec(`INSERT INTO records (kind, key, owner, revision, updated_at, data) VALUES (?, ?, ?, 1, ?, ?)`,
			r.Kind, r.Key, r.Owner.String(), at, data)
		return err
	}
	_, err = w.exec(`UPDATE records SET owner = ?, revision = ?, updated_at = ?, data = ? WHERE kind = ? AND key = ?`,
		r.Owner.String(), has+1, at, data, r.Kind, r.Key)
	return err
}

// DeleteRecord implements task.Records.
func (s *Store) DeleteRecord(ctx context.Context, kind, key string) error {
	return s.w.do(ctx, "delete "+kind+" "+key, 0, func(w *writer) error {
		vals, err := w.row(`SELECT 1 FROM records WHERE kind = ? AND key = ?`, kind, key)
		if err != nil {
			return err
		}
		if vals == nil {
			return noRecord(kind, key)
		}
		w.records.changed(kind, key)
		_, err = w.exec(`DELETE FROM records WHERE kind = ? AND key = ?`, kind, key)
		return err
	})
}

// Record implements task.Records.
func (s *Store) Record(ctx context.Context, kind, key string) (task.Record, error) {
	if err := ctx.Err(); err != nil {
		return task.Record{}, err
	}
	if s.w.stopped() {
		return task.Record{}, errClosed
	}
	name := recordName{kind, key}
	known, ok, generation := s.w.records.find(name)
	if !ok {
		r, err := scanRecord(s.fixed.row(ctx, selectRecord, kind, key))
		if err != nil && !errors.Is(err, sql.ErrNoRows) {
			return task.Record{}, s.explainRead(ctx, "read "+kind+" "+key, err)
		}
		known = cachedRecord{r, err == nil}
		s.w.records.keep(name, known, generation)
	}
	if !known.exists {
		return task.Record{}, noRecord(kind, key)
	}
	return known.record, nil
}

// Records implements task.Records.
func (s *Store) Records(ctx context.Context, kind string, owner *task.Scope) ([]task.Record, error) {
	text, args := selectRecords, []any{kind}
	if owner != nil {
		text, args = selectRecordsOf, []any{kind, owner.String()}
	}
	out, err := collect(ctx, &s.fixed, scanRecord, text, args...)
	return out, s.explainRead(ctx, "list "+kind, err)
}

func scanRecord(row scanner) (r task.Record, err error) {
	var owner string
	var at int64
	err = row.Scan(&r.Kind, &r.Key, &owner, &r.Revision, &at, &r.Data)
	r.Owner, r.UpdatedAt = parseScope(owner), fromNanos(at)
	return r, err
}

func noRecord(kind, key string) error {
	return task.Errorf(task.CodeNotFound, "there is no %s %q", kind, key)
}

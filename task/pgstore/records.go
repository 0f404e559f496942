package pgstore

import (
	"context"
	"errors"

	"github.com/jackc/pgx/v5"

	"github.com/oz-platform/cloudagents/task"
)

// Limits of a record's names (task.Record).
const (
	maxRecordKind = 64
	maxRecordKey  = 512
)

// The statements of reads.
const (
	recordColumns   = `SELECT kind, key, owner, revision, updated_at, data FROM records WHERE kind = $1`
	selectRecord    = recordColumns + ` AND key = $2`
	selectRecords   = recordColumns + ` ORDER BY key`
	selectRecordsOf = recordColumns + ` AND owner_key = $2 ORDER BY key`
)

// PutRecord implements task.Records.
func (s *Store) PutRecord(ctx context.Context, r task.Record) (int64, error) {
	switch {
	case r.Kind == "" || len(r.Kind) > maxRecordKind:
		return 0, task.Invalid("kind", "must have 1 to %d bytes", maxRecordKind)
	case r.Key == "" || len(r.Key) > maxRecordKey:
		return 0, task.Invalid("key", "must have 1 to %d bytes", maxRecordKey)
	case len(r.Data) > task.MaxRecordBytes:
		return 0, task.Invalid("data", "has %d bytes, at most %d are allowed", len(r.Data), task.MaxRecordBytes)
	case r.Revision < 0:
		return 0, task.Invalid("revision", "must not be negative")
	}
	if err := s.do(ctx, "write "+r.Kind+" "+r.Key, r.Kind+r.Key, len(r.Data), &putRecord{r}); err != nil {
		return 0, err
	}
	return r.Revision + 1, nil
}

// DeleteRecord implements task.Records.
func (s *Store) DeleteRecord(ctx context.Context, kind, key string) error {
	return s.do(ctx, "delete "+kind+" "+key, kind+key, 0, &dropRecord{kind, key})
}

// record is a record within a transaction. Revision 0 is none.
type record struct {
	task.Record
	before  int64 // its stored revision, 0 for none
	changed bool
}

// record gives a record by its name, which may be free.
func (tx *transaction) record(kind, key string) *record {
	p := recordName(kind, key)
	if tx.records[p] == nil {
		tx.records[p] = &record{}
	}
	return tx.records[p]
}

func recordName(kind, key string) pair { return pair{text(kind), text(key)} }

// putRecord is the operation of PutRecord.
type putRecord struct{ r task.Record }

func (o *putRecord) need(n *needs) { n.records = append(n.records, recordName(o.r.Kind, o.r.Key)) }

func (o *putRecord) decide(tx *transaction) error {
	has := tx.record(o.r.Kind, o.r.Key)
	if has.Revision != o.r.Revision {
		return task.Errorf(task.CodeConflict, "%s %q has revision %d, not %d: read it again and repeat the change", o.r.Kind, o.r.Key, has.Revision, o.r.Revision)
	}
	has.Record, has.changed = o.r, true
	has.Revision++
	return nil
}

// dropRecord is the operation of DeleteRecord.
type dropRecord struct{ kind, key string }

func (o *dropRecord) need(n *needs) { n.records = append(n.records, recordName(o.kind, o.key)) }

func (o *dropRecord) decide(tx *transaction) error {
	has := tx.record(o.kind, o.key)
	if has.Revision == 0 {
		return noRecord(o.kind, o.key)
	}
	has.Record, has.changed = task.Record{}, true
	return nil
}

// Record implements task.Records.
func (s *Store) Record(ctx context.Context, kind, key string) (task.Record, error) {
	r, err := one(ctx, s, scanRecord, selectRecord, text(kind), text(key))
	if errors.Is(err, pgx.ErrNoRows) {
		return task.Record{}, noRecord(kind, key)
	}
	return r, s.explainCall(ctx, "read "+kind+" "+key, err)
}

// Records implements task.Records.
func (s *Store) Records(ctx context.Context, kind string, owner *task.Scope) ([]task.Record, error) {
	statement, args := selectRecords, []any{text(kind)}
	if owner != nil {
		statement, args = selectRecordsOf, append(args, bounded(owner.String()))
	}
	out, err := collect(ctx, s, scanRecord, statement, args...)
	return out, s.explainCall(ctx, "list "+kind, err)
}

func scanRecord(row pgx.CollectableRow) (r task.Record, err error) {
	var owner string
	var at int64
	err = row.Scan(&r.Kind, &r.Key, &owner, &r.Revision, &at, &r.Data)
	r.Kind, r.Key, r.Owner, r.UpdatedAt = untext(r.Kind), untext(r.Key), parseScope(owner), fromNanos(at)
	return r, err
}

func noRecord(kind, key string) error {
	return task.Errorf(task.CodeNotFound, "there is no %s %q", kind, key)
}

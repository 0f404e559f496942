package task

import (
	"context"
	"time"
)

// Record is one small document of the platform besides its runs: an
// environment, a sealed secret, an API key. The package that owns the Kind
// gives Data its meaning.
type Record struct {
	// Kind groups records of one meaning, such as "environment". 1 to 64 bytes.
	Kind string
	// Key is unique within the kind. 1 to 512 bytes.
	Key string
	// Owner is whose record it is; Records.List filters by it. May be zero.
	Owner Scope
	// Revision counts the writes, from 1. See Records.Put.
	Revision int64
	// Data is the document, at most MaxRecordBytes.
	Data []byte
	// UpdatedAt is the time of the last write, as the writer gave it.
	UpdatedAt time.Time
}

// MaxRecordBytes bounds Record.Data: room for a secret of 128 KiB, sealed and
// encoded, and for an environment with its commands.
const MaxRecordBytes = 1 << 20

// Records keeps small documents. A Store offers them so that one database
// holds everything a server knows. Implementations are safe for concurrent
// use, share no memory with callers, and pass storetest.
type Records interface {
	// PutRecord writes r if its stored revision is r.Revision (0: it must not
	// exist yet), and returns the new revision. It fails with ErrConflict.
	PutRecord(ctx context.Context, r Record) (int64, error)
	// Record returns one record. It fails with ErrNotFound.
	Record(ctx context.Context, kind, key string) (Record, error)
	// Records lists the records of a kind, ordered by key; a nil owner lists
	// those of every owner.
	Records(ctx context.Context, kind string, owner *Scope) ([]Record, error)
	// DeleteRecord removes a record. It fails with ErrNotFound.
	DeleteRecord(ctx context.Context, kind, key string) error
}

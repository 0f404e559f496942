package task

import (
	"context"
	"io"
)

// BlobStore keeps large payloads (attachments, artifacts) outside the
// database. Implementations are safe for concurrent use.
type BlobStore interface {
	// PutBlob stores what r gives under key, replacing what was there, whole
	// or not at all. Keys have 1 to 255 bytes of [A-Za-z0-9._/-], no "..".
	PutBlob(ctx context.Context, key string, r io.Reader) (sizeBytes int64, err error)
	// OpenBlob opens a blob for reading; the caller closes it. It fails with ErrNotFound.
	OpenBlob(ctx context.Context, key string) (io.ReadSeekCloser, error)
	// DeleteBlob removes a blob; removing one that is not there is no error.
	DeleteBlob(ctx context.Context, key string) error
}

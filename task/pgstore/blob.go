package pgstore

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/oz-platform/cloudagents/task"
)

// A Store keeps blobs, too, so that servers need share nothing but the database.
var _ task.BlobStore = (*Store)(nil)

const (
	// chunkBytes is the size of the pieces in which blobs are stored.
	chunkBytes = 1 << 20

	// MaxBlobBytes bounds one blob.
	MaxBlobBytes = 1 << 30

	// blobCleanUp bounds the removal of a blob whose writing has failed.
	blobCleanUp = 10 * time.Second
)

// The statements of blobs.
const (
	beginBlob      = `INSERT INTO blobs (key, size, done) VALUES ($1, 0, false) RETURNING id`
	sweepBlobs     = `DELETE FROM blobs WHERE id IN (SELECT id FROM blobs WHERE NOT done AND made_at < now() - interval '1 day' ORDER BY made_at LIMIT 2)`
	insertChunk    = `INSERT INTO blob_chunks (blob, n, data) VALUES ($1, $2, $3)`
	replaceBlob    = `DELETE FROM blobs WHERE key = $1 AND done`
	publishBlob    = `UPDATE blobs SET done = true, size = $2 WHERE id = $1`
	dropBlob       = `DELETE FROM blobs WHERE id = $1`
	selectBlob     = `SELECT id, size FROM blobs WHERE key = $1 AND done`
	selectChunk    = `SELECT data FROM blob_chunks WHERE blob = $1 AND n = $2`
	publishRetries = 10
)

// PutBlob implements task.BlobStore. What r gives is stored piece by piece, and
// seen by readers once it is whole.
func (s *Store) PutBlob(ctx context.Context, key string, r io.Reader) (sizeBytes int64, err error) {
	if err := task.ValidateBlobKey(key); err != nil {
		return 0, err
	}
	doing := "store blob " + key
	if _, err := s.writes.Exec(ctx, sweepBlobs); err != nil { // of writers that died
		return 0, s.explainCall(ctx, doing, err)
	}
	var id int64
	if err := s.writes.QueryRow(ctx, beginBlob, key).Scan(&id); err != nil {
		return 0, s.explainCall(ctx, doing, err)
	}
	size, err := s.writeChunks(ctx, id, r)
	if err == nil {
		err = s.publish(ctx, id, key, size)
	}
	if err != nil {
		clean, cancel := context.WithTimeout(context.WithoutCancel(ctx), blobCleanUp)
		defer cancel()
		_, _ = s.writes.Exec(clean, dropBlob, id) // what is left is swept later
		return 0, s.explainCall(ctx, doing, err)
	}
	return size, nil
}

// writeChunks stores what r gives.
func (s *Store) writeChunks(ctx context.Context, id int64, r io.Reader) (size int64, err error) {
	chunk := make([]byte, chunkBytes)
	for n := 0; ; n++ {
		if err := ctx.Err(); err != nil {
			return 0, err
		}
		k, err := io.ReadFull(r, chunk)
		if size += int64(k); size > MaxBlobBytes {
			return 0, task.Errorf(task.CodeInvalidRequest, "has more than %d bytes, the limit of one blob", int64(MaxBlobBytes))
		}
		if k > 0 {
			if _, err := s.writes.Exec(ctx, insertChunk, id, n, chunk[:k]); err != nil {
				return 0, err
			}
		}
		switch {
		case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
			return size, nil
		case err != nil:
			return 0, err
		}
	}
}

// publish puts a blob that is whole in the place of an older one.
func (s *Store) publish(ctx context.Context, id int64, key string, size int64) (err error) {
	for range publishRetries {
		err = pgx.BeginFunc(ctx, s.writes, func(tx pgx.Tx) error {
			if _, err := tx.Exec(ctx, replaceBlob, key); err != nil {
				return err
			}
			_, err := tx.Exec(ctx, publishBlob, id, size)
			return err
		})
		if sqlState(err) != "23505" { // else another one was published meanwhile
			return err
		}
	}
	return err
}

// OpenBlob implements task.BlobStore. The blob is read as far as it is asked
// for; one that is replaced or deleted meanwhile fails with task.ErrNotFound.
func (s *Store) OpenBlob(ctx context.Context, key string) (io.ReadSeekCloser, error) {
	if err := task.ValidateBlobKey(key); err != nil {
		return nil, err
	}
	b := &blob{ctx: context.WithoutCancel(ctx), store: s, key: key, at: -1}
	err := s.reads.QueryRow(ctx, selectBlob, key).Scan(&b.id, &b.size)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, noBlob(key)
	}
	if err != nil {
		return nil, s.explainCall(ctx, "open blob "+key, err)
	}
	return b, nil
}

func noBlob(key string) error { return task.Errorf(task.CodeNotFound, "there is no blob %q", key) }

// DeleteBlob implements task.BlobStore.
func (s *Store) DeleteBlob(ctx context.Context, key string) error {
	if err := task.ValidateBlobKey(key); err != nil {
		return err
	}
	_, err := s.writes.Exec(ctx, replaceBlob, key)
	return s.explainCall(ctx, "delete blob "+key, err)
}

// blob is an open one. Its reads are bounded by the statement time-out, since
// an io.Reader has no context.
type blob struct {
	ctx      context.Context
	store    *Store
	key      string
	id, size int64
	pos      int64
	chunk    []byte
	at       int64 // number of chunk; -1 before the first
	closed   bool
}

// Read implements io.Reader.
func (b *blob) Read(p []byte) (int, error) {
	switch {
	case b.closed:
		return 0, fmt.Errorf("read blob %s: it is closed", b.key)
	case b.pos >= b.size:
		return 0, io.EOF
	case len(p) == 0:
		return 0, nil
	}
	if n := b.pos / chunkBytes; n != b.at {
		if err := b.load(n); err != nil {
			return 0, err
		}
	}
	n := copy(p, b.chunk[b.pos%chunkBytes:])
	b.pos += int64(n)
	return n, nil
}

func (b *blob) load(n int64) error {
	var data []byte
	err := b.store.reads.QueryRow(b.ctx, selectChunk, b.id, n).Scan(&data)
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		return noBlob(b.key)
	case err != nil:
		return b.store.explainCall(b.ctx, "read blob "+b.key, err)
	case int64(len(data)) != min(chunkBytes, b.size-n*chunkBytes):
		return fmt.Errorf("read blob %s: piece %d has %d bytes, which is not its length", b.key, n, len(data))
	}
	b.chunk, b.at = data, n
	return nil
}

// Seek implements io.Seeker.
func (b *blob) Seek(offset int64, whence int) (int64, error) {
	switch whence {
	case io.SeekStart:
	case io.SeekCurrent:
		offset += b.pos
	case io.SeekEnd:
		offset += b.size
	default:
		return 0, fmt.Errorf("seek in blob %s: %d is no whence", b.key, whence)
	}
	if offset < 0 {
		return 0, fmt.Errorf("seek in blob %s: before its begin", b.key)
	}
	b.pos = offset
	return offset, nil
}

// Close implements io.Closer.
func (b *blob) Close() error {
	b.closed = true
	return nil
}

package pgstore_test

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"gotest.tools/v3/assert"

	"github.com/oz-platform/cloudagents/internal/pgtest"
	"github.com/oz-platform/cloudagents/task"
	"github.com/oz-platform/cloudagents/task/pgstore"
	"github.com/oz-platform/cloudagents/task/storetest"
)

func TestBlobConformance(t *testing.T) {
	dsn, n := pgtest.DSN(t), 0
	storetest.RunBlobs(t, func(t *testing.T) task.BlobStore {
		n++
		return open(t, dsn, &pgstore.Options{Schema: fmt.Sprint("blobs_", n)})
	})
}

// TestBlobsLeaveNothingBehind: neither what was replaced or deleted nor what
// was cut off stays in the database, and replicas see the same.
func TestBlobsLeaveNothingBehind(t *testing.T) {
	dsn := pgtest.DSN(t)
	a, b, conn := open(t, dsn, nil), open(t, dsn, nil), admin(t, dsn)
	count := func(query string) (n int) {
		t.Helper()
		assert.NilError(t, conn.QueryRow(t.Context(), query).Scan(&n))
		return n
	}
	for i := range 3 {
		_, err := a.PutBlob(t.Context(), "k", strings.NewReader(strings.Repeat("x", i<<20)))
		assert.NilError(t, err)
	}
	r, err := b.OpenBlob(t.Context(), "k")
	assert.NilError(t, err)
	content, err := io.ReadAll(r)
	assert.NilError(t, errors.Join(err, r.Close()))
	assert.Equal(t, len(content), 2<<20)
	_, err = r.Read(make([]byte, 1))
	assert.ErrorContains(t, err, "closed")

	r, err = b.OpenBlob(t.Context(), "k")
	assert.NilError(t, err)
	assert.NilError(t, a.DeleteBlob(t.Context(), "k"))
	_, err = io.ReadAll(r)
	assert.ErrorIs(t, err, task.ErrNotFound)
	assert.NilError(t, r.Close())
	_, err = a.PutBlob(t.Context(), "broken", io.MultiReader(strings.NewReader(strings.Repeat("x", 2<<20)), iotest.ErrReader(io.ErrClosedPipe)))
	assert.ErrorIs(t, err, io.ErrClosedPipe)
	assert.Equal(t, count(`SELECT count(*) FROM oz.blobs`), 0)
	assert.Equal(t, count(`SELECT count(*) FROM oz.blob_chunks`), 0)

	// A writer that died leaves pieces, which a later one removes.
	run(t, conn, `INSERT INTO oz.blobs (key, size, done, made_at) VALUES ('dead', 0, false, now() - interval '2 days'), ('alive', 0, false, now())`)
	_, err = a.PutBlob(t.Context(), "k", strings.NewReader("x"))
	assert.NilError(t, err)
	assert.Equal(t, count(`SELECT count(*) FROM oz.blobs WHERE key = 'dead'`), 0)
	assert.Equal(t, count(`SELECT count(*) FROM oz.blobs WHERE key = 'alive'`), 1)
}

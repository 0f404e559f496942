package storetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
	"testing/iotest"

	"gotest.tools/v3/assert"

	"github.com/oz-platform/cloudagents/task"
)

// RunBlobs tests a task.BlobStore. open gives one that is private to t and
// closes it at the end.
func RunBlobs(t *testing.T, open func(t *testing.T) task.BlobStore) {
	t.Helper()
	for name, run := range map[string]func(*testing.T, task.BlobStore){
		"PutOpenDelete": blobLife, "Sizes": blobSizes, "Seek": blobSeek, "Keys": blobKeys, "FailedPut": blobFailedPut,
		"ConcurrentPuts": blobConcurrent, "CancelledContext": blobCancelled,
	} {
		t.Run(name, func(t *testing.T) { run(t, open(t)) })
	}
}

func putBlob(t *testing.T, s task.BlobStore, key, content string) {
	t.Helper()
	n, err := s.PutBlob(t.Context(), key, strings.NewReader(content))
	assert.NilError(t, err)
	assert.Equal(t, n, int64(len(content)))
}

func getBlob(t *testing.T, s task.BlobStore, key string) string {
	t.Helper()
	r, err := s.OpenBlob(t.Context(), key)
	assert.NilError(t, err)
	b, err := io.ReadAll(r)
	assert.NilError(t, errors.Join(err, r.Close()))
	return string(b)
}

func blobLife(t *testing.T, s task.BlobStore) {
	putBlob(t, s, "runs/1/plan.md", "first")
	putBlob(t, s, "runs/1/plan.md", "second")
	putBlob(t, s, "runs/1", "a key that begins another")
	putBlob(t, s, "runs", "")
	assert.Equal(t, getBlob(t, s, "runs/1/plan.md"), "second")
	assert.Equal(t, getBlob(t, s, "runs/1"), "a key that begins another")
	assert.Equal(t, getBlob(t, s, "runs"), "")
	assert.NilError(t, s.DeleteBlob(t.Context(), "runs/1"))
	assert.NilError(t, s.DeleteBlob(t.Context(), "runs/1"), "again")
	_, err := s.OpenBlob(t.Context(), "runs/1")
	assert.ErrorIs(t, err, task.ErrNotFound)
	assert.Equal(t, getBlob(t, s, "runs/1/plan.md"), "second")
}

// blobSizes stores contents around likely sizes of pieces.
func blobSizes(t *testing.T, s task.BlobStore) {
	const mib = 1 << 20
	for _, n := range []int{0, 1, mib - 1, mib, mib + 1, 2*mib + 7} {
		content := bytes.Repeat([]byte{0, 1, 2, 3, 4, 5, 0xff}, n/7+1)[:n]
		key := fmt.Sprint("size/", n)
		size, err := s.PutBlob(t.Context(), key, iotest.OneByteReader(io.MultiReader(bytes.NewReader(content[:min(n, 10)]))))
		assert.NilError(t, err)
		assert.Equal(t, size, int64(min(n, 10)))
		size, err = s.PutBlob(t.Context(), key, bytes.NewReader(content))
		assert.NilError(t, err)
		assert.Equal(t, size, int64(n))
		assert.Assert(t, getBlob(t, s, key) == string(content), "%d bytes", n)
	}
}

func blobSeek(t *testing.T, s task.BlobStore) {
	content := strings.Repeat("0123456789", 250_000)
	putBlob(t, s, "k", content)
	r, err := s.OpenBlob(t.Context(), "k")
	assert.NilError(t, err)
	for _, at := range []struct {
		offset int64
		whence int
		want   int64
	}{{-3, io.SeekEnd, 2_499_997}, {0, io.SeekStart, 0}, {1_048_575, io.SeekStart, 1_048_575}, {5, io.SeekCurrent, 1_048_583}, {-1_000_000, io.SeekCurrent, 48_586}} {
		pos, err := r.Seek(at.offset, at.whence)
		assert.NilError(t, err)
		assert.Equal(t, pos, at.want)
		buf := make([]byte, 3)
		_, err = io.ReadFull(r, buf)
		assert.NilError(t, err)
		assert.Equal(t, string(buf), content[pos:pos+3])
	}
	size, err := r.Seek(0, io.SeekEnd)
	assert.NilError(t, err)
	assert.Equal(t, size, int64(len(content)))
	_, err = r.Read(make([]byte, 1))
	assert.ErrorIs(t, err, io.EOF)
	_, err = r.Seek(-1, io.SeekStart)
	assert.Assert(t, err != nil)
	assert.NilError(t, r.Close())
}

func blobKeys(t *testing.T, s task.BlobStore) {
	for _, key := range []string{"", ".", "..", "a/..", "../a", "a/../b", "a/./b", "/a", "a/", "a//b", "a..b", "a b", "a\x00b", "a\\b", "é", "a+", strings.Repeat("k", 256)} {
		_, err := s.PutBlob(t.Context(), key, strings.NewReader("x"))
		assert.ErrorIs(t, err, task.ErrInvalid, "put %q", key)
		_, err = s.OpenBlob(t.Context(), key)
		assert.ErrorIs(t, err, task.ErrInvalid, "open %q", key)
		assert.ErrorIs(t, s.DeleteBlob(t.Context(), key), task.ErrInvalid, "delete %q", key)
	}
	putBlob(t, s, strings.Repeat("k", 255), "as long as may be")
}

func blobFailedPut(t *testing.T, s task.BlobStore) {
	putBlob(t, s, "k", "the old one")
	broken := errors.New("the sender hung up")
	_, err := s.PutBlob(t.Context(), "k", io.MultiReader(strings.NewReader(strings.Repeat("x", 3<<20)), iotest.ErrReader(broken)))
	assert.ErrorIs(t, err, broken)
	assert.Equal(t, getBlob(t, s, "k"), "the old one")
	_, err = s.PutBlob(t.Context(), "new", iotest.ErrReader(broken))
	assert.ErrorIs(t, err, broken)
	_, err = s.OpenBlob(t.Context(), "new")
	assert.ErrorIs(t, err, task.ErrNotFound)
}

// blobConcurrent replaces one blob from many sides: each reader sees one of
// the contents, whole, or is told that it was replaced.
func blobConcurrent(t *testing.T, s task.BlobStore) {
	content := func(i int) string { return strings.Repeat(fmt.Sprint(i%10), 1<<20+i) }
	putBlob(t, s, "k", content(0))
	var all sync.WaitGroup
	for i := range 8 {
		all.Go(func() {
			_, err := s.PutBlob(t.Context(), "k", strings.NewReader(content(i)))
			assert.Check(t, err)
		})
		all.Go(func() {
			r, err := s.OpenBlob(t.Context(), "k")
			if !assert.Check(t, err) {
				return
			}
			defer func() { _ = r.Close() }()
			b, err := io.ReadAll(r)
			if errors.Is(err, task.ErrNotFound) {
				return
			}
			assert.Check(t, err)
			assert.Check(t, len(b) > 0 && strings.Count(string(b), string(b[:1])) == len(b), "a mixture")
		})
	}
	all.Wait()
	b := getBlob(t, s, "k")
	assert.Assert(t, strings.Count(b, b[:1]) == len(b))
}

func blobCancelled(t *testing.T, s task.BlobStore) {
	putBlob(t, s, "k", "kept")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := s.PutBlob(ctx, "k", strings.NewReader("lost"))
	assert.ErrorIs(t, err, context.Canceled)
	_, err = s.OpenBlob(ctx, "k")
	assert.ErrorIs(t, err, context.Canceled)
	assert.ErrorIs(t, s.DeleteBlob(ctx, "k"), context.Canceled)
	assert.Equal(t, getBlob(t, s, "k"), "kept")
}

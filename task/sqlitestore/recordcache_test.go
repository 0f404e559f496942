package sqlitestore_test

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"

	"gotest.tools/v3/assert"

	"github.com/oz-platform/cloudagents/task"
)

// TestRecordsAreNeverOld reads a record again and again while it is written,
// deleted and made anew: whoever asks after a write was answered sees it, and
// nobody sees an older one than before.
func TestRecordsAreNeverOld(t *testing.T) {
	const turns, readers = 300, 4
	s := open(t, filepath.Join(t.TempDir(), "oz.db"), nil)
	ctx := context.Background()
	var written atomic.Int64 // the number in the record whose write was answered
	read := func() int64 {
		r, err := s.Record(ctx, "kind", "key")
		if errors.Is(err, task.ErrNotFound) {
			return 0
		}
		assert.Check(t, err)
		var n int64
		_, err = fmt.Sscan(string(r.Data), &n)
		assert.Check(t, err, "%q", r.Data)
		r.Data[0] = 'x' // a caller may do what it wants with its copy
		return n
	}
	stop := make(chan struct{})
	var all sync.WaitGroup
	for range readers {
		all.Go(func() {
			for last := int64(0); ; {
				select {
				case <-stop:
					return
				default:
				}
				least := written.Load()
				n := read()
				assert.Check(t, n == 0 || n >= least && n >= last, "read %d after %d, when %d was written", n, last, least)
				last = max(n, last)
			}
		})
	}
	revision := int64(0)
	for i := range int64(turns) {
		var err error
		revision, err = s.PutRecord(ctx, task.Record{Kind: "kind", Key: "key", Revision: revision, Data: fmt.Append(nil, i+1)})
		assert.NilError(t, err)
		written.Store(i + 1)
		assert.Equal(t, read(), i+1)
		if i%10 == 9 {
			assert.NilError(t, s.DeleteRecord(ctx, "kind", "key"))
			assert.Equal(t, read(), int64(0))
			revision = 0
		}
	}
	close(stop)
	all.Wait()
	many(t, s)
}

// many asks for more records than are kept in memory, and for large ones.
func many(t *testing.T, s task.Records) {
	for i := range 5000 {
		_, err := s.Record(t.Context(), "kind", fmt.Sprint(i))
		assert.ErrorIs(t, err, task.ErrNotFound)
	}
	large := task.Record{Kind: "kind", Key: "7", Data: make([]byte, 100_000)}
	_, err := s.PutRecord(t.Context(), large)
	assert.NilError(t, err)
	for range 2 {
		r, err := s.Record(t.Context(), "kind", "7")
		assert.NilError(t, err)
		assert.DeepEqual(t, r.Data, large.Data)
	}
}

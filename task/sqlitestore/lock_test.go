package sqlitestore_test

import (
	"path/filepath"
	"testing"
	"time"

	"gotest.tools/v3/assert"

	"github.com/oz-platform/cloudagents/task/sqlitestore"
)

// TestOpenAwaitsTheLock: a start that comes a moment before the earlier
// process has quite ended waits for that, and a store in use is refused.
func TestOpenAwaitsTheLock(t *testing.T) {
	path := filepath.Join(t.TempDir(), "oz.db")
	first, err := sqlitestore.Open(t.Context(), path, nil)
	assert.NilError(t, err)
	_, err = sqlitestore.Open(t.Context(), path, nil)
	assert.ErrorContains(t, err, "in use by another process or store")

	closed := make(chan error, 1)
	time.AfterFunc(20*time.Millisecond, func() { closed <- first.Close() }) // mostly while the next line waits
	second, err := sqlitestore.Open(t.Context(), path, nil)
	assert.NilError(t, err)
	assert.NilError(t, <-closed)
	assert.NilError(t, second.Close())
}

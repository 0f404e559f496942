package sealed_test

import (
	"bytes"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"gotest.tools/v3/assert"

	"github.com/oz-platform/cloudagents/secrets/sealed"
)

// TestSharedKeys: replicas with one database and one key file have the same
// keys, one for each purpose; another key file is found out.
func TestSharedKeys(t *testing.T) {
	k := open(t)
	keys := make([][]byte, 16)
	var all sync.WaitGroup
	for i := range keys {
		all.Go(func() {
			key, err := sealed.New(k.records, k.keys, nil).SharedKey(t.Context(), "links")
			assert.Check(t, err)
			keys[i] = key
		})
	}
	all.Wait()
	for _, key := range keys {
		assert.Equal(t, len(key), 32)
		assert.Assert(t, bytes.Equal(key, keys[0]), "made twice")
	}
	another, err := k.SharedKey(t.Context(), "another")
	assert.NilError(t, err)
	assert.Assert(t, !bytes.Equal(another, keys[0]))

	assert.NilError(t, k.keys.Rotate())
	again, err := sealed.OpenKeys(k.keyFile)
	assert.NilError(t, err)
	same, err := sealed.New(k.records, again, nil).SharedKey(t.Context(), "links")
	assert.NilError(t, err)
	assert.Assert(t, bytes.Equal(same, keys[0]), "after a rotation and a restart")

	wrong, err := sealed.OpenKeys(filepath.Join(t.TempDir(), "keys", "secrets.json"))
	assert.NilError(t, err)
	_, err = sealed.New(k.records, wrong, nil).SharedKey(t.Context(), "links")
	assert.ErrorIs(t, err, sealed.ErrOtherKeys)
}

// TestResealMovesSharedKeys: once all is sealed anew, the old key may go.
func TestResealMovesSharedKeys(t *testing.T) {
	k, ctx := open(t), t.Context()
	key, err := k.SharedKey(ctx, "links")
	assert.NilError(t, err)
	before, err := os.ReadFile(k.keyFile)
	assert.NilError(t, err)
	assert.NilError(t, k.keys.Rotate())
	_, err = k.Reseal(ctx)
	assert.NilError(t, err)

	oldFile := filepath.Join(t.TempDir(), "old.json")
	assert.NilError(t, os.WriteFile(oldFile, before, 0o600))
	old, err := sealed.OpenKeys(oldFile)
	assert.NilError(t, err)
	_, err = sealed.New(k.records, old, nil).SharedKey(ctx, "links")
	assert.ErrorIs(t, err, sealed.ErrOtherKeys)
	same, err := k.SharedKey(ctx, "links")
	assert.NilError(t, err)
	assert.Assert(t, bytes.Equal(same, key))
}

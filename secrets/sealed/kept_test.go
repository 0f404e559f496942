package sealed_test

import (
	"bytes"
	"testing"

	"gotest.tools/v3/assert"

	"github.com/oz-platform/cloudagents/secrets/sealed"
	"github.com/oz-platform/cloudagents/task"
)

// TestKept: what the platform keeps for itself is sealed, in no run's secrets,
// bound to its place, and moves with the keys.
func TestKept(t *testing.T) {
	k, ctx := open(t), t.Context()
	red, blue := task.Scope{Type: task.ScopeTeam, UID: "red"}, task.Scope{Type: task.ScopeTeam, UID: "blue"}
	value := []byte("what we share with somebody")
	assert.NilError(t, k.Keep(ctx, red, "hook", []byte("an older value")))
	assert.NilError(t, k.Keep(ctx, red, "hook", value))
	got, err := k.Kept(ctx, red, "hook")
	assert.NilError(t, err)
	assert.DeepEqual(t, got, value)
	_, err = k.Kept(ctx, blue, "hook")
	assert.ErrorIs(t, err, task.ErrNotFound)
	none, err := k.Values(ctx, red)
	assert.NilError(t, err)
	assert.Equal(t, len(none), 0)

	records, err := k.records.Records(ctx, "sealed.kept", nil)
	assert.NilError(t, err)
	assert.Equal(t, len(records), 1)
	assert.Assert(t, !bytes.Contains(records[0].Data, value))
	moved := records[0]
	moved.Key, moved.Owner, moved.Revision = blue.String()+"/hook", blue, 0
	_, err = k.records.PutRecord(ctx, moved)
	assert.NilError(t, err)
	_, err = k.Kept(ctx, blue, "hook")
	assert.Equal(t, task.CodeOf(err), task.CodeInternal, "a copied ciphertext does not open elsewhere")
	assert.NilError(t, k.Drop(ctx, blue, "hook"))
	assert.NilError(t, k.Drop(ctx, blue, "hook"))

	assert.NilError(t, k.keys.Rotate())
	_, err = k.Reseal(ctx)
	assert.NilError(t, err)
	got, err = k.Kept(ctx, red, "hook")
	assert.NilError(t, err)
	assert.DeepEqual(t, got, value)

	assert.ErrorIs(t, k.Keep(ctx, red, "", value), task.ErrInvalid)
	assert.ErrorIs(t, k.Keep(ctx, red, "hook", nil), task.ErrInvalid)
	assert.ErrorIs(t, k.Keep(ctx, red, "hook", make([]byte, sealed.MaxKept+1)), task.ErrInvalid)
}

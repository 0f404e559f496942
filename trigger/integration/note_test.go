package integration_test

import (
	"testing"

	"gotest.tools/v3/assert"

	"github.com/oz-platform/cloudagents/task"
	"github.com/oz-platform/cloudagents/trigger/integration"
)

// TestNotes: of two writers one wins, and a note goes with its integration.
func TestNotes(t *testing.T) {
	s, ctx := newStore(t, integration.Options{}), t.Context()
	i, err := s.Create(ctx, integration.GitHub, team, ann, integration.Spec{Name: "x", Enabled: true}, nil)
	assert.NilError(t, err)
	none, err := s.Note(ctx, i)
	assert.NilError(t, err)
	assert.DeepEqual(t, none, integration.Note{})
	none.Data = []byte("1")
	first, err := s.PutNote(ctx, i, none)
	assert.NilError(t, err)
	_, err = s.PutNote(ctx, i, none)
	assert.ErrorIs(t, err, task.ErrConflict)
	first.Data = []byte("2")
	second, err := s.PutNote(ctx, i, first)
	assert.NilError(t, err)
	read, err := s.Note(ctx, i)
	assert.NilError(t, err)
	assert.DeepEqual(t, read, second)
	assert.Equal(t, string(read.Data), "2")

	assert.NilError(t, s.Delete(ctx, i.UID))
	none, err = s.Note(ctx, i)
	assert.NilError(t, err)
	assert.DeepEqual(t, none, integration.Note{})
	_, err = s.PutNote(ctx, i, second)
	assert.ErrorIs(t, err, task.ErrConflict, "who was at work does not bring it back")
}

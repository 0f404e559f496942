package integration

import (
	"context"
	"errors"
	"fmt"

	"github.com/oz-platform/cloudagents/task"
)

// kindNote are the records of what services' packages keep about integrations.
const kindNote = "integration.note"

// Note is what a service's package keeps about an integration, as how far it
// has looked. It holds no secrets.
type Note struct {
	Data []byte
	// Revision is 0 for one that was never kept.
	Revision int64
}

// Note returns an integration's note; a zero one when there is none.
func (s *Store) Note(ctx context.Context, i Integration) (Note, error) {
	r, err := s.records.Record(ctx, kindNote, i.UID)
	if errors.Is(err, task.ErrNotFound) {
		return Note{}, nil
	}
	if err != nil {
		return Note{}, fmt.Errorf("read the note of integration %s: %w", i.UID, err)
	}
	return Note{Data: r.Data, Revision: r.Revision}, nil
}

// PutNote keeps a note in place of the one with its Revision, and returns the
// new one. It fails with task.ErrConflict when another writer was faster.
func (s *Store) PutNote(ctx context.Context, i Integration, n Note) (Note, error) {
	rev, err := s.records.PutRecord(ctx, task.Record{Kind: kindNote, Key: i.UID, Owner: i.Owner, Revision: n.Revision, Data: n.Data, UpdatedAt: s.now()})
	if err != nil {
		return Note{}, fmt.Errorf("keep the note of integration %s: %w", i.UID, err)
	}
	return Note{Data: n.Data, Revision: rev}, nil
}

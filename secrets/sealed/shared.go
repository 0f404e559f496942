package sealed

import (
	"context"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"

	"github.com/oz-platform/cloudagents/task"
)

const (
	// rootKind and rootKey name the record from which shared keys are derived.
	rootKind = "sealed.root"
	rootKey  = "root"

	// sharedKeyBytes is the length of the root and of what is derived from it:
	// that of SHA-256.
	sharedKeyBytes = sha256.Size
)

// ErrOtherKeys says that the records were sealed with keys that this process
// does not have.
var ErrOtherKeys = errors.New("the secrets of this database were sealed with another key file: use the key file of the server that made it")

// SharedKey gives a key of 32 bytes for a purpose, such as signing links. All
// who open the same records with the same key file get the same one, over
// restarts and rotations. The first call makes what it is derived from.
//
// It fails with ErrOtherKeys for whoever has another key file, which is also
// how a server finds out at its start.
func (s *Store) SharedKey(ctx context.Context, purpose string) ([]byte, error) {
	root, err := s.root(ctx)
	if err != nil {
		return nil, fmt.Errorf("shared key: %w", err)
	}
	key, err := hkdf.Key(sha256.New, root, nil, purpose, sharedKeyBytes)
	if err != nil {
		return nil, fmt.Errorf("shared key: %w", err)
	}
	return key, nil
}

// root reads the root of the shared keys, or makes it.
func (s *Store) root(ctx context.Context) ([]byte, error) {
	for {
		r, err := s.records.Record(ctx, rootKind, rootKey)
		if err == nil {
			return s.openRoot(r)
		}
		if !errors.Is(err, task.ErrNotFound) {
			return nil, err
		}
		root := make([]byte, sharedKeyBytes)
		_, _ = rand.Read(root) // never fails
		sealed, err := s.keys.seal(root, []byte(rootKind))
		if err != nil {
			return nil, err
		}
		_, err = s.records.PutRecord(ctx, task.Record{Kind: rootKind, Key: rootKey, Data: sealed, UpdatedAt: s.now()})
		if err == nil {
			return root, nil
		}
		if !errors.Is(err, task.ErrConflict) { // somebody else was first: theirs counts
			return nil, err
		}
	}
}

func (s *Store) openRoot(r task.Record) ([]byte, error) {
	root, err := s.keys.open(r.Data, []byte(rootKind))
	if err != nil || len(root) != sharedKeyBytes {
		return nil, ErrOtherKeys // the cause says nothing more
	}
	return root, nil
}

// resealRoot seals the root with the primary key, if there is a root.
func (s *Store) resealRoot(ctx context.Context) error {
	r, err := s.records.Record(ctx, rootKind, rootKey)
	if errors.Is(err, task.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	root, err := s.openRoot(r)
	if err != nil {
		return err
	}
	if r.Data, err = s.keys.seal(root, []byte(rootKind)); err != nil {
		return err
	}
	r.UpdatedAt = s.now()
	if _, err = s.records.PutRecord(ctx, r); errors.Is(err, task.ErrConflict) {
		return nil // somebody else resealed it
	}
	return err
}

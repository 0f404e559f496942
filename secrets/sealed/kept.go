package sealed

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/oz-platform/cloudagents/task"
)

// keptKind is the kind of the records of what the platform keeps for itself.
const keptKind = "sealed.kept"

// MaxKept bounds what is kept at once, in bytes.
const MaxKept = 256 << 10

// Keep stores what the platform itself needs on behalf of an owner, such as the
// secret that it shares with somebody who signs what they send. No run ever
// gets it. What was kept under the name is replaced. It fails with
// [task.CodeInvalidRequest].
func (s *Store) Keep(ctx context.Context, owner task.Scope, name string, value []byte) error {
	switch {
	case name == "" || len(name) > 200 || strings.Contains(owner.UID, "/"):
		return task.Invalid("name", "must have 1 to 200 bytes, and its owner's uid no slash")
	case len(value) == 0 || len(value) > MaxKept:
		return task.Invalid("value", "must have 1 to %d bytes", MaxKept)
	}
	at := key(owner, name)
	sealed, err := s.keys.seal(value, keptData(at))
	if err != nil {
		return fmt.Errorf("seal %s: %w", at, err)
	}
	for {
		old, err := s.records.Record(ctx, keptKind, at)
		if err != nil && !errors.Is(err, task.ErrNotFound) {
			return fmt.Errorf("read %s: %w", at, err)
		}
		rec := task.Record{Kind: keptKind, Key: at, Owner: owner, Revision: old.Revision, Data: sealed, UpdatedAt: s.now()}
		if _, err = s.records.PutRecord(ctx, rec); !errors.Is(err, task.ErrConflict) {
			return err
		}
	}
}

// Kept gives what Keep stored. It fails with [task.CodeNotFound], and with
// [task.CodeInternal] when it does not open.
func (s *Store) Kept(ctx context.Context, owner task.Scope, name string) ([]byte, error) {
	at := key(owner, name)
	rec, err := s.records.Record(ctx, keptKind, at)
	if errors.Is(err, task.ErrNotFound) {
		return nil, task.Errorf(task.CodeNotFound, "nothing is kept as %s", at)
	}
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", at, err)
	}
	value, err := s.keys.open(rec.Data, keptData(at))
	if err != nil {
		return nil, task.Errorf(task.CodeInternal, "what is kept as %s does not open with this server's keys", at)
	}
	return value, nil
}

// Drop removes what Keep stored, if there is something.
func (s *Store) Drop(ctx context.Context, owner task.Scope, name string) error {
	err := s.records.DeleteRecord(ctx, keptKind, key(owner, name))
	if errors.Is(err, task.ErrNotFound) {
		return nil
	}
	return err
}

// resealKept seals everything that is kept anew.
func (s *Store) resealKept(ctx context.Context) (int, error) {
	records, err := s.records.Records(ctx, keptKind, nil)
	if err != nil {
		return 0, fmt.Errorf("list what is kept: %w", err)
	}
	count := 0
	for _, rec := range records {
		value, err := s.keys.open(rec.Data, keptData(rec.Key))
		if err != nil {
			return count, task.Errorf(task.CodeInternal, "what is kept as %s does not open with this server's keys", rec.Key)
		}
		if rec.Data, err = s.keys.seal(value, keptData(rec.Key)); err != nil {
			return count, fmt.Errorf("seal %s: %w", rec.Key, err)
		}
		rec.UpdatedAt = s.now()
		_, err = s.records.PutRecord(ctx, rec)
		if errors.Is(err, task.ErrConflict) {
			continue // a newer value, sealed with the newest key
		}
		if err != nil {
			return count, err
		}
		count++
	}
	return count, nil
}

// keptData binds a ciphertext to its place.
func keptData(at string) []byte { return []byte(keptKind + "\x00" + at) }

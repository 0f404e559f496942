package environment

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/oz-platform/cloudagents/task"
)

// recordKind is where environments live among a store's records.
const recordKind = "environment"

// Store keeps environments. It checks what it stores, but not who may: that
// is the caller's business. Safe for concurrent use.
type Store struct {
	records task.Records
	clock   task.Clock
}

// NewStore returns a Store on records. A nil clock is the machine's.
func NewStore(records task.Records, clock task.Clock) *Store {
	if clock == nil {
		clock = task.SystemClock()
	}
	return &Store{records: records, clock: clock}
}

// Create stores a new environment of owner. It fails with
// task.CodeInvalidRequest if cfg is not valid or the owner is not named.
func (s *Store) Create(ctx context.Context, owner task.Scope, by task.Principal, cfg Config) (Environment, error) {
	if (owner.Type != task.ScopeUser && owner.Type != task.ScopeTeam) || owner.UID == "" {
		return Environment{}, task.Invalid("scope", "must name a User or a Team by its uid")
	}
	if err := cfg.Validate(); err != nil {
		return Environment{}, err
	}
	now := s.now()
	return s.put(ctx, Environment{
		UID: newUID(), Config: cfg, Owner: owner, Creator: by, LastEditor: by, CreatedAt: now, UpdatedAt: now,
	})
}

// Get returns one environment. It fails with task.CodeNotFound.
func (s *Store) Get(ctx context.Context, uid string) (Environment, error) {
	if !IsUID(uid) {
		return Environment{}, notFound(uid, nil)
	}
	rec, err := s.records.Record(ctx, recordKind, uid)
	if errors.Is(err, task.ErrNotFound) {
		return Environment{}, notFound(uid, err)
	}
	if err != nil {
		return Environment{}, fmt.Errorf("get environment %s: %w", uid, err)
	}
	return decode(rec)
}

// Update replaces the configuration of an environment if its revision is still
// the given one, and returns the environment as it is now. It fails with
// task.CodeInvalidRequest, task.CodeNotFound or, when somebody changed it
// meanwhile, task.CodeConflict.
func (s *Store) Update(ctx context.Context, uid string, revision int64, by task.Principal, cfg Config) (Environment, error) {
	if err := cfg.Validate(); err != nil {
		return Environment{}, err
	}
	env, err := s.Get(ctx, uid)
	if err != nil {
		return Environment{}, err
	}
	if env.Revision != revision {
		return Environment{}, changed(uid, nil)
	}
	env.Config, env.LastEditor, env.UpdatedAt = cfg, by, s.now()
	env, err = s.put(ctx, env)
	if errors.Is(err, task.ErrConflict) {
		return Environment{}, changed(uid, err)
	}
	return env, err
}

// Delete removes an environment. It fails with task.CodeNotFound. Past runs
// keep the configuration they ran with.
func (s *Store) Delete(ctx context.Context, uid string) error {
	if !IsUID(uid) {
		return notFound(uid, nil)
	}
	err := s.records.DeleteRecord(ctx, recordKind, uid)
	if errors.Is(err, task.ErrNotFound) {
		return notFound(uid, err)
	}
	return err
}

// List returns the environments of the given owners, newest change first.
// Without owners it returns none.
func (s *Store) List(ctx context.Context, owners ...task.Scope) ([]Environment, error) {
	seen := map[task.Scope]bool{}
	list := []Environment{}
	for _, owner := range owners {
		if seen[owner] {
			continue
		}
		seen[owner] = true
		recs, err := s.records.Records(ctx, recordKind, &owner)
		if err != nil {
			return nil, fmt.Errorf("list environments of %s: %w", owner, err)
		}
		for _, rec := range recs {
			env, err := decode(rec)
			if err != nil {
				return nil, err
			}
			list = append(list, env)
		}
	}
	slices.SortFunc(list, func(a, b Environment) int {
		return cmp.Or(b.UpdatedAt.Compare(a.UpdatedAt), cmp.Compare(a.UID, b.UID))
	})
	return list, nil
}

// put writes env over the revision it carries.
func (s *Store) put(ctx context.Context, env Environment) (Environment, error) {
	data, err := encode(env)
	if err != nil {
		return Environment{}, fmt.Errorf("encode environment %s: %w", env.UID, err)
	}
	env.Revision, err = s.records.PutRecord(ctx, task.Record{
		Kind: recordKind, Key: env.UID, Owner: env.Owner, Revision: env.Revision, Data: data, UpdatedAt: env.UpdatedAt,
	})
	if err != nil {
		return Environment{}, fmt.Errorf("store environment %s: %w", env.UID, err)
	}
	return decode(task.Record{Key: env.UID, Revision: env.Revision, Data: data}) // shares nothing with the caller
}

func (s *Store) now() time.Time { return s.clock.Now().UTC().Truncate(time.Microsecond) }

// encode leaves <, > and & as they are: escaped, a long environment would
// outgrow a record.
func encode(env Environment) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	err := enc.Encode(env)
	return b.Bytes(), err
}

func decode(rec task.Record) (Environment, error) {
	var env Environment
	if err := json.Unmarshal(rec.Data, &env); err != nil {
		return Environment{}, fmt.Errorf("decode environment %s: %w", rec.Key, err)
	}
	env.Revision = rec.Revision
	return env, nil
}

func notFound(uid string, cause error) error {
	return &task.Error{Code: task.CodeNotFound, Err: cause,
		Message: fmt.Sprintf("no environment has the id %q: list the environments you may use, or create one", uid)}
}

func changed(uid string, cause error) error {
	return &task.Error{Code: task.CodeConflict, Err: cause,
		Message: fmt.Sprintf("environment %s was changed meanwhile: read it again and repeat the change", uid)}
}

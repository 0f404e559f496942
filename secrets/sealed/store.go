package sealed

import (
	"cmp"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/oz-platform/cloudagents/secrets"
	"github.com/oz-platform/cloudagents/task"
)

const (
	// Kind is the kind of the records that hold secrets.
	Kind = "secret"

	// MaxDescriptionBytes bounds the description of a secret.
	MaxDescriptionBytes = 1000

	// MaxPerOwner bounds the secrets of one owner: more than an environment has
	// room for, and few enough to read at the start of every run.
	MaxPerOwner = 500

	// maxOwnerBytes bounds the UID of an owner, so that a key fits a record.
	maxOwnerBytes = 200
)

// Secret describes a stored secret. It never holds the value.
type Secret struct {
	// Name is unique within the scope and never changes.
	Name string `json:"name"`
	// Scope is the team or the person whose secret it is. It never changes.
	Scope task.Scope `json:"scope"`
	// Type never changes either.
	Type Type `json:"type"`
	// Description is for people, at most MaxDescriptionBytes.
	Description string `json:"description,omitempty"`
	// Version counts the values, from 1.
	Version int64 `json:"version"`
	// CreatedAt and UpdatedAt are in UTC. A new description is an update, too.
	CreatedAt time.Time `json:"created_at"`
	UpdatedAt time.Time `json:"updated_at"`
}

// Creation is what a new secret needs.
type Creation struct {
	// Name, see secrets.CheckName. For a raw value it is the variable's name.
	Name string
	// Description is optional.
	Description string
	// Value is the secret: Raw, AnthropicAPIKey ...
	Value Plaintext
}

// Change is an update; what is zero stays as it is.
type Change struct {
	// Value replaces the value, with one of the same type.
	Value Plaintext
	// Description replaces the description, by nothing if it is empty.
	Description *string
}

// Options holds what a Store can do without.
type Options struct {
	// Clock dates the secrets. Default: the system's.
	Clock task.Clock
}

// Store keeps secrets sealed in records.
type Store struct {
	records task.Records
	keys    *Keys
	clock   task.Clock
}

var _ secrets.Provider = (*Store)(nil)

// New returns a store over records with keys. opts may be nil.
func New(records task.Records, keys *Keys, opts *Options) *Store {
	s := &Store{records: records, keys: keys, clock: task.SystemClock()}
	if opts != nil && opts.Clock != nil {
		s.clock = opts.Clock
	}
	return s
}

// document is what a record holds: the description in the clear, the value sealed.
type document struct {
	Secret
	Sealed []byte `json:"sealed"`
}

// Create stores a new secret. It fails with [task.CodeConflict] if scope has one of
// that name, and with [task.CodeInvalidRequest] if name, value or description cannot be
// or scope has MaxPerOwner secrets.
func (s *Store) Create(ctx context.Context, scope task.Scope, c Creation) (Secret, error) {
	if err := c.check(scope); err != nil {
		return Secret{}, err
	}
	present, err := s.records.Records(ctx, Kind, &scope)
	if err != nil {
		return Secret{}, fmt.Errorf("create secret %s of %s: %w", c.Name, scope, err)
	}
	if len(present) >= MaxPerOwner {
		return Secret{}, task.Invalid("name", "%s has %d secrets, as many as there may be; delete one first", scope, len(present))
	}
	now := s.now()
	d := document{Secret: Secret{Name: c.Name, Scope: scope, Type: c.Value.typ, Description: c.Description, Version: 1, CreatedAt: now, UpdatedAt: now}}
	if d.Sealed, err = s.seal(d.Secret, c.Value.reveal()); err != nil {
		return Secret{}, err
	}
	err = s.put(ctx, d, 0)
	if errors.Is(err, task.ErrConflict) {
		return Secret{}, task.Errorf(task.CodeConflict, "%s already has a secret %s; update it, or delete it first", scope, c.Name)
	}
	if err != nil {
		return Secret{}, err
	}
	return d.Secret, nil
}

func (c Creation) check(scope task.Scope) error {
	if err := checkScope(scope); err != nil {
		return err
	}
	if err := secrets.CheckName(c.Name); err != nil {
		return err
	}
	if err := checkDescription(c.Description); err != nil {
		return err
	}
	return c.Value.check(c.Name)
}

// Update changes the value or the description, or both. It fails with
// [task.CodeNotFound], with [task.CodeInvalidRequest] for a value that is refused or of
// another type, and with [task.CodeConflict] if the secret changes at the same time.
func (s *Store) Update(ctx context.Context, scope task.Scope, name string, c Change) (Secret, error) {
	if c.Value.IsZero() && c.Description == nil {
		return Secret{}, task.Invalid("value", "there is nothing to change; give a value or a description")
	}
	d, revision, err := s.get(ctx, scope, name)
	if err != nil {
		return Secret{}, err
	}
	if c.Description != nil {
		if err := checkDescription(*c.Description); err != nil {
			return Secret{}, err
		}
		d.Description = *c.Description
	}
	if !c.Value.IsZero() {
		if c.Value.typ != d.Type {
			return Secret{}, task.Invalid("type", "secret %s is of type %s, which cannot change; create another secret", name, d.Type)
		}
		if err := c.Value.check(name); err != nil {
			return Secret{}, err
		}
		d.Version++
		if d.Sealed, err = s.seal(d.Secret, c.Value.reveal()); err != nil {
			return Secret{}, err
		}
	}
	d.UpdatedAt = s.now()
	if err := s.put(ctx, d, revision); err != nil {
		return Secret{}, err
	}
	return d.Secret, nil
}

// Delete removes a secret. It fails with [task.CodeNotFound]. Runs that have it keep it.
func (s *Store) Delete(ctx context.Context, scope task.Scope, name string) error {
	err := s.records.DeleteRecord(ctx, Kind, key(scope, name))
	if errors.Is(err, task.ErrNotFound) {
		return notFound(scope, name)
	}
	if err != nil {
		return fmt.Errorf("delete secret %s of %s: %w", name, scope, err)
	}
	return nil
}

// List describes the secrets of scope, by name.
func (s *Store) List(ctx context.Context, scope task.Scope) ([]Secret, error) {
	documents, _, err := s.list(ctx, &scope)
	if err != nil {
		return nil, err
	}
	all := make([]Secret, len(documents))
	for i, d := range documents {
		all[i] = d.Secret
	}
	return all, nil
}

// Values implements [secrets.Provider].
func (s *Store) Values(ctx context.Context, owner task.Scope) ([]secrets.Value, error) {
	documents, _, err := s.list(ctx, &owner)
	if err != nil {
		return nil, err
	}
	var all []secrets.Value
	for _, d := range documents {
		parts, err := s.open(d)
		if err != nil {
			return nil, err
		}
		all = append(all, expand(d.Secret, parts)...)
	}
	return all, nil
}

// One returns the variables of one secret. It fails with [task.CodeNotFound].
func (s *Store) One(ctx context.Context, scope task.Scope, name string) ([]secrets.Value, error) {
	d, _, err := s.get(ctx, scope, name)
	if err != nil {
		return nil, err
	}
	parts, err := s.open(d)
	if err != nil {
		return nil, err
	}
	return expand(d.Secret, parts), nil
}

// Reseal seals every secret, and what shared keys are derived from, with the primary
// key, after [Keys.Rotate], and returns how many secrets it did. It can be repeated: one that stopped half-way leaves all secrets usable.
// A secret that is changed or deleted at the same time needs no resealing.
func (s *Store) Reseal(ctx context.Context) (int, error) {
	if err := s.resealRoot(ctx); err != nil {
		return 0, fmt.Errorf("reseal the root of the shared keys: %w", err)
	}
	count, err := s.resealKept(ctx)
	if err != nil {
		return count, err
	}
	documents, revisions, err := s.list(ctx, nil)
	if err != nil {
		return count, err
	}
	for i, d := range documents {
		parts, err := s.open(d)
		if err != nil {
			return count, err
		}
		if d.Sealed, err = s.seal(d.Secret, parts); err != nil {
			return count, err
		}
		err = s.put(ctx, d, revisions[i])
		if errors.Is(err, task.ErrConflict) {
			continue
		}
		if err != nil {
			return count, err
		}
		count++
	}
	return count, nil
}

func (s *Store) now() time.Time { return s.clock.Now().UTC() }

// key is where the secret called name lies. Names hold no slash, so it is unambiguous.
func key(scope task.Scope, name string) string { return scope.String() + "/" + name }

func notFound(scope task.Scope, name string) error {
	return task.Errorf(task.CodeNotFound, "%s has no secret %s; list the secrets to see their names", scope, name)
}

func (s *Store) get(ctx context.Context, scope task.Scope, name string) (document, int64, error) {
	r, err := s.records.Record(ctx, Kind, key(scope, name))
	if errors.Is(err, task.ErrNotFound) {
		return document{}, 0, notFound(scope, name)
	}
	if err != nil {
		return document{}, 0, fmt.Errorf("read secret %s of %s: %w", name, scope, err)
	}
	d, err := decode(r)
	return d, r.Revision, err
}

func (s *Store) list(ctx context.Context, owner *task.Scope) ([]document, []int64, error) {
	records, err := s.records.Records(ctx, Kind, owner)
	if err != nil {
		return nil, nil, fmt.Errorf("list secrets: %w", err)
	}
	documents, revisions := make([]document, len(records)), make([]int64, len(records))
	for i, r := range records {
		if documents[i], err = decode(r); err != nil {
			return nil, nil, err
		}
		revisions[i] = r.Revision
	}
	return documents, revisions, nil
}

// decode reads a record, and refuses one that is not where it says it belongs.
func decode(r task.Record) (document, error) {
	var d document
	if json.Unmarshal(r.Data, &d) != nil {
		return d, task.Errorf(task.CodeInternal, "the record of secret %q is damaged; delete the secret and create it anew", r.Key)
	}
	if r.Key != key(d.Scope, d.Name) || r.Owner != d.Scope {
		return d, task.Errorf(task.CodeInternal, "the record of secret %q holds another secret; delete it and create it anew", r.Key)
	}
	return d, nil
}

func (s *Store) put(ctx context.Context, d document, revision int64) error {
	data, err := json.Marshal(d)
	if err != nil {
		return fmt.Errorf("encode secret %s: %w", d.Name, err)
	}
	_, err = s.records.PutRecord(ctx, task.Record{Kind: Kind, Key: key(d.Scope, d.Name), Owner: d.Scope, Revision: revision, Data: data, UpdatedAt: d.UpdatedAt})
	if err != nil {
		return fmt.Errorf("store secret %s of %s: %w", d.Name, d.Scope, err)
	}
	return nil
}

func (s *Store) seal(meta Secret, parts map[string]string) ([]byte, error) {
	content := make(map[string][]byte, len(parts)) // bytes: JSON strings lose what is not UTF-8
	for part, value := range parts {
		content[part] = []byte(value)
	}
	text, err := json.Marshal(content)
	if err != nil {
		return nil, fmt.Errorf("encode secret %s: %w", meta.Name, err)
	}
	sealed, err := s.keys.seal(text, bound(meta))
	if err != nil {
		return nil, fmt.Errorf("seal secret %s: %w", meta.Name, err)
	}
	return sealed, nil
}

func (s *Store) open(d document) (map[string]string, error) {
	text, err := s.keys.open(d.Sealed, bound(d.Secret))
	if err != nil {
		return nil, task.Errorf(task.CodeInternal, "secret %s of %s does not open: it was sealed with a key that is not in the key file, or its record was tampered with; "+
			"restore the key file, or set the secret's value again", d.Name, d.Scope)
	}
	var content map[string][]byte
	if json.Unmarshal(text, &content) != nil {
		return nil, task.Errorf(task.CodeInternal, "secret %s of %s opens to something else than a secret; set its value again", d.Name, d.Scope)
	}
	parts := make(map[string]string, len(content))
	for part, value := range content {
		parts[part] = string(value)
	}
	return parts, nil
}

// bound is the authenticated data of a sealed value: what it belongs to. Lengths keep
// the fields apart.
func bound(meta Secret) []byte {
	b := []byte("oz secret 1")
	for _, field := range []string{string(meta.Scope.Type), meta.Scope.UID, meta.Name, string(meta.Type)} {
		b = binary.AppendUvarint(b, uint64(len(field)))
		b = append(b, field...)
	}
	return binary.AppendUvarint(b, uint64(meta.Version))
}

func checkScope(scope task.Scope) error {
	if scope.Type != task.ScopeTeam && scope.Type != task.ScopeUser {
		return task.Invalid("scope", "a secret belongs to a team or to a person, not to a %q; choose one of the two", cmp.Or(scope.Type, "nobody"))
	}
	if scope.UID == "" || len(scope.UID) > maxOwnerBytes {
		return task.Invalid("scope", "the owner of a secret has a uid of 1 to %d bytes", maxOwnerBytes)
	}
	return nil
}

func checkDescription(text string) error {
	if len(text) > MaxDescriptionBytes {
		return task.Invalid("description", "the description has %d bytes; at most %d are possible", len(text), MaxDescriptionBytes)
	}
	return nil
}

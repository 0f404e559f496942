package webhook

import (
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/oz-platform/cloudagents/task"
)

// kindHook are the records of hooks.
const kindHook = "webhook"

// maxRewrites bounds how often a change is tried against others of the same
// hook.
const maxRewrites = 20

// Vault keeps the secrets that senders sign with; secrets/sealed has one.
type Vault interface {
	// Keep stores a value, in place of what was there.
	Keep(ctx context.Context, owner task.Scope, name string, value []byte) error
	// Kept gives it. It fails with task.CodeNotFound.
	Kept(ctx context.Context, owner task.Scope, name string) ([]byte, error)
	// Drop removes it, if it is there.
	Drop(ctx context.Context, owner task.Scope, name string) error
}

// Store keeps hooks among a platform's records. It checks what it stores, but
// not who may. Safe for concurrent use.
type Store struct {
	records task.Records
	vault   Vault
	clock   task.Clock
	compile func(string) (Condition, error)
}

// Options holds what a Store can do without. The zero value is ready to use.
type Options struct {
	// Clock tells the time. Default: the machine's.
	Clock task.Clock

	// Vault keeps the secrets of signed hooks. Default: none, so that there are
	// none.
	Vault Vault

	// Compile reads a Spec.Condition; package trigger/webhook/celfilter has one.
	// Default: none, so that conditions are refused.
	Compile func(text string) (Condition, error)
}

// Condition judges a delivery. Safe for concurrent use.
type Condition interface {
	// Match reports whether a delivery counts: by its payload and its event's
	// kind. It fails when the expression cannot be worked out for this payload.
	Match(event string, payload []byte) (bool, error)
}

// NewStore returns a Store on records. opts may be nil.
func NewStore(records task.Records, opts *Options) *Store {
	if opts == nil {
		opts = &Options{}
	}
	s := &Store{records: records, vault: opts.Vault, clock: opts.Clock, compile: opts.Compile}
	if s.clock == nil {
		s.clock = task.SystemClock()
	}
	return s
}

// document is a hook as it is stored.
type document struct {
	Hook
	// TokenHash is of the token or of the secret in the address.
	TokenHash []byte `json:"token_hash,omitempty"`
	// Deleted hides the hook while its secret is being removed.
	Deleted bool `json:"deleted,omitempty"`

	revision int64
}

// Create stores a new hook and gives its secret, which nobody can ask for
// again: the token to send, or what the sender is to sign with. secret is what
// the provider has chosen, for ModeSignature only; empty makes one where the
// provider takes ours. Create fails with task.CodeInvalidRequest.
func (s *Store) Create(ctx context.Context, owner task.Scope, by task.Principal, spec Spec, secret string) (Hook, string, error) {
	spec.Mode = cmp.Or(spec.Mode, ModeToken)
	if err := s.Check(spec); err != nil {
		return Hook{}, "", err
	}
	if (owner.Type != task.ScopeUser && owner.Type != task.ScopeTeam) || owner.UID == "" {
		return Hook{}, "", task.Invalid("scope", "must name a User or a Team by its uid")
	}
	list, err := s.List(ctx, owner)
	if err != nil {
		return Hook{}, "", err
	}
	if len(list) >= MaxPerOwner {
		return Hook{}, "", task.Invalid("name", "there are %d webhooks, the most that one owner may have: delete some", len(list))
	}
	now := s.now()
	d := document{Hook: Hook{UID: uuid.NewString(), Owner: owner, Spec: spec, Creator: by, LastEditor: by, CreatedAt: now, UpdatedAt: now}}
	shown, err := s.setSecret(ctx, &d, secret)
	if err == nil {
		d, err = s.put(ctx, d)
	}
	if err != nil {
		return Hook{}, "", err
	}
	return d.Hook, shown, nil
}

// Rotate gives a hook a new secret, as Create does; the old one is worth nothing
// from then on. It fails with task.CodeNotFound.
func (s *Store) Rotate(ctx context.Context, uid string, by task.Principal, secret string) (Hook, string, error) {
	var shown string
	d, err := s.rewrite(ctx, uid, func(d *document) (err error) {
		shown, err = s.setSecret(ctx, d, secret)
		d.LastEditor, d.UpdatedAt = by, s.now()
		return err
	})
	if err != nil {
		return Hook{}, "", err
	}
	return d.Hook, shown, nil
}

// setSecret takes over a secret or makes one, and gives what people are to see.
func (s *Store) setSecret(ctx context.Context, d *document, given string) (string, error) {
	if d.Mode != ModeSignature {
		if given != "" {
			return "", task.Invalid("secret", "is made here for auth_mode %s: leave it out", d.Mode)
		}
		token := newToken()
		sum := sha256.Sum256([]byte(token))
		d.TokenHash, d.HasSecret = sum[:], true
		return token, nil
	}
	if s.vault == nil {
		return "", task.Errorf(task.CodeFeatureNotAvailable, "this server keeps no secrets, so that it cannot check signatures: use auth_mode token")
	}
	shown := ""
	switch {
	case given == "" && d.Provider.chooses():
		d.Enabled = false // until it has chosen one (Oz platform, WHK-9)
		return "", nil
	case given == "":
		given = newToken()
		if d.Provider == StandardWebhook {
			given = "whsec_" + base64.StdEncoding.EncodeToString([]byte(given))
		}
		shown = given
	case len(given) < 8 || len(given) > maxSecret:
		return "", task.Invalid("secret", "must have 8 to %d bytes", maxSecret)
	}
	d.HasSecret = true
	return shown, s.vault.Keep(ctx, d.Owner, vaultName(d.UID), []byte(given))
}

// chooses reports that the provider makes the secret, and people bring it here.
func (p Provider) chooses() bool {
	switch p {
	case Linear, PagerDuty, Sentry, Slack, Stripe:
		return true
	}
	return false
}

func vaultName(uid string) string { return "webhook-" + uid }

func newToken() string {
	var b [32]byte
	_, _ = rand.Read(b[:]) // never fails
	return base64.RawURLEncoding.EncodeToString(b[:])
}

// Check judges a spec, its condition too. It fails with task.CodeInvalidRequest.
func (s *Store) Check(spec Spec) error {
	if err := spec.Validate(); err != nil {
		return err
	}
	if data, err := json.Marshal(spec); err != nil || len(data) > maxStored {
		return task.Invalid("prompt", "has with config and metadata %d bytes as stored, at most %d are allowed", len(data), maxStored)
	}
	_, err := s.condition(spec)
	return err
}

// condition compiles that of a spec; nil for none.
func (s *Store) condition(spec Spec) (Condition, error) {
	if strings.TrimSpace(spec.Condition) == "" {
		return nil, nil
	}
	if s.compile == nil {
		return nil, task.Invalid("condition", "cannot be worked out on this server: use filter")
	}
	c, err := s.compile(spec.Condition)
	if err != nil {
		return nil, task.Invalid("condition", "%w", err)
	}
	return c, nil
}

// Get returns one hook. It fails with task.CodeNotFound.
func (s *Store) Get(ctx context.Context, uid string) (Hook, error) {
	d, err := s.load(ctx, uid)
	return d.Hook, err
}

// List returns the hooks of the given owners, by name. Without owners it
// returns none.
func (s *Store) List(ctx context.Context, owners ...task.Scope) ([]Hook, error) {
	list := []Hook{}
	for _, owner := range owners {
		records, err := s.records.Records(ctx, kindHook, &owner)
		if err != nil {
			return nil, fmt.Errorf("list webhooks: %w", err)
		}
		for _, rec := range records {
			d, err := read(rec)
			if err != nil {
				return nil, err
			}
			if !d.Deleted {
				list = append(list, d.Hook)
			}
		}
	}
	slices.SortFunc(list, func(a, b Hook) int { return cmp.Or(strings.Compare(a.Name, b.Name), strings.Compare(a.UID, b.UID)) })
	return slices.CompactFunc(list, func(a, b Hook) bool { return a.UID == b.UID }), nil
}

// Update changes what people set, but not how senders prove who they are.
// change may be called several times; its error is returned. It fails with
// task.CodeNotFound and task.CodeInvalidRequest.
func (s *Store) Update(ctx context.Context, uid string, by task.Principal, change func(*Spec) error) (Hook, error) {
	d, err := s.rewrite(ctx, uid, func(d *document) error {
		mode, provider := d.Mode, d.Provider
		if err := change(&d.Spec); err != nil {
			return err
		}
		if d.Mode != mode || d.Provider != provider {
			return task.Invalid("auth_mode", "cannot be changed: make another webhook")
		}
		if d.Enabled && !d.HasSecret {
			return task.Invalid("enabled", "give the secret first that %s signs with", d.Provider)
		}
		d.LastEditor, d.UpdatedAt = by, s.now()
		return s.Check(d.Spec)
	})
	return d.Hook, err
}

// Delete removes a hook; what arrived stays until its time. It fails with
// task.CodeNotFound, also when it was deleted before.
func (s *Store) Delete(ctx context.Context, uid string) error {
	d, err := s.rewrite(ctx, uid, func(d *document) error { d.Deleted = true; return nil })
	if err != nil {
		return err
	}
	if s.vault != nil {
		if err := s.vault.Drop(ctx, d.Owner, vaultName(uid)); err != nil {
			return fmt.Errorf("remove the secret of webhook %s: %w", uid, err)
		}
	}
	if err := s.records.DeleteRecord(ctx, kindHook, uid); err != nil && !errors.Is(err, task.ErrNotFound) {
		return fmt.Errorf("delete webhook %s: %w", uid, err)
	}
	return nil
}

// rewrite changes a hook, again when somebody else did meanwhile.
func (s *Store) rewrite(ctx context.Context, uid string, change func(*document) error) (document, error) {
	for range maxRewrites {
		d, err := s.load(ctx, uid)
		if err == nil {
			err = change(&d)
		}
		if err != nil {
			return document{}, err
		}
		if d, err = s.put(ctx, d); err == nil || !errors.Is(err, task.ErrConflict) {
			return d, err
		}
	}
	return document{}, task.Errorf(task.CodeConflict, "webhook %s is being changed by many at once: try again", uid)
}

func (s *Store) load(ctx context.Context, uid string) (document, error) {
	if len(uid) != 36 || uuid.Validate(uid) != nil {
		return document{}, notFound(uid)
	}
	rec, err := s.records.Record(ctx, kindHook, uid)
	if errors.Is(err, task.ErrNotFound) {
		return document{}, notFound(uid)
	}
	if err != nil {
		return document{}, fmt.Errorf("read webhook %s: %w", uid, err)
	}
	d, err := read(rec)
	if err == nil && d.Deleted {
		return document{}, notFound(uid)
	}
	return d, err
}

func notFound(uid string) error {
	return task.Errorf(task.CodeNotFound, "webhook %.50q does not exist, or you may not see it", uid)
}

func (s *Store) put(ctx context.Context, d document) (document, error) {
	data, err := json.Marshal(d)
	if err != nil {
		return d, fmt.Errorf("encode webhook %s: %w", d.UID, err)
	}
	rec := task.Record{Kind: kindHook, Key: d.UID, Owner: d.Owner, Revision: d.revision, Data: data, UpdatedAt: d.UpdatedAt}
	if d.revision, err = s.records.PutRecord(ctx, rec); err != nil {
		return d, fmt.Errorf("write webhook %s: %w", d.UID, err)
	}
	return d, nil
}

func read(rec task.Record) (document, error) {
	var d document
	if err := json.Unmarshal(rec.Data, &d); err != nil {
		return d, fmt.Errorf("decode webhook %s: %w", rec.Key, err)
	}
	d.revision = rec.Revision
	return d, nil
}

func (s *Store) now() time.Time { return s.clock.Now().UTC().Truncate(time.Microsecond) }

// admits checks a token against its hash, in constant time.
func (d document) admits(token string) bool {
	sum := sha256.Sum256([]byte(token))
	return len(d.TokenHash) > 0 && subtle.ConstantTimeCompare(sum[:], d.TokenHash) == 1
}

// isJSON reports that a body is one JSON value.
func isJSON(body []byte) bool { return json.Valid(bytes.TrimSpace(body)) }

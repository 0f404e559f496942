package outbound

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/google/uuid"

	"github.com/oz-platform/cloudagents/task"
	"github.com/oz-platform/cloudagents/trigger/webhook"
)

// Limits of subscriptions.
const (
	MaxPerOwner = 20
	maxName     = 200  // bytes
	maxURL      = 2048 // bytes
)

// kindSubscription are the records of subscriptions.
const kindSubscription = "subscription"

// Spec is what people set.
type Spec struct {
	Name string `json:"name"` // for people, one line
	// URL gets the requests: https, or http where the operator allows private
	// addresses. It holds no credentials.
	URL     string `json:"url"`
	Enabled bool   `json:"enabled"`
	// Events are what is told: run_in_progress, run_succeeded, run_failed,
	// run_errored, run_blocked, run_cancelled. Empty: all of them.
	Events []task.SignalType `json:"events,omitempty"`
}

// Subscription is a Spec, whose it is and how it goes.
type Subscription struct {
	// UID is a UUID. Owner never changes: the subscription tells of its runs.
	UID   string     `json:"uid"`
	Owner task.Scope `json:"owner"`
	Spec
	// DisabledReason says why the server itself has disabled it.
	DisabledReason string         `json:"disabled_reason,omitempty"`
	Creator        task.Principal `json:"creator"`
	// CreatedAt and UpdatedAt are in UTC, to the microsecond.
	CreatedAt time.Time `json:"created_at"`
	UpdatedAt time.Time `json:"updated_at"`
}

// Source is the subscription's name among all that is told.
func (s Subscription) Source() string { return sourcePrefix + s.UID }

const sourcePrefix = "subscription/"

// Events lists what can be subscribed to.
func Events() []task.SignalType {
	return []task.SignalType{task.SignalInProgress, task.SignalSucceeded, task.SignalFailed, task.SignalErrored, task.SignalBlocked, task.SignalCancelled}
}

// wants reports that a subscription is to be told of an event.
func (s Subscription) wants(t task.SignalType) bool {
	if len(s.Events) == 0 {
		return slices.Contains(Events(), t)
	}
	return slices.Contains(s.Events, t)
}

// Store keeps subscriptions among a platform's records. It checks what it
// stores, but not who may. Safe for concurrent use.
type Store struct {
	records task.Records
	vault   webhook.Vault
	clock   task.Clock
	private bool

	mu     sync.Mutex
	cached map[task.Scope]cachedList
}

// cachedList are the subscriptions of an owner, for a little while.
type cachedList struct {
	list []Subscription
	at   time.Time
}

// cacheAge is how soon a change that another replica made is known here.
const cacheAge = 5 * time.Second

// Options holds what a Store can do without. The zero value is ready to use.
type Options struct {
	// Clock tells the time. Default: the machine's.
	Clock task.Clock

	// AllowPrivate lets subscriptions name addresses within private networks,
	// and http. Default: refused.
	AllowPrivate bool
}

// NewStore returns a Store on records; the vault keeps what requests are signed
// with. opts may be nil.
func NewStore(records task.Records, vault webhook.Vault, opts *Options) *Store {
	if opts == nil {
		opts = &Options{}
	}
	s := &Store{records: records, vault: vault, clock: opts.Clock, private: opts.AllowPrivate, cached: map[task.Scope]cachedList{}}
	if s.clock == nil {
		s.clock = task.SystemClock()
	}
	return s
}

// document is a subscription as it is stored.
type document struct {
	Subscription
	revision int64
}

// Create stores a subscription and gives the secret that its requests are signed
// with, which nobody can ask for again. It fails with task.CodeInvalidRequest.
func (s *Store) Create(ctx context.Context, owner task.Scope, by task.Principal, spec Spec) (Subscription, string, error) {
	if err := s.Check(spec); err != nil {
		return Subscription{}, "", err
	}
	if (owner.Type != task.ScopeUser && owner.Type != task.ScopeTeam) || owner.UID == "" {
		return Subscription{}, "", task.Invalid("scope", "must name a User or a Team by its uid")
	}
	list, err := s.List(ctx, owner)
	if err != nil {
		return Subscription{}, "", err
	}
	if len(list) >= MaxPerOwner {
		return Subscription{}, "", task.Invalid("name", "there are %d subscriptions, the most that one owner may have: delete some", len(list))
	}
	now := s.now()
	d := document{Subscription: Subscription{UID: uuid.NewString(), Owner: owner, Spec: spec, Creator: by, CreatedAt: now, UpdatedAt: now}}
	secret, err := s.newSecret(ctx, d.Subscription)
	if err != nil {
		return Subscription{}, "", err
	}
	if _, err := s.put(ctx, d); err != nil {
		return Subscription{}, "", err
	}
	return d.Subscription, secret, nil
}

// newSecret makes what a subscription's requests are signed with.
func (s *Store) newSecret(ctx context.Context, sub Subscription) (string, error) {
	var b [32]byte
	_, _ = rand.Read(b[:]) // never fails
	secret := "whsec_" + base64.StdEncoding.EncodeToString(b[:])
	if err := s.vault.Keep(ctx, sub.Owner, vaultName(sub.UID), []byte(secret)); err != nil {
		return "", fmt.Errorf("keep the secret of subscription %s: %w", sub.UID, err)
	}
	return secret, nil
}

func vaultName(uid string) string { return "subscription-" + uid }

// Rotate gives a subscription a new secret; later requests are signed with it.
// It fails with task.CodeNotFound.
func (s *Store) Rotate(ctx context.Context, uid string) (Subscription, string, error) {
	d, err := s.load(ctx, uid)
	if err != nil {
		return Subscription{}, "", err
	}
	secret, err := s.newSecret(ctx, d.Subscription)
	return d.Subscription, secret, err
}

// Check judges a spec. It fails with task.CodeInvalidRequest.
func (s *Store) Check(spec Spec) error {
	switch {
	case strings.TrimSpace(spec.Name) == "" || len(spec.Name) > maxName:
		return task.Invalid("name", "must have 1 to %d bytes", maxName)
	case !utf8.ValidString(spec.Name) || strings.ContainsFunc(spec.Name, unicode.IsControl):
		return task.Invalid("name", "must be one line of valid UTF-8 without control characters")
	}
	for _, e := range spec.Events {
		if !slices.Contains(Events(), e) {
			return task.Invalid("events", "%q is no event that can be told; those are %v", string(e), Events())
		}
	}
	u, err := url.Parse(spec.URL)
	switch {
	case err != nil || len(spec.URL) > maxURL || u.Host == "" || u.Opaque != "":
		return task.Invalid("url", "must be an absolute address of at most %d bytes", maxURL)
	case u.User != nil || u.Fragment != "":
		return task.Invalid("url", "must hold no credentials and no fragment: requests are signed instead")
	case u.Scheme != "https" && (u.Scheme != "http" || !s.private):
		return task.Invalid("url", "must begin with https://")
	}
	return nil
}

// Get returns one subscription. It fails with task.CodeNotFound.
func (s *Store) Get(ctx context.Context, uid string) (Subscription, error) {
	d, err := s.load(ctx, uid)
	return d.Subscription, err
}

// List returns the subscriptions of the given owners, by name. Without owners it
// returns none.
func (s *Store) List(ctx context.Context, owners ...task.Scope) ([]Subscription, error) {
	list := []Subscription{}
	for _, owner := range owners {
		records, err := s.records.Records(ctx, kindSubscription, &owner)
		if err != nil {
			return nil, fmt.Errorf("list subscriptions: %w", err)
		}
		for _, rec := range records {
			d, err := read(rec)
			if err != nil {
				return nil, err
			}
			list = append(list, d.Subscription)
		}
	}
	slices.SortFunc(list, func(a, b Subscription) int {
		return cmp.Or(strings.Compare(a.Name, b.Name), strings.Compare(a.UID, b.UID))
	})
	return slices.CompactFunc(list, func(a, b Subscription) bool { return a.UID == b.UID }), nil
}

// of is List for one owner, a little late.
func (s *Store) of(ctx context.Context, owner task.Scope) ([]Subscription, error) {
	now := s.now()
	s.mu.Lock()
	c, ok := s.cached[owner]
	s.mu.Unlock()
	if ok && now.Sub(c.at) < cacheAge && !now.Before(c.at) {
		return c.list, nil
	}
	list, err := s.List(ctx, owner)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.cached) > 10_000 {
		clear(s.cached)
	}
	s.cached[owner] = cachedList{list: list, at: now}
	return list, nil
}

// Update changes what people set; enabling it again forgets why the server has
// disabled it. change may be called several times. It fails with
// task.CodeNotFound and task.CodeInvalidRequest.
func (s *Store) Update(ctx context.Context, uid string, change func(*Spec) error) (Subscription, error) {
	return s.rewrite(ctx, uid, func(d *document) error {
		if err := change(&d.Spec); err != nil {
			return err
		}
		if d.Enabled {
			d.DisabledReason = ""
		}
		return s.Check(d.Spec)
	})
}

// disable stops a subscription whose receiver wants no more.
func (s *Store) disable(ctx context.Context, uid, reason string) error {
	_, err := s.rewrite(ctx, uid, func(d *document) error { d.Enabled, d.DisabledReason = false, reason; return nil })
	return err
}

func (s *Store) rewrite(ctx context.Context, uid string, change func(*document) error) (Subscription, error) {
	for range 20 {
		d, err := s.load(ctx, uid)
		if err == nil {
			d.UpdatedAt = s.now()
			err = change(&d)
		}
		if err != nil {
			return Subscription{}, err
		}
		if _, err = s.put(ctx, d); err == nil || !errors.Is(err, task.ErrConflict) {
			return d.Subscription, err
		}
	}
	return Subscription{}, task.Errorf(task.CodeConflict, "subscription %s is being changed by many at once: try again", uid)
}

// Delete removes a subscription; what is still to be told is given up. It fails
// with task.CodeNotFound.
func (s *Store) Delete(ctx context.Context, uid string) error {
	d, err := s.load(ctx, uid)
	if err != nil {
		return err
	}
	if err := s.records.DeleteRecord(ctx, kindSubscription, uid); err != nil {
		if errors.Is(err, task.ErrNotFound) {
			return notFound(uid)
		}
		return fmt.Errorf("delete subscription %s: %w", uid, err)
	}
	s.forget(d.Owner)
	return s.vault.Drop(ctx, d.Owner, vaultName(uid))
}

func (s *Store) load(ctx context.Context, uid string) (document, error) {
	if len(uid) != 36 || uuid.Validate(uid) != nil {
		return document{}, notFound(uid)
	}
	rec, err := s.records.Record(ctx, kindSubscription, uid)
	if errors.Is(err, task.ErrNotFound) {
		return document{}, notFound(uid)
	}
	if err != nil {
		return document{}, fmt.Errorf("read subscription %s: %w", uid, err)
	}
	return read(rec)
}

func notFound(uid string) error {
	return task.Errorf(task.CodeNotFound, "subscription %.50q does not exist, or you may not see it", uid)
}

func (s *Store) put(ctx context.Context, d document) (int64, error) {
	data, err := json.Marshal(d)
	if err != nil {
		return 0, fmt.Errorf("encode subscription %s: %w", d.UID, err)
	}
	rec := task.Record{Kind: kindSubscription, Key: d.UID, Owner: d.Owner, Revision: d.revision, Data: data, UpdatedAt: d.UpdatedAt}
	revision, err := s.records.PutRecord(ctx, rec)
	if err != nil {
		return 0, fmt.Errorf("write subscription %s: %w", d.UID, err)
	}
	s.forget(d.Owner)
	return revision, nil
}

// forget lets the next look be a fresh one.
func (s *Store) forget(owner task.Scope) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.cached, owner)
}

func read(rec task.Record) (document, error) {
	var d document
	if err := json.Unmarshal(rec.Data, &d); err != nil {
		return d, fmt.Errorf("decode subscription %s: %w", rec.Key, err)
	}
	d.revision = rec.Revision
	return d, nil
}

func (s *Store) now() time.Time { return s.clock.Now().UTC().Truncate(time.Microsecond) }

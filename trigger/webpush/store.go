package webpush

import (
	"bytes"
	"cmp"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/oz-platform/cloudagents/task"
	"github.com/oz-platform/cloudagents/trigger/webhook"
)

// Limits of subscriptions.
const (
	// MaxPerPerson is how many browsers a person may subscribe; a further one
	// takes the place of the oldest.
	MaxPerPerson = 10
	maxEndpoint  = 2048 // bytes
	maxKey       = 256  // bytes of base64
)

// The records and what is sealed.
const (
	kindSubscription = "push.subscription"
	kindKey          = "push.key"
	recordKey        = "vapid"
)

// serverScope owns the server's key.
func serverScope() task.Scope { return task.Scope{Type: "Server", UID: "push"} }

// Spec is what a browser gives (Push API, PushSubscription.toJSON).
type Spec struct {
	// Endpoint is the push service's address for it: https, or http where the
	// operator allows private addresses.
	Endpoint string
	// P256dh and Auth are its keys, as base64url.
	P256dh, Auth string
}

// Subscription is a browser that is to be woken. Its address is not shown.
type Subscription struct {
	// UID is a UUID.
	UID string `json:"uid"`
	// Person is the uid of whose it is.
	Person string `json:"person"`
	// Service is the host of the push service.
	Service string `json:"service"`
	// CreatedAt is in UTC, to the second.
	CreatedAt time.Time `json:"created_at"`
	// Hash knows the address again.
	Hash string `json:"hash"`
}

// Source is the subscription's name among all that is told.
func (s Subscription) Source() string { return sourcePrefix + s.UID }

const sourcePrefix = "push/"

// sealedSpec is what is kept sealed.
type sealedSpec struct {
	Endpoint string `json:"endpoint"`
	Keys     keys   `json:"keys"`
}

// Options holds what a Store can do without. The zero value is ready to use.
type Options struct {
	// Clock tells the time. Default: the machine's.
	Clock task.Clock

	// AllowPrivate lets subscriptions name addresses within private networks,
	// and http. Default: refused.
	AllowPrivate bool

	// Subject is how the makers of browsers reach the operator: a mailto: or
	// https: address. Default "https://localhost".
	Subject string
}

// Store keeps browsers' subscriptions among a platform's records, and the
// server's key. It does not judge who may. Safe for concurrent use.
type Store struct {
	records task.Records
	vault   webhook.Vault
	opts    Options

	mu  sync.Mutex
	key *ecdsa.PrivateKey
}

// NewStore returns a Store on records; the vault keeps what is secret. opts may
// be nil.
func NewStore(records task.Records, vault webhook.Vault, opts *Options) *Store {
	s := &Store{records: records, vault: vault}
	if opts != nil {
		s.opts = *opts
	}
	if s.opts.Clock == nil {
		s.opts.Clock = task.SystemClock()
	}
	s.opts.Subject = cmp.Or(s.opts.Subject, "https://localhost")
	return s
}

// PublicKey is the server's key, for browsers that subscribe: an uncompressed
// point of P-256, as base64url. It is made when there is none.
func (s *Store) PublicKey(ctx context.Context) (string, error) {
	key, err := s.serverKey(ctx)
	if err != nil {
		return "", err
	}
	public, err := key.PublicKey.ECDH()
	if err != nil {
		return "", err
	}
	return base64.RawURLEncoding.EncodeToString(public.Bytes()), nil
}

// serverKey gives the key of all replicas. The record says which of those that
// are kept it is: one of several that are made at once wins.
func (s *Store) serverKey(ctx context.Context) (*ecdsa.PrivateKey, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.key != nil {
		return s.key, nil
	}
	rec, err := s.records.Record(ctx, kindKey, recordKey)
	if errors.Is(err, task.ErrNotFound) {
		if err = s.makeKey(ctx); err == nil {
			rec, err = s.records.Record(ctx, kindKey, recordKey)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("read the key for browsers: %w", err)
	}
	data, err := s.vault.Kept(ctx, serverScope(), string(rec.Data))
	if err != nil {
		return nil, fmt.Errorf("read the key for browsers: %w", err)
	}
	if s.key, err = x509.ParseECPrivateKey(data); err != nil {
		s.key = nil
		return nil, errors.New("the key for browsers is damaged")
	}
	return s.key, nil
}

func (s *Store) makeKey(ctx context.Context) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	data, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return err
	}
	name := "vapid-" + uuid.NewString()
	if err := s.vault.Keep(ctx, serverScope(), name, data); err != nil {
		return err
	}
	_, err = s.records.PutRecord(ctx, task.Record{Kind: kindKey, Key: recordKey, Owner: serverScope(), Data: []byte(name), UpdatedAt: s.opts.Clock.Now()})
	if errors.Is(err, task.ErrConflict) { // another replica was first
		return s.vault.Drop(ctx, serverScope(), name)
	}
	return err
}

// check judges what a browser gave.
func (s *Store) check(in Spec) (service string, err error) {
	u, err := url.Parse(in.Endpoint)
	switch {
	case len(in.Endpoint) > maxEndpoint:
		return "", task.Invalid("endpoint", "has %d bytes, at most %d are allowed", len(in.Endpoint), maxEndpoint)
	case err != nil || u.Host == "" || u.User != nil || u.Fragment != "":
		return "", task.Invalid("endpoint", "must be the address that the browser gave")
	case u.Scheme != "https" && !(u.Scheme == "http" && s.opts.AllowPrivate):
		return "", task.Invalid("endpoint", "must be an https address")
	case len(in.P256dh) > maxKey:
		return "", task.Invalid("keys.p256dh", "is too long")
	case len(in.Auth) > maxKey:
		return "", task.Invalid("keys.auth", "is too long")
	}
	_, _, err = keys{in.P256dh, in.Auth}.parse()
	return u.Hostname(), err
}

// Subscribe lets a person's browser be woken. The same browser again gives the
// same subscription. It fails with task.CodeInvalidRequest.
func (s *Store) Subscribe(ctx context.Context, person string, in Spec) (Subscription, error) {
	service, err := s.check(in)
	if err != nil {
		return Subscription{}, err
	}
	list, err := s.Of(ctx, person)
	if err != nil {
		return Subscription{}, err
	}
	sum := sha256.Sum256([]byte(in.Endpoint))
	sub := Subscription{UID: uuid.NewString(), Person: person, Service: service, CreatedAt: s.opts.Clock.Now().UTC().Truncate(time.Second), Hash: hex.EncodeToString(sum[:])}
	for _, old := range list {
		if old.Hash == sub.Hash { // perhaps with other keys
			return old, s.keep(ctx, old, in)
		}
	}
	for len(list) >= MaxPerPerson {
		if err := s.Remove(ctx, list[0].UID); err != nil && !errors.Is(err, task.ErrNotFound) {
			return Subscription{}, err
		}
		list = list[1:]
	}
	if err := s.keep(ctx, sub, in); err != nil { // before the record: what is found can be used
		return Subscription{}, err
	}
	data, err := json.Marshal(sub)
	if err != nil {
		return Subscription{}, err
	}
	_, err = s.records.PutRecord(ctx, task.Record{Kind: kindSubscription, Key: sub.UID, Owner: personScope(person), Data: data, UpdatedAt: s.opts.Clock.Now()})
	return sub, err
}

func (s *Store) keep(ctx context.Context, sub Subscription, in Spec) error {
	data, err := json.Marshal(sealedSpec{in.Endpoint, keys{in.P256dh, in.Auth}})
	if err != nil {
		return err
	}
	return s.vault.Keep(ctx, personScope(sub.Person), vaultName(sub.UID), data)
}

func personScope(uid string) task.Scope { return task.Scope{Type: task.ScopeUser, UID: uid} }

func vaultName(uid string) string { return "push-" + uid }

// Of lists a person's subscriptions, the oldest first.
func (s *Store) Of(ctx context.Context, person string) ([]Subscription, error) {
	owner := personScope(person)
	recs, err := s.records.Records(ctx, kindSubscription, &owner)
	if err != nil {
		return nil, fmt.Errorf("list browsers: %w", err)
	}
	list := make([]Subscription, 0, len(recs))
	for _, rec := range recs {
		var sub Subscription
		if err := json.Unmarshal(rec.Data, &sub); err != nil {
			return nil, fmt.Errorf("decode a browser's subscription: %w", err)
		}
		list = append(list, sub)
	}
	slices.SortFunc(list, func(a, b Subscription) int {
		return cmp.Or(a.CreatedAt.Compare(b.CreatedAt), strings.Compare(a.UID, b.UID))
	})
	return list, nil
}

// Get gives one. It fails with task.ErrNotFound.
func (s *Store) Get(ctx context.Context, uid string) (sub Subscription, err error) {
	if uuid.Validate(uid) != nil {
		return sub, task.Errorf(task.CodeNotFound, "there is no subscription %.50q", uid)
	}
	rec, err := s.records.Record(ctx, kindSubscription, uid)
	if err != nil {
		return sub, err
	}
	return sub, json.Unmarshal(bytes.Clone(rec.Data), &sub)
}

// Remove forgets a subscription. It fails with task.ErrNotFound.
func (s *Store) Remove(ctx context.Context, uid string) error {
	sub, err := s.Get(ctx, uid)
	if err != nil {
		return err
	}
	if err := s.vault.Drop(ctx, personScope(sub.Person), vaultName(uid)); err != nil {
		return err
	}
	return s.records.DeleteRecord(ctx, kindSubscription, uid)
}

// decode64 reads base64 as browsers and programs write it.
func decode64(s string) ([]byte, error) {
	s = strings.NewReplacer("+", "-", "/", "_").Replace(strings.TrimRight(s, "="))
	return base64.RawURLEncoding.DecodeString(s)
}

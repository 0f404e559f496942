package workload

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/oz-platform/cloudagents/internal/es256"
	"github.com/oz-platform/cloudagents/task"
)

// Times of tokens and keys. Those of tokens are Oz's (oz federate issue-token).
const (
	// MinLife, MaxLife and DefaultLife are how long a token is good for.
	MinLife, MaxLife, DefaultLife = 5 * time.Minute, 3 * time.Hour, time.Hour
	// KeyLife is how long a key signs before the next one does.
	KeyLife = 90 * 24 * time.Hour
	// notice is how long a key is published before it signs, and after its last
	// token has ended.
	notice = 24 * time.Hour
	// readFor is how long what was read of the keys is not read again.
	readFor = time.Minute
)

// The record of the keys.
const (
	kindKeys  = "identity.keys"
	recordKey = "es256"
)

// attempts bounds how often a change of the keys is begun anew, because another
// server changed them at the same moment.
const attempts = 10

// serverScope owns the private keys.
func serverScope() task.Scope { return task.Scope{Type: "Server", UID: "identity"} }

// Vault keeps private keys sealed. Package secrets/sealed has one.
type Vault interface {
	// Keep stores a value, in place of what was there.
	Keep(ctx context.Context, owner task.Scope, name string, value []byte) error
	// Kept gives it. It fails with task.CodeNotFound.
	Kept(ctx context.Context, owner task.Scope, name string) ([]byte, error)
	// Drop removes it, if it is there.
	Drop(ctx context.Context, owner task.Scope, name string) error
}

// Key is a public key as others fetch it (RFC 7517).
type Key struct {
	Type      string `json:"kty"` // EC
	Curve     string `json:"crv"` // P-256
	X         string `json:"x"`   // base64url, 32 bytes
	Y         string `json:"y"`   // base64url, 32 bytes
	ID        string `json:"kid"` // unique
	Use       string `json:"use"` // sig
	Algorithm string `json:"alg"` // ES256
}

// KeySet is all that may have signed a token that is good (RFC 7517, section 5).
type KeySet struct {
	Keys []Key `json:"keys"`
}

// entry is a key in the record.
type entry struct {
	Key
	MadeAt time.Time `json:"made_at"`
}

// Options holds what an Issuer can do without. The zero value is ready to use.
type Options struct {
	// Clock tells the time. Default: the machine's.
	Clock task.Clock
}

// Issuer signs tokens. It is safe for concurrent use; all issuers on one store
// have the same keys.
type Issuer struct {
	records task.Records
	vault   Vault
	clock   task.Clock

	mu      sync.Mutex
	readAt  time.Time
	keys    []entry // the oldest first; as of readAt
	private map[string]*ecdsa.PrivateKey
}

// NewIssuer returns an Issuer whose keys are among a platform's records, with
// their private halves in the vault. opts may be nil.
func NewIssuer(records task.Records, vault Vault, opts *Options) *Issuer {
	i := &Issuer{records: records, vault: vault, clock: task.SystemClock(), private: map[string]*ecdsa.PrivateKey{}}
	if opts != nil && opts.Clock != nil {
		i.clock = opts.Clock
	}
	return i
}

// Sign makes a token with these claims, which are encoded as a JSON object.
func (i *Issuer) Sign(ctx context.Context, claims any) (string, error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if err := i.refresh(ctx); err != nil {
		return "", err
	}
	at := i.keys[signing(i.keys, i.clock.Now())]
	key, err := i.privateKey(ctx, at.ID)
	if err != nil {
		return "", err
	}
	return es256.Sign(key, at.ID, claims)
}

// Keys are the public keys, the oldest first. They are made when there are none.
func (i *Issuer) Keys(ctx context.Context) (KeySet, error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if err := i.refresh(ctx); err != nil {
		return KeySet{}, err
	}
	set := KeySet{Keys: make([]Key, len(i.keys))}
	for n, e := range i.keys {
		set.Keys[n] = e.Key
	}
	return set, nil
}

// signing is the key that signs: the newest that others have had time to fetch,
// or the first of all.
func signing(keys []entry, now time.Time) int {
	for n := len(keys) - 1; n > 0; n-- {
		if !now.Before(keys[n].MadeAt.Add(notice)) {
			return n
		}
	}
	return 0
}

// refresh reads the keys, unless it has lately, and sees to it that there is one
// that signs, that the next is there in time, and that old ones go. i.mu is held.
func (i *Issuer) refresh(ctx context.Context) error {
	now := i.clock.Now()
	if len(i.keys) > 0 && now.Sub(i.readAt) < readFor && !due(i.keys, now) {
		return nil
	}
	for range attempts {
		err := i.renew(ctx, now)
		if !errors.Is(err, task.ErrConflict) {
			return err
		}
	}
	return task.Errorf(task.CodeResourceUnavailable, "the keys for identity tokens are being changed by other servers; try again")
}

// due reports that it is time for the next key.
func due(keys []entry, now time.Time) bool {
	return len(keys) == 0 || !now.Before(keys[len(keys)-1].MadeAt.Add(KeyLife-notice))
}

// spent counts the keys at the beginning that no token needs any more.
func spent(keys []entry, now time.Time) (n int) {
	for n+1 < len(keys) && !now.Before(keys[n+1].MadeAt.Add(notice+MaxLife+notice)) {
		n++
	}
	return n
}

// renew reads the keys and changes what is due. It fails with task.ErrConflict
// when another server changes them. i.mu is held.
func (i *Issuer) renew(ctx context.Context, now time.Time) error {
	rec, err := i.records.Record(ctx, kindKeys, recordKey)
	var keys []entry
	switch {
	case errors.Is(err, task.ErrNotFound):
		rec = task.Record{Kind: kindKeys, Key: recordKey, Owner: serverScope()}
	case err != nil:
		return fmt.Errorf("read the keys for identity tokens: %w", err)
	default:
		if err := json.Unmarshal(rec.Data, &keys); err != nil {
			return fmt.Errorf("the keys for identity tokens are damaged: %w", err)
		}
	}
	old := slices.Clone(keys[:spent(keys, now)])
	keys = keys[len(old):]
	if len(old) == 0 && !due(keys, now) {
		i.keys, i.readAt = keys, now
		return nil
	}
	var made *entry
	if due(keys, now) {
		if made, err = i.makeKey(ctx, now); err != nil {
			return err
		}
		keys = append(keys, *made)
	}
	if rec.Data, err = json.Marshal(keys); err != nil {
		return err
	}
	rec.UpdatedAt = now
	if _, err := i.records.PutRecord(ctx, rec); err != nil {
		if made != nil && errors.Is(err, task.ErrConflict) { // nobody has it
			err = errors.Join(err, i.vault.Drop(ctx, serverScope(), privateName(made.ID)))
		}
		return err
	}
	for _, e := range old {
		delete(i.private, e.ID)
		if err := i.vault.Drop(ctx, serverScope(), privateName(e.ID)); err != nil {
			return fmt.Errorf("remove an old key for identity tokens: %w", err)
		}
	}
	i.keys, i.readAt = keys, now
	return nil
}

// makeKey makes a key whose private half is kept before anybody can know of it.
func (i *Issuer) makeKey(ctx context.Context, now time.Time) (*entry, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	data, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return nil, err
	}
	public, err := key.PublicKey.ECDH()
	if err != nil {
		return nil, err
	}
	point := public.Bytes() // 4, then the two numbers
	e := &entry{MadeAt: now.UTC(), Key: Key{Type: "EC", Curve: "P-256", ID: uuid.NewString(), Use: "sig", Algorithm: "ES256",
		X: base64.RawURLEncoding.EncodeToString(point[1:33]), Y: base64.RawURLEncoding.EncodeToString(point[33:])}}
	if err := i.vault.Keep(ctx, serverScope(), privateName(e.ID), data); err != nil {
		return nil, fmt.Errorf("keep a key for identity tokens: %w", err)
	}
	return e, nil
}

func privateName(id string) string { return "identity-" + id }

// privateKey gives the private half of a key. i.mu is held.
func (i *Issuer) privateKey(ctx context.Context, id string) (*ecdsa.PrivateKey, error) {
	if key := i.private[id]; key != nil {
		return key, nil
	}
	data, err := i.vault.Kept(ctx, serverScope(), privateName(id))
	if err != nil {
		return nil, fmt.Errorf("read the key for identity tokens: %w", err)
	}
	key, err := x509.ParseECPrivateKey(data)
	if err != nil {
		return nil, errors.New("the key for identity tokens is damaged") // err could tell of its bytes
	}
	i.private[id] = key
	return key, nil
}

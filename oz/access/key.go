package access

import (
	"cmp"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/oz-platform/cloudagents/task"
)

// KeyType says for whom a key acts.
type KeyType string

// A personal key acts as the person who made it. A team key acts for the team
// and for no person: it reaches no personal secret. An agent key acts as an
// agent identity of the team. A worker key connects workers and does nothing
// else (Oz platform, KEY-2).
const (
	KeyPersonal KeyType = "personal"
	KeyTeam     KeyType = "team"
	KeyAgent    KeyType = "agent"
	KeyWorker   KeyType = "worker"
)

// Limits of keys.
const (
	minChosenKey = 8    // bytes; of keys that an operator chooses
	maxKey       = 1024 // bytes; a longer bearer is not looked at
	maxKeys      = 1000 // of one person or team
	maxKeyName   = 100  // bytes
)

// useInterval is how stale Key.LastUsedAt may be: each key causes at most one
// write per interval, however busy it is.
const useInterval = time.Hour

// Key is what is known of an API key. The key itself is shown once, by
// CreateKey; only its SHA-256 is stored.
type Key struct {
	UID  string  `json:"uid"`
	Name string  `json:"name"`
	Type KeyType `json:"type"`
	// Owner is the person or team that the key acts for.
	Owner task.Scope `json:"owner"`
	// Agent is the uid of the identity that an agent key acts as.
	Agent   string         `json:"agent,omitempty"`
	Creator task.Principal `json:"creator"`
	// Suffix is the key's last four bytes, to tell keys apart; empty for a
	// short one that an operator chose.
	Suffix    string    `json:"suffix"`
	CreatedAt time.Time `json:"created_at"`
	// ExpiresAt is when the key stops working; zero means never.
	ExpiresAt time.Time `json:"expires_at,omitzero"`
	// LastUsedAt is accurate to an hour; zero when never used.
	LastUsedAt time.Time `json:"last_used_at,omitzero"`
}

// KeySpec asks for a key.
type KeySpec struct {
	// Name is for people, 1 to 100 bytes.
	Name string
	// Type is KeyPersonal by default.
	Type KeyType
	// Team is whose key a team or worker key is; default the caller's only team.
	Team string
	// Agent is the uid of the identity that an agent key is to act as.
	Agent string
	// ExpiresAt is when the key stops working; zero means never.
	ExpiresAt time.Time
}

// CreateKey makes a key for by and returns it, this once, with what is stored
// of it. Keys of all types but personal are made by the team's owners and
// admins.
func (r *Registry) CreateKey(ctx context.Context, by Caller, spec KeySpec) (raw string, k Key, err error) {
	owner, err := r.keyOwner(ctx, by, spec)
	if err != nil {
		return "", Key{}, err
	}
	asked := keyAct(by, KeyCreate, Key{Name: spec.Name, Owner: owner, Type: spec.Type}, "create")
	if err := r.judge(ctx, asked, Allow(by, KeyCreate, Object{Owner: owner, Creator: by.Principal})); err != nil {
		return "", Key{}, err
	}
	if err := spec.check(r.now()); err != nil {
		return "", Key{}, err
	}
	if theirs, err := r.records.Records(ctx, kindKey, &owner); err != nil {
		return "", Key{}, fmt.Errorf("count keys: %w", err)
	} else if len(theirs) >= maxKeys {
		return "", Key{}, task.Errorf(task.CodeOperationNotSupported, "there are %d keys already: revoke some first", maxKeys)
	}
	return r.createKey(ctx, by, owner, spec)
}

// createKey makes a key that by may make.
func (r *Registry) createKey(ctx context.Context, by Caller, owner task.Scope, spec KeySpec) (raw string, k Key, err error) {
	raw = r.newKey()
	k = Key{UID: newUID(), Name: spec.Name, Type: cmp.Or(spec.Type, KeyPersonal), Owner: owner, Agent: spec.Agent, Creator: by.Principal,
		Suffix: suffix(raw), CreatedAt: r.now(), ExpiresAt: spec.ExpiresAt.UTC()}
	if err := r.act(ctx, keyAct(by, KeyCreate, k, "create"), func() error { return r.putKey(ctx, raw, k, 0) }); err != nil {
		return "", Key{}, err
	}
	return raw, k, nil
}

// keyOwner says for whom the key is to act.
func (r *Registry) keyOwner(ctx context.Context, by Caller, s KeySpec) (task.Scope, error) {
	if s.Agent != "" && s.Type != KeyAgent {
		return task.Scope{}, task.Invalid("agent", "is for keys of type agent only")
	}
	switch s.Type {
	case "", KeyPersonal:
		if !by.Principal.IsPerson() {
			return task.Scope{}, task.Invalid("type", "only a person can have a personal key; ask for a team key")
		}
		return task.Scope{Type: task.ScopeUser, UID: by.Principal.UID}, nil
	case KeyTeam, KeyWorker:
		team := s.Team
		if team == "" && len(by.Teams) == 1 {
			team = by.Teams[0].UID
		}
		if team == "" {
			return task.Scope{}, task.Invalid("team", "name the team of the key")
		}
		return task.Scope{Type: task.ScopeTeam, UID: team}, nil
	case KeyAgent:
		return r.agentKeyOwner(ctx, by, s)
	}
	return task.Scope{}, task.Invalid("type", "%q is none of personal, team, agent, worker", string(s.Type))
}

// agentKeyOwner finds the team of the agent that a key is to act as.
func (r *Registry) agentKeyOwner(ctx context.Context, by Caller, s KeySpec) (task.Scope, error) {
	if s.Agent == "" {
		return task.Scope{}, task.Invalid("agent", "name the agent that the key is to act as, by its uid")
	}
	a, err := r.Agent(ctx, s.Agent)
	if err == nil {
		err = Allow(by, AgentView, Object{Owner: a.Scope(), Creator: a.Creator})
	}
	if errors.Is(err, task.ErrNotFound) {
		return task.Scope{}, &task.Error{Code: task.CodeNotFound, Field: "agent", Message: "there is no such agent, or you may not see it", Err: err}
	}
	if err == nil && s.Team != "" && s.Team != a.Team {
		err = task.Invalid("team", "the agent belongs to another team; leave it out")
	}
	return a.Scope(), err
}

func (s KeySpec) check(now time.Time) error {
	switch {
	case strings.TrimSpace(s.Name) == "" || len(s.Name) > maxKeyName:
		return task.Invalid("name", "must have 1 to %d bytes: say what the key is for", maxKeyName)
	case !s.ExpiresAt.IsZero() && !s.ExpiresAt.After(now):
		return task.Invalid("expires_at", "must be in the future")
	}
	return nil
}

// Keys lists the keys that by may see, oldest first: its own, and as a leader
// of a team also the team's and its members'.
func (r *Registry) Keys(ctx context.Context, by Caller) ([]Key, error) {
	if err := Allow(by, KeyView, Object{}); err != nil {
		return nil, err
	}
	all, err := r.keys(ctx)
	if err != nil {
		return nil, err
	}
	mine := []Key{}
	for _, k := range all {
		objects, err := r.objects(ctx, k.Key)
		if err != nil {
			return nil, err
		}
		if allowAny(by, KeyView, objects) == nil {
			mine = append(mine, k.Key)
		}
	}
	slices.SortFunc(mine, func(a, b Key) int {
		if c := a.CreatedAt.Compare(b.CreatedAt); c != 0 {
			return c
		}
		return strings.Compare(a.UID, b.UID)
	})
	return mine, nil
}

// RevokeKey deletes a key: the next request with it fails. It fails with
// task.ErrNotFound.
func (r *Registry) RevokeKey(ctx context.Context, by Caller, uid string) error {
	all, err := r.keys(ctx)
	if err != nil {
		return err
	}
	i := slices.IndexFunc(all, func(k storedKey) bool { return k.UID == uid })
	if i < 0 {
		if !by.System && !by.SignedIn() {
			return Allow(by, KeyManage, Object{})
		}
		return r.judge(ctx, Act{By: by, Action: KeyManage, Kind: "key", ID: uid}, hidden())
	}
	objects, err := r.objects(ctx, all[i].Key)
	if err != nil {
		return err
	}
	revoke := keyAct(by, KeyManage, all[i].Key, "revoke")
	if err := r.judge(ctx, revoke, allowAny(by, KeyManage, objects)); err != nil {
		return err
	}
	return r.act(ctx, revoke, func() error {
		err := r.records.DeleteRecord(ctx, kindKey, all[i].hash)
		if errors.Is(err, task.ErrNotFound) { // somebody else was first; err names the hash
			return hidden()
		}
		return err
	})
}

// objects is a key as the table sees it: a personal key belongs to its person
// and also to the team that they joined first, whose leaders answer for it.
// Anybody can make a team and put people on it, so others answer for nobody.
func (r *Registry) objects(ctx context.Context, k Key) ([]Object, error) {
	objects := []Object{{Owner: k.Owner, Creator: k.Creator}}
	if k.Type != KeyPersonal {
		return objects, nil
	}
	u, err := r.User(ctx, k.Owner.UID)
	if errors.Is(err, task.ErrNotFound) {
		return objects, nil
	}
	if len(u.Teams) > 0 {
		objects = append(objects, Object{Owner: teamScope(u.Teams[0].UID), Creator: u.principal()})
	}
	return objects, err
}

// allowAny allows what the table allows for one of the objects. A key that one
// may do nothing about is hidden.
func allowAny(by Caller, a Action, objects []Object) error {
	for _, o := range objects {
		if Allow(by, a, o) == nil {
			return nil
		}
	}
	if !by.SignedIn() {
		return Allow(by, a, objects[0])
	}
	return hidden()
}

// Authenticate finds the caller behind an API key, taken verbatim. It fails
// with task.CodeAuthenticationRequired when the key is unknown, revoked or
// expired.
func (r *Registry) Authenticate(ctx context.Context, bearer string) (Caller, error) {
	if bearer == "" || len(bearer) > maxKey {
		return Caller{}, task.Errorf(task.CodeAuthenticationRequired, "send an API key as a bearer token")
	}
	k, err := r.key(ctx, hashKey(bearer))
	if errors.Is(err, task.ErrNotFound) {
		return Caller{}, task.Errorf(task.CodeAuthenticationRequired, "this API key is unknown or was revoked: create another one")
	}
	if err != nil {
		return Caller{}, fmt.Errorf("authenticate: %w", err)
	}
	now := r.now()
	if k.expired(now) {
		return Caller{}, task.Errorf(task.CodeAuthenticationRequired, "this API key expired at %s: create another one", k.ExpiresAt.Format(time.RFC3339))
	}
	c, err := r.callerOf(ctx, k.Key)
	if err != nil {
		return Caller{}, err
	}
	r.noteUse(ctx, k, now)
	return c, nil
}

// callerOf gives whom the key acts for, as they are now.
func (r *Registry) callerOf(ctx context.Context, k Key) (Caller, error) {
	c := Caller{Key: k.UID, KeyType: k.Type}
	if k.Type != KeyPersonal {
		c.Teams = []Membership{{UID: k.Owner.UID, Role: RoleMember}}
		c.Principal = task.Principal{Type: task.PrincipalServiceAccount, UID: k.UID, DisplayName: k.Name}
	}
	if k.Type == KeyAgent {
		a, err := r.Agent(ctx, k.Agent)
		if errors.Is(err, task.ErrNotFound) {
			return Caller{}, task.Errorf(task.CodeAuthenticationRequired, "the agent behind this API key was deleted")
		}
		c.Principal = a.Principal()
		return c, err
	}
	if k.Type != KeyPersonal {
		return c, nil
	}
	c, err := r.Caller(ctx, k.Owner.UID)
	if errors.Is(err, task.ErrNotFound) {
		return Caller{}, task.Errorf(task.CodeAuthenticationRequired, "the person behind this API key is gone")
	}
	c.Key, c.KeyType = k.UID, k.Type
	return c, err
}

// noteUse writes down that a key was used, at most once per useInterval. It is
// a courtesy to people: a failure must not fail the request.
func (r *Registry) noteUse(ctx context.Context, k storedKey, now time.Time) {
	r.mu.Lock()
	last := r.used[k.UID]
	if last.IsZero() {
		last = k.LastUsedAt
	}
	due := now.Sub(last) >= useInterval
	if due {
		r.used[k.UID] = now
	}
	r.mu.Unlock()
	if !due {
		return
	}
	k.LastUsedAt = now
	data, err := json.Marshal(k.Key)
	if err != nil {
		return
	}
	// The revision keeps a key that is revoked right now revoked.
	_, _ = r.records.PutRecord(ctx, task.Record{Kind: kindKey, Key: k.hash, Owner: k.Owner, Revision: k.revision, Data: data, UpdatedAt: now})
}

// storedKey is a key with where it is stored.
type storedKey struct {
	Key
	hash     string
	revision int64
}

func (r *Registry) key(ctx context.Context, hash string) (storedKey, error) {
	rec, err := r.records.Record(ctx, kindKey, hash)
	if err != nil {
		return storedKey{}, err
	}
	return decodeKey(rec)
}

func (r *Registry) keys(ctx context.Context) ([]storedKey, error) {
	recs, err := r.records.Records(ctx, kindKey, nil)
	if err != nil {
		return nil, fmt.Errorf("list keys: %w", err)
	}
	keys := make([]storedKey, 0, len(recs))
	for _, rec := range recs {
		k, err := decodeKey(rec)
		if err != nil {
			return nil, err
		}
		keys = append(keys, k)
	}
	return keys, nil
}

func decodeKey(rec task.Record) (storedKey, error) {
	k := storedKey{hash: rec.Key, revision: rec.Revision}
	if err := json.Unmarshal(rec.Data, &k.Key); err != nil {
		return storedKey{}, fmt.Errorf("decode key: %w", err)
	}
	return k, nil
}

func (k Key) expired(now time.Time) bool { return !k.ExpiresAt.IsZero() && !now.Before(k.ExpiresAt) }

// putKey stores a key under its hash, in the place of the one that has the
// revision; 0 if it is new.
func (r *Registry) putKey(ctx context.Context, raw string, k Key, revision int64) error {
	data, err := json.Marshal(k)
	if err != nil {
		return fmt.Errorf("encode key: %w", err)
	}
	_, err = r.records.PutRecord(ctx, task.Record{Kind: kindKey, Key: hashKey(raw), Owner: k.Owner, Revision: revision,
		Data: data, UpdatedAt: k.CreatedAt})
	return err
}

// newKey draws 256 bits.
func (r *Registry) newKey() string {
	b := make([]byte, 32)
	_, _ = rand.Read(b) // never fails: crypto/rand aborts the program instead
	return r.prefix + base64.RawURLEncoding.EncodeToString(b)
}

// hashKey is how keys are stored and found. Looking the hash up tells a timing
// attacker nothing of use: it cannot steer the hash of a guess. No salt or slow
// hash is needed for keys of 256 random bits; one that the operator chooses is
// as strong as they make it.
func hashKey(raw string) string {
	sum := sha256.Sum256([]byte(raw))
	return hex.EncodeToString(sum[:])
}

// suffix is what may be shown of a key: nothing of one that is short.
func suffix(raw string) string {
	if len(raw) < 20 {
		return ""
	}
	return raw[len(raw)-4:]
}

func newUID() string { return uuid.NewString() }

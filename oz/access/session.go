package access

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/oz-platform/cloudagents/task"
)

// Identity is what an identity provider says of a person who has signed in.
type Identity struct {
	// Issuer and Subject together name the person for ever; an e-mail address
	// may come to belong to another.
	Issuer, Subject string
	Email           string
	EmailVerified   bool
	Name            string // for people
}

// SignInPolicy says who may sign in. The zero policy lets nobody in who has
// not signed in before.
type SignInPolicy struct {
	// Domains are those of the verified e-mail addresses whose owners are made
	// known at their first sign-in; "*" stands for all.
	Domains []string
	// LinkEmail lets people in at their first sign-in whom a team has added by
	// their e-mail address, if it is verified.
	LinkEmail bool
	// Team is what new people are put on, as Role; "" leaves them on none.
	Team string
	Role Role // default RoleMember
}

// Kinds of the records of sign-ins.
const (
	kindIdentity = "access.identity"
	kindSession  = "access.session"
)

// Life of a session: it ends when it was not used for sessionIdle, and after
// sessionLife in any case. Its use is written down once per sessionTouch.
const (
	sessionIdle  = 12 * time.Hour
	sessionLife  = 7 * 24 * time.Hour
	sessionTouch = 10 * time.Minute
	maxIdentity  = 1024 // bytes of issuer and subject together
	maxSessions  = 50   // of one person; the one that was not used for longest ends
)

// actionSignIn names refused attempts to sign in; the access table has no row
// for it, since who may sign in is up to a SignInPolicy.
const actionSignIn Action = "account.sign_in"

// SignIn finds the person behind an identity, and makes them known if the
// policy allows it. It fails with task.CodeNotAuthorized.
func (r *Registry) SignIn(ctx context.Context, id Identity, p SignInPolicy) (User, error) {
	u, err := r.signIn(ctx, id, p)
	return u, r.judge(ctx, Act{Action: actionSignIn, Kind: "identity", ID: id.Email}, err)
}

func (r *Registry) signIn(ctx context.Context, id Identity, p SignInPolicy) (User, error) {
	if id.Issuer == "" || id.Subject == "" || len(id.Issuer)+len(id.Subject) > maxIdentity {
		return User{}, task.Errorf(task.CodeNotAuthorized, "the identity provider did not say who you are")
	}
	key := hashKey(fmt.Sprintf("%d:%s:%s", len(id.Issuer), id.Issuer, id.Subject))
	rec, err := r.records.Record(ctx, kindIdentity, key)
	if err == nil {
		u, err := r.User(ctx, string(rec.Data))
		if errors.Is(err, task.ErrNotFound) {
			return User{}, task.Errorf(task.CodeNotAuthorized, "your account on this server was removed; ask an admin of your team")
		}
		return u, err
	}
	if !errors.Is(err, task.ErrNotFound) {
		return User{}, fmt.Errorf("read %s: %w", kindIdentity, err)
	}
	u, err := r.firstSignIn(ctx, id, p)
	if err != nil {
		return User{}, err
	}
	_, err = r.records.PutRecord(ctx, task.Record{Kind: kindIdentity, Key: key, Owner: u.scope(), Data: []byte(u.UID), UpdatedAt: r.now()})
	if errors.Is(err, task.ErrConflict) { // the same person, in another window
		return r.signIn(ctx, id, p)
	}
	if err != nil {
		return User{}, fmt.Errorf("write %s: %w", kindIdentity, err)
	}
	return u, nil
}

// firstSignIn decides on somebody who comes for the first time.
func (r *Registry) firstSignIn(ctx context.Context, id Identity, p SignInPolicy) (User, error) {
	refused := task.Errorf(task.CodeNotAuthorized, "nobody here knows %s: ask an admin of a team to add this e-mail address", nameOf(id))
	if id.Email == "" || !id.EmailVerified {
		return User{}, task.Errorf(task.CodeNotAuthorized, "your identity provider has not verified your e-mail address; verify it there and try again")
	}
	if p.LinkEmail {
		u, err := r.UserByEmail(ctx, id.Email)
		if err == nil {
			return r.takeOver(ctx, u)
		}
		if !errors.Is(err, task.ErrNotFound) {
			return User{}, err
		}
	}
	if !p.welcomes(id.Email) {
		return User{}, refused
	}
	if !p.LinkEmail { // the address may be that of somebody else's account
		if _, err := r.UserByEmail(ctx, id.Email); err == nil {
			return User{}, task.Errorf(task.CodeNotAuthorized, "an account with your e-mail address exists here already, and this server does not link accounts by e-mail; ask its admin")
		} else if !errors.Is(err, task.ErrNotFound) {
			return User{}, err
		}
	}
	u, created, err := r.EnsureUser(ctx, id.Email, id.Name)
	if err != nil || !created || p.Team == "" {
		return u, err
	}
	role := p.Role
	if role == "" {
		role = RoleMember
	}
	if err := r.setRole(ctx, u.UID, p.Team, "", role); err != nil {
		return User{}, fmt.Errorf("put %s on team %s: %w", u.UID, p.Team, err)
	}
	return r.User(ctx, u.UID)
}

// takeOver gives an account to the person who has proved that its address is
// theirs. Whoever was given its first key may be somebody else: what acts as
// the person ends.
func (r *Registry) takeOver(ctx context.Context, u User) (User, error) {
	if u.VouchedBy == "" {
		return u, nil
	}
	over := Act{By: Caller{Principal: u.principal()}, Action: KeyManage, Kind: "user", ID: u.UID, Owner: u.scope(),
		Details: map[string]string{"act": "end the keys from before the first sign-in"}}
	err := r.act(ctx, over, func() error {
		if err := errors.Join(r.endKeys(ctx, u), r.endDevices(ctx, u.UID)); err != nil {
			return err
		}
		return r.change(ctx, kindUser, u.UID, func(data []byte) (any, error) {
			u = User{}
			if err := json.Unmarshal(data, &u); err != nil {
				return nil, fmt.Errorf("decode %s: %w", kindUser, err)
			}
			u.VouchedBy = ""
			return u, nil
		})
	})
	return u, err
}

// endKeys revokes the personal keys of a person.
func (r *Registry) endKeys(ctx context.Context, u User) error {
	owner := u.scope()
	recs, err := r.records.Records(ctx, kindKey, &owner)
	if err != nil {
		return fmt.Errorf("list keys: %w", err)
	}
	for _, rec := range recs {
		if err := r.records.DeleteRecord(ctx, kindKey, rec.Key); err != nil && !errors.Is(err, task.ErrNotFound) {
			return fmt.Errorf("end keys of %s: %w", u.UID, err)
		}
	}
	return nil
}

func nameOf(id Identity) string {
	if id.Email == "" {
		return "you"
	}
	return id.Email
}

// welcomes reports whether the owner of a verified address may come unasked.
func (p SignInPolicy) welcomes(email string) bool {
	_, domain, ok := strings.Cut(email, "@")
	return ok && slices.ContainsFunc(p.Domains, func(d string) bool { return d == "*" || sameEmail(d, domain) })
}

// session is a sign-in with a browser, as it is stored under the hash of its
// token.
type session struct {
	UID  string `json:"uid"`
	User string `json:"user"`
	// Key and KeyHash are the API key that it was begun with, whose end is its
	// own, and Owner whom that acts for; they are empty for sign-ins by a person.
	Key       string     `json:"key,omitempty"`
	KeyHash   string     `json:"key_hash,omitempty"`
	Owner     task.Scope `json:"owner,omitzero"`
	CreatedAt time.Time  `json:"created_at"`
	UsedAt    time.Time  `json:"used_at"`
}

// scope is whose session it is.
func (s session) scope() task.Scope {
	if s.KeyHash != "" {
		return s.Owner
	}
	return task.Scope{Type: task.ScopeUser, UID: s.User}
}

// ends is when it stops working.
func (s session) ends() time.Time {
	if end := s.UsedAt.Add(sessionIdle); end.Before(s.CreatedAt.Add(sessionLife)) {
		return end
	}
	return s.CreatedAt.Add(sessionLife)
}

// StartSession signs a person in with a browser and gives the token for its
// cookie, this once, and when it ends at the latest.
func (r *Registry) StartSession(ctx context.Context, user string) (token string, until time.Time, err error) {
	u, err := r.User(ctx, user)
	if err != nil {
		return "", time.Time{}, err
	}
	return r.beginSession(ctx, Caller{Principal: u.principal(), Teams: u.Teams}, session{User: u.UID})
}

// beginSession writes a session down and gives its token.
func (r *Registry) beginSession(ctx context.Context, by Caller, s session) (token string, until time.Time, err error) {
	if err := r.sweepSessions(ctx, s.scope()); err != nil {
		return "", time.Time{}, err
	}
	token = "ozs_" + secret()
	now := r.now()
	s.UID, s.CreatedAt, s.UsedAt = newUID(), now, now
	by.Key = s.UID
	begin := Act{By: by, Action: AccountView, Kind: "session", ID: s.UID, Owner: s.scope()}
	if s.Key != "" {
		begin.Details = map[string]string{"key": s.Key}
	}
	err = r.act(ctx, begin, func() error { return r.putSession(ctx, hashKey(token), s, 0) })
	if err != nil {
		return "", time.Time{}, err
	}
	return token, now.Add(sessionLife), nil
}

// sweepSessions removes those sessions of a person or team that are over, and
// makes room for one more.
func (r *Registry) sweepSessions(ctx context.Context, owner task.Scope) error {
	recs, err := r.records.Records(ctx, kindSession, &owner)
	if err != nil {
		return fmt.Errorf("list sessions: %w", err)
	}
	used := make(map[string]time.Time, len(recs)) // those that are over: the zero time
	for _, rec := range recs {
		var s session
		if json.Unmarshal(rec.Data, &s) == nil && r.now().Before(s.ends()) {
			used[rec.Key] = s.UsedAt
		}
	}
	slices.SortFunc(recs, func(a, b task.Record) int { return used[b.Key].Compare(used[a.Key]) }) // the newest first
	for i, rec := range recs {
		if i < maxSessions-1 && !used[rec.Key].IsZero() {
			continue
		}
		if err := r.records.DeleteRecord(ctx, kindSession, rec.Key); err != nil && !errors.Is(err, task.ErrNotFound) {
			return fmt.Errorf("sweep sessions: %w", err)
		}
	}
	return nil
}

// secret draws 256 bits.
func secret() string {
	b := make([]byte, 32)
	_, _ = rand.Read(b) // never fails: crypto/rand aborts the program instead
	return base64.RawURLEncoding.EncodeToString(b)
}

func (r *Registry) putSession(ctx context.Context, key string, s session, revision int64) error {
	data, err := json.Marshal(s)
	if err != nil {
		return fmt.Errorf("encode session: %w", err)
	}
	_, err = r.records.PutRecord(ctx, task.Record{Kind: kindSession, Key: key, Owner: s.scope(),
		Revision: revision, Data: data, UpdatedAt: s.UsedAt})
	if err != nil {
		return fmt.Errorf("write session: %w", err)
	}
	return nil
}

// SessionCaller finds the caller behind a session's token. It fails with
// task.CodeAuthenticationRequired.
func (r *Registry) SessionCaller(ctx context.Context, token string) (Caller, error) {
	over := task.Errorf(task.CodeAuthenticationRequired, "your session is over: sign in again")
	if !strings.HasPrefix(token, "ozs_") || len(token) > maxKey {
		return Caller{}, over
	}
	rec, err := r.records.Record(ctx, kindSession, hashKey(token))
	if errors.Is(err, task.ErrNotFound) {
		return Caller{}, over
	}
	if err != nil {
		return Caller{}, fmt.Errorf("read session: %w", err)
	}
	var s session
	if err := json.Unmarshal(rec.Data, &s); err != nil {
		return Caller{}, fmt.Errorf("decode session: %w", err)
	}
	now := r.now()
	if !now.Before(s.ends()) {
		_ = r.records.DeleteRecord(ctx, kindSession, rec.Key) // it is over in any case
		return Caller{}, over
	}
	c, err := r.behind(ctx, s)
	if errors.Is(err, task.ErrNotFound) {
		return Caller{}, over
	}
	if err != nil {
		return Caller{}, err
	}
	c.Key = s.UID
	if now.Sub(s.UsedAt) >= sessionTouch {
		s.UsedAt = now
		_ = r.putSession(ctx, rec.Key, s, rec.Revision) // a courtesy; the revision keeps an ended session ended
	}
	return c, nil
}

// EndSession ends a session. One that is over is no error.
func (r *Registry) EndSession(ctx context.Context, token string) error {
	if err := r.records.DeleteRecord(ctx, kindSession, hashKey(token)); err != nil && !errors.Is(err, task.ErrNotFound) {
		return fmt.Errorf("end session: %w", err)
	}
	return nil
}

package access

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/oz-platform/cloudagents/task"
)

// SignInCodeLife is how long a code of NewSignInCode works.
const SignInCodeLife = time.Hour

const (
	kindSignInCode = "access.sign_in_code"
	signInCode     = "ozc_" // begins each code
)

// signInCodeRecord is what a code is good for, as it is stored under the hash of the code.
type signInCodeRecord struct {
	User      string    `json:"user"`
	ExpiresAt time.Time `json:"expires_at"`
}

// StartKeySession signs a browser in as whom an API key acts for. It gives the
// token for the browser's cookie, this once, and when it ends at the latest.
// The session ends with the key, too: when that is revoked or expires. It fails
// with task.CodeAuthenticationRequired for a key that is unknown or over, and
// with task.CodeNotAuthorized for one that may only connect workers.
func (r *Registry) StartKeySession(ctx context.Context, bearer string) (token string, until time.Time, err error) {
	token, until, err = r.startKeySession(ctx, bearer)
	return token, until, r.refusedSignIn(ctx, err)
}

func (r *Registry) startKeySession(ctx context.Context, bearer string) (string, time.Time, error) {
	c, err := r.Authenticate(ctx, bearer)
	if err != nil {
		return "", time.Time{}, aboutField("key", err)
	}
	if c.KeyType == KeyWorker {
		return "", time.Time{}, &task.Error{Code: task.CodeNotAuthorized, Field: "key", Message: "a worker key connects workers and does nothing else: use a personal, team or agent key"}
	}
	hash := hashKey(bearer)
	k, err := r.key(ctx, hash)
	if err != nil {
		return "", time.Time{}, fmt.Errorf("read key: %w", err)
	}
	token, until, err := r.beginSession(ctx, c, session{User: c.person(), Key: k.UID, KeyHash: hash, Owner: k.Owner})
	if !k.ExpiresAt.IsZero() && k.ExpiresAt.Before(until) {
		until = k.ExpiresAt
	}
	return token, until, err
}

// person is the uid of the person who acts, "" for service accounts.
func (c Caller) person() string {
	if !c.Principal.IsPerson() {
		return ""
	}
	return c.Principal.UID
}

// behind finds whom a session acts for, as they are now. It fails with
// task.ErrNotFound when they, or the key that it was begun with, are gone.
func (r *Registry) behind(ctx context.Context, s session) (Caller, error) {
	if s.KeyHash == "" {
		return r.Caller(ctx, s.User)
	}
	k, err := r.key(ctx, s.KeyHash)
	if err != nil {
		return Caller{}, err
	}
	now := r.now()
	if k.UID != s.Key || k.expired(now) { // the operator may choose a key again that was revoked
		return Caller{}, task.ErrNotFound
	}
	c, err := r.callerOf(ctx, k.Key)
	if task.CodeOf(err) == task.CodeAuthenticationRequired && err != nil {
		return Caller{}, task.ErrNotFound
	}
	if err == nil {
		r.noteUse(ctx, k, now)
	}
	return c, err
}

// NewSignInCode makes a code with which one browser signs in as a person, once
// and within SignInCodeLife. It is for the embedding program, to put into a
// link: it asks nobody whether it may. It fails with task.ErrNotFound for a
// person who is not known.
func (r *Registry) NewSignInCode(ctx context.Context, user string) (string, error) {
	u, err := r.User(ctx, user)
	if err != nil {
		return "", err
	}
	if err := r.sweepSignInCodes(ctx, u.scope()); err != nil {
		return "", err
	}
	code, now := signInCode+secret(), r.now()
	data, err := json.Marshal(signInCodeRecord{User: u.UID, ExpiresAt: now.Add(SignInCodeLife)})
	if err != nil {
		return "", fmt.Errorf("encode sign-in code: %w", err)
	}
	a := Act{By: System(), Action: KeyCreate, Kind: "sign_in_code", ID: u.UID, Owner: u.scope()}
	err = r.act(ctx, a, func() error {
		_, err := r.records.PutRecord(ctx, task.Record{Kind: kindSignInCode, Key: hashKey(code), Owner: u.scope(), Data: data, UpdatedAt: now})
		return err
	})
	if err != nil {
		return "", fmt.Errorf("write sign-in code: %w", err)
	}
	return code, nil
}

// sweepSignInCodes removes those codes of a person that have expired.
func (r *Registry) sweepSignInCodes(ctx context.Context, owner task.Scope) error {
	recs, err := r.records.Records(ctx, kindSignInCode, &owner)
	if err != nil {
		return fmt.Errorf("list sign-in codes: %w", err)
	}
	for _, rec := range recs {
		var c signInCodeRecord
		if json.Unmarshal(rec.Data, &c) == nil && r.now().Before(c.ExpiresAt) {
			continue
		}
		if err := r.records.DeleteRecord(ctx, kindSignInCode, rec.Key); err != nil && !errors.Is(err, task.ErrNotFound) {
			return fmt.Errorf("sweep sign-in codes: %w", err)
		}
	}
	return nil
}

// StartCodeSession signs a browser in with a code of NewSignInCode, as
// StartSession does. It fails with task.CodeAuthenticationRequired for a code
// that is unknown, was used or has expired.
func (r *Registry) StartCodeSession(ctx context.Context, code string) (token string, until time.Time, err error) {
	token, until, err = r.startCodeSession(ctx, code)
	return token, until, r.refusedSignIn(ctx, err)
}

func (r *Registry) startCodeSession(ctx context.Context, code string) (string, time.Time, error) {
	over := &task.Error{Code: task.CodeAuthenticationRequired, Field: "code", Message: "this sign-in link was used or has expired: sign in with an API key"}
	if len(code) > maxKey {
		return "", time.Time{}, over
	}
	rec, err := r.records.Record(ctx, kindSignInCode, hashKey(code))
	if err == nil { // whoever deletes it, has it
		err = r.records.DeleteRecord(ctx, kindSignInCode, rec.Key)
	}
	if errors.Is(err, task.ErrNotFound) {
		return "", time.Time{}, over
	}
	if err != nil {
		return "", time.Time{}, fmt.Errorf("take sign-in code: %w", err)
	}
	var c signInCodeRecord
	if err := json.Unmarshal(rec.Data, &c); err != nil {
		return "", time.Time{}, fmt.Errorf("decode sign-in code: %w", err)
	}
	if !r.now().Before(c.ExpiresAt) {
		return "", time.Time{}, over
	}
	return r.StartSession(ctx, c.User)
}

// refusedSignIn writes a sign-in down that failed, and gives the error back.
func (r *Registry) refusedSignIn(ctx context.Context, err error) error {
	if code := task.CodeOf(err); err != nil && r.auditor != nil && (code == task.CodeAuthenticationRequired || code == task.CodeNotAuthorized) {
		r.auditor.Refused(ctx, Act{Action: actionSignIn, Kind: "session"}, err)
	}
	return err
}

// aboutField says which field of a request an error is about.
func aboutField(field string, err error) error {
	var e *task.Error
	if !errors.As(err, &e) || e.Field != "" {
		return err
	}
	named := *e
	named.Field = field
	return &named
}

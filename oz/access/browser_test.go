package access_test

import (
	"strings"
	"sync"
	"testing"
	"time"

	"gotest.tools/v3/assert"

	"github.com/oz-platform/cloudagents/oz/access"
	"github.com/oz-platform/cloudagents/task"
)

// TestKeySessions: a browser's session from a key is whom the key acts for,
// and ends with the key.
func TestKeySessions(t *testing.T) {
	r, clock, _ := registry(t)
	ctx := t.Context()
	ann := caller(t, r, "ann")
	over := func(token string) {
		t.Helper()
		_, err := r.SessionCaller(ctx, token)
		assert.Equal(t, task.CodeOf(err), task.CodeAuthenticationRequired)
	}

	raw, k, err := r.CreateKey(ctx, ann, access.KeySpec{Name: "mine"})
	assert.NilError(t, err)
	token, until, err := r.StartKeySession(ctx, raw)
	assert.NilError(t, err)
	assert.Equal(t, until, clock.Now().Add(7*24*time.Hour))
	c, err := r.SessionCaller(ctx, token)
	assert.NilError(t, err)
	assert.Equal(t, c.Principal.UID, "ann")
	assert.Equal(t, c.KeyType, access.KeyPersonal)
	assert.DeepEqual(t, c.Teams, ann.Teams)
	assert.NilError(t, r.RevokeKey(ctx, ann, k.UID))
	over(token)

	raw, _, err = r.CreateKey(ctx, ann, access.KeySpec{Name: "short", ExpiresAt: clock.Now().Add(time.Hour)})
	assert.NilError(t, err)
	token, until, err = r.StartKeySession(ctx, raw)
	assert.NilError(t, err)
	assert.Equal(t, until, clock.Now().Add(time.Hour), "no longer than the key")
	clock.advance(time.Hour)
	over(token)
	_, _, err = r.StartKeySession(ctx, raw)
	assert.Equal(t, task.CodeOf(err), task.CodeAuthenticationRequired)

	raw, _, err = r.CreateKey(ctx, ann, access.KeySpec{Name: "the team's", Type: access.KeyTeam})
	assert.NilError(t, err)
	token, _, err = r.StartKeySession(ctx, raw)
	assert.NilError(t, err)
	c, err = r.SessionCaller(ctx, token)
	assert.NilError(t, err)
	assert.Equal(t, c.KeyType, access.KeyTeam)
	assert.Assert(t, !c.Principal.IsPerson(), "a session is no way to a person's secrets")
	assert.DeepEqual(t, c.Scopes(), []task.Scope{{Type: task.ScopeTeam, UID: "red"}})

	raw, _, err = r.CreateKey(ctx, ann, access.KeySpec{Name: "worker", Type: access.KeyWorker})
	assert.NilError(t, err)
	_, _, err = r.StartKeySession(ctx, raw)
	assert.Equal(t, task.CodeOf(err), task.CodeNotAuthorized)
	for _, bad := range []string{"", "oz-guess", strings.Repeat("x", 5000)} {
		_, _, err = r.StartKeySession(ctx, bad)
		assert.Equal(t, task.CodeOf(err), task.CodeAuthenticationRequired)
	}
}

// TestKeySessionsOfAChosenKey: a key that the operator chose again after it
// was revoked brings no old session back.
func TestKeySessionsOfAChosenKey(t *testing.T) {
	r, _, _ := registry(t)
	ctx := t.Context()
	_, _, err := r.Bootstrap(ctx, "chosen-by-me")
	assert.NilError(t, err)
	token, _, err := r.StartKeySession(ctx, "chosen-by-me")
	assert.NilError(t, err)
	c, err := r.SessionCaller(ctx, token)
	assert.NilError(t, err)
	keys, err := r.Keys(ctx, caller(t, r, c.Principal.UID))
	assert.NilError(t, err)
	assert.Equal(t, len(keys), 1)
	assert.NilError(t, r.RevokeKey(ctx, caller(t, r, c.Principal.UID), keys[0].UID))
	_, created, err := r.Bootstrap(ctx, "chosen-by-me")
	assert.NilError(t, err)
	assert.Assert(t, created)
	_, err = r.SessionCaller(ctx, token)
	assert.Equal(t, task.CodeOf(err), task.CodeAuthenticationRequired)
}

// TestSignInCodes: a code signs one browser in, soon, and nobody else.
func TestSignInCodes(t *testing.T) {
	r, clock, _ := registry(t)
	ctx := t.Context()
	code, err := r.NewSignInCode(ctx, "ann")
	assert.NilError(t, err)
	tokens := make(chan string, 20)
	var all sync.WaitGroup // many at once: one wins
	for range cap(tokens) {
		all.Go(func() {
			token, _, err := r.StartCodeSession(ctx, code)
			if err == nil {
				tokens <- token
			} else {
				assert.Check(t, task.CodeOf(err) == task.CodeAuthenticationRequired, "%v", err)
			}
		})
	}
	all.Wait()
	assert.Equal(t, len(tokens), 1)
	c, err := r.SessionCaller(ctx, <-tokens)
	assert.NilError(t, err)
	assert.Equal(t, c.Principal.UID, "ann")

	code, err = r.NewSignInCode(ctx, "ann")
	assert.NilError(t, err)
	clock.advance(access.SignInCodeLife)
	for _, bad := range []string{code, "", "ozc_x", strings.Repeat("x", 5000)} {
		_, _, err = r.StartCodeSession(ctx, bad)
		assert.Equal(t, task.CodeOf(err), task.CodeAuthenticationRequired)
	}
	_, err = r.NewSignInCode(ctx, "nobody")
	assert.ErrorIs(t, err, task.ErrNotFound)
}

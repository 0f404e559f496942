package access_test

import (
	"context"
	"strings"
	"sync"
	"testing"
	"time"

	"gotest.tools/v3/assert"

	"github.com/oz-platform/cloudagents/oz/access"
	"github.com/oz-platform/cloudagents/task"
)

func ann() access.Identity {
	return access.Identity{Issuer: "https://id.example.com", Subject: "42", Email: "ann@example.com", EmailVerified: true, Name: "Ann"}
}

func TestSignIn(t *testing.T) {
	r, _, _ := registry(t)
	ctx := t.Context()
	open := access.SignInPolicy{Domains: []string{"example.com"}, Team: "red"}

	for name, change := range map[string]func(*access.Identity){
		"no issuer":        func(id *access.Identity) { id.Issuer = "" },
		"no subject":       func(id *access.Identity) { id.Subject = "" },
		"long":             func(id *access.Identity) { id.Subject = strings.Repeat("x", 2000) },
		"no e-mail":        func(id *access.Identity) { id.Email = "" },
		"unverified":       func(id *access.Identity) { id.EmailVerified = false },
		"another domain":   func(id *access.Identity) { id.Email = "ann@evil.example" },
		"domain as suffix": func(id *access.Identity) { id.Email = "ann@notexample.com" },
	} {
		id := ann()
		change(&id)
		_, err := r.SignIn(ctx, id, open)
		assert.Equal(t, task.CodeOf(err), task.CodeNotAuthorized, name)
	}
	_, err := r.SignIn(ctx, ann(), access.SignInPolicy{})
	assert.Equal(t, task.CodeOf(err), task.CodeNotAuthorized, "the zero policy lets nobody in")

	u, err := r.SignIn(ctx, ann(), open)
	assert.NilError(t, err)
	assert.Equal(t, u.DisplayName, "Ann")
	assert.DeepEqual(t, u.Teams, []access.Membership{{UID: "red", Role: access.RoleMember}})
	// From now on it is the subject that counts, whatever the rest says.
	moved := ann()
	moved.Email, moved.EmailVerified = "ann@elsewhere.example", false
	again, err := r.SignIn(ctx, moved, access.SignInPolicy{})
	assert.NilError(t, err)
	assert.Equal(t, again.UID, u.UID)
	// Somebody else with her address is not her.
	thief := ann()
	thief.Subject = "666"
	_, err = r.SignIn(ctx, thief, open)
	assert.ErrorContains(t, err, "does not link accounts by e-mail")
}

func TestSignInLinksByEmailIfToldTo(t *testing.T) {
	r, _, _ := registry(t)
	known, _, err := r.EnsureUser(t.Context(), "Ann@example.com", "Ann B.")
	assert.NilError(t, err)
	_, err = r.SignIn(t.Context(), ann(), access.SignInPolicy{})
	assert.Equal(t, task.CodeOf(err), task.CodeNotAuthorized)
	u, err := r.SignIn(t.Context(), ann(), access.SignInPolicy{LinkEmail: true})
	assert.NilError(t, err)
	assert.Equal(t, u.UID, known.UID)
	unverified := access.Identity{Issuer: "https://id.example.com", Subject: "43", Email: "ann@example.com"}
	_, err = r.SignIn(t.Context(), unverified, access.SignInPolicy{LinkEmail: true})
	assert.Equal(t, task.CodeOf(err), task.CodeNotAuthorized)
}

func TestSessions(t *testing.T) {
	r, clock, _ := registry(t)
	ctx := t.Context()
	u, _, err := r.EnsureUser(ctx, "ann@example.com", "Ann")
	assert.NilError(t, err)
	token, _, err := r.StartSession(ctx, u.UID)
	assert.NilError(t, err)
	c, err := r.SessionCaller(ctx, token)
	assert.NilError(t, err)
	assert.Equal(t, c.Principal.UID, u.UID)
	assert.Assert(t, c.Principal.IsPerson())
	for _, bad := range []string{"", "ozs_", token + "x", token[:len(token)-1], strings.Repeat("ozs_", 1000)} {
		_, err := r.SessionCaller(ctx, bad)
		assert.Equal(t, task.CodeOf(err), task.CodeAuthenticationRequired)
	}
	for range 20 { // used now and then, it lasts
		clock.advance(8 * time.Hour)
		if _, err = r.SessionCaller(ctx, token); err != nil {
			break
		}
	}
	assert.NilError(t, err)
	clock.advance(9 * time.Hour) // the seventh day is over
	_, err = r.SessionCaller(ctx, token)
	assert.Equal(t, task.CodeOf(err), task.CodeAuthenticationRequired)

	idle, _, err := r.StartSession(ctx, u.UID)
	assert.NilError(t, err)
	clock.advance(12*time.Hour + time.Second)
	_, err = r.SessionCaller(ctx, idle)
	assert.Equal(t, task.CodeOf(err), task.CodeAuthenticationRequired, "not used for half a day")

	ended, _, err := r.StartSession(ctx, u.UID)
	assert.NilError(t, err)
	assert.NilError(t, r.EndSession(ctx, ended))
	assert.NilError(t, r.EndSession(ctx, ended))
	_, err = r.SessionCaller(ctx, ended)
	assert.Equal(t, task.CodeOf(err), task.CodeAuthenticationRequired)
	_, err = r.Authenticate(ctx, ended)
	assert.Equal(t, task.CodeOf(err), task.CodeAuthenticationRequired, "a session is no API key")
}

func TestDevices(t *testing.T) {
	r, clock, _ := registry(t)
	ctx := t.Context()
	u, _, err := r.EnsureUser(ctx, "ann@example.com", "Ann")
	assert.NilError(t, err)
	by, err := r.Caller(ctx, u.UID)
	assert.NilError(t, err)

	d, err := r.StartDevice(ctx, "oz on build-1")
	assert.NilError(t, err)
	assert.Equal(t, len(d.UserCode), 9)
	poll := func(code string) error { _, _, err := r.PollDevice(ctx, code); return err }
	assert.ErrorIs(t, poll(d.DeviceCode), access.ErrAuthorizationPending)
	assert.ErrorIs(t, poll(d.DeviceCode), access.ErrSlowDown)
	clock.advance(5 * time.Second)
	assert.ErrorIs(t, poll(d.DeviceCode), access.ErrAuthorizationPending)
	assert.ErrorIs(t, poll("ozd_guess"), access.ErrExpiredToken)
	name, err := r.DeviceName(ctx, by, strings.ToLower(strings.ReplaceAll(d.UserCode, "-", " ")))
	assert.NilError(t, err)
	assert.Equal(t, name, "oz on build-1")
	robot := access.Caller{Key: "k", Principal: task.Principal{Type: task.PrincipalServiceAccount, UID: "k"}}
	assert.Equal(t, task.CodeOf(r.ApproveDevice(ctx, robot, d.UserCode, false)), task.CodeNotAuthorized)
	assert.NilError(t, r.ApproveDevice(ctx, by, d.UserCode, false))
	assert.ErrorIs(t, r.ApproveDevice(ctx, by, d.UserCode, true), access.ErrExpiredToken, "decided is decided")

	var all sync.WaitGroup // of many polls at once, one gets the key
	keys := make(chan string, 20)
	for range cap(keys) {
		all.Go(func() {
			if raw, k, err := r.PollDevice(context.WithoutCancel(ctx), d.DeviceCode); err == nil {
				assert.Check(t, k.ExpiresAt.After(clock.Now().Add(89*24*time.Hour)))
				keys <- raw
			}
		})
	}
	all.Wait()
	assert.Equal(t, len(keys), 1)
	c, err := r.Authenticate(ctx, <-keys)
	assert.NilError(t, err)
	assert.Equal(t, c.Principal.UID, u.UID)

	refused, err := r.StartDevice(ctx, "")
	assert.NilError(t, err)
	assert.NilError(t, r.ApproveDevice(ctx, by, refused.UserCode, true))
	assert.ErrorIs(t, poll(refused.DeviceCode), access.ErrAccessDenied)
	assert.ErrorIs(t, poll(refused.DeviceCode), access.ErrExpiredToken)

	late, err := r.StartDevice(ctx, "late")
	assert.NilError(t, err)
	clock.advance(10 * time.Minute)
	assert.ErrorIs(t, r.ApproveDevice(ctx, by, late.UserCode, false), access.ErrExpiredToken)
	assert.ErrorIs(t, poll(late.DeviceCode), access.ErrExpiredToken)
	_, err = r.StartDevice(ctx, "two\nlines")
	assert.ErrorContains(t, err, "client_name")
}

func TestDeviceCodesCannotBeGuessed(t *testing.T) {
	r, clock, _ := registry(t)
	u, _, err := r.EnsureUser(t.Context(), "ann@example.com", "Ann")
	assert.NilError(t, err)
	by, err := r.Caller(t.Context(), u.UID)
	assert.NilError(t, err)
	for range 10 {
		_, err := r.DeviceName(t.Context(), by, "BBBB-BBBB")
		assert.ErrorIs(t, err, access.ErrExpiredToken)
	}
	d, err := r.StartDevice(t.Context(), "real")
	assert.NilError(t, err)
	assert.Equal(t, task.CodeOf(r.ApproveDevice(t.Context(), by, d.UserCode, false)), task.CodeResourceUnavailable)
	clock.advance(11 * time.Minute)
	_, err = r.DeviceName(t.Context(), by, "access.user_code/../x")
	assert.ErrorIs(t, err, access.ErrExpiredToken)
}

// TestSessionsAreBounded signs a person in again and again, by browsers that
// forget their cookies.
func TestSessionsAreBounded(t *testing.T) {
	r, clock, _ := registry(t)
	ctx := t.Context()
	live := func(token string) bool {
		_, err := r.SessionCaller(ctx, token)
		return err == nil
	}
	other, _, err := r.StartSession(ctx, "bob")
	assert.NilError(t, err)
	var tokens []string
	for range 52 {
		token, _, err := r.StartSession(ctx, "ann")
		assert.NilError(t, err)
		tokens = append(tokens, token)
		clock.advance(time.Second)
	}
	assert.Assert(t, !live(tokens[0]) && !live(tokens[1]), "what was not used for longest gives way")
	for _, token := range append(tokens[2:], other) {
		assert.Assert(t, live(token))
	}
}

// TestAgreeingWhileTheCommandLinePolls lets a person agree at the very moment
// at which the command line asks.
func TestAgreeingWhileTheCommandLinePolls(t *testing.T) {
	r, clock, _ := registry(t)
	ctx := t.Context()
	by := caller(t, r, "ann")
	for range 30 {
		d, err := r.StartDevice(ctx, "oz")
		assert.NilError(t, err)
		var all sync.WaitGroup
		var agreed error
		all.Go(func() { _, _, _ = r.PollDevice(ctx, d.DeviceCode) })
		all.Go(func() { agreed = r.ApproveDevice(ctx, by, d.UserCode, false) })
		all.Wait()
		assert.NilError(t, agreed)
		clock.advance(5 * time.Second)
	}
	for _, name := range []string{"oz on \u202egnp.exe", "oz\u0085", "oz\u200b"} {
		_, err := r.StartDevice(ctx, name)
		assert.ErrorContains(t, err, "client_name", "%q", name)
	}
}

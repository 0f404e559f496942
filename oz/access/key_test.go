package access_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	"gotest.tools/v3/assert"

	"github.com/oz-platform/cloudagents/oz/access"
	"github.com/oz-platform/cloudagents/task"
	"github.com/oz-platform/cloudagents/task/sqlitestore"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// clock is set by hand.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) Now() time.Time                       { c.mu.Lock(); defer c.mu.Unlock(); return c.now }
func (c *clock) After(time.Duration) <-chan time.Time { return nil }
func (c *clock) advance(d time.Duration)              { c.mu.Lock(); c.now = c.now.Add(d); c.mu.Unlock() }

// registry opens one with team red (ann owns it, bob is on it), and sol alone.
func registry(t testing.TB) (r *access.Registry, c *clock, dir string) {
	t.Helper()
	dir = t.TempDir()
	store, err := sqlitestore.Open(context.Background(), filepath.Join(dir, "oz.db"), nil)
	assert.NilError(t, err)
	t.Cleanup(func() { assert.Check(t, store.Close()) })
	c = &clock{now: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)}
	r = access.NewRegistry(store, c, &access.RegistryOptions{OpenTeams: true})
	ctx := context.Background()
	assert.NilError(t, r.PutTeam(ctx, access.Team{UID: "red", Name: "Red"}))
	for uid, role := range map[string]access.Role{"ann": access.RoleOwner, "bob": access.RoleMember, "cat": access.RoleMember} {
		assert.NilError(t, r.PutUser(ctx, access.User{UID: uid, DisplayName: uid, Teams: []access.Membership{{UID: "red", Role: role}}}))
	}
	assert.NilError(t, r.PutUser(ctx, access.User{UID: "sol", DisplayName: "Sol"}))
	return r, c, dir
}

func caller(t testing.TB, r *access.Registry, uid string) access.Caller {
	t.Helper()
	c, err := r.Caller(context.Background(), uid)
	assert.NilError(t, err)
	return c
}

func TestKeysAreHashedAndShownOnce(t *testing.T) {
	r, _, dir := registry(t)
	ctx := t.Context()
	bob := caller(t, r, "bob")
	raw, key, err := r.CreateKey(ctx, bob, access.KeySpec{Name: "laptop"})
	assert.NilError(t, err)
	assert.Assert(t, strings.HasPrefix(raw, "oz-") && len(raw) == len("oz-")+43, "256 bits: %d", len(raw))
	assert.Equal(t, key.Suffix, raw[len(raw)-4:])

	got, err := r.Authenticate(ctx, raw)
	assert.NilError(t, err)
	want := bob
	want.Key, want.KeyType = key.UID, access.KeyPersonal
	assert.DeepEqual(t, got, want)

	keys, err := r.Keys(ctx, bob)
	assert.NilError(t, err)
	assert.Equal(t, len(keys), 1)
	secret := strings.TrimPrefix(raw, "oz-")
	files, err := os.ReadDir(dir)
	assert.NilError(t, err)
	for _, f := range files {
		content, err := os.ReadFile(filepath.Join(dir, f.Name()))
		assert.NilError(t, err)
		assert.Assert(t, !bytes.Contains(content, []byte(secret)), "the key lies in %s", f.Name())
		assert.Assert(t, !bytes.Contains(content, []byte(secret[:20])), "half of the key lies in %s", f.Name())
	}
	_, again, err := r.CreateKey(ctx, bob, access.KeySpec{Name: "laptop"})
	assert.NilError(t, err)
	assert.Assert(t, again.UID != key.UID)
}

func TestAuthenticateRefuses(t *testing.T) {
	r, c, _ := registry(t)
	ctx := t.Context()
	bob := caller(t, r, "bob")
	raw, key, err := r.CreateKey(ctx, bob, access.KeySpec{Name: "short", ExpiresAt: c.Now().Add(time.Hour)})
	assert.NilError(t, err)
	for name, bearer := range map[string]string{
		"none": "", "garbage": "garbage", "prefix only": "oz-", "cut": raw[:len(raw)-1], "longer": raw + "A",
		"other case": strings.ToUpper(raw), "spaces": " " + raw, "huge": strings.Repeat("x", 1<<20),
	} {
		_, err := r.Authenticate(ctx, bearer)
		assert.Equal(t, task.CodeOf(err), task.CodeAuthenticationRequired, name)
		assert.Assert(t, bearer == "" || !strings.Contains(err.Error(), bearer), "the error shows the key")
	}
	_, err = r.Authenticate(ctx, raw)
	assert.NilError(t, err)
	c.advance(time.Hour)
	_, err = r.Authenticate(ctx, raw)
	assert.Equal(t, task.CodeOf(err), task.CodeAuthenticationRequired, "it has expired")
	assert.ErrorContains(t, err, "expired")

	raw, key, err = r.CreateKey(ctx, bob, access.KeySpec{Name: "revoked"})
	assert.NilError(t, err)
	assert.NilError(t, r.RevokeKey(ctx, bob, key.UID))
	_, err = r.Authenticate(ctx, raw)
	assert.Equal(t, task.CodeOf(err), task.CodeAuthenticationRequired)
	assert.ErrorIs(t, r.RevokeKey(ctx, bob, key.UID), task.ErrNotFound)

	ended, cancel := context.WithCancel(ctx)
	cancel()
	_, err = r.Authenticate(ended, raw)
	assert.Assert(t, errors.Is(err, context.Canceled), "a store that does not answer is no refusal: %v", err)
}

func TestTeamKeys(t *testing.T) {
	r, _, _ := registry(t)
	ctx := t.Context()
	ann, bob, sol := caller(t, r, "ann"), caller(t, r, "bob"), caller(t, r, "sol")
	_, _, err := r.CreateKey(ctx, bob, access.KeySpec{Name: "ci", Type: access.KeyTeam})
	assert.Equal(t, task.CodeOf(err), task.CodeNotAuthorized)
	_, _, err = r.CreateKey(ctx, sol, access.KeySpec{Name: "ci", Type: access.KeyTeam})
	assert.ErrorIs(t, err, task.ErrInvalid)
	_, _, err = r.CreateKey(ctx, sol, access.KeySpec{Name: "ci", Type: access.KeyTeam, Team: "red"})
	assert.ErrorIs(t, err, task.ErrNotFound)

	raw, _, err := r.CreateKey(ctx, ann, access.KeySpec{Name: "ci", Type: access.KeyTeam})
	assert.NilError(t, err)
	team, err := r.Authenticate(ctx, raw)
	assert.NilError(t, err)
	assert.Assert(t, !team.Principal.IsPerson(), "so that it reaches no personal secret")
	assert.DeepEqual(t, team.Scopes(), []task.Scope{{Type: task.ScopeTeam, UID: "red"}})
	_, _, err = r.CreateKey(ctx, team, access.KeySpec{Name: "more"})
	assert.ErrorIs(t, err, task.ErrInvalid, "no person")
	_, _, err = r.CreateKey(ctx, team, access.KeySpec{Name: "more", Type: access.KeyTeam})
	assert.Equal(t, task.CodeOf(err), task.CodeNotAuthorized)
}

func TestKeysOfOthers(t *testing.T) {
	r, _, _ := registry(t)
	ctx := t.Context()
	ann, bob, cat, sol := caller(t, r, "ann"), caller(t, r, "bob"), caller(t, r, "cat"), caller(t, r, "sol")
	raw, key, err := r.CreateKey(ctx, bob, access.KeySpec{Name: "laptop"})
	assert.NilError(t, err)
	for who, want := range map[*access.Caller]int{&ann: 1, &bob: 1, &cat: 0, &sol: 0} {
		keys, err := r.Keys(ctx, *who)
		assert.NilError(t, err)
		assert.Equal(t, len(keys), want, who.Principal.UID)
	}
	for _, who := range []access.Caller{cat, sol} {
		assert.ErrorIs(t, r.RevokeKey(ctx, who, key.UID), task.ErrNotFound)
	}
	nobody := access.Caller{}
	assert.Equal(t, task.CodeOf(r.RevokeKey(ctx, nobody, key.UID)), task.CodeAuthenticationRequired)
	assert.Equal(t, task.CodeOf(r.RevokeKey(ctx, nobody, "unknown")), task.CodeAuthenticationRequired)
	runner := access.Caller{Execution: "e", TaskID: "t", Principal: task.Principal{Type: task.PrincipalServiceAccount, UID: "e"}}
	_, err = r.Keys(ctx, runner)
	assert.Equal(t, task.CodeOf(err), task.CodeNotAuthorized)
	assert.Assert(t, r.RevokeKey(ctx, runner, key.UID) != nil)
	_, err = r.Authenticate(ctx, raw)
	assert.NilError(t, err, "still good")
	assert.NilError(t, r.RevokeKey(ctx, ann, key.UID), "an owner answers for the team's members")
}

func TestKeySpecIsChecked(t *testing.T) {
	r, c, _ := registry(t)
	bob := caller(t, r, "bob")
	for name, spec := range map[string]access.KeySpec{
		"no name":    {},
		"blank name": {Name: " "},
		"long name":  {Name: strings.Repeat("x", 101)},
		"past":       {Name: "x", ExpiresAt: c.Now()},
		"odd type":   {Name: "x", Type: "root"},
	} {
		_, _, err := r.CreateKey(t.Context(), bob, spec)
		assert.ErrorIs(t, err, task.ErrInvalid, name)
	}
}

func TestMembershipIsReadAnew(t *testing.T) {
	r, _, _ := registry(t)
	ctx := t.Context()
	raw, _, err := r.CreateKey(ctx, caller(t, r, "bob"), access.KeySpec{Name: "laptop"})
	assert.NilError(t, err)
	assert.NilError(t, r.PutUser(ctx, access.User{UID: "bob", DisplayName: "Bob"}))
	got, err := r.Authenticate(ctx, raw)
	assert.NilError(t, err)
	assert.Equal(t, len(got.Teams), 0, "he has left the team")
}

func TestLastUseIsNoted(t *testing.T) {
	r, c, _ := registry(t)
	ctx := t.Context()
	bob := caller(t, r, "bob")
	raw, _, err := r.CreateKey(ctx, bob, access.KeySpec{Name: "laptop"})
	assert.NilError(t, err)
	last := func() time.Time {
		keys, err := r.Keys(ctx, bob)
		assert.NilError(t, err)
		return keys[0].LastUsedAt
	}
	assert.Assert(t, last().IsZero())
	first := c.Now()
	for range 100 {
		_, err := r.Authenticate(ctx, raw)
		assert.NilError(t, err)
		c.advance(time.Minute / 2)
	}
	assert.Equal(t, last(), first, "one write an hour")
	c.advance(time.Hour)
	_, err = r.Authenticate(ctx, raw)
	assert.NilError(t, err)
	assert.Equal(t, last(), c.Now())
}

func TestBootstrap(t *testing.T) {
	store, err := sqlitestore.Open(t.Context(), filepath.Join(t.TempDir(), "oz.db"), nil)
	assert.NilError(t, err)
	defer store.Close()
	ctx := t.Context()
	r := access.NewRegistry(store, nil, nil)
	key, created, err := r.Bootstrap(ctx, "")
	assert.NilError(t, err)
	assert.Assert(t, created && key != "")
	admin, err := r.Authenticate(ctx, key)
	assert.NilError(t, err)
	assert.Equal(t, admin.Principal.UID, access.DefaultUser)
	assert.DeepEqual(t, admin.Teams, []access.Membership{{UID: access.DefaultTeam, Role: access.RoleOwner}})

	again, created, err := r.Bootstrap(ctx, "")
	assert.NilError(t, err)
	assert.Assert(t, !created && again == "", "it is shown once")

	for _, want := range []bool{true, false, false} { // the chosen key exists from the second start on
		chosen, created, err := r.Bootstrap(ctx, "my own admin key")
		assert.NilError(t, err)
		assert.Equal(t, chosen, "my own admin key")
		assert.Equal(t, created, want)
		_, err = r.Authenticate(ctx, "my own admin key")
		assert.NilError(t, err)
	}
	_, _, err = r.Bootstrap(ctx, "short")
	assert.ErrorIs(t, err, task.ErrInvalid)

	assert.NilError(t, r.PutUser(ctx, access.User{UID: access.DefaultUser, DisplayName: "Renamed"}))
	_, _, err = r.Bootstrap(ctx, "")
	assert.NilError(t, err)
	u, err := r.User(ctx, access.DefaultUser)
	assert.NilError(t, err)
	assert.Equal(t, u.DisplayName, "Renamed", "a later start changes nothing")
}

// TestChosenKeyThatHasExpired works again: the server's configuration decides.
func TestChosenKeyThatHasExpired(t *testing.T) {
	r, c, _ := registry(t)
	ctx := t.Context()
	_, _, err := r.Bootstrap(ctx, "")
	assert.NilError(t, err)
	raw, _, err := r.CreateKey(ctx, caller(t, r, access.DefaultUser), access.KeySpec{Name: "trial", ExpiresAt: c.Now().Add(time.Hour)})
	assert.NilError(t, err)
	c.advance(time.Hour)
	_, created, err := r.Bootstrap(ctx, raw)
	assert.NilError(t, err)
	assert.Assert(t, created)
	admin, err := r.Authenticate(ctx, raw)
	assert.NilError(t, err)
	assert.Equal(t, admin.Principal.UID, access.DefaultUser)
}

func TestBadAccounts(t *testing.T) {
	r, _, _ := registry(t)
	ctx := t.Context()
	for _, uid := range []string{"", "a b", "a/b", "ü", strings.Repeat("x", 65)} {
		assert.ErrorIs(t, r.PutTeam(ctx, access.Team{UID: uid, Name: "x"}), task.ErrInvalid, uid)
		assert.ErrorIs(t, r.PutUser(ctx, access.User{UID: uid}), task.ErrInvalid, uid)
	}
	assert.ErrorIs(t, r.PutTeam(ctx, access.Team{UID: "x"}), task.ErrInvalid)
	assert.ErrorIs(t, r.PutUser(ctx, access.User{UID: "x", Teams: []access.Membership{{UID: "red", Role: "king"}}}), task.ErrInvalid)
	assert.ErrorIs(t, r.PutUser(ctx, access.User{UID: "x", Teams: []access.Membership{{UID: "green", Role: access.RoleOwner}}}), task.ErrNotFound)
	_, err := r.Caller(ctx, "nobody")
	assert.ErrorIs(t, err, task.ErrNotFound)
}

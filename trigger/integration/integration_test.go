package integration_test

import (
	"context"
	"encoding/json"
	"errors"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"gotest.tools/v3/assert"

	"github.com/oz-platform/cloudagents/secrets/sealed"
	"github.com/oz-platform/cloudagents/task"
	"github.com/oz-platform/cloudagents/task/sqlitestore"
	"github.com/oz-platform/cloudagents/trigger"
	"github.com/oz-platform/cloudagents/trigger/integration"
)

var (
	team = task.Scope{Type: task.ScopeTeam, UID: "red"}
	ann  = task.Principal{Type: task.PrincipalUser, UID: "ann"}
)

type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (*clock) After(time.Duration) <-chan time.Time { return nil }

func newStore(t *testing.T, opts integration.Options) *integration.Store {
	t.Helper()
	store, err := sqlitestore.Open(context.Background(), filepath.Join(t.TempDir(), "oz.db"), nil)
	assert.NilError(t, err)
	t.Cleanup(func() { assert.Check(t, store.Close()) })
	keys, err := sealed.OpenKeys(filepath.Join(t.TempDir(), "keys", "secrets.json"))
	assert.NilError(t, err)
	return integration.NewStore(store, sealed.New(store, keys, nil), &opts)
}

func TestIntegrations(t *testing.T) {
	s, ctx := newStore(t, integration.Options{PublicURL: "https://oz.example.com/"}), t.Context()
	i, err := s.Create(ctx, integration.Slack, team, ann, integration.Spec{Name: "chat", Enabled: true, Prompt: "Be brief."}, map[string]string{"token": "xoxb-1", "signing_secret": "s"})
	assert.NilError(t, err)
	assert.DeepEqual(t, i.Secrets, []string{"signing_secret", "token"})
	assert.Equal(t, i.Path(), "/webhooks/slack/"+i.UID)
	token, err := s.Secret(ctx, i, "token")
	assert.NilError(t, err)
	assert.Equal(t, string(token), "xoxb-1")
	_, err = s.Secret(ctx, i, "other")
	assert.Equal(t, task.CodeOf(err), task.CodeIntegrationNotConfigured)
	_, err = s.Load(ctx, integration.GitHub, i.UID)
	assert.ErrorIs(t, err, task.ErrNotFound)

	i, err = s.Update(ctx, i.UID, ann, func(s *integration.Spec) error { s.Enabled = false; return nil }, map[string]string{"token": ""})
	assert.NilError(t, err)
	assert.DeepEqual(t, i.Secrets, []string{"signing_secret"})
	_, err = s.Secret(ctx, i, "token")
	assert.Equal(t, task.CodeOf(err), task.CodeIntegrationNotConfigured)
	sources, err := s.Sources(ctx, integration.Slack)
	assert.NilError(t, err)
	assert.DeepEqual(t, sources, []string{i.Source()})
	assert.Equal(t, s.Page("r"), "https://oz.example.com/runs/r")

	prompt := i.Compose("Mend the parser")
	assert.Assert(t, strings.HasPrefix(prompt, "Be brief.") && strings.Index(prompt, "came from outside through chat") < strings.Index(prompt, "Mend the parser"))
	start := i.Start(integration.Admission{Principal: task.Principal{Type: task.PrincipalUser, UID: "bob"}})
	assert.Equal(t, start.Creator.UID, "bob")
	assert.Equal(t, i.Start(integration.Admission{Untrusted: true}).Creator, ann)

	assert.NilError(t, s.Delete(ctx, i.UID))
	assert.ErrorIs(t, s.Delete(ctx, i.UID), task.ErrNotFound)
	_, err = s.Secret(ctx, i, "signing_secret")
	assert.Equal(t, task.CodeOf(err), task.CodeIntegrationNotConfigured)
}

func TestBadIntegrations(t *testing.T) {
	s, ctx := newStore(t, integration.Options{}), t.Context()
	for _, c := range []struct {
		p     integration.Provider
		owner task.Scope
		spec  integration.Spec
		more  map[string]string
		code  task.Code
	}{
		{"fax", team, integration.Spec{Name: "x"}, nil, task.CodeInvalidRequest},
		{integration.Slack, task.Scope{Type: task.ScopeUser, UID: "ann"}, integration.Spec{Name: "x"}, nil, task.CodeFeatureNotAvailable},
		{integration.Slack, team, integration.Spec{Name: " "}, nil, task.CodeInvalidRequest},
		{integration.Slack, team, integration.Spec{Name: "a\nb"}, nil, task.CodeInvalidRequest},
		{integration.Slack, team, integration.Spec{Name: "x", Trust: "all"}, nil, task.CodeInvalidRequest},
		{integration.Slack, team, integration.Spec{Name: "x", Settings: json.RawMessage("{")}, nil, task.CodeInvalidRequest},
		{integration.Slack, team, integration.Spec{Name: "x", Prompt: strings.Repeat("x", 1<<20)}, nil, task.CodeInvalidRequest},
		{integration.Slack, team, integration.Spec{Name: "x"}, map[string]string{"To/ken": "x"}, task.CodeInvalidRequest},
	} {
		_, err := s.Create(ctx, c.p, c.owner, ann, c.spec, c.more)
		assert.Equal(t, task.CodeOf(err), c.code, "%v: %v", c.spec.Name, err)
	}
}

// TestLinks: an account is linked by a code that only this server makes, and
// that is good for a day; then it acts as its holder, while they are on the team.
func TestLinks(t *testing.T) {
	c := &clock{now: time.Date(2026, 11, 26, 12, 0, 0, 0, time.UTC)}
	onTeam := true
	s := newStore(t, integration.Options{Clock: c, PublicURL: "https://oz.example.com", Member: func(context.Context, task.Principal, task.Scope) (bool, error) { return onTeam, nil }})
	ctx := t.Context()
	i, err := s.Create(ctx, integration.Slack, team, ann, integration.Spec{Name: "chat", Enabled: true}, nil)
	assert.NilError(t, err)
	a, err := s.Admit(ctx, i, "U1", false)
	assert.NilError(t, err)
	assert.Assert(t, a.Refused && a.Reason != "")

	link, err := s.LinkURL(ctx, integration.Slack, "U1", "bob")
	assert.NilError(t, err)
	_, code, ok := strings.Cut(link, "https://oz.example.com/link?code=")
	assert.Assert(t, ok)
	bob := task.Principal{Type: task.PrincipalUser, UID: "bob"}
	for _, bad := range []string{"", "x", code + "x", code[1:], strings.Repeat("x", 5000)} {
		_, err = s.AcceptLink(ctx, bad, bob)
		assert.ErrorIs(t, err, task.ErrInvalid)
	}
	other := newStore(t, integration.Options{Clock: c})
	_, err = other.AcceptLink(ctx, code, bob)
	assert.ErrorIs(t, err, task.ErrInvalid, "another server's code")
	l, err := s.AcceptLink(ctx, code, bob)
	assert.NilError(t, err)
	assert.Equal(t, l.Name, "bob")
	a, err = s.Admit(ctx, i, "U1", false)
	assert.NilError(t, err)
	assert.DeepEqual(t, a, integration.Admission{Principal: bob})

	for trust, want := range map[integration.Trust]integration.Admission{integration.TrustLinked: {Refused: true}, integration.TrustUntrusted: {Untrusted: true}, integration.TrustHold: {Held: true}} {
		i.Trust = trust
		for _, bot := range []bool{true, false} {
			a, err = s.Admit(ctx, i, map[bool]string{true: "U1", false: "U2"}[bot], bot)
			assert.NilError(t, err)
			a.Reason = ""
			assert.DeepEqual(t, a, want)
		}
	}
	onTeam = false
	a, err = s.Admit(ctx, i, "U1", false)
	assert.NilError(t, err)
	assert.Assert(t, a.Principal == task.Principal{}, "who has left starts nothing")

	list, err := s.Links(ctx, "bob")
	assert.NilError(t, err)
	assert.Equal(t, len(list), 1)
	assert.Assert(t, errors.Is(s.Unlink(ctx, integration.Slack, "U1", "ann"), task.ErrNotFound))
	assert.NilError(t, s.Unlink(ctx, integration.Slack, "U1", "bob"))
	_, linked, err := s.Linked(ctx, integration.Slack, "U1")
	assert.NilError(t, err)
	assert.Assert(t, !linked)

	code, err = s.LinkCode(ctx, integration.Slack, "U1", "bob")
	assert.NilError(t, err)
	c.mu.Lock()
	c.now = c.now.Add(25 * time.Hour)
	c.mu.Unlock()
	_, err = s.AcceptLink(ctx, code, bob)
	assert.ErrorContains(t, err, "was good until")
}

// TestFirstLinksAtOnce: codes that are the first of a server, and made at the
// same time, are all good.
func TestFirstLinksAtOnce(t *testing.T) {
	s, ctx := newStore(t, integration.Options{}), t.Context()
	var all sync.WaitGroup
	codes := make([]string, 8)
	for i := range codes {
		all.Go(func() {
			code, err := s.LinkCode(ctx, integration.Slack, "U1", "bob")
			assert.Check(t, err)
			codes[i] = code
		})
	}
	all.Wait()
	for _, code := range codes {
		_, err := s.AcceptLink(ctx, code, ann)
		assert.NilError(t, err)
	}
}

func FuzzAcceptLink(f *testing.F) {
	f.Add("e30.AAAA")
	f.Add("..")
	store, err := sqlitestore.Open(context.Background(), filepath.Join(f.TempDir(), "oz.db"), nil)
	assert.NilError(f, err)
	f.Cleanup(func() { _ = store.Close() })
	keys, err := sealed.OpenKeys(filepath.Join(f.TempDir(), "keys", "secrets.json"))
	assert.NilError(f, err)
	s := integration.NewStore(store, sealed.New(store, keys, nil), nil)
	f.Fuzz(func(t *testing.T, code string) {
		_, err := s.AcceptLink(t.Context(), code, ann)
		assert.ErrorIs(t, err, task.ErrInvalid)
	})
}

// awayRecords are those of a database that is away.
type awayRecords struct{ records }

type records = task.Records // a field's name, beside the method

func (awayRecords) Record(context.Context, string, string) (task.Record, error) {
	return task.Record{}, task.Errorf(task.CodeResourceUnavailable, "the database is away")
}

// TestListening: an address that is nobody's, of another provider or of an
// integration that was deleted is the same to strangers; a database that is away
// is not, or what arrives would never be sent again.
func TestListening(t *testing.T) {
	s, ctx := newStore(t, integration.Options{}), t.Context()
	i, err := s.Create(ctx, integration.GitHub, team, ann, integration.Spec{Name: "x", Enabled: true}, nil)
	assert.NilError(t, err)
	found, a, err := s.Listening(ctx, integration.GitHub, trigger.Request{Path: i.UID}, 7)
	assert.NilError(t, err)
	assert.Equal(t, found.UID, i.UID)
	assert.DeepEqual(t, a, trigger.Arrival{Source: "github/" + i.UID, Owner: team, PerMinute: 7})
	nobodys := func(p integration.Provider, path string) {
		t.Helper()
		_, a, err := s.Listening(ctx, p, trigger.Request{Path: path}, 7)
		assert.ErrorIs(t, err, task.ErrNotFound)
		assert.ErrorContains(t, err, "nothing listens here")
		assert.Equal(t, a.Source, "")
	}
	nobodys(integration.GitHub, "")
	nobodys(integration.GitHub, "../x")
	nobodys(integration.GitLab, i.UID)
	assert.NilError(t, s.Delete(ctx, i.UID))
	nobodys(integration.GitHub, i.UID)

	away := integration.NewStore(awayRecords{}, nil, nil)
	_, _, err = away.Listening(ctx, integration.Linear, trigger.Request{Path: i.UID}, 7)
	assert.Equal(t, task.CodeOf(err), task.CodeResourceUnavailable)
}

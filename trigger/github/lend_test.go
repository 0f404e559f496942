package github_test

import (
	"testing"
	"time"

	"gotest.tools/v3/assert"

	"github.com/oz-platform/cloudagents/task"
	"github.com/oz-platform/cloudagents/trigger/github"
	"github.com/oz-platform/cloudagents/trigger/github/githubsim"
	"github.com/oz-platform/cloudagents/trigger/integration"
)

// TestLending: an integration lends git its token: an app's, which is made on
// demand and again before it runs out, or an account's. One that is turned off,
// deleted, or told not to, lends nothing.
func TestLending(t *testing.T) {
	c := &clock{now: time.Now()}
	sim := githubsim.New(&githubsim.Options{Clock: c})
	app := sim.AddApp("oz-agent")
	b := newBench(t, with{clock: c, sim: sim, settings: github.Settings{AppID: app.ID, InstallationID: app.InstallationID},
		secrets: map[string]string{github.SecretPrivateKey: string(app.PrivateKey)}})
	ctx := t.Context()
	host, err := b.origin.GitHost(ctx, b.in.Source())
	assert.NilError(t, err)
	assert.Equal(t, "http://"+host, b.web.URL)
	first, err := b.origin.GitLogin(ctx, b.in.Source())
	assert.NilError(t, err)
	assert.Equal(t, first.Username, "x-access-token")
	assert.Assert(t, sim.Valid(first.Password))
	c.add(50 * time.Minute)
	again, err := b.origin.GitLogin(ctx, b.in.Source())
	assert.NilError(t, err)
	assert.DeepEqual(t, again, first)
	c.add(6 * time.Minute)
	second, err := b.origin.GitLogin(ctx, b.in.Source())
	assert.NilError(t, err)
	assert.Assert(t, second.Password != first.Password)
	assert.Assert(t, second.ExpiresAt.Sub(c.Now()) > 55*time.Minute)

	nothing := func(what string) {
		t.Helper()
		host, err := b.origin.GitHost(ctx, b.in.Source())
		assert.NilError(t, err)
		assert.Equal(t, host, "", what)
		login, err := b.origin.GitLogin(ctx, b.in.Source())
		assert.NilError(t, err)
		assert.Equal(t, login.Password, "", what)
	}
	change := func(do func(*integration.Spec)) {
		t.Helper()
		_, err := b.store.Update(ctx, b.in.UID, ann, func(s *integration.Spec) error { do(s); return nil }, nil)
		assert.NilError(t, err)
	}
	change(func(s *integration.Spec) { s.Enabled = false })
	nothing("turned off")
	change(func(s *integration.Spec) {
		s.Enabled, s.Settings = true, []byte(`{"handle":"oz-agent","no_git_access":true}`)
	})
	nothing("told not to")
	change(func(s *integration.Spec) { s.Settings = []byte(`{"handle":"oz-agent"}`) })
	_, err = b.origin.GitLogin(ctx, b.in.Source())
	assert.Equal(t, task.CodeOf(err), task.CodeIntegrationNotConfigured, "the account's token is missing")
	token := sim.AddToken("oz-agent")
	_, err = b.store.Update(ctx, b.in.UID, ann, nil, map[string]string{github.SecretToken: token})
	assert.NilError(t, err)
	login, err := b.origin.GitLogin(ctx, b.in.Source())
	assert.NilError(t, err)
	assert.Equal(t, login.Password, token)
	assert.NilError(t, b.store.Delete(ctx, b.in.UID))
	nothing("deleted")
}

// TestLendingIsRefused: GitHub's no is the integration's to mend, its silence
// passes; neither tells the key.
func TestLendingIsRefused(t *testing.T) {
	sim := githubsim.New(nil)
	app := sim.AddApp("oz-agent")
	b := newBench(t, with{sim: sim, settings: github.Settings{AppID: app.ID, InstallationID: app.InstallationID},
		secrets: map[string]string{github.SecretPrivateKey: string(app.PrivateKey)}})
	for _, f := range []struct {
		githubsim.Fault
		want task.Code
	}{
		{githubsim.Fault{Status: 401, Message: "A JSON web token could not be decoded"}, task.CodeIntegrationNotConfigured},
		{githubsim.Fault{Status: 404, Message: "Not Found"}, task.CodeIntegrationNotConfigured},
		{githubsim.Fault{Status: 403, Message: "This installation has been suspended"}, task.CodeIntegrationNotConfigured},
		{githubsim.Fault{Status: 403, Message: "You have exceeded a secondary rate limit"}, task.CodeResourceUnavailable},
		{githubsim.Fault{Status: 429, Header: map[string]string{"Retry-After": "5"}}, task.CodeResourceUnavailable},
		{githubsim.Fault{Status: 502}, task.CodeResourceUnavailable},
		{githubsim.Fault{}, task.CodeResourceUnavailable},
	} {
		f.Path = "/access_tokens"
		sim.Fail(f.Fault)
		_, err := b.origin.GitLogin(t.Context(), b.in.Source())
		assert.Equal(t, task.CodeOf(err), f.want, "%v", err)
		assert.ErrorContains(t, err, "acme's GitHub")
	}
	_, err := b.origin.GitLogin(t.Context(), b.in.Source())
	assert.NilError(t, err)
}

// TestGitHost: GitHub's own API has another host than its repositories; that
// of a server of one's own has not.
func TestGitHost(t *testing.T) {
	b := newBench(t, with{})
	for _, c := range []struct {
		opts github.Options
		want string
	}{{github.Options{}, "github.com"}, {github.Options{APIURL: "https://ghe.example:8443/api/v3"}, "ghe.example:8443"},
		{github.Options{GitHost: "git.example"}, "git.example"}} {
		got, err := github.NewOrigin(b.store, &c.opts).GitHost(t.Context(), b.in.Source())
		assert.NilError(t, err)
		assert.Equal(t, got, c.want)
	}
}

// TestEnterprise: each GitHub has its API, its git and its clone URLs somewhere
// else.
func TestEnterprise(t *testing.T) {
	for address, want := range map[string][2]string{
		"https://github.com":             {github.DefaultAPIURL, "github.com"},
		"https://octo.ghe.com":           {"https://api.octo.ghe.com", "octo.ghe.com"},
		"https://github.example.com":     {"https://github.example.com/api/v3", "github.example.com"},
		"http://github.example.com:8080": {"http://github.example.com:8080/api/v3", "github.example.com:8080"},
	} {
		var o github.Options
		o.At(address)
		assert.Equal(t, o.APIURL, want[0])
		assert.Equal(t, o.GitHost, want[1])
	}
}

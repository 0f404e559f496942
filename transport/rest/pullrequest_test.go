package rest_test

import (
	"context"
	"encoding/json"
	"net/http/httptest"
	"strconv"
	"testing"

	"gotest.tools/v3/assert"

	"github.com/oz-platform/cloudagents/executor"
	"github.com/oz-platform/cloudagents/oz"
	"github.com/oz-platform/cloudagents/oz/access"
	"github.com/oz-platform/cloudagents/task"
	"github.com/oz-platform/cloudagents/transport/client"
	"github.com/oz-platform/cloudagents/transport/internal/transporttest"
	"github.com/oz-platform/cloudagents/trigger"
	"github.com/oz-platform/cloudagents/trigger/github"
	"github.com/oz-platform/cloudagents/trigger/github/githubsim"
	"github.com/oz-platform/cloudagents/trigger/integration"
)

// TestPullRequestOverHTTP: a runner elsewhere opens a pull request through the
// server, and hears why it may not, or when to come again.
func TestPullRequestOverHTTP(t *testing.T) {
	ctx := t.Context()
	sim := githubsim.New(nil)
	sim.AddRepo("acme/app", false)
	sim.Push("acme/app", "oz/work")
	hub := httptest.NewServer(sim)
	t.Cleanup(hub.Close)
	t.Cleanup(hub.Client().CloseIdleConnections)
	var store *integration.Store
	e := transporttest.Start(t, &transporttest.Options{Platform: oz.Options{Integrations: func(s *integration.Store) []trigger.Origin {
		store = s
		return []trigger.Origin{github.NewOrigin(s, &github.Options{APIURL: hub.URL, GitHost: "git.example", HTTPClient: hub.Client(), RepairEvery: -1})}
	}}})
	assert.NilError(t, store.SetLink(ctx, integration.Link{Provider: integration.GitHub, Account: strconv.FormatInt(sim.User("ann").ID, 10), Name: "ann",
		Person: task.Principal{Type: task.PrincipalUser, UID: access.DefaultUser}}))
	settings, err := json.Marshal(github.Settings{Handle: "oz-agent"})
	assert.NilError(t, err)
	admin, err := client.New(e.URL, &client.Options{APIKey: transporttest.AdminKey})
	assert.NilError(t, err)
	in, err := admin.CreateIntegration(ctx, oz.IntegrationInput{Provider: integration.GitHub, Spec: integration.Spec{Name: "acme's GitHub", Enabled: true, Settings: settings},
		Secrets: map[string]string{github.SecretSigning: "a signing secret", github.SecretToken: sim.AddToken("oz-agent")}})
	assert.NilError(t, err)
	sim.AddHook("a signing secret", func(d githubsim.Delivery) error {
		_, err := e.Platform.Triggers().Receive(context.WithoutCancel(ctx), "github", trigger.Request{Path: in.UID, Header: d.Header, Body: d.Body, Time: task.SystemClock().Now()})
		return err
	})
	issue := sim.OpenIssue("acme/app", "ann", "The greeting is wrong", "See greeting.txt.")
	sim.Comment("acme/app", issue, "ann", "@oz-agent mend it")
	link, err := client.NewLink(e.Claimed(), nil)
	assert.NilError(t, err)

	want := executor.PullRequest{Remote: "https://git.example/acme/app.git", Branch: "oz/work", Base: "main", Title: "Mend it", Draft: true}
	sim.Fail(githubsim.Fault{Method: "POST", Path: "/pulls", Status: 429, Message: "Slow down", Header: map[string]string{"Retry-After": "9"}})
	got, err := link.OpenPullRequest(ctx, want)
	assert.NilError(t, err)
	assert.Equal(t, got.WaitMS, int64(9000))
	assert.Equal(t, got.URL, "")
	for _, existing := range []bool{false, true} {
		got, err = link.OpenPullRequest(ctx, want)
		assert.NilError(t, err)
		assert.DeepEqual(t, got, executor.PullRequestAnswer{URL: "https://github.com/acme/app/pull/2", Number: 2, Existing: existing})
	}
	assert.Equal(t, len(sim.Pulls("acme/app")), 1)
	want.Base = "none"
	_, err = link.OpenPullRequest(ctx, want)
	assert.Equal(t, task.CodeOf(err), task.CodeOperationNotSupported)
	assert.ErrorContains(t, err, "base invalid")
	want.Base, want.Title = "main", ""
	_, err = link.OpenPullRequest(ctx, want)
	assert.ErrorIs(t, err, task.ErrInvalid)
	assert.ErrorContains(t, err, "title")
}

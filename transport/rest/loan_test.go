package rest_test

import (
	"encoding/json"
	"net/http/httptest"
	"testing"

	"gotest.tools/v3/assert"

	"github.com/oz-platform/cloudagents/executor"
	"github.com/oz-platform/cloudagents/oz"
	"github.com/oz-platform/cloudagents/task"
	"github.com/oz-platform/cloudagents/transport/client"
	"github.com/oz-platform/cloudagents/transport/internal/transporttest"
	"github.com/oz-platform/cloudagents/trigger"
	"github.com/oz-platform/cloudagents/trigger/github"
	"github.com/oz-platform/cloudagents/trigger/github/githubsim"
	"github.com/oz-platform/cloudagents/trigger/gitlab"
	"github.com/oz-platform/cloudagents/trigger/gitlab/gitlabsim"
	"github.com/oz-platform/cloudagents/trigger/integration"
)

// TestLoansOverHTTP: a run that was started over the API borrows what GitHub's
// and GitLab's integrations of its team lend to all runs, for the repositories
// that they name, and opens one request each however often it asks. A run of
// another team borrows nothing, nor does one that began before they were
// turned off.
func TestLoansOverHTTP(t *testing.T) {
	ctx := t.Context()
	hub, lab := githubsim.New(nil), gitlabsim.New(t, nil)
	hub.AddRepo("acme/app", true)
	hub.Push("acme/app", "oz/work")
	server := httptest.NewServer(hub)
	t.Cleanup(server.Close)
	t.Cleanup(server.Client().CloseIdleConnections)
	e := transporttest.Start(t, &transporttest.Options{Platform: oz.Options{Integrations: func(s *integration.Store) []trigger.Origin {
		return []trigger.Origin{github.NewOrigin(s, &github.Options{APIURL: server.URL, GitHost: "git.example", HTTPClient: server.Client(), RepairEvery: -1}),
			gitlab.NewOrigin(s, &gitlab.Options{APIURL: lab.URL})}
	}}})
	admin, err := client.New(e.URL, &client.Options{APIKey: transporttest.AdminKey})
	assert.NilError(t, err)
	create := func(p integration.Provider, token string, settings any) oz.IntegrationItem {
		t.Helper()
		raw, err := json.Marshal(settings)
		assert.NilError(t, err)
		in, err := admin.CreateIntegration(ctx, oz.IntegrationInput{Provider: p, Spec: integration.Spec{Name: string(p), Enabled: true, Settings: raw},
			Secrets: map[string]string{github.SecretSigning: "a signing secret", github.SecretToken: token}})
		assert.NilError(t, err)
		return in
	}
	ours := create(integration.GitHub, hub.AddToken("oz-agent"), github.Settings{Handle: "oz-agent", LendToAllRuns: true, Repositories: []string{"acme/app"}})
	create(integration.GitLab, lab.Token(), gitlab.Settings{Handle: "oz-agent", LendToAllRuns: true, Projects: []string{"group/*"}})
	started := func(key string) *client.Link {
		t.Helper()
		c, err := client.New(e.URL, &client.Options{APIKey: key})
		assert.NilError(t, err)
		team := true
		_, err = c.Submit(ctx, oz.Request{Prompt: "x", Team: &team})
		assert.NilError(t, err)
		link, err := client.NewLink(e.Claimed(), nil)
		assert.NilError(t, err)
		return link
	}
	user := func(l *client.Link, host, path string) string {
		t.Helper()
		c, err := l.GitCredential(ctx, host, path)
		assert.NilError(t, err)
		return c.Username
	}
	link := started(e.Member)
	assert.Equal(t, user(link, "git.example", "acme/app"), "x-access-token")
	assert.Equal(t, user(link, "gitlab.com", "group/project"), "oauth2")
	for host, path := range map[string]string{"git.example": "acme/other", "gitlab.com": "other/project", "git.example:80": "acme/app"} {
		assert.Equal(t, user(link, host, path), "", host+" "+path)
		assert.Equal(t, user(link, host, ""), "", "an older runner does not say which")
	}
	for _, remote := range []string{"https://git.example/acme/app.git", "https://gitlab.com/group/project.git"} {
		want := executor.PullRequest{Remote: remote, Branch: "oz/work", Base: "main", Title: "Mend it"}
		for _, existing := range []bool{false, true} {
			got, err := link.OpenPullRequest(ctx, want)
			assert.NilError(t, err)
			assert.Equal(t, got.Existing, existing, remote)
		}
	}
	assert.Equal(t, len(hub.Pulls("acme/app")), 1)
	assert.Equal(t, len(lab.Merges()), 1)

	other := started(e.Outsider)
	assert.Equal(t, user(other, "git.example", "acme/app"), "")
	_, err = other.OpenPullRequest(ctx, executor.PullRequest{Remote: "https://git.example/acme/app.git", Branch: "oz/work", Base: "main", Title: "Mend it"})
	assert.Equal(t, task.CodeOf(err), task.CodeOperationNotSupported)

	assert.NilError(t, admin.DeleteIntegration(ctx, ours.UID))
	assert.Equal(t, user(link, "git.example", "acme/app"), "")
	assert.Equal(t, user(link, "gitlab.com", "group/project"), "oauth2")
}

package github_test

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"

	"gotest.tools/v3/assert"

	"github.com/oz-platform/cloudagents/task"
	"github.com/oz-platform/cloudagents/trigger"
	"github.com/oz-platform/cloudagents/trigger/github"
	"github.com/oz-platform/cloudagents/trigger/github/githubsim"
	"github.com/oz-platform/cloudagents/trigger/integration"
)

// pullBench is a bench with an app, and a branch to open pull requests of.
func pullBench(t *testing.T) (*bench, githubsim.App) {
	t.Helper()
	sim := githubsim.New(nil)
	app := sim.AddApp("oz-agent")
	b := newBench(t, with{sim: sim, settings: github.Settings{AppID: app.ID, InstallationID: app.InstallationID},
		secrets: map[string]string{github.SecretPrivateKey: string(app.PrivateKey)}})
	sim.Push(repo, "oz/work")
	return b, app
}

func request() trigger.PullRequest {
	return trigger.PullRequest{Run: "run-1", Path: repo, Branch: "oz/work", Base: "main", Title: "Mend it", Body: "As asked by @bob.", Draft: true}
}

// TestPullRequest: one pull request of a branch to a base, in the app's name,
// whoever opened it; the run's own also when it is closed by then.
func TestPullRequest(t *testing.T) {
	b, _ := pullBench(t)
	ctx, r := t.Context(), request()
	first, err := b.origin.OpenPullRequest(ctx, b.in.Source(), r)
	assert.NilError(t, err)
	assert.DeepEqual(t, first, trigger.Pull{URL: "https://github.com/acme/app/pull/1", Number: 1})
	made := b.sim.Pulls(repo)
	assert.Equal(t, len(made), 1)
	assert.DeepEqual(t, made[0].Pull, githubsim.Pull{Head: "oz/work", Base: "main", Draft: true})
	assert.Equal(t, made[0].Login, "oz-agent[bot]")
	assert.Equal(t, made[0].Title, "Mend it")
	head := "As asked by @\u2060bob.\n\n---\n\nOpened by [the run `run-1`](https://oz.example.com/runs/run-1).\n<!-- oz:"
	assert.Assert(t, strings.HasPrefix(made[0].Body, head), made[0].Body)

	same := func(r trigger.PullRequest) {
		t.Helper()
		again, err := b.origin.OpenPullRequest(ctx, b.in.Source(), r)
		assert.NilError(t, err)
		assert.DeepEqual(t, again, trigger.Pull{URL: first.URL, Number: 1, Existing: true})
		assert.Equal(t, len(b.sim.Pulls(repo)), 1)
	}
	same(r)
	other := r
	other.Run, other.Title = "run-2", "Mend it in another way"
	same(other)
	b.sim.Close(repo, 1, "bob", true)
	same(r) // the run's own stays its own
	second, err := b.origin.OpenPullRequest(ctx, b.in.Source(), other)
	assert.NilError(t, err)
	assert.Equal(t, second.Number, int64(2))
	again, err := b.origin.OpenPullRequest(ctx, b.in.Source(), r)
	assert.NilError(t, err)
	assert.Equal(t, again.Number, int64(2), "what is open comes first")

	b.sim.OpenPull(repo, "eve", "From a fork", "", githubsim.Pull{Head: "fix", Base: "main", Fork: "eve/app"})
	b.sim.Push(repo, "fix")
	r.Branch = "fix"
	ours, err := b.origin.OpenPullRequest(ctx, b.in.Source(), r)
	assert.NilError(t, err)
	assert.Equal(t, ours.Number, int64(4), "that of a fork's branch is another")
	r.Branch, r.Body = "oz/long", strings.Repeat("@", 32<<10)
	b.sim.Push(repo, "oz/long")
	_, err = b.origin.OpenPullRequest(ctx, b.in.Source(), r)
	assert.NilError(t, err, "the longest body fits GitHub's limit")
}

// rival opens the same pull request right before the first request for one
// arrives.
type rival struct {
	http.RoundTripper
	b    *bench
	done bool
}

func (v *rival) RoundTrip(q *http.Request) (*http.Response, error) {
	if q.Method == http.MethodPost && strings.HasSuffix(q.URL.Path, "/pulls") && !v.done {
		v.done = true
		v.b.sim.OpenPull(repo, "bob", "Faster", "", githubsim.Pull{Head: "oz/work", Base: "main"})
	}
	return v.RoundTripper.RoundTrip(q)
}

// TestPullRequestOfSomebodyFaster: what GitHub refuses because it is there by
// then, is what was asked for.
func TestPullRequestOfSomebodyFaster(t *testing.T) {
	b, _ := pullBench(t)
	v := &rival{RoundTripper: b.web.Client().Transport, b: b}
	o := github.NewOrigin(b.store, &github.Options{APIURL: b.web.URL, HTTPClient: &http.Client{Transport: v}, RepairEvery: -1})
	made, err := o.OpenPullRequest(t.Context(), b.in.Source(), request())
	assert.NilError(t, err)
	assert.Assert(t, v.done)
	assert.DeepEqual(t, made, trigger.Pull{URL: "https://github.com/acme/app/pull/1", Number: 1, Existing: true})
}

// TestPullRequestIsRefused: what GitHub says is told, with a code that says who
// can mend it; after a lost answer there is one.
func TestPullRequestIsRefused(t *testing.T) {
	b, app := pullBench(t)
	ctx := t.Context()
	fails := func(source string, r trigger.PullRequest, code task.Code, words ...string) *task.Error {
		t.Helper()
		_, err := b.origin.OpenPullRequest(ctx, source, r)
		assert.Equal(t, task.CodeOf(err), code, "%v", err)
		for _, w := range words {
			assert.ErrorContains(t, err, w)
		}
		var e *task.Error
		assert.Assert(t, errors.As(err, &e))
		return e
	}
	with := func(change func(*trigger.PullRequest)) trigger.PullRequest { r := request(); change(&r); return r }
	for _, path := range []string{"acme", "acme/", "/app", "acme/app/x"} {
		fails(b.in.Source(), with(func(r *trigger.PullRequest) { r.Path = path }), task.CodeOperationNotSupported, "owner/name")
	}
	fails(b.in.Source(), with(func(r *trigger.PullRequest) { r.Path = "acme/none" }), task.CodeIntegrationNotConfigured, "acme's GitHub", "Not Found")
	fails(b.in.Source(), with(func(r *trigger.PullRequest) { r.Branch = "none" }), task.CodeOperationNotSupported, "Validation Failed", "head invalid")
	fails(b.in.Source(), with(func(r *trigger.PullRequest) { r.Base = "none" }), task.CodeOperationNotSupported, "base invalid")
	fails("github/none", request(), task.CodeOperationNotSupported, "was deleted")
	for _, f := range []struct {
		githubsim.Fault
		want  task.Code
		after int64
	}{
		{githubsim.Fault{Status: 401, Message: "Bad credentials"}, task.CodeIntegrationNotConfigured, 0},
		{githubsim.Fault{Status: 403, Message: "Repository was archived so is read-only."}, task.CodeIntegrationNotConfigured, 0},
		{githubsim.Fault{Status: 422, Message: strings.Repeat("no ", 500)}, task.CodeOperationNotSupported, 0},
		{githubsim.Fault{Status: 403, Message: "You have exceeded a secondary rate limit"}, task.CodeResourceUnavailable, 60_000},
		{githubsim.Fault{Status: 429, Header: map[string]string{"Retry-After": "5"}}, task.CodeResourceUnavailable, 5_000},
		{githubsim.Fault{Status: 502}, task.CodeResourceUnavailable, 30_000},
		{githubsim.Fault{}, task.CodeResourceUnavailable, 30_000},
	} {
		for _, f.Method = range []string{"GET", "POST"} {
			if f.Method == "GET" && f.Status == 0 {
				continue // Go's client asks again by itself
			}
			f.Path = "/repos/acme/app/pulls"
			b.sim.Fail(f.Fault)
			e := fails(b.in.Source(), request(), f.want)
			assert.Equal(t, e.RetryAfterMS, f.after)
			assert.Assert(t, len(e.Message) < 700, e.Message)
		}
	}
	b.sim.Deny(app.ID, "pull_requests")
	fails(b.in.Source(), request(), task.CodeIntegrationNotConfigured, "Resource not accessible by integration")
	assert.Equal(t, len(b.sim.Pulls(repo)), 0)
	gone, stop := context.WithCancel(ctx)
	stop()
	_, err := b.origin.OpenPullRequest(gone, b.in.Source(), request())
	assert.ErrorIs(t, err, context.Canceled)

	for _, change := range []func(*integration.Spec){
		func(s *integration.Spec) { s.Settings = []byte(`{"handle":"oz-agent","no_git_access":true}`) },
		func(s *integration.Spec) { s.Enabled = false },
	} {
		_, err := b.store.Update(ctx, b.in.UID, ann, func(s *integration.Spec) error { change(s); return nil }, nil)
		assert.NilError(t, err)
		fails(b.in.Source(), request(), task.CodeOperationNotSupported, "acme's GitHub")
	}
}

// TestPullRequestAnswerIsLost: the connection breaks after GitHub has opened it.
func TestPullRequestAnswerIsLost(t *testing.T) {
	b, _ := pullBench(t)
	b.sim.Fail(githubsim.Fault{Method: "POST", Path: "/pulls", Done: true})
	_, err := b.origin.OpenPullRequest(t.Context(), b.in.Source(), request())
	assert.Equal(t, task.CodeOf(err), task.CodeResourceUnavailable)
	made, err := b.origin.OpenPullRequest(t.Context(), b.in.Source(), request())
	assert.NilError(t, err)
	assert.Equal(t, made.Number, int64(1))
	assert.Equal(t, len(b.sim.Pulls(repo)), 1)
}

// TestPullRequestIsDressed: labels are put on it and reviews asked for, also
// when that broke off before; what GitHub does not take is told, and one that
// somebody else has opened is left alone.
func TestPullRequestIsDressed(t *testing.T) {
	b, app := pullBench(t)
	b.sim.AddCollaborator(repo, "bob")
	b.sim.AddTeam(repo, "core")
	ctx, r := t.Context(), request()
	r.Labels, r.Reviewers = []string{"bug", "good first issue"}, []string{"bob", "acme/core"}
	b.sim.Fail(githubsim.Fault{Path: "/labels", Status: 502})
	_, err := b.origin.OpenPullRequest(ctx, b.in.Source(), r)
	assert.Equal(t, task.CodeOf(err), task.CodeResourceUnavailable, "%v", err)
	assert.ErrorContains(t, err, "it is open, but")
	for range 2 { // again, and once more
		made, err := b.origin.OpenPullRequest(ctx, b.in.Source(), r)
		assert.NilError(t, err)
		assert.DeepEqual(t, made, trigger.Pull{URL: "https://github.com/acme/app/pull/1", Number: 1, Existing: true})
	}
	got := b.sim.Pulls(repo)[0]
	assert.DeepEqual(t, got.Labels, r.Labels)
	assert.DeepEqual(t, got.Reviewers, []string{"bob"})
	assert.DeepEqual(t, got.Teams, []string{"core"})

	other := r
	other.Run, other.Labels, other.Reviewers = "run-2", []string{"wontfix"}, []string{"bob"}
	_, err = b.origin.OpenPullRequest(ctx, b.in.Source(), other)
	assert.NilError(t, err)
	assert.DeepEqual(t, b.sim.Pulls(repo)[0].Labels, r.Labels) // it is another run's

	b.sim.Push(repo, "oz/more")
	r.Branch, r.Reviewers = "oz/more", []string{"bob", "eve", "acme/none"}
	made, err := b.origin.OpenPullRequest(ctx, b.in.Source(), r)
	assert.NilError(t, err)
	assert.Equal(t, len(made.Notes), 2, "%q", made.Notes)
	contains(t, made.Notes[0], "no review was asked of eve", "not a collaborator")
	contains(t, made.Notes[1], "no review was asked of acme/none")
	assert.DeepEqual(t, b.sim.Pulls(repo)[1].Reviewers, []string{"bob"})
	b.sim.Push(repo, "oz/one")
	r.Branch, r.Reviewers = "oz/one", []string{"eve"}
	made, err = b.origin.OpenPullRequest(ctx, b.in.Source(), r)
	assert.NilError(t, err)
	assert.Equal(t, len(made.Notes), 1, "%q", made.Notes)
	_ = app
}

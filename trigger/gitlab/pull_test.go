package gitlab_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"gotest.tools/v3/assert"

	"github.com/oz-platform/cloudagents/task"
	"github.com/oz-platform/cloudagents/trigger"
	"github.com/oz-platform/cloudagents/trigger/gitlab"
	"github.com/oz-platform/cloudagents/trigger/gitlab/gitlabsim"
	"github.com/oz-platform/cloudagents/trigger/integration"
)

func mergeOrigin(b *bench) *gitlab.Origin {
	return gitlab.NewOrigin(b.store, &gitlab.Options{APIURL: b.sim.URL})
}

func mergeRequest() trigger.PullRequest {
	return trigger.PullRequest{Run: "run-1", Path: "group/project", Branch: "oz/work", Base: "main", Title: "Mend it", Body: "As asked by @ann."}
}

// TestMergeRequest: one merge request of a branch to a base, in the agent's
// name, whoever opened it; the run's own also when it is closed by then.
func TestMergeRequest(t *testing.T) {
	b := newBench(t, nil, nil)
	o, ctx, r := mergeOrigin(b), t.Context(), mergeRequest()
	r.Draft = true
	first, err := o.OpenPullRequest(ctx, b.i.Source(), r)
	assert.NilError(t, err)
	assert.DeepEqual(t, first, trigger.Pull{URL: "https://gitlab.com/group/project/-/merge_requests/1", Number: 1})
	made := b.sim.Merges()
	assert.Equal(t, len(made), 1)
	assert.Equal(t, made[0].Author, b.sim.Agent)
	assert.Equal(t, made[0].Title, "Draft: Mend it")
	assert.Equal(t, made[0].Source+" "+made[0].Target, "oz/work main")
	head := "As asked by @\u2060ann.\n\n---\n\nOpened by [the run `run-1`](https://oz.example.com/runs/run-1).\n<!-- oz:"
	assert.Assert(t, strings.HasPrefix(made[0].Description, head), made[0].Description)

	same := func(r trigger.PullRequest) {
		t.Helper()
		again, err := o.OpenPullRequest(ctx, b.i.Source(), r)
		assert.NilError(t, err)
		assert.DeepEqual(t, again, trigger.Pull{URL: first.URL, Number: 1, Existing: true})
		assert.Equal(t, len(b.sim.Merges()), 1)
	}
	same(r)
	other := r
	other.Run, other.Title = "run-2", "Mend it in another way"
	same(other)
	b.sim.Change(b.ann, made[0].ID, "merge", nil, nil)
	same(r)
	second, err := o.OpenPullRequest(ctx, b.i.Source(), other)
	assert.NilError(t, err)
	assert.Equal(t, second.Number, int64(2))

	b.sim.Open(b.eve, gitlabsim.Thing{Merge: true, Source: "fix", Target: "main", Fork: true, Title: "From a fork"})
	r.Branch = "fix"
	ours, err := o.OpenPullRequest(ctx, b.i.Source(), r)
	assert.NilError(t, err)
	assert.Equal(t, ours.Number, int64(4), "that of a fork's branch is another")
}

// TestMergeRequestBelowAPath: a GitLab may be at a path of its host.
func TestMergeRequestBelowAPath(t *testing.T) {
	b := newBench(t, nil, func(_ *integration.Spec, s *gitlab.Settings) { s.URL = "https://code.example.com/lab" })
	r := mergeRequest()
	r.Path = "lab/group/project"
	made, err := mergeOrigin(b).OpenPullRequest(t.Context(), b.i.Source(), r)
	assert.NilError(t, err)
	assert.Equal(t, made.Number, int64(1))
}

// TestMergeRequestIsRefused: what GitLab says is told, with a code that says who
// can mend it; after a lost answer there is one.
func TestMergeRequestIsRefused(t *testing.T) {
	b := newBench(t, &gitlabsim.Options{RetryAfter: 7}, nil)
	o, ctx := mergeOrigin(b), t.Context()
	fails := func(source string, r trigger.PullRequest, code task.Code, words string) *task.Error {
		t.Helper()
		_, err := o.OpenPullRequest(ctx, source, r)
		assert.Equal(t, task.CodeOf(err), code, "%v", err)
		assert.ErrorContains(t, err, words)
		var e *task.Error
		assert.Assert(t, errors.As(err, &e))
		return e
	}
	with := func(change func(*trigger.PullRequest)) trigger.PullRequest { r := mergeRequest(); change(&r); return r }
	fails(b.i.Source(), with(func(r *trigger.PullRequest) { r.Path = "project" }), task.CodeOperationNotSupported, "group/name")
	fails(b.i.Source(), with(func(r *trigger.PullRequest) { r.Path = "group/none" }), task.CodeIntegrationNotConfigured, "404 Project Not Found")
	fails(b.i.Source(), with(func(r *trigger.PullRequest) { r.Branch = "main" }), task.CodeOperationNotSupported, "You can't use same project/branch")
	fails(b.i.Source(), with(func(r *trigger.PullRequest) { r.Title = strings.Repeat("x", 256) }), task.CodeOperationNotSupported, "too long")
	fails("gitlab/none", mergeRequest(), task.CodeOperationNotSupported, "was deleted")
	for _, f := range []struct {
		fault gitlabsim.Fault
		want  task.Code
		after int64
	}{{gitlabsim.FaultDenied, task.CodeIntegrationNotConfigured, 0}, {gitlabsim.FaultDown, task.CodeResourceUnavailable, 30_000}, {gitlabsim.FaultRateLimit, task.CodeResourceUnavailable, 7_000}} {
		for _, faults := range [][]gitlabsim.Fault{{f.fault}, {"", f.fault}} { // looking, and opening
			b.sim.Fail(faults...)
			e := fails(b.i.Source(), mergeRequest(), f.want, "\"gitlab\"")
			assert.Equal(t, e.RetryAfterMS, f.after)
		}
	}
	gone, stop := context.WithCancel(ctx)
	stop()
	_, err := o.OpenPullRequest(gone, b.i.Source(), mergeRequest())
	assert.ErrorIs(t, err, context.Canceled)
	assert.Equal(t, len(b.sim.Merges()), 0)

	b.sim.Fail("", gitlabsim.FaultCut)
	fails(b.i.Source(), mergeRequest(), task.CodeResourceUnavailable, "GitLab is away")
	made, err := o.OpenPullRequest(ctx, b.i.Source(), mergeRequest())
	assert.NilError(t, err)
	assert.Equal(t, made.Number, int64(1))
	assert.Equal(t, len(b.sim.Merges()), 1)

	_, err = b.store.Update(ctx, b.i.UID, owner, func(s *integration.Spec) error { s.Enabled = false; return nil }, nil)
	assert.NilError(t, err)
	fails(b.i.Source(), mergeRequest(), task.CodeOperationNotSupported, "\"gitlab\"")
}

// TestMergeRequestIsDressed: it has labels and reviewers from the beginning; whom
// GitLab does not know or does not ask is told.
func TestMergeRequestIsDressed(t *testing.T) {
	b := newBench(t, nil, nil)
	b.sim.Outside("out")
	o, ctx, r := mergeOrigin(b), t.Context(), mergeRequest()
	r.Labels, r.Reviewers = []string{"bug", "good first issue"}, []string{"Ann", "nobody", "out"}
	made, err := o.OpenPullRequest(ctx, b.i.Source(), r)
	assert.NilError(t, err)
	assert.Equal(t, len(made.Notes), 2, "%q", made.Notes)
	assert.Assert(t, strings.Contains(made.Notes[0], "nobody: GitLab knows nobody"), made.Notes[0])
	assert.Assert(t, strings.Contains(made.Notes[1], "asked of out: GitLab has left them out"), made.Notes[1])
	got := b.sim.Merges()[0]
	assert.DeepEqual(t, got.Labels, r.Labels)
	assert.DeepEqual(t, got.Reviewers, []string{"ann"})
	b.sim.Fail(gitlabsim.FaultDown)
	r.Branch = "oz/more"
	_, err = o.OpenPullRequest(ctx, b.i.Source(), r)
	assert.Equal(t, task.CodeOf(err), task.CodeResourceUnavailable, "%v", err)
}

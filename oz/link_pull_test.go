package oz_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"gotest.tools/v3/assert"

	"github.com/oz-platform/cloudagents/executor"
	"github.com/oz-platform/cloudagents/oz"
	"github.com/oz-platform/cloudagents/task"
	"github.com/oz-platform/cloudagents/trigger"
)

// OpenPullRequest implements trigger.PullRequester.
func (l *lendingBoard) OpenPullRequest(_ context.Context, source string, r trigger.PullRequest) (trigger.Pull, error) {
	if l.err != nil {
		return trigger.Pull{}, l.err
	}
	l.pulls = append(l.pulls, source+" "+r.Path)
	l.pull = r
	return trigger.Pull{URL: "https://forge.example/pull/7", Number: 7}, nil
}

func pullRequest() executor.PullRequest {
	return executor.PullRequest{Remote: "https://forge.example/acme/app.git", Branch: "oz/work", Base: "main", Title: "Mend it", Body: "As asked."}
}

// requester is the link of an execution of a run.
func (s *lendStage) requester(id task.ID) (executor.Link, executor.PullRequester) {
	s.t.Helper()
	l := deskOf(s.t, s.Platform, s.store, id)
	r, ok := l.(executor.PullRequester)
	assert.Assert(s.t, ok)
	return l, r
}

// TestIntegrationsOpenPullRequests: the runs that an integration makes, and
// their children, open pull requests in its name, at its host alone and without
// secrets; once the execution has ended they do not.
func TestIntegrationsOpenPullRequests(t *testing.T) {
	s := newLendStage(t)
	ctx := t.Context()
	run := s.send("1", trigger.Start{})
	link, r := s.requester(run.ID)
	_, err := link.(executor.GitLender).GitCredential(ctx, "forge.example", "acme/app")
	assert.NilError(t, err)
	want := pullRequest()
	want.Title, want.Body, want.Draft = "It is "+lentToken, "the-servers-own-81726", true
	got, err := r.OpenPullRequest(ctx, want)
	assert.NilError(t, err)
	assert.DeepEqual(t, got, executor.PullRequestAnswer{URL: "https://forge.example/pull/7", Number: 7})
	assert.DeepEqual(t, s.board.pull, trigger.PullRequest{Run: run.ID, Path: "acme/app", Branch: "oz/work", Base: "main",
		Title: "It is [redacted:git-password-lent]", Body: "[redacted:git-password-1]", Draft: true})
	want = pullRequest()
	want.Remote = "ssh://git@forge.example:2222/acme/other"
	_, err = r.OpenPullRequest(ctx, want)
	assert.NilError(t, err)
	assert.DeepEqual(t, s.board.pulls, []string{"board/x acme/app", "board/x acme/other"})

	child, err := link.Spawn(ctx, executor.Spawn{Key: "a", Prompt: "help"})
	assert.NilError(t, err)
	_, below := s.requester(child.ID)
	_, err = below.OpenPullRequest(ctx, pullRequest())
	assert.NilError(t, err)
	assert.Equal(t, s.board.pull.Run, child.ID)

	assert.NilError(t, link.Begin(ctx))
	assert.NilError(t, link.End(ctx, task.End{State: task.StateSucceeded, SeenInput: get(t, s.Platform, run.ID).LastInput}))
	_, err = r.OpenPullRequest(ctx, pullRequest())
	assert.ErrorIs(t, err, task.ErrFenced)
	assert.Equal(t, len(s.board.pulls), 3)
}

// TestPullRequestsThatAreRefused: by their fields, for want of an integration
// where the repository is, and by the service; to come again later is an answer.
func TestPullRequestsThatAreRefused(t *testing.T) {
	s := newLendStage(t)
	ctx := t.Context()
	_, r := s.requester(s.send("1", trigger.Start{}).ID)
	for _, c := range []struct {
		field  string
		change func(*executor.PullRequest)
	}{
		{"remote", func(p *executor.PullRequest) { p.Remote = "" }},
		{"remote", func(p *executor.PullRequest) { p.Remote = strings.Repeat("x", 3000) }},
		{"remote", func(p *executor.PullRequest) { p.Remote = "https://forge.example/%zz" }},
		{"branch", func(p *executor.PullRequest) { p.Branch = "" }},
		{"branch", func(p *executor.PullRequest) { p.Branch = "a b" }},
		{"branch", func(p *executor.PullRequest) { p.Branch = "-f" }},
		{"branch", func(p *executor.PullRequest) { p.Branch = "eve:main" }},
		{"branch", func(p *executor.PullRequest) { p.Branch = "oz/the-servers-own-81726" }},
		{"base", func(p *executor.PullRequest) { p.Base = strings.Repeat("x", 256) }},
		{"base", func(p *executor.PullRequest) { p.Base = "x\x00" }},
		{"base", func(p *executor.PullRequest) { p.Base = p.Branch }},
		{"title", func(p *executor.PullRequest) { p.Title = " " }},
		{"title", func(p *executor.PullRequest) { p.Title = "two\nlines" }},
		{"title", func(p *executor.PullRequest) { p.Title = strings.Repeat("x", executor.MaxPullTitle+1) }},
		{"title", func(p *executor.PullRequest) { p.Title = "\xff" }},
		{"body", func(p *executor.PullRequest) { p.Body = strings.Repeat("x", executor.MaxPullBody+1) }},
		{"body", func(p *executor.PullRequest) { p.Body = "\xff" }},
	} {
		want := pullRequest()
		c.change(&want)
		_, err := r.OpenPullRequest(ctx, want)
		assert.ErrorIs(t, err, task.ErrInvalid)
		assert.ErrorContains(t, err, c.field)
		assert.Assert(t, !strings.Contains(err.Error(), "81726"))
	}
	for _, remote := range []string{"https://github.com/acme/app", "https://forge.example:444/acme/app", "https://forge.example.evil/acme/app",
		"https://forge.example/", "file:///acme/app", "ssh://git@other.example/acme/app"} {
		want := pullRequest()
		want.Remote = remote
		_, err := r.OpenPullRequest(ctx, want)
		assert.Equal(t, task.CodeOf(err), task.CodeOperationNotSupported, remote)
		assert.ErrorContains(t, err, "report_artifact")
	}
	alone, err := s.client.Submit(ctx, oz.Request{Prompt: "x"})
	assert.NilError(t, err)
	_, from := s.requester(alone.ID)
	_, err = from.OpenPullRequest(ctx, pullRequest())
	assert.Equal(t, task.CodeOf(err), task.CodeOperationNotSupported)
	assert.ErrorContains(t, err, "no integration that opens pull requests")

	s.board.err = task.Errorf(task.CodeIntegrationNotConfigured, "no right")
	_, err = r.OpenPullRequest(ctx, pullRequest())
	assert.Equal(t, task.CodeOf(err), task.CodeIntegrationNotConfigured)
	s.board.err = &task.Error{Code: task.CodeResourceUnavailable, Message: "too many", RetryAfterMS: 61_000}
	answer, err := r.OpenPullRequest(ctx, pullRequest())
	assert.NilError(t, err)
	assert.DeepEqual(t, answer, executor.PullRequestAnswer{WaitMS: 61_000, Reason: "too many"})
	assert.Equal(t, len(s.board.pulls), 0)
}

// TestStrangersOpenNothing: a run that nobody vouches for opens no pull request,
// whatever its runner says, until a person has approved something of it that
// others see.
func TestStrangersOpenNothing(t *testing.T) {
	s := newLendStage(t)
	ctx := t.Context()
	run := s.send("1", trigger.Start{Untrusted: true, Entity: "1"})
	link, r := s.requester(run.ID)
	_, err := r.OpenPullRequest(ctx, pullRequest())
	assert.Equal(t, task.CodeOf(err), task.CodeNotAuthorized)
	assert.Equal(t, len(s.board.pulls), 0)
	assert.NilError(t, link.Begin(ctx))
	q := &task.Question{ID: "outward-1", Kind: task.QuestionApproval, Subject: executor.OutwardSubject + "outward-1", Text: "May it?",
		Choices: []string{task.ChoiceApprove, task.ChoiceReject}, ExpiresAt: time.Now().Add(time.Hour), OnExpiry: task.ExpiryContinue}
	assert.NilError(t, link.End(ctx, task.End{State: task.StateBlocked, SeenInput: get(t, s.Platform, run.ID).LastInput, Status: task.Status{Message: "x", Question: q}}))
	assert.NilError(t, s.client.Answer(ctx, run.ID, oz.Answer{QuestionID: q.ID, Choice: task.ChoiceApprove}))
	_, r = s.requester(run.ID)
	_, err = r.OpenPullRequest(ctx, pullRequest())
	assert.NilError(t, err)
	assert.DeepEqual(t, s.board.pulls, []string{"board/x acme/app"})
}

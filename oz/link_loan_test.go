package oz_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"gotest.tools/v3/assert"

	"github.com/oz-platform/cloudagents/executor"
	"github.com/oz-platform/cloudagents/oz"
	"github.com/oz-platform/cloudagents/task"
	"github.com/oz-platform/cloudagents/trigger"
)

// loan is one for some repositories, which is some days old.
func loan(source, host string, days int, paths ...string) trigger.Loan {
	return trigger.Loan{Source: source, Host: host, Since: time.Date(2026, 1, 31-days, 0, 0, 0, 0, time.UTC),
		Covers: func(path string) bool { return slices.Contains(paths, path) }}
}

// newLoanStage has lenders to all runs of the teams red and blue.
func newLoanStage(t *testing.T) *lendStage {
	t.Helper()
	s := newLendStage(t)
	s.board.loans = map[task.Scope][]trigger.Loan{
		{Type: task.ScopeTeam, UID: "red"}: {loan("board/young", "forge.example", 1, "acme/app", "acme/other"), loan("board/old", "forge.example", 9, "acme/app"),
			loan("board/far", "far.example", 20, "acme/app")},
		{Type: task.ScopeTeam, UID: "blue"}: {loan("board/blue", "forge.example", 30, "blue/app")},
	}
	return s
}

// borrow is whose credential a run gets for a repository; "" for none.
func (s *lendStage) borrow(l executor.Link, host, path string) string {
	s.t.Helper()
	s.board.from = ""
	c, err := l.(executor.GitLender).GitCredential(s.t.Context(), host, path)
	assert.NilError(s.t, err)
	assert.Equal(s.t, c.Password != "", s.board.from != "")
	return s.board.from
}

// TestLoansToAllRuns: whoever of a team starts a run, it and its children borrow
// from the oldest of the team's integrations that lends to all runs and is for
// the repository; other owners' runs do not. A run's own integration comes first.
func TestLoansToAllRuns(t *testing.T) {
	s := newLoanStage(t)
	ctx := t.Context()
	run := submit(t, s.client, oz.Request{Prompt: "x", Team: ptr(true)})
	link, _ := s.lender(run.ID)
	b, err := link.Bundle(ctx)
	assert.NilError(t, err)
	assert.DeepEqual(t, b.GitHosts, []string{"far.example", "forge.example"})
	assert.Equal(t, len(b.GitCredentials), 1, "the server's own are still there")
	child, err := link.Spawn(ctx, executor.Spawn{Key: "a", Prompt: "help"})
	assert.NilError(t, err)
	below, _ := s.lender(child.ID)
	for _, l := range []executor.Link{link, below} {
		assert.Equal(t, s.borrow(l, "forge.example", "acme/app"), "board/old")
		assert.Equal(t, s.borrow(l, "forge.example", "acme/other"), "board/young")
		assert.Equal(t, s.borrow(l, "far.example", "acme/app"), "board/far")
		for _, path := range []string{"", "blue/app", "acme/app/x"} {
			assert.Equal(t, s.borrow(l, "forge.example", path), "", path)
		}
	}
	_, err = link.(executor.GitLender).GitCredential(ctx, "forge.example", strings.Repeat("x", 3000))
	assert.ErrorIs(t, err, task.ErrInvalid)
	assert.ErrorContains(t, err, "path")

	own, _ := s.lender(submit(t, s.client, oz.Request{Prompt: "x", Team: ptr(false)}).ID)
	assert.Equal(t, s.borrow(own, "forge.example", "acme/app"), "", "a person's own run")
	blue, _ := s.lender(submit(t, people(t, s.Platform)["cid"], oz.Request{Prompt: "x", Team: ptr(true)}).ID)
	assert.Equal(t, s.borrow(blue, "forge.example", "acme/app"), "")
	assert.Equal(t, s.borrow(blue, "forge.example", "blue/app"), "board/blue")

	from, _ := s.lender(s.send("1", trigger.Start{}).ID)
	assert.Equal(t, s.borrow(from, "forge.example", "acme/app"), "board/x")
	assert.Equal(t, s.borrow(from, "forge.example", "acme/unnamed"), "board/x")
	assert.Equal(t, s.borrow(from, "far.example", "acme/app"), "board/far")
}

// TestStrangersBorrowNothingOfAll: a run that nobody vouches for has only what
// its own integration lends once a person has approved something, never what is
// lent to all runs.
func TestStrangersBorrowNothingOfAll(t *testing.T) {
	s := newLoanStage(t)
	ctx := t.Context()
	run := s.send("1", trigger.Start{Untrusted: true, Entity: "1"})
	link, _ := s.lender(run.ID)
	b, err := link.Bundle(ctx)
	assert.NilError(t, err)
	assert.DeepEqual(t, b.GitHosts, []string{"forge.example"})
	assert.Equal(t, s.borrow(link, "far.example", "acme/app"), "")
	assert.NilError(t, link.Begin(ctx))
	q := &task.Question{ID: "outward-1", Kind: task.QuestionApproval, Subject: executor.OutwardSubject + "outward-1", Text: "May it?",
		Choices: []string{task.ChoiceApprove, task.ChoiceReject}, ExpiresAt: time.Now().Add(time.Hour), OnExpiry: task.ExpiryContinue}
	assert.NilError(t, link.End(ctx, task.End{State: task.StateBlocked, SeenInput: get(t, s.Platform, run.ID).LastInput, Status: task.Status{Message: "x", Question: q}}))
	assert.NilError(t, s.client.Answer(ctx, run.ID, oz.Answer{QuestionID: q.ID, Choice: task.ChoiceApprove}))
	again, r := s.requester(run.ID)
	assert.Equal(t, s.borrow(again, "forge.example", "acme/app"), "board/x")
	assert.Equal(t, s.borrow(again, "far.example", "acme/app"), "")
	want := pullRequest()
	want.Remote = "https://far.example/acme/app"
	_, err = r.OpenPullRequest(ctx, want)
	assert.Equal(t, task.CodeOf(err), task.CodeOperationNotSupported)
	assert.Equal(t, len(s.board.pulls), 0)
}

// TestLoansOpenPullRequests: any run of the team opens them with what is lent
// to all, by whoever lends for the repository, and nowhere else.
func TestLoansOpenPullRequests(t *testing.T) {
	s := newLoanStage(t)
	ctx := t.Context()
	_, r := s.requester(submit(t, s.client, oz.Request{Prompt: "x", Team: ptr(true)}).ID)
	want := pullRequest()
	for _, remote := range []string{"https://forge.example/acme/app.git", "https://forge.example/acme/other", "ssh://git@far.example/acme/app.git"} {
		want.Remote = remote
		_, err := r.OpenPullRequest(ctx, want)
		assert.NilError(t, err)
	}
	assert.DeepEqual(t, s.board.pulls, []string{"board/old acme/app", "board/young acme/other", "board/far acme/app"})
	for _, remote := range []string{"https://forge.example/blue/app", "https://github.com/acme/app"} {
		want.Remote = remote
		_, err := r.OpenPullRequest(ctx, want)
		assert.Equal(t, task.CodeOf(err), task.CodeOperationNotSupported)
		assert.ErrorContains(t, err, "report_artifact")
	}
	_, r = s.requester(submit(t, s.client, oz.Request{Prompt: "x", Team: ptr(false)}).ID)
	_, err := r.OpenPullRequest(ctx, pullRequest())
	assert.Equal(t, task.CodeOf(err), task.CodeOperationNotSupported)
	assert.Equal(t, len(s.board.pulls), 3)
}

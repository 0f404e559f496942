package oz_test

import (
	"context"
	"encoding/json"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"gotest.tools/v3/assert"

	"github.com/oz-platform/cloudagents/executor"
	"github.com/oz-platform/cloudagents/oz"
	"github.com/oz-platform/cloudagents/task"
	"github.com/oz-platform/cloudagents/task/sqlitestore"
	"github.com/oz-platform/cloudagents/trigger"
)

// lendingBoard is a board whose service keeps repositories at forge.example.
type lendingBoard struct {
	board
	asked atomic.Int32
	err   error
	token string
	// pulls are the sources and repositories of the pull requests it has opened,
	// and pull is the last.
	pulls []string
	pull  trigger.PullRequest
	// loans are to all runs of an owner, and from was asked last.
	loans map[task.Scope][]trigger.Loan
	from  string
}

func (l *lendingBoard) Loans(_ context.Context, owner task.Scope) ([]trigger.Loan, error) {
	return l.loans[owner], nil
}

func (l *lendingBoard) GitHost(_ context.Context, source string) (string, error) {
	if source != "board/x" {
		return "", nil
	}
	return "forge.example", nil
}

func (l *lendingBoard) GitLogin(_ context.Context, source string) (trigger.GitLogin, error) {
	l.asked.Add(1)
	l.from = source
	return trigger.GitLogin{Username: "x-access-token", Password: l.token}, l.err
}

// lendStage is a platform with a lending board.
type lendStage struct {
	*oz.Platform
	t      *testing.T
	board  *lendingBoard
	client *oz.Client
	store  *sqlitestore.Store
	send   func(key string, s trigger.Start) task.Task
	// answer is a stranger's approval of what a run about a thing has asked.
	answer func(key, entity string, run task.ID, question string) task.Delivery
}

const lentToken = "ghs_9Kq2Xw7Lm4Ns1Vb8Rt5Y"

func newLendStage(t *testing.T) *lendStage {
	t.Helper()
	decided := make(chan task.Delivery, 10)
	l := &lendingBoard{token: lentToken}
	p, store := newPlatform(t, &oz.Options{Origins: []trigger.Origin{l},
		GitCredentials: []executor.GitCredential{{Host: "forge.example", Username: "deploy", Password: "the-servers-own-81726"}},
		Triggers:       trigger.Options{Poll: 5 * time.Millisecond, OnDelivery: func(d task.Delivery) { decided <- d }}})
	s := &lendStage{Platform: p, t: t, board: l, store: store, client: people(t, p)["ann"]}
	ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
	done := make(chan error, 1)
	go func() { done <- p.Triggers().Run(ctx) }()
	t.Cleanup(func() { stop(); assert.NilError(t, <-done) })
	deliver := func(key string, start trigger.Start) task.Delivery {
		t.Helper()
		start.Owner, start.Creator = task.Scope{Type: task.ScopeTeam, UID: "red"}, s.client.Caller().Principal
		start.Kind, start.Title, start.Prompt = task.SourceGitHubWebhook, "t", "work"
		body, err := json.Marshal(start)
		assert.NilError(t, err)
		_, err = p.Triggers().Receive(ctx, "board", trigger.Request{Path: key, Body: body})
		assert.NilError(t, err)
		return <-decided
	}
	s.send = func(key string, start trigger.Start) task.Task {
		t.Helper()
		d := deliver(key, start)
		assert.Equal(t, d.Outcome, task.OutcomeStarted, d.Reason)
		return get(t, p, d.Runs[0])
	}
	s.answer = func(key, entity string, run task.ID, question string) task.Delivery {
		t.Helper()
		return deliver(key, trigger.Start{Untrusted: true, Entity: entity, OnlyGoOn: true, Message: "yes",
			Answer: &trigger.Answer{Run: run, Question: question, Choice: task.ChoiceApprove}})
	}
	return s
}

// lender is the link of an execution of a run.
func (s *lendStage) lender(id task.ID) (executor.Link, executor.GitLender) {
	s.t.Helper()
	l := deskOf(s.t, s.Platform, s.store, id)
	lender, ok := l.(executor.GitLender)
	assert.Assert(s.t, ok)
	return l, lender
}

// TestIntegrationsLendGitTheirCredential: the runs that an integration makes,
// and their children, get its credential each time that they ask, for its host
// alone; it is in no bundle, and what they say of it is redacted.
func TestIntegrationsLendGitTheirCredential(t *testing.T) {
	s := newLendStage(t)
	ctx := t.Context()
	run := s.send("1", trigger.Start{})
	link, lender := s.lender(run.ID)
	b, err := link.Bundle(ctx)
	assert.NilError(t, err)
	assert.DeepEqual(t, b.GitHosts, []string{"forge.example"})
	data, err := json.Marshal(b)
	assert.NilError(t, err)
	assert.Assert(t, !strings.Contains(string(data), lentToken))
	for n := range int32(2) {
		c, err := lender.GitCredential(ctx, "forge.example", "acme/app")
		assert.NilError(t, err)
		assert.DeepEqual(t, c, executor.GitCredential{Host: "forge.example", Username: "x-access-token", Password: lentToken})
		assert.Equal(t, s.board.asked.Load(), n+1)
	}
	for _, host := range []string{"example", "forge.example:443", "github.com"} {
		c, err := lender.GitCredential(ctx, host, "acme/app")
		assert.NilError(t, err)
		assert.Equal(t, c, executor.GitCredential{}, host)
	}
	for _, host := range []string{"", strings.Repeat("x", 300)} {
		_, err := lender.GitCredential(ctx, host, "acme/app")
		assert.ErrorIs(t, err, task.ErrInvalid)
		assert.ErrorContains(t, err, "host")
	}
	assert.NilError(t, link.Begin(ctx))
	assert.NilError(t, link.Append(ctx, 0, []task.Event{{Payload: &task.Notice{Text: "it is " + lentToken}}}))
	events, err := s.store.Events(ctx, run.ID, 0, 100)
	assert.NilError(t, err)
	for _, e := range events {
		raw, err := e.MarshalJSON()
		assert.NilError(t, err)
		assert.Assert(t, !strings.Contains(string(raw), lentToken), "%s", raw)
	}

	child, err := link.Spawn(ctx, executor.Spawn{Key: "a", Prompt: "help"})
	assert.NilError(t, err)
	_, lender = s.lender(child.ID)
	c, err := lender.GitCredential(ctx, "forge.example", "acme/app")
	assert.NilError(t, err)
	assert.Equal(t, c.Password, executor.Sensitive(lentToken))

	assert.NilError(t, link.End(ctx, task.End{State: task.StateSucceeded, SeenInput: get(t, s.Platform, run.ID).LastInput}))
	_, err = link.(executor.GitLender).GitCredential(ctx, "forge.example", "acme/app")
	assert.ErrorIs(t, err, task.ErrFenced)
}

// TestStrangersRunsAreLentNothing: where nobody vouches for a run, neither it
// nor a child of it gets a credential, of the integration or of the server.
func TestStrangersRunsAreLentNothing(t *testing.T) {
	s := newLendStage(t)
	ctx := t.Context()
	run := s.send("1", trigger.Start{Untrusted: true})
	link, _ := s.lender(run.ID)
	child, err := link.Spawn(ctx, executor.Spawn{Key: "a", Prompt: "help"})
	assert.NilError(t, err)
	below, _ := s.lender(child.ID)
	for id, link := range map[task.ID]executor.Link{run.ID: link, child.ID: below} {
		assert.Assert(t, get(t, s.Platform, id).Untrusted)
		b, err := link.Bundle(ctx)
		assert.NilError(t, err)
		assert.DeepEqual(t, b.GitHosts, []string{"forge.example"})
		assert.Equal(t, len(b.GitCredentials)+len(b.Secrets), 0)
		c, err := link.(executor.GitLender).GitCredential(ctx, "forge.example", "acme/app")
		assert.NilError(t, err)
		assert.Equal(t, c, executor.GitCredential{})
	}
	assert.Equal(t, s.board.asked.Load(), int32(0))
	// A person who makes a run below it makes it with the same rights.
	made, err := s.client.Submit(ctx, oz.Request{Prompt: "x", ParentRunID: run.ID})
	assert.NilError(t, err)
	assert.Assert(t, made.Untrusted)
}

// TestLendingFails: what the service says of the integration reaches the
// runner with its code, and a credential that no redactor could find is kept.
func TestLendingFails(t *testing.T) {
	s := newLendStage(t)
	ctx := t.Context()
	_, lender := s.lender(s.send("1", trigger.Start{}).ID)
	for _, code := range []task.Code{task.CodeIntegrationNotConfigured, task.CodeResourceUnavailable} {
		s.board.err = task.Errorf(code, "no")
		_, err := lender.GitCredential(ctx, "forge.example", "acme/app")
		assert.Equal(t, task.CodeOf(err), code)
	}
	s.board.err, s.board.token = nil, "short"
	c, err := lender.GitCredential(ctx, "forge.example", "acme/app")
	assert.ErrorIs(t, err, task.ErrInvalid)
	assert.Assert(t, !strings.Contains(err.Error(), "short"))
	assert.Equal(t, c, executor.GitCredential{})
	s.board.token = ""
	c, err = lender.GitCredential(ctx, "forge.example", "acme/app")
	assert.NilError(t, err)
	assert.Equal(t, c, executor.GitCredential{}, "nothing is lent any more")
}

// TestApprovedStrangersAreLent: once a person has approved what a stranger's run
// wants to do outside, its git is lent a credential; after a no it is not, and
// nobody but the team's people answers.
func TestApprovedStrangersAreLent(t *testing.T) {
	s := newLendStage(t)
	ctx := t.Context()
	ask := func(key string) (task.ID, *task.Question) {
		t.Helper()
		run := s.send(key, trigger.Start{Untrusted: true, Entity: key})
		link, _ := s.lender(run.ID)
		assert.NilError(t, link.Begin(ctx))
		q := &task.Question{ID: "outward-1", Kind: task.QuestionApproval, Subject: executor.OutwardSubject + "outward-1", Text: "May it push?",
			Choices: []string{task.ChoiceApprove, task.ChoiceReject}, ExpiresAt: time.Now().Add(time.Hour), OnExpiry: task.ExpiryContinue}
		assert.NilError(t, link.End(ctx, task.End{State: task.StateBlocked, SeenInput: get(t, s.Platform, run.ID).LastInput, Status: task.Status{Message: "x", Question: q}}))
		return run.ID, q
	}
	lent := func(id task.ID, host string) executor.GitCredential {
		t.Helper()
		_, lender := s.lender(id)
		c, err := lender.GitCredential(ctx, host, "acme/app")
		assert.NilError(t, err)
		return c
	}
	refused, q := ask("1")
	assert.NilError(t, s.client.Answer(ctx, refused, oz.Answer{QuestionID: q.ID, Choice: task.ChoiceReject}))
	assert.Equal(t, lent(refused, "forge.example"), executor.GitCredential{})

	approved, q := ask("2")
	assert.Equal(t, s.answer("3", "2", approved, q.ID).Outcome, task.OutcomeFailed, "a stranger presses the button")
	assert.Equal(t, get(t, s.Platform, approved).State, task.StateBlocked)
	assert.NilError(t, s.client.Answer(ctx, approved, oz.Answer{QuestionID: q.ID, Choice: task.ChoiceApprove}))
	assert.Equal(t, lent(approved, "forge.example").Password, executor.Sensitive(lentToken))
}

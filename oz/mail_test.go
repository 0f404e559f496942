package oz_test

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"gotest.tools/v3/assert"

	"github.com/oz-platform/cloudagents/executor"
	"github.com/oz-platform/cloudagents/oz"
	"github.com/oz-platform/cloudagents/oz/access"
	"github.com/oz-platform/cloudagents/task"
	"github.com/oz-platform/cloudagents/task/sqlitestore"
)

func letter(from task.ID, to ...task.ID) task.Letter {
	return task.Letter{From: from, To: to, Subject: "news", Body: "all is well"}
}

// claim makes an execution of a run that works, and its caller, as a worker and
// runner do.
func claim(t testing.TB, p *oz.Platform, store *sqlitestore.Store, id task.ID) access.Caller {
	t.Helper()
	x := task.NewExecutionID()
	token, hash := task.NewToken(x)
	until := time.Now().Add(time.Hour)
	for _, c := range []task.Command{task.Offer{Execution: x, Worker: "w", TokenHash: hash, LeaseUntil: until},
		task.Accept{Execution: x, LeaseUntil: until}, task.Begin{Execution: x}} {
		_, err := store.Do(context.Background(), id, c)
		assert.NilError(t, err)
	}
	caller, err := p.Authenticate(context.Background(), token)
	assert.NilError(t, err)
	return caller
}

func TestWhoMaySendMail(t *testing.T) {
	p, store := newPlatform(t, nil)
	all := people(t, p)
	parent := submit(t, all["ann"], oz.Request{Prompt: "lead"})
	child := submit(t, all["ann"], oz.Request{Prompt: "help", ParentRunID: parent.ID})
	sibling := submit(t, all["ann"], oz.Request{Prompt: "help", ParentRunID: parent.ID})
	other := submit(t, all["ann"], oz.Request{Prompt: "else"})
	foreign := submit(t, all["cid"], oz.Request{Prompt: "blue"})
	token := p.As(claim(t, p, store, child.ID))
	tests := []struct {
		name   string
		who    *oz.Client
		letter task.Letter
		code   task.Code
	}{
		{"a member", all["bob"], letter(parent.ID, child.ID, other.ID), ""},
		{"the program", p.Client, letter(foreign.ID, parent.ID), ""},
		{"an outsider's sender", all["cid"], letter(parent.ID, child.ID), task.CodeNotFound},
		{"an outsider's recipient", all["cid"], letter(foreign.ID, child.ID), task.CodeNotFound},
		{"one hidden recipient", all["ann"], letter(parent.ID, child.ID, foreign.ID), task.CodeNotFound},
		{"a child to its family", token, letter(child.ID, parent.ID, sibling.ID, child.ID), ""},
		{"a child to others of the owner", token, letter(child.ID, other.ID), task.CodeNotFound},
		{"a child to strangers", token, letter(child.ID, foreign.ID), task.CodeNotFound},
		{"a child as its parent", token, letter(parent.ID, child.ID), task.CodeNotFound},
		{"nobody", p.As(access.Caller{}), letter(parent.ID, child.ID), task.CodeAuthenticationRequired},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			ids, err := tt.who.SendMail(t.Context(), tt.letter)
			assert.Equal(t, task.CodeOf(err), tt.code, "%v", err)
			if err == nil {
				assert.Equal(t, len(ids), len(tt.letter.To))
			}
		})
	}
	list, err := p.Mails(t.Context(), task.MailQuery{To: foreign.ID})
	assert.NilError(t, err)
	assert.Equal(t, len(list), 0)
	for _, id := range []task.ID{child.ID, parent.ID, sibling.ID} {
		_, err := token.Signals(t.Context(), task.SignalQuery{Tasks: []task.ID{id}})
		assert.NilError(t, err, "%s", id)
	}
	_, err = token.Signals(t.Context(), task.SignalQuery{Tasks: []task.ID{other.ID}})
	assert.ErrorIs(t, err, task.ErrNotFound)
	_, err = all["cid"].Signals(t.Context(), task.SignalQuery{Tasks: []task.ID{child.ID}})
	assert.ErrorIs(t, err, task.ErrNotFound)

	// What the token can do ends with its execution.
	assert.NilError(t, p.Cancel(t.Context(), child.ID))
	_, err = token.SendMail(t.Context(), letter(child.ID, parent.ID))
	assert.ErrorIs(t, err, task.ErrFenced)
	_, err = token.Mails(t.Context(), task.MailQuery{To: child.ID})
	assert.ErrorIs(t, err, task.ErrFenced)
	_, err = token.Signals(t.Context(), task.SignalQuery{Tasks: []task.ID{child.ID}})
	assert.ErrorIs(t, err, task.ErrFenced)
}

// TestSecretsDoNotTravelByMail sends a run's secret by its token, and by a
// person's key while the run works.
func TestSecretsDoNotTravelByMail(t *testing.T) {
	const value = "k3J9-xQ2m-Zp7v-Rt5w"
	p, store := withSecrets(t, &oz.Options{})
	ann := people(t, p)["ann"]
	_, err := ann.CreateSecret(t.Context(), oz.SecretInput{Name: "DEPLOY_TOKEN", Value: value})
	assert.NilError(t, err)
	run := submit(t, ann, oz.Request{Prompt: "deploy"})
	token := p.As(claim(t, p, store, run.ID))
	for _, who := range []*oz.Client{token, ann} {
		ids, err := who.SendMail(t.Context(), task.Letter{From: run.ID, To: []task.ID{run.ID}, Subject: "it is " + value, Body: "use " + value + "!"})
		assert.NilError(t, err)
		m, err := ann.ReadMail(t.Context(), ids[0])
		assert.NilError(t, err)
		assert.Assert(t, !strings.Contains(m.Subject+m.Body, value), "%s: %s", m.Subject, m.Body)
		assert.Assert(t, strings.HasPrefix(m.Body, "use "), "%s", m.Body)
	}
}

// TestMailWakesBlocked has an agent wait for an answer, which comes once before
// and once after it has stopped.
func TestMailWakesBlocked(t *testing.T) {
	for _, when := range []string{"after", "before"} {
		t.Run(when, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				asked, answered := make(chan struct{}), make(chan struct{})
				heard := make(chan string, 1)
				w := newWorker("w", 1, func(ctx context.Context, a oz.Assignment, l executor.Link) {
					assert.Check(t, l.Begin(ctx))
					beat, err := l.Heartbeat(ctx)
					assert.Check(t, err)
					if a.Task.Executions == 1 {
						close(asked)
						if when == "before" {
							<-answered
						}
						end(ctx, l, beat.LastInput, task.StateBlocked)
						return
					}
					events, err := l.Events(ctx, 2, 100)
					assert.Check(t, err)
					for _, e := range events {
						if in, ok := e.Payload.(*task.Input); ok {
							heard <- in.Text
						}
					}
					end(ctx, l, beat.LastInput, task.StateSucceeded)
				})
				p, _ := with(t, &oz.Options{}, w)
				run := submit(t, p, oz.Request{Prompt: "ask"})
				lead := submit(t, p, oz.Request{Prompt: "answer"})
				assert.NilError(t, p.Cancel(t.Context(), lead.ID)) // only runs that have ended write, here
				defer start(t, p)()
				<-asked
				if when == "after" {
					until(t, p, run.ID, becomes(task.StateBlocked))
				}
				ids, err := p.SendMail(t.Context(), letter(lead.ID, run.ID))
				assert.NilError(t, err)
				close(answered)
				assert.Equal(t, <-heard, "Message from run "+string(lead.ID)+"\nSubject: news\n\nall is well")
				until(t, p, run.ID, becomes(task.StateSucceeded))
				list, err := p.Mails(t.Context(), task.MailQuery{To: run.ID})
				assert.NilError(t, err)
				assert.Equal(t, len(list), 1)
				assert.Equal(t, list[0].ID, ids[0])
				assert.Assert(t, !list[0].DeliveredAt.IsZero() && list[0].ReadAt.IsZero())
			})
		})
	}
}

func TestReportsMoveRuns(t *testing.T) {
	p, store := newPlatform(t, nil)
	for typ, state := range map[task.SignalType]task.State{
		task.SignalSucceeded: task.StateSucceeded, task.SignalFailed: task.StateFailed, task.SignalErrored: task.StateError,
		task.SignalBlocked: task.StateBlocked, task.SignalCancelled: task.StateCancelled,
	} {
		t.Run(string(typ), func(t *testing.T) {
			run := submit(t, p, oz.Request{Prompt: "work"})
			token := p.As(claim(t, p, store, run.ID))
			begun, err := token.ReportSignal(t.Context(), run.ID, oz.SignalReport{Type: task.SignalInProgress})
			assert.NilError(t, err, "the runner's own begin counts")
			seq, err := token.ReportSignal(t.Context(), run.ID, oz.SignalReport{Type: typ})
			assert.NilError(t, err)
			assert.Assert(t, seq > begun)
			got, err := p.Get(t.Context(), run.ID)
			assert.NilError(t, err)
			assert.Equal(t, got.State, state)
			again, err := token.ReportSignal(t.Context(), run.ID, oz.SignalReport{Type: typ, Execution: token.Caller().Execution})
			assert.NilError(t, err)
			assert.Equal(t, again, seq)
			other := task.SignalSucceeded
			if typ == other {
				other = task.SignalFailed
			}
			_, err = token.ReportSignal(t.Context(), run.ID, oz.SignalReport{Type: other})
			assert.ErrorIs(t, err, task.ErrConflict)
			assert.ErrorIs(t, err, task.ErrFenced)
			_, err = token.ReportSignal(t.Context(), run.ID, oz.SignalReport{Type: typ, Execution: task.NewExecutionID()})
			assert.Equal(t, task.CodeOf(err), task.CodeNotAuthorized)
		})
	}
}

// TestReportHearsPeople: success is not taken from an agent that was not given
// what a person has written meanwhile.
func TestReportHearsPeople(t *testing.T) {
	p, store := newPlatform(t, nil)
	run := submit(t, p, oz.Request{Prompt: "work"})
	caller := claim(t, p, store, run.ID)
	token := p.As(caller)
	assert.NilError(t, p.FollowUp(t.Context(), run.ID, oz.Message{Text: "and the tests"}))
	_, err := token.ReportSignal(t.Context(), run.ID, oz.SignalReport{Type: task.SignalSucceeded})
	assert.ErrorIs(t, err, task.ErrUnseenInput)
	head, err := p.Get(t.Context(), run.ID)
	assert.NilError(t, err)
	l, err := p.Link(caller)
	assert.NilError(t, err)
	assert.NilError(t, l.Append(t.Context(), 0, []task.Event{{Payload: &task.Delivered{Inputs: []int64{head.LastInput}}}}))
	_, err = token.ReportSignal(t.Context(), run.ID, oz.SignalReport{Type: task.SignalSucceeded})
	assert.NilError(t, err)
}

// TestMailGoesWithTheTranscript lets retention take both.
func TestMailGoesWithTheTranscript(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorker("w", 1, succeed)
		p, store := with(t, &oz.Options{Retention: time.Hour}, w)
		run := submit(t, p, oz.Request{Prompt: "work"})
		ids, err := p.SendMail(t.Context(), letter(run.ID, run.ID))
		assert.NilError(t, err)
		defer start(t, p)()
		until(t, p, run.ID, becomes(task.StateSucceeded))
		time.Sleep(3 * time.Hour)
		synctest.Wait()
		_, err = p.ReadMail(t.Context(), ids[0])
		assert.ErrorIs(t, err, task.ErrNotFound)
		signals, err := store.Signals(t.Context(), task.SignalQuery{Tasks: []task.ID{run.ID}, Limit: 10})
		assert.NilError(t, err)
		assert.Equal(t, len(signals), 1, "the newest keeps the sequence")
	})
}

package oz_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"gotest.tools/v3/assert"

	"github.com/oz-platform/cloudagents/executor"
	"github.com/oz-platform/cloudagents/oz"
	"github.com/oz-platform/cloudagents/task"
	"github.com/oz-platform/cloudagents/task/sqlitestore"
)

// deskOf is the link of a new execution of a run.
func deskOf(t testing.TB, p *oz.Platform, store *sqlitestore.Store, id task.ID) executor.Link {
	t.Helper()
	l, err := p.Link(claim(t, p, store, id))
	assert.NilError(t, err)
	return l
}

// TestChildInherits: a child is its parent's owner's, made by the same person,
// with the parent's configuration but for what it has of its own (Oz platform,
// MAO-1 and MAO-2).
func TestChildInherits(t *testing.T) {
	p, store := newPlatform(t, nil)
	all := people(t, p)
	team, none := true, []string{}
	parent := submit(t, all["ann"], oz.Request{Prompt: "lead", Team: &team, Metadata: map[string]string{"ticket": "7"}, Config: task.Config{
		Name: "crew", ModelID: "claude-sonnet-4-5", BasePrompt: "Be brief", WorkerHost: "pool", Secrets: &none,
		Limits: &task.Limits{MaxTurns: 9, MaxCostUSD: 2}}})
	l := deskOf(t, p, store, parent.ID)
	made, err := l.Spawn(t.Context(), executor.Spawn{Key: "a", Prompt: "Write the tests\nof the parser", Config: executor.ChildConfig{ModelID: "claude-haiku-4-5"}})
	assert.NilError(t, err)
	assert.DeepEqual(t, made, executor.Relative{ID: made.ID, Relation: "child", Key: "a", Title: "Write the tests", State: task.StateQueued})
	child, err := p.Get(t.Context(), made.ID)
	assert.NilError(t, err)
	assert.Equal(t, child.ParentID, parent.ID)
	assert.Equal(t, child.Owner, parent.Owner)
	assert.Equal(t, child.Creator, parent.Creator)
	assert.Equal(t, child.Executor, parent.Executor)
	assert.Equal(t, child.Source, task.SourceOrchestration)
	assert.DeepEqual(t, child.Metadata, parent.Metadata)
	assert.Assert(t, child.ConversationID != parent.ConversationID)
	c := child.Config
	assert.Equal(t, c.ModelID, "claude-haiku-4-5")
	assert.Equal(t, c.BasePrompt+c.WorkerHost+c.Name, "Be briefpoolcrew")
	assert.Equal(t, len(*c.Secrets), 0)
	assert.Equal(t, c.Limits.MaxTurns, 9)
	assert.Equal(t, c.Limits.MaxCostUSD, 0.0, "the budget is the parent's, shared, and not given again to each")

	grandchild := deskOf(t, p, store, child.ID)
	_, err = grandchild.Spawn(t.Context(), executor.Spawn{Key: "b", Prompt: "deeper"})
	assert.ErrorIs(t, err, task.ErrInvalid)
	assert.ErrorContains(t, err, "is a child itself")
	got, err := grandchild.Family(t.Context())
	assert.NilError(t, err)
	assert.Equal(t, got[0].Relation+" "+string(got[0].ID), "parent "+string(parent.ID))
}

// TestSpawnOnce: a key starts one child, also for a later execution of the
// parent and for calls at the same time.
func TestSpawnOnce(t *testing.T) {
	p, store := newPlatform(t, nil)
	parent := submit(t, p, oz.Request{Prompt: "lead"})
	l := deskOf(t, p, store, parent.ID)
	ids := make(chan task.ID, 20)
	var group sync.WaitGroup
	for range 20 {
		group.Go(func() {
			r, err := l.Spawn(t.Context(), executor.Spawn{Key: "only", Prompt: "help"})
			assert.Check(t, err)
			ids <- r.ID
		})
	}
	group.Wait()
	first := <-ids
	for range 19 {
		assert.Equal(t, <-ids, first)
	}
	e, err := store.Get(t.Context(), parent.ID)
	assert.NilError(t, err)
	_, err = store.Do(t.Context(), parent.ID, task.Release{Execution: e.Execution, Reason: "the worker was killed", ReadyAt: time.Now()})
	assert.NilError(t, err)
	_, err = l.Spawn(t.Context(), executor.Spawn{Key: "late", Prompt: "help"})
	assert.ErrorIs(t, err, task.ErrFenced)
	again := deskOf(t, p, store, parent.ID)
	r, err := again.Spawn(t.Context(), executor.Spawn{Key: "only", Prompt: "help"})
	assert.NilError(t, err)
	assert.Equal(t, r.ID, first)
	_, err = again.Spawn(t.Context(), executor.Spawn{Key: "only", Prompt: "something else"})
	assert.ErrorIs(t, err, task.ErrConflict)
	list, err := p.List(t.Context(), task.Query{AncestorID: parent.ID})
	assert.NilError(t, err)
	assert.Equal(t, len(list.Tasks), 1)
}

// TestSpawnRefusals: what is wrong is named.
func TestSpawnRefusals(t *testing.T) {
	p, store := newPlatform(t, &oz.Options{MaxChildren: 4, MaxActiveChildren: 2})
	parent := submit(t, p, oz.Request{Prompt: "lead"})
	l := deskOf(t, p, store, parent.ID)
	for want, s := range map[string]executor.Spawn{
		"key: must have 1 to 64":      {Prompt: "x"},
		"key: must have":              {Key: "a b", Prompt: "x"},
		"prompt: say what":            {Key: "a", Prompt: " "},
		"prompt: must be valid UTF-8": {Key: "a", Prompt: "\xff"},
		"config.harness.type":         {Key: "a", Prompt: "x", Config: executor.ChildConfig{Harness: "clippy"}},
		"config.environment_id":       {Key: "a", Prompt: "x", Config: executor.ChildConfig{EnvironmentID: "none"}},
		"title":                       {Key: "a", Prompt: "x", Title: strings.Repeat("t", 400)},
	} {
		_, err := l.Spawn(t.Context(), s)
		assert.ErrorContains(t, err, want)
		assert.Assert(t, !task.CodeOf(err).Platform(), "%v", err)
	}
	var made []task.ID
	for i := range 2 {
		r, err := l.Spawn(t.Context(), executor.Spawn{Key: fmt.Sprint("k", i), Prompt: "x"})
		assert.NilError(t, err)
		made = append(made, r.ID)
	}
	_, err := l.Spawn(t.Context(), executor.Spawn{Key: "k2", Prompt: "x"})
	assert.Equal(t, task.CodeOf(err), task.CodeConflict)
	assert.ErrorContains(t, err, "no more than 2 may be at once")
	_, err = l.Spawn(t.Context(), executor.Spawn{Key: "k1", Prompt: "x"})
	assert.NilError(t, err, "one that is there is no new one")
	for i, id := range made {
		assert.NilError(t, l.CancelChild(t.Context(), id))
		assert.NilError(t, l.CancelChild(t.Context(), id), "again")
		_, err := l.Spawn(t.Context(), executor.Spawn{Key: fmt.Sprint("n", i), Prompt: "x"})
		assert.NilError(t, err)
	}
	family, err := l.Family(t.Context())
	assert.NilError(t, err)
	assert.Equal(t, len(family), 4)
	assert.NilError(t, l.CancelChild(t.Context(), family[3].ID))
	_, err = l.Spawn(t.Context(), executor.Spawn{Key: "k5", Prompt: "x"})
	assert.Equal(t, task.CodeOf(err), task.CodeOperationNotSupported)
	assert.ErrorContains(t, err, "has had 4 children")
	other := submit(t, p, oz.Request{Prompt: "else"})
	assert.ErrorIs(t, l.CancelChild(t.Context(), other.ID), task.ErrNotFound)
	_, err = l.Await(t.Context(), executor.Await{Runs: []task.ID{other.ID}})
	assert.ErrorIs(t, err, task.ErrNotFound)
	_, err = l.Await(t.Context(), executor.Await{WaitMS: executor.MaxAwaitMS + 1})
	assert.ErrorContains(t, err, "wait_ms")
}

// TestCancelledParent leaves its children at work (Oz platform, MAO-6).
func TestCancelledParent(t *testing.T) {
	p, store := newPlatform(t, nil)
	parent := submit(t, p, oz.Request{Prompt: "lead"})
	l := deskOf(t, p, store, parent.ID)
	child, err := l.Spawn(t.Context(), executor.Spawn{Key: "a", Prompt: "x"})
	assert.NilError(t, err)
	assert.NilError(t, p.Cancel(t.Context(), parent.ID))
	got, err := p.Get(t.Context(), child.ID)
	assert.NilError(t, err)
	assert.Equal(t, got.State, task.StateQueued)
	_, err = l.Family(t.Context())
	assert.ErrorIs(t, err, task.ErrFenced)
}

// TestAwait: who waits is told at once, and sees the message that a child has
// sent before its end together with that end (Oz platform, MAO-4).
func TestAwait(t *testing.T) {
	p, store := newPlatform(t, nil)
	parent := submit(t, p, oz.Request{Prompt: "lead"})
	l := deskOf(t, p, store, parent.ID)
	a, err := l.Spawn(t.Context(), executor.Spawn{Key: "a", Prompt: "x"})
	assert.NilError(t, err)
	b, err := l.Spawn(t.Context(), executor.Spawn{Key: "b", Prompt: "x"})
	assert.NilError(t, err)
	both := executor.Await{Runs: []task.ID{a.ID, b.ID}, All: true}
	news, err := l.Await(t.Context(), both)
	assert.NilError(t, err)
	assert.Assert(t, !news.Done && len(news.Runs) == 2 && len(news.Unread) == 0)

	child := deskOf(t, p, store, a.ID)
	got := make(chan executor.News, 1)
	go func() {
		news, err := l.Await(t.Context(), executor.Await{Runs: both.Runs, WaitMS: executor.MaxAwaitMS})
		assert.Check(t, err)
		got <- news
	}()
	assert.NilError(t, child.SendMail(t.Context(), executor.Mailing{Key: "m1", To: []task.ID{parent.ID}, Subject: "result", Body: "42"}))
	assert.NilError(t, child.End(t.Context(), task.End{State: task.StateSucceeded, SeenInput: 2, Status: task.Status{Message: "all good"}}))
	news = <-got
	assert.Equal(t, len(news.Unread), 1)
	assert.Equal(t, news.Unread[0].Subject, "result")
	mail, err := l.ReadMail(t.Context(), news.Unread[0].ID)
	assert.NilError(t, err)
	assert.Equal(t, mail.Body, "42")
	news, err = l.Await(t.Context(), executor.Await{Runs: both.Runs})
	assert.NilError(t, err)
	assert.Assert(t, news.Done, "any has ended")
	assert.Equal(t, news.Runs[0].Message, "all good")
	news, err = l.Await(t.Context(), both)
	assert.NilError(t, err)
	assert.Assert(t, !news.Done, "b works")
}

// TestMailIsSentOnce: a letter with a key arrives once, however often its
// sender asks, and a child that has ended is taken up by it (Oz platform,
// MAO-5).
func TestMailIsSentOnce(t *testing.T) {
	p, store := newPlatform(t, nil)
	parent := submit(t, p, oz.Request{Prompt: "lead"})
	l := deskOf(t, p, store, parent.ID)
	var ids []task.ID
	for _, key := range []string{"ended", "works"} {
		r, err := l.Spawn(t.Context(), executor.Spawn{Key: key, Prompt: "x"})
		assert.NilError(t, err)
		ids = append(ids, r.ID)
	}
	child := deskOf(t, p, store, ids[0])
	assert.NilError(t, child.End(t.Context(), task.End{State: task.StateSucceeded, SeenInput: 2}))
	for range 3 {
		assert.NilError(t, l.SendMail(t.Context(), executor.Mailing{Key: "c1", To: ids, Subject: "more", Body: "do y, too"}))
	}
	woken, err := p.Get(t.Context(), ids[0])
	assert.NilError(t, err)
	assert.Equal(t, woken.State, task.StateQueued)
	events, err := p.Events(t.Context(), ids[0], 2, 100)
	assert.NilError(t, err)
	inputs := 0
	for _, e := range events {
		if in, ok := e.Payload.(*task.Input); ok {
			inputs++
			assert.Assert(t, strings.HasSuffix(in.Text, "do y, too"))
		}
	}
	assert.Equal(t, inputs, 1)
	mails, err := p.Mails(t.Context(), task.MailQuery{To: ids[1]})
	assert.NilError(t, err)
	assert.Equal(t, len(mails), 1)
	other := submit(t, p, oz.Request{Prompt: "else"})
	err = l.SendMail(t.Context(), executor.Mailing{Key: "c2", To: []task.ID{other.ID}, Subject: "s", Body: "b"})
	assert.ErrorIs(t, err, task.ErrNotFound)
	err = l.SendMail(t.Context(), executor.Mailing{To: ids, Subject: "s", Body: "b"})
	assert.ErrorContains(t, err, "key")
}

// question is one that an agent puts.
func question(change func(*task.Question)) *task.Question {
	q := &task.Question{ID: "q1", Kind: task.QuestionPerson, Text: "Which branch?", Choices: []string{"main", "next"},
		ExpiresAt: time.Now().Add(time.Hour), OnExpiry: task.ExpiryFail}
	if change != nil {
		change(q)
	}
	return q
}

// ask ends an execution with a question.
func ask(t testing.TB, l executor.Link, q *task.Question) {
	t.Helper()
	beat, err := l.Heartbeat(t.Context())
	assert.NilError(t, err)
	assert.NilError(t, l.End(t.Context(), task.End{State: task.StateBlocked, SeenInput: beat.LastInput, Status: task.Status{Message: q.Text, Question: q}}))
}

// TestAnswer: a question is answered once, by one of its choices, and the run
// goes on with the answer (Oz platform, RUN-5).
func TestAnswer(t *testing.T) {
	p, store := newPlatform(t, nil)
	all := people(t, p)
	run := submit(t, all["ann"], oz.Request{Prompt: "work"})
	assert.ErrorIs(t, all["ann"].Answer(t.Context(), run.ID, oz.Answer{Text: "x"}), task.ErrConflict)
	ask(t, deskOf(t, p, store, run.ID), question(nil))
	got, err := all["ann"].Get(t.Context(), run.ID)
	assert.NilError(t, err)
	assert.Equal(t, got.State, task.StateBlocked)
	assert.Equal(t, got.Open().Text, "Which branch?")
	assert.ErrorIs(t, all["cid"].Answer(t.Context(), run.ID, oz.Answer{Choice: "main"}), task.ErrNotFound)
	for want, a := range map[string]oz.Answer{
		`"other" is none of: main, next`: {Choice: "other"}, "needs a choice or words": {}, "question_id": {QuestionID: "q0", Choice: "main"},
	} {
		assert.ErrorContains(t, all["ann"].Answer(t.Context(), run.ID, a), want)
	}
	var group sync.WaitGroup
	won := make(chan error, 10)
	for i := range 10 {
		group.Go(func() {
			won <- all["ann"].Answer(t.Context(), run.ID, oz.Answer{QuestionID: "q1", Choice: "next", Text: fmt.Sprint("by ", i)})
		})
	}
	group.Wait()
	wins := 0
	for range 10 {
		if err := <-won; err == nil {
			wins++
		} else {
			assert.ErrorIs(t, err, task.ErrConflict)
		}
	}
	assert.Equal(t, wins, 1)
	got, err = p.Get(t.Context(), run.ID)
	assert.NilError(t, err)
	assert.Equal(t, got.State, task.StateQueued)
	assert.Assert(t, got.Open() == nil)
	events, err := p.Events(t.Context(), run.ID, got.LastInput-1, 1)
	assert.NilError(t, err)
	in := events[0].Payload.(*task.Input)
	assert.Equal(t, in.Choice+" "+in.Question, "next q1")
	assert.Assert(t, strings.HasPrefix(in.Text, `Answer to your question "Which branch?": next`), in.Text)
	assert.Equal(t, in.From.UID, all["ann"].Caller().Principal.UID)
}

// TestQuestionRefusals: a question that breaks a rule does not end the run.
func TestQuestionRefusals(t *testing.T) {
	p, store := newPlatform(t, nil)
	run := submit(t, p, oz.Request{Prompt: "work"})
	l := deskOf(t, p, store, run.ID)
	for want, change := range map[string]func(*task.Question){
		"question.id":             func(q *task.Question) { q.ID = "" },
		"question.text":           func(q *task.Question) { q.Text = " " },
		"question.kind":           func(q *task.Question) { q.Kind = "riddle" },
		"question.choices":        func(q *task.Question) { q.Choices = []string{"a", "a"} },
		"approve and reject":      func(q *task.Question) { q.Kind = task.QuestionApproval },
		"question.runs":           func(q *task.Question) { q.Kind = task.QuestionRuns },
		"question.detail":         func(q *task.Question) { q.Detail = json.RawMessage("[1]") },
		"question.on_expiry":      func(q *task.Question) { q.OnExpiry = "shrug" },
		"must be set, and within": func(q *task.Question) { q.ExpiresAt = time.Now().Add(1000 * time.Hour) },
		"question.expires_at":     func(q *task.Question) { q.ExpiresAt = time.Time{} },
	} {
		err := l.End(t.Context(), task.End{State: task.StateBlocked, SeenInput: 2, Status: task.Status{Message: "m", Question: question(change)}})
		assert.ErrorContains(t, err, want)
		assert.ErrorIs(t, err, task.ErrInvalid)
	}
	err := l.End(t.Context(), task.End{State: task.StateSucceeded, SeenInput: 2, Status: task.Status{Question: question(nil)}})
	assert.ErrorContains(t, err, "becomes BLOCKED")
	got, err := p.Get(t.Context(), run.ID)
	assert.NilError(t, err)
	assert.Equal(t, got.State, task.StateInProgress)
}

// reaches waits in a bubble's time until a run has a state, by way of others.
func reaches(t testing.TB, p *oz.Platform, id task.ID, want task.State) {
	t.Helper()
	for range 100 * 3600 {
		got, err := p.Get(t.Context(), id)
		assert.NilError(t, err)
		if got.State == want {
			return
		}
		time.Sleep(time.Second)
	}
	t.Fatalf("run %s has not become %s in a hundred hours", id, want)
}

// TestNobodyAnswers: a question has a time limit, and a defined outcome.
func TestNobodyAnswers(t *testing.T) {
	for outcome, state := range map[task.Expiry]task.State{task.ExpiryFail: task.StateFailed, task.ExpiryContinue: task.StateSucceeded} {
		t.Run(string(outcome), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				begun := time.Now()
				heard := ""
				w := newWorker("w", 1, func(ctx context.Context, a oz.Assignment, l executor.Link) {
					assert.Check(t, l.Begin(ctx))
					if a.Task.Executions == 1 {
						ask(t, l, question(func(q *task.Question) { q.OnExpiry = outcome }))
						return
					}
					beat, err := l.Heartbeat(ctx)
					assert.Check(t, err)
					events, err := l.Events(ctx, beat.LastInput-1, 1)
					assert.Check(t, err)
					heard = events[0].Payload.(*task.Input).Text
					end(ctx, l, beat.LastInput, task.StateSucceeded)
				})
				p, _ := with(t, &oz.Options{}, w)
				run := submit(t, p, oz.Request{Prompt: "work"})
				defer start(t, p)()
				reaches(t, p, run.ID, state)
				took := time.Since(begun)
				assert.Assert(t, took >= time.Hour && took < time.Hour+time.Minute, "%s", took)
				if outcome == task.ExpiryContinue {
					assert.Assert(t, strings.HasPrefix(heard, `Nobody has answered the question "Which branch?" in time.`), heard)
				}
			})
		})
	}
}

// TestRestartedServerAnswers: what falls due while no server runs is done by
// the next one.
func TestRestartedServerAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := openStore(t)
		first, err := oz.New(store, nil)
		assert.NilError(t, err)
		run := submit(t, first, oz.Request{Prompt: "work"})
		ask(t, deskOf(t, first, store, run.ID), question(nil))
		time.Sleep(50 * time.Hour)
		next, err := oz.New(store, nil)
		assert.NilError(t, err)
		defer start(t, next)()
		reaches(t, next, run.ID, task.StateFailed)
		got, err := next.Get(t.Context(), run.ID)
		assert.NilError(t, err)
		assert.Assert(t, strings.HasPrefix(got.Head.Status.Message, "Nobody has answered"), got.Head.Status.Message)
		assert.NilError(t, next.FollowUp(t.Context(), run.ID, oz.Message{Text: "main"}), "a late answer takes it on all the same")
	})
}

// TestParentSleeps: a parent that has let go of its place is woken once its
// children have ended, one or all, and nobody polls.
func TestParentSleeps(t *testing.T) {
	for _, all := range []bool{true, false} {
		t.Run(fmt.Sprint("all=", all), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				woken := make(chan string, 1)
				// One place only: were the parent to hold it, its children would
				// never start.
				w := newWorker("w", 1, func(ctx context.Context, a oz.Assignment, l executor.Link) {
					assert.Check(t, l.Begin(ctx))
					beat, err := l.Heartbeat(ctx)
					assert.Check(t, err)
					switch {
					case a.Task.ParentID != "":
						time.Sleep(10 * time.Second)
						assert.Check(t, l.End(ctx, task.End{State: task.StateSucceeded, SeenInput: beat.LastInput, Status: task.Status{Message: "did " + a.Task.ChildKey}}))
					case a.Task.Executions == 1:
						var ids []task.ID
						for _, key := range []string{"a", "b"} {
							r, err := l.Spawn(ctx, executor.Spawn{Key: key, Prompt: "part " + key})
							assert.Check(t, err)
							ids = append(ids, r.ID)
						}
						ask(t, l, question(func(q *task.Question) { q.Kind, q.Choices, q.Runs, q.All = task.QuestionRuns, nil, ids, all }))
					default:
						events, err := l.Events(ctx, beat.LastInput-1, 1)
						assert.Check(t, err)
						woken <- events[0].Payload.(*task.Input).Text
						end(ctx, l, beat.LastInput, task.StateSucceeded)
					}
				})
				p, _ := with(t, &oz.Options{}, w)
				run := submit(t, p, oz.Request{Prompt: "lead"})
				defer start(t, p)()
				text := <-woken
				reaches(t, p, run.ID, task.StateSucceeded)
				assert.Assert(t, strings.Contains(text, "did a"), text)
				assert.Equal(t, strings.Contains(text, "did b"), all, text)
			})
		})
	}
}

// TestChildThatNeverEnds: a child that is at work for ever holds its parent no
// longer than that wanted to wait, nor itself longer than the server allows;
// either way the parent is told and goes on.
func TestChildThatNeverEnds(t *testing.T) {
	for name, tt := range map[string]struct {
		wait time.Duration
		told string
	}{
		"the wait is over": {5 * time.Minute, "The time for which you wanted to wait is up:"},
		"the child is":     {time.Hour, "The runs that you waited for have ended:"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				woken, child := make(chan string, 1), make(chan task.ID, 1)
				w := newWorker("w", 2, func(ctx context.Context, a oz.Assignment, l executor.Link) {
					assert.Check(t, l.Begin(ctx))
					beat, err := l.Heartbeat(ctx)
					assert.Check(t, err)
					switch {
					case a.Task.ParentID != "":
						for err == nil { // until it is fenced, or its worker is told to end it
							time.Sleep(time.Minute)
							_, err = l.Heartbeat(ctx)
						}
					case a.Task.Executions == 1:
						r, err := l.Spawn(ctx, executor.Spawn{Key: "a", Prompt: "never end"})
						assert.Check(t, err)
						child <- r.ID
						ask(t, l, question(func(q *task.Question) {
							q.Kind, q.Choices, q.Runs, q.All, q.ExpiresAt, q.OnExpiry = task.QuestionRuns, nil, []task.ID{r.ID}, true, time.Now().Add(tt.wait), task.ExpiryContinue
						}))
					default:
						events, err := l.Events(ctx, beat.LastInput-1, 1)
						assert.Check(t, err)
						woken <- events[0].Payload.(*task.Input).Text
						end(ctx, l, beat.LastInput, task.StateSucceeded)
					}
				})
				p, _ := with(t, &oz.Options{MaxRuntime: 15 * time.Minute, Lease: 3 * time.Minute}, w)
				run := submit(t, p, oz.Request{Prompt: "lead"})
				defer start(t, p)()
				text, id := <-woken, <-child
				assert.Assert(t, strings.HasPrefix(text, tt.told), text)
				reaches(t, p, run.ID, task.StateSucceeded)
				follow(t, p, id)
				got, err := p.Get(t.Context(), id)
				assert.NilError(t, err)
				assert.Equal(t, got.State, task.StateError)
				assert.Equal(t, got.Status.ErrorCode, task.CodeInfrastructureTimeout)
			})
		})
	}
}

// TestNobodyApproves: what waits for an approval that nobody gives is not done,
// and the run has FAILED and says so.
func TestNobodyApproves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorker("w", 1, func(ctx context.Context, a oz.Assignment, l executor.Link) {
			assert.Check(t, l.Begin(ctx))
			assert.Check(t, a.Task.Executions == 1, "it is not taken up again")
			ask(t, l, question(func(q *task.Question) {
				q.Kind, q.Text, q.Choices, q.ExpiresAt = task.QuestionApproval, "Run make deploy?", []string{task.ChoiceApprove, task.ChoiceReject}, time.Now().Add(5*time.Minute)
			}))
		})
		p, _ := with(t, &oz.Options{}, w)
		run := submit(t, p, oz.Request{Prompt: "deploy"})
		defer start(t, p)()
		reaches(t, p, run.ID, task.StateBlocked)
		reaches(t, p, run.ID, task.StateFailed)
		got, err := p.Get(t.Context(), run.ID)
		assert.NilError(t, err)
		assert.Assert(t, strings.Contains(got.Head.Status.Message, `Nobody has approved "Run make deploy?" in time: it was not done.`), got.Head.Status.Message)
		assert.Assert(t, got.Open() == nil)
		assert.ErrorIs(t, p.Answer(t.Context(), run.ID, oz.Answer{QuestionID: "q1", Choice: task.ChoiceApprove}), task.ErrConflict)
	})
}

// TestManyChildren: 64 children at once, of which each is there once, and the
// next is refused.
func TestManyChildren(t *testing.T) {
	p, store := newPlatform(t, nil)
	parent := submit(t, p, oz.Request{Prompt: "lead"})
	l := deskOf(t, p, store, parent.ID)
	var group sync.WaitGroup
	var mu sync.Mutex
	refused, seen := 0, map[task.ID]bool{}
	for i := range 80 {
		group.Go(func() {
			r, err := l.Spawn(t.Context(), executor.Spawn{Key: fmt.Sprint("c", i), Prompt: "part"})
			mu.Lock()
			defer mu.Unlock()
			if errors.Is(err, task.ErrConflict) {
				refused++
				return
			}
			assert.Check(t, err)
			seen[r.ID] = true
		})
	}
	group.Wait()
	assert.Equal(t, len(seen), 64)
	assert.Equal(t, refused, 16)
}

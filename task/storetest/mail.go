package storetest

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"gotest.tools/v3/assert"

	"github.com/oz-platform/cloudagents/task"
)

// mailCases run for stores that implement task.Mailbox.
var mailCases = []testCase{
	{name: "OneCopyEach", run: mailCopies},
	{name: "Marks", run: mailMarks},
	{name: "ListFilters", run: mailLists},
	{name: "AllOrNone", run: mailAllOrNone},
	{name: "Limits", run: mailLimits},
	{name: "WakesBlocked", run: mailWakes},
	{name: "FullMailbox", run: mailFull},
	{name: "Drop", run: mailDrop},
	{name: "SignalOfEachState", run: signalStates},
	{name: "SignalsOfSomeRuns", run: signalPages},
	{name: "SignalsAreNeverMissed", run: signalRace},
	{name: "TrimSignals", run: signalTrim},
	{name: "Reopen", reopens: true, run: mailReopens},
}

// mailbox skips the case for stores without mail.
func (f *fixture) mailbox() task.Mailbox {
	f.Helper()
	m, ok := f.s.(task.Mailbox)
	if !ok {
		f.Skip("the store is no task.Mailbox")
	}
	return m
}

// send sends a letter that must arrive.
func (f *fixture) send(from task.ID, subject string, to ...task.ID) []task.MailID {
	f.Helper()
	ids, err := f.mailbox().SendMail(f.ctx(), task.Letter{From: from, To: to, Subject: subject, Body: "body of " + subject})
	assert.NilError(f, err)
	assert.Equal(f, len(ids), len(to))
	return ids
}

func (f *fixture) mail(id task.MailID) task.Mail {
	f.Helper()
	m, err := f.mailbox().Mail(f.ctx(), id)
	assert.NilError(f, err)
	return m
}

func (f *fixture) mails(q task.MailQuery) []task.Mail {
	f.Helper()
	if q.Limit == 0 {
		q.Limit = 100
	}
	list, err := f.mailbox().Mails(f.ctx(), q)
	assert.NilError(f, err)
	return list
}

// signals reads all signals of runs, in small pages.
func (f *fixture) signals(ids ...task.ID) (all []task.Signal) {
	f.Helper()
	for after := int64(0); ; {
		page, err := f.mailbox().Signals(f.ctx(), task.SignalQuery{Tasks: ids, After: after, Limit: 3})
		assert.NilError(f, err)
		if len(page) == 0 {
			return all
		}
		for _, s := range page {
			assert.Assert(f, s.Seq > after, "%d after %d", s.Seq, after)
			after = s.Seq
			all = append(all, s)
		}
	}
}

func subjects(list []task.Mail) string {
	var out []string
	for _, m := range list {
		out = append(out, m.Subject)
	}
	return strings.Join(out, " ")
}

func types(signals []task.Signal) string {
	var out []string
	for _, s := range signals {
		out = append(out, string(s.Type))
	}
	return strings.Join(out, " ")
}

func mailCopies(f *fixture) {
	f.mailbox()
	from, _ := f.working(nil)
	a, b := f.create(nil), f.create(nil)
	ids := f.send(from.ID, "hello", a.ID, b.ID)
	assert.Assert(f, ids[0] != ids[1])
	for i, to := range []task.ID{a.ID, b.ID} {
		m := f.mail(ids[i])
		assert.Assert(f, !m.SentAt.IsZero())
		assert.DeepEqual(f, m, task.Mail{ID: ids[i], From: from.ID, To: to, Subject: "hello", Body: "body of hello", SentAt: m.SentAt})
		m.Body = ""
		assert.DeepEqual(f, f.mails(task.MailQuery{To: to}), []task.Mail{m})
	}
	assert.Equal(f, len(f.mails(task.MailQuery{To: from.ID})), 0)
	assert.Equal(f, len(f.mails(task.MailQuery{To: newID()})), 0)
	_, err := f.mailbox().Mail(f.ctx(), task.NewMailID())
	assert.ErrorIs(f, err, task.ErrNotFound)
	got := f.signals(b.ID)
	assert.Equal(f, len(got), 1)
	assert.DeepEqual(f, got[0], task.Signal{Seq: got[0].Seq, Type: task.SignalNewMessage, TaskID: b.ID, Ref: string(ids[1]), Time: f.mail(ids[1]).SentAt})
}

func mailMarks(f *fixture) {
	box := f.mailbox()
	to := f.create(nil)
	id := f.send(newID(), "hello", to.ID)[0]
	for _, mark := range []task.Mark{task.MarkDelivered, task.MarkRead} {
		first, err := box.MarkMail(f.ctx(), id, mark)
		assert.NilError(f, err)
		again, err := box.MarkMail(f.ctx(), id, mark)
		assert.NilError(f, err)
		assert.DeepEqual(f, again, first)
		assert.DeepEqual(f, f.mail(id), first)
		assert.Equal(f, first.Body, "body of hello")
		assert.Assert(f, !first.DeliveredAt.IsZero())
		assert.Equal(f, first.ReadAt.IsZero(), mark == task.MarkDelivered)
		_, err = box.MarkMail(f.ctx(), task.NewMailID(), mark)
		assert.ErrorIs(f, err, task.ErrNotFound)
	}
	_, err := box.MarkMail(f.ctx(), id, "lost")
	assert.ErrorIs(f, err, task.ErrInvalid)
}

func mailLists(f *fixture) {
	box := f.mailbox()
	to := f.create(nil)
	var ids []task.MailID
	for i := range 5 {
		ids = append(ids, f.send(newID(), fmt.Sprint(i), to.ID)...)
	}
	_, err := box.MarkMail(f.ctx(), ids[1], task.MarkRead)
	assert.NilError(f, err)
	assert.Equal(f, subjects(f.mails(task.MailQuery{To: to.ID})), "0 1 2 3 4")
	assert.Equal(f, subjects(f.mails(task.MailQuery{To: to.ID, Unread: true})), "0 2 3 4")
	assert.Equal(f, subjects(f.mails(task.MailQuery{To: to.ID, Limit: 2})), "0 1")
	assert.Equal(f, subjects(f.mails(task.MailQuery{To: to.ID, Unread: true, Limit: 2})), "0 2")
	since := f.mail(ids[2]).SentAt
	for _, m := range f.mails(task.MailQuery{To: to.ID, Since: since}) {
		assert.Assert(f, m.SentAt.After(since))
	}
	assert.Equal(f, subjects(f.mails(task.MailQuery{To: to.ID, Since: f.mail(ids[4]).SentAt})), "")
	_, err = box.Mails(f.ctx(), task.MailQuery{To: to.ID})
	assert.ErrorIs(f, err, task.ErrInvalid, "a limit of 0")
}

// mailAllOrNone sends to one who cannot get it, at each place of the list.
func mailAllOrNone(f *fixture) {
	box := f.mailbox()
	good, blocked := f.create(nil), f.ended(1, task.StateBlocked)
	before := f.get(blocked)
	refuse := func(bad task.ID, code task.Code) {
		f.Helper()
		for _, to := range [][]task.ID{{bad}, {bad, good.ID, blocked}, {good.ID, blocked, bad}} {
			_, err := box.SendMail(f.ctx(), task.Letter{From: newID(), To: to, Subject: "s", Body: "b"})
			assert.Equal(f, task.CodeOf(err), code, "%v", err)
		}
		assert.Equal(f, len(f.mails(task.MailQuery{To: good.ID})), 0)
		assert.Equal(f, len(f.signals(good.ID)), 0)
		assert.DeepEqual(f, f.get(blocked), before)
	}
	refuse(newID(), task.CodeNotFound)
	for _, s := range []task.State{task.StateSucceeded, task.StateFailed, task.StateError, task.StateCancelled} {
		refuse(f.ended(1, s), task.CodeOperationNotSupported)
	}
}

func mailLimits(f *fixture) {
	box := f.mailbox()
	to := f.create(nil)
	full := task.Letter{From: newID(), To: []task.ID{to.ID}, Subject: strings.Repeat("ü", task.MaxSubject), Body: strings.Repeat("x", task.MaxBodyBytes)}
	ids, err := box.SendMail(f.ctx(), full)
	assert.NilError(f, err)
	assert.Equal(f, f.mail(ids[0]).Body, full.Body)
	assert.Equal(f, f.mail(ids[0]).Subject, full.Subject)
	for field, change := range map[string]func(*task.Letter){
		"subject":       func(l *task.Letter) { l.Subject += "x" },
		"body":          func(l *task.Letter) { l.Body += "x" },
		"to":            func(l *task.Letter) { l.To = nil },
		"sender_run_id": func(l *task.Letter) { l.From = "" },
	} {
		l := full
		change(&l)
		_, err := box.SendMail(f.ctx(), l)
		assert.ErrorIs(f, err, task.ErrInvalid)
		assert.ErrorContains(f, err, field+":")
	}
	assert.Equal(f, len(f.mails(task.MailQuery{To: to.ID})), 1)
}

func mailWakes(f *fixture) {
	f.mailbox()
	id := f.ended(1, task.StateBlocked)
	local := f.create(func(c *task.Creation) { c.Where = task.LocationLocal })
	x := task.NewExecutionID()
	f.do(local.ID, offer(x), task.Begin{Execution: x})
	f.finish(local.ID, x, task.StateBlocked)
	from := newID()
	ids := f.send(from, "hello", id, local.ID)
	woken := f.get(id)
	assert.Equal(f, woken.State, task.StateQueued)
	log := f.events(id)
	var said *task.Input
	for _, e := range log {
		if in, ok := e.Payload.(*task.Input); ok {
			said = in
		}
	}
	assert.Equal(f, said.Text, "Message from run "+string(from)+"\nSubject: hello\n\nbody of hello")
	assert.Equal(f, said.From.UID, string(from))
	assert.Assert(f, !f.mail(ids[0]).DeliveredAt.IsZero())
	assert.Assert(f, f.mail(ids[0]).ReadAt.IsZero())
	assert.Equal(f, f.get(local.ID).State, task.StateBlocked, "nobody can wake it")
	assert.Assert(f, f.mail(ids[1]).DeliveredAt.IsZero())
}

func mailFull(f *fixture) {
	box := f.mailbox()
	to := f.create(nil)
	l := task.Letter{From: newID(), To: []task.ID{to.ID}, Subject: "s", Body: "b"}
	var all sync.WaitGroup
	for range 20 {
		all.Go(func() {
			for range task.MaxUnread / 20 {
				_, err := box.SendMail(f.ctx(), l)
				assert.Check(f, err)
			}
		})
	}
	all.Wait()
	_, err := box.SendMail(f.ctx(), l)
	assert.Equal(f, task.CodeOf(err), task.CodeResourceUnavailable, "%v", err)
	first := f.mails(task.MailQuery{To: to.ID, Limit: 1})[0]
	_, err = box.MarkMail(f.ctx(), first.ID, task.MarkRead)
	assert.NilError(f, err)
	f.send(l.From, "again", to.ID)
}

func mailDrop(f *fixture) {
	box := f.mailbox()
	a, b := f.create(nil), f.create(nil)
	both := f.send(newID(), "both", a.ID, b.ID)
	f.send(newID(), "one", a.ID)
	assert.NilError(f, box.DropMail(f.ctx(), a.ID))
	assert.NilError(f, box.DropMail(f.ctx(), a.ID))
	assert.Equal(f, len(f.mails(task.MailQuery{To: a.ID})), 0)
	assert.Equal(f, f.mail(both[1]).Body, "body of both", "the other copy stays")
	assert.ErrorIs(f, box.DropMail(f.ctx(), newID()), task.ErrNotFound)
}

// signalStates takes runs through each state that has a signal.
func signalStates(f *fixture) {
	box := f.mailbox()
	for state, typ := range map[task.State]task.SignalType{
		task.StateSucceeded: task.SignalSucceeded, task.StateFailed: task.SignalFailed, task.StateError: task.SignalErrored,
		task.StateBlocked: task.SignalBlocked, task.StateCancelled: task.SignalCancelled,
	} {
		t, x := f.working(nil)
		f.do(t.ID, task.End{Execution: x, State: state, SeenInput: t.LastInput, Ref: "why"})
		got := f.signals(t.ID)
		assert.Equal(f, types(got), "run_in_progress "+string(typ))
		assert.DeepEqual(f, got[1], task.Signal{Seq: got[1].Seq, Type: typ, TaskID: t.ID, Execution: x, Ref: "why", Time: f.get(t.ID).UpdatedAt})
		found, err := box.FindSignal(f.ctx(), t.ID, x, typ)
		assert.NilError(f, err)
		assert.DeepEqual(f, found, got[1])
		_, err = box.FindSignal(f.ctx(), t.ID, task.NewExecutionID(), typ)
		assert.ErrorIs(f, err, task.ErrNotFound)
	}
	t := f.create(nil)
	assert.Equal(f, len(f.signals(t.ID)), 0, "nothing has happened")
	f.do(t.ID, task.Cancel{})
	assert.Equal(f, types(f.signals(t.ID)), "run_cancelled")
}

// signalPages reads some runs among others, also of executions that a creation
// brings with it.
func signalPages(f *fixture) {
	box := f.mailbox()
	x := task.NewExecutionID()
	made := f.create(func(c *task.Creation) { c.Commands = []task.Command{offer(x), task.Begin{Execution: x}} })
	var ids []task.ID
	for range 4 {
		ids = append(ids, f.ended(1, task.StateSucceeded))
	}
	assert.Equal(f, types(f.signals(made.ID)), "run_in_progress")
	assert.Equal(f, len(f.signals(ids...)), 8)
	some := f.signals(ids[2], ids[0], newID(), ids[2])
	assert.Equal(f, len(some), 4)
	assert.Equal(f, some[0].TaskID, ids[0], "in the order of the sequence, not of the query")
	assert.Equal(f, some[3].TaskID, ids[2])
	for _, q := range []task.SignalQuery{{Tasks: ids}, {Tasks: ids, After: -1, Limit: 1}} {
		_, err := box.Signals(f.ctx(), q)
		assert.ErrorIs(f, err, task.ErrInvalid)
	}
	none, err := box.Signals(f.ctx(), task.SignalQuery{Limit: 1})
	assert.NilError(f, err)
	assert.Equal(f, len(none), 0)
}

// signalRace has senders write to a parent and end, while a reader follows: it
// gets every signal, in order, and each end behind the sender's message.
func signalRace(f *fixture) {
	box := f.mailbox()
	const senders = 24
	parent := f.create(nil)
	watched := []task.ID{parent.ID}
	execs := map[task.ID]task.ExecutionID{}
	for range senders {
		t, x := f.working(nil)
		watched, execs[t.ID] = append(watched, t.ID), x
	}
	ctx, cancel := context.WithTimeout(f.ctx(), patience)
	defer cancel()
	var all sync.WaitGroup
	for _, id := range watched[1:] {
		all.Go(func() {
			_, err := box.SendMail(ctx, task.Letter{From: id, To: []task.ID{parent.ID}, Subject: string(id), Body: "the result"})
			assert.Check(f, err)
			_, err = f.s.Do(ctx, id, task.End{Execution: execs[id], State: task.StateSucceeded, SeenInput: 1000})
			assert.Check(f, err)
		})
	}
	defer all.Wait()
	told := map[task.ID]bool{}
	ended := 0
	for after := int64(0); ended < senders; {
		page, err := box.Signals(ctx, task.SignalQuery{Tasks: watched, After: after, Limit: 7})
		assert.NilError(f, err)
		for _, s := range page {
			assert.Assert(f, s.Seq > after)
			after = s.Seq
			switch s.Type {
			case task.SignalNewMessage:
				told[f.mail(task.MailID(s.Ref)).From] = true
			case task.SignalSucceeded:
				assert.Assert(f, told[s.TaskID], "the end came before the message")
				ended++
			}
		}
	}
	assert.Equal(f, len(told), senders)
}

func signalTrim(f *fixture) {
	box := f.mailbox()
	var ids []task.ID
	for range 3 {
		ids = append(ids, f.ended(1, task.StateSucceeded))
	}
	all := f.signals(ids...)
	assert.Equal(f, len(all), 6)
	done, err := box.TrimSignals(f.ctx(), all[0].Time, 10)
	assert.NilError(f, err)
	assert.Assert(f, done)
	assert.Equal(f, len(f.signals(ids...)), 6, "none is older")

	later := all[5].Time.Add(time.Hour)
	done, err = box.TrimSignals(f.ctx(), later, 2)
	assert.NilError(f, err)
	assert.Assert(f, !done)
	assert.DeepEqual(f, f.signals(ids...), all[2:])
	for !done {
		done, err = box.TrimSignals(f.ctx(), later, 2)
		assert.NilError(f, err)
	}
	assert.DeepEqual(f, f.signals(ids...), all[5:]) // the newest keeps the sequence
	t, _ := f.working(nil)
	assert.Assert(f, f.signals(t.ID)[0].Seq > all[5].Seq)
	_, err = box.TrimSignals(f.ctx(), later, 0)
	assert.ErrorIs(f, err, task.ErrInvalid)
}

func mailReopens(f *fixture) {
	f.mailbox()
	t, _ := f.working(nil)
	id := f.send(t.ID, "hello", t.ID)[0]
	before, signals := f.mail(id), f.signals(t.ID)
	f.reopen()
	assert.DeepEqual(f, f.mail(id), before)
	assert.DeepEqual(f, f.signals(t.ID), signals)
	f.send(t.ID, "more", t.ID)
	assert.Assert(f, f.signals(t.ID)[2].Seq > signals[1].Seq)
}

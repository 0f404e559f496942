package storetest

import (
	"fmt"
	"sync"
	"time"

	"gotest.tools/v3/assert"

	"github.com/oz-platform/cloudagents/task"
)

var dispatchCases = []testCase{
	{name: "WaitingOrder", run: waitingOrder},
	{name: "WaitingFields", run: waitingFields},
	{name: "WaitingComesAndGoes", run: waitingComesAndGoes},
	{name: "Live", run: live},
	{name: "SubscribeRun", run: subscribeRun},
	{name: "SubscribeDispatcher", run: subscribeDispatcher},
	{name: "SubscribeCancel", run: subscribeCancel},
	{name: "NoSignalIsLost", run: noSignalLost},
	{name: "NoWakeUpOfTheDispatcherIsLost", run: noDispatchLost},
}

func (f *fixture) waiting(now time.Time, limit int) (ids []task.ID) {
	f.Helper()
	got, err := f.s.Waiting(f.ctx(), now, limit)
	assert.NilError(f, err)
	for _, w := range got {
		ids = append(ids, w.ID)
	}
	return ids
}

func waitingOrder(f *fixture) {
	var ids []task.ID
	for _, after := range []time.Duration{3, 1, 2, 0} {
		ids = append(ids, f.create(func(c *task.Creation) { c.Now = start.Add(after) }).ID)
	}
	f.create(func(c *task.Creation) { c.Where = task.LocationLocal })
	f.create(func(c *task.Creation) { c.Now = start.Add(time.Hour) })
	now := start.Add(3)
	assert.DeepEqual(f, f.waiting(now, 100), []task.ID{ids[3], ids[1], ids[2], ids[0]})
	assert.DeepEqual(f, f.waiting(now, 2), []task.ID{ids[3], ids[1]})
	assert.DeepEqual(f, f.waiting(start.Add(1), 100), []task.ID{ids[3], ids[1]})
	assert.Equal(f, len(f.waiting(start.Add(-1), 100)), 0)
}

func waitingFields(f *fixture) {
	t := f.create(func(c *task.Creation) {
		c.Spec.Config.WorkerHost, c.Spec.Owner = "host", task.Scope{Type: task.ScopeUser, UID: "a:b"}
	})
	ask := func() task.Waiting {
		f.Helper()
		got, err := f.s.Waiting(f.ctx(), start.Add(time.Hour), 10)
		assert.NilError(f, err)
		assert.Equal(f, len(got), 1)
		return got[0]
	}
	want := task.Waiting{ID: t.ID, WorkerHost: "host", Owner: task.Scope{Type: task.ScopeUser, UID: "a:b"}, ReadyAt: start, CreatedAt: start}
	assert.DeepEqual(f, ask(), want)
	at := start.Add(time.Minute + 1)
	f.do(t.ID, offer("x"), task.Begin{Execution: "x"}, task.Release{Execution: "x", ReadyAt: at})
	want.ReadyAt, want.LastWorker = at, "worker"
	assert.DeepEqual(f, ask(), want)
	f.do(t.ID, task.Offer{Execution: "y", Worker: "second"}, task.Begin{Execution: "y"})
	f.finish(t.ID, "y", task.StateSucceeded)
	f.do(t.ID, task.AddInput{Input: task.Input{Text: "go on"}})
	want.ReadyAt, want.LastWorker = f.get(t.ID).ReadyAt, "second"
	got, err := f.s.Waiting(f.ctx(), want.ReadyAt, 10)
	assert.NilError(f, err)
	assert.DeepEqual(f, got, []task.Waiting{want})
}

func waitingComesAndGoes(f *fixture) {
	id := f.create(nil).ID
	later := time.Now().Add(time.Hour)
	waits := func(want bool) {
		f.Helper()
		assert.Equal(f, len(f.waiting(later, 10)) == 1, want)
	}
	waits(true)
	f.do(id, offer("x"))
	waits(false)
	f.do(id, task.Release{Execution: "x", ReadyAt: start})
	waits(true)
	f.do(id, offer("y"), task.Begin{Execution: "y"})
	waits(false)
	f.do(id, task.Release{Execution: "y", ReadyAt: start}) // INPROGRESS, and waiting
	waits(true)
	f.do(id, task.AddInput{Input: task.Input{Text: "hi"}})
	waits(true)
	f.do(id, task.Cancel{})
	waits(false)
	f.do(id, task.AddInput{})
	waits(true)
}

func live(f *fixture) {
	check := func(want ...task.ExecutionID) {
		f.Helper()
		all, err := f.s.Live(f.ctx())
		assert.NilError(f, err)
		got := []task.ExecutionID{}
		for _, x := range all {
			got = append(got, x.ID)
			one, err := f.s.Execution(f.ctx(), x.ID)
			assert.NilError(f, err)
			assert.DeepEqual(f, x, one)
		}
		assert.DeepEqual(f, sorted(got), append([]task.ExecutionID{}, want...))
	}
	check()
	a, b := f.create(nil).ID, f.create(nil).ID
	f.do(a, offer("x1"))
	f.do(b, offer("x2"), task.Accept{Execution: "x2"}, task.Begin{Execution: "x2"}, task.Renew{Execution: "x2", Until: start.Add(time.Hour)})
	check("x1", "x2")
	f.do(a, task.Release{Execution: "x1", ReadyAt: start}, offer("x3"))
	check("x2", "x3")
	f.do(b, task.Cancel{})
	check("x3")
	if !f.h.Volatile {
		f.reopen()
		check("x3")
	}
}

func subscribeRun(f *fixture) {
	t, x := f.working(nil)
	other := f.create(nil).ID
	changed, cancel := f.s.Subscribe(t.ID)
	defer cancel()
	second, cancelSecond := f.s.Subscribe(t.ID)
	defer cancelSecond()
	for _, c := range []task.Command{task.Append{Execution: x, Events: messages("a")}, task.AddInput{Input: task.Input{Text: "b"}}, task.Cancel{}} {
		f.do(t.ID, c)
		f.signalled(changed)
		f.signalled(second)
	}
	f.do(other, task.AddInput{Input: task.Input{Text: "not for us"}})
	_, err := f.s.Do(f.ctx(), t.ID, task.Append{Execution: x, Events: messages("stale")})
	assert.ErrorIs(f, err, task.ErrFenced)
	f.silent(changed)

	early := creation(nil)
	before, cancelBefore := f.s.Subscribe(early.ID)
	defer cancelBefore()
	_, _, err = f.s.Create(f.ctx(), early)
	assert.NilError(f, err)
	f.signalled(before)
}

func subscribeDispatcher(f *fixture) {
	changed, cancel := f.s.Subscribe("")
	defer cancel()
	id := f.create(nil).ID
	f.signalled(changed)
	f.create(func(c *task.Creation) { c.Where = task.LocationLocal })
	f.silent(changed)
	f.do(id, offer("x"), task.Accept{Execution: "x"}, task.Begin{Execution: "x"}, task.Append{Execution: "x", Events: messages("a")}, task.Renew{Execution: "x", Until: start})
	f.silent(changed)
	f.do(id, task.Release{Execution: "x", ReadyAt: start})
	f.signalled(changed)
	f.do(id, offer("y"), task.Begin{Execution: "y"})
	f.silent(changed)
	f.finish(id, "y", task.StateSucceeded) // freed an execution
	f.signalled(changed)
	f.do(id, task.AddInput{Input: task.Input{Text: "again"}})
	f.signalled(changed)
}

func subscribeCancel(f *fixture) {
	id := f.create(nil).ID
	changed, cancel := f.s.Subscribe(id)
	cancel()
	cancel()
	f.do(id, task.AddInput{Input: task.Input{Text: "a"}})
	f.silent(changed)
	changed, cancel = f.s.Subscribe(id)
	defer cancel()
	for range 10 { // nobody reads, and nobody waits for that
		f.do(id, task.AddInput{Input: task.Input{Text: "a"}})
	}
	f.signalled(changed)
}

// noSignalLost has readers follow a log as the platform does: subscribe, read
// what is there, wait.
func noSignalLost(f *fixture) {
	const readers, events = 8, 200
	t, x := f.working(nil)
	var all sync.WaitGroup
	for range readers {
		all.Go(func() { f.follow(t.ID, t.LastSeq, events) })
	}
	all.Go(func() {
		for i := range events {
			_, err := f.s.Do(f.ctx(), t.ID, task.Append{Execution: x, Offset: int64(i), Events: messages(fmt.Sprint(i))})
			assert.Check(f, err)
		}
	})
	all.Wait()
}

func (f *fixture) follow(id task.ID, after int64, events int) {
	changed, cancel := f.s.Subscribe(id)
	defer cancel()
	deadline := time.After(patience)
	for next := 0; next < events; {
		page, err := f.s.Events(f.ctx(), id, after, 7)
		if !assert.Check(f, err) {
			return
		}
		for _, e := range page {
			assert.Check(f, e.Payload.(*task.Message).Text == fmt.Sprint(next))
			after, next = e.Seq, next+1
		}
		if len(page) > 0 {
			continue
		}
		select {
		case <-changed:
		case <-deadline:
			f.Errorf("a reader waits for event %d and nobody wakes it", next)
			return
		}
	}
}

// noDispatchLost has a dispatcher place runs as they come.
func noDispatchLost(f *fixture) {
	const creators, each = 4, 30
	var all sync.WaitGroup
	all.Go(func() {
		changed, cancel := f.s.Subscribe("")
		defer cancel()
		deadline := time.After(patience)
		for placed := 0; placed < creators*each; {
			got, err := f.s.Waiting(f.ctx(), time.Now(), 10)
			if !assert.Check(f, err) {
				return
			}
			for _, w := range got {
				_, err := f.s.Do(f.ctx(), w.ID, offer(task.NewExecutionID()))
				assert.Check(f, err)
				placed++
			}
			if len(got) > 0 {
				continue
			}
			select {
			case <-changed:
			case <-deadline:
				f.Errorf("%d of %d runs were placed and nobody wakes the dispatcher", placed, creators*each)
				return
			}
		}
	})
	for range creators {
		all.Go(func() {
			for range each {
				_, _, err := f.s.Create(f.ctx(), creation(nil))
				assert.Check(f, err)
			}
		})
	}
	all.Wait()
}

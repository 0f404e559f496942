package storetest

import (
	"fmt"
	"strings"
	"sync"
	"time"

	"gotest.tools/v3/assert"

	"github.com/oz-platform/cloudagents/task"
)

// outboxCases run for stores that implement task.Outbox.
var outboxCases = []testCase{
	{name: "AddTakeSettle", run: outboxWalk},
	{name: "KeysAreOnce", run: outboxKeys},
	{name: "LanesKeepTheirOrder", run: outboxLanes},
	{name: "ReplayInALane", run: outboxReplayLane},
	{name: "OneHolder", run: outboxRace},
	{name: "LostHolder", run: outboxLease},
	{name: "RetryAndReplay", run: outboxRetry},
	{name: "List", run: outboxList},
	{name: "Trim", run: outboxTrim},
	{name: "BadInput", run: outboxBad},
	{name: "Feed", run: outboxFeed},
	{name: "Subscribe", run: outboxSubscribe},
	{name: "Reopen", reopens: true, run: outboxReopens},
}

func (f *fixture) outbox() task.Outbox {
	f.Helper()
	out, ok := f.s.(task.Outbox)
	if !ok {
		f.Skip("the store is no task.Outbox")
	}
	return out
}

// outboxSubscribe: whoever sends, hears and decides is woken by what concerns
// it, and by nothing else.
func outboxSubscribe(f *fixture) {
	out := f.outbox()
	signals, cancelSignals := f.s.Subscribe(task.NewSignals)
	defer cancelSignals()
	added, cancelAdded := f.s.Subscribe(task.NewOutgoing)
	defer cancelAdded()
	o := outgoing("first", nil)
	f.addOutgoing(o)
	f.signalled(added)
	taken := f.takeOutgoing("me", start, 1)
	assert.NilError(f, out.SettleOutgoing(f.ctx(), taken[0].ID, "me", task.Settlement{State: task.OutgoingDead}))
	f.silent(added)
	assert.NilError(f, out.ReplayOutgoing(f.ctx(), taken[0].ID, start))
	f.signalled(added)
	f.silent(signals)
	id, x := f.working(nil)
	f.signalled(signals) // it has begun
	f.do(id.ID, task.Append{Execution: x, Events: messages("a")})
	f.silent(signals)
	f.finish(id.ID, x, task.StateSucceeded)
	f.signalled(signals)
	f.silent(added)
	if _, ok := f.s.(task.Inbox); !ok {
		return
	}
	arrived, cancelArrived := f.s.Subscribe(task.NewDeliveries)
	defer cancelArrived()
	f.receive(arrival("key", nil))
	f.signalled(arrived)
	f.receive(arrival("key", nil)) // a repeat
	f.silent(arrived)
}

// outgoing is a plain one, in no lane.
func outgoing(key string, change func(*task.Outgoing)) task.Outgoing {
	o := task.Outgoing{ID: task.NewOutgoingID(), Key: key, Kind: "webhook", Source: "subscription/one", Owner: task.Scope{Type: task.ScopeTeam, UID: "team"},
		TaskID: "run", Body: []byte("\x00{}\xff"), CreatedAt: start, ReadyAt: start, State: task.OutgoingWaiting}
	if change != nil {
		change(&o)
	}
	return o
}

func (f *fixture) addOutgoing(list ...task.Outgoing) {
	f.Helper()
	assert.NilError(f, f.outbox().AddOutgoing(f.ctx(), list...))
}

func (f *fixture) takeOutgoing(holder string, now time.Time, limit int) []task.Outgoing {
	f.Helper()
	list, err := f.outbox().TakeOutgoing(f.ctx(), holder, now, now.Add(time.Minute), limit)
	assert.NilError(f, err)
	return list
}

func (f *fixture) settle(id task.OutgoingID, holder string, s task.Settlement) {
	f.Helper()
	assert.NilError(f, f.outbox().SettleOutgoing(f.ctx(), id, holder, s))
}

func (f *fixture) outgoing(id task.OutgoingID) task.Outgoing {
	f.Helper()
	o, err := f.outbox().Outgoing(f.ctx(), id)
	assert.NilError(f, err)
	return o
}

func keysOf(list []task.Outgoing) (keys []string) {
	for _, o := range list {
		keys = append(keys, o.Key)
	}
	return keys
}

func outboxWalk(f *fixture) {
	next, err := f.outbox().NextOutgoing(f.ctx())
	assert.NilError(f, err)
	assert.Assert(f, next.IsZero())
	o := outgoing("a", nil)
	f.addOutgoing(o)
	next, err = f.outbox().NextOutgoing(f.ctx())
	assert.NilError(f, err)
	assert.Assert(f, next.Equal(start))
	assert.DeepEqual(f, f.outgoing(o.ID), o)
	assert.Equal(f, len(f.takeOutgoing("me", start.Add(-time.Second), 10)), 0, "not due yet")
	o.Attempts = 1
	assert.DeepEqual(f, f.takeOutgoing("me", start, 10), []task.Outgoing{o})
	f.settle(o.ID, "me", task.Settlement{State: task.OutgoingSent, Result: []byte(`{"id":7}`)})
	got := f.outgoing(o.ID)
	assert.Equal(f, got.State, task.OutgoingSent)
	assert.Equal(f, string(got.Result), `{"id":7}`)
	assert.Assert(f, !got.SettledAt.IsZero())
	assert.Equal(f, len(f.takeOutgoing("me", start.Add(time.Hour), 10)), 0)
}

func outboxKeys(f *fixture) {
	first := outgoing("a", nil)
	f.addOutgoing(first)
	f.addOutgoing(outgoing("a", nil), outgoing("b", nil))
	assert.DeepEqual(f, keysOf(f.takeOutgoing("me", start, 10)), []string{"a", "b"})
	assert.Equal(f, f.outgoing(first.ID).Attempts, 1)
}

func outboxLanes(f *fixture) {
	lane := func(name string) func(*task.Outgoing) { return func(o *task.Outgoing) { o.Lane = name } }
	f.addOutgoing(outgoing("a1", lane("a")), outgoing("a2", lane("a")), outgoing("b1", lane("b")), outgoing("a3", lane("a")))
	got := f.takeOutgoing("me", start, 10)
	assert.DeepEqual(f, keysOf(got), []string{"a1", "b1"})
	assert.Equal(f, len(f.takeOutgoing("me", start, 10)), 0)
	// A later attempt blocks its lane; a dead one does not.
	f.settle(got[0].ID, "me", task.Settlement{State: task.OutgoingWaiting, ReadyAt: start.Add(time.Hour), Reason: "away"})
	assert.Equal(f, len(f.takeOutgoing("me", start, 10)), 0)
	got = f.takeOutgoing("me", start.Add(2*time.Hour), 1)
	assert.DeepEqual(f, keysOf(got), []string{"b1"}) // its lease ran out, and it is ready the longest
	got = f.takeOutgoing("me", start.Add(2*time.Hour), 10)
	assert.DeepEqual(f, keysOf(got), []string{"a1"})
	f.settle(got[0].ID, "me", task.Settlement{State: task.OutgoingDead, Reason: "gone"})
	assert.DeepEqual(f, keysOf(f.takeOutgoing("me", start.Add(2*time.Hour), 10)), []string{"a2"})
}

// outboxReplayLane takes one back to its old place, before others that wait and
// beside one that is being sent.
func outboxReplayLane(f *fixture) {
	var list []task.Outgoing
	for _, key := range []string{"a", "b", "c"} {
		list = append(list, outgoing(key, func(o *task.Outgoing) { o.Lane = "one" }))
	}
	f.addOutgoing(list...)
	f.settle(f.takeOutgoing("me", start, 10)[0].ID, "me", task.Settlement{State: task.OutgoingDead})
	assert.DeepEqual(f, keysOf(f.takeOutgoing("me", start, 10)), []string{"b"})
	assert.NilError(f, f.outbox().ReplayOutgoing(f.ctx(), list[0].ID, start))
	f.settle(list[1].ID, "me", task.Settlement{State: task.OutgoingSent})
	assert.DeepEqual(f, keysOf(f.takeOutgoing("me", start, 10)), []string{"a"})
	f.settle(list[0].ID, "me", task.Settlement{State: task.OutgoingSent})
	assert.DeepEqual(f, keysOf(f.takeOutgoing("me", start, 10)), []string{"c"})
	f.settle(list[2].ID, "me", task.Settlement{State: task.OutgoingSent})
	assert.NilError(f, f.outbox().ReplayOutgoing(f.ctx(), list[1].ID, start))
	assert.DeepEqual(f, keysOf(f.takeOutgoing("me", start, 10)), []string{"b"})
}

func outboxRace(f *fixture) {
	const n = 40
	for i := range n {
		f.addOutgoing(outgoing(fmt.Sprint(i), func(o *task.Outgoing) {
			if i%2 == 0 {
				o.Lane = fmt.Sprint("lane ", i%8)
			}
		}))
	}
	out := f.outbox()
	var mu sync.Mutex
	seen := map[string]int{}
	var wg sync.WaitGroup
	for worker := range 4 {
		wg.Go(func() {
			holder := fmt.Sprint("holder ", worker)
			for idle := 0; idle < 20; {
				list, err := out.TakeOutgoing(f.ctx(), holder, start, start.Add(time.Hour), 3)
				if !assert.Check(f, err) {
					return
				}
				if len(list) == 0 {
					idle++
					time.Sleep(time.Millisecond)
				}
				for _, o := range list {
					mu.Lock()
					seen[o.Key]++
					mu.Unlock()
					assert.Check(f, out.SettleOutgoing(f.ctx(), o.ID, holder, task.Settlement{State: task.OutgoingSent}))
					idle = 0
				}
			}
		})
	}
	wg.Wait()
	assert.Equal(f, len(seen), n)
	for k, times := range seen {
		assert.Equal(f, times, 1, k)
	}
}

func outboxLease(f *fixture) {
	o := outgoing("a", nil)
	f.addOutgoing(o)
	f.takeOutgoing("one", start, 1)
	assert.Equal(f, len(f.takeOutgoing("two", start.Add(time.Second), 1)), 0)
	next, err := f.outbox().NextOutgoing(f.ctx())
	assert.NilError(f, err)
	assert.Assert(f, next.Equal(start.Add(time.Minute)))
	assert.Equal(f, len(f.takeOutgoing("two", start.Add(time.Minute), 1)), 1)
	err = f.outbox().SettleOutgoing(f.ctx(), o.ID, "one", task.Settlement{State: task.OutgoingSent})
	assert.ErrorIs(f, err, task.ErrFenced)
	f.settle(o.ID, "two", task.Settlement{State: task.OutgoingSent})
	err = f.outbox().SettleOutgoing(f.ctx(), o.ID, "two", task.Settlement{State: task.OutgoingDead})
	assert.ErrorIs(f, err, task.ErrFenced)
	assert.Equal(f, f.outgoing(o.ID).Attempts, 2)
}

func outboxRetry(f *fixture) {
	o := outgoing("a", nil)
	f.addOutgoing(o)
	f.takeOutgoing("me", start, 1)
	f.settle(o.ID, "me", task.Settlement{State: task.OutgoingWaiting, ReadyAt: start.Add(time.Hour), Reason: "503"})
	got := f.outgoing(o.ID)
	assert.Equal(f, got.Reason, "503")
	assert.Assert(f, got.ReadyAt.Equal(start.Add(time.Hour)))
	assert.NilError(f, f.outbox().ReplayOutgoing(f.ctx(), o.ID, start))
	assert.Assert(f, f.outgoing(o.ID).ReadyAt.Equal(start.Add(time.Hour)), "a waiting one keeps its time")
	f.takeOutgoing("me", start.Add(time.Hour), 1)
	f.settle(o.ID, "me", task.Settlement{State: task.OutgoingDead, Reason: "given up"})
	assert.NilError(f, f.outbox().ReplayOutgoing(f.ctx(), o.ID, start))
	assert.Equal(f, f.outgoing(o.ID).Attempts, 0)
	assert.Equal(f, len(f.takeOutgoing("me", start, 1)), 1)
	assert.ErrorIs(f, f.outbox().ReplayOutgoing(f.ctx(), "nothing", start), task.ErrNotFound)
}

func outboxList(f *fixture) {
	for i := range 6 {
		f.addOutgoing(outgoing(fmt.Sprint(i), func(o *task.Outgoing) {
			o.TaskID = task.ID(fmt.Sprint("run ", i%2))
			if i == 5 {
				o.Source = "subscription/other"
			}
		}))
	}
	got := f.takeOutgoing("me", start, 1)
	f.settle(got[0].ID, "me", task.Settlement{State: task.OutgoingSent})
	list := func(q task.OutgoingQuery) []string {
		f.Helper()
		page, err := f.outbox().Outgoings(f.ctx(), q)
		assert.NilError(f, err)
		for _, o := range page {
			assert.Equal(f, len(o.Body), 0)
		}
		return keysOf(page)
	}
	assert.DeepEqual(f, list(task.OutgoingQuery{Source: "subscription/one", Limit: 10}), []string{"4", "3", "2", "1", "0"})
	assert.DeepEqual(f, list(task.OutgoingQuery{TaskID: "run 1", Limit: 10}), []string{"5", "3", "1"})
	assert.DeepEqual(f, list(task.OutgoingQuery{Source: "subscription/one", TaskID: "run 1", Limit: 1}), []string{"3"})
	assert.DeepEqual(f, list(task.OutgoingQuery{Source: "subscription/one", States: []task.OutgoingState{task.OutgoingSent}, Limit: 10}), []string{"0"})
	page, err := f.outbox().Outgoings(f.ctx(), task.OutgoingQuery{Source: "subscription/one", Limit: 2})
	assert.NilError(f, err)
	assert.DeepEqual(f, list(task.OutgoingQuery{Source: "subscription/one", Before: page[1].ID, Limit: 2}), []string{"2", "1"})
}

func outboxTrim(f *fixture) {
	for i := range 3 {
		f.addOutgoing(outgoing(fmt.Sprint(i), nil))
	}
	got := f.takeOutgoing("me", start, 2)
	for _, o := range got {
		f.settle(o.ID, "me", task.Settlement{State: task.OutgoingSent})
	}
	at := f.outgoing(got[1].ID).SettledAt
	done, err := f.outbox().TrimOutgoing(f.ctx(), at.Add(-time.Hour), 10)
	assert.NilError(f, err)
	assert.Assert(f, done)
	done, err = f.outbox().TrimOutgoing(f.ctx(), at.Add(time.Hour), 1)
	assert.NilError(f, err)
	assert.Assert(f, !done)
	done, err = f.outbox().TrimOutgoing(f.ctx(), at.Add(time.Hour), 1)
	assert.NilError(f, err)
	assert.Assert(f, done)
	page, err := f.outbox().Outgoings(f.ctx(), task.OutgoingQuery{TaskID: "run", Limit: 10})
	assert.NilError(f, err)
	assert.DeepEqual(f, keysOf(page), []string{"2"})
}

func outboxBad(f *fixture) {
	for name, change := range map[string]func(*task.Outgoing){
		"id":         func(o *task.Outgoing) { o.ID = "" },
		"key":        func(o *task.Outgoing) { o.Key = strings.Repeat("k", task.MaxOutgoingKey+1) },
		"lane":       func(o *task.Outgoing) { o.Lane = strings.Repeat("l", task.MaxOutgoingLane+1) },
		"kind":       func(o *task.Outgoing) { o.Kind = "" },
		"source":     func(o *task.Outgoing) { o.Source = "" },
		"body":       func(o *task.Outgoing) { o.Body = make([]byte, task.MaxOutgoingBody+1) },
		"created_at": func(o *task.Outgoing) { o.CreatedAt = time.Time{} },
	} {
		err := f.outbox().AddOutgoing(f.ctx(), outgoing("good", nil), outgoing("bad", change))
		assert.ErrorContains(f, err, name)
		assert.ErrorIs(f, err, task.ErrInvalid)
	}
	assert.Equal(f, len(f.takeOutgoing("me", start, 10)), 0, "all or none")
	_, err := f.outbox().Outgoings(f.ctx(), task.OutgoingQuery{Limit: 1})
	assert.ErrorIs(f, err, task.ErrInvalid)
	_, err = f.outbox().Outgoing(f.ctx(), "nothing")
	assert.ErrorIs(f, err, task.ErrNotFound)
	assert.ErrorIs(f, f.outbox().SettleOutgoing(f.ctx(), "nothing", "me", task.Settlement{State: task.OutgoingSent}), task.ErrNotFound)
}

func outboxFeed(f *fixture) {
	f.mailbox()
	a, b := f.create(nil), f.create(nil)
	for _, id := range []task.ID{a.ID, b.ID} {
		_, err := f.s.Do(f.ctx(), id, task.Cancel{Reason: "done"})
		assert.NilError(f, err)
	}
	var seen []task.ID
	for after := int64(0); ; {
		page, err := f.outbox().Feed(f.ctx(), after, 1)
		assert.NilError(f, err)
		if len(page) == 0 {
			break
		}
		assert.Assert(f, page[0].Seq > after)
		assert.Equal(f, page[0].Type, task.SignalCancelled)
		after, seen = page[0].Seq, append(seen, page[0].TaskID)
	}
	assert.DeepEqual(f, seen, []task.ID{a.ID, b.ID})
}

func outboxReopens(f *fixture) {
	o := outgoing("a", nil)
	f.addOutgoing(o)
	f.takeOutgoing("me", start, 1)
	f.reopen()
	assert.Equal(f, len(f.takeOutgoing("me", start, 1)), 0)
	assert.Equal(f, len(f.takeOutgoing("me", start.Add(time.Minute), 1)), 1)
}

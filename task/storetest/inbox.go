package storetest

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"gotest.tools/v3/assert"

	"github.com/oz-platform/cloudagents/task"
)

// inboxCases run for stores that implement task.Inbox.
var inboxCases = []testCase{
	{name: "Receive", run: inboxReceive},
	{name: "OneOfEachKey", run: inboxRace},
	{name: "FirstVerdictStays", run: inboxDecide},
	{name: "Review", run: inboxReview},
	{name: "OneReviewStays", run: inboxReviewRace},
	{name: "PutOff", run: inboxPutOff},
	{name: "List", run: inboxList},
	{name: "Trim", run: inboxTrim},
	{name: "BadInput", run: inboxBad},
	{name: "Reopen", reopens: true, run: inboxReopens},
}

func (f *fixture) inbox() task.Inbox {
	f.Helper()
	in, ok := f.s.(task.Inbox)
	if !ok {
		f.Skip("the store is no task.Inbox")
	}
	return in
}

// arrival is a plain one.
func arrival(key string, change func(*task.Delivery)) task.Delivery {
	d := task.Delivery{ID: task.NewDeliveryID(), Source: "webhook/one", Key: key, Owner: task.Scope{Type: task.ScopeTeam, UID: "team"},
		ReceivedAt: start, Event: "push", Header: []byte(`{"a":1}`), Body: []byte("{\"b\":\"\x00\xff\"}"), Size: 12}
	if change != nil {
		change(&d)
	}
	return d
}

func (f *fixture) receive(d task.Delivery) task.Delivery {
	f.Helper()
	got, err := f.inbox().Receive(f.ctx(), d)
	assert.NilError(f, err)
	return got
}

func (f *fixture) delivery(id task.DeliveryID) task.Delivery {
	f.Helper()
	d, err := f.inbox().Delivery(f.ctx(), id)
	assert.NilError(f, err)
	return d
}

func (f *fixture) undecided(now time.Time) []task.Delivery {
	f.Helper()
	list, err := f.inbox().Undecided(f.ctx(), now, 100)
	assert.NilError(f, err)
	return list
}

func inboxReceive(f *fixture) {
	d := f.receive(arrival("k", nil))
	assert.DeepEqual(f, f.delivery(d.ID), d)
	assert.DeepEqual(f, f.undecided(start), []task.Delivery{d})
	again := f.receive(arrival("k", nil))
	assert.Equal(f, again.Outcome, task.OutcomeDuplicate)
	assert.Equal(f, again.RepeatOf, d.ID)
	assert.DeepEqual(f, f.delivery(again.ID), again)
	assert.Equal(f, len(again.Body), 0, "a duplicate keeps no payload")
	other := f.receive(arrival("k", func(d *task.Delivery) { d.Source = "webhook/other" }))
	assert.Equal(f, other.Outcome, task.Outcome(""), "keys are the source's own")
	line := f.receive(arrival("", func(d *task.Delivery) { d.Outcome, d.Reason, d.Body = task.OutcomeRejected, "bad signature", nil }))
	assert.Equal(f, f.delivery(line.ID).Reason, "bad signature")
	assert.Equal(f, len(f.undecided(start)), 2, "a line waits for nobody")
}

func inboxRace(f *fixture) {
	const keys, each = 20, 5
	in := f.inbox()
	var first atomic.Int64
	var wg sync.WaitGroup
	for i := range keys * each {
		wg.Go(func() {
			d, err := in.Receive(f.ctx(), arrival(fmt.Sprint("key ", i%keys), nil))
			assert.Check(f, err)
			if d.Outcome == "" {
				first.Add(1)
			}
		})
	}
	wg.Wait()
	assert.Equal(f, first.Load(), int64(keys))
	assert.Equal(f, len(f.undecided(start)), keys)
}

func inboxDecide(f *fixture) {
	d := f.receive(arrival("k", nil))
	run := newID()
	got, err := f.inbox().Decide(f.ctx(), d.ID, task.Verdict{Outcome: task.OutcomeStarted, Reason: "x" + strings.Repeat("ä", task.MaxDeliveryReason), Runs: []task.ID{run}})
	assert.NilError(f, err)
	assert.Equal(f, got.Outcome, task.OutcomeStarted)
	assert.Equal(f, got.Reason, "x"+strings.Repeat("ä", task.MaxDeliveryReason/2-1))
	assert.DeepEqual(f, got.Runs, []task.ID{run})
	assert.Assert(f, !got.DecidedAt.IsZero())
	again, err := f.inbox().Decide(f.ctx(), d.ID, task.Verdict{Outcome: task.OutcomeIgnored})
	assert.NilError(f, err)
	assert.DeepEqual(f, again, got)
	assert.Equal(f, len(f.undecided(start)), 0)
	_, err = f.inbox().Decide(f.ctx(), "nothing", task.Verdict{Outcome: task.OutcomeIgnored})
	assert.ErrorIs(f, err, task.ErrNotFound)
}

// held gives a delivery that waits for a person, and the one that would go
// through in its place.
func (f *fixture) held(key string) (held, next task.Delivery) {
	f.Helper()
	held, err := f.inbox().Decide(f.ctx(), f.receive(arrival(key, nil)).ID, task.Verdict{Outcome: task.OutcomeHeld, Reason: "a stranger"})
	assert.NilError(f, err)
	return held, arrival("approved "+string(held.ID), nil)
}

func inboxReview(f *fixture) {
	release := func(next task.Delivery) task.Review {
		return task.Review{Outcome: task.OutcomeReleased, Reason: "ann let it through", Next: next}
	}
	decline := task.Review{Outcome: task.OutcomeDeclined, Reason: "ann: spam"}
	d, next := f.held("a")
	got, err := f.inbox().Review(f.ctx(), d.ID, release(next))
	assert.NilError(f, err)
	assert.Equal(f, got.Outcome, task.OutcomeReleased)
	assert.Equal(f, got.Reason, "ann let it through")
	assert.DeepEqual(f, got.Body, d.Body)
	assert.DeepEqual(f, f.delivery(d.ID), got)
	assert.DeepEqual(f, f.undecided(start), []task.Delivery{next})
	again, err := f.inbox().Review(f.ctx(), d.ID, task.Review{Outcome: task.OutcomeReleased, Reason: "bob too", Next: next})
	assert.NilError(f, err)
	assert.DeepEqual(f, again, got)
	assert.Equal(f, len(f.undecided(start)), 1)
	_, err = f.inbox().Review(f.ctx(), d.ID, decline)
	assert.ErrorIs(f, err, task.ErrConflict)
	assert.ErrorContains(f, err, "let through already")

	d, next = f.held("b")
	got, err = f.inbox().Review(f.ctx(), d.ID, decline)
	assert.NilError(f, err)
	assert.Equal(f, got.Outcome, task.OutcomeDeclined)
	again, err = f.inbox().Review(f.ctx(), d.ID, task.Review{Outcome: task.OutcomeDeclined, Reason: "another"})
	assert.NilError(f, err)
	assert.DeepEqual(f, again, got)
	_, err = f.inbox().Review(f.ctx(), d.ID, release(next))
	assert.ErrorIs(f, err, task.ErrConflict)
	assert.ErrorContains(f, err, "turned down already")
	assert.Equal(f, len(f.undecided(start)), 1)

	for _, d := range []task.Delivery{f.receive(arrival("c", nil)), f.receive(arrival("a", nil))} { // undecided, a duplicate
		_, err = f.inbox().Review(f.ctx(), d.ID, decline)
		assert.ErrorIs(f, err, task.ErrConflict)
	}
	_, err = f.inbox().Review(f.ctx(), "nothing", decline)
	assert.ErrorIs(f, err, task.ErrNotFound)
	for _, r := range []task.Review{{}, {Outcome: task.OutcomeStarted}, {Outcome: task.OutcomeReleased}} {
		_, err = f.inbox().Review(f.ctx(), d.ID, r)
		assert.ErrorIs(f, err, task.ErrInvalid)
	}
}

// inboxReviewRace: of those who let one through and turn it down at once, one
// is right.
func inboxReviewRace(f *fixture) {
	const rounds, people = 10, 6
	for i := range rounds {
		d, next := f.held(fmt.Sprint(i))
		var released, declined atomic.Int64
		var wg sync.WaitGroup
		for n := range people {
			wg.Go(func() {
				r, count := task.Review{Outcome: task.OutcomeReleased, Next: next}, &released
				if n%2 == 0 {
					r, count = task.Review{Outcome: task.OutcomeDeclined}, &declined
				}
				switch _, err := f.inbox().Review(f.ctx(), d.ID, r); {
				case err == nil:
					count.Add(1)
				default:
					assert.Check(f, errors.Is(err, task.ErrConflict), err)
				}
			})
		}
		wg.Wait()
		assert.Assert(f, (released.Load() == 0) != (declined.Load() == 0))
		waiting := f.undecided(start)
		assert.Equal(f, len(waiting) == 1, released.Load() > 0)
		for _, d := range waiting {
			_, err := f.inbox().Decide(f.ctx(), d.ID, task.Verdict{Outcome: task.OutcomeStarted})
			assert.NilError(f, err)
		}
	}
}

func inboxPutOff(f *fixture) {
	d := f.receive(arrival("k", nil))
	assert.NilError(f, f.inbox().PutOff(f.ctx(), d.ID, start.Add(time.Minute), "no room"))
	assert.Equal(f, len(f.undecided(start)), 0)
	list := f.undecided(start.Add(time.Minute))
	assert.Equal(f, len(list), 1)
	assert.Equal(f, list[0].Attempts, 1)
	assert.Equal(f, list[0].Reason, "no room")
	_, err := f.inbox().Decide(f.ctx(), d.ID, task.Verdict{Outcome: task.OutcomeFailed})
	assert.NilError(f, err)
	assert.NilError(f, f.inbox().PutOff(f.ctx(), d.ID, start, ""))
	assert.Equal(f, f.delivery(d.ID).Attempts, 1)
}

func inboxList(f *fixture) {
	var all []task.Delivery
	for i := range 7 {
		d := f.receive(arrival(fmt.Sprint(i), nil))
		if i%2 == 0 {
			var err error
			d, err = f.inbox().Decide(f.ctx(), d.ID, task.Verdict{Outcome: task.OutcomeIgnored})
			assert.NilError(f, err)
		}
		d.Header, d.Body = nil, nil
		all = append([]task.Delivery{d}, all...)
	}
	f.receive(arrival("x", func(d *task.Delivery) { d.Source = "webhook/other" }))
	var got []task.Delivery
	for before := task.DeliveryID(""); ; before = got[len(got)-1].ID {
		page, err := f.inbox().Deliveries(f.ctx(), task.DeliveryQuery{Source: "webhook/one", Before: before, Limit: 3})
		assert.NilError(f, err)
		if len(page) == 0 {
			break
		}
		got = append(got, page...)
	}
	assert.DeepEqual(f, got, all)
	page, err := f.inbox().Deliveries(f.ctx(), task.DeliveryQuery{Source: "webhook/one", Outcomes: []task.Outcome{task.OutcomeIgnored, ""}, Limit: 100})
	assert.NilError(f, err)
	assert.Equal(f, len(page), 7)
	page, err = f.inbox().Deliveries(f.ctx(), task.DeliveryQuery{Source: "webhook/one", Outcomes: []task.Outcome{task.OutcomeIgnored}, Limit: 100})
	assert.NilError(f, err)
	assert.Equal(f, len(page), 4)
}

func inboxTrim(f *fixture) {
	const n, keep = 8, 3
	for i := range n {
		d := f.receive(arrival(fmt.Sprint(i), func(d *task.Delivery) { d.ReceivedAt = start.Add(time.Duration(i) * time.Hour) }))
		if i > 0 {
			_, err := f.inbox().Decide(f.ctx(), d.ID, task.Verdict{Outcome: task.OutcomeIgnored})
			assert.NilError(f, err)
		}
	}
	left := func() (keys []string) {
		page, err := f.inbox().Deliveries(f.ctx(), task.DeliveryQuery{Source: "webhook/one", Limit: 100})
		assert.NilError(f, err)
		for _, d := range page {
			keys = append(keys, d.Key)
		}
		return keys
	}
	done, err := f.inbox().TrimDeliveries(f.ctx(), "webhook/one", start.Add(3*time.Hour), keep, 1)
	assert.NilError(f, err)
	assert.Assert(f, !done)
	done, err = f.inbox().TrimDeliveries(f.ctx(), "webhook/one", start.Add(3*time.Hour), keep, 10)
	assert.NilError(f, err)
	assert.Assert(f, done)
	assert.DeepEqual(f, left(), []string{"7", "6", "5", "4", "3", "0"}) // the undecided one stays
	done, err = f.inbox().TrimDeliveries(f.ctx(), "webhook/one", start.Add(n*time.Hour), keep, 10)
	assert.NilError(f, err)
	assert.Assert(f, done)
	assert.DeepEqual(f, left(), []string{"7", "6", "5", "0"})
}

func inboxBad(f *fixture) {
	for name, change := range map[string]func(*task.Delivery){
		"id":          func(d *task.Delivery) { d.ID = "" },
		"source":      func(d *task.Delivery) { d.Source = strings.Repeat("s", task.MaxDeliverySource+1) },
		"key":         func(d *task.Delivery) { d.Key = "" },
		"outcome":     func(d *task.Delivery) { d.Outcome = task.OutcomeDuplicate },
		"event":       func(d *task.Delivery) { d.Event = "a\x00b" },
		"header":      func(d *task.Delivery) { d.Header = make([]byte, task.MaxDeliveryHeader+1) },
		"body":        func(d *task.Delivery) { d.Body = make([]byte, task.MaxDeliveryBody+1) },
		"received_at": func(d *task.Delivery) { d.ReceivedAt = time.Time{} },
	} {
		_, err := f.inbox().Receive(f.ctx(), arrival("k", change))
		assert.ErrorContains(f, err, name)
		assert.ErrorIs(f, err, task.ErrInvalid)
	}
	_, err := f.inbox().Deliveries(f.ctx(), task.DeliveryQuery{Source: "webhook/one"})
	assert.ErrorIs(f, err, task.ErrInvalid)
	_, err = f.inbox().Deliveries(f.ctx(), task.DeliveryQuery{Source: "webhook/one", Outcomes: []task.Outcome{"lost"}, Limit: 1})
	assert.ErrorContains(f, err, "outcome")
	assert.ErrorIs(f, err, task.ErrInvalid)
	_, err = f.inbox().Delivery(f.ctx(), "nothing")
	assert.ErrorIs(f, err, task.ErrNotFound)
	assert.Equal(f, len(f.undecided(start)), 0)
}

func inboxReopens(f *fixture) {
	d := f.receive(arrival("k", nil))
	f.reopen()
	assert.DeepEqual(f, f.undecided(start), []task.Delivery{d})
	assert.Equal(f, f.receive(arrival("k", nil)).RepeatOf, d.ID)
}

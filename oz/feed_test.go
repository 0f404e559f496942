package oz_test

import (
	"cmp"
	"context"
	"errors"
	"io"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"gotest.tools/v3/assert"

	"github.com/oz-platform/cloudagents/oz"
	"github.com/oz-platform/cloudagents/oz/access"
	"github.com/oz-platform/cloudagents/task"
	"github.com/oz-platform/cloudagents/task/sqlitestore"
)

// countingStore counts the reads of logs, and can refuse them.
type countingStore struct {
	task.Store
	reads atomic.Int64
	down  atomic.Bool
	gate  sync.RWMutex // keeps reads back
}

func (s *countingStore) Events(ctx context.Context, id task.ID, after int64, limit int) ([]task.Event, error) {
	s.reads.Add(1)
	s.gate.RLock()
	defer s.gate.RUnlock()
	if s.down.Load() {
		return nil, task.Errorf(task.CodeResourceUnavailable, "the database is away")
	}
	return s.Store.Events(ctx, id, after, limit)
}

// counted makes a platform over a store that counts, with a run that the
// test carries out: say appends n events to it, and end ends it.
func counted(t *testing.T) (p *oz.Platform, store *countingStore, run task.Task, say func(n int), end func()) {
	t.Helper()
	inner, err := sqlitestore.Open(t.Context(), filepath.Join(t.TempDir(), "oz.db"), nil)
	assert.NilError(t, err)
	t.Cleanup(func() { assert.Check(t, inner.Close()) })
	store = &countingStore{Store: inner}
	p, err = oz.New(store, nil)
	assert.NilError(t, err)
	bob := p.As(access.Caller{Principal: task.Principal{Type: task.PrincipalUser, UID: "bob"}})
	run, h, err := bob.StartLocal(t.Context(), oz.Request{Prompt: "talk"})
	assert.NilError(t, err)
	caller, err := p.Authenticate(t.Context(), h.Token.Reveal())
	assert.NilError(t, err)
	l, err := p.Link(caller)
	assert.NilError(t, err)
	assert.NilError(t, l.Begin(t.Context()))
	said := int64(0)
	say = func(n int) {
		t.Helper()
		events := make([]task.Event, n)
		for i := range events {
			events[i].Payload = &task.ToolOutput{CallID: "c", Text: "x"}
		}
		assert.NilError(t, l.Append(t.Context(), said, events))
		said += int64(n)
	}
	end = func() {
		t.Helper()
		beat, err := l.Heartbeat(t.Context())
		assert.NilError(t, err)
		assert.NilError(t, l.End(t.Context(), task.End{State: task.StateSucceeded, SeenInput: beat.LastInput}))
	}
	return p, store, run, say, end
}

// TestManyFollowersReadTheStoreOnce: the store is not read once for each who
// follows a run, and nobody misses or repeats an event.
func TestManyFollowersReadTheStoreOnce(t *testing.T) {
	const followers, batches = 1000, 50
	p, store, run, say, end := counted(t)
	var ready, done sync.WaitGroup
	logs := make([][]task.Event, followers)
	for i := range followers {
		ready.Add(1)
		done.Go(func() {
			for e, err := range p.Watch(context.Background(), run.ID, 0) {
				if err != nil {
					t.Errorf("follower %d: %v", i, err)
					return
				}
				if len(logs[i]) == 0 {
					ready.Done()
				}
				logs[i] = append(logs[i], e)
			}
		})
	}
	ready.Wait()
	before := store.reads.Load()
	for range batches {
		say(20)
	}
	end()
	done.Wait()
	for _, log := range logs {
		assertGapless(t, log, 0)
		assert.Assert(t, len(log) > batches*20 && len(log) == len(logs[0]))
	}
	// Two for each batch, and a few pages for those who fell behind.
	reads := store.reads.Load() - before
	assert.Assert(t, reads < 4*batches, "%d reads for %d followers and %d batches", reads, followers, batches)
}

// TestFollowersWhoComeTogetherShareReads: after a restart all come back at
// once, and each has most of the log still to read.
func TestFollowersWhoComeTogetherShareReads(t *testing.T) {
	const followers, events = 100, 5000 // ten pages
	p, store, run, say, end := counted(t)
	for range events / 1000 {
		say(1000)
	}
	before := store.reads.Load()
	var caughtUp, done sync.WaitGroup
	logs := make([][]task.Event, followers)
	for i := range followers {
		caughtUp.Add(1)
		done.Go(func() {
			for e, err := range p.Watch(context.Background(), run.ID, 0) {
				if err != nil {
					t.Errorf("follower %d: %v", i, err)
					return
				}
				if logs[i] = append(logs[i], e); len(logs[i]) == events {
					caughtUp.Done()
				}
			}
		})
	}
	caughtUp.Wait()
	reads := store.reads.Load() - before
	end()
	done.Wait()
	for _, log := range logs {
		assertGapless(t, log, 0)
		assert.Assert(t, len(log) > events && len(log) == len(logs[0]))
	}
	assert.Assert(t, reads < followers, "%d reads for %d followers of ten pages each", reads, followers)
}

// TestFollowBehindTheEnd: who comes back behind the event that ended the run
// gets what was logged after it, and then the end.
func TestFollowBehindTheEnd(t *testing.T) {
	p, store, run, say, end := counted(t)
	say(1)
	end()
	var last int64
	for e, err := range p.Watch(t.Context(), run.ID, 0) {
		assert.NilError(t, err)
		last = e.Seq
	}
	_, err := store.Do(t.Context(), run.ID, task.Log{Payloads: []task.Payload{&task.Notice{Text: "after the end"}}})
	assert.NilError(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var rest []task.Event
	for e, err := range p.Watch(ctx, run.ID, last) {
		assert.NilError(t, err)
		rest = append(rest, e)
	}
	assertGapless(t, rest, last)
	assert.Equal(t, len(rest), 1)
}

// TestFollowerGivesNoMoreThanAsked: what is given together is bounded by its
// size, but for one event.
func TestFollowerGivesNoMoreThanAsked(t *testing.T) {
	p, _, run, say, end := counted(t)
	say(40)
	end()
	for _, limit := range []int{1, 1000} {
		f, err := p.Follow(t.Context(), run.ID, 0)
		assert.NilError(t, err)
		defer f.Close()
		var log []task.Event
		for {
			frames, _, err := f.Next(t.Context(), limit)
			if errors.Is(err, io.EOF) {
				break
			}
			assert.NilError(t, err)
			size := 0
			for _, frame := range frames {
				size += len(frame.JSON)
				log = append(log, frame.Event)
			}
			assert.Assert(t, size <= limit || len(frames) == 1, "%d bytes", size)
		}
		assertGapless(t, log, 0)
		assert.Assert(t, len(log) > 40)
	}
	_, err := p.Follow(t.Context(), run.ID, -1)
	assert.ErrorIs(t, err, task.ErrInvalid)
}

// TestFollowerFarBehind stops a follower until the feed has forgotten what it
// needs next: it goes on from the store.
func TestFollowerFarBehind(t *testing.T) {
	p, _, run, say, end := counted(t)
	follower, reached := make(chan struct{}), make(chan struct{})
	var slow []task.Event
	var done sync.WaitGroup
	done.Go(func() {
		for e, err := range p.Watch(context.Background(), run.ID, run.LastSeq) {
			if !assert.Check(t, err) {
				return
			}
			if slow = append(slow, e); len(slow) == 3 {
				close(reached)
				<-follower
			}
		}
	})
	quick := make(chan int64)
	done.Go(func() {
		last := int64(0)
		for e := range p.Watch(context.Background(), run.ID, run.LastSeq) {
			last = e.Seq
		}
		quick <- last
	})
	say(3)
	<-reached
	for range 4 {
		say(1000)
	}
	end()
	last := <-quick
	close(follower)
	done.Wait()
	assertGapless(t, slow, run.LastSeq)
	assert.Equal(t, slow[len(slow)-1].Seq, last)
}

// TestFollowersLearnThatTheStoreIsAway: they fail rather than wait for ever,
// and can come back.
func TestFollowersLearnThatTheStoreIsAway(t *testing.T) {
	p, store, run, say, end := counted(t)
	var last int64
	var failed error
	for e, err := range p.Watch(t.Context(), run.ID, 0) {
		if err != nil {
			failed = err
			break
		}
		if last = e.Seq; last == run.LastSeq+1 { // all there is, with INPROGRESS
			store.down.Store(true)
			say(1)
		}
	}
	var e *task.Error
	assert.Assert(t, errors.As(failed, &e) && e.Code == task.CodeResourceUnavailable, "%v", failed)
	store.down.Store(false)
	say(1)
	end()
	var rest []task.Event
	for e, err := range p.Watch(t.Context(), run.ID, last) {
		assert.NilError(t, err)
		rest = append(rest, e)
	}
	assertGapless(t, rest, last)
	assert.Equal(t, rest[len(rest)-1].Payload.Type(), task.TypeState)
}

// TestFollowerOfAPrunedLog: a follower that was slow, so that the log was
// removed before it had read how the run ended, does not wait for that.
func TestFollowerOfAPrunedLog(t *testing.T) {
	p, store, run, say, end := counted(t)
	say(5)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var last task.Event
	for e, err := range p.Watch(ctx, run.ID, 0) {
		assert.NilError(t, err)
		if last = e; e.Seq == 1 {
			store.gate.Lock()
			end()
			_, err := store.Do(ctx, run.ID, task.Prune{Before: time.Now().Add(time.Hour)})
			store.gate.Unlock()
			assert.NilError(t, err)
		}
	}
	assert.Equal(t, last.Payload.Type(), task.TypePruned)
}

// TestEventsOfLargeLog: events of some types are found behind large ones, which
// the store gives a few at a time, and large ones are not gathered.
func TestEventsOfLargeLog(t *testing.T) {
	p, _ := newPlatform(t, nil)
	ctx := t.Context()
	c := people(t, p)["dan"]
	run, h, err := c.StartLocal(ctx, oz.Request{Prompt: "work"})
	assert.NilError(t, err)
	caller, err := p.Authenticate(ctx, h.Token.Reveal())
	assert.NilError(t, err)
	l, err := p.Link(caller)
	assert.NilError(t, err)
	assert.NilError(t, l.Begin(ctx))
	const large = 20 // more than one answer of the store
	for i := range large {
		assert.NilError(t, l.Append(ctx, int64(i), []task.Event{{Payload: &task.Notice{Text: strings.Repeat("x", 1<<20)}}}))
	}
	assert.NilError(t, l.Append(ctx, large, []task.Event{{Payload: &task.ErrorReported{Code: task.CodeInternal, Message: "the last"}}}))
	now, err := c.Get(ctx, run.ID)
	assert.NilError(t, err)

	found, through, more, err := c.EventsOf(ctx, run.ID, 0, 0, []task.EventType{task.TypeError})
	assert.NilError(t, err)
	assert.Equal(t, len(found), 1)
	assert.Equal(t, found[0].Seq, now.LastSeq)
	assert.Assert(t, through == now.LastSeq && !more)
	none, through, more, err := c.EventsOf(ctx, run.ID, 0, 0, []task.EventType{task.TypeTodos})
	assert.NilError(t, err)
	assert.Assert(t, len(none) == 0 && through == now.LastSeq && !more)

	_, _, _, err = c.EventsOf(ctx, run.ID, -1, 0, []task.EventType{task.TypeError})
	assert.ErrorIs(t, err, task.ErrInvalid)
	_, _, _, err = p.As(access.Caller{}).EventsOf(ctx, run.ID, 0, 0, []task.EventType{task.TypeError})
	assert.Equal(t, task.CodeOf(err), task.CodeAuthenticationRequired)

	var all []task.Event
	through, more = 0, true
	for more {
		var page []task.Event
		page, through, more, err = c.EventsOf(ctx, run.ID, through, oz.MaxEvents, []task.EventType{task.TypeNotice})
		assert.NilError(t, err)
		assert.Assert(t, len(page) < large, "%d at once", len(page))
		all = append(all, page...)
	}
	assert.Equal(t, len(all), large)
	assert.Assert(t, slices.IsSortedFunc(all, func(a, b task.Event) int { return cmp.Compare(a.Seq, b.Seq) }))
	assert.Equal(t, through, now.LastSeq)
}

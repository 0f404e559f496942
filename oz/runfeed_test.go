package oz_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"path/filepath"
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

// listOf is a client that keeps a list of runs as the changes tell it to.
type listOf struct {
	t        *testing.T
	c        *oz.Client
	f        *oz.RunFollower
	runs     map[task.ID]task.Task
	position string
	resyncs  int
}

func followList(t *testing.T, c *oz.Client, after string) *listOf {
	t.Helper()
	f, err := c.FollowRuns(t.Context(), after)
	assert.NilError(t, err)
	t.Cleanup(f.Close)
	return &listOf{t: t, c: c, f: f, runs: map[task.ID]task.Task{}}
}

// until takes changes until the list is as it should be.
func (l *listOf) until(what string, ok func() bool) {
	l.t.Helper()
	ctx, cancel := context.WithTimeout(l.t.Context(), 3*time.Minute)
	defer cancel()
	for {
		changes, more := l.f.Next()
		l.take(changes)
		if ok() {
			return
		}
		if more == nil {
			continue
		}
		select {
		case <-more:
		case <-ctx.Done():
			l.t.Fatalf("never: %s; the list has %d runs", what, len(l.runs))
		}
	}
}

func (l *listOf) take(changes []oz.RunChange) {
	l.t.Helper()
	for _, change := range changes {
		l.position = change.Position
		switch change.Kind {
		case oz.RunChanged:
			l.runs[change.RunID] = change.Run
		case oz.RunGone:
			_, known := l.runs[change.RunID]
			assert.Assert(l.t, known, "a run that was never told of is gone")
			delete(l.runs, change.RunID)
		case oz.RunsResync:
			l.resyncs++
			l.read()
		}
	}
}

// read reads the list anew.
func (l *listOf) read() {
	l.t.Helper()
	clear(l.runs)
	for q := (task.Query{Limit: task.MaxPageSize}); ; {
		page, err := l.c.List(l.t.Context(), q)
		assert.NilError(l.t, err)
		for _, t := range page.Tasks {
			l.runs[t.ID] = t
		}
		if q.After = page.Next; page.Next == nil {
			return
		}
	}
}

// TestFollowedListIsTheList changes runs at random, from many goroutines, and
// follows with people of different rights, who come and go: each one's list is
// in the end what List gives.
func TestFollowedListIsTheList(t *testing.T) {
	p, store := newPlatform(t, nil)
	c := people(t, p)
	lists := map[string]*listOf{}
	for who := range c {
		lists[who] = followList(t, c[who], "")
	}
	var writers sync.WaitGroup
	for i := range 6 {
		who := []string{"ann", "bob", "cid"}[i%3]
		rng := rand.New(rand.NewPCG(1, uint64(i)))
		writers.Go(func() {
			for n := range 12 {
				run, err := c[who].Submit(t.Context(), oz.Request{Prompt: fmt.Sprint("job ", i, n), Team: ptr(rng.IntN(3) > 0)})
				if !assert.Check(t, err) {
					return
				}
				if rng.IntN(3) == 0 {
					_, err = store.Do(t.Context(), run.ID, task.Share{Sharing: task.Sharing{Visibility: task.VisibilityPrivate}})
					assert.Check(t, err)
				}
				if rng.IntN(2) == 0 {
					_, err = store.Do(t.Context(), run.ID, task.Cancel{})
					assert.Check(t, err)
				}
			}
		})
	}
	done := make(chan struct{})
	go func() { writers.Wait(); close(done) }()
	for running := true; running; {
		for who, l := range lists { // each reads at a pace of its own, and reconnects now and then
			changes, _ := l.f.Next()
			l.take(changes)
			if rand.IntN(20) == 0 {
				l.f.Close()
				f, err := c[who].FollowRuns(t.Context(), l.position)
				assert.NilError(t, err)
				t.Cleanup(f.Close)
				l.f = f
			}
		}
		select {
		case <-done:
			running = false
		case <-time.After(time.Millisecond):
		}
	}
	for who, l := range lists {
		want := &listOf{t: t, c: c[who], runs: map[task.ID]task.Task{}}
		want.read()
		l.until(who+" sees the list", func() bool {
			if len(l.runs) != len(want.runs) {
				return false
			}
			for id, run := range want.runs {
				if l.runs[id].LastSeq != run.LastSeq {
					return false
				}
			}
			return true
		})
	}
}

// TestHiddenRunLeavesTheLists of those who may not see it any more, whether
// the stream told of it or an earlier list did; and nobody hears of a run that
// was never theirs.
func TestHiddenRunLeavesTheLists(t *testing.T) {
	p, store := newPlatform(t, nil)
	c := people(t, p)
	before := submit(t, c["ann"], oz.Request{Prompt: "before", Team: ptr(true)})
	bob, cid := followList(t, c["bob"], ""), followList(t, c["cid"], "")
	bob.until("the list", func() bool { return len(bob.runs) == 1 })
	cid.until("a resync", func() bool { return cid.resyncs == 1 })
	during := submit(t, c["ann"], oz.Request{Prompt: "during", Team: ptr(true)})
	bob.until("the new run", func() bool { return len(bob.runs) == 2 && bob.resyncs == 1 })
	for _, run := range []task.Task{during, before} {
		_, err := store.Do(t.Context(), run.ID, task.Share{Sharing: task.Sharing{Visibility: task.VisibilityPrivate}})
		assert.NilError(t, err)
	}
	bob.until("both are gone", func() bool { return len(bob.runs) == 0 })
	_, err := store.Do(t.Context(), before.ID, task.Share{Sharing: task.Sharing{Visibility: task.VisibilityTeam}})
	assert.NilError(t, err)
	bob.until("one is back", func() bool { return len(bob.runs) == 1 })
	own := submit(t, c["cid"], oz.Request{Prompt: "own", Team: ptr(true)})
	cid.until("the own run", func() bool { return len(cid.runs) == 1 && cid.runs[own.ID].ID == own.ID })
}

// TestFollowerLosesItsRights at the next look: the list is read anew.
func TestFollowerLosesItsRights(t *testing.T) {
	p, _ := newPlatform(t, nil)
	c := people(t, p)
	submit(t, c["ann"], oz.Request{Prompt: "x", Team: ptr(true)})
	bob := followList(t, c["bob"], "")
	bob.until("the list", func() bool { return len(bob.runs) == 1 })
	bob.f.As(c["bob"])
	assert.NilError(t, p.Registry().PutUser(t.Context(), access.User{UID: "bob", DisplayName: "Bob"}))
	caller, err := p.Registry().Caller(t.Context(), "bob")
	assert.NilError(t, err)
	bob.c = p.As(caller)
	bob.f.As(bob.c)
	bob.until("nothing is left", func() bool { return len(bob.runs) == 0 && bob.resyncs == 2 })
	submit(t, c["ann"], oz.Request{Prompt: "y", Team: ptr(true)})
	mine := submit(t, bob.c, oz.Request{Prompt: "mine", Team: ptr(false)})
	bob.until("the own run alone", func() bool { return len(bob.runs) == 1 && bob.runs[mine.ID].ID == mine.ID })
}

// TestFollowerFarBehindReadsTheListAnew: what is kept for it is bounded.
func TestFollowerFarBehindReadsTheListAnew(t *testing.T) {
	p, store := newPlatform(t, nil)
	slow, quick := followList(t, p.Client, ""), followList(t, p.Client, "")
	slow.until("a resync", func() bool { return slow.resyncs == 1 })
	run := submit(t, p, oz.Request{Prompt: "x"})
	quick.until("the run", func() bool { return len(quick.runs) == 1 })
	kept := quick.position
	const many = 1100
	var all sync.WaitGroup
	for i := range 8 {
		all.Go(func() {
			for n := i; n < many; n += 8 {
				_, err := p.Submit(t.Context(), oz.Request{Prompt: "x"})
				assert.Check(t, err)
			}
		})
	}
	all.Wait()
	quick.until("all runs", func() bool { return len(quick.runs) == many+1 })
	slow.until("all runs", func() bool { return len(slow.runs) == many+1 })
	assert.Equal(t, slow.resyncs, 2)
	late := followList(t, p.Client, kept)
	late.until("a resync", func() bool { return late.resyncs == 1 && len(late.runs) == many+1 })
	_, err := store.Do(t.Context(), run.ID, task.Cancel{})
	assert.NilError(t, err)
	late.until("the end", func() bool { return late.runs[run.ID].State == task.StateCancelled })
	for _, bad := range []string{"x", "x.y", "x.-1", "."} {
		_, err := p.FollowRuns(t.Context(), bad)
		assert.ErrorIs(t, err, task.ErrInvalid, bad)
	}
}

// stumblingStore fails to list while it is away, and once more, when it is back,
// after it was asked for the newest run.
type stumblingStore struct {
	task.Store
	away, stumble atomic.Bool
	newest        atomic.Bool // was asked for last
}

func (s *stumblingStore) List(ctx context.Context, q task.Query) (task.Page, error) {
	newest := s.newest.Swap(q.Limit == 1)
	if s.away.Load() || newest && s.stumble.CompareAndSwap(true, false) {
		return task.Page{}, task.Errorf(task.CodeResourceUnavailable, "the database is away")
	}
	return s.Store.List(ctx, q)
}

// TestFollowersLearnThatMuchWasMissed also when the store fails once more while
// the feed begins anew.
func TestFollowersLearnThatMuchWasMissed(t *testing.T) {
	clock := &handClock{}
	clock.at.Store(time.Now().UnixNano())
	real, err := sqlitestore.Open(t.Context(), filepath.Join(t.TempDir(), "oz.db"), &sqlitestore.Options{Clock: clock})
	assert.NilError(t, err)
	t.Cleanup(func() { assert.Check(t, real.Close()) })
	store := &stumblingStore{Store: real}
	p, err := oz.New(store, &oz.Options{Clock: clock})
	assert.NilError(t, err)
	follower, err := p.FollowRuns(t.Context(), "")
	assert.NilError(t, err)
	t.Cleanup(follower.Close)
	changes, _ := follower.Next()
	assert.Equal(t, len(changes), 1) // where it begins
	store.away.Store(true)
	const many = 4*task.MaxPageSize + 1 // more than one look takes
	var all sync.WaitGroup
	for i := range 8 {
		all.Go(func() {
			for n := i; n < many; n += 8 {
				_, err := p.Submit(t.Context(), oz.Request{Prompt: "x"})
				assert.Check(t, err)
			}
		})
	}
	all.Wait()
	clock.at.Add(int64(time.Minute))
	submit(t, p, oz.Request{Prompt: "the newest, long after the others"})
	store.stumble.Store(true)
	store.away.Store(false)
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	for {
		changes, more := follower.Next()
		if len(changes) > 0 {
			assert.Equal(t, changes[0].Kind, oz.RunsResync)
			assert.Assert(t, !store.stumble.Load(), "the store has not failed")
			return
		}
		select {
		case <-more:
		case <-ctx.Done():
			t.Fatal("the follower never learns that it has missed runs")
		}
	}
}

// TestFollowersOfAllReplicas see what any of them does.
func TestFollowersOfAllReplicas(t *testing.T) {
	_, store := newPlatform(t, nil)
	var lists []*listOf
	var platforms []*oz.Platform
	for range 2 {
		p, err := oz.New(store, nil)
		assert.NilError(t, err)
		platforms, lists = append(platforms, p), append(lists, followList(t, p.Client, ""))
	}
	for _, p := range platforms {
		submit(t, p, oz.Request{Prompt: "x"})
	}
	for _, l := range lists {
		l.until("both runs", func() bool { return len(l.runs) == 2 })
	}
}

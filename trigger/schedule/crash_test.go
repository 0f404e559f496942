package schedule_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"gotest.tools/v3/assert"

	"github.com/oz-platform/cloudagents/task"
	"github.com/oz-platform/cloudagents/trigger/schedule"
)

// errKilled is what everything fails with after the process "died".
var errKilled = errors.New("killed")

// life is one process: it dies before its n-th effect, which is to say after
// the one before it, and does nothing any more.
type life struct {
	left atomic.Int64 // effects until it dies; 0 and less for one that lives on
	dead atomic.Bool
}

// effect does something that others can see.
func (l *life) effect(do func() error) error {
	if l.dead.Load() {
		return errKilled
	}
	if l.left.Add(-1) != 0 {
		return do()
	}
	l.dead.Store(true)
	return errKilled
}

// mortal is a real store that dies with its process.
type mortal struct {
	task.Store
	life *life
}

func (m mortal) PutRecord(ctx context.Context, r task.Record) (rev int64, err error) {
	err = m.life.effect(func() (err error) { rev, err = m.Store.PutRecord(ctx, r); return err })
	return rev, err
}

func (m mortal) DeleteRecord(ctx context.Context, kind, key string) error {
	return m.life.effect(func() error { return m.Store.DeleteRecord(ctx, kind, key) })
}

func (m mortal) Create(ctx context.Context, c task.Creation) (t task.Task, replayed bool, err error) {
	err = m.life.effect(func() (err error) { t, replayed, err = m.Store.Create(ctx, c); return err })
	return t, replayed, err
}

func (m mortal) Do(ctx context.Context, id task.ID, c task.Command) (h task.Head, err error) {
	err = m.life.effect(func() (err error) { h, err = m.Store.Do(ctx, id, c); return err })
	return h, err
}

// process is a scheduler in a process of its own.
func (r *rig) process(l *life) (*schedule.Scheduler, *schedule.Store) {
	store := mortal{r.store, l}
	own := schedule.NewStore(store, r.clock)
	sched, err := schedule.New(own, &host{store: store, clock: r.clock}, &schedule.Options{Poll: time.Minute, Parallel: 1})
	assert.NilError(r.t, err)
	return sched, own
}

// TestKilledBetweenAnyTwoSteps kills the scheduler between each two of its
// writes, lets the next one come at once or after a while, and asks for one
// line per tick and one run per fired line.
func TestKilledBetweenAnyTwoSteps(t *testing.T) {
	for _, policy := range []schedule.Overlap{schedule.OverlapAllow, schedule.OverlapSkip, schedule.OverlapQueue, schedule.OverlapCancel} {
		for _, away := range []time.Duration{time.Second, 7 * time.Minute} {
			t.Run(fmt.Sprintf("%s %s", policy, away), func(t *testing.T) {
				t.Parallel()
				r, n := newRig(t), int64(1)
				for r.killAt(policy, away, n) {
					n++
				}
				assert.Assert(t, n > 15, "died at %d effects only", n-1)
			})
		}
	}
}

// killAt lives through some ticks, with a pause and edits among them, and
// reports whether the process died at its n-th effect.
func (r *rig) killAt(policy schedule.Overlap, away time.Duration, n int64) bool {
	r.clock.set(at("2027-01-01 00:00"))
	s := r.create(schedule.Spec{Cron: "*/5 * * * *", Enabled: true, Timing: schedule.Timing{Overlap: policy, CatchUp: 10 * time.Minute}})
	begin := at("2027-01-01 02:30") // what was missed until then fills the ledger
	r.clock.set(begin)
	l := &life{}
	l.left.Store(n)
	sched, own := r.process(l)
	died := false
	revive := func() {
		if l.dead.Load() && !died {
			died = true
			r.clock.set(r.clock.Now().Add(away))
			sched, own = r.process(&life{})
		}
	}
	edit := func(change func(*schedule.Spec)) {
		for range 2 { // a person tries again
			_, err := own.Update(r.ctx, s.ID, task.Principal{}, func(spec *schedule.Spec) error { change(spec); return nil })
			if err == nil {
				return
			}
			assert.ErrorIs(r.t, err, errKilled)
			revive()
		}
	}
	for minute := range 27 {
		r.clock.set(later(r.clock.Now(), begin.Add(time.Duration(minute)*time.Minute+time.Second)))
		if minute%5 == 0 { // a tick is due
			edit(func(spec *schedule.Spec) { spec.Enabled = minute != 15; spec.Prompt = fmt.Sprint("at ", minute) })
		}
		for range 2 {
			sched.Pass(r.ctx)
			revive()
		}
		if minute%7 == 0 {
			r.end(s)
		}
	}
	l.left.Store(0)
	r.advance(sched, 5*time.Minute)
	r.end(s)
	r.advance(sched, 2*time.Minute)
	r.oneLineEach(s, 5*time.Minute)
	assert.NilError(r.t, r.sched.Delete(r.ctx, s.ID))
	return died
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// oneLineEach asks that the ledger has exactly one line for each tick of a
// regular schedule since the start, and one run for each that fired.
func (r *rig) oneLineEach(s schedule.Schedule, every time.Duration) {
	r.t.Helper()
	list, err := r.sched.Ticks(r.ctx, s.ID, schedule.MaxTicks)
	assert.NilError(r.t, err)
	due := r.clock.Now().Truncate(every)
	for _, line := range list {
		assert.Equal(r.t, line.Due, due, "%v", list)
		due = due.Add(-every)
	}
	assert.Equal(r.t, due, at("2027-01-01 00:00"), "%v", list)
	r.checkRuns(s, list)
}

// TestReplicasFireOnce lets several processes work on the same schedules at
// once, each as fast as it can.
func TestReplicasFireOnce(t *testing.T) {
	r := newRig(t)
	var all []schedule.Schedule
	for i := range 20 {
		all = append(all, r.create(schedule.Spec{Cron: "*/5 * * * *", Enabled: true,
			Timing: schedule.Timing{Overlap: []schedule.Overlap{schedule.OverlapAllow, schedule.OverlapSkip, schedule.OverlapQueue, schedule.OverlapCancel}[i%4]}}))
	}
	var replicas []*schedule.Scheduler
	var told atomic.Int64
	for range 3 {
		sched, err := schedule.New(schedule.NewStore(r.store, r.clock), r.host, &schedule.Options{Poll: time.Minute,
			OnTick: func(string, schedule.Tick) { told.Add(1) }})
		assert.NilError(t, err)
		replicas = append(replicas, sched)
	}
	for range 12 {
		r.clock.set(r.clock.Now().Add(5 * time.Minute))
		var group sync.WaitGroup
		for _, sched := range replicas {
			group.Go(func() { sched.Pass(r.ctx) })
		}
		group.Wait()
	}
	for _, s := range all {
		r.oneLineEach(s, 5*time.Minute)
	}
	assert.Equal(t, told.Load(), int64(20*12)) // every line was written by one of them
}

// TestOthersHearOfChanges: a scheduler learns of what another process changed
// by its poll, and without one by its full look.
func TestOthersHearOfChanges(t *testing.T) {
	r := newRig(t)
	sched, err := schedule.New(schedule.NewStore(r.store, r.clock), r.host, &schedule.Options{Poll: time.Minute, Reload: 20 * time.Minute})
	assert.NilError(t, err)
	sched.Pass(r.ctx)
	s := r.create(schedule.Spec{Cron: "*/5 * * * *", Enabled: true})
	r.advance(sched, 5*time.Minute)
	r.update(s, func(spec *schedule.Spec) { spec.Cron = "*/2 * * * *" })
	r.advance(sched, 3*time.Minute)
	assert.DeepEqual(t, r.ledger(s), []string{"01-01 00:05 fired", "01-01 00:06 fired", "01-01 00:08 fired"})

	for range 300 { // more than the feed remembers
		r.update(s, func(*schedule.Spec) {})
	}
	quick := r.create(schedule.Spec{Cron: "* * * * *", Enabled: true})
	r.advance(sched, 2*time.Minute)
	assert.DeepEqual(t, r.ledger(quick), []string{"01-01 00:09 fired", "01-01 00:10 fired"})

	assert.NilError(t, r.store.DeleteRecord(r.ctx, "schedule.feed", "feed")) // as if nothing was announced
	unheard := r.create(schedule.Spec{Cron: "* * * * *", Enabled: true})
	assert.NilError(t, r.store.DeleteRecord(r.ctx, "schedule.feed", "feed"))
	r.advance(sched, 20*time.Minute)
	list, err := r.sched.Ticks(r.ctx, unheard.ID, 1)
	assert.NilError(t, err)
	assert.Equal(t, list[0].Outcome, schedule.Fired)
}

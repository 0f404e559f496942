package schedule

import (
	"cmp"
	"context"
	"errors"
	"sync"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"github.com/oz-platform/cloudagents/task"
	"github.com/oz-platform/cloudagents/trigger"
)

// Host makes the runs that a Scheduler decides on. Safe for concurrent use.
type Host interface {
	// Start makes the run called id for a tick of s. When there is such a run
	// already, that is no error. A *task.Error whose code is not retryable
	// means that there is no run and will be none; its message is shown to
	// people. After any other error the run may exist, and is asked for again.
	Start(ctx context.Context, s Schedule, id task.ID, due time.Time) error
	// Started reports whether there is a run called id.
	Started(ctx context.Context, id task.ID) (bool, error)
	// Active gives runs of s that have not ended; not necessarily all.
	Active(ctx context.Context, s Schedule) ([]task.ID, error)
	// Cancel ends a run of s. One that has ended is no error.
	Cancel(ctx context.Context, s Schedule, id task.ID) error
}

// Options holds what a Scheduler can do without. The zero value is ready to use.
type Options struct {
	// Logger receives what Run has nobody to return to. Default: none.
	Logger *zap.Logger

	// Grace is how late a tick may start and still count as on time: long
	// enough for a restart of the server. Later ones are missed, or caught up
	// where the schedule wants that. Default 1 minute.
	Grace time.Duration

	// Silence is how long after its start a tick may be without a line in the
	// ledger before the alarm is raised. Default 5 minutes.
	Silence time.Duration

	// Poll is how often the changes are looked for that other replicas have
	// made, and how often the end of the run before is asked for by a queued
	// tick. Default 5 s.
	Poll time.Duration

	// Reload is how often all schedules are read again, in case a change was
	// not announced. Default 10 minutes.
	Reload time.Duration

	// Parallel bounds the schedules that are decided at once. Default 16.
	Parallel int

	// OnTick is told of every line that this Scheduler writes into a ledger. It
	// must not block. Default: none.
	OnTick func(schedule string, t Tick)

	// OnSilence is told of every tick that has been without a line for
	// Silence; it is logged, too. It must not block. Default: none.
	OnSilence func(schedule string, start time.Time)
}

func (o *Options) withDefaults() (Options, error) {
	if o == nil {
		o = &Options{}
	}
	r := *o
	if r.Logger == nil {
		r.Logger = zap.NewNop()
	}
	r.Grace = cmp.Or(r.Grace, time.Minute)
	r.Silence = cmp.Or(r.Silence, 5*time.Minute)
	r.Poll = cmp.Or(r.Poll, 5*time.Second)
	r.Reload = cmp.Or(r.Reload, 10*time.Minute)
	r.Parallel = cmp.Or(r.Parallel, 16)
	if r.OnTick == nil {
		r.OnTick = func(string, Tick) {}
	}
	if r.OnSilence == nil {
		r.OnSilence = func(string, time.Time) {}
	}
	if r.Grace < 0 || r.Silence < 0 || r.Poll < 0 || r.Reload < 0 || r.Parallel < 0 {
		return r, task.Invalid("Schedules", "bounds and durations may not be negative")
	}
	return r, nil
}

// Scheduler decides the ticks of all schedules of a Store. Any number may
// share one, in one process or in several.
type Scheduler struct {
	store *Store
	host  Host
	opts  Options

	// What follows belongs to the goroutine in Run.
	agenda   agenda
	feed     int64     // number of the last change that was heard of
	reloadAt time.Time // zero: at once
	pollAt   time.Time
	silentAt time.Time
}

var _ trigger.Trigger = (*Scheduler)(nil)

// New returns a Scheduler. opts may be nil.
func New(store *Store, host Host, opts *Options) (*Scheduler, error) {
	o, err := opts.withDefaults()
	if err != nil {
		return nil, err
	}
	return &Scheduler{store: store, host: host, opts: o, agenda: newAgenda()}, nil
}

// Run decides ticks as they come due until ctx ends. It sleeps between them,
// and reads a schedule when it is due or was changed. It returns nil.
func (s *Scheduler) Run(ctx context.Context) error {
	s.reloadAt = time.Time{}
	for {
		wake := s.pass(ctx)
		select {
		case <-s.store.clock.After(max(0, wake.Sub(s.store.clock.Now()))):
		case <-s.store.changed:
		case <-ctx.Done():
			return nil
		}
	}
}

// pass does all that is due, and says when there is more.
func (s *Scheduler) pass(ctx context.Context) (wake time.Time) {
	now := s.store.clock.Now()
	if err := s.listen(ctx, now); err != nil && ctx.Err() == nil {
		s.opts.Logger.Error("read schedules", zap.Error(err))
	}
	s.decideAll(ctx, s.agenda.due(now))
	s.watch(s.store.clock.Now())
	wake = s.pollAt
	if s.reloadAt.Before(wake) {
		wake = s.reloadAt
	}
	if first, ok := s.agenda.first(); ok && first.Before(wake) {
		wake = first
	}
	return wake
}

// listen puts on the agenda what is new to it.
func (s *Scheduler) listen(ctx context.Context, now time.Time) error {
	for _, id := range s.store.takeDirty() {
		s.agenda.put(id, entry{wake: now})
	}
	if !now.Before(s.reloadAt) {
		s.reloadAt, s.pollAt = now.Add(s.opts.Poll), now.Add(s.opts.Poll) // should it fail
		if err := s.reload(ctx, now); err != nil {
			return err
		}
		s.reloadAt = now.Add(s.opts.Reload)
		return nil
	}
	if now.Before(s.pollAt) {
		return nil
	}
	s.pollAt = now.Add(s.opts.Poll)
	f, _, err := s.store.readFeed(ctx)
	if err != nil {
		return err
	}
	ids, ok := f.since(s.feed)
	if !ok {
		s.reloadAt = now
		return nil
	}
	for _, id := range ids {
		s.agenda.put(id, entry{wake: now})
	}
	s.feed = f.Last
	return nil
}

// reload reads all schedules. What is changed meanwhile is in the feed, which
// is read before.
func (s *Scheduler) reload(ctx context.Context, now time.Time) error {
	f, _, err := s.store.readFeed(ctx)
	if err != nil {
		return err
	}
	docs, err := s.store.documents(ctx, nil)
	if err != nil {
		return err
	}
	known := s.agenda.reset()
	for _, d := range docs {
		if d.Deleted { // whoever deleted it did not get to its end
			if err := s.store.remove(ctx, d); err != nil {
				return err
			}
			continue
		}
		e, ok := d.next(now)
		if !ok {
			continue
		}
		if old := known[d.ID]; old.failure != nil && old.start.Equal(e.start) {
			e = old // its next try is not yet due
		}
		s.agenda.put(d.ID, e)
	}
	s.feed = f.Last
	return nil
}

// next says when the schedule is to be looked at again; false for never.
func (d *document) next(now time.Time) (entry, bool) {
	switch {
	case !d.Enabled && len(d.Pending) == 0 && d.Waiting.IsZero():
		return entry{}, false
	case !d.Enabled || !d.Waiting.IsZero():
		return entry{wake: now}, true
	}
	due := time.Time{}
	if len(d.Pending) > 0 {
		due = d.Pending[0]
	} else if c, loc, err := d.clockwork(); err == nil {
		due = c.Next(d.Decided, loc)
	}
	if due.IsZero() {
		return entry{}, false
	}
	start := due.Add(d.delay())
	return entry{wake: start, start: start}, true
}

// decideAll decides the ticks of several schedules.
func (s *Scheduler) decideAll(ctx context.Context, due map[string]entry) {
	var mu sync.Mutex
	again := map[string]entry{}
	var group errgroup.Group
	group.SetLimit(s.opts.Parallel)
	for id, e := range due {
		group.Go(func() error {
			next, ok := s.decide(ctx, id, e)
			mu.Lock()
			defer mu.Unlock()
			if ok {
				again[id] = next
			}
			return nil
		})
	}
	_ = group.Wait() // they return none
	for id, e := range again {
		s.agenda.put(id, e)
	}
}

// Delays between the tries to decide a schedule that cannot be decided now.
const (
	firstRetry = time.Second
	lastRetry  = 15 * time.Second
	// decideTimeout bounds one try.
	decideTimeout = 30 * time.Second
)

// decide decides what is due of one schedule; false when it needs no further
// look.
func (s *Scheduler) decide(ctx context.Context, id string, e entry) (entry, bool) {
	ctx, cancel := context.WithTimeout(ctx, decideTimeout)
	defer cancel()
	var d document
	for {
		next, more, err := s.step(ctx, id, &d, e)
		switch {
		case errors.Is(err, task.ErrNotFound):
			return entry{}, false
		case errors.Is(err, errAgain):
			e.failure, e.retry = nil, 0
			continue
		case err == nil:
			return next, more
		}
		if !next.start.IsZero() {
			e.start = next.start
		}
		e.retry = min(max(2*e.retry, firstRetry), lastRetry)
		e.wake = s.store.clock.Now().Add(e.retry)
		e.failure = err
		if ctx.Err() == nil {
			s.opts.Logger.Warn("a schedule cannot be decided now", zap.String("schedule_id", id), zap.Error(err))
		}
		return e, true
	}
}

// watch raises the alarm for ticks that nobody has decided.
func (s *Scheduler) watch(now time.Time) {
	if now.Before(s.silentAt) {
		return
	}
	s.silentAt = now.Add(s.opts.Silence / 4)
	for _, a := range s.agenda.silent(now.Add(-s.opts.Silence), now.Add(max(lastRetry, s.opts.Poll))) {
		s.opts.Logger.Error("a schedule's tick has no line in the ledger", zap.String("schedule_id", a.id), zap.Time("start", a.start),
			zap.Duration("late", now.Sub(a.start)), zap.Error(a.failure))
		s.opts.OnSilence(a.id, a.start)
	}
}

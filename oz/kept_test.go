package oz_test

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	"gotest.tools/v3/assert"

	"github.com/oz-platform/cloudagents/environment"
	"github.com/oz-platform/cloudagents/oz"
	"github.com/oz-platform/cloudagents/task"
)

// handTime is a clock that stands still until it is moved.
type handTime struct {
	mu     sync.Mutex
	now    time.Time
	timers map[time.Time][]chan time.Time
}

func newHandTime() *handTime {
	return &handTime{now: time.Now(), timers: map[time.Time][]chan time.Time{}}
}

func (c *handTime) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *handTime) After(d time.Duration) <-chan time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	ch := make(chan time.Time, 1)
	at := c.now.Add(d)
	c.timers[at] = append(c.timers[at], ch)
	return ch
}

// to moves the clock on, never back.
func (c *handTime) to(at time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if at.After(c.now) {
		c.now = at
	}
	for due, list := range c.timers {
		if !due.After(c.now) {
			for _, ch := range list {
				ch <- c.now
			}
			delete(c.timers, due)
		}
	}
}

// awaited reports that somebody waits for exactly this moment.
func (c *handTime) awaited(at time.Time) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	for due := range c.timers {
		if due.Equal(at) {
			return true
		}
	}
	return false
}

// nudge lets all timers run out, as if their moment had come. Who reads the time
// and then waits for a span waits too long if the clock was moved in between.
func (c *handTime) nudge() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, list := range c.timers {
		for _, ch := range list {
			ch <- c.now
		}
	}
	clear(c.timers)
}

func (y *yard) workspaces() []task.ID {
	keys, err := y.exec.Workspaces(context.Background())
	assert.NilError(y.t, err)
	ids := make([]task.ID, len(keys))
	for i, key := range keys {
		ids[i] = task.ID(key)
	}
	return ids
}

// settled waits until no sandbox is left of what has run.
func (y *yard) settled(p *oz.Platform, runs ...task.ID) {
	y.t.Helper()
	eventually(y.t, "the sandboxes are gone", func() bool {
		for _, id := range runs {
			if y.get(p, id).SandboxRunning {
				return false
			}
		}
		return y.sandboxes() == 0
	})
}

// retaining makes an environment that keeps what failed for so many minutes.
func retaining(t testing.TB, p *oz.Platform, minutes int) task.Config {
	t.Helper()
	env, err := p.CreateEnvironment(t.Context(), environment.Config{Name: "kept", FailureSessionRetentionMinutes: &minutes}, nil)
	assert.NilError(t, err)
	return task.Config{EnvironmentID: env.UID, IdleTimeoutMinutes: ptr(2)}
}

// TestFailedWorkspaceStaysForInspection: what a failed run leaves is kept for as
// long as its environment says, over restarts of the worker, and not longer.
func TestFailedWorkspaceStaysForInspection(t *testing.T) {
	y := newYard(t)
	p, stop := y.platform("files", nil)
	config := retaining(t, p, 30)
	failed := submit(t, p, oz.Request{Prompt: "fail", Config: config})
	plain := submit(t, p, oz.Request{Prompt: "fail", Config: task.Config{IdleTimeoutMinutes: ptr(2)}})
	well := submit(t, p, oz.Request{Prompt: "work", Config: config})
	for _, r := range []task.Task{failed, plain, well} {
		follow(t, p, r.ID)
	}
	got := y.get(p, failed.ID)
	assert.Equal(t, got.State, task.StateFailed)
	assert.Assert(t, oz.DebugUntil(got).Equal(got.EndedAt.Add(30*time.Minute)))
	assert.Assert(t, oz.DebugUntil(y.get(p, plain.ID)).IsZero() && oz.DebugUntil(y.get(p, well.ID)).IsZero())
	y.settled(p, failed.ID, plain.ID, well.ID)
	stop()

	p, stop = y.platform("crash", nil)
	lost := submit(t, p, oz.Request{Prompt: "x", Config: config})
	follow(t, p, lost.ID)
	assert.Equal(t, y.get(p, lost.ID).State, task.StateError)
	y.settled(p, lost.ID)
	stop()
	assert.Equal(t, len(y.workspaces()), 4)

	at := func(by time.Duration) func(*oz.Options, *oz.LocalWorkerOptions) {
		return func(_ *oz.Options, wo *oz.LocalWorkerOptions) { wo.Clock = shifted{by} }
	}
	want := []task.ID{failed.ID, lost.ID}
	slices.Sort(want)
	p, stop = y.platform("files", at(28*time.Minute))
	eventually(t, "those of others are gone", func() bool { return len(y.workspaces()) == 2 })
	assert.DeepEqual(t, y.workspaces(), want)
	eventually(t, "the status says so", func() bool {
		list, err := p.WorkerList(t.Context())
		return err == nil && len(list) == 1 && list[0].Retained == 2 && list[0].Idle == 0 && list[0].Active == 0
	})
	assert.NilError(t, p.FollowUp(t.Context(), lost.ID, oz.Message{Text: "look"})) // a person looks at it, in the same files
	follow(t, p, lost.ID)
	y.settled(p, lost.ID)
	stop()

	_, stop = y.platform("files", at(31*time.Minute))
	eventually(t, "all are gone", func() bool { return !slices.Contains(y.workspaces(), failed.ID) })
	stop()
}

// TestFailureLimit: an operator's bound beats the environment's wish.
func TestFailureLimit(t *testing.T) {
	for _, limit := range []time.Duration{5 * time.Minute, -1} {
		y := newYard(t)
		p, stop := y.platform("files", nil)
		run := submit(t, p, oz.Request{Prompt: "fail", Config: retaining(t, p, 30)})
		follow(t, p, run.ID)
		y.settled(p, run.ID)
		stop()
		at := func(by time.Duration) func(*oz.Options, *oz.LocalWorkerOptions) {
			return func(_ *oz.Options, wo *oz.LocalWorkerOptions) { wo.Clock, wo.FailureLimit = shifted{by}, limit }
		}
		last := max(limit, 2*time.Minute) // its window for follow-ups stays
		p, stop = y.platform("files", at(last-time.Minute))
		eventually(t, "it has been looked at", func() bool {
			list, err := p.WorkerList(t.Context())
			return err == nil && list[0].Idle+list[0].Retained == 1
		})
		stop()
		_, stop = y.platform("files", at(last+time.Minute))
		eventually(t, "it is gone", func() bool { return len(y.workspaces()) == 0 })
		stop()
	}
}

// TestKeptWorkspaceGoesOnTime: a worker wakes when a window ends, and not before.
func TestKeptWorkspaceGoesOnTime(t *testing.T) {
	y := newYard(t)
	clock := newHandTime()
	p, stop := y.platform("files", func(_ *oz.Options, wo *oz.LocalWorkerOptions) { wo.Clock = clock })
	defer stop()
	run := submit(t, p, oz.Request{Prompt: "fail", Config: retaining(t, p, 30)})
	follow(t, p, run.ID)
	y.settled(p, run.ID)
	due := oz.DebugUntil(y.get(p, run.ID))
	clock.to(due.Add(-5 * time.Second))
	eventually(t, "the worker waits for the moment", func() bool {
		if clock.awaited(due) {
			return true
		}
		clock.nudge()
		return false
	})
	clock.to(due.Add(-time.Nanosecond))
	assert.DeepEqual(t, y.workspaces(), []task.ID{run.ID})
	clock.to(due)
	eventually(t, "it is gone", func() bool { return len(y.workspaces()) == 0 })
}

// TestKeptWorkspacesTakeNoPlace: runs that wait are never held up by what is
// kept of others, and both are counted apart.
func TestKeptWorkspacesTakeNoPlace(t *testing.T) {
	y := newYard(t)
	p, stop := y.platform("files", func(_ *oz.Options, wo *oz.LocalWorkerOptions) { wo.Capacity, wo.MaxKept = 1, 3 })
	defer stop()
	var runs []task.ID
	for range 5 { // beyond the places, and beyond what is kept
		runs = append(runs, submit(t, p, oz.Request{Prompt: "work", Config: task.Config{IdleTimeoutMinutes: ptr(60)}}).ID)
	}
	for _, id := range runs {
		follow(t, p, id)
		assert.Equal(t, y.get(p, id).State, task.StateSucceeded)
	}
	eventually(t, "three are kept and no place is taken", func() bool {
		list, err := p.WorkerList(t.Context())
		return err == nil && list[0].Active == 0 && list[0].Capacity == 1 && list[0].Idle == 3 && len(y.workspaces()) == 3
	})
}

// TestOldestKeptGivesWay: the one whose run ended first goes first, and what is
// kept for inspection last; also when a worker starts with less room.
func TestOldestKeptGivesWay(t *testing.T) {
	y := newYard(t)
	room := func(n int) func(*oz.Options, *oz.LocalWorkerOptions) {
		return func(_ *oz.Options, wo *oz.LocalWorkerOptions) { wo.Capacity, wo.MaxKept = 1, n }
	}
	p, stop := y.platform("files", room(2))
	failed := submit(t, p, oz.Request{Prompt: "fail", Config: retaining(t, p, 60)})
	follow(t, p, failed.ID)
	last := failed
	for range 3 {
		last = submit(t, p, oz.Request{Prompt: "work"})
		follow(t, p, last.ID)
	}
	want := []task.ID{failed.ID, last.ID}
	slices.Sort(want)
	eventually(t, "two are left", func() bool { return len(y.workspaces()) == 2 })
	y.settled(p, last.ID)
	assert.DeepEqual(t, y.workspaces(), want)
	assert.NilError(t, p.FollowUp(t.Context(), last.ID, oz.Message{Text: "again"}))
	assert.DeepEqual(t, said(t, follow(t, p, last.ID)), []string{"made", "found"})
	y.settled(p, last.ID)
	stop()

	_, stop = y.platform("files", room(1))
	eventually(t, "one is left", func() bool { return len(y.workspaces()) == 1 })
	assert.DeepEqual(t, y.workspaces(), []task.ID{failed.ID})
	stop()
}

// TestKeptGivesWayToFullDisk: while too little is free, what is kept goes, the
// oldest first; a disk that cannot be read removes nothing.
func TestKeptGivesWayToFullDisk(t *testing.T) {
	y := newYard(t)
	disk := func(free func() (int64, error)) func(*oz.Options, *oz.LocalWorkerOptions) {
		return func(_ *oz.Options, wo *oz.LocalWorkerOptions) { wo.Capacity, wo.FreeDisk, wo.MinFreeDisk = 1, free, 75 }
	}
	p, stop := y.platform("files", disk(func() (int64, error) { return 0, errors.New("broken") }))
	var runs []task.ID
	for range 4 {
		runs = append(runs, submit(t, p, oz.Request{Prompt: "work"}).ID)
		follow(t, p, runs[len(runs)-1])
	}
	y.settled(p, runs...)
	stop()
	p, stop = y.platform("files", disk(func() (int64, error) { return 0, errors.New("broken") }))
	eventually(t, "it has looked", func() bool { list, err := p.WorkerList(t.Context()); return err == nil && list[0].Idle == 4 })
	stop()

	p, stop = y.platform("files", disk(func() (int64, error) { return 100 - 10*int64(len(y.workspaces())), nil }))
	defer stop()
	eventually(t, "two are left", func() bool { list, err := p.WorkerList(t.Context()); return err == nil && list[0].Idle == 2 })
	assert.DeepEqual(t, y.workspaces(), runs[2:])
}

// TestDebugUntil: only of runs that failed here, and by the moment of the end.
func TestDebugUntil(t *testing.T) {
	end := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	run := func(change func(*task.Task)) task.Task {
		r := task.Task{ID: "r", Spec: task.Spec{Environment: []byte(`{"name":"e","failure_session_retention_minutes":7}`)}}
		r.Head = task.Head{State: task.StateFailed, Where: task.LocationRemote, Executions: 1, EndedAt: end, UpdatedAt: end.Add(time.Hour)}
		change(&r)
		return r
	}
	for name, c := range map[string]struct {
		change func(*task.Task)
		want   time.Time
	}{
		"failed":          {func(*task.Task) {}, end.Add(7 * time.Minute)},
		"error":           {func(r *task.Task) { r.State = task.StateError }, end.Add(7 * time.Minute)},
		"of old":          {func(r *task.Task) { r.EndedAt = time.Time{} }, end.Add(67 * time.Minute)},
		"succeeded":       {func(r *task.Task) { r.State = task.StateSucceeded }, time.Time{}},
		"cancelled":       {func(r *task.Task) { r.State = task.StateCancelled }, time.Time{}},
		"at work":         {func(r *task.Task) { r.State, r.EndedAt = task.StateInProgress, time.Time{} }, time.Time{}},
		"on a laptop":     {func(r *task.Task) { r.Where = task.LocationLocal }, time.Time{}},
		"never begun":     {func(r *task.Task) { r.Executions = 0 }, time.Time{}},
		"off":             {func(r *task.Task) { r.Environment = []byte(`{"name":"e"}`) }, time.Time{}},
		"no environment":  {func(r *task.Task) { r.Environment = nil }, time.Time{}},
		"cannot be read":  {func(r *task.Task) { r.Environment = []byte(`{"name":7`) }, time.Time{}},
		"null is off too": {func(r *task.Task) { r.Environment = []byte(`{"failure_session_retention_minutes":null}`) }, time.Time{}},
	} {
		r := run(c.change)
		assert.Assert(t, oz.DebugUntil(r).Equal(c.want), "%s: %s", name, oz.DebugUntil(r))
		far, err := oz.ForWorker(r)
		assert.NilError(t, err)
		assert.Assert(t, oz.DebugUntil(far).Equal(c.want), "%s, behind a connection", name)
	}
	far, err := oz.ForWorker(run(func(r *task.Task) {
		r.Environment = []byte(`{"setup_commands":["echo hunter2"],"failure_session_retention_minutes":7}`)
	}))
	assert.NilError(t, err)
	assert.Equal(t, string(far.Environment), `{"failure_session_retention_minutes":7}`)
}

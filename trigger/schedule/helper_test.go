package schedule_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	"gotest.tools/v3/assert"

	"github.com/oz-platform/cloudagents/task"
	"github.com/oz-platform/cloudagents/task/sqlitestore"
	"github.com/oz-platform/cloudagents/trigger/schedule"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// clock is moved by the test; nobody waits on it.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) After(time.Duration) <-chan time.Time { return nil }

func (c *clock) set(t time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = t
}

// host makes real runs in a real store.
type host struct {
	store task.Store
	clock task.Clock
	// refuse is asked before a run is made. May be nil.
	refuse func(s schedule.Schedule, due time.Time) error
}

func (h *host) Start(ctx context.Context, s schedule.Schedule, id task.ID, due time.Time) error {
	if h.refuse != nil {
		if err := h.refuse(s, due); err != nil {
			return err
		}
	}
	_, _, err := h.store.Create(ctx, task.Creation{ID: id, From: task.SourceScheduledAgent, Now: h.clock.Now(), Spec: task.Spec{
		Title: s.Name, Prompt: s.Prompt, Owner: s.Owner, Creator: s.Creator, Metadata: map[string]string{"schedule_id": s.ID}}})
	if errors.Is(err, task.ErrConflict) {
		_, err = h.store.Get(ctx, id)
	}
	return err
}

func (h *host) Started(ctx context.Context, id task.ID) (bool, error) {
	_, err := h.store.Get(ctx, id)
	if errors.Is(err, task.ErrNotFound) {
		return false, nil
	}
	return err == nil, err
}

func (h *host) Active(ctx context.Context, s schedule.Schedule) (ids []task.ID, err error) {
	page, err := h.store.List(ctx, task.Query{ScheduleID: s.ID, States: []task.State{task.StateQueued, task.StateInProgress}})
	for _, t := range page.Tasks {
		ids = append(ids, t.ID)
	}
	return ids, err
}

func (h *host) Cancel(ctx context.Context, _ schedule.Schedule, id task.ID) error {
	_, err := h.store.Do(ctx, id, task.Cancel{Reason: "the schedule is due again"})
	return err
}

// rig is a store, a host and a clock that stands at 2027-01-01 00:00 UTC.
type rig struct {
	t     testing.TB
	clock *clock
	store *sqlitestore.Store
	host  *host
	sched *schedule.Store
	ctx   context.Context
}

var team = task.Scope{Type: task.ScopeTeam, UID: "red"}

func newRig(t testing.TB) *rig {
	t.Helper()
	return newRigIn(t, memoryDir(t))
}

// memoryDir is a directory in memory where there is such a thing: these tests
// commit one write after the other, and need not wait for a disk each time.
func memoryDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "oz-schedule-")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { assert.Check(t, os.RemoveAll(dir)) })
	return dir
}

func newRigIn(t testing.TB, dir string) *rig {
	t.Helper()
	store, err := sqlitestore.Open(context.Background(), filepath.Join(dir, "oz.db"), nil)
	assert.NilError(t, err)
	t.Cleanup(func() { assert.Check(t, store.Close()) })
	c := &clock{now: time.Date(2027, 1, 1, 0, 0, 0, 0, time.UTC)}
	return &rig{t: t, clock: c, store: store, host: &host{store: store, clock: c}, sched: schedule.NewStore(store, c), ctx: context.Background()}
}

func (r *rig) scheduler(opts schedule.Options) *schedule.Scheduler {
	r.t.Helper()
	if opts.Poll == 0 {
		opts.Poll = time.Minute
	}
	s, err := schedule.New(r.sched, r.host, &opts)
	assert.NilError(r.t, err)
	return s
}

func (r *rig) create(spec schedule.Spec) schedule.Schedule {
	r.t.Helper()
	if spec.Name == "" {
		spec.Name = "nightly"
	}
	spec.Prompt = "look after the house"
	s, err := r.sched.Create(r.ctx, team, task.Principal{Type: task.PrincipalUser, UID: "ann"}, spec)
	assert.NilError(r.t, err)
	return s
}

// advance lets time pass for a scheduler, from one of its wakes to the next.
func (r *rig) advance(s *schedule.Scheduler, d time.Duration) {
	until := r.clock.Now().Add(d)
	for wake := s.Pass(r.ctx); !wake.After(until); wake = s.Pass(r.ctx) {
		if wake.After(r.clock.Now()) {
			r.clock.set(wake)
		}
	}
	r.clock.set(until)
	s.Pass(r.ctx)
}

// ledger gives a schedule's lines, oldest first, as "01-02 15:04 fired".
func (r *rig) ledger(s schedule.Schedule) []string {
	r.t.Helper()
	list, err := r.sched.Ticks(r.ctx, s.ID, schedule.MaxTicks)
	assert.NilError(r.t, err)
	out := []string{}
	for i := len(list) - 1; i >= 0; i-- {
		out = append(out, fmt.Sprintf("%s %s", list[i].Due.Format("01-02 15:04"), list[i].Outcome))
	}
	r.checkRuns(s, list)
	return out
}

// checkRuns asks that the runs of a schedule are those that its ledger names,
// each once.
func (r *rig) checkRuns(s schedule.Schedule, list []schedule.Tick) {
	r.t.Helper()
	named := map[task.ID]bool{}
	for _, t := range list {
		ran := t.Outcome == schedule.Fired || t.Outcome == schedule.CaughtUp
		assert.Equal(r.t, t.RunID != "", ran, "%+v", t)
		if ran {
			assert.Assert(r.t, !named[t.RunID])
			named[t.RunID] = true
			assert.Equal(r.t, t.RunID, schedule.RunID(s.ID, t.Due))
		}
	}
	page, err := r.store.List(r.ctx, task.Query{ScheduleID: s.ID, Limit: task.MaxPageSize})
	assert.NilError(r.t, err)
	if len(list) < schedule.MaxTicks {
		assert.Equal(r.t, len(page.Tasks), len(named), "runs and fired lines")
	}
	for _, run := range page.Tasks {
		assert.Assert(r.t, named[run.ID] || len(list) == schedule.MaxTicks, "run %s has no line", run.ID)
	}
}

// end lets all runs of a schedule end.
func (r *rig) end(s schedule.Schedule) {
	r.t.Helper()
	active, err := r.host.Active(r.ctx, s)
	assert.NilError(r.t, err)
	for _, id := range active {
		assert.NilError(r.t, r.host.Cancel(r.ctx, s, id))
	}
}

func at(text string) time.Time {
	t, err := time.Parse("2006-01-02 15:04", text)
	if err != nil {
		panic(err)
	}
	return t
}

package worker_test

import (
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"gotest.tools/v3/assert"

	"github.com/oz-platform/cloudagents/oz"
	"github.com/oz-platform/cloudagents/task"
	"github.com/oz-platform/cloudagents/transport/worker"
)

// quick is a clock that is ahead of the machine's, and by which waits are over
// so many times sooner. It adds up what was waited for.
type quick struct {
	ahead  time.Duration
	speed  int64
	waited atomic.Int64
}

// Now implements task.Clock. It keeps the monotonic reading.
func (q *quick) Now() time.Time { return time.Now().Add(q.ahead) }

// After implements task.Clock.
func (q *quick) After(d time.Duration) <-chan time.Time {
	q.waited.Add(int64(d))
	return time.After(d / time.Duration(q.speed))
}

// absence is how long the server is away: twenty leases.
const absence = 10 * time.Minute

// away is a run whose agent is at work, and whose server is stopped then.
type away struct {
	*shop
	host  *host
	clock *quick
	work  *worker.Worker
	stop  func() // of the worker
	flag  string
	run   task.Task
}

// newAway starts a run by mode, see carryOut, and stops the server.
func newAway(t *testing.T, mode string) *away {
	t.Helper()
	s := newShop(t)
	stop := s.open()
	a := &away{shop: s, host: newHostWith(t, s.env, s.key), clock: &quick{speed: 600}, flag: filepath.Join(t.TempDir(), "go-on")}
	a.start(mode)
	a.run = submit(t, s.env, task.Config{})
	reaches(t, s.env, a.run.ID, task.StateInProgress)
	eventually(t, "the agent works", func() bool { return a.progress() > 0 })
	stop()
	eventually(t, "the worker knows", func() bool { return !a.work.Status().Connected })
	return a
}

// start starts the worker's process.
func (a *away) start(mode string) {
	a.work, a.stop = a.host.run(mode+a.flag, func(o *worker.Options, _ *oz.LocalWorkerOptions) { o.Clock = a.clock })
}

// progress is how much the agent has done by itself.
func (a *away) progress() int64 {
	info, err := os.Stat(a.flag + progressSuffix)
	if err != nil {
		return 0
	}
	return info.Size()
}

// passes lets the time pass by the worker's clock, in which it asks for its
// server again and again. The agent goes on.
func (a *away) passes() {
	a.t.Helper()
	did := a.progress()
	a.passesEnded()
	eventually(a.t, "the agent goes on", func() bool { return a.progress() > did })
}

// passesEnded is passes after the agent's end: its sandbox stays until the
// server knows.
func (a *away) passesEnded() {
	a.t.Helper()
	before, asked := a.clock.waited.Load(), a.host.seen.count(worker.EventDialFailed)
	eventually(a.t, "ten minutes have passed", func() bool { return time.Duration(a.clock.waited.Load()-before) > absence })
	assert.Assert(a.t, a.host.seen.count(worker.EventDialFailed) > asked+10, "it does not ask")
	assert.Assert(a.t, !a.work.Status().Connected)
	a.ahead += absence
}

// once asks that one execution was carried out, and waits until nothing is left of it.
func (a *away) once() {
	a.t.Helper()
	got, err := a.env.Platform.Get(a.t.Context(), a.run.ID)
	assert.NilError(a.t, err)
	assert.Equal(a.t, got.Executions, 1)
	assert.Equal(a.t, got.Attempts, 0)
	a.empty()
}

// empty waits until nothing is left.
func (a *away) empty() {
	a.t.Helper()
	eventually(a.t, "nothing is left", func() bool {
		s := a.work.Status()
		return len(a.host.sandboxes()) == 0 && s.Connected && s.Busy == 0 && s.Unsent == 0
	})
}

// TestTenMinutesWithoutServer: a server that is away for ten minutes, by its
// own clock and by the worker's, finds the agent at work, or hears how it has
// ended meanwhile, though its worker was restarted, too.
func TestTenMinutesWithoutServer(t *testing.T) {
	t.Run("it ends afterwards", func(t *testing.T) {
		a := newAway(t, aloneMode)
		a.passes()
		a.open()
		eventually(t, "the worker is back", func() bool { return a.work.Status().Connected })
		reaches(t, a.env, a.run.ID, task.StateInProgress)
		assert.NilError(t, os.WriteFile(a.flag, nil, 0o600))
		reaches(t, a.env, a.run.ID, task.StateSucceeded)
		assert.DeepEqual(t, texts(t, a.env, a.run.ID), []string{"hello", "alone"})
		a.once()
	})
	t.Run("it ends meanwhile", func(t *testing.T) {
		a := newAway(t, aloneMode)
		assert.NilError(t, os.WriteFile(a.flag, nil, 0o600))
		eventually(t, "the agent has ended its work", func() bool { _, err := os.Stat(a.flag + endedSuffix); return err == nil })
		a.stop()
		a.start(aloneMode) // another process, which has never seen a server
		a.passesEnded()
		assert.Equal(t, len(a.host.sandboxes()), 1)
		a.open()
		reaches(t, a.env, a.run.ID, task.StateSucceeded)
		assert.DeepEqual(t, texts(t, a.env, a.run.ID), []string{"hello", "alone"})
		a.once()
	})
	t.Run("it dies meanwhile", func(t *testing.T) {
		a := newAway(t, dyingMode)
		assert.NilError(t, os.WriteFile(a.flag, nil, 0o600))
		eventually(t, "the worker has something to report", func() bool { return a.work.Status().Unsent > 0 })
		a.passesEnded()
		a.open()
		reaches(t, a.env, a.run.ID, task.StateError) // after further attempts, which die at once
		list, err := a.env.Platform.Executions(t.Context(), a.run.ID)
		assert.NilError(t, err)
		assert.Equal(t, list[0].Reason, "the agent's process exited with status 7 before it reported an outcome")
		a.empty()
	})
}

package trigger_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"gotest.tools/v3/assert"

	"github.com/oz-platform/cloudagents/task"
	"github.com/oz-platform/cloudagents/trigger"
	"github.com/oz-platform/cloudagents/trigger/triggertest"
)

// slowClock is one that tests set; what waits for it looks every so often.
type slowClock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *slowClock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *slowClock) add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

func (*slowClock) After(time.Duration) <-chan time.Time { return time.After(time.Millisecond) }

// steps are a task list of which some are done.
func steps(done, all int) (list []task.Todo) {
	for n := range all {
		list = append(list, task.Todo{Title: fmt.Sprintf("step %d", n+1), Done: n < done})
	}
	return list
}

// progressRig has a run about the thread a, which has begun, and a clock at the
// beginning of a minute; progress is told once in each.
func progressRig(t *testing.T, c *chat) (*triggertest.Rig, *slowClock, task.ID) {
	t.Helper()
	clock := &slowClock{now: time.Now().UTC().Truncate(time.Minute).Add(time.Second)}
	r := triggertest.New(t, newStore(t), []trigger.Origin{c}, &trigger.Options{Clock: clock, Progress: time.Minute, Lease: time.Hour})
	post(t, r, message{ID: "1", Thread: "a", Text: "one"})
	eventually(t, func() bool { return len(r.Runs()) == 1 })
	id := r.Runs()[0].ID
	r.Begin(id)
	eventually(t, func() bool { return len(c.told()) == 2 }) // started, in progress
	return r, clock, id
}

func eventually(t *testing.T, met func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); !met(); time.Sleep(2 * time.Millisecond) {
		assert.Assert(t, time.Now().Before(end), "waited in vain")
	}
}

// quiet waits until the engine has nothing to do before its clock goes on.
func quiet(t *testing.T, r *triggertest.Rig) {
	t.Helper()
	calm := 0
	eventually(t, func() bool {
		ok, err := r.Engine.Quiet(t.Context())
		assert.NilError(t, err)
		if calm++; !ok {
			calm = 0
		}
		return calm > 5
	})
}

// TestProgressIsToldNowAndThen: however often a task list changes, its origin
// hears of the newest once in a while, before what comes after it.
func TestProgressIsToldNowAndThen(t *testing.T) {
	c := &chat{}
	r, clock, id := progressRig(t, c)
	for n := range 40 {
		r.Todos(id, steps(n, 40)...)
	}
	quiet(t, r)
	assert.Equal(t, len(c.told()), 2, "it is not time yet: %q", c.told())
	clock.add(time.Minute)
	eventually(t, func() bool { return len(c.told()) == 3 })
	r.Todos(id, steps(40, 40)...)
	quiet(t, r)
	clock.add(10 * time.Minute)
	eventually(t, func() bool { return len(c.told()) == 4 })
	clock.add(10 * time.Minute)
	quiet(t, r)
	r.Finish(id, task.StateSucceeded, task.Status{Message: "ok"})
	eventually(t, func() bool { return len(c.told()) == 5 })
	quiet(t, r)
	assert.DeepEqual(t, c.told(), []string{"a started", "a run_in_progress", "a progress 39/40", "a progress 40/40", "a run_succeeded"})
}

// TestProgressIsNoFlood: what could not be told for hours is told once.
func TestProgressIsNoFlood(t *testing.T) {
	c := &chat{}
	r, clock, id := progressRig(t, c)
	c.mu.Lock()
	down, tries := true, 0
	c.fail = func(task.Outgoing) error {
		tries++
		if down {
			return errors.New("the chat is down")
		}
		return nil
	}
	c.mu.Unlock()
	tried := func() int {
		c.mu.Lock()
		defer c.mu.Unlock()
		return tries
	}
	for n := range 20 {
		r.Todos(id, steps(n, 20)...)
		quiet(t, r)
		clock.add(time.Minute)
		eventually(t, func() bool { return tried() > 0 })
		quiet(t, r)
	}
	c.mu.Lock()
	down = false
	c.mu.Unlock()
	clock.add(10 * time.Hour)
	eventually(t, func() bool { return len(c.told()) == 3 })
	quiet(t, r)
	assert.DeepEqual(t, c.told()[2:], []string{"a progress 19/20"})
}

// TestProgressIsHeardAgain: a runner that got no answer says the same again, and
// one that comes late says what is old.
func TestProgressIsHeardAgain(t *testing.T) {
	c := &chat{}
	r, clock, id := progressRig(t, c)
	run, err := r.Store.Get(t.Context(), id)
	assert.NilError(t, err)
	say := func(seq int64, done int) {
		t.Helper()
		assert.NilError(t, r.Engine.Progress(t.Context(), run, seq, steps(done, 9)))
	}
	say(50, 5)
	say(50, 5)
	say(40, 4)
	clock.add(time.Minute)
	eventually(t, func() bool { return len(c.told()) == 3 })
	say(50, 5)
	say(45, 4)
	clock.add(time.Minute)
	quiet(t, r)
	assert.DeepEqual(t, c.told()[2:], []string{"a progress 5/9"})

	assert.NilError(t, r.Engine.ForgetProgress(t.Context(), id))
	assert.NilError(t, r.Engine.ForgetProgress(t.Context(), id), "it was removed before")
	_, err = r.Store.Record(t.Context(), "trigger.todos", string(id))
	assert.ErrorIs(t, err, task.ErrNotFound)

	run.Origin = nil // one that came by itself
	say(60, 6)
	run.Origin = &task.Origin{Source: "chat/room"} // one that nobody answers
	say(60, 6)
	_, err = r.Store.Record(t.Context(), "trigger.todos", string(id))
	assert.ErrorIs(t, err, task.ErrNotFound)
}

// TestProgressIsBounded: what an agent writes there may be anything.
func TestProgressIsBounded(t *testing.T) {
	got := make(chan trigger.Progress, 1)
	c := &boundChat{chat: &chat{}, got: got}
	r := triggertest.New(t, newStore(t), []trigger.Origin{c}, nil)
	post(t, r, message{ID: "1", Thread: "a", Text: "one"})
	r.Settle()
	id := r.Runs()[0].ID
	r.Begin(id)
	list := steps(100, 500)
	list[0].Title = "a\nb \t" + strings.Repeat("ä", 500)
	r.Todos(id, list...)
	p := <-got
	assert.Equal(t, len(p.Items), trigger.MaxProgressItems)
	assert.Equal(t, p.Done, 100)
	assert.Equal(t, p.All, 500)
	assert.Assert(t, strings.HasPrefix(p.Items[0].Title, "a b ää") && len(p.Items[0].Title) <= trigger.MaxProgressTitle)
	r.Settle()
}

// boundChat shows the first progress that it hears of.
type boundChat struct {
	*chat
	got  chan trigger.Progress
	once sync.Once
}

func (c *boundChat) Report(ctx context.Context, n trigger.News) ([]task.Outgoing, error) {
	if n.Type == trigger.NewsProgress {
		c.once.Do(func() { c.got <- n.Progress })
	}
	return c.chat.Report(ctx, n)
}

// TestProgressSurvivesAnyCrash lets a process die before and after each of its
// writes while a run's task list changes. The runner, which got no answer, says
// the same to the next one: it is told, and once.
func TestProgressSurvivesAnyCrash(t *testing.T) {
	for _, after := range []bool{false, true} {
		for step := 1; ; step++ {
			m := &mortal{left: step, after: after, died: make(chan struct{})}
			if !progressKilledAt(t, m) {
				assert.Assert(t, step > 6, "only %d steps", step)
				break
			}
		}
	}
}

// progressKilledAt reports whether the process came to its last step.
func progressKilledAt(t *testing.T, m *mortal) (died bool) {
	t.Helper()
	c, keys := &chat{}, map[string]bool{}
	r := triggertest.New(t, newStore(t), nil, &trigger.Options{Poll: time.Hour}) // its engine does nothing
	opts := trigger.Options{Poll: 2 * time.Millisecond, Grace: 5 * time.Millisecond, Lease: 100 * time.Millisecond, Progress: 5 * time.Millisecond}
	id := task.NewID()
	start := trigger.Start{Owner: team, Kind: task.SourceSlack, Title: "t", Prompt: "p"}
	assert.NilError(t, r.Host.Start(t.Context(), id, start, task.Origin{Source: "chat/room", Address: []byte(`"a"`)}))
	run, err := r.Store.Get(t.Context(), id)
	assert.NilError(t, err)

	first, err := trigger.New(mortalStore{r.Store, m}, mortalHost{r.Host, m}, []trigger.Origin{mortalChat{c, m, keys}}, &opts)
	assert.NilError(t, err)
	stop := running(t, first)
	heard := first.Progress(t.Context(), run, 7, steps(1, 2))
	if heard == nil {
		eventually(t, func() bool {
			select {
			case <-m.died:
				died = true
				return true
			default:
			}
			next, err := r.Store.NextOutgoing(t.Context())
			assert.NilError(t, err)
			return next.IsZero() // all is told
		})
	}
	stop()
	second, err := trigger.New(r.Store, r.Host, []trigger.Origin{survivorChat{c, keys}}, &opts)
	assert.NilError(t, err)
	stop = running(t, second)
	if heard != nil {
		assert.ErrorIs(t, heard, errDead)
		died = true
		assert.NilError(t, second.Progress(t.Context(), run, 7, steps(1, 2)))
	}
	eventually(t, func() bool { return len(c.told()) > 0 })
	r.Settle()
	stop()
	assert.DeepEqual(t, c.told(), []string{"a progress 1/2"})
	return died
}

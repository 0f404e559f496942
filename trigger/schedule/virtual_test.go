package schedule_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
	"gotest.tools/v3/assert"

	"github.com/oz-platform/cloudagents/task"
	"github.com/oz-platform/cloudagents/trigger/schedule"
)

// fleet are many schedules in six time zones over a virtual time.
type fleet struct {
	r    *rig
	all  []schedule.Schedule
	from time.Time

	mu    sync.Mutex
	lines map[string][]time.Time // of each schedule, as they were written
	bad   []string
}

var sixZones = []string{"UTC", berlin, newYork, lordHowe, "Asia/Kolkata", stJohns}

// expression gives one of a quarter of an hour, as people write them: some for
// every day and working day, more for a day of the week or the month.
func expression(r *rand.Rand) string {
	minute, hour := 15*r.IntN(4), r.IntN(24)
	switch n := r.IntN(100); {
	case n < 1:
		return fmt.Sprintf("%d */6 * * *", minute)
	case n < 6:
		return fmt.Sprintf("%d %d * * *", minute, hour)
	case n < 11:
		return fmt.Sprintf("%d %d * * MON-FRI", minute, hour)
	case n < 70:
		return fmt.Sprintf("%d %d * * %d", minute, hour, r.IntN(7))
	case n < 95:
		return fmt.Sprintf("%d %d %d * *", minute, hour, 1+r.IntN(31))
	}
	return fmt.Sprintf("%d %d L 1-11/2 *", minute, hour)
}

func newFleet(t testing.TB, dir string, n int) *fleet {
	f := &fleet{r: newRigIn(t, dir), lines: map[string][]time.Time{}}
	f.r.clock.set(at("2027-03-01 00:00"))
	random := rand.New(rand.NewPCG(1, 2))
	f.from = f.r.clock.Now()
	specs := make([]schedule.Spec, n)
	for i := range specs {
		specs[i] = schedule.Spec{Name: fmt.Sprint("s", i), Cron: expression(random), Enabled: true, Prompt: "look after the house",
			Timing: schedule.Timing{TimeZone: sixZones[i%len(sixZones)]}}
	}
	f.all = make([]schedule.Schedule, n)
	var group errgroup.Group
	group.SetLimit(4)
	for i, spec := range specs {
		group.Go(func() (err error) {
			f.all[i], err = f.r.sched.Create(f.r.ctx, team, task.Principal{Type: task.PrincipalUser, UID: "ann"}, spec)
			return err
		})
	}
	assert.NilError(t, group.Wait())
	return f
}

func (f *fleet) note(id string, line schedule.Tick) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.lines[id] = append(f.lines[id], line.Due)
	if line.Outcome != schedule.Fired || line.At.Sub(line.Due) > time.Second {
		f.bad = append(f.bad, fmt.Sprintf("%s: %+v", id, line))
	}
}

// live lets the time pass.
func (f *fleet) live(t testing.TB, d time.Duration) {
	sched, err := schedule.New(f.r.sched, f.r.host, &schedule.Options{Poll: time.Hour, Reload: 30 * 24 * time.Hour, Parallel: 64, OnTick: f.note,
		OnSilence: func(id string, start time.Time) { t.Errorf("%s is silent at %s", id, start) }})
	assert.NilError(t, err)
	f.r.advance(sched, d)
}

// check asks for one line for each tick that the expressions name, by an
// enumeration of its own, and for as many runs, and returns how many.
func (f *fleet) check(t testing.TB) int {
	assert.Equal(t, len(f.bad), 0, "%v", f.bad)
	total := 0
	for _, s := range f.all {
		c, loc := parse(t, s.Cron), location(t, s.Timing.TimeZone)
		var want []time.Time
		for due := c.Next(f.from, loc); !due.After(f.r.clock.Now()); due = c.Next(due, loc) {
			want = append(want, due)
		}
		assert.Assert(t, slices.EqualFunc(f.lines[s.ID], want, time.Time.Equal), "%s in %s", s.Cron, s.Timing.TimeZone)
		total += len(want)
		list, err := f.r.sched.Ticks(f.r.ctx, s.ID, schedule.MaxTicks)
		assert.NilError(t, err)
		slices.Reverse(list)
		stored := want[max(0, len(want)-schedule.MaxTicks):]
		assert.Assert(t, slices.EqualFunc(list, stored, func(l schedule.Tick, due time.Time) bool { return l.Due.Equal(due) }), "%s", s.Cron)
	}
	waiting, err := f.r.store.Waiting(context.Background(), f.r.clock.Now(), total+1)
	assert.NilError(t, err)
	assert.Equal(t, len(waiting), total, "runs and ticks")
	return total
}

// TestVirtualMonth: 300 schedules in six time zones over a month in which
// the clocks of three of them change. OZ_SCHEDULE_FLEET=10000x365 asks for
// more: that many schedules over that many days. All of it in memory where
// there is such a thing, 4 GB for the year: on a disk it measures how long that
// takes for a hundred thousand commits.
func TestVirtualMonth(t *testing.T) {
	schedules, days, dir := 300, 31, memoryDir(t)
	if text := os.Getenv("OZ_SCHEDULE_FLEET"); text != "" {
		_, err := fmt.Sscanf(text, "%dx%d", &schedules, &days)
		assert.NilError(t, err, "OZ_SCHEDULE_FLEET is such as 10000x365")
	}
	f := newFleet(t, dir, schedules)
	began := time.Now()
	f.live(t, time.Duration(days)*24*time.Hour)
	took := time.Since(began)
	total := f.check(t)
	t.Logf("%d schedules, %d days: %d ticks in %v, %s a second", schedules, days, total, took.Round(time.Millisecond),
		strconv.Itoa(int(float64(total)/took.Seconds())))
}

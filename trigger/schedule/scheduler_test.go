package schedule_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"gotest.tools/v3/assert"

	"github.com/oz-platform/cloudagents/task"
	"github.com/oz-platform/cloudagents/trigger/schedule"
)

func TestTicksFire(t *testing.T) {
	r := newRig(t)
	s := r.create(schedule.Spec{Cron: "0 */6 * * *", Enabled: true})
	sched := r.scheduler(schedule.Options{})
	r.advance(sched, 18*time.Hour)
	assert.DeepEqual(t, r.ledger(s), []string{"01-01 06:00 fired", "01-01 12:00 fired", "01-01 18:00 fired"})
	got, err := r.sched.Get(r.ctx, s.ID)
	assert.NilError(t, err)
	assert.Equal(t, got.LastRunID, schedule.RunID(s.ID, at("2027-01-01 18:00")))
	assert.Equal(t, got.LastRanAt, at("2027-01-01 18:00"))
	assert.Equal(t, got.NextDue(r.clock.Now()), at("2027-01-02 00:00"))
	run, err := r.store.Get(r.ctx, got.LastRunID)
	assert.NilError(t, err)
	assert.Equal(t, run.Source, task.SourceScheduledAgent)
}

// TestDowntime: nobody decides for three hours.
func TestDowntime(t *testing.T) {
	for name, c := range map[string]struct {
		catchUp, down time.Duration
		want          []string
	}{
		"short":            {0, 30 * time.Second, []string{"01-01 01:00 fired"}},
		"missed":           {0, 3*time.Hour - 10*time.Minute, []string{"01-01 01:00 missed", "01-01 02:00 missed", "01-01 03:00 missed"}},
		"caught up":        {time.Hour, 3*time.Hour - 10*time.Minute, []string{"01-01 01:00 missed", "01-01 02:00 missed", "01-01 03:00 caught_up"}},
		"too late":         {40 * time.Minute, 3*time.Hour - 10*time.Minute, []string{"01-01 01:00 missed", "01-01 02:00 missed", "01-01 03:00 missed"}},
		"newer is on time": {3 * time.Hour, 2 * time.Hour, []string{"01-01 01:00 missed", "01-01 02:00 missed", "01-01 03:00 fired"}},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			s := r.create(schedule.Spec{Cron: "0 * * * *", Enabled: true, Timing: schedule.Timing{CatchUp: c.catchUp}})
			r.clock.set(at("2027-01-01 01:00").Add(c.down))
			r.advance(r.scheduler(schedule.Options{}), 10*time.Second)
			assert.DeepEqual(t, r.ledger(s), c.want)
		})
	}
}

// TestOverlap: an hourly schedule whose runs never end by themselves.
func TestOverlap(t *testing.T) {
	for policy, want := range map[schedule.Overlap][]string{
		schedule.OverlapAllow:  {"01-01 01:00 fired", "01-01 02:00 fired", "01-01 03:00 fired", "01-01 04:00 fired"},
		schedule.OverlapSkip:   {"01-01 01:00 fired", "01-01 02:00 skipped", "01-01 03:00 skipped", "01-01 04:00 fired"},
		schedule.OverlapQueue:  {"01-01 01:00 fired", "01-01 02:00 fired", "01-01 03:00 skipped", "01-01 04:00 queued"},
		schedule.OverlapCancel: {"01-01 01:00 fired", "01-01 02:00 fired", "01-01 03:00 fired", "01-01 04:00 fired"},
	} {
		t.Run(string(policy), func(t *testing.T) {
			r := newRig(t)
			s := r.create(schedule.Spec{Cron: "0 * * * *", Enabled: true, Timing: schedule.Timing{Overlap: policy}})
			sched := r.scheduler(schedule.Options{})
			r.advance(sched, 3*time.Hour+time.Minute)
			before := r.ledger(s)
			if policy == schedule.OverlapQueue {
				assert.DeepEqual(t, before, []string{"01-01 01:00 fired", "01-01 02:00 queued", "01-01 03:00 skipped"})
			}
			r.end(s)
			r.advance(sched, time.Hour)
			assert.DeepEqual(t, r.ledger(s), want)
			active, err := r.host.Active(r.ctx, s)
			assert.NilError(t, err)
			assert.Equal(t, len(active), 1, "all that ran before were ended")
		})
	}
}

// TestPausedWhileQueued: a tick that waits does not start once the schedule is
// paused, and neither does one that jitter holds back.
func TestPausedWhileQueued(t *testing.T) {
	r := newRig(t)
	s := r.create(schedule.Spec{Cron: "0 * * * *", Enabled: true, Timing: schedule.Timing{Overlap: schedule.OverlapQueue}})
	sched := r.scheduler(schedule.Options{})
	r.advance(sched, 2*time.Hour+30*time.Minute)
	r.update(s, func(spec *schedule.Spec) { spec.Enabled = false })
	r.end(s)
	r.advance(sched, time.Hour)
	assert.DeepEqual(t, r.ledger(s), []string{"01-01 01:00 fired", "01-01 02:00 paused", "01-01 03:00 paused"})
}

func (r *rig) update(s schedule.Schedule, change func(*schedule.Spec)) schedule.Schedule {
	r.t.Helper()
	got, err := r.sched.Update(r.ctx, s.ID, task.Principal{Type: task.PrincipalUser, UID: "bob"}, func(spec *schedule.Spec) error { change(spec); return nil })
	assert.NilError(r.t, err)
	return got
}

// TestPause: ticks of a paused schedule have lines, before and after it goes on.
func TestPause(t *testing.T) {
	r := newRig(t)
	s := r.create(schedule.Spec{Cron: "0 * * * *", Enabled: true})
	sched := r.scheduler(schedule.Options{})
	r.advance(sched, 90*time.Minute)
	paused := r.update(s, func(spec *schedule.Spec) { spec.Enabled = false })
	assert.Assert(t, paused.NextDue(r.clock.Now()).IsZero())
	assert.Equal(t, paused.LastEditor.UID, "bob")
	r.advance(sched, 2*time.Hour)
	want := []string{"01-01 01:00 fired", "01-01 02:00 paused", "01-01 03:00 paused"}
	assert.DeepEqual(t, r.ledger(s), want)
	r.update(s, func(spec *schedule.Spec) { spec.Enabled = true })
	assert.DeepEqual(t, r.ledger(s), want)
	r.advance(sched, time.Hour)
	assert.DeepEqual(t, r.ledger(s), append(want, "01-01 04:00 fired"))
}

// TestEditKeepsDueTicks: what was due under the old expression is decided, what
// comes later follows the new one, also in a scheduler that was not told.
func TestEditKeepsDueTicks(t *testing.T) {
	r := newRig(t)
	s := r.create(schedule.Spec{Cron: "0 * * * *", Enabled: true})
	other := r.scheduler(schedule.Options{}) // its own store would be another process
	other.Pass(r.ctx)
	r.clock.set(at("2027-01-01 01:00").Add(20 * time.Second))
	r.update(s, func(spec *schedule.Spec) { spec.Cron = "30 * * * *" })
	r.advance(other, 2*time.Hour)
	assert.DeepEqual(t, r.ledger(s), []string{"01-01 01:00 fired", "01-01 01:30 fired", "01-01 02:30 fired"})
}

func TestJitterDelaysTheStart(t *testing.T) {
	r := newRig(t)
	delays := map[time.Duration]bool{}
	var all []schedule.Schedule
	for range 20 {
		all = append(all, r.create(schedule.Spec{Cron: "0 1 * * *", Enabled: true, Timing: schedule.Timing{Jitter: time.Hour}}))
	}
	r.advance(r.scheduler(schedule.Options{}), 25*time.Hour)
	for _, s := range all {
		list, err := r.sched.Ticks(r.ctx, s.ID, 10)
		assert.NilError(t, err)
		assert.Equal(t, len(list), 1)
		assert.Equal(t, list[0].Due, at("2027-01-01 01:00"))
		delay := list[0].At.Sub(list[0].Due)
		assert.Assert(t, delay >= 0 && delay <= time.Hour, "%v", delay)
		delays[delay] = true
	}
	assert.Assert(t, len(delays) > 10, "%v", delays)
}

// TestRefusedTicksFail: what the host refuses is told, and cleared by the next
// success; what it cannot do now is tried again.
func TestRefusedTicksFail(t *testing.T) {
	r := newRig(t)
	tries := 0
	r.host.refuse = func(_ schedule.Schedule, due time.Time) error {
		switch due.Hour() {
		case 1:
			return task.Invalid("agent_config.environment_id", "there is no such environment")
		case 2:
			tries++
			return task.Errorf(task.CodeResourceUnavailable, "too many runs wait")
		case 3:
			if tries++; tries%3 != 0 {
				return errors.New("connection to 10.0.0.7 refused")
			}
		case 4:
			return errors.New("connection to 10.0.0.7 refused")
		}
		return nil
	}
	s := r.create(schedule.Spec{Cron: "0 * * * *", Enabled: true})
	sched := r.scheduler(schedule.Options{})
	lastError := func() string {
		got, err := r.sched.Get(r.ctx, s.ID)
		assert.NilError(t, err)
		return got.LastError
	}
	r.advance(sched, time.Hour)
	assert.Equal(t, lastError(), "agent_config.environment_id: there is no such environment")
	r.advance(sched, time.Hour+2*time.Minute)
	assert.Equal(t, lastError(), "too many runs wait")
	assert.Assert(t, tries > 4, "%d tries", tries)
	tries = 0
	r.advance(sched, time.Hour)
	assert.Equal(t, lastError(), "")
	assert.Equal(t, tries, 3)
	r.advance(sched, time.Hour)
	assert.Equal(t, lastError(), "the server could not make the run; its log says why")
	r.advance(sched, time.Hour)
	assert.DeepEqual(t, r.ledger(s), []string{"01-01 01:00 failed", "01-01 02:00 failed", "01-01 03:00 fired", "01-01 04:00 failed", "01-01 05:00 fired"})
}

// TestSilenceIsTold: a tick that cannot be decided raises the alarm, once.
func TestSilenceIsTold(t *testing.T) {
	r := newRig(t)
	silent := []string{}
	s := r.create(schedule.Spec{Cron: "0 1 * * *", Enabled: true, Timing: schedule.Timing{Overlap: schedule.OverlapSkip}})
	sched, err := schedule.New(r.sched, &deaf{r.host}, &schedule.Options{Poll: time.Minute, OnSilence: func(id string, start time.Time) {
		assert.Equal(t, id, s.ID)
		silent = append(silent, start.Format("15:04"))
	}})
	assert.NilError(t, err)
	r.advance(sched, time.Hour+4*time.Minute)
	assert.DeepEqual(t, silent, []string{})
	r.advance(sched, 3*time.Hour)
	assert.DeepEqual(t, silent, []string{"01:00"})
}

// deaf is a host that cannot tell what runs.
type deaf struct{ *host }

func (deaf) Started(context.Context, task.ID) (bool, error) { return false, errors.New("no answer") }

func (deaf) Active(context.Context, schedule.Schedule) ([]task.ID, error) {
	return nil, errors.New("no answer")
}

// TestLedgerIsBounded: the newest lines are kept, in order, each once, and
// nothing of a deleted schedule.
func TestLedgerIsBounded(t *testing.T) {
	r := newRig(t)
	s := r.create(schedule.Spec{Cron: "* * * * *", Enabled: true})
	r.clock.set(at("2028-01-01 00:00")) // a year of minutes is missed
	sched := r.scheduler(schedule.Options{Reload: time.Hour})
	r.advance(sched, 30*time.Minute)
	list, err := r.sched.Ticks(r.ctx, s.ID, schedule.MaxTicks)
	assert.NilError(t, err)
	assert.Equal(t, len(list), schedule.MaxTicks)
	for i, line := range list {
		assert.Equal(t, line.Due, at("2028-01-01 00:30").Add(-time.Duration(i)*time.Minute))
	}
	assert.Equal(t, list[30].Outcome, schedule.Fired)
	assert.Equal(t, list[40].Outcome, schedule.Missed)
	chunks, err := r.store.Records(r.ctx, "schedule.ledger", nil)
	assert.NilError(t, err)
	assert.Assert(t, len(chunks)*schedule.ChunkLines <= schedule.KeptLines+schedule.ChunkLines, "%d chunks", len(chunks))
	assert.Assert(t, len(chunks)*schedule.ChunkLines+schedule.TailLines >= schedule.KeptLines-schedule.ChunkLines, "%d chunks", len(chunks))

	r.update(s, func(spec *schedule.Spec) { spec.Enabled = false })
	r.clock.set(at("2037-01-01 00:00")) // ten years of minutes are paused
	list, err = r.sched.Ticks(r.ctx, s.ID, 3)
	assert.NilError(t, err)
	assert.Equal(t, list[2].Due, at("2036-12-31 23:58"))
	assert.NilError(t, r.sched.Delete(r.ctx, s.ID))
	assert.ErrorIs(t, r.sched.Delete(r.ctx, s.ID), task.ErrNotFound)
	for _, kind := range []string{"schedule", "schedule.ledger"} {
		left, err := r.store.Records(r.ctx, kind, nil)
		assert.NilError(t, err)
		assert.Equal(t, len(left), 0, kind)
	}
	r.advance(sched, time.Hour) // and the scheduler has no trouble with that
}

func TestStoreChecks(t *testing.T) {
	r := newRig(t)
	good := schedule.Spec{Name: "n", Cron: "0 0 * * *", Prompt: "p"}
	for field, change := range map[string]func(*schedule.Spec){
		"name":                func(s *schedule.Spec) { s.Name = " " },
		"cron_schedule":       func(s *schedule.Spec) { s.Cron = "0 0 30 2 *" },
		"oz.time_zone":        func(s *schedule.Spec) { s.Timing.TimeZone = "../etc/passwd" },
		"oz.overlap":          func(s *schedule.Spec) { s.Timing.Overlap = "perhaps" },
		"oz.catch_up_minutes": func(s *schedule.Spec) { s.Timing.CatchUp = -1 },
		"oz.jitter_seconds":   func(s *schedule.Spec) { s.Timing.Jitter = time.Hour + 1 },
		"prompt":              func(s *schedule.Spec) { s.Prompt = string(make([]byte, 600_000)) },
	} {
		spec := good
		change(&spec)
		_, err := r.sched.Create(r.ctx, team, task.Principal{}, spec)
		assert.ErrorIs(t, err, task.ErrInvalid)
		var e *task.Error
		assert.Assert(t, errors.As(err, &e))
		assert.Equal(t, e.Field, field)
	}
	for _, zone := range []string{"Local", "Europe/Nowhere", "/etc/localtime", "Europe/Berlin\x00", fmt.Sprintf("%0100d", 1)} {
		spec := good
		spec.Timing.TimeZone = zone
		_, err := r.sched.Create(r.ctx, team, task.Principal{}, spec)
		assert.ErrorContains(t, err, "oz.time_zone", zone)
	}
	_, err := r.sched.Create(r.ctx, task.Scope{}, task.Principal{}, good)
	assert.ErrorContains(t, err, "scope")
	for _, id := range []string{"", "x", "../x", "urn:uuid:0197a1a2-0000-7000-8000-000000000000"} {
		_, err := r.sched.Get(r.ctx, id)
		assert.ErrorIs(t, err, task.ErrNotFound)
	}
	for _, limit := range []int{0, -1, schedule.MaxTicks + 1} {
		_, err := r.sched.Ticks(r.ctx, "x", limit)
		assert.ErrorContains(t, err, "limit")
	}
	_, err = schedule.New(r.sched, r.host, &schedule.Options{Grace: -1})
	assert.ErrorContains(t, err, "Schedules")
}

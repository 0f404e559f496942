package oz_test

import (
	"testing"
	"time"

	"gotest.tools/v3/assert"

	"github.com/oz-platform/cloudagents/environment"
	"github.com/oz-platform/cloudagents/oz"
	"github.com/oz-platform/cloudagents/task"
)

// TestStatsAreThoseOfTheRunsOneMaySee: each person's statistics count what
// stands in their list, and name only what they may see.
func TestStatsAreThoseOfTheRunsOneMaySee(t *testing.T) {
	p, store := newPlatform(t, nil)
	c := people(t, p)
	env, err := c["ann"].CreateEnvironment(t.Context(), environment.Config{Name: "Backend"}, ptr(true))
	assert.NilError(t, err)
	for i, who := range []string{"ann", "bob", "cid", "dan", "ann", "bob"} {
		r := oz.Request{Prompt: "x", Team: ptr(who != "dan" && i < 4)}
		if who == "ann" && i < 4 {
			r.Config.EnvironmentID = env.UID
		}
		run := submit(t, c[who], r)
		l, _ := at(t, store, p, run.ID)
		assert.NilError(t, l.Append(t.Context(), 0, used("", 10, 0.5)))
		state := []task.State{task.StateSucceeded, task.StateFailed}[i%2]
		end := task.End{State: state, SeenInput: 2}
		if state == task.StateFailed {
			end.Status.ErrorCode = task.CodeEnvironmentSetupFailed
		}
		assert.NilError(t, l.End(t.Context(), end))
		if i == 1 { // bob's run for the team, which he hides from it
			_, err := c["bob"].Share(t.Context(), run.ID, task.Sharing{Visibility: task.VisibilityPrivate})
			assert.NilError(t, err)
		}
	}
	submit(t, c["ann"], oz.Request{Prompt: "still waits"})
	for who, want := range map[string]int64{"ann": 3, "bob": 3, "cid": 1, "dan": 1} { // ann leads the team
		report, err := c[who].Stats(t.Context(), oz.StatsQuery{Group: task.StatsByCreator, Bucket: oz.StatsDaily})
		assert.NilError(t, err)
		page, err := c[who].List(t.Context(), task.Query{Limit: 100})
		assert.NilError(t, err)
		ended := int64(0)
		for _, run := range page.Tasks {
			if run.State.Ended() {
				ended++
			}
		}
		assert.Equal(t, ended, want, who)
		assert.Equal(t, report.Total.Runs, want, who)
		sum := int64(0)
		for _, b := range report.Buckets {
			sum += b.Stats.Runs
		}
		assert.Equal(t, sum, want)
		for _, g := range report.Groups {
			sum -= g.Stats.Runs
			assert.Assert(t, g.Name != "" && g.Name != g.Key, "%+v", g)
			assert.Equal(t, len(g.Buckets), 1)
		}
		assert.Equal(t, sum, int64(0))
	}
	names := func(who string) (out []string) {
		report, err := c[who].Stats(t.Context(), oz.StatsQuery{Group: task.StatsByEnvironment})
		assert.NilError(t, err)
		for _, g := range report.Groups {
			out = append(out, g.Key+" "+g.Name)
		}
		return out
	}
	assert.DeepEqual(t, names("ann"), []string{" ", env.UID + " Backend"})
	filtered, err := c["bob"].Stats(t.Context(), oz.StatsQuery{Where: map[task.StatsGroup]string{task.StatsByEnvironment: env.UID}})
	assert.NilError(t, err)
	assert.Equal(t, filtered.Total.Runs, int64(1))
	rate, ok := filtered.Total.SuccessRate()
	assert.Assert(t, ok && rate == 1)
	foreign, err := c["cid"].Stats(t.Context(), oz.StatsQuery{Where: map[task.StatsGroup]string{task.StatsByEnvironment: env.UID}})
	assert.NilError(t, err)
	assert.Equal(t, foreign.Total.Runs, int64(0))
}

func TestStatsRefuseBadQueries(t *testing.T) {
	p, _ := newPlatform(t, nil)
	now := time.Now()
	for field, q := range map[string]oz.StatsQuery{
		"group_by":  {Group: "colour"},
		"bucket":    {Bucket: "year"},
		"time_zone": {TimeZone: "Mars/Base"},
		"to":        {From: now, To: now},
		"from":      {From: now.AddDate(-2, 0, 0)},
		"limit":     {Limit: 101},
		"where":     {Where: map[task.StatsGroup]string{"title": "x"}},
	} {
		_, err := p.Stats(t.Context(), q)
		assert.ErrorIs(t, err, task.ErrInvalid, field)
		assert.ErrorContains(t, err, field)
	}
	for _, q := range []oz.StatsQuery{{Bucket: oz.StatsHourly, From: now.AddDate(0, 0, -60)}, {Bucket: oz.StatsHourly, Group: task.StatsByAgent, Limit: 100},
		{TimeZone: "Local"}, {TimeZone: "../../etc/passwd"}} {
		_, err := p.Stats(t.Context(), q)
		assert.ErrorIs(t, err, task.ErrInvalid, "%+v", q)
	}
}

// TestStatsBucketsFollowTheClocks of the time zone, also where they are
// changed: by an hour, by half of one, and at midnight.
func TestStatsBucketsFollowTheClocks(t *testing.T) {
	p, _ := newPlatform(t, nil)
	starts := func(zone string, bucket oz.StatsBucket, from, to string) (out []string) {
		t.Helper()
		at := func(s string) time.Time {
			v, err := time.Parse(time.RFC3339, s)
			assert.NilError(t, err)
			return v
		}
		r, err := p.Stats(t.Context(), oz.StatsQuery{TimeZone: zone, Bucket: bucket, From: at(from), To: at(to)})
		assert.NilError(t, err)
		for i, b := range r.Buckets {
			out = append(out, b.Start.Format("01-02T15:04Z07:00"))
			assert.Assert(t, b.Start.Before(b.End))
			if i > 0 {
				assert.Assert(t, r.Buckets[i-1].End.Equal(b.Start), "a gap")
			}
		}
		assert.Assert(t, r.Buckets[0].Start.Equal(at(from)) && r.Buckets[len(r.Buckets)-1].End.Equal(at(to)))
		return out
	}
	assert.DeepEqual(t, starts("Europe/Berlin", oz.StatsDaily, "2026-03-28T10:00:00Z", "2026-03-30T10:00:00Z"), []string{"03-28T11:00+01:00", "03-29T00:00+01:00", "03-30T00:00+02:00"})
	assert.DeepEqual(t, starts("Europe/Berlin", oz.StatsHourly, "2026-10-24T23:30:00Z", "2026-10-25T02:30:00Z"),
		[]string{"10-25T01:30+02:00", "10-25T02:00+02:00", "10-25T02:00+01:00", "10-25T03:00+01:00"})
	assert.DeepEqual(t, starts("Asia/Kolkata", oz.StatsHourly, "2026-01-01T00:00:00Z", "2026-01-01T02:00:00Z"), []string{"01-01T05:30+05:30", "01-01T06:00+05:30", "01-01T07:00+05:30"})
	assert.DeepEqual(t, starts("Australia/Lord_Howe", oz.StatsHourly, "2026-10-03T14:30:00Z", "2026-10-03T17:00:00Z"), // 02:00 becomes 02:30
		[]string{"10-04T01:00+10:30", "10-04T02:30+11:00", "10-04T03:00+11:00"})
	assert.DeepEqual(t, starts("Africa/Cairo", oz.StatsDaily, "2026-04-23T12:00:00Z", "2026-04-24T23:00:00Z"), // has no midnight on the 24th
		[]string{"04-23T14:00+02:00", "04-24T01:00+03:00", "04-25T00:00+03:00"})
	assert.DeepEqual(t, starts("UTC", oz.StatsWeekly, "2026-11-22T12:00:00Z", "2026-12-01T00:00:00Z"), []string{"11-22T12:00Z", "11-23T00:00Z", "11-30T00:00Z"})
}

package oz_test

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"gotest.tools/v3/assert"

	"github.com/oz-platform/cloudagents/environment"
	"github.com/oz-platform/cloudagents/executor"
	"github.com/oz-platform/cloudagents/oz"
	"github.com/oz-platform/cloudagents/oz/access"
	"github.com/oz-platform/cloudagents/secrets/sealed"
	"github.com/oz-platform/cloudagents/task"
	"github.com/oz-platform/cloudagents/trigger/schedule"
)

// hourly is a schedule of every half past.
func hourly() oz.ScheduleInput {
	return oz.ScheduleInput{Spec: schedule.Spec{Name: "nightly", Cron: "30 * * * *", Enabled: true, Prompt: "look after the house"}}
}

// TestScheduleMakesRuns follows a schedule over some hours: its runs, what they
// carry, a pause, an edit and its end.
func TestScheduleMakesRuns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx := t.Context()
		w := newWorker("w", 4, succeed)
		p, _ := with(t, &oz.Options{PublicURL: "https://oz.example.com"}, w)
		bob := people(t, p)["bob"]
		env, err := bob.CreateEnvironment(ctx, environment.Config{Name: "demo"}, nil)
		assert.NilError(t, err)
		in := hourly()
		in.Metadata, in.Mode, in.Config = map[string]string{"ticket": "V-1"}, task.ModePlan, task.Config{EnvironmentID: env.UID}
		s, err := bob.CreateSchedule(ctx, in)
		assert.NilError(t, err)
		assert.Equal(t, s.Owner, task.Scope{Type: task.ScopeTeam, UID: "red"})
		assert.Equal(t, s.Environment.Name, "demo")
		assert.Equal(t, s.NextRun.Minute(), 30)
		stop := start(t, p)
		time.Sleep(2 * time.Hour)

		page, err := bob.List(ctx, task.Query{ScheduleID: s.ID})
		assert.NilError(t, err)
		assert.Equal(t, len(page.Tasks), 2)
		run := page.Tasks[0]
		assert.Equal(t, run.State, task.StateSucceeded)
		assert.Equal(t, run.Source, task.SourceScheduledAgent)
		assert.Equal(t, run.Creator.UID, "bob")
		assert.Equal(t, run.Owner, s.Owner)
		assert.Equal(t, run.Mode, task.ModePlan)
		assert.Equal(t, run.Title, "nightly")
		assert.Equal(t, run.TriggerURL, "https://oz.example.com/schedules/"+s.ID)
		assert.Equal(t, run.ConversationID, string(run.ID))
		assert.DeepEqual(t, run.Metadata, map[string]string{"ticket": "V-1", "schedule_id": s.ID, "schedule_name": "nightly", "cron_schedule": "30 * * * *"})

		// An edit touches runs to come only.
		changed, err := bob.UpdateSchedule(ctx, s.ID, oz.ScheduleChange{Name: "weekly", Cron: "45 * * * *", Enabled: true})
		assert.NilError(t, err)
		assert.Equal(t, changed.Prompt, in.Prompt)
		assert.Equal(t, changed.Config.EnvironmentID, env.UID)
		paused, err := bob.PauseSchedule(ctx, s.ID)
		assert.NilError(t, err)
		assert.Assert(t, !paused.Enabled && paused.NextRun.IsZero())
		time.Sleep(time.Hour)
		_, err = bob.ResumeSchedule(ctx, s.ID)
		assert.NilError(t, err)
		time.Sleep(time.Hour)
		ticks, err := bob.ScheduleTicks(ctx, s.ID, 10)
		assert.NilError(t, err)
		var outcomes []string
		for _, tick := range ticks {
			outcomes = append(outcomes, fmt.Sprintf("%d %s", tick.Due.Minute(), tick.Outcome))
		}
		assert.DeepEqual(t, outcomes, []string{"45 fired", "45 paused", "30 fired", "30 fired"})
		old, err := bob.Get(ctx, run.ID)
		assert.NilError(t, err)
		assert.Equal(t, old.Metadata["schedule_name"], "nightly")

		assert.NilError(t, bob.DeleteSchedule(ctx, s.ID))
		assert.ErrorIs(t, bob.DeleteSchedule(ctx, s.ID), task.ErrNotFound)
		time.Sleep(2 * time.Hour)
		page, err = bob.List(ctx, task.Query{ScheduleID: s.ID})
		assert.NilError(t, err)
		assert.Equal(t, len(page.Tasks), 3)
		stop()
	})
}

// TestScheduleOverlap: the policies with runs that a worker carries out for
// longer than the time between two ticks.
func TestScheduleOverlap(t *testing.T) {
	for policy, want := range map[schedule.Overlap]string{
		schedule.OverlapSkip:   "fired skipped fired",
		schedule.OverlapQueue:  "fired fired queued",
		schedule.OverlapCancel: "fired fired fired",
		schedule.OverlapAllow:  "fired fired fired",
	} {
		t.Run(string(policy), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorker("w", 4, func(ctx context.Context, a oz.Assignment, l executor.Link) {
					assert.Check(t, l.Begin(ctx))
					for range 90 { // a quarter of an hour
						beat, err := l.Heartbeat(ctx)
						if err != nil || ctx.Err() != nil {
							return
						}
						time.Sleep(time.Duration(beat.IntervalMS) * time.Millisecond)
					}
					end(ctx, l, 1, task.StateSucceeded)
				})
				p, _ := with(t, &oz.Options{}, w)
				in := hourly()
				in.Cron, in.Timing.Overlap = "*/10 * * * *", policy
				s, err := p.CreateSchedule(t.Context(), in)
				assert.NilError(t, err)
				stop := start(t, p)
				time.Sleep(35 * time.Minute)
				ticks, err := p.ScheduleTicks(t.Context(), s.ID, 10)
				assert.NilError(t, err)
				slices.Reverse(ticks)
				var outcomes []string
				for _, tick := range ticks {
					outcomes = append(outcomes, string(tick.Outcome))
				}
				assert.Equal(t, strings.Join(outcomes, " "), want)
				if policy == schedule.OverlapCancel {
					first, err := p.Get(t.Context(), ticks[0].RunID)
					assert.NilError(t, err)
					assert.Equal(t, first.State, task.StateCancelled)
					assert.Assert(t, strings.Contains(first.Status.Message, "nightly was due again"), first.Status.Message)
				}
				stop()
			})
		})
	}
}

// TestScheduleRights: who may see and change a schedule; what is hidden is not
// there.
func TestScheduleRights(t *testing.T) {
	ctx := t.Context()
	p, _ := newPlatform(t, nil)
	who := people(t, p)
	ofBob, err := who["bob"].CreateSchedule(ctx, hourly())
	assert.NilError(t, err)
	ofAnn, err := who["ann"].CreateSchedule(ctx, hourly())
	assert.NilError(t, err)
	ofDan, err := who["dan"].CreateSchedule(ctx, hourly()) // on no team: his own
	assert.NilError(t, err)
	assert.Equal(t, ofDan.Owner.Type, task.ScopeUser)
	code := func(name, id string) task.Code {
		_, err := who[name].PauseSchedule(ctx, id)
		return task.CodeOf(err)
	}
	assert.Equal(t, code("bob", ofBob.ID), task.Code(""))
	assert.Equal(t, code("ann", ofBob.ID), task.Code("")) // leads the team
	assert.Equal(t, code("bob", ofAnn.ID), task.CodeNotAuthorized)
	assert.Equal(t, code("cid", ofBob.ID), task.CodeNotFound)
	assert.Equal(t, code("ann", ofDan.ID), task.CodeNotFound)
	assert.Equal(t, code("bob", "0197a1a2-0000-4000-8000-000000000000"), task.CodeNotFound)
	for name, want := range map[string]int{"ann": 2, "bob": 2, "cid": 0, "dan": 1} {
		list, err := who[name].Schedules(ctx)
		assert.NilError(t, err)
		assert.Equal(t, len(list), want, name)
	}
	item, err := who["bob"].Schedule(ctx, ofAnn.ID)
	assert.NilError(t, err)
	assert.Assert(t, !item.Manageable)
	_, err = who["bob"].RunSchedule(ctx, ofAnn.ID, oz.ScheduleRun{})
	assert.Equal(t, task.CodeOf(err), task.CodeNotAuthorized)
	_, err = who["cid"].ScheduleTicks(ctx, ofBob.ID, 10)
	assert.ErrorIs(t, err, task.ErrNotFound)
}

// TestScheduleIsJudgedWhenMade: what every tick would be refused for is refused
// at once, and names its field.
func TestScheduleIsJudgedWhenMade(t *testing.T) {
	ctx := t.Context()
	p, _ := newPlatform(t, nil)
	who := people(t, p)
	bob := who["bob"]
	foreign, err := who["cid"].CreateEnvironment(ctx, environment.Config{Name: "blue"}, nil)
	assert.NilError(t, err)
	agent, err := p.Registry().CreateAgent(ctx, access.Agent{Name: "helper", Team: "blue"})
	assert.NilError(t, err)
	many := map[string]string{}
	for i := range 21 {
		many[fmt.Sprint("k", i)] = "v"
	}
	for name, c := range map[string]struct {
		change func(*oz.ScheduleInput)
		field  string
		code   task.Code
	}{
		"no prompt":           {func(in *oz.ScheduleInput) { in.Prompt = " " }, "prompt", task.CodeInvalidRequest},
		"no name":             {func(in *oz.ScheduleInput) { in.Name = "" }, "name", task.CodeInvalidRequest},
		"bad cron":            {func(in *oz.ScheduleInput) { in.Cron = "0 0 30 2 *" }, "cron_schedule", task.CodeInvalidRequest},
		"six fields":          {func(in *oz.ScheduleInput) { in.Cron = "0 0 0 * * *" }, "cron_schedule", task.CodeInvalidRequest},
		"unknown zone":        {func(in *oz.ScheduleInput) { in.Timing.TimeZone = "Mars/Olympus" }, "oz.time_zone", task.CodeInvalidRequest},
		"foreign environment": {func(in *oz.ScheduleInput) { in.Config.EnvironmentID = foreign.UID }, "agent_config.environment_id", task.CodeNotFound},
		"bad configuration":   {func(in *oz.ScheduleInput) { in.Config.IdleTimeoutMinutes = ptr(0) }, "agent_config.idle_timeout_minutes", task.CodeInvalidRequest},
		"bad mode":            {func(in *oz.ScheduleInput) { in.Mode = "haste" }, "mode", task.CodeInvalidRequest},
		"too much metadata":   {func(in *oz.ScheduleInput) { in.Metadata = many }, "metadata", task.CodeInvalidRequest},
		"reserved metadata":   {func(in *oz.ScheduleInput) { in.Metadata = map[string]string{"schedule_id": "x"} }, "metadata", task.CodeInvalidRequest},
		"foreign agent":       {func(in *oz.ScheduleInput) { in.AgentUID = agent.UID }, "agent_uid", task.CodeNotFound},
		"personal with agent": {func(in *oz.ScheduleInput) { in.AgentUID, in.Team = agent.UID, ptr(false) }, "agent_uid", task.CodeInvalidRequest},
	} {
		in := hourly()
		c.change(&in)
		_, err := bob.CreateSchedule(ctx, in)
		var e *task.Error
		assert.Assert(t, errors.As(err, &e), "%s: %v", name, err)
		assert.Equal(t, e.Field, c.field, name)
		assert.Equal(t, e.Code, c.code, name)
	}
	s, err := bob.CreateSchedule(ctx, hourly())
	assert.NilError(t, err)
	_, err = bob.UpdateSchedule(ctx, s.ID, oz.ScheduleChange{Name: "x", Cron: "30 * * * *", Prompt: ptr("")})
	assert.ErrorContains(t, err, "prompt")
	kept, err := bob.Schedule(ctx, s.ID)
	assert.NilError(t, err)
	assert.Equal(t, kept.Name, "nightly")
}

// TestScheduleOfSomebodyGone: a tick whose creator left the team makes no run,
// and says so; an agent takes over.
func TestScheduleOfSomebodyGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx := t.Context()
		w := newWorker("w", 1, succeed)
		p, _ := with(t, &oz.Options{}, w)
		who := people(t, p)
		s, err := who["bob"].CreateSchedule(ctx, hourly())
		assert.NilError(t, err)
		assert.NilError(t, p.Registry().PutUser(ctx, access.User{UID: "bob", DisplayName: "Bob"}))
		stop := start(t, p)
		time.Sleep(time.Hour)
		got, err := who["ann"].Schedule(ctx, s.ID)
		assert.NilError(t, err)
		assert.Assert(t, strings.Contains(got.LastError, "whoever made this schedule is not there any more"), got.LastError)

		agent, err := p.Registry().CreateAgent(ctx, access.Agent{Name: "caretaker", Team: "red"})
		assert.NilError(t, err)
		_, err = who["ann"].UpdateSchedule(ctx, s.ID, oz.ScheduleChange{Name: s.Name, Cron: s.Cron, Enabled: true, AgentUID: &agent.UID})
		assert.NilError(t, err)
		time.Sleep(time.Hour)
		got, err = who["ann"].Schedule(ctx, s.ID)
		assert.NilError(t, err)
		assert.Equal(t, got.LastError, "")
		run, err := who["ann"].Get(ctx, got.LastRunID)
		assert.NilError(t, err)
		assert.DeepEqual(t, run.Creator, agent.Principal())

		assert.NilError(t, p.Registry().DeleteAgent(ctx, agent))
		time.Sleep(time.Hour)
		got, err = who["ann"].Schedule(ctx, s.ID)
		assert.NilError(t, err)
		assert.Assert(t, strings.Contains(got.LastError, "agent"), got.LastError)
		stop()
	})
}

// TestScheduledRunsGetTeamSecretsOnly: nobody's personal secrets, whether the
// clock or a person started the run.
func TestScheduledRunsGetTeamSecretsOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx := t.Context()
		store := openStore(t)
		keys, err := sealed.OpenKeys(filepath.Join(t.TempDir(), "keys", "secrets.key"))
		assert.NilError(t, err)
		names := make(chan string, 10)
		w := newWorker("w", 1, func(ctx context.Context, a oz.Assignment, l executor.Link) {
			b, err := l.Bundle(ctx)
			assert.Check(t, err)
			var list []string
			for _, s := range b.Secrets {
				list = append(list, s.Name)
			}
			slices.Sort(list)
			names <- a.Task.Prompt + ": " + strings.Join(list, " ")
			succeed(ctx, a, l)
		})
		p, err := oz.New(store, &oz.Options{Sealed: sealed.New(store, keys, nil), Workers: []oz.Worker{w}})
		assert.NilError(t, err)
		w.platform = p
		bob := people(t, p)["bob"]
		for name, team := range map[string]bool{"OURS": true, "MINE": false} {
			_, err = bob.CreateSecret(ctx, oz.SecretInput{Name: name, Value: "k3J9-xQ2m-Zp7v-Rt5w", Team: &team})
			assert.NilError(t, err)
		}
		in := hourly()
		in.Prompt = "of the team"
		s, err := bob.CreateSchedule(ctx, in)
		assert.NilError(t, err)
		stop := start(t, p)
		time.Sleep(time.Hour)
		assert.Equal(t, <-names, "of the team: OURS")
		_, err = bob.RunSchedule(ctx, s.ID, oz.ScheduleRun{})
		assert.NilError(t, err)
		assert.Equal(t, <-names, "of the team: OURS")
		in.Prompt, in.Team = "of a person", ptr(false)
		own, err := bob.CreateSchedule(ctx, in)
		assert.NilError(t, err)
		_, err = bob.RunSchedule(ctx, own.ID, oz.ScheduleRun{})
		assert.NilError(t, err)
		assert.Equal(t, <-names, "of a person: OURS")
		submit(t, bob, oz.Request{Prompt: "by hand"})
		assert.Equal(t, <-names, "by hand: MINE OURS")
		time.Sleep(time.Minute)
		stop()
	})
}

// TestRunScheduleByHand: one run for one key, also of a paused schedule, and no
// line in the ledger.
func TestRunScheduleByHand(t *testing.T) {
	ctx := t.Context()
	p, _ := newPlatform(t, nil)
	bob := people(t, p)["bob"]
	in := hourly()
	in.Enabled = false
	s, err := bob.CreateSchedule(ctx, in)
	assert.NilError(t, err)
	first, err := bob.RunSchedule(ctx, s.ID, oz.ScheduleRun{IdempotencyKey: "once", Source: task.SourceWebApp})
	assert.NilError(t, err)
	assert.Equal(t, first.Source, task.SourceWebApp)
	assert.Equal(t, first.Metadata["schedule_id"], s.ID)
	again, err := bob.RunSchedule(ctx, s.ID, oz.ScheduleRun{IdempotencyKey: "once", Source: task.SourceWebApp})
	assert.NilError(t, err)
	assert.Equal(t, again.ID, first.ID)
	other, err := bob.CreateSchedule(ctx, in)
	assert.NilError(t, err)
	_, err = bob.RunSchedule(ctx, other.ID, oz.ScheduleRun{IdempotencyKey: "once", Source: task.SourceWebApp})
	assert.ErrorIs(t, err, task.ErrConflict)
	ticks, err := bob.ScheduleTicks(ctx, s.ID, 10)
	assert.NilError(t, err)
	assert.Equal(t, len(ticks), 0)
	item, err := bob.Schedule(ctx, s.ID)
	assert.NilError(t, err)
	assert.Assert(t, item.LastRanAt.IsZero())
	embedder, err := p.RunSchedule(ctx, s.ID, oz.ScheduleRun{}) // as its creator
	assert.NilError(t, err)
	assert.Equal(t, embedder.Creator.UID, "bob")
}

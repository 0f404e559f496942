package rest_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp/cmpopts"
	"gotest.tools/v3/assert"

	"github.com/oz-platform/cloudagents/environment"
	"github.com/oz-platform/cloudagents/oz"
	"github.com/oz-platform/cloudagents/task"
	"github.com/oz-platform/cloudagents/transport/client"
	"github.com/oz-platform/cloudagents/transport/internal/transporttest"
	"github.com/oz-platform/cloudagents/trigger/schedule"
)

// TestSchedulesOverHTTP drives each operation with the SDK, and compares with
// what the platform itself says.
func TestSchedulesOverHTTP(t *testing.T) {
	e := transporttest.Start(t, &transporttest.Options{Idle: true})
	ctx := t.Context()
	c, err := client.New(e.URL, &client.Options{APIKey: transporttest.AdminKey})
	assert.NilError(t, err)
	inside := e.Platform.As(e.Caller(transporttest.AdminKey))
	env, err := c.CreateEnvironment(ctx, environment.Config{Name: "demo"}, nil)
	assert.NilError(t, err)
	hidden := cmpopts.IgnoreFields(oz.ScheduleItem{}, "Manageable", "Mode")
	same := func(got oz.ScheduleItem, err error) {
		t.Helper()
		assert.NilError(t, err)
		want, err := inside.Schedule(ctx, got.ID)
		assert.NilError(t, err)
		assert.DeepEqual(t, got, want, hidden, cmpopts.EquateEmpty())
	}

	in := oz.ScheduleInput{Spec: schedule.Spec{Name: "zeta", Cron: "0 3 * * MON-FRI", Enabled: true, Prompt: "look after the house", Mode: task.ModePlan,
		Config: task.Config{EnvironmentID: env.UID, Name: "carer"}, Metadata: map[string]string{"ticket": "V-1"},
		Timing: schedule.Timing{TimeZone: "Europe/Berlin", Overlap: schedule.OverlapQueue, CatchUp: 90 * time.Minute, Jitter: 30 * time.Second}}}
	s, err := c.CreateSchedule(ctx, in)
	same(s, err)
	assert.DeepEqual(t, s.Timing, in.Timing)
	assert.Equal(t, s.Environment.Name, "demo")
	assert.Assert(t, !s.NextRun.IsZero())
	got, err := c.Schedule(ctx, s.ID)
	same(got, err)
	second, err := c.CreateSchedule(ctx, oz.ScheduleInput{Spec: schedule.Spec{Name: "alpha", Cron: "* * * * *", Prompt: "x"}, Team: ptr(false)})
	same(second, err)
	assert.Equal(t, second.Owner.Type, task.ScopeUser)
	list, err := c.Schedules(ctx)
	assert.NilError(t, err)
	assert.DeepEqual(t, []string{list[0].Name, list[1].Name}, []string{"alpha", "zeta"})

	// What is left out keeps its value, what is empty clears it.
	s, err = c.UpdateSchedule(ctx, s.ID, oz.ScheduleChange{Name: "zeta", Cron: "0 4 * * *", Enabled: true})
	same(s, err)
	assert.DeepEqual(t, s.Metadata, in.Metadata)
	assert.Equal(t, s.Config.Name, "carer")
	assert.DeepEqual(t, s.Timing, in.Timing)
	s, err = c.UpdateSchedule(ctx, s.ID, oz.ScheduleChange{Name: "zeta", Cron: "0 4 * * *", Enabled: true, Prompt: ptr("go on"), Config: &task.Config{},
		Metadata: &map[string]string{}, Mode: ptr(task.Mode("")), Timing: &schedule.Timing{}})
	same(s, err)
	assert.Equal(t, s.Prompt, "go on")
	assert.Equal(t, len(s.Metadata), 0)
	assert.Assert(t, s.Environment == nil)
	stored, err := inside.Schedule(ctx, s.ID)
	assert.NilError(t, err)
	assert.Equal(t, stored.Mode, task.Mode(""))

	for range 2 {
		s, err = c.PauseSchedule(ctx, s.ID)
		same(s, err)
		assert.Assert(t, !s.Enabled && s.NextRun.IsZero())
	}
	run, err := c.RunSchedule(ctx, s.ID, oz.ScheduleRun{Source: task.SourceCLI})
	assert.NilError(t, err)
	assert.Equal(t, run.Source, task.SourceCLI)
	var item struct {
		Schedule map[string]string
	}
	e.Call(transporttest.AdminKey, http.MethodGet, "/agent/runs/"+string(run.ID), nil).JSON(e, &item)
	assert.DeepEqual(t, item.Schedule, map[string]string{"schedule_id": s.ID, "schedule_name": "zeta", "cron_schedule": "0 4 * * *"})
	page, err := c.List(ctx, task.Query{ScheduleID: s.ID})
	assert.NilError(t, err)
	assert.Equal(t, len(page.Tasks), 1)
	for range 2 {
		s, err = c.ResumeSchedule(ctx, s.ID)
		same(s, err)
		assert.Assert(t, s.Enabled)
	}
	ticks, err := c.ScheduleTicks(ctx, s.ID, 5)
	assert.NilError(t, err)
	wantTicks, err := inside.ScheduleTicks(ctx, s.ID, 5)
	assert.NilError(t, err)
	assert.DeepEqual(t, ticks, wantTicks, cmpopts.EquateEmpty())

	assert.NilError(t, c.DeleteSchedule(ctx, s.ID))
	assert.ErrorIs(t, c.DeleteSchedule(ctx, s.ID), task.ErrNotFound)
	_, err = c.Get(ctx, run.ID)
	assert.NilError(t, err, "runs stay")
	_, err = c.Schedule(ctx, "")
	assert.ErrorIs(t, err, task.ErrInvalid)
}

// TestScheduleAnswers: status and members as the Oz API has them.
func TestScheduleAnswers(t *testing.T) {
	e := transporttest.Start(t, &transporttest.Options{Idle: true})
	a := e.Call(transporttest.AdminKey, http.MethodPost, "/agent/schedules", `{"name":"n","cron_schedule":"0 3 * * *","prompt":"x"}`)
	assert.Equal(t, a.Status, http.StatusCreated, "%s", a.Body)
	var s map[string]any
	a.JSON(e, &s)
	assert.Equal(t, s["enabled"], true)
	for _, member := range []string{"id", "name", "cron_schedule", "prompt", "created_at", "updated_at", "scope", "created_by", "history"} {
		assert.Assert(t, s[member] != nil, "%s: %s", member, a.Body)
	}
	path := "/agent/schedules/" + s["id"].(string)
	assert.Equal(t, e.Call(e.Member, http.MethodGet, path, nil).Status, http.StatusOK)
	assert.Equal(t, e.Call(e.Member, http.MethodPost, path+"/pause", nil).Status, http.StatusForbidden)
	assert.Equal(t, e.Call(e.Outsider, http.MethodGet, path, nil).Status, http.StatusNotFound)
	deleted := e.Call(transporttest.AdminKey, http.MethodDelete, path, nil)
	assert.Equal(t, deleted.Status, http.StatusOK)
	assert.Equal(t, strings.TrimSpace(string(deleted.Body)), `{"success":true}`)
	assert.Equal(t, e.Call(transporttest.AdminKey, http.MethodDelete, path, nil).Status, http.StatusNotFound)
	assert.Equal(t, e.Call(transporttest.AdminKey, http.MethodPost, "/oz/schedules/"+s["id"].(string)+"/run", nil).Status, http.StatusNotFound)
}

// TestScheduleRefusals: every refusal has its status and names its field.
func TestScheduleRefusals(t *testing.T) {
	e := transporttest.Start(t, &transporttest.Options{Idle: true})
	created := e.Call(transporttest.AdminKey, http.MethodPost, "/agent/schedules", `{"name":"n","cron_schedule":"0 3 * * *","prompt":"x"}`)
	var s struct{ ID string }
	created.JSON(e, &s)
	const base = `"name":"n","cron_schedule":"0 3 * * *","prompt":"x"`
	for _, c := range []struct {
		method, path, body, field string
		status                    int
	}{
		{"POST", "", `{"cron_schedule":"0 3 * * *","prompt":"x"}`, "name", 400},
		{"POST", "", `{"name":"n","prompt":"x"}`, "cron_schedule", 400},
		{"POST", "", `{"name":"n","cron_schedule":"0 3 * * *"}`, "prompt", 400},
		{"POST", "", `{"name":"n","cron_schedule":"0 3 31 2 *","prompt":"x"}`, "cron_schedule", 400},
		{"POST", "", `{"name":"n","cron_schedule":"@daily","prompt":"x"}`, "cron_schedule", 400},
		{"POST", "", `{"name":"n","cron_schedule":"` + strings.Repeat("*", 100_000) + `","prompt":"x"}`, "cron_schedule", 400},
		{"POST", "", `{` + base + `,"oz":{"time_zone":"Local"}}`, "oz.time_zone", 400},
		{"POST", "", `{` + base + `,"oz":{"overlap":"maybe"}}`, "oz.overlap", 400},
		{"POST", "", `{` + base + `,"oz":{"jitter_seconds":3601}}`, "oz.jitter_seconds", 400},
		{"POST", "", `{` + base + `,"oz":{"catch_up_minutes":-1}}`, "oz.catch_up_minutes", 400},
		{"POST", "", `{` + base + `,"oz":{"catch_up_minutes":9223372036854775807}}`, "oz.catch_up_minutes", 400},
		{"POST", "", `{` + base + `,"mode":"haste"}`, "mode", 400},
		{"POST", "", `{` + base + `,"metadata":{"cron_schedule":"x"}}`, "metadata", 400},
		{"POST", "", `{` + base + `,"agent_config":{"environment_id":"0197a1a2-0000-7000-8000-000000000000"}}`, "agent_config.environment_id", 404},
		{"POST", "", `{` + base + `,"agent_uid":"0197a1a2-0000-7000-8000-000000000000"}`, "agent_uid", 404},
		{"PUT", "/" + s.ID, `{` + base + `}`, "enabled", 400},
		{"PUT", "/" + s.ID, `{"name":"n","enabled":true}`, "cron_schedule", 400},
		{"PUT", "/" + s.ID, `{"name":"n","cron_schedule":"0 3 * * *","enabled":true,"prompt":""}`, "prompt", 400},
	} {
		a := e.Call(transporttest.AdminKey, c.method, "/agent/schedules"+c.path, c.body)
		assert.Equal(t, a.Status, c.status, "%s %.200s: %s", c.method, c.body, a.Body)
		assert.Equal(t, a.Problem()["field"], c.field, "%.200s: %s", c.body, a.Body)
	}
	for _, limit := range []string{"0", "501", "-1", "many"} {
		a := e.Call(transporttest.AdminKey, http.MethodGet, "/oz/schedules/"+s.ID+"/ticks?limit="+limit, nil)
		assert.Equal(t, a.Status, http.StatusBadRequest, "limit %q: %s", limit, a.Body)
	}
	assert.Equal(t, e.Call(transporttest.AdminKey, http.MethodGet, "/oz/schedules/"+s.ID+"/ticks", nil).Status, http.StatusOK)
	var kept map[string]any
	assert.NilError(t, json.Unmarshal(e.Call(transporttest.AdminKey, http.MethodGet, "/agent/schedules/"+s.ID, nil).Body, &kept))
	assert.Equal(t, kept["prompt"], "x")
}

// TestSchedulePreview asks when expressions would tick, in zones, and what is
// said of bad ones.
func TestSchedulePreview(t *testing.T) {
	e := transporttest.Start(t, &transporttest.Options{Idle: true})
	ctx := t.Context()
	c, err := client.New(e.URL, &client.Options{APIKey: transporttest.AdminKey})
	assert.NilError(t, err)
	berlin, err := time.LoadLocation("Europe/Berlin")
	assert.NilError(t, err)

	next, err := c.PreviewSchedule(ctx, "30 9 * * MON", "Europe/Berlin", 3)
	assert.NilError(t, err)
	assert.Equal(t, len(next), 3)
	for _, at := range next {
		assert.Equal(t, at.In(berlin).Format("Mon 15:04"), "Mon 09:30")
		assert.Assert(t, at.After(time.Now()))
	}
	next, err = c.PreviewSchedule(ctx, "*/5 * * * *", "", oz.MaxPreview)
	assert.NilError(t, err)
	assert.Equal(t, len(next), oz.MaxPreview)
	assert.Equal(t, next[1].Sub(next[0]), 5*time.Minute)

	for _, bad := range []struct {
		cron, zone string
		limit      int
		field      string
	}{
		{"61 * * * *", "", 3, "cron_schedule"}, {"0 0 30 2 *", "", 3, "cron_schedule"}, {"@daily", "", 3, "cron_schedule"}, {"", "", 3, "cron_schedule"},
		{"0 0 * * *", "Mars/Olympus", 3, "oz.time_zone"}, {"0 0 * * *", "Local", 3, "oz.time_zone"},
		{"0 0 * * *", "", 0, "limit"}, {"0 0 * * *", "", 51, "limit"},
	} {
		_, err := c.PreviewSchedule(ctx, bad.cron, bad.zone, bad.limit)
		assert.Equal(t, task.CodeOf(err), task.CodeInvalidRequest, "%v: %v", bad, err)
		assert.Assert(t, strings.Contains(err.Error(), bad.field), "%v: %v", bad, err)
	}
}

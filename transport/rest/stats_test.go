package rest_test

import (
	"net/http"
	"testing"
	"time"

	"gotest.tools/v3/assert"

	"github.com/oz-platform/cloudagents/oz"
	"github.com/oz-platform/cloudagents/task"
	"github.com/oz-platform/cloudagents/transport/client"
	"github.com/oz-platform/cloudagents/transport/internal/transporttest"
)

// TestStatsOverHTTP reads by the SDK what a run left behind.
func TestStatsOverHTTP(t *testing.T) {
	e := transporttest.Start(t, nil)
	admin, ctx := sdk(t, e, transporttest.AdminKey), t.Context()
	_, err := admin.Submit(ctx, oz.Request{Prompt: "x", Config: task.Config{ModelID: "auto"}})
	assert.NilError(t, err)
	link, err := client.NewLink(e.Claimed(), nil)
	assert.NilError(t, err)
	assert.NilError(t, link.Begin(ctx))
	assert.NilError(t, link.End(ctx, task.End{State: task.StateFailed, Status: task.Status{Message: "no", ErrorCode: task.CodeEnvironmentSetupFailed}}))
	q := oz.StatsQuery{Group: task.StatsBySource, Bucket: oz.StatsDaily, TimeZone: "Europe/Berlin", From: time.Now().Add(-time.Hour), To: time.Now().Add(time.Hour),
		Where: map[task.StatsGroup]string{task.StatsByHarness: "oz"}, Limit: 3}
	got, err := admin.Stats(ctx, q)
	assert.NilError(t, err)
	assert.Equal(t, got.Total.Runs, int64(1))
	assert.DeepEqual(t, got.Total.Failures, []task.CodeCount{{Code: task.CodeEnvironmentSetupFailed, Count: 1}})
	assert.Equal(t, got.Query.TimeZone, "Europe/Berlin")
	assert.Equal(t, len(got.Groups), 1)
	assert.Equal(t, got.Groups[0].Key, "API")
	assert.Assert(t, len(got.Buckets) >= 1 && len(got.Groups[0].Buckets) == 1)
	rate, ok := got.Total.SuccessRate()
	assert.Assert(t, ok && rate == 0)
	q.Where[task.StatsByModel] = "none such"
	got, err = admin.Stats(ctx, q)
	assert.NilError(t, err)
	assert.Equal(t, got.Total.Runs, int64(0))
}

func TestStatsRefusals(t *testing.T) {
	e := transporttest.Start(t, nil)
	for query, field := range map[string]string{"?group_by=colour": "group_by", "?bucket=year": "bucket", "?from=yesterday": "from", "?source=PHONE": "source",
		"?limit=101": "limit", "?limit=x": "limit", "?time_zone=Mars": "time_zone", "?from=2020-01-01T00:00:00Z": "from", "?to=2026-01-01T00:00:00Z&from=2026-01-01T00:00:00Z": "to"} {
		a := e.Call(transporttest.AdminKey, http.MethodGet, "/api/v1/oz/stats"+query, nil)
		assert.Equal(t, a.Status, http.StatusBadRequest, "%s", a.Body)
		assert.Equal(t, a.Problem()["field"], field)
	}
}

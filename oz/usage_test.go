package oz_test

import (
	"cmp"
	"fmt"
	"slices"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"gotest.tools/v3/assert"

	"github.com/oz-platform/cloudagents/oz"
	"github.com/oz-platform/cloudagents/task"
)

// TestUsageIsTheSumOfTheRuns: whatever the rows stand for, they add up to what
// the runs say that the caller can list, and nobody sees what others have used.
func TestUsageIsTheSumOfTheRuns(t *testing.T) {
	p, store := newPlatform(t, nil)
	c := people(t, p)
	for i, who := range []string{"ann", "bob", "cid", "dan", "ann", "bob"} {
		run := submit(t, c[who], oz.Request{Prompt: fmt.Sprint(i), Team: ptr(who != "dan" && i < 4)})
		l, _ := at(t, store, p, run.ID)
		for j := range int64(i) {
			event := used("", 10*j+1, 0.1*float64(j))
			event[0].Payload.(*task.UsageReport).Model = fmt.Sprint("m", j)
			assert.NilError(t, l.Append(t.Context(), j, event))
		}
		assert.NilError(t, l.End(t.Context(), task.End{State: task.StateFailed}))
	}
	near := cmpopts.EquateApprox(0, 1e-9)
	for _, who := range []string{"ann", "bob", "cid", "dan"} {
		page, err := c[who].List(t.Context(), task.Query{Limit: 100})
		assert.NilError(t, err)
		var want task.UsageSum
		for _, run := range page.Tasks {
			usd, _ := run.Usage.USD()
			want.Tokens, want.CostUSD = want.Tokens.Add(run.Usage.Tokens()), want.CostUSD+usd
			want.RunTime += run.RunTime
			want.Runs++
		}
		for _, g := range []task.UsageGroup{"", task.UsageByDay, task.UsageByUser, task.UsageByTeam, task.UsageByModel, task.UsageByAgent, task.UsageBySource} {
			report, err := c[who].Usage(t.Context(), task.UsageQuery{Group: g})
			assert.NilError(t, err)
			assert.Equal(t, report.Group, cmp.Or(g, task.UsageTotal))
			var sum task.UsageSum
			for _, row := range report.Rows {
				sum.Tokens, sum.CostUSD, sum.RunTime, sum.Runs = sum.Tokens.Add(row.Tokens), sum.CostUSD+row.CostUSD, sum.RunTime+row.RunTime, sum.Runs+row.Runs
			}
			if g == task.UsageByModel {
				sum.Runs = want.Runs // a run counts for each of its models
			}
			assert.DeepEqual(t, sum, want, gocmp.Options{near})
		}
	}
	report, err := c["ann"].Usage(t.Context(), task.UsageQuery{Group: task.UsageByUser})
	assert.NilError(t, err)
	var names []string
	for _, row := range report.Rows {
		names = append(names, row.Key+" "+row.Name)
	}
	slices.Sort(names)
	assert.DeepEqual(t, names, []string{"ann Ann", "bob Bob"})
	report, err = c["ann"].Usage(t.Context(), task.UsageQuery{Owners: []task.Scope{{Type: task.ScopeTeam, UID: "blue"}}})
	assert.NilError(t, err)
	assert.Equal(t, len(report.Rows), 0)
}

func TestUsageRefusesBadQueries(t *testing.T) {
	p, _ := newPlatform(t, nil)
	now := time.Now()
	for field, q := range map[string]task.UsageQuery{"group_by": {Group: "colour"}, "before": {CreatedAfter: now, CreatedBefore: now}} {
		_, err := p.Usage(t.Context(), q)
		assert.ErrorIs(t, err, task.ErrInvalid)
		assert.ErrorContains(t, err, field)
	}
}

// TestUsageIsBounded: of more rows than a report holds the dearest are shown.
func TestUsageIsBounded(t *testing.T) {
	p, store := newPlatform(t, nil)
	const models, runs = 90, 12
	for i := range runs {
		run := submit(t, p, oz.Request{Prompt: "x"})
		l, _ := at(t, store, p, run.ID)
		var events []task.Event
		for j := range models {
			e := used("", 1, float64(i*models+j))
			e[0].Payload.(*task.UsageReport).Model = fmt.Sprint("m", i, "-", j)
			events = append(events, e...)
		}
		assert.NilError(t, l.Append(t.Context(), 0, events))
	}
	report, err := p.Usage(t.Context(), task.UsageQuery{Group: task.UsageByModel})
	assert.NilError(t, err)
	assert.Assert(t, report.Truncated)
	assert.Equal(t, len(report.Rows), 1000)
	assert.Equal(t, report.Rows[0].CostUSD, float64(runs*models-1))
	assert.Equal(t, report.Rows[999].CostUSD, float64(runs*models-1000))
}

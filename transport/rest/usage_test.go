package rest_test

import (
	"net/http"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"gotest.tools/v3/assert"

	"github.com/oz-platform/cloudagents/executor"
	"github.com/oz-platform/cloudagents/oz"
	"github.com/oz-platform/cloudagents/oz/access"
	"github.com/oz-platform/cloudagents/task"
	"github.com/oz-platform/cloudagents/transport/client"
	"github.com/oz-platform/cloudagents/transport/internal/transporttest"
)

var team = task.Scope{Type: task.ScopeTeam, UID: access.DefaultTeam}

// TestBudgetsOverHTTP sets a budget, spends it as a runner does, and sees the
// refusals that follow, all by way of the SDK.
func TestBudgetsOverHTTP(t *testing.T) {
	e := transporttest.Start(t, nil)
	admin, ctx := sdk(t, e, transporttest.AdminKey), t.Context()
	put, err := admin.PutBudget(ctx, oz.Budget{Scope: team, LimitTokens: ptr(int64(1000)), LimitUSD: ptr(10.0), Period: oz.BudgetDaily})
	assert.NilError(t, err)
	assert.Assert(t, put.ResetsAt.After(time.Now()))
	run, err := admin.Submit(ctx, oz.Request{Prompt: "x"})
	assert.NilError(t, err)
	link, err := client.NewLink(e.Claimed(), nil)
	assert.NilError(t, err)
	bundle, err := link.Bundle(ctx)
	assert.NilError(t, err)
	assert.Assert(t, bundle.Reserve)
	beat, err := link.Heartbeat(ctx)
	assert.NilError(t, err)
	assert.Assert(t, beat.Reserve)
	assert.NilError(t, link.Begin(ctx))

	got, err := link.Reserve(ctx, executor.Reservation{Call: "1", Tokens: 900, CostUSD: ptr(2.5)})
	assert.NilError(t, err)
	assert.Equal(t, got, executor.Reserved{Budgets: 1})
	got, err = link.Reserve(ctx, executor.Reservation{Call: "2", Tokens: 900, CostUSD: ptr(2.5)})
	assert.NilError(t, err)
	assert.Assert(t, got.WaitMS > 0 && got.Budgets == 0)
	_, err = link.Reserve(ctx, executor.Reservation{Call: "2", Tokens: 900})
	assert.ErrorIs(t, err, task.Errorf(task.CodeBudgetExceeded, ""))
	assert.NilError(t, link.Append(ctx, 0, []task.Event{{Payload: &task.UsageReport{Category: "primary_agent", Model: "m", Calls: 1, Priced: true, CallID: "1",
		Tokens: task.TokenCount{Input: 700, CacheRead: 200, Output: 100}, Cost: task.CostUSD{Input: 0.5, Output: 1}, WebSearches: 2, WebSearchUSD: 0.25}}}))

	budgets, err := admin.Budgets(ctx)
	assert.NilError(t, err)
	want := []oz.BudgetStatus{{Budget: put.Budget, Spent: task.Spending{Tokens: 1000, USD: 1.75}, ResetsAt: put.ResetsAt}}
	assert.DeepEqual(t, budgets, want)
	_, err = admin.Submit(ctx, oz.Request{Prompt: "y"})
	assert.ErrorIs(t, err, task.Errorf(task.CodeBudgetExceeded, ""))
	report, err := admin.Usage(ctx, task.UsageQuery{Group: task.UsageByTeam})
	assert.NilError(t, err)
	row := oz.UsageRow{Name: report.Rows[0].Name, UsageSum: task.UsageSum{Key: team.UID, Runs: 1, Calls: 1, CostUSD: 1.75,
		Tokens: task.TokenCount{Input: 700, CacheRead: 200, Output: 100}}}
	assert.DeepEqual(t, report.Rows, []oz.UsageRow{row}, cmp.Options{cmpopts.EquateApprox(0, 1e-9)})
	shown, err := admin.Get(ctx, run.ID)
	assert.NilError(t, err)
	assert.Equal(t, shown.Usage.Models[0].WebSearches, int64(2))
	assert.NilError(t, admin.DeleteBudget(ctx, team))
	assert.ErrorIs(t, admin.DeleteBudget(ctx, team), task.ErrNotFound)
	_, err = admin.Submit(ctx, oz.Request{Prompt: "y"})
	assert.NilError(t, err)
}

// TestBudgetRefusals: bad input names its field, the wrong role is forbidden,
// and what is foreign does not exist.
func TestBudgetRefusals(t *testing.T) {
	e := transporttest.Start(t, nil)
	const path = "/api/v1/oz/budgets/Team/default"
	for field, body := range map[string]any{
		"limit_usd": map[string]any{}, "limit_tokens": map[string]any{"limit_tokens": -1}, "period": map[string]any{"limit_usd": 1, "period": "week"},
	} {
		a := e.Call(transporttest.AdminKey, http.MethodPut, path, body)
		assert.Equal(t, a.Status, http.StatusBadRequest, "%s", a.Body)
		assert.Equal(t, a.Problem()["field"], field)
	}
	a := e.Call(transporttest.AdminKey, http.MethodPut, path, map[string]any{"limit_usd": "much"})
	assert.Equal(t, a.Status, http.StatusBadRequest, "%s", a.Body)
	assert.Equal(t, a.Problem()["field"], "limit_usd")
	a = e.Call(transporttest.AdminKey, http.MethodPut, "/api/v1/oz/budgets/Planet/mars", map[string]any{"limit_usd": 1})
	assert.Equal(t, a.Status, http.StatusBadRequest, "%s", a.Body)
	for key, status := range map[string]int{e.Member: http.StatusForbidden, e.Outsider: http.StatusNotFound} {
		a := e.Call(key, http.MethodPut, path, map[string]any{"limit_usd": 1})
		assert.Equal(t, a.Status, status, "%s", a.Body)
		assert.Equal(t, e.Call(key, http.MethodDelete, path, nil).Status, status)
	}
	for query, field := range map[string]string{"?group_by=colour": "group_by", "?after=yesterday": "after", "?after=2026-01-02T00:00:00Z&before=2026-01-01T00:00:00Z": "before"} {
		a := e.Call(transporttest.AdminKey, http.MethodGet, "/api/v1/oz/usage"+query, nil)
		assert.Equal(t, a.Status, http.StatusBadRequest, "%s", a.Body)
		assert.Equal(t, a.Problem()["field"], field)
	}
	_, err := sdk(t, e, transporttest.AdminKey).Submit(t.Context(), oz.Request{Prompt: "x"})
	assert.NilError(t, err)
	link, err := client.NewLink(e.Claimed(), nil)
	assert.NilError(t, err)
	_, err = link.Reserve(t.Context(), executor.Reservation{})
	assert.ErrorIs(t, err, task.ErrInvalid)
	assert.ErrorContains(t, err, "call_id")
}

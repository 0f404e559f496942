package rest

import (
	"context"

	"github.com/oz-platform/cloudagents/oz"
	"github.com/oz-platform/cloudagents/task"
	"github.com/oz-platform/cloudagents/transport/api"
	"github.com/oz-platform/cloudagents/transport/internal/wire"
)

// GetUsage implements GET /oz/usage.
func (o operations) GetUsage(ctx context.Context, r api.GetUsageRequestObject) (api.GetUsageResponseObject, error) {
	report, err := callOf(ctx).client.Usage(ctx, task.UsageQuery{Group: task.UsageGroup(r.Params.GroupBy),
		CreatedAfter: r.Params.After, CreatedBefore: r.Params.Before})
	if err != nil {
		return nil, err
	}
	return api.GetUsage200JSONResponse(wire.UsageReport(report)), nil
}

// ListBudgets implements GET /oz/budgets.
func (o operations) ListBudgets(ctx context.Context, _ api.ListBudgetsRequestObject) (api.ListBudgetsResponseObject, error) {
	list, err := callOf(ctx).client.Budgets(ctx)
	if err != nil {
		return nil, err
	}
	answer := api.ListBudgets200JSONResponse{Budgets: []api.BudgetItem{}}
	for _, b := range list {
		answer.Budgets = append(answer.Budgets, wire.Budget(b))
	}
	return answer, nil
}

// PutBudget implements PUT /oz/budgets/{scopeType}/{scopeUid}.
func (o operations) PutBudget(ctx context.Context, r api.PutBudgetRequestObject) (api.PutBudgetResponseObject, error) {
	b, err := callOf(ctx).client.PutBudget(ctx, oz.Budget{Scope: budgetScope(string(r.ScopeType), r.ScopeUid),
		LimitUSD: r.Body.LimitUsd, LimitTokens: r.Body.LimitTokens, Period: oz.BudgetPeriod(r.Body.Period)})
	if err != nil {
		return nil, err
	}
	return api.PutBudget200JSONResponse(wire.Budget(b)), nil
}

// DeleteBudget implements DELETE /oz/budgets/{scopeType}/{scopeUid}.
func (o operations) DeleteBudget(ctx context.Context, r api.DeleteBudgetRequestObject) (api.DeleteBudgetResponseObject, error) {
	if err := callOf(ctx).client.DeleteBudget(ctx, budgetScope(string(r.ScopeType), r.ScopeUid)); err != nil {
		return nil, err
	}
	return api.DeleteBudget204Response{}, nil
}

func budgetScope(kind, uid string) task.Scope {
	return task.Scope{Type: task.ScopeType(kind), UID: uid}
}

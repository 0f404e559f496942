package client

import (
	"context"
	"net/url"
	"time"

	"github.com/oz-platform/cloudagents/oz"
	"github.com/oz-platform/cloudagents/task"
	"github.com/oz-platform/cloudagents/transport/api"
	"github.com/oz-platform/cloudagents/transport/internal/wire"
)

// Usage sums up what the runs of the caller and the caller's teams have used.
// Of q the group and the times count.
func (c *Client) Usage(ctx context.Context, q task.UsageQuery) (oz.UsageReport, error) {
	values := url.Values{}
	if q.Group != "" {
		values.Set("group_by", string(q.Group))
	}
	for name, at := range map[string]time.Time{"after": q.CreatedAfter, "before": q.CreatedBefore} {
		if !at.IsZero() {
			values.Set(name, at.Format(time.RFC3339Nano))
		}
	}
	r, err := decode[api.UsageResponse](c.raw.GetUsage(ctx, nil, query(values)))
	return wire.UsageReportOf(r), err
}

// Budgets lists the budgets that concern the caller.
func (c *Client) Budgets(ctx context.Context) ([]oz.BudgetStatus, error) {
	answer, err := decode[api.ListBudgetsResponse](c.raw.ListBudgets(ctx))
	if err != nil {
		return nil, err
	}
	list := make([]oz.BudgetStatus, 0, len(answer.Budgets))
	for _, b := range answer.Budgets {
		list = append(list, wire.BudgetOf(b))
	}
	return list, nil
}

// PutBudget sets or replaces the budget of a team or of a person.
func (c *Client) PutBudget(ctx context.Context, b oz.Budget) (oz.BudgetStatus, error) {
	if err := checkID("scope uid", b.Scope.UID); err != nil {
		return oz.BudgetStatus{}, err
	}
	item, err := decode[api.BudgetItem](c.raw.PutBudget(ctx, string(b.Scope.Type), b.Scope.UID,
		api.BudgetRequest{LimitUsd: b.LimitUSD, LimitTokens: b.LimitTokens, Period: string(b.Period)}))
	return wire.BudgetOf(item), err
}

// DeleteBudget lifts the budget of a team or of a person.
func (c *Client) DeleteBudget(ctx context.Context, s task.Scope) error {
	if err := checkID("scope uid", s.UID); err != nil {
		return err
	}
	return done(c.raw.DeleteBudget(ctx, string(s.Type), s.UID))
}

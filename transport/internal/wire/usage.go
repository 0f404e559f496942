package wire

import (
	"time"

	"github.com/oz-platform/cloudagents/oz"
	"github.com/oz-platform/cloudagents/task"
	"github.com/oz-platform/cloudagents/transport/api"
)

func tokens(t task.TokenCount) api.TokenCount {
	return api.TokenCount{Input: t.Input, InputCacheRead: t.CacheRead, InputCacheWrite: t.CacheWrite, Output: t.Output}
}

func tokensOf(t api.TokenCount) task.TokenCount {
	return task.TokenCount{Input: t.Input, CacheRead: t.InputCacheRead, CacheWrite: t.InputCacheWrite, Output: t.Output}
}

func cost(c task.CostUSD) api.CostUsd {
	return api.CostUsd{InputCostUsd: c.Input, InputCacheReadCostUsd: c.CacheRead, InputCacheWriteCostUsd: c.CacheWrite, OutputCostUsd: c.Output}
}

func costOf(c api.CostUsd) task.CostUSD {
	return task.CostUSD{Input: c.InputCostUsd, CacheRead: c.InputCacheReadCostUsd, CacheWrite: c.InputCacheWriteCostUsd, Output: c.OutputCostUsd}
}

// requestUsage is the server's own accounting (Oz API, RequestUsage): there
// are no credits, and the cost is left out when a model has no known price.
func requestUsage(u task.Usage) *api.RequestUsage {
	if len(u.Models) == 0 {
		return nil
	}
	total := u.Tokens().Total()
	out := api.RequestUsage{TotalTokens: &total, UsageByCategory: map[string]api.UsageByCategory{}}
	if dollars, complete := u.USD(); complete {
		sum, _ := u.Cost()
		parts := cost(sum)
		out.InferenceCostUsd, out.InferenceCostBreakdownUsd = &dollars, &parts
	}
	for _, m := range u.Models {
		c := out.UsageByCategory[m.Category]
		addModel(&c, m)
		out.UsageByCategory[m.Category] = c
	}
	return &out
}

// addModel counts a model with those that were called at their vendors, by the
// operator's key, or else at another endpoint (Oz API, self-hosting).
func addModel(c *api.UsageByCategory, m task.ModelUsage) {
	models := &c.ByokInferenceUsage
	if m.Custom {
		models = &c.CustomEndpointInferenceUsage
	}
	if *models == nil {
		*models = map[string]api.InferenceUsage{}
	}
	(*models)[m.Model] = api.InferenceUsage{TokenCount: tokens(m.Tokens), CostUsd: cost(m.Cost),
		WebSearchCount: m.WebSearches, WebSearchCostUsd: m.WebSearchUSD}
}

// UsageReport is the answer to GET /oz/usage.
func UsageReport(r oz.UsageReport) api.UsageResponse {
	out := api.UsageResponse{GroupBy: string(r.Group), Rows: []api.UsageRow{}, Truncated: r.Truncated}
	for _, row := range r.Rows {
		out.Rows = append(out.Rows, api.UsageRow{Key: row.Key, Name: row.Name, Runs: row.Runs, Calls: row.Calls, Tokens: tokens(row.Tokens),
			CostUsd: row.CostUSD, Unpriced: row.Unpriced, RunTimeMs: row.RunTime.Milliseconds()})
	}
	return out
}

// UsageReportOf reads what UsageReport wrote.
func UsageReportOf(r api.UsageResponse) oz.UsageReport {
	out := oz.UsageReport{Group: task.UsageGroup(r.GroupBy), Rows: []oz.UsageRow{}, Truncated: r.Truncated}
	for _, row := range r.Rows {
		out.Rows = append(out.Rows, oz.UsageRow{Name: row.Name, UsageSum: task.UsageSum{Key: row.Key, Runs: row.Runs, Calls: row.Calls,
			Tokens: tokensOf(row.Tokens), CostUSD: row.CostUsd, Unpriced: row.Unpriced, RunTime: time.Duration(row.RunTimeMs) * time.Millisecond}})
	}
	return out
}

// Budget is a budget and how far it is used up.
func Budget(b oz.BudgetStatus) api.BudgetItem {
	return api.BudgetItem{Scope: api.BudgetScope{Type: api.BudgetScopeType(b.Scope.Type), Uid: b.Scope.UID}, LimitUsd: b.LimitUSD, LimitTokens: b.LimitTokens, Period: string(b.Period),
		SpentUsd: b.Spent.USD, SpentTokens: b.Spent.Tokens, ReservedUsd: b.Reserved.USD, ReservedTokens: b.Reserved.Tokens,
		ResetsAt: optionalTime(b.ResetsAt)}
}

// BudgetOf reads what Budget wrote.
func BudgetOf(b api.BudgetItem) oz.BudgetStatus {
	return oz.BudgetStatus{Budget: oz.Budget{Scope: task.Scope{Type: task.ScopeType(b.Scope.Type), UID: b.Scope.Uid}, LimitUSD: b.LimitUsd, LimitTokens: b.LimitTokens, Period: oz.BudgetPeriod(b.Period)},
		Spent:    task.Spending{USD: b.SpentUsd, Tokens: b.SpentTokens},
		Reserved: task.Spending{USD: b.ReservedUsd, Tokens: b.ReservedTokens}, ResetsAt: timeOf(b.ResetsAt)}
}

func usageOf(models []api.ModelUsage) task.Usage {
	var u task.Usage
	for _, m := range models {
		u.Models = append(u.Models, task.ModelUsage{Category: m.Category, Model: m.Model, Calls: m.Calls,
			Tokens: tokensOf(m.Tokens), Cost: costOf(m.CostUsd), Unpriced: m.Unpriced,
			WebSearches: m.WebSearches, WebSearchUSD: m.WebSearchCostUsd, Custom: m.CustomEndpoint})
	}
	return u
}

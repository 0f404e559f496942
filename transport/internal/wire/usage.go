package wire

import (
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
	if sum, complete := u.Cost(); complete {
		dollars, parts := sum.Total(), cost(sum)
		out.InferenceCostUsd, out.InferenceCostBreakdownUsd = &dollars, &parts
	}
	for _, m := range u.Models {
		c := out.UsageByCategory[m.Category]
		addModel(&c, m)
		out.UsageByCategory[m.Category] = c
	}
	return &out
}

// addModel counts a model among those of vendors, which have a price, or else
// among local and gateway models.
func addModel(c *api.UsageByCategory, m task.ModelUsage) {
	models := &c.ByokInferenceUsage
	if m.Unpriced {
		models = &c.CustomEndpointInferenceUsage
	}
	if *models == nil {
		*models = map[string]api.InferenceUsage{}
	}
	(*models)[m.Model] = api.InferenceUsage{TokenCount: tokens(m.Tokens), CostUsd: cost(m.Cost)}
}

func usageOf(models []api.ModelUsage) task.Usage {
	var u task.Usage
	for _, m := range models {
		u.Models = append(u.Models, task.ModelUsage{Category: m.Category, Model: m.Model, Calls: m.Calls,
			Tokens: tokensOf(m.Tokens), Cost: costOf(m.CostUsd), Unpriced: m.Unpriced})
	}
	return u
}

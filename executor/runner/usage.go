package runner

import (
	"context"
	"net/url"
	"slices"
	"time"

	"github.com/oz-platform/cloudagents/executor"
	"github.com/oz-platform/cloudagents/executor/gateway"
	"github.com/oz-platform/cloudagents/task"
)

// maxHoldWait is how long a model call waits for others to use less of a
// shared budget than they may: longer than most calls take, and shorter than
// the patience of the vendors' SDKs, which is 10 min.
const maxHoldWait = 5 * time.Minute

// reserve asks the platform for a call's share of the budgets that it keeps.
func (x *execution) reserve(ctx context.Context, r gateway.Reservation) (held bool, err error) {
	if !x.reserving.Load() {
		return false, nil
	}
	ask := executor.Reservation{Call: r.Call, Tokens: r.Tokens}
	if r.Priced {
		ask.CostUSD = &r.USD
	}
	for began := x.opts.Clock.Now(); ; {
		got, err := x.link.Reserve(ctx, ask)
		if err != nil || got.WaitMS == 0 {
			return true, err
		}
		if x.opts.Clock.Now().Sub(began) >= maxHoldWait {
			return true, task.Errorf(task.CodeBudgetExceeded, "the calls of other runs hold what is left of a shared budget; try again once they have ended, or raise it")
		}
		select {
		case <-x.opts.Clock.After(time.Duration(got.WaitMS) * time.Millisecond):
		case <-ctx.Done():
			return true, ctx.Err()
		}
	}
}

// usage is what a call has used, as the log has it.
func (x *execution) usage(c gateway.Call) *task.UsageReport {
	r := &task.UsageReport{Category: c.Category, Model: c.Model, Provider: c.Provider, Priced: c.Cost != nil, CallID: c.Reservation,
		Custom:      x.custom(c.Provider),
		Tokens:      task.TokenCount{Input: c.Usage.Input, CacheRead: c.Usage.CacheRead, CacheWrite: c.Usage.CacheWrite, Output: c.Usage.Output},
		WebSearches: c.Usage.WebSearches}
	if r.Category == "" {
		r.Category = "primary_agent"
	}
	if c.Usage.Total() > 0 {
		r.Calls = 1
	}
	if c.Cost != nil {
		r.Cost = task.CostUSD{Input: c.Cost.Input, CacheRead: c.Cost.CacheRead, CacheWrite: c.Cost.CacheWrite, Output: c.Cost.Output}
		r.WebSearchUSD = c.Cost.WebSearch
	}
	return r
}

// vendors are the hosts at which those who make models serve them.
func vendors() []string {
	return []string{"api.anthropic.com", "api.openai.com", "generativelanguage.googleapis.com"}
}

// custom reports that a provider is no vendor's own endpoint, but a local model
// or somebody's gateway (Oz API, custom_endpoint_inference_usage).
func (x *execution) custom(provider string) bool {
	i := slices.IndexFunc(x.bundle.Models.Providers, func(p executor.ModelProvider) bool { return p.Name == provider })
	if i < 0 {
		return false
	}
	u, err := url.Parse(x.bundle.Models.Providers[i].BaseURL)
	return err != nil || u.Host != "" && !slices.Contains(vendors(), u.Hostname())
}

package task

import (
	"math"
	"slices"
)

// TokenCount counts tokens as the wire does (Oz API, TokenCount).
type TokenCount struct {
	Input      int64 `json:"input"`             // uncached
	CacheRead  int64 `json:"input_cache_read"`  // read from the provider's cache
	CacheWrite int64 `json:"input_cache_write"` // written to it
	Output     int64 `json:"output"`            // the model's, reasoning included
}

// Total adds all kinds of token.
func (t TokenCount) Total() int64 { return t.Input + t.CacheRead + t.CacheWrite + t.Output }

// Add gives the sum of both counts.
func (t TokenCount) Add(o TokenCount) TokenCount {
	return TokenCount{t.Input + o.Input, t.CacheRead + o.CacheRead, t.CacheWrite + o.CacheWrite, t.Output + o.Output}
}

// CostUSD is the price of a TokenCount in dollars, by kind (Oz API, CostUsd).
type CostUSD struct {
	Input      float64 `json:"input_cost_usd"`             // uncached
	CacheRead  float64 `json:"input_cache_read_cost_usd"`  // read from the cache
	CacheWrite float64 `json:"input_cache_write_cost_usd"` // written to it
	Output     float64 `json:"output_cost_usd"`            // the model's
}

// Total adds the cost of all kinds.
func (c CostUSD) Total() float64 { return c.Input + c.CacheRead + c.CacheWrite + c.Output }

// Add gives the sum of both costs.
func (c CostUSD) Add(o CostUSD) CostUSD {
	return CostUSD{c.Input + o.Input, c.CacheRead + o.CacheRead, c.CacheWrite + o.CacheWrite, c.Output + o.Output}
}

// ModelUsage is what one model was used for within one category, by way of one
// kind of endpoint.
type ModelUsage struct {
	Category string     `json:"category"` // what for: "primary_agent" ...
	Model    string     `json:"model"`    // as the provider names it
	Calls    int        `json:"calls"`    // answered calls
	Tokens   TokenCount `json:"tokens"`
	Cost     CostUSD    `json:"cost_usd"`
	// WebSearches counts the searches that the provider made; their price is
	// not in Cost.
	WebSearches  int64   `json:"web_searches,omitempty"`
	WebSearchUSD float64 `json:"web_search_cost_usd,omitempty"`
	// Custom says that the endpoint was no model vendor's own.
	Custom bool `json:"custom_endpoint,omitempty"`
	// Unpriced says that some of the tokens had no known price, so that Cost
	// is a lower bound.
	Unpriced bool `json:"unpriced,omitempty"`
}

// USD is the whole cost: of tokens and of searches.
func (m ModelUsage) USD() float64 { return m.Cost.Total() + m.WebSearchUSD }

// Limits of what a run's usage tells apart: it is part of every write to the
// run. What is used of further models counts as that of UsageOther.
const (
	MaxUsageModels    = 100
	maxUsageNameBytes = 256 // of a category or a model
	UsageOther        = "other"
)

// Validate checks a report as an execution sends it.
func (r UsageReport) Validate() error {
	if len(r.Category) > maxUsageNameBytes || len(r.Model) > maxUsageNameBytes || len(r.CallID) > maxUsageNameBytes {
		return Invalid("usage", "category, model and call_id may have %d bytes each", maxUsageNameBytes)
	}
	if t := r.Tokens; min(t.Input, t.CacheRead, t.CacheWrite, t.Output, r.WebSearches) < 0 || r.Calls < 0 {
		return Invalid("usage", "tokens and calls must not be negative")
	}
	if c := r.Cost; !(min(c.Input, c.CacheRead, c.CacheWrite, c.Output, r.WebSearchUSD) >= 0) || math.IsInf(c.Total()+r.WebSearchUSD, 0) {
		return Invalid("usage", "costs must be numbers, and not negative")
	}
	return nil
}

// Usage is what a run has used of models, by category and model.
type Usage struct {
	Models []ModelUsage `json:"models,omitempty"` // one entry for each category, model and kind of endpoint, in order of first use
}

// Add gives the usage with one report counted in. u itself is not changed.
func (u Usage) Add(r UsageReport) Usage {
	if r.nothing() {
		return u
	}
	out := Usage{Models: append([]ModelUsage(nil), u.Models...)}
	i := out.index(r)
	if i < 0 && len(out.Models) >= MaxUsageModels-1 {
		r.Category, r.Model, r.Custom = UsageOther, UsageOther, false
		i = out.index(r)
	}
	if i < 0 {
		i = len(out.Models)
		out.Models = append(out.Models, ModelUsage{Category: r.Category, Model: r.Model, Custom: r.Custom})
	}
	out.Models[i].count(r)
	return out
}

// nothing reports that a call has used nothing: it was not answered.
func (r UsageReport) nothing() bool {
	return r.Calls == 0 && r.Tokens == (TokenCount{}) && r.Cost == (CostUSD{}) && r.WebSearches == 0 && r.WebSearchUSD == 0
}

// index finds what the report belongs to; -1 when there is nothing yet.
func (u Usage) index(r UsageReport) int {
	return slices.IndexFunc(u.Models, func(m ModelUsage) bool { return m.Category == r.Category && m.Model == r.Model && m.Custom == r.Custom })
}

func (m *ModelUsage) count(r UsageReport) {
	m.Calls += r.Calls
	m.Tokens = m.Tokens.Add(r.Tokens)
	m.Cost = m.Cost.Add(r.Cost)
	m.WebSearches += r.WebSearches
	m.WebSearchUSD += r.WebSearchUSD
	m.Unpriced = m.Unpriced || !r.Priced
}

// Tokens adds the tokens of all models.
func (u Usage) Tokens() TokenCount {
	var t TokenCount
	for _, m := range u.Models {
		t = t.Add(m.Tokens)
	}
	return t
}

// Cost adds the cost of all models; complete is false when some of the
// tokens had no known price.
func (u Usage) Cost() (cost CostUSD, complete bool) {
	complete = true
	for _, m := range u.Models {
		cost = cost.Add(m.Cost)
		complete = complete && !m.Unpriced
	}
	return cost, complete
}

// USD is the whole cost of all models, searches included; complete is false
// when some of the tokens had no known price.
func (u Usage) USD() (usd float64, complete bool) {
	cost, complete := u.Cost()
	usd = cost.Total()
	for _, m := range u.Models {
		usd += m.WebSearchUSD
	}
	return usd, complete
}

package gateway

import "math"

// Usage is what a call spent, in tokens. Each token is in exactly one of
// Input, CacheRead, CacheWrite and Output, on every wire.
type Usage struct {
	// Input are prompt tokens that no cache had.
	Input int64 `json:"input"`
	// CacheRead are prompt tokens read from the provider's cache.
	CacheRead int64 `json:"input_cache_read"`
	// CacheWrite are prompt tokens written to the cache.
	CacheWrite int64 `json:"input_cache_write"`
	// CacheWrite1h is the part of CacheWrite that is kept for an hour.
	CacheWrite1h int64 `json:"input_cache_write_1h,omitempty"`
	// Output are all generated tokens, Reasoning the part of them that was thinking.
	Output    int64 `json:"output"`
	Reasoning int64 `json:"reasoning,omitempty"`
	// WebSearches counts searches the provider made. It is not in tokens.
	WebSearches int64 `json:"web_searches,omitempty"`
}

// Total is the number of all tokens.
func (u Usage) Total() int64 { return u.prompt() + u.Output }

// prompt is the whole prompt, however it was billed.
func (u Usage) prompt() int64 { return u.Input + u.CacheRead + u.CacheWrite }

// Add gives the sum of u and v.
func (u Usage) Add(v Usage) Usage {
	u.Input += v.Input
	u.CacheRead += v.CacheRead
	u.CacheWrite += v.CacheWrite
	u.CacheWrite1h += v.CacheWrite1h
	u.Output += v.Output
	u.Reasoning += v.Reasoning
	u.WebSearches += v.WebSearches
	return u
}

// Cost is the price of a Usage in USD, by kind of token.
type Cost struct {
	Input      float64 `json:"input_cost_usd"`
	CacheRead  float64 `json:"input_cache_read_cost_usd"`
	CacheWrite float64 `json:"input_cache_write_cost_usd"`
	Output     float64 `json:"output_cost_usd"`
	WebSearch  float64 `json:"web_search_cost_usd,omitempty"`
}

// Total is the sum in USD.
func (c Cost) Total() float64 { return c.Input + c.CacheRead + c.CacheWrite + c.Output + c.WebSearch }

// pico is money in units of 1e-12 USD. A price per million tokens with six
// decimals is a whole number of it per token, so sums are exact; int64 holds
// nine million dollars.
type pico int64

const picoPerUSD = 1e12

func picoOf(usd float64) pico    { return pico(math.Round(usd * picoPerUSD)) }
func (p pico) usd() float64      { return float64(p) / picoPerUSD }
func perToken(rate float64) pico { return pico(math.Round(rate * picoPerUSD / 1e6)) }

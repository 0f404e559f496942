package gateway_test

import (
	"strings"
	"testing"

	"gotest.tools/v3/assert"

	"github.com/oz-platform/cloudagents/executor/catalog"
	"github.com/oz-platform/cloudagents/executor/gateway"
)

func TestDefaultPrices(t *testing.T) {
	table, err := catalog.DefaultPrices()
	assert.NilError(t, err)
	u := gateway.Usage{Input: 1_000_000, CacheRead: 1_000_000, CacheWrite: 2_000_000, CacheWrite1h: 1_000_000, Output: 1_000_000}
	small := gateway.Usage{Input: 1000, Output: 1000}
	tests := []struct {
		model string
		usage gateway.Usage
		want  float64
	}{
		{"claude-opus-4-5-20251101", u, 5 + 0.5 + 6.25 + 10 + 25},
		{"claude-opus-4-1", small, 0.015 + 0.075},
		{"claude-3-5-haiku-latest", small, 0.0008 + 0.004},
		{"claude-haiku-5-5", gateway.Usage{Input: 100_000}, 0.01},
		{"claude-haiku-5-5", gateway.Usage{Input: 1, CacheRead: 100_000}, 100_000*0.05e-6 + 0.5e-6}, // a long prompt by its cached part
		{"gpt-4o-2024-08-06", small, 0.0025 + 0.01},
		{"gpt-4o-2024-05-13", small, 0.005 + 0.015},
		{"gpt-4o-2024-05-13", gateway.Usage{CacheRead: 1000}, 0.005}, // no cached rate: as input
		{"o3", small, 0.002 + 0.008},
	}
	for _, tt := range tests {
		price, ok := table.Of(tt.model)
		assert.Assert(t, ok, tt.model)
		got := gateway.CostOf(price, tt.usage).Total()
		assert.Assert(t, got > tt.want-1e-9 && got < tt.want+1e-9, "%s: %v, want %v", tt.model, got, tt.want)
	}
	for _, unknown := range []string{"", "claude-opus-4-99", "gpt-4o-mini-tts", "claude-opus-4-5x", "llama", "gpt-4o-99999999"} {
		_, ok := table.Of(unknown)
		assert.Assert(t, !ok, "%q has a price", unknown)
	}
}

const ownPrices = `{"comment":"ours","models":[
	{"models":["gpt-4o","local-*"],"input":1,"output":2,"as_of":"2026-01-31"},
	{"models":["local-large-*"],"input":0,"output":0,"context_window":1000,"as_of":"2026-01-31"}]}`

func TestPricesMerge(t *testing.T) {
	table, err := catalog.DefaultPrices()
	assert.NilError(t, err)
	own, err := catalog.LoadPrices(strings.NewReader(ownPrices))
	assert.NilError(t, err)
	merged := table.Merge(own)
	for model, want := range map[string]float64{"gpt-4o": 3, "gpt-4o-2024-08-06": 3, "gpt-4o-mini": 0.75, "local-7b": 3, "local-large-70b": 0} {
		price, ok := merged.Of(model)
		assert.Assert(t, ok, model)
		assert.Equal(t, gateway.CostOf(price, gateway.Usage{Input: 1e6, Output: 1e6}).Total(), want, model)
	}
	before, _ := table.Of("gpt-4o")
	assert.Equal(t, *before.Input, 2.5, "the table itself must not change")
}

func FuzzLoadPrices(f *testing.F) {
	f.Add(ownPrices, "local-x")
	f.Add(`{"models":[{"models":["a"],"input":1e2,"output":0,"as_of":"2026-01-31","long_context":{"over_input_tokens":5,"input":1,"output":1}}]}`, "a-20260131")
	f.Fuzz(func(t *testing.T, text, model string) {
		table, err := catalog.LoadPrices(strings.NewReader(text))
		if err != nil {
			return
		}
		if price, ok := table.Merge(table).Of(model); ok {
			cost := gateway.CostOf(price, gateway.Usage{Input: 100_000_000, CacheRead: 100_000_000, CacheWrite: 100_000_000, Output: 100_000_000, WebSearches: 100_000_000})
			if cost.Total() < 0 || cost.Input < 0 || cost.WebSearch < 0 {
				t.Fatalf("negative cost %+v", cost)
			}
		}
	})
}

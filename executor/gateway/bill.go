package gateway

import "github.com/oz-platform/cloudagents/executor/catalog"

// bill is a Cost in exact money.
type bill struct{ input, cacheRead, cacheWrite, output, webSearch pico }

func (b bill) total() pico { return b.input + b.cacheRead + b.cacheWrite + b.output + b.webSearch }

func (b bill) cost() *Cost {
	return &Cost{b.input.usd(), b.cacheRead.usd(), b.cacheWrite.usd(), b.output.usd(), b.webSearch.usd()}
}

// CostOf is the price of u.
func CostOf(price catalog.Price, u Usage) Cost { return *billOf(price, u).cost() }

func billOf(price catalog.Price, u Usage) bill {
	r := price.Rates
	if l := price.LongContext; l != nil && u.prompt() > l.OverInputTokens {
		r = l.Rates
	}
	input := *r.Input
	write := or(r.CacheWrite, input)
	b := bill{
		input:      pico(u.Input) * perToken(input),
		cacheRead:  pico(u.CacheRead) * perToken(or(r.CacheRead, input)),
		cacheWrite: pico(u.CacheWrite-u.CacheWrite1h)*perToken(write) + pico(u.CacheWrite1h)*perToken(or(r.CacheWrite1h, write)),
		output:     pico(u.Output) * perToken(*r.Output),
	}
	if price.WebSearch != nil {
		b.webSearch = pico(u.WebSearches) * picoOf(*price.WebSearch/1000)
	}
	return b
}

func or(rate *float64, def float64) float64 {
	if rate == nil {
		return def
	}
	return *rate
}

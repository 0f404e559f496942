package catalog

import (
	"bytes"
	_ "embed"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
)

//go:embed prices.json
var builtinPrices []byte

// maxPriceFileBytes bounds a price file; the built-in one has some 20 KiB.
const maxPriceFileBytes = 1 << 20

// maxRate bounds a price in USD per million tokens. It catches a price given
// per token or per thousand by the wrong factor, and keeps sums within int64.
const maxRate = 1000

// Rates are prices in USD per million tokens. Input and Output are required.
// A kind of cached token without a rate is billed as Input.
type Rates struct {
	Input      *float64 `json:"input"`
	CacheRead  *float64 `json:"cache_read,omitempty"`
	CacheWrite *float64 `json:"cache_write,omitempty"`
	// CacheWrite1h is for entries kept an hour; without it they cost CacheWrite.
	CacheWrite1h *float64 `json:"cache_write_1h,omitempty"`
	Output       *float64 `json:"output"`
}

// LongContext are the rates of a whole call whose prompt, cached tokens
// included, is larger than OverInputTokens.
type LongContext struct {
	OverInputTokens int64 `json:"over_input_tokens"`
	Rates
}

// Price is one entry of a price table.
type Price struct {
	// Models are ids of models. An id also stands for its dated forms: "m" is
	// the price of "m-20250929", "m-2025-09-29" and "m-latest" unless these
	// have an entry. An id that ends in "*" stands for all that begin with it;
	// the longest match wins, and an id wins over a pattern.
	Models []string `json:"models"`
	Rates
	// LongContext replaces the rates for large prompts; nil when there is no such tier.
	LongContext *LongContext `json:"long_context,omitempty"`
	// WebSearch is the price of a thousand searches in USD; nil when unknown.
	WebSearch *float64 `json:"web_search_per_1000,omitempty"`
	// ContextWindow and MaxOutput are the model's limits in tokens; 0 when unknown.
	ContextWindow int64 `json:"context_window,omitempty"`
	MaxOutput     int64 `json:"max_output,omitempty"`
	// AsOf is the day on which the entry was right, "2006-01-02". Required.
	AsOf string `json:"as_of"`
	// Source says where the entry comes from.
	Source string `json:"source,omitempty"`
}

// priceFile is the format of prices.json and of a user's own file.
type priceFile struct {
	Comment string  `json:"comment,omitempty"`
	Models  []Price `json:"models"`
}

// Prices is an immutable price table. The zero value knows no model.
type Prices struct {
	exact    map[string]*Price
	prefixes []prefixPrice // longest first
}

type prefixPrice struct {
	prefix string
	price  *Price
}

// DefaultPrices is the table built into the program (prices.json).
func DefaultPrices() (*Prices, error) { return LoadPrices(bytes.NewReader(builtinPrices)) }

// LoadPrices reads a price file: {"models": [...]} with the fields of [Price].
// Unknown fields, missing rates and models named twice are errors.
func LoadPrices(r io.Reader) (*Prices, error) {
	dec := json.NewDecoder(io.LimitReader(r, maxPriceFileBytes))
	dec.DisallowUnknownFields()
	var file priceFile
	if err := dec.Decode(&file); err != nil {
		return nil, fmt.Errorf("price file: %w", err)
	}
	if _, err := dec.Token(); err != io.EOF {
		return nil, fmt.Errorf("price file: more than one document, or larger than %d bytes", maxPriceFileBytes)
	}
	p, err := NewPrices(file.Models)
	if err != nil {
		return nil, fmt.Errorf("price file: %w", err)
	}
	return p, nil
}

// NewPrices makes a table of entries, which it checks as LoadPrices does.
func NewPrices(entries []Price) (*Prices, error) {
	p := &Prices{exact: map[string]*Price{}}
	for i := range entries {
		entry := entries[i]
		if err := p.add(&entry); err != nil {
			return nil, fmt.Errorf("entry %d: %w", i+1, err)
		}
	}
	return p, nil
}

// Merge gives a table in which the entries of over win over those of p. A
// pattern in over does not win over an id in p.
func (p *Prices) Merge(over *Prices) *Prices {
	out := &Prices{exact: map[string]*Price{}}
	for _, t := range []*Prices{p, over} {
		for id, price := range t.exact {
			out.exact[id] = price
		}
	}
	out.prefixes = slices.Clone(over.prefixes)
	for _, e := range p.prefixes {
		if !slices.ContainsFunc(over.prefixes, func(o prefixPrice) bool { return o.prefix == e.prefix }) {
			out.prefixes = append(out.prefixes, e)
		}
	}
	out.sortPrefixes()
	return out
}

// Of finds the price of a model.
func (p *Prices) Of(model string) (Price, bool) {
	if price, ok := p.exact[model]; ok {
		return *price, true
	}
	if price, ok := p.exact[undated(model)]; ok {
		return *price, true
	}
	for _, e := range p.prefixes {
		if strings.HasPrefix(model, e.prefix) {
			return *e.price, true
		}
	}
	return Price{}, false
}

// Named lists the ids with an own entry that begin with prefix, in no order.
func (p *Prices) Named(prefix string) []string {
	var ids []string
	for id := range p.exact {
		if strings.HasPrefix(id, prefix) {
			ids = append(ids, id)
		}
	}
	return ids
}

func (p *Prices) add(price *Price) error {
	if err := price.validate(); err != nil {
		return err
	}
	for _, id := range price.Models {
		prefix, pattern := strings.CutSuffix(id, "*")
		switch {
		case id == "" || strings.Contains(prefix, "*"):
			return fmt.Errorf("models: %q: want a model id, with * at the end or not at all", id)
		case !pattern && p.exact[id] != nil,
			pattern && slices.ContainsFunc(p.prefixes, func(e prefixPrice) bool { return e.prefix == prefix }):
			return fmt.Errorf("models: %q is priced twice", id)
		case pattern:
			p.prefixes = append(p.prefixes, prefixPrice{prefix, price})
		default:
			p.exact[id] = price
		}
	}
	p.sortPrefixes()
	return nil
}

func (p *Prices) sortPrefixes() {
	slices.SortFunc(p.prefixes, func(a, b prefixPrice) int { return len(b.prefix) - len(a.prefix) })
}

func (price *Price) validate() error {
	if len(price.Models) == 0 {
		return fmt.Errorf("models: name at least one")
	}
	if _, err := time.Parse(time.DateOnly, price.AsOf); err != nil {
		return fmt.Errorf("as_of: want a day like 2026-01-31, got %q", price.AsOf)
	}
	if price.ContextWindow < 0 || price.MaxOutput < 0 {
		return fmt.Errorf("context_window and max_output must not be negative")
	}
	if err := price.Rates.validate(); err != nil {
		return err
	}
	if w := price.WebSearch; w != nil && (*w < 0 || *w > maxRate) {
		return fmt.Errorf("web_search_per_1000: %v is not between 0 and %d", *w, maxRate)
	}
	if l := price.LongContext; l != nil {
		if l.OverInputTokens <= 0 {
			return fmt.Errorf("long_context: over_input_tokens must be positive")
		}
		if err := l.validate(); err != nil {
			return fmt.Errorf("long_context: %w", err)
		}
	}
	return nil
}

func (r Rates) validate() error {
	if r.Input == nil || r.Output == nil {
		return fmt.Errorf("input and output are required, in USD per million tokens (0 for a free model)")
	}
	for _, rate := range []*float64{r.Input, r.CacheRead, r.CacheWrite, r.CacheWrite1h, r.Output} {
		if rate != nil && (*rate < 0 || *rate > maxRate) {
			return fmt.Errorf("%v is not between 0 and %d USD per million tokens", *rate, maxRate)
		}
	}
	return nil
}

// undated takes the date (or "latest") off a model id. Both vendors name
// snapshots so: claude-opus-4-5-20251101, gpt-4o-2024-08-06.
func undated(model string) string {
	if id, ok := strings.CutSuffix(model, "-latest"); ok {
		return id
	}
	for _, layout := range []string{"-20060102", "-2006-01-02"} {
		if at := len(model) - len(layout); at > 0 {
			if _, err := time.Parse(layout, model[at:]); err == nil {
				return model[:at]
			}
		}
	}
	return model
}

package oz

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/oz-platform/cloudagents/executor"
	"github.com/oz-platform/cloudagents/executor/catalog"
	"github.com/oz-platform/cloudagents/oz/access"
	"github.com/oz-platform/cloudagents/task"
)

// adminDisabled is the reason why a model that is served cannot be used (Oz
// API, ModelInfo.disable_reason).
const adminDisabled = "ADMIN_DISABLED"

// ModelInfo is one model that runs may name (Oz API, ModelInfo).
type ModelInfo struct {
	ID          string `json:"id"`
	DisplayName string `json:"display_name"`
	Description string `json:"description,omitempty"`
	// Provider is ANTHROPIC, OPENAI, GOOGLE or UNKNOWN.
	Provider        string `json:"provider"`
	VisionSupported bool   `json:"vision_supported"`
	// DisableReason says why the model cannot be used now; "" if it can.
	DisableReason string `json:"disable_reason,omitempty"`
	// Harnesses are the agents that can use it (beyond the Oz API, as what follows).
	Harnesses []string `json:"harnesses"`
	// ContextWindow and MaxOutput are in tokens; 0 when unknown.
	ContextWindow int64 `json:"context_window,omitempty"`
	MaxOutput     int64 `json:"max_output_tokens,omitempty"`
	// Price is nil for a model whose price is unknown.
	Price *ModelPrice `json:"price,omitempty"`
	// Scripted says that a script answers in place of a model.
	Scripted bool `json:"-"`
}

// ModelPrice is what a model costs in USD per million tokens, for prompts of
// ordinary length.
type ModelPrice struct {
	Input  float64 `json:"input_usd"`
	Output float64 `json:"output_usd"`
	// AsOf is the day on which that was so, Source where it is from.
	AsOf   string `json:"as_of"`
	Source string `json:"source,omitempty"`
}

// Models lists the models that are known by name, automatic ids last, and the
// one that a run gets which names none. A provider may serve more by a pattern
// (see executor.ModelProvider); runs may name those too.
func (c *Client) Models(ctx context.Context) (models []ModelInfo, defaultID string, err error) {
	if err := access.Allow(c.caller, access.ModelView, access.Object{}); err != nil {
		return nil, "", err
	}
	m, err := c.models(ctx)
	if err != nil {
		return nil, "", err
	}
	list := catalogue{models: m, harnesses: c.p.harnesses(), out: func(p executor.ModelProvider) bool { return c.p.outages.of(p.Name, c.p.opts.Clock.Now()) }}
	if list.prices, err = pricesOf(m); err != nil {
		return nil, "", err
	}
	for _, p := range m.Providers {
		for _, id := range p.IDs(list.prices) {
			list.add(id, p)
		}
		if p.Serves(m.Default) {
			list.add(m.Default, p)
		}
	}
	list.addAutomatic()
	if list.infos == nil {
		list.infos = []ModelInfo{}
	}
	return list.infos, m.Default, nil
}

// models are those that the caller's runs may use, for whichever of its teams.
func (c *Client) models(ctx context.Context) (executor.Models, error) {
	m := c.p.opts.Models
	for _, owner := range c.owners() {
		of, err := c.p.modelsOf(ctx, owner)
		if err != nil {
			return m, err
		}
		m.Providers = append(slices.Clone(m.Providers), of.Providers[:len(of.Providers)-len(c.p.opts.Models.Providers)]...)
	}
	return m, nil
}

// pricesOf are the built-in prices under those that providers come with.
func pricesOf(m executor.Models) (*catalog.Prices, error) {
	prices, err := catalog.DefaultPrices()
	if err != nil {
		return nil, err
	}
	for _, p := range m.Providers {
		own, err := catalog.NewPrices(p.Prices)
		if err != nil {
			return nil, fmt.Errorf("prices of model provider %q: %w", p.Name, err)
		}
		prices = prices.Merge(own)
	}
	return prices, nil
}

// catalogue is the list of models in the making.
type catalogue struct {
	models    executor.Models
	harnesses []catalog.Harness // those that runs may use
	prices    *catalog.Prices
	out       func(executor.ModelProvider) bool // it does not answer
	infos     []ModelInfo
}

// add lists a model of a provider; a second one that serves it may make it
// usable by further agents.
func (l *catalogue) add(id string, p executor.ModelProvider) {
	if _, auto := catalog.AutoModelOf(id); id == "" || auto {
		return
	}
	at := slices.IndexFunc(l.infos, func(m ModelInfo) bool { return m.ID == id })
	if at < 0 {
		l.infos = append(l.infos, l.describe(id, p))
		at = len(l.infos) - 1
	} else if l.infos[at].DisableReason == providerOutage && !l.out(p) {
		l.infos[at].DisableReason = "" // another one has it
	}
	for _, h := range l.harnesses {
		if slices.Contains(h.Wires, p.Wire) && !slices.Contains(l.infos[at].Harnesses, h.Type) {
			l.infos[at].Harnesses = append(l.infos[at].Harnesses, h.Type)
		}
	}
}

// describe says of a model what its provider, its name and the price table tell.
func (l *catalogue) describe(id string, p executor.ModelProvider) ModelInfo {
	vendor, known := catalog.VendorOf(id)
	info := ModelInfo{ID: id, DisplayName: id, Provider: vendor.Name, VisionSupported: known, Scripted: p.Scripted}
	if p.Scripted {
		info.Provider, info.VisionSupported, info.Description = "UNKNOWN", false, "A script that answers in place of a model."
	}
	switch {
	case l.models.Off(id):
		info.DisableReason = adminDisabled
	case l.out(p):
		info.DisableReason = providerOutage
	}
	if price, ok := l.prices.Of(id); ok {
		info.ContextWindow, info.MaxOutput = price.ContextWindow, price.MaxOutput
		info.Price = &ModelPrice{Input: *price.Input, Output: *price.Output, AsOf: price.AsOf, Source: price.Source}
	}
	return info
}

// addAutomatic lists the automatic ids that some agent can use, with what they
// come to.
func (l *catalogue) addAutomatic() {
	if len(l.models.Providers) == 0 {
		return
	}
	var usual []string // what "auto", the first of them, comes to
	for _, auto := range catalog.AutoModels() {
		info := ModelInfo{ID: auto.ID, DisplayName: auto.ID, Provider: "UNKNOWN"}
		var stands []string
		for _, h := range l.harnesses {
			choice, err := l.models.Choose("model_id", auto.ID, h.Wires)
			if err != nil {
				continue
			}
			if info.Harnesses == nil { // the built-in agent, when it can
				of := l.describe(choice.ID, choice.Provider)
				info.Provider, info.VisionSupported, info.ContextWindow, info.MaxOutput, info.Price = of.Provider, of.VisionSupported, of.ContextWindow, of.MaxOutput, of.Price
			}
			info.Harnesses = append(info.Harnesses, h.Type)
			if !slices.Contains(stands, choice.ID) {
				stands = append(stands, choice.ID)
			}
		}
		info.Description = auto.Description + " Now " + strings.Join(stands, " or ") + "."
		if info.Harnesses != nil && !slices.Equal(stands, usual) { // else it is taken, and says nothing
			l.infos = append(l.infos, info)
		}
		if auto.ID == catalog.Auto {
			usual = stands
		}
	}
}

// checkModel refuses a model that nobody serves to the agent of c, or that is
// switched off. field says where the model is named, "" for the usual place.
func checkModel(m executor.Models, field string, c task.Config) error {
	if len(m.Providers) == 0 {
		return nil // runs will say so
	}
	usual, asked := c.ModelAsked()
	if field == "" {
		field = usual
	}
	_, err := m.Choose(field, asked, catalog.HarnessWires(c.HarnessType()))
	return err
}

package executor

import (
	"cmp"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"github.com/oz-platform/cloudagents/executor/catalog"
	"github.com/oz-platform/cloudagents/task"
)

// Models is what the gateway of a run may call.
type Models struct {
	// Default is the model for runs that name none, or "auto".
	Default string `json:"default"`
	// Providers are tried in order: the first whose Models match is used.
	Providers []ModelProvider `json:"providers"`
	// Auto says what automatic ids stand for, in place of what
	// catalog.AutoModels has: ids in the order in which they are wanted, for
	// "auto" after Default. Default: none.
	Auto map[string][]string `json:"auto,omitempty"`
	// Disabled are ids that no run may use; a trailing * matches any rest.
	Disabled []string `json:"disabled,omitempty"`
	// Embeddings is the id of a model that gives vectors of texts, at a provider
	// of the openai wire: pieces of the repositories are sent to it, for
	// search_codebase. The first such provider that serves it gets them, a team's
	// own endpoint before the operator's. No agent can work with it, and runs with
	// a key of their own have none. Default: none, and nothing is sent.
	Embeddings string `json:"embeddings,omitempty"`
}

// ModelProvider is one endpoint that serves models.
type ModelProvider struct {
	Name string `json:"name"` // unique; shown in the run
	// Wire is the protocol: "anthropic", "openai" or "gemini".
	Wire string `json:"wire"`
	// BaseURL is the endpoint, see gateway.Provider. Default: the vendor's own.
	BaseURL string    `json:"base_url"`
	APIKey  Sensitive `json:"api_key"`
	// BearerAuth sends the key as a bearer token on any wire.
	BearerAuth bool `json:"bearer_auth,omitempty"`
	// Models are the model ids it serves; a trailing * matches any rest.
	Models []string `json:"models"`
	// Fallback is asked, in order, when this provider is away.
	Fallback []ModelTarget `json:"fallback,omitempty"`
	// Prices of its models win over the built-in ones.
	Prices []catalog.Price `json:"prices,omitempty"`
	// PublicOnly refuses to reach it at an address that is not on the internet:
	// its URL comes from somebody who is not the operator.
	PublicOnly bool `json:"public_only,omitempty"`
	// Scripted says that a script answers in place of a model; runs say so.
	Scripted bool `json:"scripted,omitempty"`
}

// ModelTarget is a model at a provider.
type ModelTarget struct {
	// Provider is the name of one of the same wire.
	Provider string `json:"provider"`
	// Model is what to ask for there. Default: the model that was asked for.
	Model string `json:"model,omitempty"`
}

// Validate checks what can be known without calling anybody. Its errors name
// field and the provider.
func (m Models) Validate(field string) error {
	wires := map[string]string{}
	for i, p := range m.Providers {
		at := fmt.Sprintf("%s.providers[%d]", field, i)
		if err := p.validate(at); err != nil {
			return err
		}
		if wires[p.Name] != "" {
			return task.Invalid(at+".name", "two providers are called %q", p.Name)
		}
		wires[p.Name] = p.Wire
	}
	for i, p := range m.Providers {
		for _, f := range p.Fallback {
			if wires[f.Provider] != p.Wire {
				return task.Invalid(fmt.Sprintf("%s.providers[%d].fallback", field, i), "%q is no provider of the %s wire, which is what %q speaks", f.Provider, p.Wire, p.Name)
			}
		}
	}
	if m.Embeddings != "" && !m.Embeds() {
		return task.Invalid(field+".embeddings", "no provider of the openai wire lists %q; add it to the models of one", m.Embeddings)
	}
	for auto := range m.Auto {
		if _, ok := catalog.AutoModelOf(auto); !ok {
			return task.Invalid(field+".auto", "%q is no automatic id; there are auto, auto-efficient, auto-genius and auto-open", auto)
		}
	}
	return nil
}

func (p ModelProvider) validate(at string) error {
	switch {
	case p.Name == "":
		return task.Invalid(at+".name", "is needed, to tell the provider from others")
	case !slices.Contains(catalog.Wires(), p.Wire):
		return task.Invalid(at+".wire", "%q is none of %s", p.Wire, strings.Join(catalog.Wires(), ", "))
	case len(p.Models) == 0:
		return task.Invalid(at+".models", `list the ids it serves; a trailing * stands for any rest, as in "claude-*"`)
	}
	for _, id := range p.Models {
		if id == "" || strings.Contains(strings.TrimSuffix(id, "*"), "*") {
			return task.Invalid(at+".models", "%q is neither an id nor the beginning of some with a * at its end", id)
		}
	}
	if _, err := catalog.NewPrices(p.Prices); err != nil {
		return task.Invalid(at+".prices", "%w", err)
	}
	return nil
}

// Serves reports whether a run may ask the provider for a model.
func (p ModelProvider) Serves(id string) bool {
	return id != "" && slices.ContainsFunc(p.Models, func(pattern string) bool { return matches(pattern, id) })
}

// offers reports whether the provider is known to have a model that nobody
// asked for by name. That "*" lets a run ask for any id does not mean that the
// endpoint has it, unless it is the vendor's own.
func (p ModelProvider) offers(id string) bool {
	return slices.ContainsFunc(p.Models, func(pattern string) bool {
		return pattern != "*" && matches(pattern, id)
	}) || p.Serves(id) && p.vendorOf(id)
}

// vendorOf reports whether the provider is the maker of a model.
func (p ModelProvider) vendorOf(id string) bool {
	vendor, ok := catalog.VendorOf(id)
	if p.BaseURL == "" {
		return ok && vendor.Wire == p.Wire
	}
	u, err := url.Parse(p.BaseURL)
	return ok && err == nil && u.Hostname() == vendor.Host
}

// IDs are the models that the provider is known to have, by name: those it
// lists, and those of the families it lists that prices knows.
func (p ModelProvider) IDs(prices *catalog.Prices) []string {
	var ids []string
	for _, pattern := range p.Models {
		prefix, family := strings.CutSuffix(pattern, "*")
		if !family {
			ids = append(ids, pattern)
			continue
		}
		named := slices.DeleteFunc(prices.Named(prefix), func(id string) bool { return prefix == "" && !p.vendorOf(id) })
		slices.Sort(named)
		ids = append(ids, named...)
	}
	return ids
}

// matches is how providers list models: exactly, but for a trailing "*".
func matches(pattern, id string) bool {
	if prefix, family := strings.CutSuffix(pattern, "*"); family {
		return strings.HasPrefix(id, prefix)
	}
	return pattern == id
}

// Embeds reports whether there is a model for embeddings, and a provider that
// may have it.
func (m Models) Embeds() bool {
	return m.Embeddings != "" && slices.ContainsFunc(m.Providers, func(p ModelProvider) bool { return p.Wire == catalog.WireOpenAI && p.Serves(m.Embeddings) })
}

// Off reports whether no run may work with a model: the operator has switched
// it off, or it is the one for embeddings.
func (m Models) Off(id string) bool {
	return id != "" && id == m.Embeddings || slices.ContainsFunc(m.Disabled, func(pattern string) bool { return matches(pattern, id) })
}

// ModelChoice is the model of a run.
type ModelChoice struct {
	// ID is never automatic.
	ID string
	// Provider serves it, on a wire that the agent speaks.
	Provider ModelProvider
	// Fallback are models to ask for on the same wire when it is away.
	Fallback []string
}

// Choose finds the model for a run that asks for one by id, or for an automatic
// one ("" is "auto"), among those on wires. Its errors name field, and say what
// there is instead.
func (m Models) Choose(field, asked string, wires []string) (ModelChoice, error) {
	if len(m.Providers) == 0 {
		return ModelChoice{}, task.Errorf(task.CodeExternalAuthRequired,
			"the server has no model provider; set ANTHROPIC_API_KEY, OPENAI_API_KEY or GEMINI_API_KEY where it runs, or configure one")
	}
	if auto, ok := catalog.AutoModelOf(cmp.Or(asked, catalog.Auto)); ok && !m.listed(asked) {
		return m.choose(field, auto.ID, wires)
	}
	if asked == m.Embeddings && asked != "" {
		return ModelChoice{}, task.Invalid(field, "the model %q gives embeddings, with which no agent can work; use %s", asked, m.instead(wires))
	}
	if m.Off(asked) {
		return ModelChoice{}, task.Invalid(field, "the operator of this server has switched the model %q off; use %s", asked, m.instead(wires))
	}
	other := ""
	for _, p := range m.Providers {
		switch {
		case !p.Serves(asked):
		case slices.Contains(wires, p.Wire):
			choice := ModelChoice{ID: asked, Provider: p}
			if asked == m.Default {
				choice.addFallback(m.available(m.Auto[catalog.Auto], wires))
			}
			return choice, nil
		default:
			other = p.Wire
		}
	}
	if other != "" {
		return ModelChoice{}, task.Invalid(field, "the model %q is served on the %s wire only, and this agent speaks %s; use %s, or another agent",
			asked, other, strings.Join(wires, " and "), m.instead(wires))
	}
	return ModelChoice{}, task.Invalid(field, "no model is called %q; use %s, or leave it out", asked, m.instead(wires))
}

// listed reports whether a provider has a model that is called like an automatic id.
func (m Models) listed(id string) bool {
	return slices.ContainsFunc(m.Providers, func(p ModelProvider) bool { return slices.Contains(p.Models, id) })
}

// choose resolves an automatic id.
func (m Models) choose(field, auto string, wires []string) (ModelChoice, error) {
	found := m.available(m.chain(auto), wires)
	if len(found) == 0 && auto != catalog.AutoOpen {
		// Nothing that was meant: whatever there is, and nothing in its place.
		usual, _ := catalog.AutoModelOf(catalog.Auto)
		found = m.available(slices.Concat(m.chain(catalog.Auto), usual.Models, m.named()), wires)
		found = found[:min(1, len(found))]
	}
	switch {
	case len(found) > 0:
	case auto == catalog.AutoOpen:
		return ModelChoice{}, task.Invalid(field, "no provider lists a model with public weights that this agent can use; use %s", m.instead(wires))
	default:
		return ModelChoice{}, task.Invalid(field, "no provider lists a model on the %s wire, which is what this agent speaks; use another agent, or ask the operator for a provider",
			strings.Join(wires, " or "))
	}
	choice := found[0]
	choice.addFallback(found[1:])
	return choice, nil
}

// addFallback takes those of others that are on the same wire.
func (c *ModelChoice) addFallback(others []ModelChoice) {
	for _, o := range others {
		if o.Provider.Wire == c.Provider.Wire && o.ID != c.ID && len(c.Fallback) < maxFallback {
			c.Fallback = append(c.Fallback, o.ID)
		}
	}
}

// maxFallback bounds the models that stand in for one.
const maxFallback = 3

// chain is what an automatic id stands for.
func (m Models) chain(auto string) []string {
	chain, own := m.Auto[auto]
	if !own {
		known, _ := catalog.AutoModelOf(auto)
		chain = known.Models
	}
	if auto != catalog.Auto {
		return chain
	}
	if known, ok := catalog.AutoModelOf(m.Default); ok && known.ID != catalog.Auto { // the default may be an automatic one
		return m.chain(known.ID)
	}
	return append([]string{m.Default}, chain...)
}

// named are the ids that providers list without a "*".
func (m Models) named() []string {
	var ids []string
	for _, p := range m.Providers {
		for _, id := range p.Models {
			if !strings.HasSuffix(id, "*") {
				ids = append(ids, id)
			}
		}
	}
	return ids
}

// available are those of a chain that may be used on wires, each once.
func (m Models) available(chain, wires []string) []ModelChoice {
	var found []ModelChoice
	home := slices.IndexFunc(m.Providers, func(p ModelProvider) bool { return p.Serves(m.Default) })
	add := func(id string) {
		known := slices.ContainsFunc(found, func(c ModelChoice) bool { return c.ID == id })
		if known || id == "" || m.Off(id) {
			return
		}
		at := slices.IndexFunc(m.Providers, func(p ModelProvider) bool {
			return slices.Contains(wires, p.Wire) && (p.offers(id) || id == m.Default && home >= 0 && p.Name == m.Providers[home].Name)
		})
		if at >= 0 {
			found = append(found, ModelChoice{ID: id, Provider: m.Providers[at]})
		}
	}
	for _, id := range chain {
		if !strings.HasSuffix(id, "*") {
			add(id)
			continue
		}
		for _, named := range m.named() {
			if catalog.Matches(id, named) {
				add(named)
			}
		}
	}
	return found
}

// instead lists what a run can ask for on wires, for an error.
func (m Models) instead(wires []string) string {
	var ids []string
	for _, p := range m.Providers {
		for _, id := range p.Models {
			if slices.Contains(wires, p.Wire) && !slices.Contains(ids, id) && !m.Off(id) {
				ids = append(ids, id)
			}
		}
	}
	switch {
	case len(ids) == 0:
		return `"auto" with another agent`
	case len(ids) > maxInstead:
		ids = append(ids[:maxInstead:maxInstead], "...")
	}
	if len(ids) == 1 {
		return ids[0]
	}
	return "one of " + strings.Join(ids, ", ")
}

// maxInstead bounds the ids in an error.
const maxInstead = 12

package gateway

import (
	"fmt"
	"net/url"
	"slices"
	"strings"

	"github.com/oz-platform/cloudagents/executor/catalog"
)

// Provider is an endpoint that serves models.
type Provider struct {
	// Name tells providers apart, in fallbacks, errors and records. Required, unique.
	Name string
	// Wire is what the endpoint speaks. Required.
	Wire Wire
	// BaseURL is the endpoint as the vendor's SDK wants it: without the version
	// on the Anthropic and Gemini wires, with it on the OpenAI wire. Default: the
	// vendor's own, https://api.anthropic.com, https://api.openai.com/v1 and
	// https://generativelanguage.googleapis.com. It must not hold credentials, a
	// query or a fragment.
	BaseURL string
	// APIKey is the credential, at least 8 bytes long so that it can be kept
	// out of replies. Zero: the endpoint wants none.
	APIKey Key
	// BearerAuth sends the key as "Authorization: Bearer" on the Anthropic and
	// Gemini wires, as gateways compatible with them want. Default: "x-api-key"
	// and "x-goog-api-key". The OpenAI wire always uses the former.
	BearerAuth bool
	// PublicOnly refuses to reach the endpoint at an address that is private,
	// loopback or otherwise not on the internet, and ignores the environment's
	// proxy: for a BaseURL of somebody who is not the operator.
	PublicOnly bool
	// Models are the ids served, each one exact or with a "*" at the end. The
	// first provider of the wire that serves a model gets the call. Required.
	Models []string
	// Fallback is asked, in order, when this provider is rate limited, failing,
	// silent or out of reach after all attempts. Default: none.
	Fallback []Target
}

// Target is a model at a provider.
type Target struct {
	// Provider is the name of a provider of the same wire.
	Provider string
	// Model is what to ask for there. Default: the model of the call.
	Model string
}

// endpoint is a checked Provider.
type endpoint struct {
	Provider
	base *url.URL
}

// target is a resolved Target.
type target struct {
	at    *endpoint
	model string
}

func newEndpoint(p Provider) (*endpoint, error) {
	if p.Name == "" {
		return nil, fmt.Errorf("name: required")
	}
	if !slices.Contains(wires(), p.Wire) {
		return nil, fmt.Errorf("provider %q: wire: want %q, %q or %q, got %q", p.Name, Anthropic, OpenAI, Gemini, p.Wire)
	}
	if len(p.Models) == 0 {
		return nil, fmt.Errorf(`provider %q: models: name at least one, or "*"`, p.Name)
	}
	for _, m := range p.Models {
		if m == "" || strings.Contains(strings.TrimSuffix(m, "*"), "*") {
			return nil, fmt.Errorf("provider %q: models: %q: want a model id, with * at the end or not at all", p.Name, m)
		}
	}
	key := p.APIKey.Reveal()
	if !p.APIKey.IsZero() && len(key) < minKeyLength {
		return nil, fmt.Errorf("provider %q: the API key has fewer than %d bytes; leave it empty when the endpoint wants none", p.Name, minKeyLength)
	}
	if strings.ContainsFunc(key, func(r rune) bool { return r <= ' ' || r == 0x7f }) {
		return nil, fmt.Errorf("provider %q: the API key has a space or a control character; was a line break copied with it?", p.Name)
	}
	base, err := parseBase(defaulted(p.BaseURL, p.Wire.defaultBaseURL()))
	if err != nil {
		return nil, fmt.Errorf("provider %q: base URL: %w", p.Name, err)
	}
	return &endpoint{Provider: p, base: base}, nil
}

// parseBase checks a base URL. Its errors never show the URL, which may hold a
// credential in the wrong place.
func parseBase(raw string) (*url.URL, error) {
	u, err := url.Parse(raw)
	switch {
	case err != nil:
		return nil, fmt.Errorf("not a URL")
	case u.Scheme != "http" && u.Scheme != "https", u.Host == "":
		return nil, fmt.Errorf("want http://host or https://host with an optional path")
	case u.User != nil, u.RawQuery != "", u.Fragment != "":
		return nil, fmt.Errorf("must not hold credentials, a query or a fragment; credentials belong in APIKey")
	}
	return u, nil
}

// serves reports whether model is one of e's.
func (e *endpoint) serves(model string) bool { return anyMatches(e.Models, model) }

// anyMatches reports whether model is one of list, which may have a "*" at the
// end of each.
func anyMatches(list []string, model string) bool {
	return slices.ContainsFunc(list, func(m string) bool {
		if prefix, pattern := strings.CutSuffix(m, "*"); pattern {
			return strings.HasPrefix(model, prefix)
		}
		return m == model
	})
}

// router finds who serves a model.
type router struct {
	endpoints []*endpoint
	aliases   map[string]string
	fallback  map[string][]string
	disabled  []string
}

func newRouter(providers []Provider, o Options) (*router, error) {
	if len(providers) == 0 {
		return nil, fmt.Errorf("no provider given")
	}
	r := &router{aliases: o.Aliases, fallback: o.Fallback, disabled: o.Disabled}
	for i, p := range providers {
		e, err := newEndpoint(p)
		if err != nil {
			return nil, fmt.Errorf("provider %d: %w", i+1, err)
		}
		if r.named(p.Name) != nil {
			return nil, fmt.Errorf("provider %q is given twice", p.Name)
		}
		r.endpoints = append(r.endpoints, e)
	}
	for _, e := range r.endpoints {
		for _, f := range e.Fallback {
			if to := r.named(f.Provider); to == nil || to.Wire != e.Wire {
				return nil, fmt.Errorf("provider %q: fallback %q is no provider of the %s wire", e.Name, f.Provider, e.Wire)
			}
		}
	}
	for alias, model := range o.Aliases {
		if !slices.ContainsFunc(r.endpoints, func(e *endpoint) bool { return e.serves(model) }) {
			return nil, fmt.Errorf("alias %q: no provider serves %q", alias, model)
		}
	}
	return r, nil
}

func (r *router) named(name string) *endpoint {
	for _, e := range r.endpoints {
		if e.Name == name {
			return e
		}
	}
	return nil
}

// route gives the targets for a model as a harness named it, first choice
// first; none when nobody serves it on that wire.
func (r *router) route(wire Wire, asked string) []target {
	model := defaulted(r.aliases[asked], asked)
	e := r.serving(wire, model)
	if e == nil {
		return nil
	}
	targets := []target{{e, model}}
	add := func(t target) {
		if !slices.Contains(targets, t) && !anyMatches(r.disabled, t.model) {
			targets = append(targets, t)
		}
	}
	for _, f := range e.Fallback {
		add(target{r.named(f.Provider), defaulted(f.Model, model)})
	}
	for _, other := range r.fallback[model] {
		if at := r.serving(wire, other); at != nil {
			add(target{at, other})
		}
	}
	return targets
}

// serving is the first endpoint on a wire that serves a model; nil when there
// is none, or nobody may use the model.
func (r *router) serving(wire Wire, model string) *endpoint {
	if anyMatches(r.disabled, model) {
		return nil
	}
	for _, e := range r.endpoints {
		if e.Wire == wire && e.serves(model) {
			return e
		}
	}
	return nil
}

// missing explains why route found nobody.
func (r *router) missing(wire Wire, asked string) string {
	if anyMatches(r.disabled, defaulted(r.aliases[asked], asked)) {
		return fmt.Sprintf("the operator of this server has switched the model %q off; use another", asked)
	}
	for _, other := range wires() {
		if other != wire && r.route(other, asked) != nil {
			return fmt.Sprintf("model %q is served on the %s wire only; use that, or another model", asked, other)
		}
	}
	return fmt.Sprintf("no provider of this run serves the model %q on the %s wire; use a configured model or add the id to a provider's models", asked, wire)
}

// ids lists what can be asked for by name on a wire: aliases, exact ids, and
// what prices knows of a family that is served by a pattern such as "claude-*".
func (r *router) ids(wire Wire, prices *catalog.Prices) []string {
	var ids []string
	for alias := range r.aliases {
		if r.route(wire, alias) != nil {
			ids = append(ids, alias)
		}
	}
	for _, e := range r.endpoints {
		for _, m := range e.Models {
			prefix, pattern := strings.CutSuffix(m, "*")
			switch {
			case e.Wire != wire:
			case !pattern:
				ids = append(ids, m)
			case prefix != "":
				ids = append(ids, prices.Named(prefix)...)
			}
		}
	}
	ids = slices.DeleteFunc(ids, func(id string) bool { return r.route(wire, id) == nil })
	slices.Sort(ids)
	return slices.Compact(ids)
}

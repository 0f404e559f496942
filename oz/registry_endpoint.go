package oz

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"go.uber.org/zap"

	"github.com/oz-platform/cloudagents/executor"
	"github.com/oz-platform/cloudagents/executor/catalog"
	"github.com/oz-platform/cloudagents/oz/access"
	"github.com/oz-platform/cloudagents/secrets"
	"github.com/oz-platform/cloudagents/task"
)

// Limits of a model endpoint.
const (
	maxEndpointURL    = 2000 // bytes
	maxEndpointModels = 200
)

// endpointPrefix begins the provider's name in runs, so that no team's endpoint
// is called like one of the operator's.
const endpointPrefix = "team/"

// ModelEndpoint is a team's own model provider. The team's runs alone use it,
// before the operator's providers.
type ModelEndpoint struct {
	Registered
	// Wire is what it speaks: "anthropic", "openai" or "gemini".
	Wire string `json:"wire"`
	// BaseURL is as gateway.Provider has it.
	BaseURL string `json:"base_url"`
	// Secret is the name of the team's secret that is the key; "" if it wants
	// none. Agents do not get that secret.
	Secret string `json:"secret,omitempty"`
	// BearerAuth sends the key as a bearer token on any wire.
	BearerAuth bool `json:"bearer_auth,omitempty"`
	// Models are the ids that it serves, with a "*" at the end for any rest.
	Models []string `json:"models"`
	// Prices of its models; a run that has a limit in money can only use those.
	Prices []catalog.Price `json:"prices,omitempty"`
}

// ModelEndpointInput asks for a model endpoint.
type ModelEndpointInput struct {
	Name, Description, Wire, BaseURL, Secret string
	BearerAuth                               bool
	Models                                   []string
	Prices                                   []catalog.Price
}

func modelEndpoints() shelf[ModelEndpoint] {
	return shelf[ModelEndpoint]{kind: "model_endpoint", what: "model endpoint",
		create: access.EndpointCreate, view: access.EndpointView, manage: access.EndpointManage,
		head:  func(e *ModelEndpoint) *Registered { return &e.Registered },
		check: ModelEndpoint.check}
}

func (e ModelEndpoint) check() error {
	if !slices.Contains(catalog.Wires(), e.Wire) {
		return task.Invalid("wire", "%q is none of %s", e.Wire, strings.Join(catalog.Wires(), ", "))
	}
	if err := checkEndpointURL(e.BaseURL); err != nil {
		return err
	}
	if e.Secret != "" {
		if err := secrets.CheckName(e.Secret); err != nil {
			return task.Invalid("secret", "%w", err)
		}
	}
	if len(e.Models) == 0 || len(e.Models) > maxEndpointModels {
		return task.Invalid("models", "must list 1 to %d ids", maxEndpointModels)
	}
	for _, id := range e.Models {
		if id == "*" || id == "" || strings.Contains(strings.TrimSuffix(id, "*"), "*") {
			return task.Invalid("models", "%q is neither an id nor the beginning of some with a * at its end; a * alone would take every model of the team's runs", id)
		}
		if err := checkLine("models", id, maxName); err != nil {
			return err
		}
	}
	if _, err := catalog.NewPrices(e.Prices); err != nil {
		return task.Invalid("prices", "%w", err)
	}
	return nil
}

// checkEndpointURL does not repeat the URL, which may hold a credential.
func checkEndpointURL(raw string) error {
	u, err := url.Parse(raw)
	switch {
	case len(raw) > maxEndpointURL:
		return task.Invalid("base_url", "has %d bytes, at most %d are allowed", len(raw), maxEndpointURL)
	case err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Hostname() == "":
		return task.Invalid("base_url", "must be an absolute http or https URL")
	case u.User != nil || u.RawQuery != "" || u.Fragment != "":
		return task.Invalid("base_url", "must not hold credentials, a query or a fragment: the key is a secret of the team")
	}
	return nil
}

// CreateModelEndpoint registers a model provider of the caller's team, which
// its owners and admins may do. The key must be a secret of the team already.
func (c *Client) CreateModelEndpoint(ctx context.Context, in ModelEndpointInput) (ModelEndpoint, error) {
	team := true
	e := ModelEndpoint{Registered: Registered{Name: in.Name, Description: in.Description}, Wire: in.Wire, BaseURL: in.BaseURL,
		Secret: in.Secret, BearerAuth: in.BearerAuth, Models: slices.Clone(in.Models), Prices: slices.Clone(in.Prices)}
	if e.Secret != "" {
		owner, err := c.owner(ctx, access.EndpointCreate, &team)
		if err != nil {
			return ModelEndpoint{}, err
		}
		if err := e.check(); err != nil {
			return ModelEndpoint{}, err
		}
		if key, err := c.p.endpointKey(ctx, owner, e.Secret); err != nil {
			return ModelEndpoint{}, err
		} else if key == "" {
			return ModelEndpoint{}, task.Invalid("secret", "the team has no secret %q; create it first", e.Secret)
		}
	}
	return modelEndpoints().add(ctx, c, e, &team)
}

// ModelEndpoint returns one model endpoint.
func (c *Client) ModelEndpoint(ctx context.Context, uid string) (ModelEndpoint, error) {
	return modelEndpoints().get(ctx, c, uid, access.EndpointView)
}

// ModelEndpoints lists the model endpoints of the caller's teams, by name.
func (c *Client) ModelEndpoints(ctx context.Context) ([]ModelEndpoint, error) {
	return modelEndpoints().list(ctx, c)
}

// DeleteModelEndpoint removes a model endpoint. Runs at work keep it.
func (c *Client) DeleteModelEndpoint(ctx context.Context, uid string) error {
	return modelEndpoints().remove(ctx, c, uid)
}

// endpointsOf are the model endpoints of an owner.
func (p *Platform) endpointsOf(ctx context.Context, owner task.Scope) ([]ModelEndpoint, error) {
	if owner.Type != task.ScopeTeam {
		return nil, nil
	}
	records, err := p.store.Records(ctx, modelEndpoints().kind, &owner)
	if err != nil {
		return nil, fmt.Errorf("read model endpoints: %w", err)
	}
	var list []ModelEndpoint
	for _, r := range records {
		e, err := modelEndpoints().decode(r)
		if err != nil {
			return nil, err
		}
		list = append(list, e)
	}
	return list, nil
}

// endpointKey is the value of a team's secret; "" if there is none.
func (p *Platform) endpointKey(ctx context.Context, team task.Scope, name string) (executor.Sensitive, error) {
	allow := []string{name}
	set, err := secrets.Resolve(ctx, p.providers(), secrets.Request{Owner: team, Allow: &allow})
	if err != nil {
		return "", fmt.Errorf("resolve the key of a model endpoint: %w", err)
	}
	for _, v := range set.Values {
		if !v.Public {
			return executor.Sensitive(v.Plaintext()), nil
		}
	}
	return "", nil
}

// modelsOf are the models that an owner's runs may use, without the keys of
// the team's endpoints.
func (p *Platform) modelsOf(ctx context.Context, owner task.Scope) (executor.Models, error) {
	m := p.opts.Models
	endpoints, err := p.endpointsOf(ctx, owner)
	if err != nil || len(endpoints) == 0 {
		return m, err
	}
	var own []executor.ModelProvider
	for _, e := range endpoints {
		own = append(own, e.provider(!p.opts.PrivateEndpoints))
	}
	m.Providers = append(own, m.Providers...)
	return m, nil
}

func (e ModelEndpoint) provider(publicOnly bool) executor.ModelProvider {
	return executor.ModelProvider{Name: endpointPrefix + e.Name, Wire: e.Wire, BaseURL: e.BaseURL, BearerAuth: e.BearerAuth,
		Models: e.Models, Prices: e.Prices, PublicOnly: publicOnly}
}

// runModels are the models of a run, with their keys, which r learns. An
// endpoint whose key is gone, or could not be kept out of the transcript, is
// left out.
func (p *Platform) runModels(ctx context.Context, owner task.Scope, r *secrets.Redactor) (executor.Models, error) {
	m := p.opts.Models
	endpoints, err := p.endpointsOf(ctx, owner)
	if err != nil || len(endpoints) == 0 {
		return m, err
	}
	var own []executor.ModelProvider
	for _, e := range endpoints {
		provider := e.provider(!p.opts.PrivateEndpoints)
		if e.Secret != "" {
			key, err := p.endpointKey(ctx, owner, e.Secret)
			if err != nil {
				return m, err
			}
			if err = errors.Join(checkKey(key), r.Add("model-endpoint-"+e.UID, key.Reveal())); err != nil {
				p.opts.Logger.Warn("a model endpoint is left out", zap.String("uid", e.UID), zap.Error(err))
				continue
			}
			provider.APIKey = key
		}
		own = append(own, provider)
	}
	m.Providers = append(own, m.Providers...)
	return m, nil
}

var errNoKey = errors.New("its secret does not exist any more")

func checkKey(key executor.Sensitive) error {
	if key == "" {
		return errNoKey
	}
	return nil
}

// withoutEndpointKeys takes the keys of the owner's endpoints out of what its
// agents get: they ask the models through the gateway, which has the key.
func (p *Platform) withoutEndpointKeys(ctx context.Context, owner task.Scope, values []secrets.Value) ([]secrets.Value, error) {
	endpoints, err := p.endpointsOf(ctx, owner)
	if err != nil || len(endpoints) == 0 {
		return values, err
	}
	return slices.DeleteFunc(slices.Clone(values), func(v secrets.Value) bool {
		return v.Scope == owner && slices.ContainsFunc(endpoints, func(e ModelEndpoint) bool {
			return e.Secret != "" && (v.Secret == e.Secret || v.Secret == "" && v.Name == e.Secret)
		})
	}), nil
}

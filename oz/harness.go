package oz

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/oz-platform/cloudagents/executor"
	"github.com/oz-platform/cloudagents/executor/catalog"
	"github.com/oz-platform/cloudagents/secrets"
	"github.com/oz-platform/cloudagents/secrets/sealed"
	"github.com/oz-platform/cloudagents/task"
)

// harnessKey says what a third party's agent signs in with (Oz platform, HAR-2).
type harnessKey struct {
	entry string      // of config.harness_auth_secrets
	typ   sealed.Type // of the secret
	wire  string      // that the secret is for
}

// harnessKeys are those of the agents that have one.
func harnessKeys() map[string]harnessKey {
	return map[string]harnessKey{
		harnessClaude: {"claude_auth_secret_name", sealed.TypeAnthropicAPIKey, catalog.WireAnthropic},
		harnessCodex:  {"codex_auth_secret_name", sealed.TypeOpenAIAPIKey, catalog.WireOpenAI},
	}
}

const authSecretsField = "config.harness_auth_secrets"

// checkAuthSecrets judges what can be known without looking anything up.
func checkAuthSecrets(c task.Config) error {
	keys := harnessKeys()
	for _, entry := range slices.Sorted(maps.Keys(c.HarnessAuthSecrets)) {
		known := false
		for _, k := range keys {
			known = known || k.entry == entry
		}
		if !known {
			return task.Invalid(authSecretsField+"."+entry, "is none of claude_auth_secret_name, codex_auth_secret_name")
		}
		if name := c.HarnessAuthSecrets[entry]; name != "" {
			if err := secrets.CheckName(name); err != nil {
				return task.Invalid(authSecretsField+"."+entry, "%w", err)
			}
		}
	}
	return nil
}

// authSecret names the secret that the run's agent signs in with.
func authSecret(c task.Config) (harnessKey, string, bool) {
	k, ok := harnessKeys()[c.HarnessType()]
	name := c.HarnessAuthSecrets[k.entry]
	return k, name, ok && name != ""
}

// configureHarness checks the secret that the run's agent is to sign in with:
// it exists, for this run, and is of the agent's type.
func (c *Client) configureHarness(ctx context.Context, spec *task.Spec) error {
	k, name, ok := authSecret(spec.Config)
	if !ok {
		return nil
	}
	field := authSecretsField + "." + k.entry
	store, err := c.p.sealed()
	if err != nil {
		return err
	}
	request, err := c.p.secretRequest(ctx, task.Task{Spec: *spec})
	if err != nil {
		return err
	}
	s, err := findInScopes(ctx, store, request, name)
	if errors.Is(err, task.ErrNotFound) {
		return &task.Error{Code: task.CodeNotFound, Field: field, Err: err,
			Message: fmt.Sprintf("there is no secret %q that this run may have; create it with the type %s", name, k.typ)}
	}
	if err != nil {
		return err
	}
	if s.Type != k.typ {
		return task.Invalid(field, "the secret %q is of the type %s, and the agent %s signs in with %s", name, s.Type, spec.Config.HarnessType(), k.typ)
	}
	return nil
}

// findInScopes describes the secret that a run has under a name.
func findInScopes(ctx context.Context, store *sealed.Store, r secrets.Request, name string) (sealed.Secret, error) {
	for _, scope := range r.Scopes() {
		s, err := find(ctx, store, scope, name)
		if !errors.Is(err, task.ErrNotFound) {
			return s, err
		}
	}
	return sealed.Secret{}, task.Errorf(task.CodeNotFound, "there is no secret %q", name)
}

// withOwnKey gives the models that a run with a key of its own may call: those
// of the key's provider, and no others.
func withOwnKey(m executor.Models, k harnessKey, name, key, baseURL string) executor.Models {
	m.Providers = []executor.ModelProvider{{Name: "secret " + name, Wire: k.wire, BaseURL: baseURL, APIKey: executor.Sensitive(key),
		Models: []string{"*"}, PublicOnly: true}}
	m.Default = ""
	m.Embeddings = "" // the key is for the agent's work
	return m
}

// models are those that a run may call. The key that its agent signs in with
// goes to the run's gateway only, never to the agent; it is added to r. That
// the secret is gone is known when its provider refuses the calls.
func (p *Platform) models(ctx context.Context, t task.Task, r *secrets.Redactor) (m executor.Models, missing []string, err error) {
	k, name, ok := authSecret(t.Config)
	if !ok {
		m, err := p.runModels(ctx, t.Owner, r)
		return m, nil, err
	}
	store, err := p.sealed()
	if err != nil {
		return m, nil, err
	}
	request, err := p.secretRequest(ctx, t)
	if err != nil {
		return m, nil, err
	}
	for _, scope := range request.Scopes() {
		values, err := store.One(ctx, scope, name)
		if errors.Is(err, task.ErrNotFound) {
			continue
		}
		if err != nil {
			return m, nil, err
		}
		var key, baseURL string
		for _, v := range values {
			switch {
			case !v.Public:
				key = v.Plaintext()
			case strings.HasSuffix(v.Name, "_BASE_URL"):
				baseURL = v.Plaintext()
			}
		}
		if err := r.Add(name, key); err != nil {
			return m, nil, fmt.Errorf("secret %s: %w", name, err)
		}
		return withOwnKey(p.opts.Models, k, name, key, baseURL), nil, nil
	}
	return withOwnKey(p.opts.Models, k, name, "", ""), []string{name}, nil
}

// checkHarnesses judges what is switched off.
func (o Options) checkHarnesses() error {
	for i, h := range o.DisabledHarnesses {
		if !slices.ContainsFunc(catalog.Harnesses(), func(known catalog.Harness) bool { return known.Type == h }) {
			return task.Invalid(fmt.Sprintf("DisabledHarnesses[%d]", i), "%q is no agent that is known", h)
		}
	}
	if h := o.DefaultConfig.HarnessType(); slices.Contains(o.DisabledHarnesses, h) {
		return task.Invalid("DisabledHarnesses", "%q is the agent of runs that name none: set another in DefaultConfig.Harness", h)
	}
	return nil
}

// harnesses are the agents that new runs may use, the built-in one first.
func (p *Platform) harnesses() []catalog.Harness {
	return slices.DeleteFunc(catalog.Harnesses(), func(h catalog.Harness) bool { return slices.Contains(p.opts.DisabledHarnesses, h.Type) })
}

// allowHarness refuses an agent that the operator has switched off.
func (p *Platform) allowHarness(field string, c task.Config) error {
	h := c.HarnessType()
	if !slices.Contains(p.opts.DisabledHarnesses, h) {
		return nil
	}
	var names []string
	for _, left := range p.harnesses() {
		names = append(names, left.Type)
	}
	return task.Invalid(field, "the agent %q is switched off on this server; there is %s", h, strings.Join(names, ", "))
}

package oz

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"time"

	"github.com/oz-platform/cloudagents/executor"
	"github.com/oz-platform/cloudagents/oz/access"
	"github.com/oz-platform/cloudagents/secrets"
	"github.com/oz-platform/cloudagents/secrets/sealed"
	"github.com/oz-platform/cloudagents/task"
)

// SecretInput asks for a secret.
type SecretInput struct {
	// Name is the environment variable that agents get.
	Name string
	// Value is never given back.
	Value executor.Sensitive
	// Description is for people.
	Description string
	// Type is raw_value (the default), anthropic_api_key, openai_api_key,
	// anthropic_bedrock_api_key or anthropic_bedrock_access_key. The last two
	// have several parts, and openai_api_key may: Value is then a JSON object
	// of value and region; of access_key_id, secret_access_key, region and
	// perhaps session_token; or of value and base_url.
	Type string
	// Team says whose it is, as in Request.
	Team *bool
}

// SecretChange changes what is not nil.
type SecretChange struct {
	Value       *executor.Sensitive
	Description *string
}

// Secret is what may be known of a secret: everything but its value.
type Secret struct {
	Name        string
	Owner       task.Scope
	Description string
	Type        string
	Version     int64
	CreatedAt   time.Time
	UpdatedAt   time.Time
}

// CreateSecret seals a new secret. It fails with task.ErrConflict when the
// owner has one of that name, and with task.CodeInvalidRequest for a name or
// value that cannot be one.
func (c *Client) CreateSecret(ctx context.Context, in SecretInput) (Secret, error) {
	owner, err := c.owner(ctx, access.SecretCreate, in.Team)
	if err != nil {
		return Secret{}, err
	}
	store, err := c.p.sealed()
	if err != nil {
		return Secret{}, err
	}
	value, err := plaintext(in.Type, in.Value)
	if err != nil {
		return Secret{}, err
	}
	return doing(ctx, c, secretDeed(access.SecretCreate, owner, in.Name, "create"), func() (Secret, error) {
		s, err := store.Create(ctx, owner, sealed.Creation{Name: in.Name, Description: in.Description, Value: value})
		return secretOf(s), err
	})
}

// UpdateSecret changes a secret's value or description; runs that begin later
// get the new value. Name, owner and type never change.
func (c *Client) UpdateSecret(ctx context.Context, name string, team *bool, change SecretChange) (Secret, error) {
	owner, err := c.owner(ctx, access.SecretManage, team)
	if err != nil {
		return Secret{}, err
	}
	store, err := c.p.sealed()
	if err != nil {
		return Secret{}, err
	}
	update := sealed.Change{Description: change.Description}
	if change.Value != nil {
		known, err := find(ctx, store, owner, name)
		if err != nil {
			return Secret{}, err
		}
		if update.Value, err = plaintext(string(known.Type), *change.Value); err != nil {
			return Secret{}, err
		}
	}
	return doing(ctx, c, secretDeed(access.SecretManage, owner, name, "update"), func() (Secret, error) {
		s, err := store.Update(ctx, owner, name, update)
		return secretOf(s), err
	})
}

// DeleteSecret removes a secret; runs that have it keep it.
func (c *Client) DeleteSecret(ctx context.Context, name string, team *bool) error {
	owner, err := c.owner(ctx, access.SecretManage, team)
	if err != nil {
		return err
	}
	store, err := c.p.sealed()
	if err != nil {
		return err
	}
	return c.audited(ctx, secretDeed(access.SecretManage, owner, name, "delete"), func() error { return store.Delete(ctx, owner, name) })
}

func secretDeed(a access.Action, owner task.Scope, name, what string) *deed {
	return &deed{action: a, kind: "secret", id: name, owner: owner, details: act(what)}
}

// Secrets lists the secrets that the caller's runs may get, without values:
// the person's, then those of each team, each by name.
func (c *Client) Secrets(ctx context.Context) ([]Secret, error) {
	if err := c.allow(ctx, access.SecretView, access.Object{}); err != nil {
		return nil, err
	}
	owners := c.caller.Scopes()
	if c.caller.System {
		owners = []task.Scope{c.p.opts.Owner}
	}
	list := []Secret{}
	if c.p.opts.Sealed == nil {
		return list, nil
	}
	for _, owner := range owners {
		found, err := c.p.opts.Sealed.List(ctx, owner)
		if err != nil {
			return nil, err
		}
		for _, s := range found {
			list = append(list, secretOf(s))
		}
	}
	return list, nil
}

// sealed is the store that secrets are managed in.
func (p *Platform) sealed() (*sealed.Store, error) {
	if p.opts.Sealed == nil {
		return nil, notBuilt("", "a store for secrets that can be written", "set Options.Sealed, or use the server's other secret providers")
	}
	return p.opts.Sealed, nil
}

func find(ctx context.Context, store *sealed.Store, owner task.Scope, name string) (sealed.Secret, error) {
	list, err := store.List(ctx, owner)
	if err != nil {
		return sealed.Secret{}, err
	}
	for _, s := range list {
		if s.Name == name {
			return s, nil
		}
	}
	return sealed.Secret{}, task.Errorf(task.CodeNotFound, "%s has no secret %q", owner.Type, name)
}

// plaintext makes a value of a type.
func plaintext(typ string, value executor.Sensitive) (sealed.Plaintext, error) {
	switch t := sealed.Type(typ); {
	case t == "" || t == sealed.TypeRawValue:
		return sealed.Raw(value.Reveal()), nil
	case t == sealed.TypeAnthropicAPIKey:
		return sealed.AnthropicAPIKey(value.Reveal()), nil
	case t == sealed.TypeOpenAIAPIKey && !strings.HasPrefix(value.Reveal(), "{"):
		return sealed.OpenAIAPIKey(value.Reveal(), ""), nil
	case t == sealed.TypeOpenAIAPIKey || t == sealed.TypeBedrockAPIKey || t == sealed.TypeBedrockAccessKey:
		return compound(t, value)
	}
	return sealed.Plaintext{}, task.Invalid("type", "%q is none of raw_value, anthropic_api_key, openai_api_key, anthropic_bedrock_api_key, anthropic_bedrock_access_key", typ)
}

// compound makes a value of several parts out of a JSON object. Errors repeat
// nothing of it.
func compound(typ sealed.Type, value executor.Sensitive) (sealed.Plaintext, error) {
	var p struct {
		Value           string `json:"value"`
		BaseURL         string `json:"base_url"`
		Region          string `json:"region"`
		AccessKeyID     string `json:"access_key_id"`
		SecretAccessKey string `json:"secret_access_key"`
		SessionToken    string `json:"session_token"`
	}
	d := json.NewDecoder(strings.NewReader(value.Reveal()))
	d.DisallowUnknownFields()
	if d.Decode(&p) != nil || d.More() {
		return sealed.Plaintext{}, task.Invalid("value", "a secret of type %s has several parts: give a JSON object of them, texts only", string(typ))
	}
	switch typ {
	case sealed.TypeOpenAIAPIKey:
		return sealed.OpenAIAPIKey(p.Value, p.BaseURL), nil
	case sealed.TypeBedrockAPIKey:
		return sealed.BedrockAPIKey(p.Value, p.Region), nil
	}
	return sealed.BedrockAccessKey(p.AccessKeyID, p.SecretAccessKey, p.SessionToken, p.Region), nil
}

func secretOf(s sealed.Secret) Secret {
	return Secret{Name: s.Name, Owner: s.Scope, Description: s.Description, Type: string(s.Type), Version: s.Version,
		CreatedAt: s.CreatedAt, UpdatedAt: s.UpdatedAt}
}

// variables resolves the secrets of a run and adds them to r. What cannot be
// redacted is withheld, and counted with those that are missing.
func (p *Platform) variables(ctx context.Context, t task.Task, r *secrets.Redactor) (vars []executor.Variable, missing []string, err error) {
	if err := p.guardOwn(r); err != nil {
		return nil, nil, err
	}
	request, err := p.secretRequest(ctx, t)
	if err != nil {
		return nil, nil, err
	}
	set, err := secrets.Resolve(ctx, p.providers(), request)
	if err != nil {
		return nil, nil, err
	}
	missing = set.Missing
	values, err := p.withoutEndpointKeys(ctx, t.Owner, set.Values)
	if err != nil {
		return nil, nil, err
	}
	_, signIn, _ := authSecret(t.Config)
	for _, v := range values {
		if signIn != "" && v.Secret == signIn {
			continue // the run's gateway has it
		}
		if !v.Public && r.Add(v.Name, v.Plaintext()) != nil {
			missing = append(missing, v.Name)
			continue
		}
		vars = append(vars, executor.Variable{Name: v.Name, Value: executor.Sensitive(v.Plaintext())})
	}
	return vars, missing, nil
}

// secretRequest says whose secrets a run may have.
func (p *Platform) secretRequest(ctx context.Context, t task.Task) (r secrets.Request, err error) {
	r = secrets.Request{Owner: t.Owner, Allow: t.Config.Secrets}
	if t.Untrusted {
		r.Allow = &[]string{}
	}
	if t.Creator.IsPerson() && t.Requester.UID == "" {
		if !withoutPerson(t) {
			r.Person = t.Creator.UID
		}
		r.Team, err = p.onlyTeam(ctx, t)
	}
	return r, err
}

// providers are the sealed store and the operator's, in this order.
func (p *Platform) providers() []secrets.Provider {
	if p.opts.Sealed == nil {
		return p.opts.Secrets
	}
	return append([]secrets.Provider{p.opts.Sealed}, p.opts.Secrets...)
}

// onlyTeam gives the team whose secrets a person's own run gets beside the
// person's (Oz platform, SEC-4): theirs, when they are on exactly one today.
func (p *Platform) onlyTeam(ctx context.Context, t task.Task) (string, error) {
	if t.Owner.Type != task.ScopeUser {
		return "", nil
	}
	u, err := p.registry.User(ctx, t.Creator.UID)
	if errors.Is(err, task.ErrNotFound) || err == nil && len(u.Teams) != 1 {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	return u.Teams[0].UID, nil
}

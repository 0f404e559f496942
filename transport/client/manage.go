package client

import (
	"context"
	"net/url"
	"strconv"

	"github.com/oz-platform/cloudagents/environment"
	"github.com/oz-platform/cloudagents/oz"
	"github.com/oz-platform/cloudagents/oz/access"
	"github.com/oz-platform/cloudagents/transport/api"
	"github.com/oz-platform/cloudagents/transport/internal/wire"
)

// CreateEnvironment stores an environment. team says whose it is, as in
// oz.Request.
func (c *Client) CreateEnvironment(ctx context.Context, cfg environment.Config, team *bool) (environment.Environment, error) {
	e, err := decode[api.CloudEnvironment](c.raw.CreateEnvironment(ctx, api.CreateEnvironmentRequest{Config: wire.EnvironmentConfig(cfg), Team: team}))
	return wire.EnvironmentOf(e), err
}

// Environment returns one environment.
func (c *Client) Environment(ctx context.Context, uid string) (environment.Environment, error) {
	if err := checkID("environment uid", uid); err != nil {
		return environment.Environment{}, err
	}
	e, err := decode[api.CloudEnvironment](c.raw.GetEnvironment(ctx, uid))
	return wire.EnvironmentOf(e), err
}

// Environments lists those that the caller may use, newest change first.
func (c *Client) Environments(ctx context.Context) ([]oz.EnvironmentItem, error) {
	answer, err := decode[api.ListEnvironmentsResponse](c.raw.ListEnvironments(ctx, nil))
	if err != nil {
		return nil, err
	}
	items := make([]oz.EnvironmentItem, 0, len(answer.Environments))
	for _, e := range answer.Environments {
		items = append(items, wire.EnvironmentItemOf(e))
	}
	return items, nil
}

// UpdateEnvironment replaces an environment's configuration. It fails with
// task.ErrConflict when revision is not the stored one; 0 overwrites.
func (c *Client) UpdateEnvironment(ctx context.Context, uid string, cfg environment.Config, revision int64) (environment.Environment, error) {
	if err := checkID("environment uid", uid); err != nil {
		return environment.Environment{}, err
	}
	e, err := decode[api.CloudEnvironment](c.raw.UpdateEnvironment(ctx, uid,
		api.UpdateEnvironmentRequest{Config: wire.EnvironmentConfig(cfg), Revision: revision}))
	return wire.EnvironmentOf(e), err
}

// DeleteEnvironment removes an environment.
func (c *Client) DeleteEnvironment(ctx context.Context, uid string) error {
	if err := checkID("environment uid", uid); err != nil {
		return err
	}
	return done(c.raw.DeleteEnvironment(ctx, uid))
}

// Secrets lists the secrets that the caller may use, without their values.
func (c *Client) Secrets(ctx context.Context) ([]oz.Secret, error) {
	answer, err := decode[api.ListSecretsResponse](c.raw.ListSecrets(ctx))
	if err != nil {
		return nil, err
	}
	list := make([]oz.Secret, 0, len(answer.Secrets))
	for _, s := range answer.Secrets {
		list = append(list, wire.SecretOf(s))
	}
	return list, nil
}

// CreateSecret stores a secret.
func (c *Client) CreateSecret(ctx context.Context, in oz.SecretInput) (oz.Secret, error) {
	s, err := decode[api.SecretItem](c.raw.CreateSecret(ctx, api.CreateSecretRequest{Name: in.Name, Value: in.Value.Reveal(),
		Description: in.Description, Type: in.Type, Team: in.Team}))
	return wire.SecretOf(s), err
}

// UpdateSecret changes a secret.
func (c *Client) UpdateSecret(ctx context.Context, name string, team *bool, change oz.SecretChange) (oz.Secret, error) {
	if err := checkID("secret name", name); err != nil {
		return oz.Secret{}, err
	}
	s, err := decode[api.SecretItem](c.raw.UpdateSecret(ctx, name, nil,
		api.UpdateSecretRequest{Value: (*string)(change.Value), Description: change.Description}, query(teamQuery(team))))
	return wire.SecretOf(s), err
}

// DeleteSecret removes a secret.
func (c *Client) DeleteSecret(ctx context.Context, name string, team *bool) error {
	if err := checkID("secret name", name); err != nil {
		return err
	}
	return done(c.raw.DeleteSecret(ctx, name, nil, query(teamQuery(team))))
}

func teamQuery(team *bool) url.Values {
	if team == nil {
		return nil
	}
	return url.Values{"team": {strconv.FormatBool(*team)}}
}

// Keys lists the API keys that the caller may manage.
func (c *Client) Keys(ctx context.Context) ([]access.Key, error) {
	answer, err := decode[api.ListAPIKeysResponse](c.raw.ListAPIKeys(ctx))
	if err != nil {
		return nil, err
	}
	list := make([]access.Key, 0, len(answer.Keys))
	for _, k := range answer.Keys {
		list = append(list, wire.KeyOf(k))
	}
	return list, nil
}

// CreateKey makes an API key and returns it, this once.
func (c *Client) CreateKey(ctx context.Context, spec access.KeySpec) (raw string, k access.Key, err error) {
	answer, err := decode[api.CreatedAPIKey](c.raw.CreateAPIKey(ctx, wire.KeySpec(spec)))
	return answer.Key, wire.KeyOf(answer.ApiKey), err
}

// RevokeKey makes an API key invalid at once.
func (c *Client) RevokeKey(ctx context.Context, uid string) error {
	if err := checkID("key uid", uid); err != nil {
		return err
	}
	return done(c.raw.RevokeAPIKey(ctx, uid))
}

// Whoami tells whose the client's key is.
func (c *Client) Whoami(ctx context.Context) (access.Caller, error) {
	w, err := decode[api.Whoami](c.raw.Whoami(ctx))
	return wire.WhoamiOf(w), err
}

// Models lists the models that runs may name, and the one that is used when a
// run names none.
func (c *Client) Models(ctx context.Context) (models []oz.ModelInfo, defaultID string, err error) {
	answer, err := decode[api.ListModelsResponse](c.raw.ListModels(ctx))
	if err != nil {
		return nil, "", err
	}
	for _, m := range answer.Models {
		models = append(models, wire.ModelOf(m))
	}
	return models, answer.DefaultModelId, nil
}

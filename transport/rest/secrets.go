package rest

import (
	"context"
	"strconv"

	"github.com/oz-platform/cloudagents/executor"
	"github.com/oz-platform/cloudagents/oz"
	"github.com/oz-platform/cloudagents/task"
	"github.com/oz-platform/cloudagents/transport/api"
	"github.com/oz-platform/cloudagents/transport/internal/wire"
)

// ListSecrets implements GET /oz/secrets.
func (o operations) ListSecrets(ctx context.Context, _ api.ListSecretsRequestObject) (api.ListSecretsResponseObject, error) {
	list, err := callOf(ctx).client.Secrets(ctx)
	if err != nil {
		return nil, err
	}
	answer := api.ListSecrets200JSONResponse{Secrets: []api.SecretItem{}}
	for _, s := range list {
		answer.Secrets = append(answer.Secrets, wire.Secret(s))
	}
	return answer, nil
}

// CreateSecret implements POST /oz/secrets.
func (o operations) CreateSecret(ctx context.Context, r api.CreateSecretRequestObject) (api.CreateSecretResponseObject, error) {
	s, err := callOf(ctx).client.CreateSecret(ctx, oz.SecretInput{Name: r.Body.Name, Value: executor.Sensitive(r.Body.Value),
		Description: r.Body.Description, Type: r.Body.Type, Team: r.Body.Team})
	if err != nil {
		return nil, err
	}
	return api.CreateSecret201JSONResponse(wire.Secret(s)), nil
}

// UpdateSecret implements PUT /oz/secrets/{name}.
func (o operations) UpdateSecret(ctx context.Context, r api.UpdateSecretRequestObject) (api.UpdateSecretResponseObject, error) {
	c := callOf(ctx)
	team, err := teamOf(c)
	if err != nil {
		return nil, err
	}
	s, err := c.client.UpdateSecret(ctx, r.Name, team,
		oz.SecretChange{Value: (*executor.Sensitive)(r.Body.Value), Description: r.Body.Description})
	if err != nil {
		return nil, err
	}
	return api.UpdateSecret200JSONResponse(wire.Secret(s)), nil
}

// DeleteSecret implements DELETE /oz/secrets/{name}.
func (o operations) DeleteSecret(ctx context.Context, r api.DeleteSecretRequestObject) (api.DeleteSecretResponseObject, error) {
	c := callOf(ctx)
	team, err := teamOf(c)
	if err != nil {
		return nil, err
	}
	if err := c.client.DeleteSecret(ctx, r.Name, team); err != nil {
		return nil, err
	}
	return api.DeleteSecret204Response{}, nil
}

// teamOf reads ?team=, which may be absent: the generated code cannot tell
// that from false.
func teamOf(c *call) (*bool, error) {
	s := c.request.URL.Query().Get("team")
	if s == "" {
		return nil, nil
	}
	team, err := strconv.ParseBool(s)
	if err != nil {
		return nil, task.Invalid("team", "must be true or false")
	}
	return &team, nil
}

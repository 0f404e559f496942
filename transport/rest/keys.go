package rest

import (
	"context"

	"github.com/oz-platform/cloudagents/oz"
	"github.com/oz-platform/cloudagents/oz/access"
	"github.com/oz-platform/cloudagents/transport/api"
	"github.com/oz-platform/cloudagents/transport/internal/wire"
)

// ListAPIKeys implements GET /oz/api-keys.
func (o operations) ListAPIKeys(ctx context.Context, _ api.ListAPIKeysRequestObject) (api.ListAPIKeysResponseObject, error) {
	c := callOf(ctx)
	if err := access.Allow(c.caller, access.KeyView, access.Object{}); err != nil {
		return nil, err
	}
	list, err := o.platform.Registry().Keys(ctx, c.caller)
	if err != nil {
		return nil, err
	}
	answer := api.ListAPIKeys200JSONResponse{Keys: []api.APIKey{}}
	for _, k := range list {
		answer.Keys = append(answer.Keys, wire.Key(k))
	}
	return answer, nil
}

// CreateAPIKey implements POST /oz/api-keys.
func (o operations) CreateAPIKey(ctx context.Context, r api.CreateAPIKeyRequestObject) (api.CreateAPIKeyResponseObject, error) {
	raw, k, err := o.platform.Registry().CreateKey(ctx, callOf(ctx).caller, wire.KeySpecOf(*r.Body))
	if err != nil {
		return nil, err
	}
	return api.CreateAPIKey201JSONResponse{Key: raw, ApiKey: wire.Key(k)}, nil
}

// RevokeAPIKey implements DELETE /oz/api-keys/{keyUid}.
func (o operations) RevokeAPIKey(ctx context.Context, r api.RevokeAPIKeyRequestObject) (api.RevokeAPIKeyResponseObject, error) {
	if err := o.platform.Registry().RevokeKey(ctx, callOf(ctx).caller, r.KeyUid); err != nil {
		return nil, err
	}
	return api.RevokeAPIKey204Response{}, nil
}

// Whoami implements GET /oz/whoami.
func (o operations) Whoami(ctx context.Context, _ api.WhoamiRequestObject) (api.WhoamiResponseObject, error) {
	c := callOf(ctx)
	if err := access.Allow(c.caller, access.AccountView, access.Object{}); err != nil {
		return nil, err
	}
	w := wire.Whoami(c.caller)
	w.Server = serverSettings(o.platform.Settings())
	return api.Whoami200JSONResponse(w), nil
}

func serverSettings(s oz.Settings) api.ServerSettings {
	links := api.ServerSettingsRunLinks("accounts")
	switch {
	case !s.Links:
		links = "off"
	case s.GuestLinks:
		links = "guests"
	}
	return api.ServerSettings{RunLinks: links, RetentionDays: float32(s.Retention.Hours() / 24)}
}

// ListModels implements GET /agent/models.
func (o operations) ListModels(ctx context.Context, _ api.ListModelsRequestObject) (api.ListModelsResponseObject, error) {
	models, defaultID, err := callOf(ctx).client.Models(ctx)
	if err != nil {
		return nil, err
	}
	answer := api.ListModels200JSONResponse{DefaultModelId: defaultID, Models: []api.ModelInfo{}}
	for _, m := range models {
		answer.Models = append(answer.Models, wire.Model(m))
	}
	return answer, nil
}

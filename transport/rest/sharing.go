package rest

import (
	"context"

	"github.com/oz-platform/cloudagents/task"
	"github.com/oz-platform/cloudagents/transport/api"
	"github.com/oz-platform/cloudagents/transport/internal/wire"
)

// GetSharing implements GET /oz/runs/{runId}/sharing.
func (o operations) GetSharing(ctx context.Context, r api.GetSharingRequestObject) (api.GetSharingResponseObject, error) {
	s, err := callOf(ctx).client.Sharing(ctx, task.ID(r.RunId))
	if err != nil {
		return nil, err
	}
	return api.GetSharing200JSONResponse(wire.Sharing(s)), nil
}

// UpdateSharing implements PUT /oz/runs/{runId}/sharing.
func (o operations) UpdateSharing(ctx context.Context, r api.UpdateSharingRequestObject) (api.UpdateSharingResponseObject, error) {
	s, err := callOf(ctx).client.Share(ctx, task.ID(r.RunId), wire.SharingOf(*r.Body))
	if err != nil {
		return nil, err
	}
	return api.UpdateSharing200JSONResponse(wire.Sharing(s)), nil
}

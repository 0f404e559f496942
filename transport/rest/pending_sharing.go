package rest

import (
	"context"

	"github.com/oz-platform/cloudagents/transport/api"
)

// GetSharing is not served yet.
func (o operations) GetSharing(context.Context, api.GetSharingRequestObject) (api.GetSharingResponseObject, error) {
	return nil, errNotServed()
}

// UpdateSharing is not served yet.
func (o operations) UpdateSharing(context.Context, api.UpdateSharingRequestObject) (api.UpdateSharingResponseObject, error) {
	return nil, errNotServed()
}

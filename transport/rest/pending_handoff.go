package rest

import (
	"context"

	"github.com/oz-platform/cloudagents/transport/api"
)

// GetConversationRedirect is not served yet.
func (o operations) GetConversationRedirect(context.Context, api.GetConversationRedirectRequestObject) (api.GetConversationRedirectResponseObject, error) {
	return nil, errNotServed()
}

// ListHandoffAttachments is not served yet.
func (o operations) ListHandoffAttachments(context.Context, api.ListHandoffAttachmentsRequestObject) (api.ListHandoffAttachmentsResponseObject, error) {
	return nil, errNotServed()
}

// GetSessionRedirect is not served yet.
func (o operations) GetSessionRedirect(context.Context, api.GetSessionRedirectRequestObject) (api.GetSessionRedirectResponseObject, error) {
	return nil, errNotServed()
}

// ListPlanVersions is not served yet.
func (o operations) ListPlanVersions(context.Context, api.ListPlanVersionsRequestObject) (api.ListPlanVersionsResponseObject, error) {
	return nil, errNotServed()
}

// CreateArtifact is not served yet.
func (o operations) CreateArtifact(context.Context, api.CreateArtifactRequestObject) (api.CreateArtifactResponseObject, error) {
	return nil, errNotServed()
}

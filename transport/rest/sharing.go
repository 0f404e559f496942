package rest

import (
	"context"
	"time"

	"github.com/oz-platform/cloudagents/oz"
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

// GetRunRights implements GET /oz/runs/{runId}/rights.
func (o operations) GetRunRights(ctx context.Context, r api.GetRunRightsRequestObject) (api.GetRunRightsResponseObject, error) {
	rights, err := callOf(ctx).client.Rights(ctx, task.ID(r.RunId))
	if err != nil {
		return nil, err
	}
	return api.GetRunRights200JSONResponse(wire.RunRights(rights)), nil
}

// ListRunLinks implements GET /oz/runs/{runId}/links.
func (o operations) ListRunLinks(ctx context.Context, r api.ListRunLinksRequestObject) (api.ListRunLinksResponseObject, error) {
	links, err := callOf(ctx).client.RunLinks(ctx, task.ID(r.RunId))
	if err != nil {
		return nil, err
	}
	answer := api.ListRunLinks200JSONResponse{Links: []api.RunLink{}}
	for _, l := range links {
		answer.Links = append(answer.Links, wire.RunLink(l))
	}
	return answer, nil
}

// CreateRunLink implements POST /oz/runs/{runId}/links.
func (o operations) CreateRunLink(ctx context.Context, r api.CreateRunLinkRequestObject) (api.CreateRunLinkResponseObject, error) {
	c, id := callOf(ctx), task.ID(r.RunId)
	spec := oz.RunLinkSpec{Role: task.ShareRole(r.Body.Role), Name: r.Body.Name, Life: time.Duration(r.Body.ExpiresInMinutes) * time.Minute}
	token, l, err := c.client.CreateRunLink(ctx, id, spec)
	if err != nil {
		return nil, err
	}
	return api.CreateRunLink201JSONResponse{Token: token, Url: wire.RunLinkURL(o.absolute(c.request, ""), id, token), Link: wire.RunLink(l)}, nil
}

// RevokeRunLink implements DELETE /oz/runs/{runId}/links/{linkUid}.
func (o operations) RevokeRunLink(ctx context.Context, r api.RevokeRunLinkRequestObject) (api.RevokeRunLinkResponseObject, error) {
	if err := callOf(ctx).client.RevokeRunLink(ctx, task.ID(r.RunId), r.LinkUid); err != nil {
		return nil, err
	}
	return api.RevokeRunLink204Response{}, nil
}

// ListEditRequests implements GET /oz/runs/{runId}/edit-requests.
func (o operations) ListEditRequests(ctx context.Context, r api.ListEditRequestsRequestObject) (api.ListEditRequestsResponseObject, error) {
	list, err := callOf(ctx).client.EditRequests(ctx, task.ID(r.RunId))
	if err != nil {
		return nil, err
	}
	answer := api.ListEditRequests200JSONResponse{Requests: []api.EditRequest{}}
	for _, e := range list {
		answer.Requests = append(answer.Requests, wire.EditRequest(e))
	}
	return answer, nil
}

// CreateEditRequest implements POST /oz/runs/{runId}/edit-requests.
func (o operations) CreateEditRequest(ctx context.Context, r api.CreateEditRequestRequestObject) (api.CreateEditRequestResponseObject, error) {
	e, err := callOf(ctx).client.RequestEdit(ctx, task.ID(r.RunId), r.Body.Message)
	if err != nil {
		return nil, err
	}
	return api.CreateEditRequest201JSONResponse(wire.EditRequest(e)), nil
}

// DecideEditRequest implements POST /oz/runs/{runId}/edit-requests/{requestUid}/decision.
func (o operations) DecideEditRequest(ctx context.Context, r api.DecideEditRequestRequestObject) (api.DecideEditRequestResponseObject, error) {
	if r.Body.Decision != "approve" && r.Body.Decision != "refuse" {
		return nil, task.Invalid("decision", "%q is neither approve nor refuse", clip(r.Body.Decision))
	}
	e, err := callOf(ctx).client.DecideEdit(ctx, task.ID(r.RunId), r.RequestUid, r.Body.Decision == "approve")
	if err != nil {
		return nil, err
	}
	return api.DecideEditRequest200JSONResponse(wire.EditRequest(e)), nil
}

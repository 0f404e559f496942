package rest

import (
	"cmp"
	"context"
	"slices"
	"strings"

	"github.com/oz-platform/cloudagents/oz"
	"github.com/oz-platform/cloudagents/task"
	"github.com/oz-platform/cloudagents/transport/api"
	"github.com/oz-platform/cloudagents/transport/internal/wire"
)

// ListEnvironments implements GET /agent/environments.
func (o operations) ListEnvironments(ctx context.Context, r api.ListEnvironmentsRequestObject) (api.ListEnvironmentsResponseObject, error) {
	order, err := environmentOrder(r.Params.SortBy)
	if err != nil {
		return nil, err
	}
	items, err := callOf(ctx).client.Environments(ctx)
	if err != nil {
		return nil, err
	}
	slices.SortStableFunc(items, order)
	answer := api.ListEnvironments200JSONResponse{Environments: []api.CloudEnvironment{}}
	for _, item := range items {
		answer.Environments = append(answer.Environments, wire.Environment(item))
	}
	return answer, nil
}

func environmentOrder(by api.ListEnvironmentsParamsSortBy) (func(a, b oz.EnvironmentItem) int, error) {
	switch by {
	case "", api.ListEnvironmentsParamsSortByLastUpdated:
		return func(a, b oz.EnvironmentItem) int { return b.UpdatedAt.Compare(a.UpdatedAt) }, nil
	case api.ListEnvironmentsParamsSortByName:
		return func(a, b oz.EnvironmentItem) int {
			return cmp.Or(strings.Compare(a.Config.Name, b.Config.Name), strings.Compare(a.UID, b.UID))
		}, nil
	}
	return nil, task.Invalid("sort_by", "%q is neither name nor last_updated", string(by))
}

// CreateEnvironment implements POST /oz/environments.
func (o operations) CreateEnvironment(ctx context.Context, r api.CreateEnvironmentRequestObject) (api.CreateEnvironmentResponseObject, error) {
	e, err := callOf(ctx).client.CreateEnvironment(ctx, wire.EnvironmentConfigOf(r.Body.Config), r.Body.Team)
	if err != nil {
		return nil, err
	}
	return api.CreateEnvironment201JSONResponse(wire.Environment(oz.EnvironmentItem{Environment: e})), nil
}

// GetEnvironment implements GET /oz/environments/{environmentUid}.
func (o operations) GetEnvironment(ctx context.Context, r api.GetEnvironmentRequestObject) (api.GetEnvironmentResponseObject, error) {
	e, err := callOf(ctx).client.Environment(ctx, r.EnvironmentUid)
	if err != nil {
		return nil, err
	}
	return api.GetEnvironment200JSONResponse(wire.Environment(oz.EnvironmentItem{Environment: e})), nil
}

// UpdateEnvironment implements PUT /oz/environments/{environmentUid}.
func (o operations) UpdateEnvironment(ctx context.Context, r api.UpdateEnvironmentRequestObject) (api.UpdateEnvironmentResponseObject, error) {
	client, revision := callOf(ctx).client, r.Body.Revision
	if revision == 0 { // whatever is there now
		e, err := client.Environment(ctx, r.EnvironmentUid)
		if err != nil {
			return nil, err
		}
		revision = e.Revision
	}
	e, err := client.UpdateEnvironment(ctx, r.EnvironmentUid, wire.EnvironmentConfigOf(r.Body.Config), revision)
	if err != nil {
		return nil, err
	}
	return api.UpdateEnvironment200JSONResponse(wire.Environment(oz.EnvironmentItem{Environment: e})), nil
}

// DeleteEnvironment implements DELETE /oz/environments/{environmentUid}.
func (o operations) DeleteEnvironment(ctx context.Context, r api.DeleteEnvironmentRequestObject) (api.DeleteEnvironmentResponseObject, error) {
	if err := callOf(ctx).client.DeleteEnvironment(ctx, r.EnvironmentUid); err != nil {
		return nil, err
	}
	return api.DeleteEnvironment204Response{}, nil
}

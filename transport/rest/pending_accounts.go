package rest

import (
	"context"

	"github.com/oz-platform/cloudagents/transport/api"
)

// ListTeams is not served yet.
func (o operations) ListTeams(context.Context, api.ListTeamsRequestObject) (api.ListTeamsResponseObject, error) {
	return nil, errNotServed()
}

// CreateTeam is not served yet.
func (o operations) CreateTeam(context.Context, api.CreateTeamRequestObject) (api.CreateTeamResponseObject, error) {
	return nil, errNotServed()
}

// GetTeam is not served yet.
func (o operations) GetTeam(context.Context, api.GetTeamRequestObject) (api.GetTeamResponseObject, error) {
	return nil, errNotServed()
}

// UpdateTeam is not served yet.
func (o operations) UpdateTeam(context.Context, api.UpdateTeamRequestObject) (api.UpdateTeamResponseObject, error) {
	return nil, errNotServed()
}

// AddMember is not served yet.
func (o operations) AddMember(context.Context, api.AddMemberRequestObject) (api.AddMemberResponseObject, error) {
	return nil, errNotServed()
}

// RemoveMember is not served yet.
func (o operations) RemoveMember(context.Context, api.RemoveMemberRequestObject) (api.RemoveMemberResponseObject, error) {
	return nil, errNotServed()
}

// UpdateMember is not served yet.
func (o operations) UpdateMember(context.Context, api.UpdateMemberRequestObject) (api.UpdateMemberResponseObject, error) {
	return nil, errNotServed()
}

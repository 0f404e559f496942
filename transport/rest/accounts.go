package rest

import (
	"context"

	"github.com/oz-platform/cloudagents/oz/access"
	"github.com/oz-platform/cloudagents/task"
	"github.com/oz-platform/cloudagents/transport/api"
	"github.com/oz-platform/cloudagents/transport/internal/wire"
)

// ListTeams implements GET /oz/teams.
func (o operations) ListTeams(ctx context.Context, _ api.ListTeamsRequestObject) (api.ListTeamsResponseObject, error) {
	list, err := callOf(ctx).client.Teams(ctx)
	if err != nil {
		return nil, err
	}
	answer := api.ListTeams200JSONResponse{Teams: []api.TeamItem{}}
	for _, t := range list {
		answer.Teams = append(answer.Teams, wire.Team(t))
	}
	return answer, nil
}

// CreateTeam implements POST /oz/teams.
func (o operations) CreateTeam(ctx context.Context, r api.CreateTeamRequestObject) (api.CreateTeamResponseObject, error) {
	t, err := callOf(ctx).client.CreateTeam(ctx, access.Team{UID: r.Body.Uid, Name: r.Body.Name})
	if err != nil {
		return nil, err
	}
	return api.CreateTeam201JSONResponse(wire.Team(t)), nil
}

// GetTeam implements GET /oz/teams/{teamUid}.
func (o operations) GetTeam(ctx context.Context, r api.GetTeamRequestObject) (api.GetTeamResponseObject, error) {
	t, members, err := callOf(ctx).client.Team(ctx, r.TeamUid)
	if err != nil {
		return nil, err
	}
	item := wire.Team(t)
	item.Members = []api.MemberItem{}
	for _, m := range members {
		item.Members = append(item.Members, wire.Member(m))
	}
	return api.GetTeam200JSONResponse(item), nil
}

// UpdateTeam implements PUT /oz/teams/{teamUid}.
func (o operations) UpdateTeam(ctx context.Context, r api.UpdateTeamRequestObject) (api.UpdateTeamResponseObject, error) {
	var t access.Team
	var err error
	if r.Body.Name == "" && r.Body.NoLinks == nil {
		return nil, task.Invalid("name", "must have 1 to 200 bytes")
	}
	if r.Body.Name != "" {
		if t, err = callOf(ctx).client.RenameTeam(ctx, r.TeamUid, r.Body.Name); err != nil {
			return nil, err
		}
	}
	if off := r.Body.NoLinks; off != nil {
		if t, err = callOf(ctx).client.SetTeamLinks(ctx, r.TeamUid, *off); err != nil {
			return nil, err
		}
	}
	return api.UpdateTeam200JSONResponse(wire.Team(t)), nil
}

// AddMember implements POST /oz/teams/{teamUid}/members.
func (o operations) AddMember(ctx context.Context, r api.AddMemberRequestObject) (api.AddMemberResponseObject, error) {
	if s := o.opts.SignIn; r.Body.IssueKey && s != nil && s.Policy.LinkEmail {
		// Whoever gets the key could prepare the account before its owner comes.
		return nil, &task.Error{Code: task.CodeFeatureNotAvailable, Field: "issue_key",
			Message: "people with a known address sign in with " + s.Name + " here and make their keys themselves: leave it out"}
	}
	m, key, err := callOf(ctx).client.AddMember(ctx, r.TeamUid, wire.NewMemberOf(*r.Body))
	if err != nil {
		return nil, err
	}
	return api.AddMember201JSONResponse{Member: wire.Member(m), Key: key}, nil
}

// UpdateMember implements PUT /oz/teams/{teamUid}/members/{userUid}.
func (o operations) UpdateMember(ctx context.Context, r api.UpdateMemberRequestObject) (api.UpdateMemberResponseObject, error) {
	m, err := callOf(ctx).client.SetRole(ctx, r.TeamUid, r.UserUid, access.Role(r.Body.Role))
	if err != nil {
		return nil, err
	}
	return api.UpdateMember200JSONResponse(wire.Member(m)), nil
}

// RemoveMember implements DELETE /oz/teams/{teamUid}/members/{userUid}.
func (o operations) RemoveMember(ctx context.Context, r api.RemoveMemberRequestObject) (api.RemoveMemberResponseObject, error) {
	if err := callOf(ctx).client.RemoveMember(ctx, r.TeamUid, r.UserUid); err != nil {
		return nil, err
	}
	return api.RemoveMember204Response{}, nil
}

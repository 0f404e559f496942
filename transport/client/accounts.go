package client

import (
	"context"

	"github.com/oz-platform/cloudagents/oz/access"
	"github.com/oz-platform/cloudagents/transport/api"
	"github.com/oz-platform/cloudagents/transport/internal/wire"
)

// Teams lists the caller's teams, by name.
func (c *Client) Teams(ctx context.Context) ([]access.Team, error) {
	answer, err := decode[api.ListTeamsResponse](c.raw.ListTeams(ctx))
	if err != nil {
		return nil, err
	}
	list := make([]access.Team, 0, len(answer.Teams))
	for _, t := range answer.Teams {
		list = append(list, wire.TeamOf(t))
	}
	return list, nil
}

// CreateTeam makes a team that the caller owns. Its UID is made when it is
// empty.
func (c *Client) CreateTeam(ctx context.Context, t access.Team) (access.Team, error) {
	made, err := decode[api.TeamItem](c.raw.CreateTeam(ctx, api.CreateTeamRequest{Name: t.Name, Uid: t.UID}))
	return wire.TeamOf(made), err
}

// Team returns a team and the persons on it.
func (c *Client) Team(ctx context.Context, uid string) (access.Team, []access.Member, error) {
	if err := checkID("team uid", uid); err != nil {
		return access.Team{}, nil, err
	}
	t, err := decode[api.TeamItem](c.raw.GetTeam(ctx, uid))
	if err != nil {
		return access.Team{}, nil, err
	}
	members := make([]access.Member, 0, len(t.Members))
	for _, m := range t.Members {
		members = append(members, wire.MemberOf(m))
	}
	return wire.TeamOf(t), members, nil
}

// RenameTeam changes a team's name.
func (c *Client) RenameTeam(ctx context.Context, uid, name string) (access.Team, error) {
	if err := checkID("team uid", uid); err != nil {
		return access.Team{}, err
	}
	t, err := decode[api.TeamItem](c.raw.UpdateTeam(ctx, uid, api.UpdateTeamRequest{Name: name}))
	return wire.TeamOf(t), err
}

// SetTeamLinks says whether the team's runs may be shared with whoever has a
// link. See oz.Client.SetTeamLinks.
func (c *Client) SetTeamLinks(ctx context.Context, uid string, off bool) (access.Team, error) {
	if err := checkID("team uid", uid); err != nil {
		return access.Team{}, err
	}
	t, err := decode[api.TeamItem](c.raw.UpdateTeam(ctx, uid, api.UpdateTeamRequest{NoLinks: &off}))
	return wire.TeamOf(t), err
}

// AddMember puts a person on a team. key is the first key of a new person,
// when m asks for it.
func (c *Client) AddMember(ctx context.Context, team string, m access.NewMember) (added access.Member, key string, err error) {
	if err := checkID("team uid", team); err != nil {
		return access.Member{}, "", err
	}
	answer, err := decode[api.AddedMember](c.raw.AddMember(ctx, team, wire.NewMember(m)))
	return wire.MemberOf(answer.Member), answer.Key, err
}

// SetRole changes a member's role.
func (c *Client) SetRole(ctx context.Context, team, user string, role access.Role) (access.Member, error) {
	if err := checkIDs(team, user); err != nil {
		return access.Member{}, err
	}
	m, err := decode[api.MemberItem](c.raw.UpdateMember(ctx, team, user, api.UpdateMemberRequest{Role: string(role)}))
	return wire.MemberOf(m), err
}

// RemoveMember takes a person off a team.
func (c *Client) RemoveMember(ctx context.Context, team, user string) error {
	if err := checkIDs(team, user); err != nil {
		return err
	}
	return done(c.raw.RemoveMember(ctx, team, user))
}

func checkIDs(team, user string) error {
	if err := checkID("team uid", team); err != nil {
		return err
	}
	return checkID("user uid", user)
}

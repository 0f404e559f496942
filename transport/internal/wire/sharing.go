package wire

import (
	"cmp"

	"github.com/oz-platform/cloudagents/oz"
	"github.com/oz-platform/cloudagents/oz/access"
	"github.com/oz-platform/cloudagents/task"
	"github.com/oz-platform/cloudagents/transport/api"
)

// Sharing gives who may see a run.
func Sharing(s task.Sharing) api.Sharing {
	out := api.Sharing{Visibility: string(s.Visibility), LinkRole: string(s.LinkRole), Grants: []api.Grant{}}
	for _, g := range s.Grants {
		grant := api.Grant{Role: string(g.Role)}
		if g.To.Type == task.ScopeTeam {
			grant.TeamUid = g.To.UID
		} else {
			grant.UserUid = g.To.UID
		}
		out.Grants = append(out.Grants, grant)
	}
	return out
}

// SharingOf reads who may see a run. A grant that names a person and a team,
// or neither, gets a scope that Sharing.Validate refuses.
func SharingOf(s api.Sharing) task.Sharing {
	out := task.Sharing{Visibility: task.Visibility(s.Visibility), LinkRole: task.ShareRole(s.LinkRole)}
	for _, g := range s.Grants {
		to := task.Scope{}
		switch {
		case g.UserUid != "" && g.TeamUid == "":
			to = task.Scope{Type: task.ScopeUser, UID: g.UserUid}
		case g.TeamUid != "" && g.UserUid == "":
			to = task.Scope{Type: task.ScopeTeam, UID: g.TeamUid}
		}
		out.Grants = append(out.Grants, task.Grant{To: to, Role: task.ShareRole(g.Role)})
	}
	return out
}

// optionalSharing gives nil where nothing but the default was ever said.
func optionalSharing(t task.Task) *api.Sharing {
	if t.Sharing.IsZero() {
		return nil
	}
	s := Sharing(t.Sharing.Of(t.Owner))
	return &s
}

// Team gives a team without its members.
func Team(t access.Team) api.TeamItem {
	return api.TeamItem{Uid: t.UID, Name: t.Name, NoLinks: t.NoLinks}
}

// TeamOf reads a team.
func TeamOf(t api.TeamItem) access.Team {
	return access.Team{UID: t.Uid, Name: t.Name, NoLinks: t.NoLinks}
}

// Member gives a person on a team.
func Member(m access.Member) api.MemberItem {
	out := api.MemberItem{Role: api.MemberItemRole(m.Role)}
	if p := profile(m.User); p != nil {
		out.User = *p
	}
	return out
}

// MemberOf reads a person on a team.
func MemberOf(m api.MemberItem) access.Member {
	return access.Member{User: principal(&m.User), Role: access.Role(m.Role)}
}

// NewMember asks for a person to be put on a team.
func NewMember(m access.NewMember) api.AddMemberRequest {
	return api.AddMemberRequest{UserUid: m.UserUID, Email: m.Email, DisplayName: m.DisplayName, Role: string(m.Role), IssueKey: m.IssueKey}
}

// NewMemberOf reads who is to be put on a team.
func NewMemberOf(m api.AddMemberRequest) access.NewMember {
	return access.NewMember{UserUID: m.UserUid, Email: m.Email, DisplayName: m.DisplayName, Role: access.Role(cmp.Or(m.Role, string(access.RoleMember))),
		IssueKey: m.IssueKey}
}

// RunLink gives a link to a run, without its token.
func RunLink(l oz.RunLink) api.RunLink {
	return api.RunLink{Uid: l.UID, Name: l.Name, Role: api.RunLinkRole(l.Role), CreatedAt: l.CreatedAt.UTC(), ExpiresAt: l.ExpiresAt.UTC(), CreatedBy: profileOrNone(l.CreatedBy)}
}

// RunLinkOf reads a link to a run.
func RunLinkOf(l api.RunLink) oz.RunLink {
	return oz.RunLink{UID: l.Uid, Name: l.Name, Role: task.ShareRole(l.Role), CreatedAt: l.CreatedAt, ExpiresAt: l.ExpiresAt, CreatedBy: principal(&l.CreatedBy)}
}

// RunLinkURL is the address of a run's page, with the token where no server
// sees it.
func RunLinkURL(publicURL string, id task.ID, token string) string {
	return sessionLink(publicURL, string(id)) + "#link=" + token
}

// EditRequest gives a request to edit a run.
func EditRequest(r oz.EditRequest) api.EditRequest {
	return api.EditRequest{Uid: r.UID, User: profileOrNone(r.User), Message: r.Message, State: api.EditRequestState(r.State), CreatedAt: r.CreatedAt.UTC(),
		DecidedAt: optionalTime(r.DecidedAt), DecidedBy: profileOrNone(r.DecidedBy)}
}

// EditRequestOf reads a request to edit a run.
func EditRequestOf(r api.EditRequest) oz.EditRequest {
	return oz.EditRequest{UID: r.Uid, User: principal(&r.User), Message: r.Message, State: oz.EditRequestState(r.State), CreatedAt: r.CreatedAt,
		DecidedAt: timeOf(r.DecidedAt), DecidedBy: principal(&r.DecidedBy)}
}

// RunRights gives what a caller may do to a run.
func RunRights(r oz.RunRights) api.RunRights {
	return api.RunRights{Role: api.RunRightsRole(r.Role), View: r.View, Steer: r.Steer, Cancel: r.Cancel, Share: r.Share, TakeOver: r.TakeOver,
		RequestEdit: r.AskToEdit, Guest: r.Guest, Links: r.Links, Terminal: r.Terminal}
}

// RunRightsOf reads what a caller may do to a run.
func RunRightsOf(r api.RunRights) oz.RunRights {
	return oz.RunRights{Role: oz.RunRole(r.Role), View: r.View, Steer: r.Steer, Cancel: r.Cancel, Share: r.Share, TakeOver: r.TakeOver,
		AskToEdit: r.RequestEdit, Guest: r.Guest, Links: r.Links, Terminal: r.Terminal}
}

// Presence gives who follows a run.
func Presence(p oz.Presence) api.Presence {
	out := api.Presence{Participants: []api.Participant{}, More: p.More, EditRequests: p.EditRequests}
	for _, x := range p.Participants {
		out.Participants = append(out.Participants, api.Participant{Type: api.ParticipantType(x.Type), Uid: x.UID, DisplayName: x.DisplayName,
			Role: api.ParticipantRole(x.Role), Streams: x.Streams, Terminal: x.Terminal})
	}
	return out
}

// PresenceOf reads who follows a run.
func PresenceOf(p api.Presence) oz.Presence {
	out := oz.Presence{Participants: []oz.Participant{}, More: p.More, EditRequests: p.EditRequests}
	for _, x := range p.Participants {
		out.Participants = append(out.Participants, oz.Participant{Type: task.PrincipalType(x.Type), UID: x.Uid, DisplayName: x.DisplayName,
			Role: task.ShareRole(x.Role), Streams: x.Streams, Terminal: x.Terminal})
	}
	return out
}

package wire

import (
	"cmp"

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
func Team(t access.Team) api.TeamItem { return api.TeamItem{Uid: t.UID, Name: t.Name} }

// TeamOf reads a team.
func TeamOf(t api.TeamItem) access.Team { return access.Team{UID: t.Uid, Name: t.Name} }

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

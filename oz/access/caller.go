package access

import (
	"slices"

	"github.com/oz-platform/cloudagents/task"
)

// Role is a member's standing in a team.
type Role string

// The roles, from the one that may do everything in its team downwards.
const (
	RoleOwner  Role = "owner"
	RoleAdmin  Role = "admin"
	RoleMember Role = "member"
)

// Known reports whether r is one of the three roles.
func (r Role) Known() bool { return r == RoleOwner || r == RoleAdmin || r == RoleMember }

// leads reports that r may manage what others of the team have made.
func (r Role) leads() bool { return r == RoleOwner || r == RoleAdmin }

// Membership is a place in a team.
type Membership struct {
	UID  string `json:"uid"` // the team's
	Role Role   `json:"role"`
}

// Caller is who makes a request. The zero Caller is nobody and may do nothing.
type Caller struct {
	// Principal is the person or service account that acts.
	Principal task.Principal
	// Teams are those that the principal belongs to.
	Teams []Membership
	// Key is the uid of the API key that was used, "" for the embedding program.
	Key string
	// KeyType is the type of that key, "" without one. A worker key does
	// nothing but connect a worker, whatever the other fields say.
	KeyType KeyType
	// Execution and TaskID are set for run tokens. Such a caller may do only
	// what its execution may, whatever the other fields say.
	Execution task.ExecutionID
	TaskID    task.ID
	// Links are those to runs that the request brought along, each of them checked.
	Links []Link
	// System marks the embedding program itself, which may do everything.
	System bool
}

// System is the embedding program as a caller.
func System() Caller {
	return Caller{System: true, Principal: task.Principal{
		Type: task.PrincipalServiceAccount, UID: "system", DisplayName: "system"}}
}

// Agent is the uid of the agent identity that the caller acts as, "" for all
// but agent keys.
func (c Caller) Agent() string {
	if c.KeyType != KeyAgent {
		return ""
	}
	return c.Principal.UID
}

// Viewer is the caller as one who lists runs; nil for System, which sees all.
func (c Caller) Viewer() *task.Viewer {
	if c.System {
		return nil
	}
	v := &task.Viewer{UID: c.Principal.UID, Owners: c.Scopes()}
	v.Grantees = v.Owners // a grant names a person or a team, as an owner does
	for _, s := range v.Owners {
		if s.Type == task.ScopeUser || c.Leads(s.UID) {
			v.Leads = append(v.Leads, s)
		}
	}
	return v
}

// Leads reports that the caller is an owner or admin of the team.
func (c Caller) Leads(team string) bool {
	role, ok := c.member(team)
	return ok && role.leads()
}

// Scopes are the owners whose things the caller may see: the person and their
// teams. A run token has none, and neither has System, which sees everything.
func (c Caller) Scopes() []task.Scope {
	if c.System || c.Execution != "" || c.KeyType == KeyWorker {
		return nil
	}
	var scopes []task.Scope
	if c.Principal.IsPerson() {
		scopes = append(scopes, task.Scope{Type: task.ScopeUser, UID: c.Principal.UID})
	}
	for _, m := range c.Teams {
		if _, ok := c.member(m.UID); ok {
			scopes = append(scopes, task.Scope{Type: task.ScopeTeam, UID: m.UID})
		}
	}
	return scopes
}

// SignedIn reports that the caller is a person or service account known by an
// API key, as opposed to nobody and to a run token.
func (c Caller) SignedIn() bool {
	return c.Execution == "" && c.Principal.UID != "" && c.Principal.Type != "" && !c.Guest()
}

// Guest reports that the caller has no account, and came by a link to a run.
func (c Caller) Guest() bool { return c.Principal.Type == task.PrincipalGuest }

// Link is a link to a run that opens it for whoever has it.
type Link struct {
	UID    string
	Name   string // for people
	TaskID task.ID
	Role   task.ShareRole
}

// Guest is the caller who has nothing but a link.
func Guest(l Link) Caller {
	name := "Guest"
	if l.Name != "" {
		name += " (" + l.Name + ")"
	}
	return Caller{Principal: task.Principal{Type: task.PrincipalGuest, UID: l.UID, DisplayName: name}, Links: []Link{l}}
}

// member gives the caller's role in a team; ok is false for outsiders.
func (c Caller) member(team string) (role Role, ok bool) {
	i := slices.IndexFunc(c.Teams, func(m Membership) bool { return m.UID == team })
	if i < 0 || team == "" || !c.Teams[i].Role.Known() {
		return "", false
	}
	return c.Teams[i].Role, true
}

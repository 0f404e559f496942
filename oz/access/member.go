package access

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/mail"
	"slices"
	"strings"

	"github.com/oz-platform/cloudagents/task"
)

// kindEmail are records that say whose an e-mail address is, so that no race
// makes two persons of one.
const kindEmail = "access.email"

// maxMembers bounds a team: lists of members give all at once.
const maxMembers = 5000

// Member is a person on a team.
type Member struct {
	User task.Principal
	Role Role
}

// NewMember asks for a person to be put on a team.
type NewMember struct {
	// UserUID or Email names the person. One who is not known yet is made,
	// when named by Email.
	UserUID, Email string
	// DisplayName is of a new person; default the e-mail address.
	DisplayName string
	// Role is RoleMember by default.
	Role Role
	// IssueKey makes the first personal key of a new person. Until they sign in
	// themselves, no other team finds that person by Email.
	IssueKey bool
}

// storedTeam is a team's record.
type storedTeam struct {
	Team
	// Leaving are owners who are being made something less: they no longer
	// count as owners. So the last two cannot leave at the same time.
	Leaving []string `json:"leaving,omitempty"`
}

// Teams lists the teams of by, by name; all of them for System.
func (r *Registry) Teams(ctx context.Context, by Caller) ([]Team, error) {
	if err := Allow(by, TeamView, Object{}); err != nil {
		return nil, err
	}
	list := []Team{}
	if by.System {
		recs, err := r.records.Records(ctx, kindTeam, nil)
		if err != nil {
			return nil, fmt.Errorf("list %s: %w", kindTeam, err)
		}
		for _, rec := range recs {
			var t Team
			if err := json.Unmarshal(rec.Data, &t); err != nil {
				return nil, fmt.Errorf("decode %s: %w", kindTeam, err)
			}
			list = append(list, t)
		}
	}
	for _, m := range by.Teams {
		t, err := r.Team(ctx, m.UID)
		if errors.Is(err, task.ErrNotFound) {
			continue
		}
		if err != nil {
			return nil, err
		}
		list = append(list, t)
	}
	slices.SortStableFunc(list, func(a, b Team) int { return strings.Compare(a.Name, b.Name) })
	return list, nil
}

// CreateTeam makes a team that by owns: who leads a team may, and with
// RegistryOptions.OpenTeams every person. The UID is made when it is empty. It
// fails with task.ErrConflict when there is such a team.
func (r *Registry) CreateTeam(ctx context.Context, by Caller, t Team) (Team, error) {
	if err := Allow(by, TeamCreate, Object{}); err != nil {
		return Team{}, err
	}
	if !by.System && !by.Principal.IsPerson() {
		return Team{}, task.Errorf(task.CodeNotAuthorized, "only a person can make a team: use a personal key")
	}
	if !by.System && !r.openTeams && !slices.ContainsFunc(by.Teams, func(m Membership) bool { return m.Role.leads() }) {
		return Team{}, task.Errorf(task.CodeNotAuthorized, "only who leads a team may make another on this server: ask an owner or admin of one")
	}
	if len(by.Teams) >= maxTeams {
		return Team{}, task.Errorf(task.CodeOperationNotSupported, "you are on %d teams already: leave some first", maxTeams)
	}
	t.UID = cmp.Or(t.UID, newUID())
	if err := t.check(); err != nil {
		return Team{}, err
	}
	return t, r.act(ctx, teamAct(by, TeamCreate, t.UID, "create"), func() error { return r.foundTeam(ctx, by, t) })
}

// foundTeam stores a new team, and makes by its owner.
func (r *Registry) foundTeam(ctx context.Context, by Caller, t Team) error {
	data, err := json.Marshal(storedTeam{Team: t})
	if err != nil {
		return fmt.Errorf("encode team: %w", err)
	}
	_, err = r.records.PutRecord(ctx, task.Record{Kind: kindTeam, Key: t.UID, Owner: task.Scope{Type: task.ScopeTeam, UID: t.UID}, Data: data, UpdatedAt: r.now()})
	if errors.Is(err, task.ErrConflict) {
		return &task.Error{Code: task.CodeConflict, Field: "uid", Err: err, Message: "is taken by another team; choose another one, or leave it out"}
	}
	if err != nil {
		return fmt.Errorf("write team: %w", err)
	}
	if by.System {
		return nil
	}
	return r.setRole(ctx, by.Principal.UID, t.UID, "", RoleOwner)
}

// Members gives a team and the persons on it, by name.
func (r *Registry) Members(ctx context.Context, by Caller, team string) (Team, []Member, error) {
	t, err := r.teamFor(ctx, by, TeamView, team)
	if err != nil {
		return Team{}, nil, err
	}
	users, err := r.usersOf(ctx, team)
	if err != nil {
		return Team{}, nil, err
	}
	members := []Member{}
	for _, u := range users {
		members = append(members, Member{User: u.principal(), Role: u.role(team)})
	}
	slices.SortStableFunc(members, func(a, b Member) int { return strings.Compare(a.User.DisplayName, b.User.DisplayName) })
	return t.Team, members, nil
}

// RenameTeam changes a team's name.
func (r *Registry) RenameTeam(ctx context.Context, by Caller, team, name string) (Team, error) {
	if _, err := r.teamFor(ctx, by, TeamManage, team); err != nil {
		return Team{}, err
	}
	if err := (Team{UID: team, Name: name}).check(); err != nil {
		return Team{}, err
	}
	var renamed Team
	return renamed, r.act(ctx, teamAct(by, TeamManage, team, "rename"), func() error {
		return r.changeTeam(ctx, team, func(t *storedTeam) error {
			t.Name = name
			renamed = t.Team
			return nil
		})
	})
}

// SetTeamLinks says whether the team's runs may be shared with whoever has a
// link. It is for the team's leaders.
func (r *Registry) SetTeamLinks(ctx context.Context, by Caller, team string, off bool) (Team, error) {
	if _, err := r.teamFor(ctx, by, TeamManage, team); err != nil {
		return Team{}, err
	}
	what := "allow links"
	if off {
		what = "refuse links"
	}
	var changed Team
	return changed, r.act(ctx, teamAct(by, TeamManage, team, what), func() error {
		return r.changeTeam(ctx, team, func(t *storedTeam) error {
			t.NoLinks = off
			changed = t.Team
			return nil
		})
	})
}

// AddMember puts a person on a team. key is the first key of a new person,
// shown this once, when spec asks for it. Adding a member again with the same
// role changes nothing.
func (r *Registry) AddMember(ctx context.Context, by Caller, team string, spec NewMember) (m Member, key string, err error) {
	if _, err := r.teamFor(ctx, by, TeamManage, team); err != nil {
		return Member{}, "", err
	}
	spec.Role = cmp.Or(spec.Role, RoleMember)
	if err := r.judge(ctx, memberAct(by, team, spec.UserUID, "add", spec.Role), mayGive(by, team, spec.Role)); err != nil {
		return Member{}, "", err
	}
	if users, err := r.usersOf(ctx, team); err != nil {
		return Member{}, "", err
	} else if len(users) >= maxMembers {
		return Member{}, "", task.Errorf(task.CodeOperationNotSupported, "the team has %d members already", maxMembers)
	}
	u, created, err := r.person(ctx, team, spec)
	if err != nil {
		return Member{}, "", err
	}
	switch has := u.role(team); {
	case has != "" && has != spec.Role:
		return Member{}, "", task.Invalid("role", "the person is on the team already, as %s: change their role instead", has)
	case spec.IssueKey && !created:
		// Else a leader of any team could act as anybody.
		return Member{}, "", task.Invalid("issue_key", "is for new persons only: this one makes their own keys")
	case has == "":
		add := memberAct(by, team, u.UID, "add", spec.Role)
		if err := r.act(ctx, add, func() error { return r.setRole(ctx, u.UID, team, "", spec.Role) }); err != nil {
			return Member{}, "", err
		}
	}
	if spec.IssueKey {
		key, _, err = r.createKey(ctx, by, u.scope(), KeySpec{Name: "first key"})
	}
	return Member{User: u.principal(), Role: spec.Role}, key, err
}

// SetRole changes a member's role. Only an owner makes or unmakes owners, and
// the last one stays.
func (r *Registry) SetRole(ctx context.Context, by Caller, team, user string, role Role) (Member, error) {
	if _, err := r.teamFor(ctx, by, TeamManage, team); err != nil {
		return Member{}, err
	}
	u, err := r.member(ctx, team, user)
	if err != nil {
		return Member{}, err
	}
	if err := r.judge(ctx, memberAct(by, team, user, "change role", role), errors.Join(mayGive(by, team, role), mayGive(by, team, u.role(team)))); err != nil {
		return Member{}, err
	}
	change := memberAct(by, team, u.UID, "change role", role)
	if err := r.act(ctx, change, func() error { return r.changeRole(ctx, team, u, role) }); err != nil {
		return Member{}, err
	}
	return Member{User: u.principal(), Role: role}, nil
}

// RemoveMember takes a person off a team. Everybody may leave, and leaders may
// remove others; the last owner stays.
func (r *Registry) RemoveMember(ctx context.Context, by Caller, team, user string) error {
	action := TeamManage
	if by.Principal.IsPerson() && by.Principal.UID == user {
		action = TeamView
	}
	if _, err := r.teamFor(ctx, by, action, team); err != nil {
		return err
	}
	u, err := r.member(ctx, team, user)
	if err != nil {
		return err
	}
	if action == TeamManage {
		if err := mayGive(by, team, u.role(team)); err != nil {
			return err
		}
	}
	return r.act(ctx, memberAct(by, team, u.UID, "remove", ""), func() error { return r.changeRole(ctx, team, u, "") })
}

// UserByEmail finds a person by e-mail address, whatever its case. It fails
// with task.ErrNotFound.
func (r *Registry) UserByEmail(ctx context.Context, email string) (User, error) {
	users, err := r.users(ctx)
	if err != nil {
		return User{}, err
	}
	if i := slices.IndexFunc(users, func(u User) bool { return email != "" && sameEmail(u.Email, email) }); i >= 0 {
		return users[i], nil
	}
	return User{}, task.Errorf(task.CodeNotFound, "nobody has the e-mail address %q", email)
}

// UserFor is UserByEmail for those who act for some teams: a person whose
// address rests on the word of another team is not found, since that team may
// have given it to anybody.
func (r *Registry) UserFor(ctx context.Context, email string, teams ...string) (User, error) {
	u, err := r.UserByEmail(ctx, email)
	if err == nil && u.VouchedBy != "" && !slices.Contains(teams, u.VouchedBy) {
		return User{}, task.Errorf(task.CodeNotFound, "nobody is known to have the e-mail address %q; name the person by uid", email)
	}
	return u, err
}

// sameEmail compares addresses whatever the case of their letters. Only those
// of ASCII have one here: in Unicode, other letters become one of a-z, too, so
// that the owner of another address could pass for the person.
func sameEmail(a, b string) bool { return emailKey(a) == emailKey(b) }

func emailKey(email string) string {
	return strings.Map(func(c rune) rune {
		if c >= 'A' && c <= 'Z' {
			return c + 'a' - 'A'
		}
		return c
	}, email)
}

// EnsureUser finds the person with an e-mail address, or makes them: on no
// team, with a random UID.
func (r *Registry) EnsureUser(ctx context.Context, email, displayName string) (u User, created bool, err error) {
	return r.ensurePerson(ctx, User{Email: email, DisplayName: displayName})
}

// ensurePerson finds the person with the address of u, or makes u.
func (r *Registry) ensurePerson(ctx context.Context, u User) (_ User, created bool, err error) {
	email := u.Email
	if a, err := mail.ParseAddress(email); err != nil || a.Address != email || len(email) > maxName {
		return User{}, false, task.Invalid("email", "%q is not an e-mail address of at most %d bytes", email, maxName)
	}
	if known, err := r.UserByEmail(ctx, email); !errors.Is(err, task.ErrNotFound) {
		return known, false, err
	}
	u.UID, u.DisplayName = newUID(), cmp.Or(u.DisplayName, email)
	if u.UID, err = r.claimEmail(ctx, u); err != nil {
		return User{}, false, err
	}
	return r.ensureUser(ctx, u)
}

// claimEmail gives the uid that the person with the address of u is to have:
// that of u, unless somebody was first, who may have died before the person
// was there. A claim of somebody who has another address by now is void.
func (r *Registry) claimEmail(ctx context.Context, u User) (uid string, err error) {
	claim := task.Record{Kind: kindEmail, Key: emailKey(u.Email), Data: []byte(u.UID)}
	for {
		claim.UpdatedAt = r.now()
		if _, err := r.records.PutRecord(ctx, claim); err == nil {
			return u.UID, nil
		} else if !errors.Is(err, task.ErrConflict) {
			return "", fmt.Errorf("write %s: %w", kindEmail, err)
		}
		rec, err := r.records.Record(ctx, kindEmail, claim.Key)
		if err != nil {
			return "", fmt.Errorf("read %s: %w", kindEmail, err)
		}
		first, err := r.User(ctx, string(rec.Data))
		if errors.Is(err, task.ErrNotFound) || err == nil && sameEmail(first.Email, u.Email) {
			return string(rec.Data), nil
		}
		if err != nil {
			return "", err
		}
		claim.Revision = rec.Revision
	}
}

// ensureUser writes u unless there is somebody with its UID.
func (r *Registry) ensureUser(ctx context.Context, u User) (User, bool, error) {
	if err := r.checkUser(ctx, u); err != nil {
		return User{}, false, err
	}
	data, err := json.Marshal(u)
	if err != nil {
		return User{}, false, fmt.Errorf("encode user: %w", err)
	}
	_, err = r.records.PutRecord(ctx, task.Record{Kind: kindUser, Key: u.UID, Owner: u.scope(), Data: data, UpdatedAt: r.now()})
	if errors.Is(err, task.ErrConflict) {
		known, err := r.User(ctx, u.UID)
		return known, false, err
	}
	if err != nil {
		return User{}, false, fmt.Errorf("write user: %w", err)
	}
	return u, true, nil
}

// person finds or makes whom spec names for a team.
func (r *Registry) person(ctx context.Context, team string, spec NewMember) (u User, created bool, err error) {
	switch {
	case (spec.UserUID == "") == (spec.Email == ""):
		return User{}, false, task.Invalid("email", "name the person by exactly one of user_uid and email")
	case spec.Email != "":
		return r.personByEmail(ctx, team, spec)
	}
	u, err = r.User(ctx, spec.UserUID)
	if errors.Is(err, task.ErrNotFound) {
		err = task.Invalid("user_uid", "nobody is called %q; name a new person by email", spec.UserUID)
	}
	return u, false, err
}

func (r *Registry) personByEmail(ctx context.Context, team string, spec NewMember) (u User, created bool, err error) {
	u = User{Email: spec.Email, DisplayName: spec.DisplayName}
	if spec.IssueKey {
		u.VouchedBy = team
	}
	if u, created, err = r.ensurePerson(ctx, u); err == nil && u.VouchedBy != "" && u.VouchedBy != team {
		err = task.Invalid("email", "another team has given a key to somebody with this address, who did not sign in yet: name the person by user_uid, which they can tell you")
	}
	return u, created, err
}

// teamFor reads a team and checks that by may do a to it.
func (r *Registry) teamFor(ctx context.Context, by Caller, a Action, uid string) (storedTeam, error) {
	if err := r.judge(ctx, teamAct(by, a, uid, ""), Allow(by, a, Object{Owner: teamScope(uid)})); err != nil {
		return storedTeam{}, err
	}
	var t storedTeam
	err := r.get(ctx, kindTeam, uid, &t)
	if errors.Is(err, task.ErrNotFound) {
		return t, hidden()
	}
	return t, err
}

// member reads a person who is on the team.
func (r *Registry) member(ctx context.Context, team, user string) (User, error) {
	u, err := r.User(ctx, user)
	if errors.Is(err, task.ErrNotFound) || err == nil && u.role(team) == "" {
		return User{}, task.Errorf(task.CodeNotFound, "nobody called %q is on the team", user)
	}
	return u, err
}

// mayGive says whether by may give or take a role in a team.
func mayGive(by Caller, team string, role Role) error {
	if !role.Known() {
		return task.Invalid("role", "%q is none of owner, admin, member", string(role))
	}
	if has, _ := by.member(team); role == RoleOwner && has != RoleOwner && !by.System {
		return task.Errorf(task.CodeNotAuthorized, "only an owner of the team may make or unmake owners")
	}
	return nil
}

// changeRole gives a member another role, "" for none. Whoever stops being an
// owner is first written down as leaving, with the team's revision compared:
// each of two that leave at once sees the other or is told to look again.
func (r *Registry) changeRole(ctx context.Context, team string, u User, role Role) error {
	unmade := u.role(team) == RoleOwner && role != RoleOwner
	if unmade {
		err := r.changeTeam(ctx, team, func(t *storedTeam) error { return r.leave(ctx, t, u.UID) })
		if err != nil {
			return err
		}
	}
	if err := r.setRole(ctx, u.UID, team, u.role(team), role); err != nil || !unmade && role != RoleOwner {
		return err
	}
	return r.changeTeam(ctx, team, func(t *storedTeam) error {
		t.Leaving = slices.DeleteFunc(t.Leaving, func(uid string) bool { return uid == u.UID })
		return nil
	})
}

// leave adds an owner to those who are leaving, unless nobody would stay.
func (r *Registry) leave(ctx context.Context, t *storedTeam, uid string) error {
	users, err := r.usersOf(ctx, t.UID)
	if err != nil {
		return err
	}
	stays := slices.ContainsFunc(users, func(u User) bool {
		return u.role(t.UID) == RoleOwner && u.UID != uid && !slices.Contains(t.Leaving, u.UID)
	})
	if !stays {
		return task.Errorf(task.CodeOperationNotSupported, "this is the team's last owner: make somebody else an owner first")
	}
	if !slices.Contains(t.Leaving, uid) {
		t.Leaving = append(t.Leaving, uid)
	}
	return nil
}

// changeTeam changes a team's record, again when somebody else was faster.
func (r *Registry) changeTeam(ctx context.Context, uid string, change func(*storedTeam) error) error {
	return r.change(ctx, kindTeam, uid, func(data []byte) (any, error) {
		var t storedTeam
		if err := json.Unmarshal(data, &t); err != nil {
			return nil, fmt.Errorf("decode %s: %w", kindTeam, err)
		}
		err := change(&t)
		return t, err
	})
}

// setRole gives a person another role in a team, "" for none. Their keys have
// it with the next request. It fails with task.ErrConflict when their role is
// no longer the one that was judged.
func (r *Registry) setRole(ctx context.Context, user, team string, from, role Role) error {
	return r.change(ctx, kindUser, user, func(data []byte) (any, error) {
		var u User
		if err := json.Unmarshal(data, &u); err != nil {
			return nil, fmt.Errorf("decode %s: %w", kindUser, err)
		}
		if now := u.role(team); now != from && now != role {
			return nil, task.Errorf(task.CodeConflict, "somebody else has changed this member meanwhile: look again")
		}
		u.Teams = slices.DeleteFunc(u.Teams, func(m Membership) bool { return m.UID == team && role == "" })
		i := slices.IndexFunc(u.Teams, func(m Membership) bool { return m.UID == team })
		switch {
		case role == "":
		case i >= 0:
			u.Teams[i].Role = role
		case len(u.Teams) >= maxTeams:
			return nil, task.Errorf(task.CodeOperationNotSupported, "the person is on %d teams already", maxTeams)
		default:
			u.Teams = append(u.Teams, Membership{UID: team, Role: role})
		}
		return u, nil
	})
}

// change rewrites a record that exists, again when somebody else was faster.
func (r *Registry) change(ctx context.Context, kind, key string, f func(data []byte) (any, error)) error {
	for {
		rec, err := r.records.Record(ctx, kind, key)
		if err != nil {
			return fmt.Errorf("read %s: %w", kind, err)
		}
		v, err := f(rec.Data)
		if err != nil {
			return err
		}
		if rec.Data, err = json.Marshal(v); err != nil {
			return fmt.Errorf("encode %s: %w", kind, err)
		}
		rec.UpdatedAt = r.now()
		if _, err = r.records.PutRecord(ctx, rec); !errors.Is(err, task.ErrConflict) {
			return err
		}
	}
}

// users lists all persons, by uid.
func (r *Registry) users(ctx context.Context) ([]User, error) {
	recs, err := r.records.Records(ctx, kindUser, nil)
	if err != nil {
		return nil, fmt.Errorf("list %s: %w", kindUser, err)
	}
	users := make([]User, 0, len(recs))
	for _, rec := range recs {
		var u User
		if err := json.Unmarshal(rec.Data, &u); err != nil {
			return nil, fmt.Errorf("decode %s: %w", kindUser, err)
		}
		users = append(users, u)
	}
	return users, nil
}

// usersOf lists the persons on a team.
func (r *Registry) usersOf(ctx context.Context, team string) ([]User, error) {
	users, err := r.users(ctx)
	return slices.DeleteFunc(users, func(u User) bool { return u.role(team) == "" }), err
}

// role gives the person's role in a team, "" for none.
func (u User) role(team string) Role {
	for _, m := range u.Teams {
		if m.UID == team {
			return m.Role
		}
	}
	return ""
}

func (u User) scope() task.Scope { return task.Scope{Type: task.ScopeUser, UID: u.UID} }

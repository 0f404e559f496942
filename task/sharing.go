package task

import (
	"slices"
	"strings"
)

// Visibility says who may see a run besides those it is granted to.
type Visibility string

// Visibilities, from the narrowest.
const (
	// VisibilityPrivate is for who made the run, and the leaders of its team.
	VisibilityPrivate Visibility = "private"
	// VisibilityTeam, the default, is for everybody on the run's team. A
	// person's own run has none, so that it is as private.
	VisibilityTeam Visibility = "team"
	// VisibilityLink is for whoever is signed in and has the run's ID. Lists
	// show such a run to nobody more than VisibilityTeam does.
	VisibilityLink Visibility = "link"
)

// ShareRole is what a link or a grant lets somebody do.
type ShareRole string

// A viewer reads the run and its log; an editor also sends it messages.
const (
	RoleViewer ShareRole = "viewer"
	RoleEditor ShareRole = "editor"
)

// Known reports whether r is one of the roles.
func (r ShareRole) Known() bool { return r == RoleViewer || r == RoleEditor }

// MaxGrants bounds Sharing.Grants: they stand in every run that is read.
const MaxGrants = 100

// Sharing says who may see and steer a run. The zero value is VisibilityTeam.
type Sharing struct {
	Visibility Visibility `json:"visibility,omitempty"` // default VisibilityTeam
	LinkRole   ShareRole  `json:"link_role,omitempty"`  // of VisibilityLink only; default RoleViewer
	Grants     []Grant    `json:"grants,omitempty"`     // one for each person or team
}

// Grant gives a role to a person, or to everybody on a team.
type Grant struct {
	To   Scope     `json:"to"`
	Role ShareRole `json:"role"`
}

// IsZero reports that nothing but the default was ever said.
func (s Sharing) IsZero() bool { return s.Visibility == "" && s.LinkRole == "" && len(s.Grants) == 0 }

// Clone shares no memory with s.
func (s Sharing) Clone() Sharing {
	s.Grants = append([]Grant(nil), s.Grants...) // nil when there are none
	return s
}

// Of spells out what s leaves to the default, for a run of owner.
func (s Sharing) Of(owner Scope) Sharing {
	s = s.Clone()
	switch {
	case s.Visibility == "" && owner.Type == ScopeUser:
		s.Visibility = VisibilityPrivate
	case s.Visibility == "":
		s.Visibility = VisibilityTeam
	}
	s.LinkRole = s.Link()
	return s
}

// Equal reports whether both say the same.
func (s Sharing) Equal(o Sharing) bool {
	return s.Visibility == o.Visibility && s.LinkRole == o.LinkRole && slices.Equal(s.Grants, o.Grants)
}

// Private reports that a run is hidden from its team.
func (s Sharing) Private() bool { return s.Visibility == VisibilityPrivate }

// Link gives the role of whoever has the run's ID, "" for none.
func (s Sharing) Link() ShareRole {
	switch {
	case s.Visibility != VisibilityLink:
		return ""
	case s.LinkRole == "":
		return RoleViewer
	}
	return s.LinkRole
}

// Granted gives the strongest role that one of the scopes was granted, "" for
// none.
func (s Sharing) Granted(scopes ...Scope) ShareRole {
	var role ShareRole
	for _, g := range s.Grants {
		if role != RoleEditor && slices.Contains(scopes, g.To) {
			role = g.Role
		}
	}
	return role
}

// Validate checks s by itself, and names the field at fault.
func (s Sharing) Validate() error {
	switch s.Visibility {
	case "", VisibilityPrivate, VisibilityTeam, VisibilityLink:
	default:
		return Invalid("visibility", "%q is none of private, team, link", string(s.Visibility))
	}
	if s.LinkRole != "" && s.Visibility != VisibilityLink {
		return Invalid("link_role", "has a meaning with visibility link only; leave it out")
	}
	if s.LinkRole != "" && !s.LinkRole.Known() {
		return Invalid("link_role", "%q is neither viewer nor editor", string(s.LinkRole))
	}
	if len(s.Grants) > MaxGrants {
		return Invalid("grants", "at most %d are allowed; grant it to a team", MaxGrants)
	}
	seen := map[Scope]bool{}
	for _, g := range s.Grants {
		switch {
		case (g.To.Type != ScopeUser && g.To.Type != ScopeTeam) || g.To.UID == "":
			return Invalid("grants", "each must name exactly one of user_uid and team_uid")
		case !g.Role.Known():
			return Invalid("grants", "role %q is neither viewer nor editor", string(g.Role))
		case seen[g.To]:
			return Invalid("grants", "%s %s is named twice", strings.ToLower(string(g.To.Type)), g.To.UID)
		}
		seen[g.To] = true
	}
	return nil
}

// Share changes who may see and steer a run, whatever its state. Saying the
// same again changes nothing.
type Share struct {
	By      Principal // who
	Sharing Sharing   // what holds from now on, whole
}

func (c Share) subject() ExecutionID { return "" }

func (c Share) apply(d *decision) error {
	if err := c.Sharing.Validate(); err != nil {
		return err
	}
	if d.head.Sharing.Equal(c.Sharing) {
		return nil
	}
	d.head.Sharing, d.head.UpdatedAt = c.Sharing.Clone(), d.now
	d.emit("", d.now, &Shared{By: c.By, Sharing: c.Sharing.Clone()})
	return nil
}

// ShareWith grants a run to one more, in place of what they were granted before,
// and leaves the rest of its Sharing as it is then.
type ShareWith struct {
	By    Principal // who
	Grant Grant
}

func (c ShareWith) subject() ExecutionID { return "" }

func (c ShareWith) apply(d *decision) error {
	s := d.head.Sharing.Clone()
	s.Grants = append(slices.DeleteFunc(s.Grants, func(g Grant) bool { return g.To == c.Grant.To }), c.Grant)
	return Share{By: c.By, Sharing: s}.apply(d)
}

// Shared records who let whom see and steer the run. Only the platform writes
// it.
type Shared struct {
	By      Principal `json:"by,omitzero"` // who said so
	Sharing Sharing   `json:"sharing"`     // what holds since
}

// Type implements Payload.
func (*Shared) Type() EventType { return TypeShared }

func (*Shared) platformOnly() bool { return true }

// Viewer is somebody who asks for a list of runs.
type Viewer struct {
	// UID is the principal's: it sees the private runs that it made. Persons
	// and service accounts never share one.
	UID string
	// Owners are those whose runs it sees, unless they are private.
	Owners []Scope
	// Leads are those of Owners whose private runs it sees, too.
	Leads []Scope
	// Grantees are the names by which runs are shared with it, whoever owns them.
	Grantees []Scope
}

// Sees reports whether t stands in the viewer's lists: the rule that stores
// apply in their own language.
func (v Viewer) Sees(t Task) bool {
	if slices.Contains(v.Owners, t.Owner) &&
		(!t.Sharing.Private() || slices.Contains(v.Leads, t.Owner) || v.UID != "" && t.Creator.UID == v.UID) {
		return true
	}
	return t.Sharing.Granted(v.Grantees...) != ""
}

package task

// ScopeType says what kind of owner a thing has.
type ScopeType string

// Owners, as the wire spells them (Oz API, Scope).
const (
	ScopeUser ScopeType = "User"
	ScopeTeam ScopeType = "Team"
)

// Scope is the owner of a run, an environment or a secret: a person or a team.
type Scope struct {
	Type ScopeType `json:"type"`          // person or team
	UID  string    `json:"uid,omitempty"` // of that person or team
}

// IsZero reports that no owner is named.
func (s Scope) IsZero() bool { return s == Scope{} }

// String gives "Team:uid", for keys and messages.
func (s Scope) String() string { return string(s.Type) + ":" + s.UID }

// PrincipalType says who acts.
type PrincipalType string

// Kinds of principal, as the wire spells them (Oz API, UserProfile).
const (
	PrincipalUser           PrincipalType = "user"
	PrincipalServiceAccount PrincipalType = "service_account"
	// PrincipalGuest has no account: the UID is that of the link by which they came.
	PrincipalGuest PrincipalType = "guest"
)

// Principal is who asked for a run or carries it out (Oz API, UserProfile).
type Principal struct {
	Type        PrincipalType `json:"type,omitempty"`         // a person, or a program of a team
	UID         string        `json:"uid,omitempty"`          // unique among its kind
	DisplayName string        `json:"display_name,omitempty"` // for people
	Email       string        `json:"email,omitempty"`        // may be empty
}

// IsPerson reports that a human asked, so that personal secrets may be used.
func (p Principal) IsPerson() bool { return p.Type == PrincipalUser && p.UID != "" }

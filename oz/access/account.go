package access

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/oz-platform/cloudagents/task"
)

// Team is a group that owns things together.
type Team struct {
	UID  string `json:"uid"`
	Name string `json:"name"`
	// NoLinks refuses to share the team's runs with whoever has a link, and to
	// open links that were made before.
	NoLinks bool `json:"no_links,omitempty"`
}

// User is a person.
type User struct {
	UID         string       `json:"uid"`
	DisplayName string       `json:"display_name"`
	Email       string       `json:"email,omitempty"`
	Teams       []Membership `json:"teams,omitempty"`
	// VouchedBy is the uid of the team that made the person, with a first key:
	// by its word alone the e-mail address is theirs. Nobody else finds them by
	// it. It is empty from their first sign-in on.
	VouchedBy string `json:"vouched_by,omitempty"`
}

// The team and the person that Bootstrap makes.
const (
	DefaultTeam = "default"
	DefaultUser = "admin"
)

// Kinds of the registry's records.
const (
	kindTeam = "access.team"
	kindUser = "access.user"
	kindKey  = "access.key"
)

// Limits of accounts.
const (
	maxUID   = 64  // bytes; uids stand in URLs and lists
	maxName  = 200 // bytes; names are for people to read
	maxTeams = 100 // of one user: every request carries them
)

// PutTeam makes a team, or renames the one with that UID.
func (r *Registry) PutTeam(ctx context.Context, t Team) error {
	if err := t.check(); err != nil {
		return err
	}
	return r.act(ctx, teamAct(System(), TeamManage, t.UID, "put"), func() error { return r.put(ctx, kindTeam, t.UID, teamScope(t.UID), t) })
}

func (t Team) check() error {
	if err := checkUID("uid", t.UID); err != nil {
		return err
	}
	if strings.TrimSpace(t.Name) == "" || len(t.Name) > maxName {
		return task.Invalid("name", "must have 1 to %d bytes", maxName)
	}
	return nil
}

// PutUser makes a person, or replaces the one with that UID. Their keys keep
// working with the new memberships.
func (r *Registry) PutUser(ctx context.Context, u User) error {
	if err := r.checkUser(ctx, u); err != nil {
		return err
	}
	put := Act{By: System(), Action: TeamManage, Kind: "user", ID: u.UID, Owner: u.scope(), Details: map[string]string{"act": "put"}}
	return r.act(ctx, put, func() error { return r.put(ctx, kindUser, u.UID, u.scope(), u) })
}

func (r *Registry) checkUser(ctx context.Context, u User) error {
	if err := checkUID("uid", u.UID); err != nil {
		return err
	}
	if len(u.DisplayName) > maxName || len(u.Email) > maxName {
		return task.Invalid("display_name", "display_name and email may have %d bytes each", maxName)
	}
	if len(u.Teams) > maxTeams {
		return task.Invalid("teams", "at most %d teams per user", maxTeams)
	}
	for _, m := range u.Teams {
		if !m.Role.Known() {
			return task.Invalid("teams", "role %q is none of owner, admin, member", string(m.Role))
		}
		if _, err := r.Team(ctx, m.UID); err != nil {
			return fmt.Errorf("team of user %s: %w", u.UID, err)
		}
	}
	return nil
}

// Team returns one team. It fails with task.ErrNotFound.
func (r *Registry) Team(ctx context.Context, uid string) (Team, error) {
	var t Team
	return t, r.get(ctx, kindTeam, uid, &t)
}

// User returns one person. It fails with task.ErrNotFound.
func (r *Registry) User(ctx context.Context, uid string) (User, error) {
	var u User
	return u, r.get(ctx, kindUser, uid, &u)
}

// Caller is the person as a caller, for a program that knows its users by
// other means than API keys. It fails with task.ErrNotFound.
func (r *Registry) Caller(ctx context.Context, userUID string) (Caller, error) {
	u, err := r.User(ctx, userUID)
	if err != nil {
		return Caller{}, err
	}
	return Caller{Principal: u.principal(), Teams: u.Teams}, nil
}

func (u User) principal() task.Principal {
	return task.Principal{Type: task.PrincipalUser, UID: u.UID, DisplayName: u.DisplayName, Email: u.Email}
}

// checkUID keeps uids fit for URLs, keys and logs.
func checkUID(field, uid string) error {
	ok := uid != "" && len(uid) <= maxUID
	for _, c := range []byte(uid) {
		ok = ok && (c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '_' || c == '.')
	}
	if !ok {
		return task.Invalid(field, "must have 1 to %d bytes of [A-Za-z0-9._-]", maxUID)
	}
	return nil
}

// put writes a document over whatever revision is there: accounts are written
// whole, by administrators, and the last one wins.
func (r *Registry) put(ctx context.Context, kind, key string, owner task.Scope, v any) error {
	data, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("encode %s %s: %w", kind, key, err)
	}
	for {
		rec, err := r.records.Record(ctx, kind, key)
		if err != nil && !errors.Is(err, task.ErrNotFound) {
			return fmt.Errorf("read %s: %w", kind, err)
		}
		_, err = r.records.PutRecord(ctx, task.Record{Kind: kind, Key: key, Owner: owner, Revision: rec.Revision,
			Data: data, UpdatedAt: r.now()})
		if errors.Is(err, task.ErrConflict) {
			continue // somebody else wrote meanwhile
		}
		if err != nil {
			return fmt.Errorf("write %s: %w", kind, err)
		}
		return nil
	}
}

func (r *Registry) get(ctx context.Context, kind, key string, v any) error {
	rec, err := r.records.Record(ctx, kind, key)
	if err != nil {
		return fmt.Errorf("read %s: %w", kind, err)
	}
	if err := json.Unmarshal(rec.Data, v); err != nil {
		return fmt.Errorf("decode %s: %w", kind, err)
	}
	return nil
}

func (r *Registry) now() time.Time { return r.clock.Now().UTC().Truncate(time.Microsecond) }

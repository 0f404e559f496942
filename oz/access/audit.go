package access

import (
	"context"

	"github.com/oz-platform/cloudagents/task"
)

// Act is a change of the registry, or the attempt of one.
type Act struct {
	By     Caller // who makes it; System for the embedding program
	Action Action
	Kind   string     // of what is changed: "key", "team", "member", "user"
	ID     string     // its uid or name
	Owner  task.Scope // whose it is
	// Details are a few names, for people.
	Details map[string]string
}

// Auditor writes down who changes the registry.
type Auditor interface {
	// Audited does an act that was allowed, with entries around it. It may
	// refuse to do what cannot be written down.
	Audited(ctx context.Context, a Act, do func() error) error
	// Refused writes down that an act was not allowed, and why.
	Refused(ctx context.Context, a Act, why error)
}

// act does what was allowed.
func (r *Registry) act(ctx context.Context, a Act, do func() error) error {
	if r.auditor == nil {
		return do()
	}
	return r.auditor.Audited(ctx, a, do)
}

// judge writes a refusal down, and gives it back. Errors that are no refusal
// pass.
func (r *Registry) judge(ctx context.Context, a Act, err error) error {
	code := task.CodeOf(err)
	if r.auditor != nil && (code == task.CodeNotAuthorized || code == task.CodeNotFound) {
		r.auditor.Refused(ctx, a, err)
	}
	return err
}

func teamAct(by Caller, a Action, team, what string) Act {
	return Act{By: by, Action: a, Kind: "team", ID: team, Owner: teamScope(team), Details: map[string]string{"act": what}}
}

func memberAct(by Caller, team, user, what string, role Role) Act {
	return Act{By: by, Action: TeamManage, Kind: "member", ID: user, Owner: teamScope(team),
		Details: map[string]string{"act": what, "team": team, "role": string(role)}}
}

func keyAct(by Caller, a Action, k Key, what string) Act {
	return Act{By: by, Action: a, Kind: "key", ID: k.UID, Owner: k.Owner,
		Details: map[string]string{"act": what, "name": k.Name, "type": string(k.Type)}}
}

func teamScope(uid string) task.Scope { return task.Scope{Type: task.ScopeTeam, UID: uid} }

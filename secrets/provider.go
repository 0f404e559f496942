package secrets

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/oz-platform/cloudagents/task"
)

// Provider hands out the secrets of one place: a sealed store, the environment of the
// server, a directory, a vault. Implementations are safe for concurrent use and pass
// secretstest.Run.
type Provider interface {
	// Values returns all that owner has, with each variable at most once, in any
	// order; nothing, and no error, for an owner without secrets. Every Value bears
	// owner as its Scope and satisfies CheckName, CheckSize and, unless Public,
	// CheckValue. It reads anew each time, so that a rotated secret is in the next
	// answer and a deleted one is not.
	//
	// Errors name the secret at fault and never hold a part of a value. A cancelled
	// ctx fails the call with its error.
	Values(ctx context.Context, owner task.Scope) ([]Value, error)
}

// Request says whose secrets a run may have.
type Request struct {
	// Owner is the team or the person that the run belongs to.
	Owner task.Scope

	// Team is the UID of the team whose secrets a run of a person gets. Default:
	// the Owner if that is a team, else none.
	Team string

	// Person is the UID of the person who started the run: by hand, from a chat, or
	// with a personal key. Empty for schedules and other triggers without a person,
	// which get no personal secrets.
	Person string

	// Allow is the run's own list of secrets: nil inherits the environment's, an
	// empty list means none.
	Allow *[]string

	// EnvironmentAllow is the environment's list: nil means all secrets.
	EnvironmentAllow *[]string
}

// allowed returns the list that counts; the run's beats the environment's.
func (r Request) allowed() *[]string {
	if r.Allow != nil {
		return r.Allow
	}
	return r.EnvironmentAllow
}

// Scopes returns whose secrets count, the strongest first.
func (r Request) Scopes() []task.Scope {
	var all []task.Scope
	if r.Person != "" {
		all = append(all, task.Scope{Type: task.ScopeUser, UID: r.Person})
	}
	team := r.Team
	if team == "" && r.Owner.Type == task.ScopeTeam {
		team = r.Owner.UID
	}
	if team != "" {
		all = append(all, task.Scope{Type: task.ScopeTeam, UID: team})
	}
	return all
}

// Resolve collects the secrets of one run: those of its team and, if a person started
// it, those of that person, which win where both have the same name. Of two providers
// with the same secret in the same scope, the first wins. Lists narrow the choice;
// names on the list that nobody has are reported in Set.Missing, and the run goes on.
//
// It fails if a provider fails, because a run without its secrets would go astray; and
// with [task.CodeInternal] if a provider breaks its contract.
func Resolve(ctx context.Context, providers []Provider, req Request) (Set, error) {
	var list []string
	allow := req.allowed()
	if allow != nil {
		list = slices.Compact(slices.Sorted(slices.Values(*allow)))
		if len(list) == 0 {
			return Set{}, nil
		}
	}
	c := choice{secrets: map[string]bool{}, variables: map[string]Value{}}
	for _, scope := range req.Scopes() {
		for i, p := range providers {
			values, err := p.Values(ctx, scope)
			if err != nil {
				return Set{}, fmt.Errorf("secrets of %s from provider %d: %w", scope, i+1, err)
			}
			if err := c.add(scope, values, func(secret string) bool {
				return allow == nil || slices.Contains(list, secret)
			}); err != nil {
				return Set{}, fmt.Errorf("provider %d: %w", i+1, err)
			}
		}
	}
	return c.set(list), nil
}

// choice is what Resolve has chosen so far.
type choice struct {
	secrets   map[string]bool  // by managed name
	variables map[string]Value // by variable
}

// add takes the values of one provider and scope that nothing stronger has given yet.
func (c *choice) add(scope task.Scope, values []Value, allowed func(secret string) bool) error {
	// A secret named like its variable beats a typed one that yields the same.
	values = slices.Clone(values)
	slices.SortFunc(values, func(a, b Value) int {
		return cmp.Or(compareBool(a.Managed() != a.Name, b.Managed() != b.Name), cmp.Compare(a.Managed(), b.Managed()), cmp.Compare(a.Name, b.Name))
	})
	var taken []string
	for _, v := range values {
		if err := c.check(scope, v); err != nil {
			return err
		}
		if c.secrets[v.Managed()] || !allowed(v.Managed()) {
			continue
		}
		taken = append(taken, v.Managed())
		if _, ok := c.variables[v.Name]; !ok {
			c.variables[v.Name] = v
		}
	}
	for _, secret := range taken {
		c.secrets[secret] = true
	}
	return nil
}

// check holds a provider to its contract. The messages hold no value.
func (c *choice) check(scope task.Scope, v Value) error {
	if v.Scope != scope {
		return task.Errorf(task.CodeInternal, "secret %s belongs to %s, not to %s, which was asked for", v.Name, v.Scope, scope)
	}
	if err := CheckName(v.Name); err != nil {
		return fmt.Errorf("secret %s: %w", v.Managed(), err)
	}
	if strings.IndexByte(v.Plaintext(), 0) >= 0 {
		return task.Errorf(task.CodeInternal, "secret %s holds a NUL byte", v.Name)
	}
	return CheckSize(v.Name, v.Plaintext())
}

func compareBool(a, b bool) int {
	switch {
	case a == b:
		return 0
	case b:
		return -1
	}
	return 1
}

func (c *choice) set(list []string) Set {
	var s Set
	for _, v := range c.variables {
		s.Values = append(s.Values, v)
	}
	slices.SortFunc(s.Values, func(a, b Value) int { return cmp.Compare(a.Name, b.Name) })
	for _, name := range list {
		if !c.secrets[name] {
			s.Missing = append(s.Missing, name)
		}
	}
	return s
}

// Set is the secrets of one run.
type Set struct {
	// Values has each variable once, sorted by name.
	Values []Value `json:"values"`

	// Missing are the names on the allow-list that no provider knows, sorted; they
	// are shown with the run.
	Missing []string `json:"missing,omitempty"`
}

// Environ returns the variables as NAME=value, for the environment of the agent's
// process and nothing else.
func (s Set) Environ() []string {
	env := make([]string, len(s.Values))
	for i, v := range s.Values {
		env[i] = v.Name + "=" + v.Plaintext()
	}
	return env
}

// RedactWith adds all values that are not public to r. It fails, and the run must not
// start, if one of them cannot be redacted.
func (s Set) RedactWith(r *Redactor) error {
	for _, v := range s.Values {
		if v.Public {
			continue
		}
		if err := r.Add(v.Name, v.Plaintext()); err != nil {
			return err
		}
	}
	return nil
}

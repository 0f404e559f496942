// Package envsecrets offers variables of the server's own environment as secrets, for
// servers that get their secrets from a unit file or an orchestrator.
//
//	provider, err := envsecrets.New(team, &envsecrets.Options{Prefix: "OZ_SECRET_"})
//
// With that, OZ_SECRET_NPM_TOKEN=... in the server's environment is NPM_TOKEN in the
// runs of team. Nothing else of the server's environment reaches a run.
package envsecrets

import (
	"context"
	"fmt"
	"os"
	"strings"

	"github.com/oz-platform/cloudagents/secrets"
	"github.com/oz-platform/cloudagents/task"
)

// Options chooses the variables; at least one field must be set.
type Options struct {
	// Names are variables that become secrets of the same name.
	Names []string

	// Prefix makes a secret of every variable that begins with it, named by the rest.
	Prefix string
}

// Provider reads secrets from the environment of the process. It is safe for
// concurrent use, as far as os.Setenv is.
type Provider struct {
	owner  task.Scope
	prefix string
	names  map[string]bool
}

var _ secrets.Provider = (*Provider)(nil)

// New returns a provider that gives the chosen variables to owner. A zero owner means
// every team, but no person. It fails if opts choose nothing, or a name that no secret
// may have.
func New(owner task.Scope, opts *Options) (*Provider, error) {
	if opts == nil || len(opts.Names) == 0 && opts.Prefix == "" {
		return nil, task.Invalid("names", "no variable is chosen; give names or a prefix")
	}
	p := &Provider{owner: owner, prefix: opts.Prefix, names: map[string]bool{}}
	for _, name := range opts.Names {
		if err := secrets.CheckName(name); err != nil {
			return nil, err
		}
		p.names[name] = true
	}
	return p, nil
}

// Values implements [secrets.Provider]. Unset and empty variables are no secrets. A
// variable chosen by name wins over one with the prefix. It fails if a chosen variable
// has a name or a value that no secret may have.
func (p *Provider) Values(ctx context.Context, owner task.Scope) ([]secrets.Value, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if !p.serves(owner) {
		return nil, nil
	}
	var all []secrets.Value
	for _, variable := range os.Environ() {
		key, value, _ := strings.Cut(variable, "=")
		name, ok := p.name(key)
		if !ok || value == "" {
			continue
		}
		if err := secrets.CheckVariable(name, value); err != nil {
			return nil, fmt.Errorf("variable %s of the server: %w", key, err)
		}
		all = append(all, secrets.Value{Name: name, Scope: owner}.With(value))
	}
	return all, nil
}

func (p *Provider) serves(owner task.Scope) bool {
	if p.owner.IsZero() {
		return owner.Type == task.ScopeTeam
	}
	return owner == p.owner
}

// name returns the secret that a variable of the server is.
func (p *Provider) name(variable string) (string, bool) {
	if p.names[variable] {
		return variable, true
	}
	if p.prefix == "" {
		return "", false
	}
	name, ok := strings.CutPrefix(variable, p.prefix)
	return name, ok && name != "" && !(p.names[name] && os.Getenv(name) != "")
}

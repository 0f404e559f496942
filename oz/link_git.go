package oz

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/oz-platform/cloudagents/executor"
	"github.com/oz-platform/cloudagents/task"
	"github.com/oz-platform/cloudagents/trigger"
)

// gitCredentials are those of the server's that the run's git gets.
func (p *Platform) gitCredentials(t task.Task) []executor.GitCredential {
	if t.Untrusted {
		return nil
	}
	return slices.Clone(p.opts.GitCredentials)
}

// lender finds who lends a run its credential for git, nil when nobody does:
// the integration that the run came from, or the run whose child it is.
func (p *Platform) lender(ctx context.Context, t task.Task) (l trigger.Lender, source string, err error) {
	for t.Origin == nil && t.ParentID != "" {
		if t, err = p.store.Get(ctx, t.ParentID); err != nil {
			return nil, "", fmt.Errorf("read the parent of a run: %w", err)
		}
	}
	if t.Origin == nil || t.Origin.Source == "" {
		return nil, "", nil
	}
	name, _, _ := strings.Cut(t.Origin.Source, "/")
	for _, o := range p.origins {
		if o.Info().Name == name {
			l, _ = o.(trigger.Lender)
			return l, t.Origin.Source, nil
		}
	}
	return nil, "", nil
}

// gitHosts are those that the run's git is lent credentials for.
func (p *Platform) gitHosts(ctx context.Context, t task.Task) ([]string, error) {
	if t.Untrusted {
		return nil, nil
	}
	l, source, err := p.lender(ctx, t)
	if err != nil || l == nil {
		return nil, err
	}
	host, err := l.GitHost(ctx, source)
	if err != nil || host == "" {
		return nil, err
	}
	return []string{host}, nil
}

var _ executor.GitLender = (*link)(nil)

// GitCredential implements executor.GitLender.
func (l *link) GitCredential(ctx context.Context, host string) (executor.GitCredential, error) {
	var none executor.GitCredential
	if host == "" || len(host) > maxHost {
		return none, task.Invalid("host", "must have 1 to %d bytes", maxHost)
	}
	e, err := l.execution(ctx)
	if err != nil {
		return none, err
	}
	t, err := l.p.store.Get(ctx, l.id)
	if err != nil || t.Untrusted {
		return none, err
	}
	c, err := l.p.lend(ctx, t, host)
	if err != nil || c.Password == "" {
		return none, err
	}
	// What nobody could find in a text must not reach a process that writes some.
	if err := l.p.fences.of(e.ID).redactor.Add("git-password-lent", c.Password.Reveal()); err != nil {
		return none, fmt.Errorf("keep the credential for %s out of what is stored: %w", host, err)
	}
	return c, nil
}

// maxHost is the longest name of a host, with a port.
const maxHost = 253 + len(":65535")

// lend asks the run's lender for its credential for a host.
func (p *Platform) lend(ctx context.Context, t task.Task, host string) (executor.GitCredential, error) {
	lender, source, err := p.lender(ctx, t)
	if err != nil || lender == nil {
		return executor.GitCredential{}, err
	}
	if at, err := lender.GitHost(ctx, source); err != nil || at != host {
		return executor.GitCredential{}, err
	}
	login, err := lender.GitLogin(ctx, source)
	return executor.GitCredential{Host: host, Username: login.Username, Password: executor.Sensitive(login.Password)}, err
}

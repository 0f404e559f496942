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

// gitHosts are those that the run's git is lent credentials for. A run that
// nobody vouches for has to ask for the server's own, too: see barred.
func (p *Platform) gitHosts(ctx context.Context, t task.Task) (hosts []string, err error) {
	if t.Untrusted {
		for _, c := range p.opts.GitCredentials {
			hosts = append(hosts, c.Host)
		}
	}
	l, source, err := p.lender(ctx, t)
	if err != nil || l == nil {
		return hosts, err
	}
	host, err := l.GitHost(ctx, source)
	if err == nil && host != "" && !slices.Contains(hosts, host) {
		hosts = append(hosts, host)
	}
	return hosts, err
}

// barred reports a run that nobody vouches for, of which no person has approved
// anything that others see.
func barred(t task.Task) bool {
	return t.Untrusted && !strings.HasPrefix(t.Approved, executor.OutwardSubject)
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
	if err != nil || barred(t) {
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

// lend gives the credential of the run's lender for a host, and to a run that
// has none in its bundle the server's own.
func (p *Platform) lend(ctx context.Context, t task.Task, host string) (executor.GitCredential, error) {
	lender, source, err := p.lender(ctx, t)
	if err != nil {
		return executor.GitCredential{}, err
	}
	if lender != nil {
		at, err := lender.GitHost(ctx, source)
		if err != nil {
			return executor.GitCredential{}, err
		}
		if at == host {
			login, err := lender.GitLogin(ctx, source)
			if err != nil || login.Password != "" {
				return executor.GitCredential{Host: host, Username: login.Username, Password: executor.Sensitive(login.Password)}, err
			}
		}
	}
	if i := slices.IndexFunc(p.opts.GitCredentials, func(c executor.GitCredential) bool { return c.Host == host }); i >= 0 && t.Untrusted {
		return p.opts.GitCredentials[i], nil
	}
	return executor.GitCredential{}, nil
}

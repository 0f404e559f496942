package oz

import (
	"cmp"
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

// lender is who lends a run a credential for git at a host.
type lender struct {
	trigger.Lender
	source, host string
	// covers narrows it to repositories; nil is all.
	covers func(path string) bool
}

// lends reports whether it lends for the repository at a path.
func (l lender) lends(path string) bool { return l.covers == nil || l.covers(path) }

// lenders finds who lends a run its credential for git, who is asked first
// foremost: the integration that the run came from, or the run whose child it
// is; then those that lend to all runs of their owner, the oldest first.
func (p *Platform) lenders(ctx context.Context, t task.Task) ([]lender, error) {
	own, ok, err := p.originLender(ctx, t)
	if err != nil {
		return nil, err
	}
	list, err := p.ownerLenders(ctx, t)
	if ok {
		list = append([]lender{own}, list...)
	}
	return list, err
}

// originLender is the integration that a run came from, if it lends now.
func (p *Platform) originLender(ctx context.Context, t task.Task) (l lender, ok bool, err error) {
	for t.Origin == nil && t.ParentID != "" {
		if t, err = p.store.Get(ctx, t.ParentID); err != nil {
			return l, false, fmt.Errorf("read the parent of a run: %w", err)
		}
	}
	if t.Origin == nil || t.Origin.Source == "" {
		return l, false, nil
	}
	name, _, _ := strings.Cut(t.Origin.Source, "/")
	i := slices.IndexFunc(p.origins, func(o trigger.Origin) bool { return o.Info().Name == name })
	if i < 0 {
		return l, false, nil
	}
	from, ok := p.origins[i].(trigger.Lender)
	if !ok {
		return l, false, nil
	}
	host, err := from.GitHost(ctx, t.Origin.Source)
	return lender{Lender: from, source: t.Origin.Source, host: host}, err == nil && host != "", err
}

// ownerLenders are those that lend to all runs of a run's owner that somebody
// vouches for: an approval lets a stranger's run do one thing, and is not that.
func (p *Platform) ownerLenders(ctx context.Context, t task.Task) (list []lender, err error) {
	if t.Untrusted || t.Owner.UID == "" {
		return nil, nil
	}
	since := map[string]int64{}
	for _, o := range p.origins {
		from, ok := o.(trigger.OwnerLender)
		if !ok {
			continue
		}
		loans, err := from.Loans(ctx, t.Owner)
		if err != nil {
			return nil, fmt.Errorf("look for who lends to all runs of %s: %w", t.Owner, err)
		}
		for _, n := range loans {
			since[n.Source] = n.Since.UnixMicro()
			list = append(list, lender{Lender: from, source: n.Source, host: n.Host, covers: n.Covers})
		}
	}
	slices.SortFunc(list, func(a, b lender) int {
		return cmp.Or(cmp.Compare(since[a.source], since[b.source]), strings.Compare(a.source, b.source))
	})
	return list, nil
}

// gitHosts are those that the run's git is lent credentials for. A run that
// nobody vouches for has to ask for the server's own, too: see barred.
func (p *Platform) gitHosts(ctx context.Context, t task.Task) (hosts []string, err error) {
	if t.Untrusted {
		for _, c := range p.opts.GitCredentials {
			hosts = append(hosts, c.Host)
		}
	}
	list, err := p.lenders(ctx, t)
	for _, l := range list {
		if err == nil && !slices.Contains(hosts, l.host) {
			hosts = append(hosts, l.host)
		}
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
func (l *link) GitCredential(ctx context.Context, host, path string) (executor.GitCredential, error) {
	var none executor.GitCredential
	if host == "" || len(host) > maxHost {
		return none, task.Invalid("host", "must have 1 to %d bytes", maxHost)
	}
	if len(path) > maxRepositoryPath {
		return none, task.Invalid("path", "must have at most %d bytes", maxRepositoryPath)
	}
	e, err := l.execution(ctx)
	if err != nil {
		return none, err
	}
	t, err := l.p.store.Get(ctx, l.id)
	if err != nil || barred(t) {
		return none, err
	}
	c, err := l.p.lend(ctx, t, host, path)
	if err != nil || c.Password == "" {
		return none, err
	}
	// What nobody could find in a text must not reach a process that writes some.
	if err := l.p.fences.of(e.ID).redactor.Add("git-password-lent", c.Password.Reveal()); err != nil {
		return none, fmt.Errorf("keep the credential for %s out of what is stored: %w", host, err)
	}
	return c, nil
}

// Bounds of what a runner asks a credential for: the longest name of a host,
// with a port, and the longest path there.
const (
	maxHost           = 253 + len(":65535")
	maxRepositoryPath = 2048
)

// lend gives the credential of the first of the run's lenders for a repository
// at a host, and to a run that has none in its bundle the server's own.
func (p *Platform) lend(ctx context.Context, t task.Task, host, path string) (executor.GitCredential, error) {
	list, err := p.lenders(ctx, t)
	if err != nil {
		return executor.GitCredential{}, err
	}
	for _, l := range list {
		if l.host != host || !l.lends(path) {
			continue
		}
		login, err := l.GitLogin(ctx, l.source)
		if err != nil || login.Password != "" {
			return executor.GitCredential{Host: host, Username: login.Username, Password: executor.Sensitive(login.Password)}, err
		}
	}
	if i := slices.IndexFunc(p.opts.GitCredentials, func(c executor.GitCredential) bool { return c.Host == host }); i >= 0 && t.Untrusted {
		return p.opts.GitCredentials[i], nil
	}
	return executor.GitCredential{}, nil
}

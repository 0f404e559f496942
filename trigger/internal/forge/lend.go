package forge

import (
	"context"
	"encoding/json"
	"errors"
	"net/url"
	"path"
	"strings"

	"github.com/oz-platform/cloudagents/task"
	"github.com/oz-platform/cloudagents/trigger"
	"github.com/oz-platform/cloudagents/trigger/integration"
)

// Lending finds the integration that a source stands for, with its settings,
// while it lends anything: one that was deleted or turned off does not.
func Lending[S any](ctx context.Context, store *integration.Store, p integration.Provider, source string, parse func(json.RawMessage) (S, error)) (i integration.Integration, s S, ok bool, err error) {
	i, err = store.Load(ctx, p, strings.TrimPrefix(source, string(p)+"/"))
	switch {
	case errors.Is(err, task.ErrNotFound):
		return i, s, false, nil
	case err != nil || !i.Enabled:
		return i, s, false, err
	}
	if s, err = parse(i.Settings); err != nil {
		return i, s, false, i.NotConfigured(err)
	}
	return i, s, true, nil
}

// HostOf is the host of an address, with the port if it has one.
func HostOf(address string) string {
	u, err := url.Parse(address)
	if err != nil {
		return ""
	}
	return u.Host
}

// Away says that a service cannot be asked for a credential now.
func Away(i integration.Integration, err error) error {
	return &task.Error{Code: task.CodeResourceUnavailable, Err: err,
		Message: "the integration \"" + i.Name + "\" cannot get a credential for git now: " + task.CutReason(err.Error(), 500)}
}

// Loans lists those integrations of an owner with a provider that lend to all
// of the owner's runs, as offer says of their settings. Settings that cannot be
// read lend nothing: they must not keep every run of the owner from its work.
func Loans[S any](ctx context.Context, store *integration.Store, p integration.Provider, owner task.Scope, parse func(json.RawMessage) (S, error), offer func(S) (trigger.Loan, bool)) (loans []trigger.Loan, err error) {
	list, err := store.List(ctx, owner)
	if err != nil {
		return nil, err
	}
	for _, i := range list {
		if i.Provider != p || !i.Enabled {
			continue
		}
		s, err := parse(i.Settings)
		if err != nil {
			continue
		}
		if l, ok := offer(s); ok {
			l.Source, l.Since = i.Source(), i.CreatedAt
			loans = append(loans, l)
		}
	}
	return loans, nil
}

// Covers reports whether patterns name the repository at a path, which has a
// number of parts from least to most. None name all. A path that a server reads
// in another way than it is written ("a/../b") is never covered.
func Covers(patterns []string, at string, least, most int) bool {
	parts := strings.Count(at, "/") + 1
	if at == "" || path.Clean("/"+at) != "/"+at || parts < least || parts > most {
		return false
	}
	return len(patterns) == 0 || In(patterns, at)
}

// CheckLendToAll refuses to lend to all runs what not even its own get.
func CheckLendToAll(all, none bool) error {
	if all && none {
		return task.Invalid("settings.lend_to_all_runs", "and no_git_access exclude each other")
	}
	return nil
}

package gitlab

import (
	"context"
	"math"
	"net/url"
	"strings"

	"github.com/oz-platform/cloudagents/task"
	"github.com/oz-platform/cloudagents/trigger"
	"github.com/oz-platform/cloudagents/trigger/integration"
	"github.com/oz-platform/cloudagents/trigger/internal/forge"
)

// gitUser is who git says it is beside an access token of GitLab's.
const gitUser = "oauth2"

// Compile-time proof that it lends.
var _ trigger.OwnerLender = (*Origin)(nil)

// lending finds the integration of a source, if it lends its token.
func (o *Origin) lending(ctx context.Context, source string) (i integration.Integration, s Settings, ok bool, err error) {
	i, s, ok, err = forge.Lending(ctx, o.store, integration.GitLab, source, Parse)
	return i, s, ok && !s.NoGitAccess, err
}

// GitHost implements trigger.Lender.
func (o *Origin) GitHost(ctx context.Context, source string) (string, error) {
	_, s, ok, err := o.lending(ctx, source)
	if err != nil || !ok {
		return "", err
	}
	return forge.HostOf(s.URL), nil
}

// GitLogin implements trigger.Lender.
func (o *Origin) GitLogin(ctx context.Context, source string) (trigger.GitLogin, error) {
	i, _, ok, err := o.lending(ctx, source)
	if err != nil || !ok {
		return trigger.GitLogin{}, err
	}
	token, err := o.store.Secret(ctx, i, SecretToken)
	if err != nil {
		return trigger.GitLogin{}, err
	}
	return trigger.GitLogin{Username: gitUser, Password: string(token)}, nil
}

// Loans implements trigger.OwnerLender: see Settings.LendToAllRuns.
func (o *Origin) Loans(ctx context.Context, owner task.Scope) ([]trigger.Loan, error) {
	return forge.Loans(ctx, o.store, integration.GitLab, owner, Parse, func(s Settings) (trigger.Loan, bool) {
		covers := func(path string) bool {
			project, ok := s.project(path)
			return ok && forge.Covers(s.Projects, project, 2, math.MaxInt)
		}
		return trigger.Loan{Host: forge.HostOf(s.URL), Covers: covers}, s.LendToAllRuns && !s.NoGitAccess
	})
}

// project gives the path of a project from that of its address; false where it
// is not below the server's own, for a GitLab that is not at the root of its host.
func (s Settings) project(path string) (string, bool) {
	at, err := url.Parse(s.URL)
	if err != nil {
		return "", false
	}
	prefix := strings.Trim(at.Path, "/")
	if prefix == "" {
		return path, true
	}
	return strings.CutPrefix(path, prefix+"/")
}

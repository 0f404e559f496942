package github

import (
	"context"
	"errors"
	"net/http"

	"github.com/oz-platform/cloudagents/task"
	"github.com/oz-platform/cloudagents/trigger"
	"github.com/oz-platform/cloudagents/trigger/integration"
	"github.com/oz-platform/cloudagents/trigger/internal/forge"
)

// gitUser is who git says it is beside any token of GitHub's.
const gitUser = "x-access-token"

// Compile-time proof that it lends.
var _ trigger.OwnerLender = (*Origin)(nil)

// lending finds the integration of a source, if it lends its token.
func (o *Origin) lending(ctx context.Context, source string) (i integration.Integration, s Settings, ok bool, err error) {
	i, s, ok, err = forge.Lending(ctx, o.store, integration.GitHub, source, Parse)
	return i, s, ok && !s.NoGitAccess, err
}

// GitHost implements trigger.Lender.
func (o *Origin) GitHost(ctx context.Context, source string) (string, error) {
	_, _, ok, err := o.lending(ctx, source)
	if err != nil || !ok {
		return "", err
	}
	return o.opts.GitHost, nil
}

// GitLogin implements trigger.Lender: an app's installation token, made on
// demand, or the account's token.
func (o *Origin) GitLogin(ctx context.Context, source string) (trigger.GitLogin, error) {
	i, s, ok, err := o.lending(ctx, source)
	if err != nil || !ok {
		return trigger.GitLogin{}, err
	}
	t, _, err := o.tokenOf(ctx, i, s)
	if err != nil {
		return trigger.GitLogin{}, lendError(i, err)
	}
	return trigger.GitLogin{Username: gitUser, Password: t.Value, ExpiresAt: t.ExpiresAt}, nil
}

// lendError tells what a person must mend from what passes by itself.
func lendError(i integration.Integration, err error) error {
	var known *task.Error
	var p *problem
	switch {
	case errors.As(err, &known):
		return err
	case errors.As(err, &p) && p.after == 0 && p.status >= http.StatusBadRequest && p.status < http.StatusInternalServerError:
		return i.NotConfigured(err)
	}
	return forge.Away(i, err)
}

// Loans implements trigger.OwnerLender: see Settings.LendToAllRuns.
func (o *Origin) Loans(ctx context.Context, owner task.Scope) ([]trigger.Loan, error) {
	return forge.Loans(ctx, o.store, integration.GitHub, owner, Parse, func(s Settings) (trigger.Loan, bool) {
		covers := func(path string) bool { return forge.Covers(s.Repositories, path, 2, 2) }
		return trigger.Loan{Host: o.opts.GitHost, Covers: covers}, s.LendToAllRuns && !s.NoGitAccess
	})
}

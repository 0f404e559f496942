package forge

import (
	"context"
	"encoding/json"
	"errors"
	"net/url"
	"strings"

	"github.com/oz-platform/cloudagents/task"
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

package forge

import (
	"context"
	"errors"
	"net/url"
	"strings"

	"github.com/oz-platform/cloudagents/task"
	"github.com/oz-platform/cloudagents/trigger/integration"
)

// Lending finds the integration that a source stands for, while it lends
// anything: one that was deleted or turned off does not.
func Lending(ctx context.Context, s *integration.Store, p integration.Provider, source string) (i integration.Integration, ok bool, err error) {
	i, err = s.Load(ctx, p, strings.TrimPrefix(source, string(p)+"/"))
	if errors.Is(err, task.ErrNotFound) {
		return i, false, nil
	}
	return i, err == nil && i.Enabled, err
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

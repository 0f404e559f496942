package git

import (
	"context"
	"net/url"
)

// RemoteURL gives the address of a remote of the repository in dir, without
// any credentials that it may hold; "" when there is no such remote.
func (g *Git) RemoteURL(ctx context.Context, dir, remote string) (string, error) {
	raw, err := g.optional(ctx, dir, "config", "--get", "remote."+remote+".url")
	if err != nil || raw == "" {
		return "", err
	}
	if u, err := url.Parse(raw); err == nil && u.User != nil && u.Scheme != "ssh" {
		u.User = nil
		return u.String(), nil
	}
	return raw, nil
}

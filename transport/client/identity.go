package client

import (
	"context"

	"github.com/oz-platform/cloudagents/executor"
)

var _ executor.Identifier = (*Link)(nil)

// IdentityToken implements executor.Identifier.
func (l *Link) IdentityToken(ctx context.Context, r executor.IdentityRequest) (executor.IdentityToken, error) {
	return decode[executor.IdentityToken](l.c.raw.IssueIdentityToken(ctx, r))
}

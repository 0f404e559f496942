package rest

import (
	"context"

	"github.com/oz-platform/cloudagents/transport/api"
)

// ListAudit is not served yet.
func (o operations) ListAudit(context.Context, api.ListAuditRequestObject) (api.ListAuditResponseObject, error) {
	return nil, errNotServed()
}

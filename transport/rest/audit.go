package rest

import (
	"context"

	"github.com/oz-platform/cloudagents/transport/api"
	"github.com/oz-platform/cloudagents/transport/internal/wire"
)

// ListAudit implements GET /oz/audit.
func (o operations) ListAudit(ctx context.Context, r api.ListAuditRequestObject) (api.ListAuditResponseObject, error) {
	c := callOf(ctx)
	if err := c.checkLimit(r.Params.Limit); err != nil {
		return nil, err
	}
	entries, newest, err := c.client.AuditLog(ctx, r.Params.After, r.Params.Limit)
	if err != nil {
		return nil, err
	}
	answer := api.ListAudit200JSONResponse{Entries: []api.AuditEntry{}, LastSeq: newest}
	for _, e := range entries {
		answer.Entries = append(answer.Entries, wire.AuditEntry(e))
	}
	return answer, nil
}

package client

import (
	"context"
	"iter"
	"strconv"

	"github.com/oz-platform/cloudagents/oz"
	"github.com/oz-platform/cloudagents/task"
	"github.com/oz-platform/cloudagents/transport/api"
	"github.com/oz-platform/cloudagents/transport/internal/wire"
)

// AuditLog returns up to limit entries of the server's audit log with numbers
// above after, in order, and the number of the newest one. Entries that do not
// concern the caller have no body; those that have hold an oz.AuditRecord as
// JSON. A limit of 0 asks for 100; 1000 is the most.
func (c *Client) AuditLog(ctx context.Context, after int64, limit int) (entries []task.JournalEntry, newest int64, err error) {
	v := limitQuery(limit)
	if after != 0 {
		v.Set("after", strconv.FormatInt(after, 10))
	}
	answer, err := decode[api.AuditPage](c.raw.ListAudit(ctx, nil, query(v)))
	if err != nil {
		return nil, 0, err
	}
	entries = make([]task.JournalEntry, 0, len(answer.Entries))
	for _, item := range answer.Entries {
		e, err := wire.AuditEntryOf(item)
		if err != nil {
			return nil, 0, err
		}
		entries = append(entries, e)
	}
	return entries, answer.LastSeq, nil
}

// AuditEntries yields the entries with numbers above after, to the end. Give
// them to oz.VerifyAudit to check the log.
func (c *Client) AuditEntries(ctx context.Context, after int64) iter.Seq2[task.JournalEntry, error] {
	return oz.AuditPages(after, func(after int64) ([]task.JournalEntry, error) {
		page, _, err := c.AuditLog(ctx, after, oz.MaxAuditEntries)
		return page, err
	})
}

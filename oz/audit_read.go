package oz

import (
	"context"
	"encoding/json"
	"fmt"
	"iter"
	"strings"

	"github.com/oz-platform/cloudagents/oz/access"
	"github.com/oz-platform/cloudagents/task"
)

// Limits of one call of AuditLog; 0 asks for the default.
const (
	MaxAuditEntries     = 1000
	defaultAuditEntries = 100
)

// AuditLog returns up to limit entries of the audit log with numbers above
// after, in order, and the number of the newest one. The body of an entry is
// there for whoever acted (unless on what they may not see), for the owner of what was acted on, and for those
// who lead the team that owns it; the others get its hash alone, which is
// enough to verify the log. See AuditRecord for what bodies hold.
func (c *Client) AuditLog(ctx context.Context, after int64, limit int) (entries []task.JournalEntry, newest int64, err error) {
	j, ok := c.p.store.(task.Journal)
	if !ok {
		return nil, 0, notBuilt("", "a store that keeps an audit log", "use one that is a task.Journal")
	}
	if limit, err = bounded(limit, defaultAuditEntries, MaxAuditEntries); err != nil {
		return nil, 0, err
	}
	if after < 0 {
		return nil, 0, task.Invalid("after", "must be 0 or the number of an entry")
	}
	if err := c.allow(ctx, access.AuditView, access.Object{}); err != nil {
		return nil, 0, err
	}
	if entries, err = j.Journal(ctx, after, limit); err != nil {
		return nil, 0, err
	}
	head, err := j.JournalHead(ctx)
	if err != nil {
		return nil, 0, err
	}
	for i := range entries {
		if !c.mayRead(entries[i].Body) {
			entries[i].Body = nil
		}
	}
	return entries, head.Seq, nil
}

// mayRead judges whether a record concerns the caller. One that cannot be read
// concerns nobody but the program itself. Attempts on what is hidden from their
// actor stay so: the record tells that it is there, and whose it is.
func (c *Client) mayRead(body []byte) bool {
	if c.caller.System {
		return true
	}
	var r AuditRecord
	if json.Unmarshal(body, &r) != nil {
		return false
	}
	if p := c.caller.Principal; p.UID != "" && r.Actor.UID == p.UID && r.Actor.Type == string(p.Type) && r.Code != task.CodeNotFound {
		return true
	}
	typ, uid, _ := strings.Cut(r.Object.Owner, ":")
	owner := task.Scope{Type: task.ScopeType(typ), UID: uid}
	return uid != "" && access.Allow(c.caller, access.AuditView, access.Object{Owner: owner}) == nil
}

// AuditEntries yields the entries with numbers above after, to the end.
func (c *Client) AuditEntries(ctx context.Context, after int64) iter.Seq2[task.JournalEntry, error] {
	return AuditPages(after, func(after int64) ([]task.JournalEntry, error) {
		page, _, err := c.AuditLog(ctx, after, MaxAuditEntries)
		return page, err
	})
}

// AuditPages yields the entries of page after page, until one is empty.
func AuditPages(after int64, page func(after int64) ([]task.JournalEntry, error)) iter.Seq2[task.JournalEntry, error] {
	return func(yield func(task.JournalEntry, error) bool) {
		for {
			entries, err := page(after)
			if err != nil {
				yield(task.JournalEntry{}, err)
				return
			}
			for _, e := range entries {
				if !yield(e, nil) {
					return
				}
				after = max(after+1, e.Seq) // a damaged number must not make it go on for ever
			}
			if len(entries) == 0 {
				return
			}
		}
	}
}

// AuditHead is the newest entry of an audit log that somebody has verified.
// Whoever keeps it elsewhere can tell later that nothing up to there was
// changed, and that no entry at the end was taken away.
type AuditHead struct {
	Seq  int64     `json:"seq"`
	Hash task.Hash `json:"hash"`
}

// AuditBreak says where a verified log is not what it must be.
type AuditBreak struct {
	Seq    int64  // the entry
	Reason string // for people
}

// Error implements error.
func (b *AuditBreak) Error() string {
	return fmt.Sprintf("the audit log breaks at entry %d: %s", b.Seq, b.Reason)
}

// VerifyAudit checks a log's chain and gives its newest entry. since is a head
// that was verified before; entries must then begin with that entry itself, as
// AuditEntries(ctx, since.Seq-1) does. With the zero since they begin with
// entry 1. It fails with *AuditBreak where the log was changed, and with the
// error of entries. Bodies that are there must fit their hashes.
func VerifyAudit(entries iter.Seq2[task.JournalEntry, error], since AuditHead) (AuditHead, error) {
	var last task.JournalEntry
	first := true
	for e, err := range entries {
		if err != nil {
			return AuditHead{Seq: last.Seq, Hash: last.Hash}, err
		}
		if len(e.Body) > 0 && task.HashBody(e.Body) != e.BodyHash {
			return AuditHead{}, &AuditBreak{e.Seq, "what it says was changed"}
		}
		if first && since.Seq > 0 {
			if e.Seq != since.Seq || e.Hash != since.Hash {
				return AuditHead{}, &AuditBreak{since.Seq, "it is not the entry that was there before"}
			}
		} else if err := follows(last, e); err != nil {
			return AuditHead{}, err
		}
		first, last = false, e
	}
	if first && since.Seq > 0 {
		return AuditHead{}, &AuditBreak{since.Seq, "it is missing, and all behind it"}
	}
	return AuditHead{Seq: last.Seq, Hash: last.Hash}, nil
}

// follows checks that e comes behind last.
func follows(last, e task.JournalEntry) error {
	switch {
	case e.Seq != last.Seq+1:
		return &AuditBreak{last.Seq + 1, fmt.Sprintf("it is missing; the next one is %d", e.Seq)}
	case e.Hash != task.NextHash(last.Hash, e.BodyHash):
		return &AuditBreak{e.Seq, "its hash does not follow from the entry before and its own"}
	}
	return nil
}

package wire

import (
	"github.com/oz-platform/cloudagents/task"
	"github.com/oz-platform/cloudagents/transport/api"
)

// AuditEntry shows an entry of the audit log.
func AuditEntry(e task.JournalEntry) api.AuditEntry {
	return api.AuditEntry{Seq: e.Seq, Hash: e.Hash.String(), BodyHash: e.BodyHash.String(), Body: string(e.Body)}
}

// AuditEntryOf reads an entry of the audit log. It fails with task.ErrInvalid
// when its hashes are none.
func AuditEntryOf(e api.AuditEntry) (out task.JournalEntry, err error) {
	out.Seq = e.Seq
	if e.Body != "" {
		out.Body = []byte(e.Body)
	}
	if err = out.Hash.UnmarshalText([]byte(e.Hash)); err == nil {
		err = out.BodyHash.UnmarshalText([]byte(e.BodyHash))
	}
	return out, err
}

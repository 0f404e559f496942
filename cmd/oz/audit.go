package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/oz-platform/cloudagents/oz"
	"github.com/oz-platform/cloudagents/task"
)

func (a *app) auditCommand() *cobra.Command {
	return group("audit", "Read and verify the audit log", nil, a.auditListCommand(), a.auditVerifyCommand())
}

// auditColumns show entries whose body was read into .record; those of others
// have none.
var auditColumns = []column{
	{"SEQ", ".seq"}, {"TIME", ".record.time"}, {"ACTOR", ".record.actor.uid"}, {"ACTION", `.record.action // "(not yours to read)"`},
	{"OBJECT", `[.record.object.type, .record.object.id] | map(select(.)) | join(" ")`}, {"OUTCOME", ".record.outcome"},
}

func (a *app) auditListCommand() *cobra.Command {
	var after int64
	var limit int
	cmd := &cobra.Command{Use: "list", Short: "List entries of the audit log, oldest first", Args: noArgs,
		Long: `List who did what. Of entries that do not concern you only the hashes are shown:
they are enough to verify the log.`,
		Example: "  oz audit list --after 1200 -L 50\n  oz audit list --jq '.entries[] | .body // empty | fromjson | .action'",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if after < 0 {
				return usageError{errors.New("--after: must be at least 0")}
			}
			if limit < 1 || limit > oz.MaxAuditEntries {
				return usageError{fmt.Errorf("--limit: must be 1 to %d", oz.MaxAuditEntries)}
			}
			raw, err := a.call(cmd.Context(), http.MethodGet, "/oz/audit", url.Values{"after": {strconv.FormatInt(after, 10)}, "limit": {strconv.Itoa(limit)}}, nil)
			if err != nil {
				return err
			}
			if a.json() {
				return a.emitRaw(raw, "entries")
			}
			return a.showAudit(raw)
		}}
	cmd.Flags().Int64Var(&after, "after", 0, "only entries behind this `number`")
	cmd.Flags().IntVarP(&limit, "limit", "L", 100, "how many, at most 1000")
	return a.filterFlag(cmd)
}

func (a *app) showAudit(raw json.RawMessage) error {
	items, err := elements(raw, "entries")
	if err != nil {
		return err
	}
	for i, item := range items {
		var e struct {
			Seq    int64           `json:"seq"`
			Body   string          `json:"body,omitempty"`
			Record json.RawMessage `json:"record,omitempty"`
		}
		if err := json.Unmarshal(item, &e); err != nil {
			return fmt.Errorf("read the server's answer: %w", err)
		}
		if json.Valid([]byte(e.Body)) {
			e.Record = json.RawMessage(e.Body)
		}
		if items[i], err = json.Marshal(e); err != nil {
			return err
		}
	}
	whole, err := json.Marshal(items)
	if err != nil {
		return err
	}
	return a.showList(whole, listing{columns: auditColumns, none: "No entries."})
}

func (a *app) auditVerifyCommand() *cobra.Command {
	var head string
	cmd := &cobra.Command{Use: "verify", Short: "Check that nothing in the audit log was changed or taken away", Args: noArgs,
		Long: `Check the whole chain of the audit log: each entry's hash covers all before it.
The result names the newest entry as SEQ:HASH. Keep that elsewhere, and give it
with --head the next time: then it is also known that no entry up to there was
replaced or cut off, and only what is newer is read again. Exit code 1 means that
the log was changed.`,
		Example: "  oz audit verify\n  oz audit verify --head \"$(cat audit-head)\" --jq .head",
		RunE: func(cmd *cobra.Command, _ []string) error {
			since, err := parseHead(head)
			if err != nil {
				return usageError{fmt.Errorf("--head: %w", err)}
			}
			return a.verifyAudit(cmd.Context(), since)
		}}
	cmd.Flags().StringVar(&head, "head", "", "newest entry of an earlier verification, `SEQ:HASH`")
	return a.filterFlag(cmd)
}

func parseHead(s string) (oz.AuditHead, error) {
	if s == "" {
		return oz.AuditHead{}, nil
	}
	number, hash, ok := strings.Cut(s, ":")
	seq, err := strconv.ParseInt(number, 10, 64)
	if !ok || err != nil || seq < 1 {
		return oz.AuditHead{}, fmt.Errorf("%q is not SEQ:HASH, such as 1200:9f86d0", s)
	}
	h := oz.AuditHead{Seq: seq}
	if err := h.Hash.UnmarshalText([]byte(hash)); err != nil {
		return h, fmt.Errorf("the hash: %w", err)
	}
	return h, nil
}

// verdictOfAudit is what programs read.
type verdictOfAudit struct {
	OK      bool   `json:"ok"`
	Entries int64  `json:"entries_checked"`
	Head    string `json:"head,omitempty"`
	Broken  int64  `json:"broken_seq,omitempty"`
	Reason  string `json:"reason,omitempty"`
}

func (a *app) verifyAudit(ctx context.Context, since oz.AuditHead) error {
	c, err := a.client()
	if err != nil {
		return err
	}
	var v verdictOfAudit
	head, err := oz.VerifyAudit(a.counted(c.AuditEntries(ctx, max(since.Seq-1, 0)), &v.Entries), since)
	var broken *oz.AuditBreak
	switch {
	case errors.As(err, &broken):
		v.Broken, v.Reason = broken.Seq, broken.Reason
	case err != nil:
		return err
	default:
		v.OK = true
		if head.Seq > 0 {
			v.Head = fmt.Sprintf("%d:%s", head.Seq, head.Hash)
		}
	}
	if a.json() {
		if err := a.emit(v); err != nil {
			return err
		}
	} else if v.OK {
		a.say("The audit log is whole: %d entries checked.", v.Entries)
		if v.Head != "" {
			a.say("Head  %s", v.Head)
		}
	}
	if broken != nil {
		return outcomeError{broken}
	}
	return nil
}

// counted counts the entries, and tells people of every 10000.
func (a *app) counted(entries iter.Seq2[task.JournalEntry, error], n *int64) iter.Seq2[task.JournalEntry, error] {
	return func(yield func(task.JournalEntry, error) bool) {
		for e, err := range entries {
			if err == nil {
				if *n++; *n%10000 == 0 {
					a.progress("%d entries ...", *n)
				}
			}
			if !yield(e, err) {
				return
			}
		}
	}
}

package tools

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"

	"github.com/oz-platform/cloudagents/executor"
	"github.com/oz-platform/cloudagents/executor/harness"
	"github.com/oz-platform/cloudagents/task"
)

// Memory makes the tools of a run that has memory stores: recall, and where one
// of them may be written to, remember. A run without stores has neither.
func Memory(stores []executor.MemoryStore, r executor.Rememberer) harness.ToolSet {
	return func(s *harness.Session) []harness.Tool {
		if len(stores) == 0 || r == nil {
			return nil
		}
		out := []harness.Tool{recall(r)}
		for _, m := range stores {
			if m.Access == executor.MemoryReadWrite {
				return append(out, remember(s, r))
			}
		}
		return out
	}
}

func recall(r executor.Rememberer) harness.Tool {
	return harness.DefineTool(harness.Tool{
		Name: NameRecall, Category: task.CategoryDocuments, Repeatable: true, ReadOnly: true,
		Description: "Look up what you have kept in earlier runs: facts, decisions, preferences.",
		Schema: `{"type":"object","properties":{"query":{"type":"string","description":"Words that it is about; empty for the newest."},
			"limit":{"type":"integer","description":"At most 50, default 10."}}}`,
	}, func(ctx context.Context, _ harness.ToolCall, in executor.Recall) (harness.ToolAnswer, error) {
		list, err := r.Recall(ctx, in)
		if err != nil {
			return harness.ToolAnswer{}, harness.RefusedBy("look into the memory", err)
		}
		if len(list) == 0 {
			return harness.ToolAnswer{Text: "Nothing is kept about that."}, nil
		}
		var out strings.Builder
		for _, m := range list {
			out.WriteString(MemoryLine(m))
		}
		return harness.ToolAnswer{Text: out.String(), Output: map[string]any{"memories": len(list)}}, nil
	})
}

// MemoryLine is a memory as an agent sees it.
func MemoryLine(m task.Memory) string {
	return fmt.Sprintf("- [%s, %s] %s\n", m.UID, m.WrittenAt.UTC().Format("2006-01-02"), strings.TrimSpace(m.Content))
}

func remember(s *harness.Session, r executor.Rememberer) harness.Tool {
	type input struct {
		Content  string `json:"content"`
		Reason   string `json:"reason"`
		Store    string `json:"store_uid"`
		Replaces string `json:"replaces"`
	}
	return harness.DefineTool(harness.Tool{
		Name: NameRemember, Category: task.CategoryDocuments, Repeatable: true,
		Description: "Keep one fact for your later runs, when somebody asks for it or when it will save work: short, and true beyond this run. Never secrets. With replaces, it is the new version of a fact that you know already.",
		Schema: `{"type":"object","properties":{"content":{"type":"string","description":"The fact, at most 4096 bytes."},
			"reason":{"type":"string","description":"Why it is worth keeping."},
			"replaces":{"type":"string","description":"The uid of the memory that this one replaces."},
			"store_uid":{"type":"string","description":"Which memory store; default the first that may be written to."}},"required":["content"]}`,
	}, func(ctx context.Context, c harness.ToolCall, in input) (harness.ToolAnswer, error) {
		content, reason := clean(s, in.Content), clean(s, in.Reason)
		if err := task.ValidateMemory(content, reason); err != nil {
			return harness.ToolAnswer{}, harness.BadInput("%v", err)
		}
		sum := sha256.Sum256([]byte(in.Store + "\x00" + in.Replaces + "\x00" + content))
		m, err := r.Remember(ctx, executor.Remembering{Key: cmp.Or(c.ID, hex.EncodeToString(sum[:])), Store: in.Store,
			Content: content, Reason: reason, Replaces: in.Replaces})
		if err != nil {
			return harness.ToolAnswer{}, harness.RefusedBy("keep that", err)
		}
		return harness.ToolAnswer{Text: fmt.Sprintf("Kept as %s, version %d.", m.UID, m.Version),
			Output: map[string]any{"uid": m.UID, "version": m.Version}}, nil
	})
}

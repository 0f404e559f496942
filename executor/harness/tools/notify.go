package tools

import (
	"context"
	"crypto/sha256"
	"encoding/hex"

	"github.com/oz-platform/cloudagents/executor"
	"github.com/oz-platform/cloudagents/executor/harness"
	"github.com/oz-platform/cloudagents/task"
)

// Notes makes the tool by which an agent tells the run's people something
// before its end, where the platform takes word for them. A run that nobody
// vouches for has none: a stranger's words would be said in the team's name.
func Notes(o executor.Outreach) harness.ToolSet {
	return func(s *harness.Session) []harness.Tool {
		if o == nil || s.Task.Untrusted {
			return nil
		}
		return []harness.Tool{notifyUser(s, o)}
	}
}

// notifyUser needs no effect of its own: the platform knows a note by its key,
// and says it once, whoever dies meanwhile.
func notifyUser(s *harness.Session, o executor.Outreach) harness.Tool {
	type input struct {
		Message string `json:"message"`
	}
	return harness.DefineTool(harness.Tool{
		Name: NameNotifyUser, Category: task.CategoryDocuments, Repeatable: true,
		Description: "Tell the people of this run something that they should know before its end, where they asked for it (a chat, an issue, the run's page): what changes their plans, or how long work goes. Seldom: nobody wants to read along. It waits for no answer (ask_user does), and the result belongs in your last message.",
		Schema:      `{"type":"object","properties":{"message":{"type":"string","description":"Markdown, a sentence or a few, at most 8192 bytes"}},"required":["message"]}`,
	}, func(ctx context.Context, c harness.ToolCall, in input) (harness.ToolAnswer, error) {
		n := executor.Note{Message: clean(s, in.Message)}
		if err := n.Validate(); err != nil {
			return harness.ToolAnswer{}, harness.BadInput("%v", err)
		}
		sum := sha256.Sum256([]byte(c.ID + "\x00" + n.Message))
		n.Key = "agent-" + hex.EncodeToString(sum[:16])
		if err := o.NotifyUser(ctx, n); err != nil {
			return harness.ToolAnswer{}, harness.RefusedBy("tell that", err)
		}
		return harness.ToolAnswer{Text: "Told. Go on with the work."}, nil
	})
}

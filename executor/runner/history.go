package runner

import (
	"context"
	"slices"
	"strings"

	"github.com/oz-platform/cloudagents/task"
)

// history is what earlier executions of the run have left in its log.
type history struct {
	// worker is the execution that has worked last; empty when none has.
	worker task.ExecutionID
	// notices are those about rules.
	notices []string
}

// maxNotices bounds what is kept of notices: later ones are said again.
const maxNotices = 100

// said reports that a notice about rules is in the log.
func (h history) said(text string) bool { return slices.Contains(h.notices, text) }

// readHistory looks through the log once, before the work begins.
func readHistory(ctx context.Context, j *journal) (history, error) {
	var h history
	for e, err := range j.History(ctx, 0) {
		if err != nil {
			return history{}, err
		}
		switch p := e.Payload.(type) {
		case *task.Notice:
			if strings.HasPrefix(p.Text, rulesNotice) || strings.HasPrefix(p.Text, ruleLeftOut) {
				h.notices = append(h.notices, p.Text)[max(0, len(h.notices)+1-maxNotices):]
			}
		case *task.TurnEnded:
			h.worker = e.ExecutionID
		case *task.ToolResult:
			if !strings.HasPrefix(p.CallID, "setup-") { // no work of the agent's
				h.worker = e.ExecutionID
			}
		}
	}
	return h, nil
}

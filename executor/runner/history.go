package runner

import (
	"context"
	"strings"

	"github.com/oz-platform/cloudagents/task"
)

// history is what earlier executions of the run have left in its log.
type history struct {
	// worker is the execution that has worked last; empty when none has.
	worker task.ExecutionID
}

// readHistory looks through the log once, before the work begins.
func readHistory(ctx context.Context, j *journal) (history, error) {
	var h history
	for e, err := range j.History(ctx, 0) {
		if err != nil {
			return history{}, err
		}
		switch p := e.Payload.(type) {
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

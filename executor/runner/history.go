package runner

import (
	"context"

	"github.com/oz-platform/cloudagents/task"
)

// history is what earlier executions of the run have left in its log.
type history struct {
	// worked says that an agent has taken a turn before.
	worked bool
}

// readHistory looks through the log once, before the work begins.
func readHistory(ctx context.Context, j *journal) (history, error) {
	var h history
	for e, err := range j.History(ctx, 0) {
		if err != nil {
			return history{}, err
		}
		if _, ok := e.Payload.(*task.TurnEnded); ok {
			h.worked = true
		}
	}
	return h, nil
}

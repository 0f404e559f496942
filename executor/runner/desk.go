package runner

import (
	"context"
	"time"

	"github.com/oz-platform/cloudagents/executor/harness"
	"github.com/oz-platform/cloudagents/task"
)

// askGrace is what an agent gets, once it has put a question, to end its turn
// by itself.
const askGrace = 30 * time.Second

// askLimit ends the context when an agent that has put a question does not
// stop.
func (x *execution) askLimit(ctx context.Context, desk *harness.Desk) (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	asked, done := desk.Asked(), make(chan struct{})
	go func() {
		defer close(done)
		select {
		case <-asked:
		case <-ctx.Done():
			return
		}
		select {
		case <-x.opts.Clock.After(askGrace):
			cancel(harness.ErrAsked)
		case <-ctx.Done():
		}
	}()
	return ctx, func() { cancel(nil); <-done }
}

// withQuestion makes the outcome of an agent that has put a question BLOCKED,
// whatever it says of itself: its work goes on with the answer.
func withQuestion(o harness.Outcome, desk *harness.Desk) harness.Outcome {
	q := desk.Open()
	if q == nil || o.Status.Question != nil {
		return o
	}
	o.State, o.Status = task.StateBlocked, task.Status{Message: q.Text, Question: q}
	return o
}

// cutOff is the outcome of an agent that had to be stopped after its question.
// It has seen what was delivered to it.
func (x *execution) cutOff(ctx context.Context, desk *harness.Desk) (harness.Outcome, error) {
	o := withQuestion(harness.Outcome{}, desk)
	for e, err := range x.journal.History(ctx, 0) {
		if err != nil {
			return harness.Outcome{}, err
		}
		switch p := e.Payload.(type) {
		case *task.Delivered:
			for _, n := range p.Inputs {
				o.SeenInput = max(o.SeenInput, n)
			}
		case *task.TurnEnded:
			o.Turns++
		}
	}
	return o, nil
}

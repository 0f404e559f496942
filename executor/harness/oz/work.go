package ozagent

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/oz-platform/cloudagents/executor/gateway"
	"github.com/oz-platform/cloudagents/internal/crashpoint"
	"github.com/oz-platform/cloudagents/task"
)

// What the model is told of a call whose result the log does not have.
const (
	outcomeUnknown = "The run was restarted while this call was under way. Its outcome is unknown: it may have been done, half done or not done. Check before you do it again."
	stoppedByTime  = "Stopped: the run has reached its time limit."
)

// What the agent says to the model.
const (
	workspaceRebuilt = "The workspace was made anew from the repository. Files that were changed but not pushed are lost; look at what is there before you go on."
	handedOver       = "You go on with the work of an earlier run. This is what was said and done there, up to its end; the next message is new.\n\n"
	emptyAnswer      = "Your last answer had neither text nor a tool call. Go on with the task, or call finish."
	cutAnswer        = "Your last answer was cut off at the output limit before it was complete. Go on in smaller steps: write large files in several calls."
	finishReminder   = "You stopped without calling finish. If the task is done, or cannot be done, call finish; otherwise go on."
)

// nonsenseLimit is how many unusable answers in a row end a run.
const nonsenseLimit = 3

// work is the loop: it looks at the conversation and takes the next step,
// until there is an end. Whatever a step does is in the log before the next.
func (a *agent) work(ctx context.Context) (end, error) {
	a.s.Unlock()
	if e, over, err := a.begin(ctx); over || err != nil {
		return e, err
	}
	for {
		if err := ctx.Err(); err != nil {
			return end{}, context.Cause(ctx)
		}
		if k := a.conv.pending(); k != nil {
			if e, over, err := a.step(ctx, k); over || err != nil {
				return e, err
			}
			continue
		}
		if err := a.deliver(ctx); err != nil {
			return end{}, err
		}
		if e, over, err := a.over(ctx); over || err != nil {
			return e, err
		}
		if e, over, err := a.takeTurn(ctx); over || err != nil {
			return e, err
		}
	}
}

// begin folds in the log and settles what an earlier execution left: calls that
// were cut off, and then those that had to wait for a person's approval.
func (a *agent) begin(ctx context.Context) (end, bool, error) {
	if err := a.conv.catchUp(ctx); err != nil {
		return end{}, true, err
	}
	waited := false
	for k := a.conv.pending(); k != nil; k = a.conv.pending() {
		if waited = waited || a.waits(k); waited { // nor were those behind it begun
			if e, over, err := a.step(ctx, k); over || err != nil {
				return e, true, err
			}
		} else if err := a.resume(ctx, k); err != nil {
			return end{}, true, err
		}
	}
	if a.s.Rebuilt && a.conv.turns > 0 && !a.conv.rebuilt {
		return end{}, false, a.tell(ctx, workspaceRebuilt)
	}
	return end{}, false, nil
}

// resume makes a call that was cut off again, if it may be, or gives it a result
// that says so.
func (a *agent) resume(ctx context.Context, k *call) error {
	if a.tools.repeatable(k.name) && !a.s.Rebuilt {
		return a.runCall(ctx, k, true)
	}
	return a.settle(ctx, k, resultFailed(outcomeUnknown), 0)
}

// settleCutOff gives every call without result the same one.
func (a *agent) settleCutOff(ctx context.Context, text string) error {
	for k := a.conv.pending(); k != nil; k = a.conv.pending() {
		if err := a.settle(ctx, k, resultFailed(text), 0); err != nil {
			return err
		}
	}
	return nil
}

// deliver makes new messages from people part of the conversation.
func (a *agent) deliver(ctx context.Context) error {
	inputs, err := a.s.Journal.Inputs(ctx, a.conv.seen)
	if err != nil {
		return fmt.Errorf("read messages: %w", err)
	}
	var fresh []int64
	for _, e := range inputs {
		if !a.conv.delivered[e.Seq] {
			fresh = append(fresh, e.Seq)
		}
	}
	if len(fresh) == 0 {
		return nil
	}
	if err := a.record(ctx, &task.Delivered{Inputs: fresh}); err != nil {
		return err
	}
	crashpoint.Hit(crashpoint.AgentPromptDelivered)
	if a.conv.seen < fresh[len(fresh)-1] { // Inputs was ahead of History
		return fmt.Errorf("message %d is not in the run's log", fresh[len(fresh)-1])
	}
	return nil
}

// over tells whether the conversation, as it stands, is at its end.
func (a *agent) over(ctx context.Context) (end, bool, error) {
	if len(a.conv.items) == 0 {
		return end{}, true, task.Errorf(task.CodeInternal, "the run has no message to work on")
	}
	last := a.conv.last()
	if last == nil {
		return a.limits(ctx)
	}
	for _, k := range last.calls() {
		if e := k.ending(); e != nil {
			return *e, true, nil
		}
	}
	if e, over, err := a.unusable(ctx, last); over || err != nil {
		return e, over, err
	}
	if len(a.conv.items) > 0 && a.conv.last() == last && len(last.calls()) == 0 {
		return a.stopped(ctx, last)
	}
	if e, over, err := a.stuck(ctx); over || err != nil {
		return e, over, err
	}
	return a.limits(ctx)
}

// unusable ends the run after too many answers in a row that nothing could be
// done with, and says to the model what was wrong with one that had no call.
func (a *agent) unusable(ctx context.Context, last *turn) (end, bool, error) {
	if stopReason(last.stop) == stopRefusal {
		return failed(task.CodeContentPolicyViolation, "The model refused to go on: "+bounded(last.text(), 1000)), true, nil
	}
	if n := a.conv.nonsense(); n >= nonsenseLimit {
		return failed(task.CodeInvalidRequest, fmt.Sprintf("The model gave %d answers in a row that nothing could be done with (%s). Try another model, or a clearer prompt.", n, a.conv.lastTrouble())), true, nil
	}
	if len(last.calls()) > 0 {
		return end{}, false, nil
	}
	if stopReason(last.stop) == stopLength {
		return end{}, false, a.tell(ctx, cutAnswer)
	}
	if last.text() == "" {
		return end{}, false, a.tell(ctx, emptyAnswer)
	}
	return end{}, false, nil
}

// stopped ends, or reminds, an agent that only spoke. One that has used no
// tool has answered a question.
func (a *agent) stopped(ctx context.Context, last *turn) (end, bool, error) {
	if !a.conv.usedTools() {
		return succeeded(last.text()), true, nil
	}
	if !a.conv.saidSinceTools(finishReminder) {
		if err := a.tell(ctx, finishReminder); err != nil {
			return end{}, false, err
		}
		return a.limits(ctx)
	}
	if a.conv.pushLost != "" {
		return failed(task.CodeInvalidRequest, "The agent stopped although its push did not arrive: "+bounded(a.conv.pushLost, 1000)), true, nil
	}
	return succeeded(last.text()), true, nil
}

// limits ends the run before a turn that it may not take. Tokens and money
// are the gateway's to refuse.
func (a *agent) limits(ctx context.Context) (end, bool, error) {
	if m := a.s.Limits.MaxTurns; m > 0 && a.conv.turnsHere >= m {
		e, err := a.blocked(ctx, fmt.Sprintf("The run has used its %d turns.", m))
		return e, true, err
	}
	return end{}, false, nil
}

// takeTurn asks the model for its next answer and puts it into the log.
func (a *agent) takeTurn(ctx context.Context) (end, bool, error) {
	if err := a.compactIfFull(ctx); err != nil {
		return a.modelFailed(ctx, err)
	}
	pause := a.opts.RetryPause
	for try := 1; ; try++ {
		err := a.tryTurn(ctx)
		var failed *modelError
		switch {
		case err == nil:
			a.compacted = 0
			return end{}, false, nil
		case !errors.As(err, &failed):
			return end{}, true, err
		case failed.class == gateway.ClassContextTooLong && a.compacted < maxCompactions:
			if err := a.compact(ctx, true); err != nil {
				return a.modelFailed(ctx, err)
			}
			return end{}, false, nil
		case !failed.transient() || try >= a.opts.TurnAttempts:
			return a.modelFailed(ctx, err)
		}
		notice := fmt.Sprintf("Model turn %d failed (%s); trying again (%d of %d).", a.conv.turns+1, bounded(failed.message, 300), try+1, a.opts.TurnAttempts)
		if err := a.post(ctx, &task.Notice{Text: a.s.Redactor.String(notice)}); err != nil {
			return end{}, true, err
		}
		if err := a.wait(ctx, pause); err != nil {
			return end{}, true, err
		}
		pause *= 2
	}
}

func (a *agent) wait(ctx context.Context, d time.Duration) error {
	select {
	case <-a.s.Clock.After(d):
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// tryTurn takes one turn. Without TurnEnded in the log it never happened.
func (a *agent) tryTurn(ctx context.Context) error {
	number := a.conv.turns + 1
	if err := a.record(ctx, &task.TurnStarted{Turn: number}); err != nil {
		return err
	}
	crashpoint.Hit(crashpoint.AgentTurnStarted)
	begun := a.s.Clock.Now()
	r := newRecorder(ctx, a)
	defer r.abandon()
	ending, err := a.model.turn(ctx, a.request(), r.take)
	if err != nil {
		return err
	}
	if err := r.endBlock(nil); err != nil {
		return err
	}
	if err := a.record(ctx, &task.TurnEnded{
		Turn: number, Model: ending.model, StopReason: string(ending.stop), RequestID: bounded(ending.requestID, 200),
		DurationMS: a.s.Clock.Now().Sub(begun).Milliseconds(),
	}); err != nil {
		return err
	}
	crashpoint.Hit(crashpoint.AgentTurnAnswered)
	return nil
}

// request is the next call to the model.
func (a *agent) request() request {
	effort := ""
	if h := a.s.Task.Config.Harness; h != nil {
		effort = strings.ToLower(h.ReasoningLevel)
	}
	return request{
		model: a.s.Model.ID, system: a.systemPrompt(), items: a.conv.items, tools: a.tools.offered(a.conv.mode),
		maxOutput: a.maxOutput(), effort: effort,
	}
}

func (a *agent) maxOutput() int64 {
	if m := a.s.Model.MaxOutput; m > 0 {
		return min(m, a.opts.MaxOutput)
	}
	return a.opts.MaxOutput
}

package ozagent

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/oz-platform/cloudagents/executor/harness/permit"
	"github.com/oz-platform/cloudagents/task"
)

// approvedCall begins the Notice that stands before the start of a call that a
// person has approved: one that was cut off is known by it from one that was
// never begun.
const approvedCall = "Approved by a person: call "

// What the model is told of calls that were not made.
const (
	notApproved   = "A person has refused this. It was not done. Do not try it in another way."
	nobodyAnswers = "Nobody has approved this. It was not done; go on without it if you can."
	spokenInstead = "It needs a person's approval and was not done: a message came first. Read it, and make the call again if it is still right."
	endedBefore   = "Not done: the run has ended."
)

// maxAction bounds what a question shows of the call that waits, in bytes.
const maxAction = 8 << 10

// step makes the first call of the turn that has no result, if the profile
// allows it. over says that the work ends here.
func (a *agent) step(ctx context.Context, k *call) (e end, over bool, err error) {
	v := a.s.Permit.Judge(k.name, k.input)
	switch v.Decision {
	case permit.Ask:
		return a.approval(ctx, k, v.Reason)
	case permit.Refuse:
		return end{}, false, a.settle(ctx, k, result{state: task.ToolDenied, content: v.Reason + " Nothing was done."}, 0)
	case permit.Prohibit:
		return a.prohibited(ctx, k, v.Reason)
	}
	return end{}, false, a.runCall(ctx, k, false)
}

// prohibited refuses a call, and ends the run where that is the rule.
func (a *agent) prohibited(ctx context.Context, k *call, reason string) (end, bool, error) {
	if !a.s.Permit.Fails() {
		return end{}, false, a.settle(ctx, k, result{state: task.ToolDenied, content: reason + " Nothing was done. Do not try it in another way."}, 0)
	}
	said := finished{Outcome: "failure", Message: a.s.Redactor.String(reason), Code: task.CodeNotAuthorized}
	if err := a.settle(ctx, k, result{task.ToolDenied, reason + " The run ends.", map[string]finished{endsRun: said}}, 0); err != nil {
		return end{}, true, err
	}
	if err := a.settleCutOff(ctx, endedBefore); err != nil {
		return end{}, true, err
	}
	return prohibitedEnd(said.Message), true, nil
}

func prohibitedEnd(message string) end {
	return end{task.StateFailed, task.Status{Message: message, ErrorCode: task.CodeNotAuthorized}}
}

// approval makes a call that a person has approved, and asks for it where
// nobody has answered: the run is BLOCKED and the call stays without result,
// so that it is what was approved that is done.
func (a *agent) approval(ctx context.Context, k *call, reason string) (end, bool, error) {
	id := a.approvalID(k)
	answer, spoken, err := a.answerTo(ctx, id)
	switch {
	case err != nil:
		return end{}, true, err
	case answer == nil && !spoken:
		q := a.s.Desk.Prepare(a.approvalQuestion(id, k, reason))
		return end{task.StateBlocked, task.Status{Message: firstLine(q.Text), Question: &q}}, true, q.Validate()
	case answer == nil:
		return end{}, false, a.settle(ctx, k, result{state: task.ToolDenied, content: spokenInstead}, 0)
	case answer.Choice == task.ChoiceApprove:
		return end{}, false, a.runApproved(ctx, k)
	case answer.Choice == task.ChoiceReject:
		return end{}, false, a.settle(ctx, k, result{state: task.ToolDenied, content: notApproved}, 0)
	}
	return end{}, false, a.settle(ctx, k, result{state: task.ToolDenied, content: nobodyAnswers}, 0)
}

// runApproved makes an approved call once: one that a restart has cut off may
// have been made.
func (a *agent) runApproved(ctx context.Context, k *call) error {
	if a.conv.approved[k.id] {
		if a.tools.repeatable(k.name) && !a.s.Rebuilt {
			return a.runCall(ctx, k, true)
		}
		return a.settle(ctx, k, resultFailed(outcomeUnknown), 0)
	}
	if err := a.record(ctx, &task.Notice{Text: approvedCall + k.id}); err != nil {
		return err
	}
	return a.runCall(ctx, k, false)
}

// approvalID names the question of a call.
func (a *agent) approvalID(k *call) string {
	sum := sha256.Sum256([]byte(string(a.s.Task.ID) + "\x00" + k.id))
	return "approval-" + hex.EncodeToString(sum[:16])
}

// answerTo finds the answer to a question. spoken says that there is a message
// which the model has not been given.
func (a *agent) answerTo(ctx context.Context, question string) (answer *task.Input, spoken bool, err error) {
	inputs, err := a.s.Journal.Inputs(ctx, 0)
	if err != nil {
		return nil, false, fmt.Errorf("read messages: %w", err)
	}
	for _, e := range inputs {
		in, ok := e.Payload.(*task.Input)
		if ok && in.Question == question {
			return in, true, nil
		}
		spoken = spoken || !a.conv.delivered[e.Seq]
	}
	return nil, spoken, nil
}

// approvalQuestion shows a person what waits.
func (a *agent) approvalQuestion(id string, k *call, reason string) task.Question {
	tool, language, action := k.name, "json", string(k.input)
	var in struct {
		Command string `json:"command"`
	}
	if k.name == toolRunCommand && json.Unmarshal(k.input, &in) == nil {
		tool, language, action = "the shell", "sh", in.Command
	}
	action = clean(a.s.Redactor.String(action))
	whole := action
	if len(action) > maxAction {
		action = bounded(action, maxAction)
	}
	fence := "```"
	for strings.Contains(action, fence) {
		fence += "`"
	}
	text := fmt.Sprintf("May the agent do this with %s?\n\n%s%s\n%s\n%s\n\n%s", tool, fence, language, action, fence, reason)
	detail, err := json.Marshal(map[string]any{"call_id": k.id, "tool": k.name, "action": action, "cut": action != whole})
	if err != nil || len(detail) > 2*maxAction { // escapes may double it
		detail = nil
	}
	return task.Question{ID: id, Kind: task.QuestionApproval, Text: text, Detail: detail}
}

// firstLine is a status message's worth of a question.
func firstLine(text string) string {
	line, _, _ := strings.Cut(text, "\n")
	return line
}

// waits reports that a call without result was never begun: the profile has
// held it back.
func (a *agent) waits(k *call) bool {
	return a.s.Permit.Judge(k.name, k.input).Decision != permit.Allow && !a.conv.approved[k.id]
}

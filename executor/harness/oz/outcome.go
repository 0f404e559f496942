package ozagent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/oz-platform/cloudagents/executor/gateway"
	"github.com/oz-platform/cloudagents/executor/harness"
	"github.com/oz-platform/cloudagents/task"
)

// end is how the run ends.
type end struct {
	state  task.State
	status task.Status
}

func succeeded(summary string) end {
	return end{task.StateSucceeded, task.Status{Message: summary}}
}

func failed(code task.Code, message string) end {
	return end{code.EndState(), task.Status{Message: message, ErrorCode: code, Retryable: code.Retryable()}}
}

// blocked ends the run so that a person can resume it. The files stay as they
// are: nothing is committed or pushed that was not asked for.
func (a *agent) blocked(ctx context.Context, reason string) (end, error) {
	kept := "Its changes are in the workspace"
	if list := a.loose(ctx); len(list) > 0 {
		kept += " (" + strings.Join(list, "; ") + ")"
	}
	return end{task.StateBlocked, task.Status{
		Message: reason + " " + kept + ", where a follow-up message lets it go on; raise the limit first if the task needs more.",
	}}, nil
}

// modelFailed ends the run by what the model's call failed with.
func (a *agent) modelFailed(ctx context.Context, err error) (end, bool, error) {
	var m *modelError
	if !errors.As(err, &m) {
		return end{}, true, err
	}
	message := a.s.Redactor.String(bounded(m.message, 1000))
	if m.class == gateway.ClassBudget {
		e, err := a.blocked(ctx, "The run has used its budget: "+message+".")
		e.status.ErrorCode = task.CodeBudgetExceeded
		return e, true, err
	}
	e := failed(m.code(), advice(m, a.s.Model.ID, message))
	err = a.record(ctx, &task.ErrorReported{Code: e.status.ErrorCode, Message: e.status.Message, Fatal: true})
	return e, true, err
}

// advice explains a failed call and says what to do.
func advice(m *modelError, model, message string) string {
	switch m.class {
	case gateway.ClassProviderAuth, gateway.ClassProviderQuota:
		return fmt.Sprintf("The provider of model %s refused the call: %s. Check the provider's key and account.", model, message)
	case gateway.ClassModelNotFound:
		return fmt.Sprintf("Model %s does not exist or is not served here: %s. Choose another model_id.", model, message)
	case gateway.ClassContextTooLong:
		return fmt.Sprintf("The conversation does not fit into the context of model %s, even when summarised: %s. Give a shorter prompt, or a model with more context.", model, message)
	case gateway.ClassInvalidRequest:
		return fmt.Sprintf("Model %s refused the request: %s.", model, message)
	}
	return fmt.Sprintf("Model %s gave no answer after all retries: %s.", model, message)
}

// finished is what a tool that ends the work leaves in ToolResult.Output; a
// restart reads the run's end from it.
type finished struct {
	Outcome string    `json:"outcome"` // "success", "failure" or "question"
	Message string    `json:"message"`
	Code    task.Code `json:"code,omitempty"`
	// Question is what the run waits for.
	Question *task.Question `json:"question,omitempty"`
}

// finishedBy writes down the end that a tool of the platform brought about.
func finishedBy(o harness.Outcome) any {
	f := finished{Message: o.Status.Message, Code: o.Status.ErrorCode, Question: o.Status.Question}
	switch o.State {
	case task.StateSucceeded:
		f.Outcome = "success"
	case task.StateBlocked:
		f.Outcome = "question"
	default:
		f.Outcome = "failure"
	}
	return map[string]finished{endsRun: f}
}

// endsRun is the member under which tools of the platform leave a finished;
// finish has it bare.
const endsRun = "ends_run"

// ending is the end that the call brought about, or nil.
func (k *call) ending() *end {
	f, ok := k.finished()
	if !ok {
		return nil
	}
	if k.result.State == task.ToolDenied {
		e := prohibitedEnd(f.Message)
		return &e
	}
	e := end{task.StateBlocked, task.Status{Message: f.Message, Question: f.Question}}
	switch f.Outcome {
	case "success":
		e = succeeded(f.Message)
	case "failure":
		e = end{task.StateFailed, task.Status{Message: f.Message}} // by the agent's own word, which no code says
		if f.Code != "" {
			e = failed(f.Code, f.Message)
		}
	}
	return &e
}

// finished reads what the call has left, if it ended the work.
func (k *call) finished() (f finished, ok bool) {
	if k.result == nil || len(k.result.Output) == 0 || k.failed() && k.result.State != task.ToolDenied {
		return f, false // a call that was denied ends the run where that is the rule
	}
	if k.name == toolFinish || k.name == toolAskUser {
		if json.Unmarshal(k.result.Output, &f) == nil && f.Outcome != "" {
			return f, true
		}
	}
	var out map[string]json.RawMessage
	if json.Unmarshal(k.result.Output, &out) != nil || out[endsRun] == nil || json.Unmarshal(out[endsRun], &f) != nil {
		return f, false
	}
	return f, true
}

// bounded cuts text to at most n bytes, between characters.
func bounded(text string, n int) string {
	if len(text) <= n {
		return text
	}
	cut := n
	for cut > 0 && !utf8.RuneStart(text[cut]) {
		cut--
	}
	return text[:cut] + " [...]"
}

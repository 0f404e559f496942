package harness

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/oz-platform/cloudagents/task"
)

// Tool is one of the platform's tools: something that every agent can do,
// whoever made it. The built-in agent offers it beside its own; agents of third
// parties get it from a server of the Model Context Protocol that the runner
// starts. Package tools has those of the platform.
//
// A tool belongs to one session. It may be called by several goroutines at once.
type Tool struct {
	// Name is unique in the session: 1 to 48 of [a-z0-9_], and for tools of MCP
	// servers 1 to 64 of [A-Za-z0-9_-].
	Name string
	// Description tells the model what the tool does and when to use it.
	Description string
	// Category groups the tool's calls for display.
	Category task.ToolCategory
	// Schema is the JSON schema of the input, an object.
	Schema string
	// Repeatable calls may be made again when a restart cut them off: they
	// change nothing, or know what they did before by ToolCall.ID or content.
	Repeatable bool
	// ReadOnly calls change nothing.
	ReadOnly bool
	// When says in which modes the tool is offered; nil is in all.
	When func(task.Mode) bool
	// Run makes one call. A *ToolError tells the model what it did wrong; any
	// other error is the platform's fault and ends the execution. What it gives
	// is redacted and bounded by whoever called.
	Run func(ctx context.Context, c ToolCall) (ToolAnswer, error)
}

// Offered reports whether the tool is there in mode m.
func (t Tool) Offered(m task.Mode) bool { return t.When == nil || t.When(m) }

// ToolSet makes tools for one session.
type ToolSet func(s *Session) []Tool

// ToolCall is one call of a Tool.
type ToolCall struct {
	// ID names the call within the run, the same when it is made again; empty
	// if the agent has no names for its calls.
	ID string
	// Input is what the model gave; nothing has judged it yet.
	Input json.RawMessage
	// Again says that an earlier try was cut off by a restart.
	Again bool
}

// ToolAnswer is what a call gave.
type ToolAnswer struct {
	Text string // for the model
	// Output is the structured form for display, encoded as JSON; may be nil.
	Output any
	// End, if not nil, ends the agent's work with this outcome. Turns and
	// SeenInput are filled in by the harness.
	End *Outcome
}

// ToolError is a call that was not made, or failed; the model is told why.
type ToolError struct {
	// State is task.ToolFailed, or task.ToolDenied for what the rules forbid.
	State task.ToolState
	// Input says that the input was none of the tool.
	Input bool
	// Message is for the model: what is wrong, and what to do.
	Message string
}

// Error implements error.
func (e *ToolError) Error() string { return e.Message }

// BadInput makes the error of a call whose input is none of the tool: it names
// the field and the rule.
func BadInput(format string, args ...any) error {
	return &ToolError{State: task.ToolFailed, Input: true, Message: fmt.Sprintf(format, args...)}
}

// Refuse makes the error of a call that failed.
func Refuse(format string, args ...any) error {
	return &ToolError{State: task.ToolFailed, Message: fmt.Sprintf(format, args...)}
}

// Deny makes the error of a call that the rules forbid.
func Deny(format string, args ...any) error {
	return &ToolError{State: task.ToolDenied, Message: fmt.Sprintf(format, args...)}
}

// RefusedBy makes the error of a call that the platform refused: the model is
// told, if it is something that it or a person can mend. A lost lease and the
// platform's own faults stay errors.
func RefusedBy(doing string, err error) error {
	var known *task.Error
	if errors.As(err, &known) && !errors.Is(err, task.ErrFenced) && !known.Code.Platform() {
		return Refuse("The platform refused to %s: %v", doing, known)
	}
	return fmt.Errorf("%s: %w", doing, err)
}

// DefineTool makes a tool of a function over its decoded input. Unknown fields
// and wrong types are refused with the field's name.
func DefineTool[In any](t Tool, run func(ctx context.Context, c ToolCall, in In) (ToolAnswer, error)) Tool {
	t.Run = func(ctx context.Context, c ToolCall) (ToolAnswer, error) {
		var in In
		if err := DecodeInput(c.Input, &in); err != nil {
			return ToolAnswer{}, err
		}
		return run(ctx, c, in)
	}
	return t
}

// DecodeInput decodes the input of a call into v. It fails with a *ToolError
// that names what is wrong.
func DecodeInput(raw json.RawMessage, v any) error {
	if len(bytes.TrimSpace(raw)) == 0 {
		raw = json.RawMessage("{}")
	}
	d := json.NewDecoder(bytes.NewReader(raw))
	d.DisallowUnknownFields()
	err := d.Decode(v)
	var kind *json.UnmarshalTypeError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &kind) && kind.Field == "":
		return BadInput("the input is not a JSON object")
	case errors.As(err, &kind):
		return BadInput("field %q must be %s, not %s", kind.Field, jsonKind(kind.Type.Kind().String()), kind.Value)
	case errors.Is(err, io.ErrUnexpectedEOF):
		return BadInput("the input is not complete")
	}
	return BadInput("%s", strings.TrimPrefix(err.Error(), "json: "))
}

// jsonKind names a Go kind as JSON does.
func jsonKind(kind string) string {
	switch {
	case kind == "slice":
		return "an array"
	case kind == "struct" || kind == "map":
		return "an object"
	case kind == "bool":
		return "true or false"
	case strings.HasPrefix(kind, "int"), strings.HasPrefix(kind, "uint"), strings.HasPrefix(kind, "float"):
		return "a number"
	}
	return "a " + kind
}

package scripted

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/goccy/go-yaml"
)

// maxScriptBytes bounds a script file.
const maxScriptBytes = 8 << 20

// Order says how the numbered steps of a script are chosen.
type Order string

// The orders.
const (
	// ByConversation plays step n for a conversation with n assistant turns. It
	// is the default.
	ByConversation Order = "conversation"
	// ByArrival plays the steps one after the other, whatever is asked.
	ByArrival Order = "arrival"
)

// Script is what the server plays.
type Script struct {
	// Order chooses among the numbered steps. Default ByConversation.
	Order Order `yaml:"order,omitempty"`
	// Steps are the turns of the model.
	Steps []Step `yaml:"steps"`
}

// Step is one turn of the model. A step with neither text nor tool calls is an
// answer without content, which models do give.
type Step struct {
	// When makes the step conditional; see the package comment. Default: numbered.
	When *When `yaml:"when,omitempty"`
	// Match is a condition in Go; with When, both must hold.
	Match func(*Request) bool `yaml:"-"`
	// Thinking is reasoning before the answer. On the Chat Completions wire it
	// shows only as reasoning tokens.
	Thinking string `yaml:"thinking,omitempty"`
	// Text is what the model says.
	Text string `yaml:"text,omitempty"`
	// ToolCalls follow the text.
	ToolCalls []ToolCall `yaml:"tool_calls,omitempty"`
	// Usage is what the answer reports. Default: a quarter of the bytes of the
	// request's body and of the answer.
	Usage *Usage `yaml:"usage,omitempty"`
	// StopReason is why the model stopped, in Anthropic's words (end_turn,
	// tool_use, max_tokens, refusal), put into the wire's. Default: tool_use with
	// tool calls, else end_turn.
	StopReason string `yaml:"stop_reason,omitempty"`
	// EventDelay is a pause before each event of a stream. Default: none.
	EventDelay time.Duration `yaml:"event_delay,omitempty"`
	// Faults happen, in order, before the step goes well.
	Faults []Fault `yaml:"faults,omitempty"`
}

// ToolCall is a call of a function tool.
type ToolCall struct {
	// ID names the call. Default: made from the request, so that a repeated
	// request gets the same id.
	ID string `yaml:"id,omitempty"`
	// Name is the tool's. Required.
	Name string `yaml:"name"`
	// Namespace is that of the tool, on the Responses wire alone: some agents
	// give their MCP servers' tools that way.
	Namespace string `yaml:"namespace,omitempty"`
	// Input are the arguments: anything that marshals to a JSON object. Default {}.
	Input any `yaml:"input,omitempty"`
	// RawInput is sent in place of Input as it is, though it be no JSON. On the
	// Anthropic wire it shows only in streams.
	RawInput string `yaml:"raw_input,omitempty"`
}

// Usage are numbers of tokens; each token is in one of the first four.
type Usage struct {
	Input      int64 `yaml:"input"`
	CacheRead  int64 `yaml:"cache_read,omitempty"`
	CacheWrite int64 `yaml:"cache_write,omitempty"`
	Output     int64 `yaml:"output"`
	// Reasoning is the part of Output that was thinking.
	Reasoning int64 `yaml:"reasoning,omitempty"`
}

// When is a condition on a request. All that is set must hold.
type When struct {
	// Model is the exact model asked for.
	Model string `yaml:"model,omitempty"`
	// Turn is the number of assistant turns so far.
	Turn *int `yaml:"turn,omitempty"`
	// SystemContains is part of the system prompt.
	SystemContains string `yaml:"system_contains,omitempty"`
	// LastUserContains is part of the newest text of the user.
	LastUserContains string `yaml:"last_user_contains,omitempty"`
	// LastToolResultContains is part of one of the results in the newest message.
	LastToolResultContains string `yaml:"last_tool_result_contains,omitempty"`
	// Tool is the name of a tool that is offered.
	Tool string `yaml:"tool,omitempty"`
}

// Fault is one way to go wrong. Exactly one of Status, CutAfter, Garbage, Empty
// and Silent is set.
type Fault struct {
	// Status answers with this HTTP error (400 to 599) in the wire's shape.
	Status int `yaml:"status,omitempty"`
	// Type and Message are the error's. Default: by Status.
	Type    string `yaml:"type,omitempty"`
	Message string `yaml:"message,omitempty"`
	// RetryAfter is asked for with a Status, in retry-after-ms and Retry-After.
	RetryAfter time.Duration `yaml:"retry_after,omitempty"`
	// CutAfter breaks the connection after so many events of a stream; after
	// half the bytes of an answer that is none. 0 cuts before the first.
	CutAfter *int `yaml:"cut_after,omitempty"`
	// Garbage answers 200 with something that is not JSON.
	Garbage bool `yaml:"garbage,omitempty"`
	// Empty answers 200 with nothing.
	Empty bool `yaml:"empty,omitempty"`
	// Silent answers 200 and then says nothing until the client hangs up.
	Silent bool `yaml:"silent,omitempty"`
	// Times is how many requests meet the fault. Default 1; -1 is all.
	Times int `yaml:"times,omitempty"`
}

// Cut is a Fault that breaks a stream after n events.
func Cut(n int) Fault { return Fault{CutAfter: &n} }

// Load reads a script from YAML or JSON, which is YAML too. Errors name line
// and column.
func Load(r io.Reader) (Script, error) {
	text, err := io.ReadAll(io.LimitReader(r, maxScriptBytes+1))
	if err != nil {
		return Script{}, fmt.Errorf("script: %w", err)
	}
	if len(text) > maxScriptBytes {
		return Script{}, fmt.Errorf("script: larger than %d bytes", maxScriptBytes)
	}
	var s Script
	if err := yaml.UnmarshalContext(context.Background(), text, &s, yaml.Strict()); err != nil {
		return Script{}, fmt.Errorf("script: %w", err)
	}
	if err := s.validate(); err != nil {
		return Script{}, fmt.Errorf("script: %w", err)
	}
	return s, nil
}

func (s Script) validate() error {
	switch s.Order {
	case "", ByConversation, ByArrival:
	default:
		return fmt.Errorf("order: want %q or %q, got %q", ByConversation, ByArrival, s.Order)
	}
	for i, step := range s.Steps {
		if err := step.validate(); err != nil {
			return fmt.Errorf("step %d: %w", i+1, err)
		}
	}
	return nil
}

func (s Step) validate() error {
	for i, c := range s.ToolCalls {
		if c.Name == "" {
			return fmt.Errorf("tool_calls[%d]: name: required", i)
		}
		if c.RawInput != "" && c.Input != nil {
			return fmt.Errorf("tool_calls[%d]: input and raw_input exclude each other", i)
		}
		input, err := json.Marshal(c.Input)
		if err != nil || c.Input != nil && !strings.HasPrefix(string(input), "{") {
			return fmt.Errorf("tool_calls[%d]: input: want a JSON object", i)
		}
	}
	switch s.StopReason {
	case "", "end_turn", "tool_use", "max_tokens", "refusal":
	default:
		return fmt.Errorf("stop_reason: want end_turn, tool_use, max_tokens or refusal, got %q", s.StopReason)
	}
	if s.EventDelay < 0 {
		return fmt.Errorf("event_delay must not be negative")
	}
	for i, f := range s.Faults {
		if err := f.validate(); err != nil {
			return fmt.Errorf("faults[%d]: %w", i, err)
		}
	}
	return nil
}

func (f Fault) validate() error {
	kinds := 0
	for _, set := range []bool{f.Status != 0, f.CutAfter != nil, f.Garbage, f.Empty, f.Silent} {
		if set {
			kinds++
		}
	}
	switch {
	case kinds != 1:
		return fmt.Errorf("set exactly one of status, cut_after, garbage, empty and silent")
	case f.Status != 0 && (f.Status < 400 || f.Status > 599):
		return fmt.Errorf("status: %d is not between 400 and 599", f.Status)
	case f.CutAfter != nil && *f.CutAfter < 0, f.RetryAfter < 0, f.Times < -1:
		return fmt.Errorf("a number is negative")
	}
	return nil
}

// holds reports whether all that w asks for is so.
func (w *When) holds(r *Request) bool {
	switch {
	case w.Model != "" && r.Model != w.Model,
		w.Turn != nil && r.Turn != *w.Turn,
		!strings.Contains(r.System, w.SystemContains),
		w.LastUserContains != "" && !strings.Contains(r.LastUserText(), w.LastUserContains),
		w.LastToolResultContains != "" && !r.toolResultContains(w.LastToolResultContains),
		w.Tool != "" && !r.offers(w.Tool):
		return false
	}
	return true
}

func (s *Step) conditional() bool { return s.When != nil || s.Match != nil }

func (s *Step) applies(r *Request) bool {
	return (s.When == nil || s.When.holds(r)) && (s.Match == nil || s.Match(r))
}

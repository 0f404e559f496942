package task

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"time"
)

// Event is one entry of a run's log. Entries are never changed; their numbers
// are 1, 2, 3 ... per run without a gap. They are only ever removed together,
// long after the run has ended: the log then begins with a Pruned.
type Event struct {
	Seq         int64       // 1, 2, 3 ... within the run
	TaskID      ID          // the run
	ExecutionID ExecutionID // empty for what the platform itself wrote
	Time        time.Time   // UTC, as its writer gave it
	Payload     Payload     // never nil in a log
}

// EventType names the kind of an event on the wire and in storage.
type EventType string

// The kinds of event. Types not listed here are refused on append.
const (
	TypeState      EventType = "state"
	TypePhase      EventType = "phase"
	TypeInput      EventType = "input"
	TypeDelivered  EventType = "input_delivered"
	TypeTurnStart  EventType = "turn_started"
	TypeTurnEnd    EventType = "turn_ended"
	TypeMessage    EventType = "message"
	TypeReasoning  EventType = "reasoning"
	TypeToolCall   EventType = "tool_call"
	TypeToolOutput EventType = "tool_output"
	TypeToolResult EventType = "tool_result"
	TypeTodos      EventType = "todos"
	TypeUsage      EventType = "usage"
	TypeArtifact   EventType = "artifact"
	TypeEffect     EventType = "effect"
	TypeCompaction EventType = "compaction"
	TypeNotice     EventType = "notice"
	TypeError      EventType = "error"
	TypePruned     EventType = "pruned"
	TypeSnapshot   EventType = "snapshot"
	TypeHandoff    EventType = "handoff"
	TypeShared     EventType = "shared"
	TypeAgent      EventType = "agent_session"
	TypeTerminal   EventType = "terminal"
	TypePrinted    EventType = "terminal_output"
)

// Payload is the content of an event: one of the payload types of this package.
type Payload interface {
	// Type is the event's kind.
	Type() EventType
	// platformOnly reports that an execution may not append it.
	platformOnly() bool
}

// EventTypes are all kinds of events there are.
func EventTypes() []EventType {
	return []EventType{TypeState, TypePhase, TypeInput, TypeDelivered, TypeTurnStart, TypeTurnEnd, TypeMessage, TypeReasoning,
		TypeToolCall, TypeToolOutput, TypeToolResult, TypeTodos, TypeUsage, TypeArtifact, TypeEffect, TypeCompaction, TypeNotice,
		TypeError, TypePruned, TypeSnapshot, TypeHandoff, TypeShared, TypeAgent, TypeTerminal, TypePrinted}
}

// Known reports that t is one of EventTypes.
func (t EventType) Known() bool { return slices.Contains(EventTypes(), t) }

// newPayload gives an empty payload of type t to decode into.
func newPayload(t EventType) (Payload, error) {
	switch t {
	case TypeState:
		return &StateChanged{}, nil
	case TypePhase:
		return &Phase{}, nil
	case TypeInput:
		return &Input{}, nil
	case TypeDelivered:
		return &Delivered{}, nil
	case TypeTurnStart:
		return &TurnStarted{}, nil
	case TypeTurnEnd:
		return &TurnEnded{}, nil
	case TypeMessage:
		return &Message{}, nil
	case TypeReasoning:
		return &Reasoning{}, nil
	case TypeToolCall:
		return &ToolCall{}, nil
	case TypeToolOutput:
		return &ToolOutput{}, nil
	case TypeToolResult:
		return &ToolResult{}, nil
	case TypeTodos:
		return &Todos{}, nil
	case TypeUsage:
		return &UsageReport{}, nil
	case TypeArtifact:
		return &ArtifactReported{}, nil
	case TypeEffect:
		return &Effect{}, nil
	case TypeCompaction:
		return &Compaction{}, nil
	case TypeNotice:
		return &Notice{}, nil
	case TypePruned:
		return &Pruned{}, nil
	case TypeSnapshot:
		return &SnapshotTaken{}, nil
	case TypeHandoff:
		return &Handoff{}, nil
	case TypeShared:
		return &Shared{}, nil
	case TypeAgent:
		return &AgentSession{}, nil
	case TypeTerminal:
		return &Terminal{}, nil
	case TypePrinted:
		return &TerminalOutput{}, nil
	case TypeError:
		return &ErrorReported{}, nil
	}
	return nil, Invalid("type", "unknown event type %q", string(t))
}

// MarshalPayload encodes a payload for storage or the wire.
func MarshalPayload(p Payload) (EventType, []byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false) // code is full of <, > and &
	if err := enc.Encode(p); err != nil {
		return "", nil, fmt.Errorf("encode %s event: %w", p.Type(), err)
	}
	return p.Type(), bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}

// UnmarshalPayload decodes what MarshalPayload encoded. The payload is always
// a pointer, such as *Message.
func UnmarshalPayload(t EventType, data []byte) (Payload, error) {
	p, err := newPayload(t)
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(data, p); err != nil {
		return nil, Invalid("data", "%s event: %w", string(t), err)
	}
	return p, nil
}

// eventJSON is an Event on the wire.
type eventJSON struct {
	Seq         int64           `json:"seq"`
	TaskID      ID              `json:"run_id,omitempty"`
	ExecutionID ExecutionID     `json:"execution_id,omitempty"`
	Time        time.Time       `json:"time"`
	Type        EventType       `json:"type"`
	Data        json.RawMessage `json:"data"`
}

// MarshalJSON gives the wire form, with "type" and "data".
func (e Event) MarshalJSON() ([]byte, error) {
	if e.Payload == nil {
		return nil, fmt.Errorf("encode event %d of run %s: no payload", e.Seq, e.TaskID)
	}
	t, data, err := MarshalPayload(e.Payload)
	if err != nil {
		return nil, err
	}
	return json.Marshal(eventJSON{e.Seq, e.TaskID, e.ExecutionID, e.Time.UTC(), t, data})
}

// UnmarshalJSON reads the wire form.
func (e *Event) UnmarshalJSON(b []byte) error {
	var w eventJSON
	if err := json.Unmarshal(b, &w); err != nil {
		return err
	}
	p, err := UnmarshalPayload(w.Type, w.Data)
	if err != nil {
		return err
	}
	*e = Event{Seq: w.Seq, TaskID: w.TaskID, ExecutionID: w.ExecutionID, Time: w.Time, Payload: p}
	return nil
}

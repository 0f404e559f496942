package task

import (
	"encoding/json"
	"fmt"
	"time"
)

// Conversation is the normalised view of a run's log (Oz API,
// ConversationResponse): what people and the agent said and did, without the
// bookkeeping.
type Conversation struct {
	ID    string             `json:"conversation_id"` // the first run's
	Steps []ConversationStep `json:"steps"`           // in order
}

// ConversationStep is one round of work: from the message that set the run to
// work to its end. The prompt begins the first one and each follow-up on an
// ended run another; messages that arrive while the agent works belong to the
// step under way.
type ConversationStep struct {
	ID string `json:"id"` // unique within the conversation
	// Description is the begin of the instruction, Summary that of the agent's
	// last words; both at most maxSummary bytes.
	Description string `json:"description,omitempty"`
	Summary     string `json:"summary,omitempty"`
	// StartedAt and CompletedAt are the times of the first and last message.
	StartedAt   time.Time             `json:"started_at,omitzero"`
	CompletedAt time.Time             `json:"completed_at,omitzero"`
	Messages    []ConversationMessage `json:"messages"` // in order
	// Steps is delegated work. Sub-runs are runs of their own, so it is empty.
	Steps []ConversationStep `json:"steps"`
}

// Role says who speaks in a ConversationMessage.
type Role string

// Roles on the wire. RoleSystem is the platform's: events of the run.
const (
	RoleUser      Role = "user"
	RoleAssistant Role = "assistant"
	RoleTool      Role = "tool"
	RoleSystem    Role = "system"
)

// ConversationMessage is what one party said at once. What the agent says and
// does in one turn is one message.
type ConversationMessage struct {
	Role    Role           `json:"role"`    // who speaks
	Content []ContentBlock `json:"content"` // never nil
	// MessageIDs are the IDs of the messages in the log that are part of it.
	MessageIDs []string `json:"message_ids,omitempty"`
	// RequestID is the model provider's, where known.
	RequestID string    `json:"request_id,omitempty"`
	Timestamp time.Time `json:"timestamp,omitzero"` // of its first part
}

// BlockType is the kind of a ContentBlock.
type BlockType string

// Kinds of block on the wire.
const (
	BlockText         BlockType = "text"
	BlockAction       BlockType = "action"
	BlockActionResult BlockType = "action_result"
	BlockEvent        BlockType = "event"
)

// ContentBlock is a part of a message. Type says which fields are set; those
// that the wire requires of it are never empty.
type ContentBlock struct {
	Type      BlockType `json:"type"`                 // what it is
	MessageID string    `json:"message_id,omitempty"` // that of the log
	// Text is that of BlockText.
	Text string `json:"text,omitempty"`
	// ID is that of an action, ActionID the action's whose result this is.
	ID       string `json:"id,omitempty"`
	ActionID string `json:"action_id,omitempty"`
	// Name is the tool of an action and its result, or the kind of an event.
	Name     string       `json:"name,omitempty"`
	Category ToolCategory `json:"category,omitempty"` // of an action and its result
	State    ToolState    `json:"state,omitempty"`    // of a result
	// Input of an action, Output of a result and Data of an event are JSON
	// objects, with long texts cut.
	Input  json.RawMessage `json:"input,omitempty"`
	Output json.RawMessage `json:"output,omitempty"`
	Data   json.RawMessage `json:"data,omitempty"`
}

// maxSummary bounds a step's description and summary, in bytes.
const maxSummary = 1000

// NewConversation makes the view of a run from its log, which must be complete
// and in order; t is the run as of its end.
//
// Turns of the agent that were cut off by a crash are left out, with their
// tool calls: they never took part in the conversation. A turn under way is
// shown as far as it is. Of the other events it shows, as event blocks:
// "phase" (ended ones), "notice", "artifact", "todos", "error", "compaction",
// "attachment", "pruned", "handoff", "snapshot", and "state" when the run ends. Reasoning, usage, streamed tool
// output and effects are left out: they are in the log.
func NewConversation(t Task, events []Event) Conversation {
	b := conversationBuilder{actions: map[string]ContentBlock{}}
	for _, e := range events {
		b.add(e)
	}
	if b.turn != nil && b.turn.execution == t.Execution && t.Execution != "" {
		b.endTurn("") // still under way
	}
	b.endStep()
	c := Conversation{ID: t.ConversationID, Steps: b.steps}
	if c.ID == "" {
		c.ID = string(t.ID)
	}
	if c.Steps == nil {
		c.Steps = []ConversationStep{}
	}
	return c
}

// conversationBuilder reads a log.
type conversationBuilder struct {
	steps []ConversationStep
	step  *ConversationStep // under way
	turn  *openTurn         // under way
	ended bool              // the run has ended, as of the last state event
	// actions are the tool calls that took part, by ID.
	actions map[string]ContentBlock
}

// openTurn is a turn of the agent whose end is not known yet.
type openTurn struct {
	execution ExecutionID
	seq       int64
	message   ConversationMessage
}

func (b *conversationBuilder) add(e Event) {
	if b.turn != nil && e.ExecutionID != "" && e.ExecutionID != b.turn.execution {
		b.turn = nil // cut off: another execution has taken over
	}
	switch p := e.Payload.(type) {
	case *StateChanged:
		b.state(e, p)
	case *Input:
		b.input(e, p)
	case *TurnStarted:
		b.turn = &openTurn{execution: e.ExecutionID, seq: e.Seq, message: ConversationMessage{Role: RoleAssistant}}
	case *TurnEnded:
		b.endTurn(p.RequestID)
	case *Message:
		b.say(e, p)
	case *ToolCall:
		b.action(e, p)
	case *ToolResult:
		b.result(e, p)
	default:
		if name, data := exposed(e.Payload); name != "" {
			b.event(e, name, data)
		}
	}
}

// put adds a message to the step under way, and begins one if need be.
func (b *conversationBuilder) put(e Event, m ConversationMessage) {
	if b.step == nil {
		b.step = &ConversationStep{ID: fmt.Sprintf("step-%d", e.Seq), Messages: []ConversationMessage{}, Steps: []ConversationStep{}}
	}
	if m.Timestamp.IsZero() {
		m.Timestamp = e.Time
	}
	b.step.Messages = append(b.step.Messages, m)
}

func (b *conversationBuilder) endStep() {
	if b.step == nil {
		return
	}
	s := b.step
	s.StartedAt = s.Messages[0].Timestamp
	for _, m := range s.Messages {
		if m.Timestamp.After(s.CompletedAt) {
			s.CompletedAt = m.Timestamp
		}
		if m.Timestamp.Before(s.StartedAt) {
			s.StartedAt = m.Timestamp
		}
		if text := lastText(m); m.Role == RoleAssistant && text != "" {
			s.Summary = cut(text, maxSummary)
		}
	}
	b.steps = append(b.steps, *s)
	b.step = nil
}

func (b *conversationBuilder) state(e Event, p *StateChanged) {
	was := b.ended
	if b.ended = p.To.Ended(); !b.ended {
		if was { // resumed without a word
			b.endStep()
		}
		return
	}
	b.turn = nil
	b.event(e, "state", map[string]any{"state": p.To, "message": p.Status.Message})
}

func (b *conversationBuilder) input(e Event, p *Input) {
	if b.ended {
		b.endStep()
		b.ended = false
	}
	first := b.step == nil || len(b.step.Description) == 0
	m := ConversationMessage{Role: RoleUser}
	if p.Text != "" {
		m.Content = append(m.Content, ContentBlock{Type: BlockText, Text: p.Text})
	}
	for _, a := range p.Attachments {
		m.Content = append(m.Content, eventBlock("attachment", map[string]any{"file_name": a.FileName, "mime_type": a.MIMEType, "size_bytes": a.SizeBytes}))
	}
	if len(m.Content) == 0 {
		return
	}
	b.put(e, m)
	if first {
		b.step.Description = cut(p.Text, maxSummary)
	}
}

// say adds text of the agent, or a further piece of it.
func (b *conversationBuilder) say(e Event, p *Message) {
	if p.Text == "" {
		return
	}
	m := b.speaking()
	if m == nil {
		b.put(e, ConversationMessage{Role: RoleAssistant})
		m = &b.step.Messages[len(b.step.Messages)-1]
	}
	m.stamp(e.Time)
	if n := len(m.Content); n > 0 && p.ID != "" && m.Content[n-1].Type == BlockText && m.Content[n-1].MessageID == p.ID {
		m.Content[n-1].Text += p.Text
		return
	}
	m.Content = append(m.Content, ContentBlock{Type: BlockText, MessageID: p.ID, Text: p.Text})
	if p.ID != "" {
		m.MessageIDs = append(m.MessageIDs, p.ID)
	}
}

// speaking is the agent's message under way: the turn's, or for harnesses that
// mark no turns the last one of the step.
func (b *conversationBuilder) speaking() *ConversationMessage {
	if b.turn != nil {
		return &b.turn.message
	}
	if b.step == nil {
		return nil
	}
	if m := &b.step.Messages[len(b.step.Messages)-1]; m.Role == RoleAssistant && m.RequestID == "" {
		return m
	}
	return nil
}

func (m *ConversationMessage) stamp(at time.Time) {
	if m.Timestamp.IsZero() {
		m.Timestamp = at
	}
}

// endTurn takes the turn under way into the step.
func (b *conversationBuilder) endTurn(requestID string) {
	if b.turn == nil {
		return
	}
	m, seq := b.turn.message, b.turn.seq
	b.turn = nil
	if len(m.Content) == 0 {
		return
	}
	for _, c := range m.Content {
		if c.Type == BlockAction {
			b.actions[c.ID] = c
		}
	}
	m.RequestID = requestID
	b.put(Event{Seq: seq, Time: m.Timestamp}, m)
}

func (b *conversationBuilder) action(e Event, p *ToolCall) {
	block := ContentBlock{Type: BlockAction, ID: p.ID, Name: orDefault(p.Name, "tool"), Category: orDefault(p.Category, CategoryIntegration), Input: publicObject(p.Input)}
	if m := b.speaking(); m != nil {
		m.stamp(e.Time)
		m.Content = append(m.Content, block)
	} else {
		b.put(e, ConversationMessage{Role: RoleAssistant, Content: []ContentBlock{block}})
	}
	if b.turn == nil {
		b.actions[p.ID] = block
	}
}

// result adds what came of an action; results of turns that were cut off
// belong to nothing.
func (b *conversationBuilder) result(e Event, p *ToolResult) {
	action, ok := b.actions[p.CallID]
	if !ok {
		return
	}
	output := p.Output
	if len(output) == 0 || action.Category == CategoryCommand {
		output = withText(output, p.Content) // what was printed is the result
	}
	b.put(e, ConversationMessage{Role: RoleTool, Content: []ContentBlock{{Type: BlockActionResult, ActionID: p.CallID, Name: action.Name,
		Category: action.Category, State: orDefault(p.State, ToolCompleted), Output: publicObject(output)}}})
}

// withText adds a text to a JSON object; what is no object gives way to it.
func withText(object json.RawMessage, text string) json.RawMessage {
	fields := map[string]json.RawMessage{}
	if json.Unmarshal(object, &fields) != nil || fields == nil {
		fields = map[string]json.RawMessage{}
	}
	fields["text"], _ = json.Marshal(text) // strings cannot fail
	merged, _ := json.Marshal(fields)
	return merged
}

func (b *conversationBuilder) event(e Event, name string, data map[string]any) {
	b.put(e, ConversationMessage{Role: RoleSystem, Content: []ContentBlock{eventBlock(name, data)}})
}

// exposed gives the name and minimal data of the events that the conversation
// shows beside what is said and done; name is empty for the others.
func exposed(p Payload) (name string, data map[string]any) {
	switch p := p.(type) {
	case *Phase:
		if p.Status == PhaseStarted {
			return "", nil
		}
		return "phase", map[string]any{"name": p.Name, "status": p.Status, "detail": p.Detail, "duration_ms": p.DurationMS}
	case *Pruned:
		return "pruned", map[string]any{"through": p.Through}
	case *Notice:
		return "notice", map[string]any{"text": p.Text}
	case *ArtifactReported:
		return "artifact", map[string]any{"artifact_uid": p.Artifact.UID, "artifact_type": p.Artifact.Type, "title": p.Artifact.Title}
	case *Todos:
		return "todos", map[string]any{"items": p.Items}
	case *ErrorReported:
		return "error", map[string]any{"error_code": p.Code, "message": p.Message}
	case *Compaction:
		return "compaction", map[string]any{"summary": p.Summary}
	case *Handoff:
		return "handoff", map[string]any{"from": p.From, "text": p.Text}
	case *SnapshotTaken:
		return "snapshot", map[string]any{"files": len(p.Files), "skipped": p.Skipped}
	}
	return "", nil
}

func lastText(m ConversationMessage) (text string) {
	for _, c := range m.Content {
		if c.Type == BlockText {
			text = c.Text
		}
	}
	return text
}

func orDefault[T ~string](v, otherwise T) T {
	if v == "" {
		return otherwise
	}
	return v
}

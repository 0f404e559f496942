package task

import "encoding/json"

// StateChanged records a transition. Only the platform writes it.
type StateChanged struct {
	From   State  `json:"from,omitempty"`   // empty at creation
	To     State  `json:"to"`               // never empty
	Status Status `json:"status,omitzero"`  // explains To
	Worker string `json:"worker,omitempty"` // who was offered or took the run
	Reason string `json:"reason,omitempty"` // why, for the record
}

// PhaseStatus says how far a phase is.
type PhaseStatus string

// A phase starts, then is done or failed, once each.
const (
	PhaseStarted PhaseStatus = "started"
	PhaseDone    PhaseStatus = "done"
	PhaseFailed  PhaseStatus = "failed"
)

// Names of the phases of an execution, in order. Each is timed and shown.
const (
	PhaseSandbox   = "sandbox"   // the executor makes the sandbox and starts the runner
	PhaseBundle    = "bundle"    // the runner fetches what it needs
	PhaseWorkspace = "workspace" // repositories are cloned
	PhaseSetup     = "setup"     // setup commands run
	PhaseAgent     = "agent"     // the agent works
	PhaseFinish    = "finish"    // evidence is checked, the outcome reported
)

// Phase marks the begin or end of a part of an execution.
type Phase struct {
	Name   string      `json:"name"`             // one of the phases above
	Status PhaseStatus `json:"status"`           // started, done or failed
	Detail string      `json:"detail,omitempty"` // "cloned demo (main)", "setup 1/2: go mod download"
	// DurationMS is how long it took, in milliseconds; set when done or failed.
	DurationMS int64 `json:"duration_ms,omitempty"`
}

// Input is a message from a person: the prompt itself, a follow-up or a
// steering message. Only the platform writes it.
type Input struct {
	Text        string       `json:"text"`                  // may be empty beside attachments
	Mode        Mode         `json:"mode,omitempty"`        // default normal
	From        Principal    `json:"from,omitzero"`         // who wrote it
	Attachments []Attachment `json:"attachments,omitempty"` // given with it
	// Question is the ID of the question that it answers, Choice what was chosen
	// of its choices; both may be empty.
	Question string `json:"question,omitempty"`
	Choice   string `json:"choice,omitempty"`
	// Approves is the UID of a plan that the message approves.
	Approves string `json:"approves,omitempty"`
	// Key names the event elsewhere that it came with; see AddInput.Last.
	Key string `json:"key,omitempty"`
}

// Delivered records that the inputs with these event numbers are now part of
// the agent's conversation, so that a restart does not deliver them again.
type Delivered struct {
	Inputs []int64 `json:"inputs"` // event numbers
}

// TurnStarted precedes a call to the model. A turn without its TurnEnded was
// cut off by a crash: its messages and calls never took part in the conversation.
type TurnStarted struct {
	Turn int `json:"turn"` // 1, 2, 3 ... within the run
}

// TurnEnded closes a turn: what the model answered is complete in the log.
type TurnEnded struct {
	Turn       int    `json:"turn"`                  // that of TurnStarted
	Model      string `json:"model,omitempty"`       // that answered
	StopReason string `json:"stop_reason,omitempty"` // the provider's
	RequestID  string `json:"request_id,omitempty"`  // the provider's
	DurationMS int64  `json:"duration_ms,omitempty"` // milliseconds
}

// Message is text of the agent, in one piece or several: pieces share an ID,
// and all but the last have More.
type Message struct {
	ID   string `json:"id"`             // the same for all pieces
	Text string `json:"text"`           // of this piece
	More bool   `json:"more,omitempty"` // another piece follows
}

// Reasoning is the model's thinking as far as its provider shows it, in
// pieces like Message.
type Reasoning struct {
	ID   string `json:"id"`             // the same for all pieces
	Text string `json:"text"`           // of this piece
	More bool   `json:"more,omitempty"` // another piece follows
	// Opaque is what the provider wants back with the next request to trust
	// this block (a signature or encrypted content); on the last piece only.
	Opaque json.RawMessage `json:"opaque,omitempty"`
}

// ToolCategory groups tools for display (Oz API, ConversationContentBlock).
type ToolCategory string

// Tool categories on the wire.
const (
	CategoryCommand     ToolCategory = "command"
	CategoryFiles       ToolCategory = "files"
	CategorySearch      ToolCategory = "search"
	CategoryIntegration ToolCategory = "integration"
	CategoryDocuments   ToolCategory = "documents"
	CategoryComputer    ToolCategory = "computer"
	CategoryReview      ToolCategory = "review"
	CategorySkill       ToolCategory = "skill"
)

// ToolCall is the agent's decision to use a tool.
type ToolCall struct {
	ID       string          `json:"id"`       // unique within the run
	Name     string          `json:"name"`     // of the tool
	Category ToolCategory    `json:"category"` // for display
	Input    json.RawMessage `json:"input"`    // a JSON object
}

// ToolOutput is a piece of what a tool (or a setup command, CallID
// "setup-<number>") printed while it ran.
type ToolOutput struct {
	CallID string `json:"call_id"` // that of the ToolCall
	Text   string `json:"text"`    // valid UTF-8
}

// ToolState is how a tool call ended (Oz API, action_result).
type ToolState string

// States of a tool result.
const (
	ToolRunning   ToolState = "running"
	ToolCompleted ToolState = "completed"
	ToolFailed    ToolState = "failed"
	ToolDenied    ToolState = "denied"
)

// ToolResult ends a tool call.
type ToolResult struct {
	CallID   string       `json:"call_id"`  // that of the ToolCall
	Name     string       `json:"name"`     // as there
	Category ToolCategory `json:"category"` // as there
	State    ToolState    `json:"state"`    // never running
	// Content is exactly what the model was told.
	Content string `json:"content"`
	// Output is the structured form for display: exit_code, diff, path ...
	Output     json.RawMessage `json:"output,omitempty"`
	DurationMS int64           `json:"duration_ms,omitempty"` // milliseconds
}

// AgentSession says that a third party's agent keeps the conversation in a
// session of its own from here on, so that a later execution can resume it.
type AgentSession struct {
	Harness string `json:"harness"`           // the agent's program, such as "claude"
	ID      string `json:"id"`                // as the agent names its session
	Version string `json:"version,omitempty"` // of the agent's program
	// Inputs are the messages that the session was opened with, by number.
	Inputs []int64 `json:"inputs,omitempty"`
	// Told says that it was opened with the conversation so far, as text.
	Told bool `json:"told,omitempty"`
}

// Todo is one entry of the agent's task list.
type Todo struct {
	Title       string `json:"title"`                 // one line
	Description string `json:"description,omitempty"` // may be empty
	Done        bool   `json:"done,omitempty"`        // ticked off
}

// Todos replaces the agent's task list.
type Todos struct {
	Items []Todo `json:"items"` // in order
}

// UsageReport adds the cost of one model call to the run's usage.
type UsageReport struct {
	Category string     `json:"category"`           // "primary_agent", "conversation_compaction"
	Model    string     `json:"model"`              // as the provider names it
	Provider string     `json:"provider,omitempty"` // who answered
	Tokens   TokenCount `json:"tokens"`             // of this call
	Cost     CostUSD    `json:"cost_usd"`           // of this call, in dollars
	Priced   bool       `json:"priced"`             // false: the model has no known price
	Calls    int        `json:"calls"`              // usually 1; 0 when none was answered
	// WebSearches counts the searches that the provider made; their price is
	// not in Cost.
	WebSearches  int64   `json:"web_searches,omitempty"`
	WebSearchUSD float64 `json:"web_search_cost_usd,omitempty"`
	// Custom says that the endpoint was no model vendor's own.
	Custom bool `json:"custom_endpoint,omitempty"`
	// CallID names the reservation that the call had, which ends with this
	// report; empty when it had none.
	CallID string `json:"call_id,omitempty"`
}

// ArtifactReported adds an artifact to the run.
type ArtifactReported struct {
	Artifact Artifact `json:"artifact"` // whole
}

// EffectState is how far an outward effect is.
type EffectState string

// An effect is intended before it is done and settled (or failed) after.
const (
	EffectIntended EffectState = "intended"
	EffectSettled  EffectState = "settled"
	EffectFailed   EffectState = "failed"
)

// Effect records an act that reaches outside the sandbox (a push, a pull
// request, a comment), so that a restart can tell whether it was done.
type Effect struct {
	Key    string          `json:"key"`              // idempotency key, unique within the run
	Kind   string          `json:"kind"`             // "git_push" ...
	State  EffectState     `json:"state"`            // how far it is
	Detail json.RawMessage `json:"detail,omitempty"` // a JSON object, as the kind needs
}

// Compaction replaces the conversation up to event UpTo by a summary.
type Compaction struct {
	UpTo    int64  `json:"up_to"`   // an event number
	Summary string `json:"summary"` // what the model goes on from
}

// Notice tells the people watching something that is not the agent's word:
// a secret that could not be resolved, a retry, a limit that is near.
type Notice struct {
	Text string `json:"text"` // for people
	// Key names a note that a program in the run asked for, see
	// executor.Note; empty for all others.
	Key string `json:"key,omitempty"`
}

// Pruned stands at the begin of a log whose events up to Through were removed
// to save room, see Prune. Only the platform writes it.
type Pruned struct {
	Through int64 `json:"through"` // an event number
}

// ErrorReported is a fault that the execution met, mended or not.
type ErrorReported struct {
	Code    Code   `json:"code"`    // of the closed set
	Message string `json:"message"` // for people
	// Fatal says that the execution ends by it.
	Fatal bool `json:"fatal,omitempty"`
	// Provider is whose model gave no answer; "" for an error of another kind.
	Provider string `json:"provider,omitempty"`
}

// Type implements Payload.
func (*StateChanged) Type() EventType { return TypeState }

// Type implements Payload.
func (*Phase) Type() EventType { return TypePhase }

// Type implements Payload.
func (*Input) Type() EventType { return TypeInput }

// Type implements Payload.
func (*Delivered) Type() EventType { return TypeDelivered }

// Type implements Payload.
func (*TurnStarted) Type() EventType { return TypeTurnStart }

// Type implements Payload.
func (*TurnEnded) Type() EventType { return TypeTurnEnd }

// Type implements Payload.
func (*Message) Type() EventType { return TypeMessage }

// Type implements Payload.
func (*Reasoning) Type() EventType { return TypeReasoning }

// Type implements Payload.
func (*ToolCall) Type() EventType { return TypeToolCall }

// Type implements Payload.
func (*ToolOutput) Type() EventType { return TypeToolOutput }

// Type implements Payload.
func (*ToolResult) Type() EventType { return TypeToolResult }

// Type implements Payload.
func (*Todos) Type() EventType { return TypeTodos }

// Type implements Payload.
func (*UsageReport) Type() EventType { return TypeUsage }

// Type implements Payload.
func (*ArtifactReported) Type() EventType { return TypeArtifact }

// Type implements Payload.
func (*Effect) Type() EventType { return TypeEffect }

// Type implements Payload.
func (*Compaction) Type() EventType { return TypeCompaction }

// Type implements Payload.
func (*Notice) Type() EventType { return TypeNotice }

// Type implements Payload.
func (*ErrorReported) Type() EventType { return TypeError }

// Type implements Payload.
func (*Pruned) Type() EventType { return TypePruned }

// Type implements Payload.
func (*SnapshotTaken) Type() EventType { return TypeSnapshot }

// Type implements Payload.
func (*Handoff) Type() EventType { return TypeHandoff }

// Type implements Payload.
func (*AgentSession) Type() EventType { return TypeAgent }

func (*StateChanged) platformOnly() bool     { return true }
func (*Input) platformOnly() bool            { return true }
func (*Phase) platformOnly() bool            { return false }
func (*Delivered) platformOnly() bool        { return false }
func (*TurnStarted) platformOnly() bool      { return false }
func (*TurnEnded) platformOnly() bool        { return false }
func (*Message) platformOnly() bool          { return false }
func (*Reasoning) platformOnly() bool        { return false }
func (*ToolCall) platformOnly() bool         { return false }
func (*ToolOutput) platformOnly() bool       { return false }
func (*ToolResult) platformOnly() bool       { return false }
func (*Todos) platformOnly() bool            { return false }
func (*UsageReport) platformOnly() bool      { return false }
func (*ArtifactReported) platformOnly() bool { return false }
func (*Effect) platformOnly() bool           { return false }
func (*Compaction) platformOnly() bool       { return false }
func (*Notice) platformOnly() bool           { return false }
func (*ErrorReported) platformOnly() bool    { return false }
func (*Pruned) platformOnly() bool           { return true }
func (*SnapshotTaken) platformOnly() bool    { return false }
func (*Handoff) platformOnly() bool          { return true }
func (*AgentSession) platformOnly() bool     { return false }

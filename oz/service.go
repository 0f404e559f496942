package oz

import (
	"context"
	"iter"

	"github.com/oz-platform/cloudagents/task"
)

// Service is what a program does with runs. The embedded Platform and the
// remote client both satisfy it, so that a program written against one works
// against the other. Safe for concurrent use.
//
// Methods fail with *task.Error: task.ErrNotFound also for runs that the
// caller may not see.
type Service interface {
	// Submit stores a run and returns it, QUEUED. The work happens later.
	Submit(ctx context.Context, r Request) (task.Task, error)
	// Get returns one run.
	Get(ctx context.Context, id task.ID) (task.Task, error)
	// List returns one page of the runs that the caller may see.
	List(ctx context.Context, q task.Query) (task.Page, error)
	// Cancel ends a run, see task.Cancel for when it cannot.
	Cancel(ctx context.Context, id task.ID) error
	// FollowUp sends a message to a run: it steers an active one and resumes
	// an ended one.
	FollowUp(ctx context.Context, id task.ID, m Message) error
	// Watch yields the run's events with numbers above after, first those in
	// the log, then new ones as they come, each once and in order. It ends
	// after the event that ended the run, or with ctx's error.
	Watch(ctx context.Context, id task.ID, after int64) iter.Seq2[task.Event, error]
}

// Request asks for a run (Oz API, RunAgentRequest).
type Request struct {
	// Prompt is what to do; needed unless there is a Skill. Here and in
	// Config.BasePrompt, <prompt:uid> (or <workflow:uid>) stands for a saved prompt
	// and <rule:uid> attaches a rule, as they are when the run is made. What does
	// not exist, or the caller may not see, is refused with task.CodeNotFound.
	Prompt string `json:"prompt,omitempty"`
	// Skill is a skill spec: name, repo:name or owner/repo:path.
	Skill string `json:"skill,omitempty"`
	Title string `json:"title,omitempty"` // default: made from the prompt
	// Config is how; what it leaves open comes from the environment and the defaults.
	Config task.Config `json:"config,omitzero"`
	// Team makes the run the team's: default true for a caller on exactly one team.
	Team *bool `json:"team,omitempty"`
	// AgentIdentityUID names the agent that carries it out.
	AgentIdentityUID string `json:"agent_identity_uid,omitempty"`
	// ConversationID goes on with that conversation.
	ConversationID string `json:"conversation_id,omitempty"`
	// Attachments are files for the agent, at most five.
	Attachments []AttachmentInput `json:"attachments,omitempty"`
	// ParentRunID makes it a child of that run.
	ParentRunID task.ID `json:"parent_run_id,omitempty"`
	// Interactive says that a person looks on.
	Interactive bool `json:"interactive,omitempty"`
	// Metadata is the caller's own, for filters.
	Metadata map[string]string `json:"metadata,omitempty"`
	// Mode is how the agent goes about it; default normal.
	Mode task.Mode `json:"mode,omitempty"`
	// OnBehalfOf names whom the caller acts for.
	OnBehalfOf string `json:"on_behalf_of,omitempty"`

	// Source says what made the run; default API. Not part of the wire body.
	Source task.Source `json:"-"`
	// IdempotencyKey makes repeats of the same request answer with the first
	// run; on the wire it is the Idempotency-Key header.
	IdempotencyKey string `json:"-"`
	// asWritten says that the prompt has words of others than the caller, such as
	// those of an event or of an agent: it refers to nothing.
	asWritten bool
	// own is the beginning of such a prompt that the caller did write.
	own string
	// referred says that its base prompt is that of a run, complete already.
	referred bool
}

// AttachmentInput is a file given with a prompt (Oz API, AttachmentInput).
type AttachmentInput struct {
	FileName string `json:"file_name"` // a base name
	MIMEType string `json:"mime_type"` // as in Content-Type
	Data     []byte `json:"data"`      // base64 on the wire
}

// Message is what a person sends to a run.
type Message struct {
	Text string    `json:"message,omitempty"` // blank only resumes
	Mode task.Mode `json:"mode,omitempty"`    // default normal
}

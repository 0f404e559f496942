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
	Prompt string      `json:"prompt,omitempty"`
	Skill  string      `json:"skill,omitempty"`
	Title  string      `json:"title,omitempty"` // default: made from the prompt
	Config task.Config `json:"config,omitzero"`
	// Team makes the run the team's: default true for a caller on exactly one team.
	Team             *bool             `json:"team,omitempty"`
	AgentIdentityUID string            `json:"agent_identity_uid,omitempty"`
	ConversationID   string            `json:"conversation_id,omitempty"`
	Attachments      []AttachmentInput `json:"attachments,omitempty"`
	ParentRunID      task.ID           `json:"parent_run_id,omitempty"`
	Interactive      bool              `json:"interactive,omitempty"`
	Metadata         map[string]string `json:"metadata,omitempty"`
	Mode             task.Mode         `json:"mode,omitempty"`
	OnBehalfOf       string            `json:"on_behalf_of,omitempty"`

	// Source says what made the run; default API. Not part of the wire body.
	Source task.Source `json:"-"`
	// IdempotencyKey makes repeats of the same request answer with the first
	// run; on the wire it is the Idempotency-Key header.
	IdempotencyKey string `json:"-"`
}

// AttachmentInput is a file given with a prompt (Oz API, AttachmentInput).
type AttachmentInput struct {
	FileName string `json:"file_name"`
	MIMEType string `json:"mime_type"`
	Data     []byte `json:"data"` // base64 on the wire
}

// Message is what a person sends to a run.
type Message struct {
	Text string    `json:"message,omitempty"`
	Mode task.Mode `json:"mode,omitempty"`
}

package oz

import (
	"context"
	"io"

	"github.com/oz-platform/cloudagents/oz/access"
	"github.com/oz-platform/cloudagents/task"
)

// TranscriptFormat is how a transcript is written.
type TranscriptFormat string

// The formats: every event of the log as a line of JSON, or the conversation
// for people to read.
const (
	TranscriptJSONLines TranscriptFormat = "jsonl"
	TranscriptMarkdown  TranscriptFormat = "markdown"
)

// Conversation gives the normalised view of a run's log. A conversation has
// the ID of the run that began it, so this finds it by either.
func (c *Client) Conversation(ctx context.Context, id task.ID) (task.Conversation, error) {
	t, err := c.run(ctx, id, access.RunView)
	if err != nil {
		return task.Conversation{}, err
	}
	return c.p.conversation(ctx, t)
}

func (p *Platform) conversation(ctx context.Context, t task.Task) (task.Conversation, error) {
	var events []task.Event
	for e, err := range p.history(ctx, t.ID) {
		if err != nil {
			return task.Conversation{}, err
		}
		switch e.Payload.(type) {
		case *task.ToolOutput, *task.Reasoning, *task.UsageReport:
			// the bulk of a log, and no part of the conversation
		default:
			events = append(events, e)
		}
	}
	return task.NewConversation(t, events), nil
}

// CheckTranscript fails as Transcript would, before anything is written or a
// link is given. It stands in the audit log as the download.
func (c *Client) CheckTranscript(ctx context.Context, id task.ID) error {
	t, err := c.run(ctx, id, access.RunView)
	if err != nil {
		return err
	}
	return c.noted(ctx, downloadOf(t, "transcript", string(id)))
}

// downloadOf is the giving of data of a run, or of a link to it.
func downloadOf(t task.Task, kind, id string) deed {
	return deed{action: access.RunView, kind: kind, id: id, owner: t.Owner, details: map[string]string{"act": "download", "run": string(t.ID)}}
}

// Transcript writes a run's log to w, as JSON lines by default. It fails with
// task.CodeInvalidRequest for a format that it does not know; after another
// error w has a part.
func (c *Client) Transcript(ctx context.Context, id task.ID, w io.Writer, format TranscriptFormat) error {
	t, err := c.run(ctx, id, access.RunView)
	if err != nil {
		return err
	}
	if err := c.noted(ctx, downloadOf(t, "transcript", string(id))); err != nil {
		return err
	}
	switch format {
	case "", TranscriptJSONLines:
		return c.p.writeLog(ctx, id, w)
	case TranscriptMarkdown:
		conversation, err := c.p.conversation(ctx, t)
		if err != nil {
			return err
		}
		return conversation.WriteMarkdown(w, t.Title)
	}
	return task.Invalid("format", "%q is neither jsonl nor markdown", string(format))
}

// writeLog writes page by page, however long the log is.
func (p *Platform) writeLog(ctx context.Context, id task.ID, w io.Writer) error {
	var one [1]task.Event
	for e, err := range p.history(ctx, id) {
		if err != nil {
			return err
		}
		one[0] = e
		if err := task.WriteTranscript(w, one[:]); err != nil {
			return err
		}
	}
	return nil
}

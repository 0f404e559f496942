package oz

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/google/uuid"

	"github.com/oz-platform/cloudagents/oz/access"
	"github.com/oz-platform/cloudagents/task"
)

// maxHandoff bounds what a run is told of the conversation that it goes on
// with, in bytes: about a quarter of a small model's context.
const maxHandoff = 128 << 10

// continued gives the run whose conversation a request goes on with, and what
// the agent is told of it. A conversation is called like the run that began it.
func (c *Client) continued(ctx context.Context, conversationID string) (task.ID, *task.Handoff, error) {
	if conversationID == "" {
		return "", nil, nil
	}
	t, err := c.run(ctx, task.ID(conversationID), access.RunView)
	if errors.Is(err, task.ErrNotFound) {
		return "", nil, &task.Error{Code: task.CodeNotFound, Field: "conversation_id", Message: "there is no such conversation that you may see", Err: err}
	}
	if err != nil {
		return "", nil, err
	}
	if t.State.Active() {
		return "", nil, &task.Error{Code: task.CodeInvalidRequest, Field: "conversation_id",
			Message: "this conversation's run is " + string(t.State) + ": send it the message as a follow-up, or wait for its end"}
	}
	text, err := c.p.handoffText(ctx, t)
	if err != nil {
		return "", nil, err
	}
	return t.ID, &task.Handoff{From: t.ID, Text: text}, nil
}

// handoffText renders a conversation for the agent that goes on with it. Of a
// long one the end counts most.
func (p *Platform) handoffText(ctx context.Context, t task.Task) (string, error) {
	conversation, err := p.conversation(ctx, t)
	if err != nil {
		return "", fmt.Errorf("read conversation %s: %w", t.ID, err)
	}
	var b strings.Builder
	if err := conversation.WriteMarkdown(&b, t.Title); err != nil {
		return "", err
	}
	text := b.String()
	if len(text) <= maxHandoff {
		return text, nil
	}
	start := len(text) - maxHandoff
	for start < len(text) && !utf8.RuneStart(text[start]) {
		start++
	}
	return "(the begin of the conversation is left out)\n\n" + text[start:], nil
}

// LiveSession gives the session in which a conversation's run is at work; ""
// when there is none, also for an unknown conversation (Oz API, redirects). A
// session has the ID of its execution.
func (p *Platform) LiveSession(ctx context.Context, conversationID string) (string, error) {
	t, err := p.store.Get(ctx, task.ID(conversationID))
	if err != nil || t.State != task.StateInProgress {
		return "", unlessMissing(err)
	}
	return string(t.Execution), nil
}

// EndedSession gives the conversation of a session whose sandbox is gone; ""
// before, and for an unknown session.
func (p *Platform) EndedSession(ctx context.Context, sessionID string) (string, error) {
	e, err := p.store.Execution(ctx, task.ExecutionID(sessionID))
	if err != nil || e.Live() || !e.SandboxGone && !e.BegunAt.IsZero() {
		return "", unlessMissing(err)
	}
	t, err := p.store.Get(ctx, e.TaskID)
	return t.ConversationID, unlessMissing(err)
}

func unlessMissing(err error) error {
	if errors.Is(err, task.ErrNotFound) {
		return nil
	}
	return err
}

// FileInput is a file that a person gives to a run.
type FileInput struct {
	Name        string // a base name
	Description string // for people
	MIMEType    string // default: found from the content
	Content     io.Reader
}

// AddFile makes a file an artifact of a run. It fails with
// task.CodeInvalidRequest for a file above Options.MaxUploadBytes.
func (c *Client) AddFile(ctx context.Context, id task.ID, in FileInput) (task.Artifact, error) {
	if _, err := c.run(ctx, id, access.RunSteer); err != nil {
		return task.Artifact{}, err
	}
	if err := in.check(); err != nil {
		return task.Artifact{}, err
	}
	if c.p.opts.Blobs == nil {
		return task.Artifact{}, notBuilt("artifact", "a store for files", "give a link instead")
	}
	a := task.Artifact{UID: uuid.NewString(), Type: task.ArtifactFile, Path: in.Name, Description: in.Description}
	a.Blob = blobKey(id, a.UID)
	head := &sniffer{}
	limit := c.p.opts.MaxUploadBytes
	size, err := c.p.opts.Blobs.PutBlob(ctx, a.Blob, &boundedReader{r: io.TeeReader(in.Content, head), left: limit, limit: limit})
	if err != nil {
		return task.Artifact{}, fmt.Errorf("store file: %w", err)
	}
	a.SizeBytes, a.MIMEType = size, cmp.Or(in.MIMEType, http.DetectContentType(head.first))
	if err = c.p.claimArtifact(ctx, id, a); err == nil {
		_, err = c.p.store.Do(ctx, id, task.AddArtifact{By: c.caller.Principal, Artifact: a})
	}
	if err == nil {
		return a, nil
	}
	_ = c.p.opts.Blobs.DeleteBlob(context.WithoutCancel(ctx), a.Blob) // no run came to own it
	return task.Artifact{}, err
}

func (in FileInput) check() error {
	if in.Name == "" || in.Name == "." || in.Name == ".." || strings.ContainsAny(in.Name, "/\\") {
		return task.Invalid("filename", "must be the plain name of a file, without a directory")
	}
	if err := checkLine("filename", in.Name, maxFileName); err != nil {
		return err
	}
	if err := checkLine("mime_type", in.MIMEType, maxName); err != nil {
		return err
	}
	return checkLine("description", in.Description, maxTitle)
}

// sniffer keeps what http.DetectContentType looks at.
type sniffer struct{ first []byte }

func (s *sniffer) Write(p []byte) (int, error) {
	const sniffed = 512
	if room := sniffed - len(s.first); room > 0 {
		s.first = append(s.first, p[:min(room, len(p))]...)
	}
	return len(p), nil
}

// PlanVersions lists the versions of the plan that an artifact is of, newest
// first. It fails with task.CodeOperationNotSupported for other artifacts.
func (c *Client) PlanVersions(ctx context.Context, uid string) ([]task.Artifact, error) {
	a, id, err := c.Artifact(ctx, uid)
	if err != nil {
		return nil, err
	}
	if a.Type != task.ArtifactPlan {
		return nil, task.Errorf(task.CodeOperationNotSupported, "only plans have versions; this is a %s", a.Type)
	}
	t, err := c.run(ctx, id, access.RunView)
	if err != nil {
		return nil, err
	}
	var versions []task.Artifact
	for _, v := range t.Artifacts {
		if v.Type == task.ArtifactPlan && v.Document() == a.Document() {
			versions = append(versions, v)
		}
	}
	slices.Reverse(versions)
	return versions, nil
}

package client

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"

	"github.com/oz-platform/cloudagents/oz"
	"github.com/oz-platform/cloudagents/task"
	"github.com/oz-platform/cloudagents/transport/api"
)

// HandoffFile is a file that a run's newest ended execution left behind (Oz
// API, HandoffAttachment).
type HandoffFile struct {
	ID, Name, MIMEType string
	// URL is where the file can be fetched without a key, for a limited time.
	// It is as good as the file itself: do not log it.
	URL string
}

// HandoffFiles lists what a run left behind, to go on with it elsewhere.
func (c *Client) HandoffFiles(ctx context.Context, id task.ID) ([]HandoffFile, error) {
	if err := checkID("run id", string(id)); err != nil {
		return nil, err
	}
	answer, err := decode[api.HandoffAttachments](c.raw.ListHandoffAttachments(ctx, string(id)))
	if err != nil {
		return nil, err
	}
	files := make([]HandoffFile, len(answer.Attachments))
	for i, a := range answer.Attachments {
		files[i] = HandoffFile{ID: a.AttachmentId, Name: a.Filename, MIMEType: a.MimeType, URL: a.DownloadUrl}
	}
	return files, nil
}

// DownloadHandoffFile writes a file of HandoffFiles to w.
func (c *Client) DownloadHandoffFile(ctx context.Context, f HandoffFile, w io.Writer) error {
	return c.follow(ctx, f.ID, f.URL, w)
}

// AddFile makes a file an artifact of a run, and gives the artifact's uid.
// What in.Content gives is kept in a temporary file until the server has it,
// unless it is a file itself.
func (c *Client) AddFile(ctx context.Context, id task.ID, in oz.FileInput) (uid string, err error) {
	if err := checkID("run id", string(id)); err != nil {
		return "", err
	}
	file, remove, err := spool(in.Content)
	if err != nil {
		return "", fmt.Errorf("read %s: %w", in.Name, err)
	}
	defer remove()
	params := url.Values{"filename": {in.Name}}
	if in.Description != "" {
		params.Set("description", in.Description)
	}
	if in.MIMEType != "" {
		params.Set("mime_type", in.MIMEType)
	}
	answer, err := decode[api.CreatedArtifact](c.files.CreateArtifactWithBody(ctx, string(id), &api.CreateArtifactParams{Filename: in.Name},
		"application/octet-stream", http.NoBody, query(params), replay(file)))
	return answer.ArtifactUid, err
}

// PlanVersion is one version of a plan.
type PlanVersion struct {
	Version   int // 1, 2, 3 ...
	CreatedAt time.Time
	Title     string
	Content   string // Markdown
}

// PlanVersions lists the versions of a plan, newest first.
func (c *Client) PlanVersions(ctx context.Context, uid string) ([]PlanVersion, error) {
	if err := checkID("artifact uid", uid); err != nil {
		return nil, err
	}
	answer, err := decode[api.ListPlanVersionsResponse](c.raw.ListPlanVersions(ctx, uid))
	if err != nil {
		return nil, err
	}
	versions := make([]PlanVersion, len(answer.Versions))
	for i, v := range answer.Versions {
		versions[i] = PlanVersion{Version: v.Version, CreatedAt: v.CreatedAt, Title: v.Title, Content: v.Content}
	}
	return versions, nil
}

// LiveSession gives the session in which a conversation's run is at work; ""
// when there is none.
func (c *Client) LiveSession(ctx context.Context, conversationID string) (string, error) {
	if err := checkID("conversation id", conversationID); err != nil {
		return "", err
	}
	answer, err := decode[api.ConversationRedirect](c.raw.GetConversationRedirect(ctx, conversationID))
	return answer.SessionId, err
}

// EndedSession gives the conversation of a session whose sandbox is gone; ""
// before.
func (c *Client) EndedSession(ctx context.Context, sessionID string) (string, error) {
	if err := checkID("session id", sessionID); err != nil {
		return "", err
	}
	answer, err := decode[api.SessionRedirect](c.raw.GetSessionRedirect(ctx, sessionID))
	return answer.ConversationId, err
}

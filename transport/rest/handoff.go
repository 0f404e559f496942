package rest

import (
	"context"
	"io"
	"net/http"
	"net/url"

	"github.com/oz-platform/cloudagents/oz"
	"github.com/oz-platform/cloudagents/oz/access"
	"github.com/oz-platform/cloudagents/task"
	"github.com/oz-platform/cloudagents/transport/api"
)

// linkSnapshot is the kind of link to a file of a snapshot.
const linkSnapshot = "snapshot"

// ListHandoffAttachments implements GET /agent/runs/{runId}/handoff/attachments.
func (o operations) ListHandoffAttachments(ctx context.Context, r api.ListHandoffAttachmentsRequestObject) (api.ListHandoffAttachmentsResponseObject, error) {
	c := callOf(ctx)
	files, err := c.client.HandoffFiles(ctx, task.ID(r.RunId))
	if err != nil {
		return nil, err
	}
	answer := api.ListHandoffAttachments200JSONResponse{Attachments: []api.HandoffAttachment{}}
	for _, f := range files {
		path := "/oz/downloads/snapshots/" + url.PathEscape(r.RunId) + "/" + url.PathEscape(f.UID)
		target, _ := o.Handler.link(path, url.Values{}, linkSnapshot, r.RunId, f.UID)
		answer.Attachments = append(answer.Attachments, api.HandoffAttachment{AttachmentId: f.UID, Filename: f.Name,
			DownloadUrl: o.absolute(c.request, target), MimeType: f.MIMEType})
	}
	return answer, nil
}

// DownloadSnapshotFile implements GET /oz/downloads/snapshots/{runId}/{attachmentId}:
// the signature stands for the access that its maker had.
func (o operations) DownloadSnapshotFile(ctx context.Context, r api.DownloadSnapshotFileRequestObject) (api.DownloadSnapshotFileResponseObject, error) {
	if err := o.links.check(r.Params.Expires, r.Params.Signature, linkSnapshot, r.RunId, r.AttachmentId); err != nil {
		return nil, err
	}
	f, blob, err := o.platform.As(access.System()).OpenHandoffFile(ctx, task.ID(r.RunId), r.AttachmentId)
	if err != nil {
		return nil, err
	}
	return snapshotDownload{download{artifact: task.Artifact{Path: f.Name, MIMEType: f.MIMEType}, blob: blob, request: callOf(ctx).request}}, nil
}

// snapshotDownload sends a file of a snapshot as any other file of an agent.
type snapshotDownload struct{ download }

// VisitDownloadSnapshotFileResponse implements api.DownloadSnapshotFileResponseObject.
func (d snapshotDownload) VisitDownloadSnapshotFileResponse(w http.ResponseWriter) error {
	return d.VisitDownloadArtifactResponse(w)
}

// OpenExecutionBlob implements GET /oz/executions/current/blobs.
func (o operations) OpenExecutionBlob(ctx context.Context, r api.OpenExecutionBlobRequestObject) (api.OpenExecutionBlobResponseObject, error) {
	link, err := o.link(ctx)
	if err != nil {
		return nil, err
	}
	blob, err := link.OpenBlob(ctx, r.Params.Key)
	if err != nil {
		return nil, err
	}
	return api.OpenExecutionBlob200ApplicationoctetStreamResponse{Body: blob, ContentLength: sizeOf(blob)}, nil
}

// sizeOf tells the length of a blob, so that the receiver knows a whole file
// from one that was cut off; 0 when it cannot be told.
func sizeOf(blob io.Reader) int64 {
	s, ok := blob.(io.Seeker)
	if !ok {
		return 0
	}
	end, err := s.Seek(0, io.SeekEnd)
	if _, back := s.Seek(0, io.SeekStart); err != nil || back != nil {
		return 0
	}
	return end
}

// GetConversationRedirect implements GET /agent/conversations/{conversationId}/redirect.
func (o operations) GetConversationRedirect(ctx context.Context, r api.GetConversationRedirectRequestObject) (api.GetConversationRedirectResponseObject, error) {
	session, err := o.platform.LiveSession(ctx, r.ConversationId)
	return api.GetConversationRedirect200JSONResponse{SessionId: session}, err
}

// GetSessionRedirect implements GET /agent/sessions/{sessionUuid}/redirect.
func (o operations) GetSessionRedirect(ctx context.Context, r api.GetSessionRedirectRequestObject) (api.GetSessionRedirectResponseObject, error) {
	conversation, err := o.platform.EndedSession(ctx, r.SessionUuid)
	return api.GetSessionRedirect200JSONResponse{ConversationId: conversation}, err
}

// CreateArtifact implements POST /oz/runs/{runId}/artifacts.
func (o operations) CreateArtifact(ctx context.Context, r api.CreateArtifactRequestObject) (api.CreateArtifactResponseObject, error) {
	a, err := callOf(ctx).client.AddFile(ctx, task.ID(r.RunId), oz.FileInput{
		Name: r.Params.Filename, Description: r.Params.Description, MIMEType: r.Params.MimeType, Content: r.Body})
	if err != nil {
		return nil, err
	}
	return api.CreateArtifact201JSONResponse{ArtifactUid: a.UID}, nil
}

// maxVersionBytes bounds the texts of one answer: older versions that do not
// fit are left out. The newest is always there.
const maxVersionBytes = 16 << 20

// ListPlanVersions implements GET /oz/artifacts/{artifactUid}/versions.
func (o operations) ListPlanVersions(ctx context.Context, r api.ListPlanVersionsRequestObject) (api.ListPlanVersionsResponseObject, error) {
	c := callOf(ctx)
	versions, err := c.client.PlanVersions(ctx, r.ArtifactUid)
	if err != nil {
		return nil, err
	}
	answer, left := api.ListPlanVersions200JSONResponse{Versions: []api.PlanVersion{}}, maxVersionBytes
	for i, a := range versions {
		text, err := planText(ctx, c, a)
		if err != nil {
			return nil, err
		}
		if left -= len(text); left < 0 && i > 0 {
			break
		}
		answer.Versions = append(answer.Versions, api.PlanVersion{Version: len(versions) - i, CreatedAt: a.CreatedAt.UTC(), Title: a.Title, Content: text})
	}
	return answer, nil
}

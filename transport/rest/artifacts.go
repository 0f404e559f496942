package rest

import (
	"context"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/oz-platform/cloudagents/oz/access"
	"github.com/oz-platform/cloudagents/task"
	"github.com/oz-platform/cloudagents/transport/api"
	"github.com/oz-platform/cloudagents/transport/internal/wire"
)

// maxPlanBytes bounds a plan's text in an answer.
const maxPlanBytes = 4 << 20

// GetArtifact implements GET /agent/artifacts/{artifactUid}.
func (o operations) GetArtifact(ctx context.Context, r api.GetArtifactRequestObject) (api.GetArtifactResponseObject, error) {
	c := callOf(ctx)
	a, _, err := c.client.Artifact(ctx, r.ArtifactUid)
	if err != nil {
		return nil, err
	}
	if a.Type == task.ArtifactScreenshot || a.Type == task.ArtifactFile {
		if a, err = c.client.CheckDownload(ctx, a.UID); err != nil {
			return nil, err
		}
	}
	var answer api.ArtifactResponse
	switch a.Type {
	case task.ArtifactPlan:
		err = o.plan(ctx, c, a, &answer)
	case task.ArtifactScreenshot:
		v := api.ScreenshotArtifact{ArtifactUid: a.UID, CreatedAt: a.CreatedAt.UTC()}
		target, expires := o.artifactLink(a)
		v.Data.DownloadUrl, v.Data.ExpiresAt = o.absolute(c.request, target), expires
		v.Data.ContentType, v.Data.Description = contentType(a), a.Description
		err = answer.FromScreenshotArtifact(v)
	case task.ArtifactFile:
		v := api.FileArtifact{ArtifactUid: a.UID, CreatedAt: a.CreatedAt.UTC()}
		target, expires := o.artifactLink(a)
		v.Data.DownloadUrl, v.Data.ExpiresAt = o.absolute(c.request, target), expires
		v.Data.ContentType, v.Data.Filename, v.Data.Filepath = contentType(a), wire.FileName(a), a.Path
		v.Data.Description, v.Data.Title, v.Data.SizeBytes = a.Description, a.Title, &a.SizeBytes
		err = answer.FromFileArtifact(v)
	default:
		err = task.Errorf(task.CodeNotFound, "an artifact of type %s has nothing to fetch; the run shows all of it", a.Type)
	}
	if err != nil {
		return nil, err
	}
	return artifactAnswer{answer}, nil
}

// artifactAnswer writes the union as it is; the generated type around it has
// lost its encoding.
type artifactAnswer struct{ api.ArtifactResponse }

// VisitGetArtifactResponse implements api.GetArtifactResponseObject.
func (a artifactAnswer) VisitGetArtifactResponse(w http.ResponseWriter) error {
	body, err := a.MarshalJSON()
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/json")
	_, err = w.Write(body)
	return err
}

// plan answers with the plan's text itself.
func (o operations) plan(ctx context.Context, c *call, a task.Artifact, answer *api.ArtifactResponse) error {
	text, err := planText(ctx, c, a)
	if err != nil {
		return err
	}
	v := api.PlanArtifact{ArtifactUid: a.UID, CreatedAt: a.CreatedAt.UTC()}
	v.Data.DocumentUid, v.Data.NotebookUid = a.Document(), a.Document()
	v.Data.Content, v.Data.ContentType, v.Data.Title, v.Data.Url = text, "text/markdown", a.Title, a.URL
	return answer.FromPlanArtifact(v)
}

func planText(ctx context.Context, c *call, a task.Artifact) (string, error) {
	blob, err := c.client.OpenBlob(ctx, a)
	if err != nil {
		return "", err
	}
	defer func() { _ = blob.Close() }()
	text, err := io.ReadAll(io.LimitReader(blob, maxPlanBytes+1))
	if err != nil {
		return "", fmt.Errorf("read plan %s: %w", a.UID, err)
	}
	if len(text) > maxPlanBytes || !utf8.Valid(text) {
		return "", task.Errorf(task.CodeOperationNotSupported, "the plan is no text of at most %d bytes", maxPlanBytes)
	}
	return string(text), nil
}

// contentType is what the artifact is served as.
func contentType(a task.Artifact) string {
	if _, _, err := mime.ParseMediaType(a.MIMEType); a.MIMEType == "" || err != nil {
		return "application/octet-stream"
	}
	return a.MIMEType
}

// DownloadArtifact implements GET /oz/downloads/artifacts/{artifactUid}: the
// signature stands for the access that its maker had.
func (o operations) DownloadArtifact(ctx context.Context, r api.DownloadArtifactRequestObject) (api.DownloadArtifactResponseObject, error) {
	if err := o.links.check(r.Params.Expires, r.Params.Signature, linkArtifact, r.ArtifactUid); err != nil {
		return nil, err
	}
	client := o.platform.As(access.System())
	a, _, err := client.Artifact(ctx, r.ArtifactUid)
	if err != nil {
		return nil, err
	}
	blob, err := client.OpenBlob(ctx, a)
	if err != nil {
		return nil, err
	}
	return download{artifact: a, blob: blob, request: callOf(ctx).request}, nil
}

// artifactLink gives the signed path of an artifact's file.
func (h *Handler) artifactLink(a task.Artifact) (target string, expires time.Time) {
	return h.link("/oz/downloads/artifacts/"+url.PathEscape(a.UID), url.Values{}, linkArtifact, a.UID)
}

// download sends a file that an agent made. It is never rendered as part of
// this origin: agents write what strangers tell them to.
type download struct {
	artifact task.Artifact
	blob     io.ReadSeekCloser
	request  *http.Request
}

// VisitDownloadArtifactResponse implements api.DownloadArtifactResponseObject.
func (d download) VisitDownloadArtifactResponse(w http.ResponseWriter) error {
	defer func() { _ = d.blob.Close() }()
	media := contentType(d.artifact)
	disposition := "attachment"
	if strings.HasPrefix(media, "image/") && !strings.Contains(media, "svg") {
		disposition = "inline"
	}
	head := w.Header()
	head.Set("Content-Type", media)
	head.Set("Content-Security-Policy", "sandbox; default-src 'none'")
	head.Set("Content-Disposition", mime.FormatMediaType(disposition, map[string]string{"filename": wire.FileName(d.artifact)}))
	http.ServeContent(w, d.request, "", d.artifact.CreatedAt, d.blob)
	return nil
}

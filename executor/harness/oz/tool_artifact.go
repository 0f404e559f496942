package ozagent

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"os"
	"path/filepath"
	"strings"

	"github.com/google/uuid"

	"github.com/oz-platform/cloudagents/internal/crashpoint"
	"github.com/oz-platform/cloudagents/task"
)

// maxArtifactBytes bounds one uploaded file.
const maxArtifactBytes = 100 << 20

type reportArtifactInput struct {
	Type          string `json:"type"`
	Path          string `json:"path"`
	URL           string `json:"url"`
	Branch        string `json:"branch"`
	ReferenceType string `json:"reference_type"`
	Title         string `json:"title"`
	Description   string `json:"description"`
}

func reportArtifactTool() tool {
	return define(tool{
		name: "report_artifact", category: task.CategoryDocuments, repeatable: true,
		description: "Hand over a result: a file of the workspace (type file, path), a pull request that exists (type pull_request, url, branch) or something else outside (type reference, url, reference_type). git_push reports its branch by itself.",
		schema: `{"type":"object","properties":{
			"type":{"type":"string","enum":["file","pull_request","reference"]},
			"path":{"type":"string"},"url":{"type":"string"},"branch":{"type":"string"},
			"reference_type":{"type":"string"},"title":{"type":"string"},"description":{"type":"string"}},
			"required":["type"]}`,
	}, reportArtifact)
}

func reportArtifact(ctx context.Context, a *agent, _ *toolCall, in reportArtifactInput) (result, error) {
	art := task.Artifact{URL: in.URL, Title: in.Title, Description: in.Description}
	switch in.Type {
	case "file":
		return a.reportFile(ctx, in, art)
	case "pull_request":
		art.Type, art.Branch = task.ArtifactPullRequest, in.Branch
		art.UID = a.artifactUID("pull_request", in.URL)
	case "reference":
		art.Type, art.ReferenceType = task.ArtifactReference, in.ReferenceType
		art.UID = a.artifactUID("reference", in.ReferenceType, in.URL)
	default:
		return result{}, badInput("type must be file, pull_request or reference")
	}
	if err := a.reportOnce(ctx, art); err != nil {
		return result{}, err
	}
	return resultOK("Reported.", map[string]any{"artifact_uid": art.UID}), nil
}

// artifactUID is the same for the same thing in the same run, so that
// reporting it again changes nothing.
func (a *agent) artifactUID(parts ...string) string {
	name := strings.Join(append([]string{string(a.s.Task.ID)}, parts...), "\x00")
	return uuid.NewSHA1(uuid.NameSpaceOID, []byte(name)).String()
}

// reportOnce puts an artifact into the log unless it is there.
func (a *agent) reportOnce(ctx context.Context, art task.Artifact) error {
	if names := a.s.Redactor.Contains([]byte(art.URL + "\n" + art.Path + "\n" + art.Branch)); len(names) > 0 {
		return deny("The artifact's address contains the secret %s; it was not reported.", strings.Join(names, ", "))
	}
	if err := art.Validate(); err != nil {
		return badInput("%v", err)
	}
	if a.conv.artifacts[art.UID] {
		return nil
	}
	art.Title, art.Description = a.s.Redactor.String(art.Title), a.s.Redactor.String(art.Description)
	if err := a.record(ctx, &task.ArtifactReported{Artifact: art}); err != nil {
		return err
	}
	crashpoint.Hit(crashpoint.AgentArtifact)
	return nil
}

func (a *agent) reportFile(ctx context.Context, in reportArtifactInput, art task.Artifact) (result, error) {
	rel, err := a.files.rel(in.Path)
	if err != nil {
		return result{}, err
	}
	f, err := a.files.root.Open(rel)
	if err != nil {
		return result{}, a.files.explain(in.Path, err)
	}
	defer func() { _ = f.Close() }() // only read
	sum, kind, err := a.inspect(in.Path, f)
	if err != nil {
		return result{}, err
	}
	art.Type, art.Path, art.MIMEType = task.ArtifactFile, in.Path, kind
	art.UID = a.artifactUID("file", rel, sum)
	if a.conv.artifacts[art.UID] {
		return resultOK("Reported before.", map[string]any{"artifact_uid": art.UID}), nil
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return result{}, err
	}
	art.Blob, art.SizeBytes, err = a.s.Link.Upload(ctx, art.UID, f)
	if err != nil {
		return result{}, uploadFailed(err)
	}
	if err := a.reportOnce(ctx, art); err != nil {
		return result{}, err
	}
	return resultOK(fmt.Sprintf("Uploaded %s (%d bytes).", in.Path, art.SizeBytes), map[string]any{"artifact_uid": art.UID, "path": in.Path}), nil
}

// uploadFailed tells the model what it could mend; a lost lease is not its business.
func uploadFailed(err error) error {
	var known *task.Error
	if errors.As(err, &known) && !errors.Is(err, task.ErrFenced) && !known.Code.Platform() {
		return refuse("The upload was refused: %v", known)
	}
	return fmt.Errorf("upload: %w", err)
}

// inspect checks a file to be uploaded and gives its hash and MIME type.
func (a *agent) inspect(path string, f *os.File) (sum, kind string, err error) {
	info, err := f.Stat()
	switch {
	case err != nil:
		return "", "", a.files.explain(path, err)
	case !info.Mode().IsRegular():
		return "", "", refuse("%s is not a regular file; pack a directory first.", path)
	case info.Size() > maxArtifactBytes:
		return "", "", refuse("%s has %d bytes, at most %d can be uploaded.", path, info.Size(), int64(maxArtifactBytes))
	}
	hash := sha256.New()
	var first bytes.Buffer
	names, err := a.s.Redactor.Scan(io.TeeReader(f, io.MultiWriter(hash, &headWriter{&first})))
	if err != nil {
		return "", "", a.files.explain(path, err)
	}
	if len(names) > 0 {
		return "", "", deny("%s contains the value of the secret %s; it was not uploaded.", path, strings.Join(names, ", "))
	}
	kind = mime.TypeByExtension(filepath.Ext(path))
	if kind == "" {
		kind = http.DetectContentType(first.Bytes())
	}
	return hex.EncodeToString(hash.Sum(nil)), kind, nil
}

// headWriter keeps what http.DetectContentType looks at.
type headWriter struct{ b *bytes.Buffer }

func (h *headWriter) Write(p []byte) (int, error) {
	const sniffed = 512
	if room := sniffed - h.b.Len(); room > 0 {
		h.b.Write(p[:min(room, len(p))])
	}
	return len(p), nil
}

// maxPlanBytes bounds a plan.
const maxPlanBytes = 256 << 10

func writePlanTool() tool {
	type input struct {
		Title    string `json:"title"`
		Markdown string `json:"markdown"`
	}
	return define(tool{
		name: "write_plan", category: task.CategoryDocuments, repeatable: true, when: inPlanMode,
		description: "Hand in the plan as a Markdown document.",
		schema:      `{"type":"object","properties":{"title":{"type":"string"},"markdown":{"type":"string"}},"required":["title","markdown"]}`,
	}, func(ctx context.Context, a *agent, _ *toolCall, in input) (result, error) {
		if strings.TrimSpace(in.Title) == "" || strings.TrimSpace(in.Markdown) == "" || len(in.Markdown) > maxPlanBytes {
			return result{}, badInput("title and markdown are needed; markdown has at most %d bytes", maxPlanBytes)
		}
		text := clean(a.s.Redactor.String(in.Markdown))
		art := task.Artifact{Type: task.ArtifactPlan, Title: in.Title, Path: "plan.md", MIMEType: "text/markdown; charset=utf-8",
			DocumentUID: "plan-" + string(a.s.Task.ID)} // a run has one plan, of which each call hands in a version
		art.UID = a.artifactUID("plan", in.Title, text)
		var err error
		if art.Blob, art.SizeBytes, err = a.s.Link.Upload(ctx, art.UID, strings.NewReader(text)); err != nil {
			return result{}, uploadFailed(err)
		}
		if err := a.reportOnce(ctx, art); err != nil {
			return result{}, err
		}
		return resultOK("The plan is handed in.", map[string]any{"artifact_uid": art.UID}), nil
	})
}

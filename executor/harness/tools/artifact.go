package tools

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"mime"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/oz-platform/cloudagents/executor/harness"
	"github.com/oz-platform/cloudagents/internal/crashpoint"
	"github.com/oz-platform/cloudagents/task"
)

// maxArtifactBytes bounds one uploaded file.
const maxArtifactBytes = 100 << 20

// reporter puts artifacts into the run's log, each once.
type reporter struct {
	s *harness.Session

	mu    sync.Mutex
	known map[string]bool // by uid
	read  int64           // log position up to which known is complete
}

func newReporter(s *harness.Session) *reporter { return &reporter{s: s, known: map[string]bool{}} }

// has reports whether the log has an artifact.
func (r *reporter) has(ctx context.Context, uid string) (bool, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for e, err := range r.s.Journal.History(ctx, r.read) {
		if err != nil {
			return false, fmt.Errorf("read artifacts: %w", err)
		}
		r.read = e.Seq
		if p, ok := e.Payload.(*task.ArtifactReported); ok {
			r.known[p.Artifact.UID] = true
		}
	}
	return r.known[uid], nil
}

// report puts an artifact into the log unless it is there.
func (r *reporter) report(ctx context.Context, art task.Artifact) error {
	if names := r.s.Redactor.Contains([]byte(art.URL + "\n" + art.Path + "\n" + art.Branch)); len(names) > 0 {
		return harness.Deny("The artifact's address contains the secret %s; it was not reported.", strings.Join(names, ", "))
	}
	art.Title, art.Description = clean(r.s, art.Title), clean(r.s, art.Description)
	if err := art.Validate(); err != nil {
		return harness.BadInput("%v", err)
	}
	if known, err := r.has(ctx, art.UID); known || err != nil {
		return err
	}
	if err := r.s.Journal.Post(ctx, &task.ArtifactReported{Artifact: art}); err != nil {
		return err
	}
	if err := r.s.Journal.Flush(ctx); err != nil {
		return err
	}
	crashpoint.Hit(crashpoint.AgentArtifact)
	return nil
}

type artifactInput struct {
	Type          string `json:"type"`
	Path          string `json:"path"`
	URL           string `json:"url"`
	Branch        string `json:"branch"`
	ReferenceType string `json:"reference_type"`
	Title         string `json:"title"`
	Description   string `json:"description"`
}

func reportArtifact(s *harness.Session, r *reporter) harness.Tool {
	return harness.DefineTool(harness.Tool{
		Name: NameReportArtifact, Category: task.CategoryDocuments, Repeatable: true,
		Description: "Hand over a result: a file of the workspace (type file, path), a pull request that exists (type pull_request, url, branch) or something else outside (type reference, url, reference_type). git_push, where you have it, reports its branch by itself.",
		Schema: `{"type":"object","properties":{
			"type":{"type":"string","enum":["file","pull_request","reference"]},
			"path":{"type":"string"},"url":{"type":"string"},"branch":{"type":"string"},
			"reference_type":{"type":"string"},"title":{"type":"string"},"description":{"type":"string"}},
			"required":["type"]}`,
	}, func(ctx context.Context, _ harness.ToolCall, in artifactInput) (harness.ToolAnswer, error) {
		art := task.Artifact{URL: in.URL, Title: in.Title, Description: in.Description}
		switch in.Type {
		case "file":
			return reportFile(ctx, s, r, in.Path, art)
		case "pull_request":
			art.Type, art.Branch = task.ArtifactPullRequest, in.Branch
			art.UID = uid(s, "pull_request", in.URL)
		case "reference":
			art.Type, art.ReferenceType = task.ArtifactReference, in.ReferenceType
			art.UID = uid(s, "reference", in.ReferenceType, in.URL)
		default:
			return harness.ToolAnswer{}, harness.BadInput("type must be file, pull_request or reference")
		}
		if err := r.report(ctx, art); err != nil {
			return harness.ToolAnswer{}, err
		}
		return harness.ToolAnswer{Text: "Reported.", Output: map[string]any{"artifact_uid": art.UID}}, nil
	})
}

func reportFile(ctx context.Context, s *harness.Session, r *reporter, path string, art task.Artifact) (harness.ToolAnswer, error) {
	f, rel, err := openInside(s, path)
	if err != nil {
		return harness.ToolAnswer{}, err
	}
	defer func() { _ = f.Close() }() // only read
	sum, kind, err := inspect(s, path, f)
	if err != nil {
		return harness.ToolAnswer{}, err
	}
	art.Type, art.Path, art.MIMEType = task.ArtifactFile, path, kind
	art.UID = uid(s, "file", rel, sum)
	known, err := r.has(ctx, art.UID)
	switch {
	case err != nil:
		return harness.ToolAnswer{}, err
	case known:
		return harness.ToolAnswer{Text: "Reported before.", Output: map[string]any{"artifact_uid": art.UID}}, nil
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return harness.ToolAnswer{}, err
	}
	if art.Blob, art.SizeBytes, err = s.Link.Upload(ctx, art.UID, f); err != nil {
		return harness.ToolAnswer{}, harness.RefusedBy("take the upload", err)
	}
	if err := r.report(ctx, art); err != nil {
		return harness.ToolAnswer{}, err
	}
	return harness.ToolAnswer{Text: fmt.Sprintf("Uploaded %s (%d bytes).", path, art.SizeBytes),
		Output: map[string]any{"artifact_uid": art.UID, "path": path}}, nil
}

// openInside opens a file of the workspace. No link leads out of it. Relative
// paths start at the working directory.
func openInside(s *harness.Session, path string) (f *os.File, rel string, err error) {
	if path == "" || strings.Contains(path, "\x00") {
		return nil, "", harness.BadInput("path is empty or contains a NUL character")
	}
	root, err := filepath.EvalSymlinks(s.Root)
	if err != nil {
		return nil, "", fmt.Errorf("workspace: %w", err)
	}
	abs := path
	if !filepath.IsAbs(abs) {
		abs = filepath.Join(s.Dir, path)
	}
	for _, top := range []string{root, s.Root} {
		if r, err := filepath.Rel(top, filepath.Clean(abs)); err == nil && filepath.IsLocal(r) {
			rel = r
			break
		}
	}
	if rel == "" {
		return nil, "", harness.Deny("%s is outside the workspace %s.", path, root)
	}
	dir, err := os.OpenRoot(root)
	if err != nil {
		return nil, "", fmt.Errorf("workspace: %w", err)
	}
	defer func() { _ = dir.Close() }() // the file has its own handle
	info, err := dir.Stat(rel)         // before it is opened: a pipe would block
	if err == nil && !info.Mode().IsRegular() {
		return nil, "", harness.Refuse("%s is not a regular file; pack a directory first.", path)
	}
	if err == nil {
		f, err = dir.Open(rel)
	}
	if err != nil {
		return nil, "", explainOpen(path, err)
	}
	return f, rel, nil
}

// explainOpen says to the model why a file could not be opened.
func explainOpen(path string, err error) error {
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return harness.Refuse("%s does not exist.", path)
	case strings.Contains(err.Error(), "escapes"): // os.Root has no error value for it
		return harness.Deny("%s leads out of the workspace by a link.", path)
	}
	var at *fs.PathError
	if errors.As(err, &at) {
		err = at.Err
	}
	return harness.Refuse("%s: %v.", path, err)
}

// inspect checks a file to be uploaded and gives its hash and MIME type.
func inspect(s *harness.Session, path string, f *os.File) (sum, kind string, err error) {
	info, err := f.Stat()
	switch {
	case err != nil:
		return "", "", explainOpen(path, err)
	case info.Size() > maxArtifactBytes:
		return "", "", harness.Refuse("%s has %d bytes, at most %d can be uploaded.", path, info.Size(), int64(maxArtifactBytes))
	}
	hash := sha256.New()
	var first bytes.Buffer
	names, err := s.Redactor.Scan(io.TeeReader(f, io.MultiWriter(hash, &headWriter{&first})))
	if err != nil {
		return "", "", explainOpen(path, err)
	}
	if len(names) > 0 {
		return "", "", harness.Deny("%s contains the value of the secret %s; it was not uploaded.", path, strings.Join(names, ", "))
	}
	if kind = mime.TypeByExtension(filepath.Ext(path)); kind == "" {
		kind = http.DetectContentType(first.Bytes())
	}
	return hex.EncodeToString(hash.Sum(nil)), kind, nil
}

// headWriter keeps what http.DetectContentType looks at.
type headWriter struct{ b *bytes.Buffer }

// Write implements io.Writer.
func (h *headWriter) Write(p []byte) (int, error) {
	const sniffed = 512
	if room := sniffed - h.b.Len(); room > 0 {
		h.b.Write(p[:min(room, len(p))])
	}
	return len(p), nil
}

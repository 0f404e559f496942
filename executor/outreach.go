package executor

import (
	"context"
	"encoding/json"
	"errors"
	"strings"

	"github.com/google/uuid"

	"github.com/oz-platform/cloudagents/task"
)

// Outreach is a Link whose platform takes word from programs around an agent
// that have no stream of events of their own ("oz harness-support"). Like all
// of a Link, its methods fail with task.ErrFenced once the execution has ended.
type Outreach interface {
	// ReportArtifact adds something that the run has made outside, and gives its
	// UID. What was reported before, by whomever in the run, is not added again.
	// It fails with task.ErrInvalid, and with task.CodeOperationNotSupported for
	// a run that has task.MaxArtifacts.
	ReportArtifact(ctx context.Context, r Report) (uid string, err error)
	// NotifyUser writes a note into the run's log, and says it where the run was
	// asked for. It fails with task.ErrInvalid, and with
	// task.CodeOperationNotSupported for a run that has MaxNotes.
	NotifyUser(ctx context.Context, n Note) error
}

// Limits of notes; ours.
const (
	MaxNoteBytes = 8 << 10 // of one
	MaxNotes     = 100     // per run
	MaxNoteKey   = 64      // bytes of Note.Key
)

// Report is something that a run has made outside (Oz API,
// ReportArtifactRequest).
type Report struct {
	// Type is task.ArtifactPullRequest or, ours, task.ArtifactReference.
	Type task.ArtifactType `json:"artifact_type"`
	Data ReportData        `json:"data"` // what it is
}

// ReportData says what was made.
type ReportData struct {
	// URL is absolute, without credentials, at most task.MaxReferenceURLBytes.
	URL string `json:"url"`
	// Branch is that of a pull request, which needs it.
	Branch string `json:"branch,omitempty"`
	// ReferenceType is what a reference is, such as LINEAR_ISSUE: 1 to
	// task.MaxReferenceType bytes. Title and Metadata, a JSON object, are for
	// references too, and may be empty.
	ReferenceType string          `json:"reference_type,omitempty"`
	Title         string          `json:"title,omitempty"`
	Metadata      json.RawMessage `json:"metadata,omitempty"`
}

// Artifact is what a report adds to a run. It fails with task.ErrInvalid.
func (r Report) Artifact(run task.ID) (task.Artifact, error) {
	d := r.Data
	a := task.Artifact{Type: r.Type, URL: d.URL, Branch: d.Branch, ReferenceType: d.ReferenceType, Title: d.Title, Metadata: d.Metadata}
	if string(d.Metadata) == "null" {
		a.Metadata = nil
	}
	switch r.Type {
	case task.ArtifactPullRequest:
		if d.ReferenceType != "" || d.Title != "" || len(a.Metadata) > 0 {
			return a, task.Invalid("data", "a pull request has url and branch only")
		}
		a.UID = ArtifactUID(run, "pull_request", d.URL)
	case task.ArtifactReference:
		if d.Branch != "" {
			return a, task.Invalid("data.branch", "is for a pull request")
		}
		a.UID = ArtifactUID(run, "reference", d.ReferenceType, d.URL)
	default:
		return a, task.Invalid("artifact_type", "%q is neither PULL_REQUEST nor EXTERNAL_REFERENCE; files are uploaded", string(r.Type))
	}
	for field, text := range map[string]string{"url": a.URL, "branch": a.Branch, "reference_type": a.ReferenceType, "title": a.Title} {
		if err := task.ValidateText(field, text); err != nil {
			return a, under("data", err)
		}
	}
	if err := a.Validate(); err != nil {
		return a, under("data", err)
	}
	return a, nil
}

// under puts the field of an error below another one.
func under(field string, err error) error {
	var e *task.Error
	if !errors.As(err, &e) {
		return task.Invalid(field, "%w", err)
	}
	below := *e
	below.Field = field + "." + e.Field
	return &below
}

// ArtifactUID names what a run has made by what it is, so that reporting it
// twice is known: the parts are its kind and whatever tells it apart.
func ArtifactUID(run task.ID, parts ...string) string {
	name := strings.Join(append([]string{string(run)}, parts...), "\x00")
	return uuid.NewSHA1(uuid.NameSpaceOID, []byte(name)).String()
}

// Note is something that a run's people should know before its end (Oz API,
// NotifyUserRequest).
type Note struct {
	// Message is Markdown: 1 to MaxNoteBytes.
	Message string `json:"message"`
	// Key names the note among the run's, so that saying it again says nothing:
	// at most MaxNoteKey of a-z, A-Z, 0-9, '.', '_' and '-'. Empty is a new one
	// each time. Ours.
	Key string `json:"key,omitempty"`
}

// Validate judges a note by itself. It fails with task.ErrInvalid.
func (n Note) Validate() error {
	switch {
	case strings.TrimSpace(n.Message) == "":
		return task.Invalid("message", "must not be empty")
	case len(n.Message) > MaxNoteBytes:
		return task.Invalid("message", "has %d bytes, at most %d are allowed", len(n.Message), MaxNoteBytes)
	case len(n.Key) > MaxNoteKey || strings.ContainsFunc(n.Key, func(c rune) bool { return c > 127 || !nameByte(byte(c)) && c != '.' && c != '_' }):
		return task.Invalid("key", "may have %d of a-z, A-Z, 0-9, '.', '_' and '-'", MaxNoteKey)
	}
	return task.ValidateText("message", n.Message)
}

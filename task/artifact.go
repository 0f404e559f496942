package task

import (
	"encoding/json"
	"net/url"
	"time"
	"unicode/utf8"
)

// ArtifactType is the kind of an artifact (Oz API, ArtifactItem).
type ArtifactType string

// Artifact types on the wire.
const (
	ArtifactPlan        ArtifactType = "PLAN"
	ArtifactPullRequest ArtifactType = "PULL_REQUEST"
	ArtifactScreenshot  ArtifactType = "SCREENSHOT"
	ArtifactFile        ArtifactType = "FILE"
	ArtifactReference   ArtifactType = "EXTERNAL_REFERENCE"
)

// Known reports whether t is one of the wire's types.
func (t ArtifactType) Known() bool {
	switch t {
	case ArtifactPlan, ArtifactPullRequest, ArtifactScreenshot, ArtifactFile, ArtifactReference:
		return true
	}
	return false
}

// ReferenceBranch is the ReferenceType of a pushed branch.
const ReferenceBranch = "git_branch"

// Limits of an artifact's fields (Oz platform, ART-1; MaxArtifacts is ours).
const (
	MaxArtifacts         = 200  // per run
	MaxReferenceURLBytes = 2048 // bytes
	MaxReferenceType     = 256  // bytes
	maxArtifactText      = 4096 // bytes of each other text: lists of runs hold them
	maxArtifactMetadata  = 64 << 10
)

// Artifact is something a run produced. Which fields are set depends on Type.
type Artifact struct {
	// UID names the artifact; it is also its idempotency key within the run:
	// reporting the same UID again changes nothing.
	UID       string       `json:"artifact_uid"`
	Type      ArtifactType `json:"artifact_type"` // never changes
	CreatedAt time.Time    `json:"created_at"`    // when it was reported

	// DocumentUID is the same for all versions of a plan; empty for a plan with
	// one.
	DocumentUID string `json:"document_uid,omitempty"`

	Title       string `json:"title,omitempty"`       // for people
	Description string `json:"description,omitempty"` // for people
	// URL and Branch are those of a pull request, or URL of a reference.
	URL           string          `json:"url,omitempty"`
	Branch        string          `json:"branch,omitempty"`
	ReferenceType string          `json:"reference_type,omitempty"` // of a reference, such as git_branch
	Metadata      json.RawMessage `json:"metadata,omitempty"`       // a JSON object
	// The file of FILE, SCREENSHOT and PLAN artifacts. Blob is its key in the
	// BlobStore.
	Path      string `json:"filepath,omitempty"`   // where it was in the workspace
	MIMEType  string `json:"mime_type,omitempty"`  // as in Content-Type
	SizeBytes int64  `json:"size_bytes,omitempty"` // of the file
	Blob      string `json:"blob,omitempty"`
}

// Document names the document that the artifact is a version of: itself, if
// there are no others.
func (a Artifact) Document() string {
	if a.DocumentUID != "" {
		return a.DocumentUID
	}
	return a.UID
}

// Validate checks an artifact as an execution reports it.
func (a Artifact) Validate() error {
	switch {
	case a.UID == "" || len(a.UID) > 64:
		return Invalid("artifact_uid", "must have 1 to 64 bytes")
	case !a.Type.Known():
		return Invalid("artifact_type", "%q is none of PLAN, PULL_REQUEST, SCREENSHOT, FILE, EXTERNAL_REFERENCE", string(a.Type))
	case len(a.Title) > maxArtifactText || len(a.Description) > maxArtifactText:
		return Invalid("title", "title and description may have %d bytes each", maxArtifactText)
	case max(len(a.URL), len(a.Branch), len(a.ReferenceType), len(a.Path), len(a.MIMEType), len(a.Blob), len(a.DocumentUID)) > maxArtifactText:
		return Invalid("artifact_uid", "no text of an artifact may have more than %d bytes", maxArtifactText)
	case len(a.Metadata) > maxArtifactMetadata:
		return Invalid("metadata", "has %d bytes, at most %d are allowed", len(a.Metadata), maxArtifactMetadata)
	case !utf8.ValidString(a.Title + a.Description + a.URL + a.Branch + a.Path):
		return Invalid("title", "must be valid UTF-8")
	}
	switch a.Type {
	case ArtifactPullRequest:
		return a.validatePullRequest()
	case ArtifactReference:
		return a.validateReference()
	}
	return nil
}

func (a Artifact) validatePullRequest() error {
	if a.Branch == "" {
		return Invalid("branch", "a pull request needs its branch")
	}
	return a.validateURL()
}

func (a Artifact) validateReference() error {
	if a.ReferenceType == "" || len(a.ReferenceType) > MaxReferenceType {
		return Invalid("reference_type", "must have 1 to %d bytes", MaxReferenceType)
	}
	if len(a.Metadata) > 0 {
		var object map[string]any
		if json.Unmarshal(a.Metadata, &object) != nil {
			return Invalid("metadata", "must be a JSON object")
		}
	}
	return a.validateURL()
}

func (a Artifact) validateURL() error {
	if a.URL == "" || len(a.URL) > MaxReferenceURLBytes {
		return Invalid("url", "must have 1 to %d bytes", MaxReferenceURLBytes)
	}
	u, err := url.Parse(a.URL)
	if err != nil || u.Scheme == "" {
		return Invalid("url", "must be an absolute URL")
	}
	if u.User != nil {
		return Invalid("url", "must not contain credentials")
	}
	return nil
}

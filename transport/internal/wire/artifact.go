package wire

import (
	"encoding/json"
	"fmt"
	"path"

	"github.com/oz-platform/cloudagents/task"
	"github.com/oz-platform/cloudagents/transport/api"
)

func artifactItems(artifacts []task.Artifact) ([]api.ArtifactItem, error) {
	items := make([]api.ArtifactItem, 0, len(artifacts))
	for _, a := range artifacts {
		item, err := artifactItem(a)
		if err != nil {
			return nil, fmt.Errorf("artifact %s: %w", a.UID, err)
		}
		items = append(items, item)
	}
	return items, nil
}

// artifactItem gives an artifact in the form of its type (Oz API, ArtifactItem).
func artifactItem(a task.Artifact) (item api.ArtifactItem, err error) {
	switch a.Type {
	case task.ArtifactPlan:
		return item, item.FromPlanItem(planItem(a))
	case task.ArtifactPullRequest:
		v := api.PullRequestItem{CreatedAt: a.CreatedAt.UTC()}
		v.Data.Url, v.Data.Branch = a.URL, a.Branch
		v.Data.ArtifactUid, v.Data.Title, v.Data.Description = a.UID, a.Title, a.Description
		return item, item.FromPullRequestItem(v)
	case task.ArtifactScreenshot:
		v := api.ScreenshotItem{CreatedAt: a.CreatedAt.UTC()}
		v.Data.ArtifactUid, v.Data.MimeType, v.Data.Description = a.UID, a.MIMEType, a.Description
		v.Data.Title, v.Data.Filepath, v.Data.SizeBytes = a.Title, a.Path, a.SizeBytes
		return item, item.FromScreenshotItem(v)
	case task.ArtifactFile:
		v := api.FileItem{CreatedAt: a.CreatedAt.UTC()}
		v.Data.ArtifactUid, v.Data.Filepath, v.Data.Filename, v.Data.MimeType = a.UID, a.Path, FileName(a), a.MIMEType
		v.Data.Description, v.Data.Title, v.Data.SizeBytes = a.Description, a.Title, &a.SizeBytes
		return item, item.FromFileItem(v)
	case task.ArtifactReference:
		v := api.ReferenceItem{CreatedAt: a.CreatedAt.UTC()}
		v.Data.ReferenceType, v.Data.Url, v.Data.Title, v.Data.Metadata = a.ReferenceType, a.URL, a.Title, a.Metadata
		v.Data.ArtifactUid, v.Data.Description, v.Data.Branch = a.UID, a.Description, a.Branch
		return item, item.FromReferenceItem(v)
	}
	return item, fmt.Errorf("unknown type %q", string(a.Type))
}

func planItem(a task.Artifact) api.PlanItem {
	v := api.PlanItem{CreatedAt: a.CreatedAt.UTC()}
	v.Data.DocumentUid, v.Data.NotebookUid, v.Data.ArtifactUid = a.Document(), a.Document(), a.UID
	v.Data.Title, v.Data.Url, v.Data.Description = a.Title, a.URL, a.Description
	v.Data.Filepath, v.Data.MimeType, v.Data.SizeBytes, v.Data.Metadata = a.Path, a.MIMEType, a.SizeBytes, a.Metadata
	return v
}

// ArtifactItem gives an artifact in the form of its type.
func ArtifactItem(a task.Artifact) (api.ArtifactItem, error) { return artifactItem(a) }

// ArtifactOf reads an artifact of a known type.
func ArtifactOf(item api.ArtifactItem) (task.Artifact, error) {
	list, err := artifactsOf([]api.ArtifactItem{item})
	if err != nil || len(list) == 0 {
		return task.Artifact{}, err
	}
	return list[0], nil
}

// FileName is what a downloaded artifact is called.
func FileName(a task.Artifact) string {
	if name := path.Base(a.Path); a.Path != "" && name != "/" && name != "." {
		return name
	}
	return a.UID
}

// artifactData is the union of the members of every kind of artifact.
type artifactData struct {
	ArtifactUID   string          `json:"artifact_uid"`
	DocumentUID   string          `json:"document_uid"`
	Title         string          `json:"title"`
	Description   string          `json:"description"`
	URL           string          `json:"url"`
	Branch        string          `json:"branch"`
	ReferenceType string          `json:"reference_type"`
	Metadata      json.RawMessage `json:"metadata"`
	Path          string          `json:"filepath"`
	MIMEType      string          `json:"mime_type"`
	SizeBytes     int64           `json:"size_bytes"`
}

// artifactsOf reads artifacts. Kinds that this version does not know are left
// out: a newer server may have more.
func artifactsOf(items []api.ArtifactItem) ([]task.Artifact, error) {
	var out []task.Artifact
	for i, item := range items {
		raw, err := item.MarshalJSON()
		if err != nil {
			return nil, fmt.Errorf("artifact %d: %w", i, err)
		}
		var v struct {
			task.Artifact
			Data artifactData `json:"data"`
		}
		if err := json.Unmarshal(raw, &v); err != nil {
			return nil, fmt.Errorf("artifact %d: %w", i, err)
		}
		if !v.Type.Known() {
			continue
		}
		d := v.Data
		if d.DocumentUID == d.ArtifactUID { // a plan with one version
			d.DocumentUID = ""
		}
		out = append(out, task.Artifact{UID: d.ArtifactUID, DocumentUID: d.DocumentUID, Type: v.Type, CreatedAt: v.CreatedAt,
			Title: d.Title, Description: d.Description, URL: d.URL, Branch: d.Branch, ReferenceType: d.ReferenceType,
			Metadata: d.Metadata, Path: d.Path, MIMEType: d.MIMEType, SizeBytes: d.SizeBytes})
	}
	return out, nil
}

package oz

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/oz-platform/cloudagents/oz/access"
	"github.com/oz-platform/cloudagents/task"
)

// kindArtifact are records that say which run an artifact belongs to: clients
// ask for artifacts by their UID alone.
const kindArtifact = "oz.artifact"

// blobKey is where the file of an artifact lies. A run reaches no other.
func blobKey(id task.ID, uid string) string { return fmt.Sprintf("artifacts/%s/%s", id, uid) }

// checkArtifactUID keeps UIDs fit for keys and URLs.
func checkArtifactUID(uid string) error {
	if !metadataKey(uid) || uid == "." || uid == ".." {
		return task.Invalid("artifact_uid", "must have 1 to 64 bytes of [a-zA-Z0-9._-]; a random UUID does")
	}
	return nil
}

// Artifact finds an artifact and the run that made it. It fails with
// task.ErrNotFound.
func (c *Client) Artifact(ctx context.Context, uid string) (task.Artifact, task.ID, error) {
	rec, err := c.p.store.Record(ctx, kindArtifact, uid)
	if err != nil && !errors.Is(err, task.ErrNotFound) {
		return task.Artifact{}, "", fmt.Errorf("find artifact: %w", err)
	}
	id := task.ID(rec.Data)
	t, err := c.run(ctx, id, access.RunView)
	if err != nil && !errors.Is(err, task.ErrNotFound) {
		return task.Artifact{}, "", err
	}
	i := slices.IndexFunc(t.Artifacts, func(a task.Artifact) bool { return a.UID == uid })
	if err != nil || i < 0 {
		return task.Artifact{}, "", task.Errorf(task.CodeNotFound, "artifact %q does not exist, or you may not see it", uid)
	}
	return t.Artifacts[i], id, nil
}

// CheckDownload finds an artifact whose file, or a link to it, is about to be
// given to the caller. It stands in the audit log as the download.
func (c *Client) CheckDownload(ctx context.Context, uid string) (task.Artifact, error) {
	a, id, err := c.Artifact(ctx, uid)
	if err != nil {
		return task.Artifact{}, err
	}
	t, err := c.p.store.Get(ctx, id)
	if err != nil {
		return task.Artifact{}, err
	}
	return a, c.noted(ctx, downloadOf(t, "artifact", uid))
}

// OpenBlob opens the file of an artifact that Artifact has found. It fails
// with task.ErrNotFound for an artifact without a file. The caller closes it.
func (c *Client) OpenBlob(ctx context.Context, a task.Artifact) (io.ReadSeekCloser, error) {
	known, err := c.CheckDownload(ctx, a.UID)
	if err != nil {
		return nil, err
	}
	if known.Blob == "" || c.p.opts.Blobs == nil {
		return nil, task.Errorf(task.CodeNotFound, "artifact %q has no file", a.UID)
	}
	return c.p.opts.Blobs.OpenBlob(ctx, known.Blob)
}

// claimArtifact makes the UID lead to the run. A UID that another run has
// taken is refused: whoever asks for it must get what that run made.
func (p *Platform) claimArtifact(ctx context.Context, id task.ID, a task.Artifact) error {
	if err := checkArtifactUID(a.UID); err != nil {
		return err
	}
	if a.Blob != "" && a.Blob != blobKey(id, a.UID) {
		return task.Invalid("blob", "is not what Upload returned for artifact %s", a.UID)
	}
	_, err := p.store.PutRecord(ctx, task.Record{Kind: kindArtifact, Key: a.UID, Data: []byte(id), UpdatedAt: p.opts.Clock.Now()})
	if !errors.Is(err, task.ErrConflict) {
		return err
	}
	rec, err := p.store.Record(ctx, kindArtifact, a.UID)
	if err != nil {
		return err
	}
	if task.ID(rec.Data) != id {
		return task.Invalid("artifact_uid", "%s is taken; use a random UUID", a.UID)
	}
	return nil
}

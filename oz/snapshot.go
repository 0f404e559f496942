package oz

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/oz-platform/cloudagents/executor"
	"github.com/oz-platform/cloudagents/oz/access"
	"github.com/oz-platform/cloudagents/task"
)

// kindSnapshot are records that hold the newest snapshot of a run: its log has
// it too, but whoever needs it should not have to read all of that.
const kindSnapshot = "oz.snapshot"

// keepSnapshot checks a snapshot that an execution reports and makes it the
// run's newest.
func (l *link) keepSnapshot(ctx context.Context, s task.SnapshotTaken) error {
	if err := s.Validate(); err != nil {
		return err
	}
	for _, f := range s.Files {
		if err := checkArtifactUID(f.UID); err != nil {
			return err
		}
		if f.Blob != blobKey(l.id, f.UID) {
			return task.Invalid("blob", "is not what Upload returned for file %s", f.UID)
		}
	}
	data, err := json.Marshal(executor.Snapshot{TaskID: l.id, Execution: l.exec, SnapshotTaken: s})
	if err != nil {
		return fmt.Errorf("encode snapshot: %w", err)
	}
	for {
		old, err := l.p.store.Record(ctx, kindSnapshot, string(l.id))
		if err != nil && !errors.Is(err, task.ErrNotFound) {
			return fmt.Errorf("keep snapshot: %w", err)
		}
		// Asked after the record was read: what an execution that came after
		// this one has kept is a change of the record, and refuses the write.
		if _, err := l.execution(ctx); err != nil {
			return err
		}
		_, err = l.p.store.PutRecord(ctx, task.Record{Kind: kindSnapshot, Key: string(l.id), Revision: old.Revision, Data: data,
			UpdatedAt: l.p.opts.Clock.Now()})
		if err == nil {
			l.p.dropSnapshot(ctx, old.Data, s)
			return nil
		}
		if !errors.Is(err, task.ErrConflict) { // else it was sent twice at once
			return err
		}
	}
}

// dropSnapshot deletes the files of a snapshot that another one replaces. One
// that cannot be deleted now is in nobody's way.
func (p *Platform) dropSnapshot(ctx context.Context, old []byte, now task.SnapshotTaken) {
	var s executor.Snapshot
	if p.opts.Blobs == nil || json.Unmarshal(old, &s) != nil {
		return
	}
	for _, f := range s.Files {
		if !slices.ContainsFunc(now.Files, func(n task.SnapshotFile) bool { return n.Blob == f.Blob }) {
			_ = p.opts.Blobs.DeleteBlob(context.WithoutCancel(ctx), f.Blob)
		}
	}
}

// snapshot gives the newest snapshot of a run; nil when there is none.
func (p *Platform) snapshot(ctx context.Context, id task.ID) (*executor.Snapshot, error) {
	rec, err := p.store.Record(ctx, kindSnapshot, string(id))
	if errors.Is(err, task.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read snapshot: %w", err)
	}
	var s executor.Snapshot
	if err := json.Unmarshal(rec.Data, &s); err != nil {
		return nil, fmt.Errorf("decode snapshot of run %s: %w", id, err)
	}
	return &s, nil
}

// maxInherit bounds how many runs are asked for the files of a conversation.
const maxInherit = 100

// inherited is the snapshot that a run begins with: its own newest, or that of
// the nearest run before it in its conversation that has kept one. A run that
// ended before it could keep any had begun with the one before. Those may have
// gone on since, and be hidden by now from whoever made t: then it is none.
func (p *Platform) inherited(ctx context.Context, t task.Task) (*executor.Snapshot, error) {
	s, err := p.snapshot(ctx, t.ID)
	if s != nil || err != nil || t.ContinuesID == "" {
		return s, err
	}
	maker, err := p.maker(ctx, t)
	if err != nil {
		return nil, err
	}
	for range maxInherit {
		t, err = p.store.Get(ctx, t.ContinuesID)
		if errors.Is(err, task.ErrNotFound) {
			return nil, nil
		}
		if err != nil {
			return nil, fmt.Errorf("read the run that a conversation began with: %w", err)
		}
		if t, err = p.closed(ctx, t); err != nil {
			return nil, err
		}
		if access.Allow(maker, access.RunView, access.OfRun(t)) != nil {
			return nil, nil
		}
		s, err := p.snapshot(ctx, t.ID)
		if s != nil || err != nil || t.ContinuesID == "" {
			return s, err
		}
	}
	return nil, nil
}

// maker is who made a run, as they are now. Service accounts, and persons whom
// only the embedding program knows, are taken for members of the run's team.
func (p *Platform) maker(ctx context.Context, t task.Task) (access.Caller, error) {
	if system := access.System(); t.Creator.Type == system.Principal.Type && t.Creator.UID == system.Principal.UID {
		return system, nil
	}
	if t.Creator.IsPerson() {
		known, err := p.registry.Caller(ctx, t.Creator.UID)
		if !errors.Is(err, task.ErrNotFound) {
			return known, err
		}
	}
	c := access.Caller{Principal: t.Creator}
	if t.Owner.Type == task.ScopeTeam {
		c.Teams = []access.Membership{{UID: t.Owner.UID, Role: access.RoleMember}}
	}
	return c, nil
}

// OpenBlob implements executor.Link.
func (l *link) OpenBlob(ctx context.Context, key string) (io.ReadCloser, error) {
	if _, err := l.execution(ctx); err != nil {
		return nil, err
	}
	if l.p.opts.Blobs == nil || task.ValidateBlobKey(key) != nil {
		return nil, noBlob(key)
	}
	if own := strings.HasPrefix(key, blobKey(l.id, "")) || strings.HasPrefix(key, attachmentKey(l.id, "")); !own {
		if err := l.mayInherit(ctx, key); err != nil {
			return nil, err
		}
	}
	return l.p.opts.Blobs.OpenBlob(ctx, key)
}

// mayInherit allows the files of the snapshot that the run begins with.
func (l *link) mayInherit(ctx context.Context, key string) error {
	t, err := l.p.store.Get(ctx, l.id)
	if err != nil {
		return err
	}
	s, err := l.p.inherited(ctx, t)
	if err != nil {
		return err
	}
	if s == nil || !slices.ContainsFunc(s.Files, func(f task.SnapshotFile) bool { return f.Blob == key }) {
		return noBlob(key)
	}
	return nil
}

func noBlob(key string) error {
	return task.Errorf(task.CodeNotFound, "the run has no file %q", key)
}

// HandoffFiles lists what the newest execution of a run that has ended left
// behind: nothing while the run is in its first execution.
func (c *Client) HandoffFiles(ctx context.Context, id task.ID) ([]task.SnapshotFile, error) {
	if _, err := c.run(ctx, id, access.RunView); err != nil {
		return nil, err
	}
	s, err := c.p.snapshot(ctx, id)
	if err != nil || s == nil {
		return []task.SnapshotFile{}, err
	}
	e, err := c.p.store.Execution(ctx, s.Execution)
	if err != nil {
		return nil, err
	}
	if e.Live() { // it may still change what it keeps
		return []task.SnapshotFile{}, nil
	}
	return s.Files, nil
}

// OpenHandoffFile opens one file of HandoffFiles. The caller closes it.
func (c *Client) OpenHandoffFile(ctx context.Context, id task.ID, uid string) (task.SnapshotFile, io.ReadSeekCloser, error) {
	files, err := c.HandoffFiles(ctx, id)
	if err != nil {
		return task.SnapshotFile{}, nil, err
	}
	i := slices.IndexFunc(files, func(f task.SnapshotFile) bool { return f.UID == uid })
	if i < 0 || c.p.opts.Blobs == nil {
		return task.SnapshotFile{}, nil, task.Errorf(task.CodeNotFound, "run %q has no such file", string(id))
	}
	blob, err := c.p.opts.Blobs.OpenBlob(ctx, files[i].Blob)
	return files[i], blob, err
}

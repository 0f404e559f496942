package runner

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"

	"github.com/oz-platform/cloudagents/task"
)

// attachmentDir, below the workspace, holds the files that people gave with
// the prompt.
const attachmentDir = ".oz/attachments"

// attach fetches the files that were given with the prompt. A directory in
// place gets none of ours: they are put aside, and removed by the returned
// function.
func (x *execution) attach(ctx context.Context, ws *workspace) (remove func(), err error) {
	remove = func() {}
	dir := filepath.Join(x.opts.Root, attachmentDir)
	if !x.opts.InPlace { // later messages may bring files, too
		ws.attachments = dir
		x.journal.fetch = func(ctx context.Context, a task.Attachment) error {
			return x.fetchAttachment(ctx, a, attachmentPath(dir, a))
		}
	}
	if len(x.bundle.Task.Attachments) == 0 {
		return remove, nil
	}
	if x.opts.InPlace {
		if dir, err = os.MkdirTemp("", "oz-attachments-"); err != nil {
			return remove, err
		}
		remove = func() { _ = os.RemoveAll(dir) }
	}
	for _, a := range x.bundle.Task.Attachments {
		if err := x.fetchAttachment(ctx, a, attachmentPath(dir, a)); err != nil {
			remove()
			return nil, fmt.Errorf("fetch attachment %q: %w", a.FileName, err)
		}
	}
	ws.attachments = dir
	return remove, nil
}

// attachmentPath is where an agent finds a file (see harness.Session).
func attachmentPath(dir string, a task.Attachment) string {
	return filepath.Join(dir, path.Base(a.Blob), a.FileName)
}

// fetchAttachment stores one file, unless an earlier execution has.
func (x *execution) fetchAttachment(ctx context.Context, a task.Attachment, to string) error {
	if info, err := os.Stat(to); err == nil && info.Size() == a.SizeBytes {
		return nil
	}
	in, err := x.link.OpenBlob(ctx, a.Blob)
	if err != nil {
		return err
	}
	defer func() { _ = in.Close() }()
	if err := os.MkdirAll(filepath.Dir(to), 0o700); err != nil {
		return err
	}
	out, err := os.OpenFile(to+".new", os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	n, err := io.Copy(out, io.LimitReader(in, a.SizeBytes+1))
	if err = errors.Join(err, out.Close()); err != nil {
		return err
	}
	if n != a.SizeBytes {
		return fmt.Errorf("has %d bytes, not %d", n, a.SizeBytes)
	}
	return os.Rename(to+".new", to)
}

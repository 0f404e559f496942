package runner

import (
	"archive/tar"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/oz-platform/cloudagents/executor/harness"
	"github.com/oz-platform/cloudagents/task"
)

const (
	// maxAgentFiles and maxAgentBytes bound an agent's session files, before they
	// are compressed; task.MaxSnapshotFileBytes bounds them after.
	maxAgentFiles = 1000
	maxAgentBytes = 256 << 20
)

// keepAgent stores the session files of a third party's agent, so that a later
// execution elsewhere goes on in the same session. Without them the agent is told
// the conversation, so that it is done as well as can be.
func (x *execution) keepAgent(ctx context.Context, h harness.Harness, s *harness.Session, n int, taken *task.SnapshotTaken) error {
	k, ok := h.(harness.SessionKeeper)
	if !ok || len(taken.Files) >= task.MaxSnapshotFiles {
		return nil
	}
	f, err := x.packAgent(ctx, k, s, n)
	switch {
	case ctx.Err() != nil, errors.Is(err, task.ErrFenced):
		return err
	case err != nil:
		return x.journal.Post(ctx, &task.Notice{Text: fmt.Sprintf("The agent's own session is not kept; elsewhere it is told the conversation: %v.", err)})
	case f.UID != "":
		taken.Files = append(taken.Files, f)
	}
	return nil
}

// packAgent makes one file of the session's and stores it; it is empty without any.
func (x *execution) packAgent(ctx context.Context, k harness.SessionKeeper, s *harness.Session, n int) (task.SnapshotFile, error) {
	names, err := k.SessionFiles(ctx, s)
	if err != nil || len(names) == 0 {
		return task.SnapshotFile{}, err
	}
	if len(names) > maxAgentFiles {
		return task.SnapshotFile{}, fmt.Errorf("it has %d files, at most %d are kept", len(names), maxAgentFiles)
	}
	out, err := os.CreateTemp("", "oz-snapshot-")
	if err != nil {
		return task.SnapshotFile{}, err
	}
	defer func() { _ = os.Remove(out.Name()) }()
	if err := errors.Join(x.pack(out, names), out.Close()); err != nil {
		return task.SnapshotFile{}, err
	}
	f := task.SnapshotFile{Kind: task.SnapshotAgent, Name: "agent-session.tar.gz", MIMEType: "application/gzip"}
	return f, x.store(ctx, &f, n, out.Name())
}

// pack writes the files as a compressed tar. One that holds a secret is refused.
func (x *execution) pack(to io.Writer, names []string) error {
	root, err := os.OpenRoot(x.stateDir())
	if err != nil {
		return err
	}
	defer func() { _ = root.Close() }() // only a handle
	zip := gzip.NewWriter(to)
	out := tar.NewWriter(zip)
	left := int64(maxAgentBytes)
	for _, name := range names {
		n, err := x.packFile(out, root, name, left)
		if err != nil {
			return err
		}
		left -= n
	}
	return errors.Join(out.Close(), zip.Close())
}

// packFile adds one file, as long as it is when it is opened. It is searched as it
// is written, since a process that the agent has left may still change it.
func (x *execution) packFile(out *tar.Writer, root *os.Root, name string, most int64) (int64, error) {
	// The agent could have put a pipe there, which nobody ever opens for writing.
	in, err := root.OpenFile(filepath.FromSlash(name), os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return 0, err
	}
	defer func() { _ = in.Close() }() // only read
	info, err := in.Stat()
	switch {
	case err != nil:
		return 0, err
	case !info.Mode().IsRegular():
		return 0, nil
	case info.Size() > most:
		return 0, fmt.Errorf("it has more than %d bytes", int64(maxAgentBytes))
	}
	if err := out.WriteHeader(&tar.Header{Name: name, Mode: 0o600, Size: info.Size(), ModTime: info.ModTime()}); err != nil {
		return 0, err
	}
	found, err := x.redactor.Scan(io.TeeReader(io.LimitReader(in, info.Size()), out))
	if err != nil {
		return 0, err
	}
	if found = append(found, x.redactor.Contains([]byte(name))...); len(found) > 0 {
		return 0, fmt.Errorf("it holds a secret (%s)", strings.Join(found, ", "))
	}
	return info.Size(), nil
}

// restoreAgent brings back the session files of the run's own agent, if the
// workspace is new. That they cannot be is told to people.
func (x *execution) restoreAgent(ctx context.Context) error {
	s := x.bundle.Snapshot
	if s == nil || s.TaskID != x.bundle.Task.ID || x.opts.InPlace {
		return nil
	}
	if _, err := os.Stat(filepath.Join(x.opts.Root, workedFile)); err == nil {
		return nil // they are there
	}
	for _, f := range s.Files {
		if f.Kind != task.SnapshotAgent {
			continue
		}
		err := x.unpackAgent(ctx, f)
		if ctx.Err() != nil || errors.Is(err, task.ErrFenced) {
			return err
		}
		if err == nil {
			continue
		}
		if err := os.RemoveAll(x.stateDir()); err != nil { // half a session is none
			return err
		}
		if err := x.journal.Post(ctx, &task.Notice{Text: fmt.Sprintf("The agent's own session could not be brought back; it is told the conversation: %v", err)}); err != nil {
			return err
		}
	}
	return nil
}

func (x *execution) unpackAgent(ctx context.Context, f task.SnapshotFile) error {
	from, remove, err := x.fetch(ctx, f)
	if err != nil {
		return err
	}
	defer remove()
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer func() { _ = in.Close() }() // only read
	if err := os.MkdirAll(x.stateDir(), 0o700); err != nil {
		return err
	}
	root, err := os.OpenRoot(x.stateDir())
	if err != nil {
		return err
	}
	defer func() { _ = root.Close() }() // only a handle
	return unpack(in, root)
}

// unpack writes a compressed tar's regular files below root, and nothing else,
// up to the limits.
func unpack(from io.Reader, root *os.Root) error {
	zip, err := gzip.NewReader(from)
	if err != nil {
		return err
	}
	in := tar.NewReader(zip)
	left := int64(maxAgentBytes)
	for range maxAgentFiles + 1 { // the last one is to be the end
		h, err := in.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		left -= h.Size
		name := filepath.FromSlash(h.Name)
		if h.Typeflag != tar.TypeReg || !filepath.IsLocal(name) || left < 0 {
			return fmt.Errorf("%q is no file of an agent's session, or too large", h.Name)
		}
		if err := write(root, name, in); err != nil {
			return err
		}
	}
	return fmt.Errorf("it has more than %d files", maxAgentFiles)
}

func write(root *os.Root, name string, from io.Reader) error {
	if err := root.MkdirAll(filepath.Dir(name), 0o700); err != nil {
		return err
	}
	out, err := root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, fs.FileMode(0o600))
	if err != nil {
		return err
	}
	_, err = io.Copy(out, from)
	return errors.Join(err, out.Close())
}

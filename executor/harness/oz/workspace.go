package ozagent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/google/uuid"

	"github.com/oz-platform/cloudagents/executor/harness"
)

// maxTextBytes bounds a file that is edited or searched: source files are far
// smaller, and both hold it in memory.
const maxTextBytes = 4 << 20

// workspace is the part of the file system that the file tools may reach.
type workspace struct {
	path string // the root, absolute, without links
	dir  string // where relative paths start, absolute
	root *os.Root
	also string // the root as the session spells it
}

func openWorkspace(s *harness.Session) (*workspace, error) {
	given, err := filepath.Abs(s.Root)
	if err != nil {
		return nil, err
	}
	path, err := filepath.EvalSymlinks(given)
	if err != nil {
		return nil, err
	}
	root, err := os.OpenRoot(path)
	if err != nil {
		return nil, err
	}
	w := &workspace{path: path, dir: path, root: root, also: given}
	if s.Dir != "" {
		if w.dir, err = filepath.EvalSymlinks(s.Dir); err != nil {
			w.close()
			return nil, err
		}
	}
	if _, err := w.rel(w.dir); err != nil {
		w.close()
		return nil, fmt.Errorf("working directory %s is not in the workspace %s", s.Dir, s.Root)
	}
	return w, nil
}

func (w *workspace) close() { _ = w.root.Close() }

// rel gives a path of the model's, relative to the root. That a link does not
// lead out of it is os.Root's to check, at each use.
func (w *workspace) rel(path string) (string, error) {
	if path == "" || strings.Contains(path, "\x00") {
		return "", badInput("a path is empty or contains a NUL character")
	}
	abs := path
	if !filepath.IsAbs(abs) {
		abs = filepath.Join(w.dir, abs)
	}
	for _, root := range []string{w.path, w.also} {
		rel, err := filepath.Rel(root, filepath.Clean(abs))
		if err == nil && rel != ".." && !strings.HasPrefix(rel, "../") {
			return rel, nil
		}
	}
	return "", deny("%s is outside the workspace %s; the file tools do not reach it (a command may).", path, w.path)
}

// show gives an absolute path as the model should spell it.
func (w *workspace) show(abs string) string {
	if rel, err := filepath.Rel(w.dir, abs); err == nil && rel != ".." && !strings.HasPrefix(rel, "../") {
		return rel
	}
	return abs
}

// directory gives the absolute path of a directory for a command; "" is the
// working directory.
func (w *workspace) directory(path string) (string, error) {
	if path == "" {
		return w.dir, nil
	}
	rel, err := w.rel(path)
	if err != nil {
		return "", err
	}
	info, err := w.root.Stat(rel)
	if err != nil {
		return "", w.explain(path, err)
	}
	if !info.IsDir() {
		return "", refuse("%s is not a directory.", path)
	}
	return filepath.Join(w.path, rel), nil
}

// explain says to the model why a path could not be used.
func (w *workspace) explain(path string, err error) error {
	var own *harness.ToolError
	switch {
	case errors.As(err, &own):
		return err
	case errors.Is(err, fs.ErrNotExist):
		return refuse("%s does not exist. Relative paths start at %s; file_glob finds files.", path, w.dir)
	case errors.Is(err, fs.ErrPermission):
		return refuse("%s: permission denied.", path)
	case strings.Contains(err.Error(), "escapes"): // os.Root has no error value for it
		return deny("%s leads out of the workspace by a link; the file tools do not follow it.", path)
	}
	var at *fs.PathError
	if errors.As(err, &at) {
		err = at.Err
	}
	return refuse("%s: %v.", path, err)
}

// read gives a whole file of at most limit bytes.
func (w *workspace) read(path string, limit int64) ([]byte, fs.FileInfo, error) {
	rel, err := w.rel(path)
	if err != nil {
		return nil, nil, err
	}
	f, err := w.root.Open(rel)
	if err != nil {
		return nil, nil, w.explain(path, err)
	}
	defer func() { _ = f.Close() }() // only read
	info, err := f.Stat()
	if err != nil {
		return nil, nil, w.explain(path, err)
	}
	switch {
	case info.IsDir():
		return nil, nil, refuse("%s is a directory; use file_glob with the pattern %q.", path, filepath.Join(path, "*"))
	case !info.Mode().IsRegular():
		return nil, nil, refuse("%s is not a regular file.", path)
	case info.Size() > limit:
		return nil, nil, refuse("%s has %d bytes, more than the %d that this tool takes; use commands such as sed or head on it.", path, info.Size(), limit)
	}
	data, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil {
		return nil, nil, w.explain(path, err)
	}
	return data, info, nil
}

// target gives the file that a write to path is for, relative to the root: a
// link is followed, the repository's own data refused.
func (w *workspace) target(path string) (string, error) {
	rel, err := w.rel(path)
	if err != nil {
		return "", err
	}
	if real, err := filepath.EvalSymlinks(filepath.Join(w.path, rel)); err == nil {
		if rel, err = filepath.Rel(w.path, real); err != nil || rel == ".." || strings.HasPrefix(rel, "../") {
			return "", deny("%s leads out of the workspace by a link; the file tools do not follow it.", path)
		}
	}
	for _, part := range strings.Split(rel, "/") {
		if strings.EqualFold(part, ".git") {
			return "", deny("%s is git's own; change it through git commands.", path)
		}
	}
	if rel == "." {
		return "", refuse("%s is a directory.", path)
	}
	return rel, nil
}

// write replaces the file rel, whole or not at all, and keeps its mode.
func (w *workspace) write(path, rel string, data []byte) error {
	mode := fs.FileMode(0o644)
	if info, err := w.root.Stat(rel); err == nil {
		if !info.Mode().IsRegular() {
			return refuse("%s is not a regular file.", path)
		}
		mode = info.Mode().Perm()
	}
	dir := filepath.Dir(rel)
	if err := w.root.MkdirAll(dir, 0o755); err != nil {
		return w.explain(path, err)
	}
	temp := filepath.Join(dir, ".oz-"+uuid.NewString()+".tmp")
	if err := w.writeNew(temp, data, mode); err != nil {
		_ = w.root.Remove(temp) // the error counts
		return w.explain(path, err)
	}
	if err := w.root.Rename(temp, rel); err != nil {
		_ = w.root.Remove(temp) // the error counts
		return w.explain(path, err)
	}
	return nil
}

func (w *workspace) writeNew(rel string, data []byte, mode fs.FileMode) error {
	f, err := w.root.OpenFile(rel, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	return errors.Join(err, f.Chmod(mode), f.Close())
}

// maxListed bounds the files that one search looks at.
const maxListed = 100_000

// list gives the files at or below path, relative to the root and in order:
// in a repository those git knows or would add, elsewhere all. more says that
// there are further ones.
func (a *agent) list(ctx context.Context, path string) (files []string, more bool, err error) {
	if path == "" {
		path = a.files.dir
	}
	rel, err := a.files.rel(path)
	if err != nil {
		return nil, false, err
	}
	info, err := a.files.root.Stat(rel)
	if err != nil {
		return nil, false, a.files.explain(path, err)
	}
	if !info.IsDir() {
		return []string{rel}, false, nil
	}
	if top, ok := a.files.repository(rel); ok {
		files, more, err = a.listRepository(ctx, top, rel)
	} else {
		files, more, err = a.walk(ctx, rel, nil)
	}
	slices.Sort(files)
	return files, more, err
}

// repository gives the top of the repository that rel lies in.
func (w *workspace) repository(rel string) (string, bool) {
	for {
		if _, err := w.root.Lstat(filepath.Join(rel, ".git")); err == nil {
			return rel, true
		}
		if rel == "." {
			return "", false
		}
		rel = filepath.Dir(rel)
	}
}

func (a *agent) listRepository(ctx context.Context, top, rel string) ([]string, bool, error) {
	below, err := filepath.Rel(top, rel)
	if err != nil {
		return nil, false, err
	}
	res, err := a.s.Git.Run(ctx, filepath.Join(a.files.path, top), "ls-files", "-z", "--cached", "--others", "--exclude-standard", "--deduplicate", "--", ":(literal)"+below)
	if err != nil {
		return nil, false, refuse("git could not list the files: %v", err)
	}
	var files []string
	for name := range strings.SplitSeq(string(res.Stdout), "\x00") {
		if name != "" && !strings.HasSuffix(name, "/") && len(files) < maxListed {
			files = append(files, filepath.Join(top, name))
		}
	}
	if res.Truncated && len(files) > 0 {
		files = files[:len(files)-1] // it may be half a name
	}
	return files, res.Truncated || len(files) >= maxListed, nil
}

// walk lists a tree that is no repository; those in it are asked.
func (a *agent) walk(ctx context.Context, rel string, files []string) ([]string, bool, error) {
	dir, err := a.files.root.Open(rel)
	if err != nil {
		return files, false, a.files.explain(rel, err)
	}
	entries, err := dir.ReadDir(-1)
	_ = dir.Close() // only read
	if err != nil {
		return files, false, a.files.explain(rel, err)
	}
	more := false
	for _, e := range entries {
		if err := ctx.Err(); err != nil {
			return nil, false, err
		}
		name := filepath.Join(rel, e.Name())
		switch {
		case len(files) >= maxListed:
			return files, true, nil
		case e.Name() == ".git" || e.Name() == ".oz":
		case e.Type().IsRegular():
			files = append(files, name)
		case e.IsDir():
			found, m, err := a.below(ctx, name, files)
			if err != nil {
				continue // a directory that cannot be read hides nothing else
			}
			files, more = found, more || m
		}
	}
	return files, more, nil
}

func (a *agent) below(ctx context.Context, rel string, files []string) ([]string, bool, error) {
	if _, err := a.files.root.Lstat(filepath.Join(rel, ".git")); err != nil {
		return a.walk(ctx, rel, files)
	}
	found, more, err := a.listRepository(ctx, rel, rel)
	return append(files, found...), more, err
}

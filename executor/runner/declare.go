package runner

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/oz-platform/cloudagents/executor/harness"
	"github.com/oz-platform/cloudagents/internal/proc"
	"github.com/oz-platform/cloudagents/task"
)

// What else than the environment's repositories a run keeps at its end is
// declared by a script, or stands in a file (Oz platform, SNP-1).
const (
	envDeclare  = "OZ_SNAPSHOT_DECLARATIONS_SCRIPT"
	envDeclared = "OZ_SNAPSHOT_DECLARATIONS_FILE"

	// declareTimeout bounds the script (Oz platform, SNP-2).
	declareTimeout = time.Minute
	// maxDeclarations bounds the declarations, in bytes, maxDeclaration one of
	// them.
	maxDeclarations, maxDeclaration = 1 << 20, 16 << 10
	// maxNotes bounds what is said about declarations that are wrong.
	maxNotes = 20
)

// declaration is one line of the declarations.
type declaration struct {
	Version int    `json:"version"`
	Kind    string `json:"kind"`
	Path    string `json:"path"`
}

// The kinds of declarations.
const (
	declaresRepo = "repo"
	declaresFile = "file"
)

// declared gives what is to be kept beside the environment's repositories, and
// says what is wrong with the declarations. Nothing of it fails the run.
func (x *execution) declared(ctx context.Context, ws *workspace) (list []declaration, notes []string) {
	data, err := x.declarations(ctx, ws)
	if err != nil {
		return nil, []string{fmt.Sprintf("the declarations of what to keep: %v", err)}
	}
	return parseDeclarations(data)
}

// declarations runs the script, if there is one, and reads the file.
func (x *execution) declarations(ctx context.Context, ws *workspace) ([]byte, error) {
	script, path := variable(ws.env, envDeclare), variable(ws.env, envDeclared)
	if script == "" {
		if path == "" {
			return nil, nil
		}
		return readDeclarations(path)
	}
	f, err := os.CreateTemp("", "oz-declarations-")
	if err != nil {
		return nil, err
	}
	path = f.Name()
	_ = f.Close()
	defer func() { _ = os.Remove(path) }()
	limit := x.opts.SnapshotScriptTimeout
	if limit <= 0 {
		limit = declareTimeout
	}
	if err := declare(ctx, script, path, ws, limit); err != nil {
		return nil, err
	}
	return readDeclarations(path)
}

// declare runs the script in the workspace. What it prints is not kept.
func declare(ctx context.Context, script, path string, ws *workspace, limit time.Duration) error {
	limited, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	cmd := exec.CommandContext(limited, script)
	cmd.Dir = ws.dir
	cmd.Env = append(slices.Clone(ws.env), envDeclared+"="+path)
	proc.Group(cmd)
	cmd.Cancel = func() error { return proc.KillGroup(cmd) }
	err := cmd.Run()
	if limited.Err() != nil && ctx.Err() == nil {
		return fmt.Errorf("%s took longer than %s", filepath.Base(script), limit)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", filepath.Base(script), err)
	}
	return nil
}

// readDeclarations reads a regular file, within the limit.
func readDeclarations(path string) ([]byte, error) {
	f, err := openRegular(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }() // only read
	data, err := io.ReadAll(io.LimitReader(f, maxDeclarations+1))
	if err == nil && len(data) > maxDeclarations {
		err = fmt.Errorf("%s has more than %d bytes", filepath.Base(path), maxDeclarations)
	}
	return data, err
}

// openRegular opens a file that is no link, pipe or device.
func openRegular(path string) (*os.File, error) {
	info, err := os.Lstat(path)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, errors.New("is no regular file")
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	if now, err := f.Stat(); err != nil || !os.SameFile(info, now) {
		_ = f.Close()
		return nil, errors.Join(errors.New("was replaced meanwhile"), err)
	}
	return f, nil
}

// variable gives a variable of an environment; the last one counts.
func variable(env []string, name string) string {
	for _, v := range slices.Backward(env) {
		if value, ok := strings.CutPrefix(v, name+"="); ok {
			return value
		}
	}
	return ""
}

// parseDeclarations reads one declaration a line. Lines that are none are left
// out, with a note. What is declared twice, or lies in a declared repository,
// is kept once.
func parseDeclarations(data []byte) (list []declaration, notes []string) {
	note := func(n int, format string, args ...any) {
		if len(notes) < maxNotes {
			notes = append(notes, fmt.Sprintf("line %d of the declarations: ", n)+fmt.Sprintf(format, args...))
		}
	}
	lines := bufio.NewScanner(bytes.NewReader(data))
	lines.Buffer(make([]byte, 0, maxDeclaration), maxDeclarations+1)
	for n := 1; lines.Scan(); n++ {
		line := bytes.TrimSpace(lines.Bytes())
		if len(line) == 0 {
			continue
		}
		d, err := parseDeclaration(line)
		if err != nil {
			note(n, "%v", err)
			continue
		}
		if !slices.Contains(list, d) {
			list = append(list, d)
		}
	}
	repos := list
	return slices.DeleteFunc(slices.Clone(list), func(d declaration) bool {
		return d.Kind == declaresFile && slices.ContainsFunc(repos, func(r declaration) bool { return r.Kind == declaresRepo && within(r.Path, d.Path) })
	}), notes
}

func parseDeclaration(line []byte) (d declaration, err error) {
	switch err := json.Unmarshal(line, &d); {
	case len(line) > maxDeclaration:
		return d, fmt.Errorf("has more than %d bytes", maxDeclaration)
	case err != nil:
		return d, errors.New("is no JSON object with version, kind and path")
	case d.Version != 1:
		return d, fmt.Errorf("has version %d, known is 1", d.Version)
	case d.Kind != declaresRepo && d.Kind != declaresFile:
		return d, fmt.Errorf("has the kind %.40q, known are repo and file", d.Kind)
	case !filepath.IsAbs(d.Path) || strings.ContainsRune(d.Path, 0):
		return d, errors.New("has no absolute path")
	}
	d.Path = filepath.Clean(d.Path)
	return d, nil
}

// within reports that path is dir or lies below it.
func within(dir, path string) bool {
	rel, err := filepath.Rel(dir, path)
	return err == nil && filepath.IsLocal(rel)
}

// keepDeclared stores what is declared. taken has what was kept already.
func (x *execution) keepDeclared(ctx context.Context, ws *workspace, taken *task.SnapshotTaken) error {
	list, notes := x.declared(ctx, ws)
	taken.Skipped = append(taken.Skipped, notes...)
	repos := slices.Clone(ws.repos)
	for i, d := range list {
		if slices.ContainsFunc(repos, func(r harness.Repo) bool { return within(r.Dir, d.Path) }) {
			continue // with its repository
		}
		n := len(ws.repos) + i
		files, skipped, err := x.keepOne(ctx, ws, n, d)
		if ctx.Err() != nil || errors.Is(err, task.ErrFenced) {
			return err
		}
		name := x.redactor.String(x.below(d.Path))
		for _, s := range skipped {
			taken.Skipped = append(taken.Skipped, x.redactor.String(s))
		}
		switch {
		case err != nil:
			taken.Skipped = append(taken.Skipped, fmt.Sprintf("%s: %s", name, x.redactor.String(err.Error())))
		case len(taken.Files)+len(files) > task.MaxSnapshotFiles:
			taken.Skipped = append(taken.Skipped, fmt.Sprintf("%s and what follows: at most %d files are kept", name, task.MaxSnapshotFiles))
			return nil
		}
		taken.Files = append(taken.Files, files...)
	}
	return nil
}

func (x *execution) keepOne(ctx context.Context, ws *workspace, n int, d declaration) ([]task.SnapshotFile, []string, error) {
	if d.Kind == declaresRepo {
		repo, err := x.declaredRepo(ctx, ws, d.Path)
		if err != nil {
			return nil, nil, err
		}
		return x.keepRepo(ctx, ws, n, repo)
	}
	f, err := x.keepFile(ctx, n, d.Path)
	if err != nil {
		return nil, nil, err
	}
	return []task.SnapshotFile{f}, nil, nil
}

// declaredRepo describes a repository that the agent has made or cloned itself.
func (x *execution) declaredRepo(ctx context.Context, ws *workspace, dir string) (harness.Repo, error) {
	r := harness.Repo{Name: filepath.Base(dir), Dir: dir}
	if !within(x.opts.Root, dir) {
		return r, errors.New("lies outside the workspace")
	}
	if _, err := os.Stat(filepath.Join(dir, ".git")); err != nil {
		return r, errors.New("is no repository")
	}
	remote, err := ws.git.RemoteURL(ctx, dir, "origin")
	if err != nil {
		return r, err
	}
	r.Remote = remoteURL(remote, dir)
	if res, err := ws.git.Run(ctx, dir, "merge-base", "HEAD", "@{upstream}"); err == nil {
		r.Base = strings.TrimSpace(string(res.Stdout))
	}
	return r, nil
}

// keepFile stores one declared file, if there is no secret in it.
func (x *execution) keepFile(ctx context.Context, n int, path string) (task.SnapshotFile, error) {
	f := task.SnapshotFile{Kind: task.SnapshotPlain, Name: filepath.Base(path), MIMEType: "application/octet-stream", Path: x.below(path)}
	if !within(x.opts.Root, path) {
		f.Path = filepath.ToSlash(path)
	}
	in, err := openRegular(path)
	if err != nil {
		return f, plainly(err)
	}
	defer func() { _ = in.Close() }() // only read
	names, err := x.redactor.Scan(io.LimitReader(in, task.MaxSnapshotFileBytes+1))
	if err != nil {
		return f, err
	}
	if len(names) > 0 || len(x.redactor.Contains([]byte(path))) > 0 {
		return f, errors.New("holds a secret")
	}
	return f, x.store(ctx, &f, n, path)
}

// plainly leaves the path out of an error: it is said beside it.
func plainly(err error) error {
	var at *fs.PathError
	if errors.As(err, &at) {
		return at.Err
	}
	return err
}

// restoreFiles brings back the declared files of a snapshot whose place is in
// the workspace, if that is new. That one cannot be is told to people.
func (x *execution) restoreFiles(ctx context.Context) error {
	if x.bundle.Snapshot == nil || x.opts.InPlace {
		return nil
	}
	if _, err := os.Stat(filepath.Join(x.opts.Root, workedFile)); err == nil {
		return nil // they are there
	}
	for _, f := range x.bundle.Snapshot.Files {
		if f.Kind != task.SnapshotPlain || !filepath.IsLocal(filepath.FromSlash(f.Path)) {
			continue
		}
		err := x.restoreFile(ctx, f)
		if ctx.Err() != nil || errors.Is(err, task.ErrFenced) {
			return err
		}
		if err == nil {
			continue
		}
		if err := x.journal.Post(ctx, &task.Notice{Text: fmt.Sprintf("The file %s, which the run had kept, could not be brought back: %v", f.Path, err)}); err != nil {
			return err
		}
	}
	return nil
}

// restoreFile writes a file to where it was. No link leads it out of the
// workspace.
func (x *execution) restoreFile(ctx context.Context, f task.SnapshotFile) error {
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
	root, err := os.OpenRoot(x.opts.Root)
	if err != nil {
		return err
	}
	defer func() { _ = root.Close() }() // only a handle
	path := filepath.FromSlash(f.Path)
	if err := root.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	out, err := root.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o644)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close())
}

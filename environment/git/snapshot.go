package git

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// Names that a bundle made by Bundle has for its commits.
const (
	bundleHead    = "refs/heads/head"
	bundleChanges = "refs/heads/changes"
)

// ErrNothingToKeep: the work tree is as the base commit left it.
var ErrNothingToKeep = errors.New("nothing to keep")

// WorkState is the state of a work tree as commits.
type WorkState struct {
	// Base is the commit that all builds on; "" when there is none.
	Base string
	// Branch is the branch checked out, "" if HEAD is detached; Head its commit.
	Branch, Head string
	// Changes is a commit on Head that has what is not committed, untracked
	// files included and ignored ones not.
	Changes string
	// LeftOut are paths whose changes are not in Changes.
	LeftOut []string
}

// StateOptions holds what SaveState can do without.
type StateOptions struct {
	// LeaveOut reports whether a changed file must not be kept. It is given the
	// file as it would be kept. Default: all are.
	LeaveOut func(path string, content []byte, truncated bool) bool
	// MaxFileBytes leaves out larger files of the work tree without reading
	// them. 0: no limit.
	MaxFileBytes int64
	// Squash keeps the changes since Base as one, without the commits.
	Squash bool
}

// SaveState turns what the work tree of dir has beyond commit base (a full
// name; "" for none) into commits of its repository. Work tree, index and
// branches stay as they are. It fails with ErrNothingToKeep when there is
// nothing beyond base. opts may be nil.
func (g *Git) SaveState(ctx context.Context, dir, base string, opts *StateOptions) (WorkState, error) {
	if opts == nil {
		opts = &StateOptions{}
	}
	s := WorkState{Base: base}
	var err error
	if s.Head, err = g.Head(ctx, dir); err != nil {
		return s, err
	}
	if s.Branch, err = g.CurrentBranch(ctx, dir); err != nil {
		return s, err
	}
	if opts.Squash {
		s.Head = base
	}
	index, remove, err := g.spareIndex(dir)
	if err != nil {
		return s, err
	}
	defer remove()
	tree, unread, err := g.stageAside(ctx, dir, index, opts.MaxFileBytes)
	if err != nil {
		return s, err
	}
	if s.LeftOut, tree, err = g.leaveOut(ctx, dir, index, base, tree, opts.LeaveOut); err != nil {
		return s, err
	}
	s.LeftOut = append(s.LeftOut, unread...)
	if s.Head == base {
		same, err := g.sameTree(ctx, dir, base, tree)
		if err != nil {
			return s, err
		}
		if same {
			return s, ErrNothingToKeep
		}
	}
	args := []string{"commit-tree", tree, "-m", "Changes that were not committed"}
	if s.Head != "" {
		args = append(args, "-p", s.Head)
	}
	s.Changes, err = g.word(ctx, dir, nil, args...)
	return s, err
}

// spareIndex copies the index, so that the agent's stays as it is. What stands
// in its place may be anything, such as a pipe that nobody writes to.
func (g *Git) spareIndex(dir string) (path string, remove func(), err error) {
	f, err := os.CreateTemp(g.state, "index-")
	if err != nil {
		return "", nil, err
	}
	remove = func() { _ = os.Remove(f.Name()); _ = os.Remove(f.Name() + ".lock") }
	in, err := openPlain(filepath.Join(dir, ".git", "index"))
	if errors.Is(err, fs.ErrNotExist) {
		_ = f.Close()
		return f.Name(), remove, os.Remove(f.Name()) // git takes an empty file for a broken one
	}
	if err == nil {
		err = copyRegular(f, in)
	}
	if err = errors.Join(err, f.Close()); err != nil {
		remove()
		return "", nil, err
	}
	return f.Name(), remove, nil
}

// copyRegular copies a regular file as long as it is now, and closes it.
func copyRegular(out io.Writer, in *os.File) error {
	defer func() { _ = in.Close() }()
	info, err := in.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("%s is no regular file", in.Name())
	}
	if err == nil {
		_, err = io.CopyN(out, in, info.Size())
	}
	return err
}

// stageAside writes the work tree as a tree, by way of another index, but for
// the files and the repositories within that it names.
func (g *Git) stageAside(ctx context.Context, dir, index string, maxBytes int64) (tree string, leftOut []string, err error) {
	env := []string{"GIT_INDEX_FILE=" + index}
	res, err := g.localEnv(ctx, dir, "", env, "status", "--porcelain=v1", "-z", "--untracked-files=all", "--ignore-submodules=dirty")
	if err != nil {
		return "", nil, err
	}
	if res.Truncated {
		return "", nil, fmt.Errorf("git status: more than %d bytes of changes: add build output to .gitignore", g.opts.MaxOutputBytes)
	}
	var gone, there []string
	for _, c := range parseStatus(string(res.Stdout)) {
		switch {
		case c.Code[1] == ' ':
		case c.Code[1] == 'D' && !strings.ContainsAny(c.Code[:1], "DU"): // else a conflict, maybe with a file
			gone = append(gone, c.Path)
		case strings.HasSuffix(c.Path, "/"): // a repository within, which may have no commit
			leftOut = append(leftOut, strings.TrimSuffix(c.Path, "/"))
		case maxBytes > 0 && isLarger(filepath.Join(dir, c.Path), maxBytes):
			leftOut = append(leftOut, c.Path)
		default:
			there = append(there, c.Path)
		}
	}
	// What is gone goes first, and without a look at the work tree: a link or
	// a file may stand where its directory was.
	if err := g.updateIndex(ctx, dir, env, gone, "--force-remove"); err != nil {
		return "", nil, err
	}
	if err := g.updateIndex(ctx, dir, env, there, "--add", "--remove", "--replace"); err != nil {
		return "", nil, err
	}
	tree, err = g.word(ctx, dir, env, "write-tree")
	return tree, leftOut, err
}

// updateIndex does one thing to some paths of an index.
func (g *Git) updateIndex(ctx context.Context, dir string, env, paths []string, flags ...string) error {
	if len(paths) == 0 {
		return nil
	}
	args := append(append([]string{"update-index"}, flags...), "-z", "--stdin")
	_, err := g.localEnv(ctx, dir, strings.Join(paths, "\x00")+"\x00", env, args...)
	return err
}

func isLarger(path string, maxBytes int64) bool {
	info, err := os.Lstat(path)
	return err == nil && info.Mode().IsRegular() && info.Size() > maxBytes
}

// leaveOut takes the changed files that must not be kept back to what base has.
func (g *Git) leaveOut(ctx context.Context, dir, index, base, tree string, judge func(string, []byte, bool) bool) (paths []string, newTree string, err error) {
	if judge == nil {
		return nil, tree, nil
	}
	changed, err := g.changedFiles(ctx, dir, base, tree)
	if err != nil {
		return nil, "", err
	}
	err = g.readAll(ctx, dir, changed, func(path string, content []byte, truncated bool) {
		if judge(path, content, truncated) {
			paths = append(paths, path)
		}
	})
	if err != nil {
		return nil, "", err
	}
	if len(paths) == 0 {
		return nil, tree, nil
	}
	env := []string{"GIT_INDEX_FILE=" + index}
	if err := g.updateIndex(ctx, dir, env, paths, "--force-remove"); err != nil {
		return nil, "", err
	}
	if err := g.takeBack(ctx, dir, env, base, paths); err != nil {
		return nil, "", err
	}
	newTree, err = g.word(ctx, dir, env, "write-tree")
	return paths, newTree, err
}

// takeBack puts the files that base has back into the index.
func (g *Git) takeBack(ctx context.Context, dir string, env []string, base string, paths []string) error {
	if base == "" {
		return nil
	}
	var entries strings.Builder
	for _, path := range paths {
		res, err := g.local(ctx, dir, "", "ls-tree", "-r", "-z", "--full-tree", base, "--", path)
		if err != nil {
			return err
		}
		entries.Write(res.Stdout) // "mode type object TAB path NUL", as update-index takes it
	}
	if entries.Len() == 0 {
		return nil
	}
	_, err := g.localEnv(ctx, dir, entries.String(), env, "update-index", "-z", "--index-info")
	return err
}

// changedFiles lists the files and links, not submodules, that tree has and
// base has not, or has otherwise.
func (g *Git) changedFiles(ctx context.Context, dir, base, tree string) ([]TreeFile, error) {
	from := base
	if from == "" {
		var err error
		if from, err = g.emptyTree(ctx, dir); err != nil {
			return nil, err
		}
	}
	res, err := g.local(ctx, dir, "", "diff-tree", "-r", "-z", "--no-renames", "--diff-filter=d", from, tree)
	if err != nil {
		return nil, err
	}
	if res.Truncated {
		return nil, errors.New("too many files have changed; is there build output that .gitignore should name?")
	}
	var files []TreeFile
	fields := strings.Split(string(res.Stdout), "\x00")
	for i := 0; i+1 < len(fields); i += 2 { // ":oldmode newmode old new status", path
		if meta := strings.Fields(fields[i]); len(meta) == 5 && (strings.HasPrefix(meta[1], "100") || meta[1] == "120000") {
			files = append(files, TreeFile{Path: fields[i+1], Blob: meta[3]})
		}
	}
	return files, nil
}

// batchHead is more than cat-file says of a blob before its content.
const batchHead = 128

// readAll calls f with the content of each file; with none of one that is
// larger than a command may print. A process reads many files: one for each
// would take minutes for some ten thousand.
func (g *Git) readAll(ctx context.Context, dir string, files []TreeFile, f func(path string, content []byte, truncated bool)) error {
	sizes, err := g.sizes(ctx, dir, files)
	if err != nil {
		return err
	}
	var batch []TreeFile
	total := int64(0)
	flush := func() error {
		contents, err := g.readBatch(ctx, dir, batch)
		for _, file := range batch {
			if err == nil {
				f(file.Path, contents[file.Blob], false)
			}
		}
		batch, total = nil, 0
		return err
	}
	for _, file := range files {
		size := sizes[file.Blob] + batchHead
		if size > int64(g.opts.MaxOutputBytes) {
			f(file.Path, nil, true)
			continue
		}
		if total+size > int64(g.opts.MaxOutputBytes) {
			if err := flush(); err != nil {
				return err
			}
		}
		batch, total = append(batch, file), total+size
	}
	return flush()
}

// sizes gives those of all files' contents.
func (g *Git) sizes(ctx context.Context, dir string, files []TreeFile) (map[string]int64, error) {
	sizes := make(map[string]int64, len(files))
	for part := range slices.Chunk(files, max(1, g.opts.MaxOutputBytes/batchHead)) {
		res, err := g.local(ctx, dir, blobLines(part), "cat-file", "--batch-check")
		if err != nil {
			return nil, err
		}
		for line := range strings.Lines(string(res.Stdout)) {
			fields := strings.Fields(line) // name, type, size
			if len(fields) != 3 {
				return nil, fmt.Errorf("git cat-file: cannot read %q", strings.TrimSpace(line))
			}
			if sizes[fields[0]], err = strconv.ParseInt(fields[2], 10, 64); err != nil {
				return nil, fmt.Errorf("git cat-file: cannot read a size: %w", err)
			}
		}
	}
	return sizes, nil
}

// readBatch reads files that fit together into what a command may print.
func (g *Git) readBatch(ctx context.Context, dir string, files []TreeFile) (map[string][]byte, error) {
	if len(files) == 0 {
		return nil, nil
	}
	res, err := g.local(ctx, dir, blobLines(files), "cat-file", "--batch")
	if err != nil {
		return nil, err
	}
	contents, err := parseBatch(res.Stdout)
	for _, f := range files {
		if _, ok := contents[f.Blob]; !ok && err == nil {
			err = fmt.Errorf("git cat-file: there is no content of %s", f.Blob)
		}
	}
	return contents, err
}

// blobLines are the files' contents as cat-file is asked for them.
func blobLines(files []TreeFile) string {
	var lines strings.Builder
	for _, f := range files {
		lines.WriteString(f.Blob + "\n")
	}
	return lines.String()
}

// sameTree reports whether a commit has the tree; "" has the empty one.
func (g *Git) sameTree(ctx context.Context, dir, commit, tree string) (bool, error) {
	if commit == "" {
		empty, err := g.emptyTree(ctx, dir)
		return empty == tree, err
	}
	have, err := g.word(ctx, dir, nil, "rev-parse", "--verify", "--quiet", commit+"^{tree}")
	return have == tree, err
}

// word runs a command that prints one word.
func (g *Git) word(ctx context.Context, dir string, env []string, args ...string) (string, error) {
	res, err := g.localEnv(ctx, dir, "", env, args...)
	return strings.TrimSpace(string(res.Stdout)), err
}

// Bundle writes what s has beyond its base into a file, for Restore.
func (g *Git) Bundle(ctx context.Context, dir string, s WorkState, file string) error {
	o, err := g.outbox(ctx, dir)
	if err != nil {
		return err
	}
	defer o.remove()
	refs := [][2]string{{bundleChanges, s.Changes}}
	if s.Head != "" && s.Head != s.Base {
		refs = append(refs, [2]string{bundleHead, s.Head})
	}
	args := []string{"bundle", "create", "--quiet", file}
	if s.Base != "" {
		args = append(args, "^"+s.Base)
	}
	for _, ref := range refs {
		if _, err := g.own(ctx, o.dir, "update-ref", ref[0], ref[1]); err != nil {
			return err
		}
		args = append(args, ref[0])
	}
	_, err = g.own(ctx, o.dir, args...)
	return err
}

// Patch gives what s has beyond its base as a patch with binary files in it.
func (g *Git) Patch(ctx context.Context, dir string, s WorkState) (Result, error) {
	base := s.Base
	if base == "" {
		var err error
		if base, err = g.emptyTree(ctx, dir); err != nil {
			return Result{}, err
		}
	}
	return g.local(ctx, dir, "", "diff", "--binary", "--full-index", "--no-renames", base, s.Changes)
}

// Restore brings a state that Bundle has written back into a clone of url that
// this package has just made: the commits onto their branch, the rest into the
// work tree. It fails if the clone lacks the base; the work tree is then
// in between, and CheckoutBranch or CheckoutCommit brings it back.
func (g *Git) Restore(ctx context.Context, dir, url string, s WorkState, file string) error {
	if err := s.check(); err != nil {
		return err
	}
	if _, err := g.own(ctx, dir, "fetch", "--quiet", "--no-tags", "--no-recurse-submodules", "--", file, "+refs/heads/*:refs/oz/restore/*"); err != nil {
		return err
	}
	got, err := g.word(ctx, dir, nil, "rev-parse", "--verify", "--quiet", "refs/oz/restore/changes")
	if err != nil || got != s.Changes {
		return errors.Join(fmt.Errorf("the bundle has commit %q, not %q", got, s.Changes), err)
	}
	if s.Head == "" { // a branch without commits, as the clone has it
		if err := g.readTree(ctx, dir, url, s.Changes); err != nil {
			return err
		}
		_, err := g.own(ctx, dir, "read-tree", "--empty")
		return err
	}
	if err := g.checkout(ctx, dir, url, s.headArgs()...); err != nil {
		return err
	}
	if err := g.readTree(ctx, dir, url, s.Changes); err != nil {
		return err
	}
	_, err = g.own(ctx, dir, "reset", "--quiet", "--mixed")
	return err
}

// check refuses names that are none: they come from a record.
func (s WorkState) check() error {
	for _, name := range []string{s.Changes, s.Head, s.Base} {
		if name != "" && !IsCommit(name) {
			return fmt.Errorf("commit %q is not a full commit name", name)
		}
	}
	if s.Changes == "" {
		return errors.New("the state has no commit")
	}
	if s.Branch == "" {
		return nil
	}
	if err := CheckRef(s.Branch); err != nil {
		return fmt.Errorf("branch %q %w", s.Branch, err)
	}
	return nil
}

// headArgs are those of a checkout that takes HEAD to where it was.
func (s WorkState) headArgs() []string {
	if s.Branch == "" {
		return []string{"--detach", s.Head}
	}
	return []string{"-B", s.Branch, s.Head}
}

// readTree makes index and work tree those of a commit. It may fetch what a
// treeless clone lacks from url.
func (g *Git) readTree(ctx context.Context, dir, url, commit string) error {
	_, err := g.remoteExec(ctx, url, dir, "read-tree", func(string) []string {
		return []string{"read-tree", "--reset", "-u", commit}
	})
	return err
}

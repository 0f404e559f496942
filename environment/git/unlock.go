package git

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"strings"
)

// maxGitEntries bounds what Unlock looks at in one repository.
const maxGitEntries = 200_000

// lockDirs are the directories below a repository's own that git locks files
// in. Names of branches cannot end in ".lock".
var lockDirs = []string{"objects", "objects/info", "objects/info/commit-graphs", "objects/pack", "reftable"}

// Unlock removes the locks that a killed git has left in the clone at dir, its
// submodules and work trees: every later command would be refused because of
// them. Nobody may be at work in the clone. It follows no link out of dir, and
// leaves a repository alone whose .git is no directory. It gives the paths of
// what it removed, below dir.
func Unlock(dir string) (removed []string, err error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("remove left locks: %w", err)
	}
	defer func() { _ = root.Close() }() // only read
	u := unlocker{root: root, left: maxGitEntries}
	if info, err := root.Lstat(".git"); err != nil || !info.IsDir() {
		return nil, nil
	}
	if err := u.repository(".git"); err != nil {
		return u.removed, fmt.Errorf("remove left locks: %w", err)
	}
	return u.removed, nil
}

// unlocker is one Unlock.
type unlocker struct {
	root    *os.Root
	left    int // entries that may still be looked at
	removed []string
}

var errTooManyEntries = errors.New("the repository has too many references")

// repository takes one git directory.
func (u *unlocker) repository(dir string) error {
	if err := u.locks(dir); err != nil {
		return err
	}
	for _, sub := range lockDirs {
		if err := u.locks(path.Join(dir, sub)); err != nil {
			return err
		}
	}
	if err := u.below(path.Join(dir, "refs"), u.locks); err != nil {
		return err
	}
	worktrees, err := u.entries(path.Join(dir, "worktrees"))
	for _, e := range worktrees {
		err = errors.Join(err, u.locks(path.Join(dir, "worktrees", e.Name())))
	}
	if err != nil {
		return err
	}
	return u.below(path.Join(dir, "modules"), func(at string) error { // names of submodules may have slashes
		if info, err := u.root.Lstat(path.Join(at, "HEAD")); err == nil && info.Mode().IsRegular() {
			if err := u.repository(at); err != nil {
				return err
			}
			return fs.SkipDir
		}
		return nil
	})
}

// below does f for a directory and all in it, if there is one.
func (u *unlocker) below(dir string, f func(string) error) error {
	entries, err := u.entries(dir)
	if err != nil || entries == nil {
		return err
	}
	if err := f(dir); err != nil {
		if errors.Is(err, fs.SkipDir) {
			return nil
		}
		return err
	}
	for _, e := range entries {
		if e.IsDir() {
			if err := u.below(path.Join(dir, e.Name()), f); err != nil {
				return err
			}
		}
	}
	return nil
}

// locks removes those of one directory.
func (u *unlocker) locks(dir string) error {
	entries, err := u.entries(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if !strings.HasSuffix(e.Name(), ".lock") || e.IsDir() {
			continue
		}
		name := path.Join(dir, e.Name())
		if err := u.root.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		u.removed = append(u.removed, name)
	}
	return nil
}

// entries lists a directory; a link is none, and what is not there has none.
func (u *unlocker) entries(dir string) ([]fs.DirEntry, error) {
	if info, err := u.root.Lstat(dir); err != nil || !info.IsDir() {
		return nil, nil
	}
	f, err := u.root.Open(dir)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }() // only read
	entries, err := f.ReadDir(u.left)
	if u.left -= len(entries); u.left <= 0 {
		return nil, errTooManyEntries
	}
	if len(entries) == 0 { // the end of an empty directory is no error
		return []fs.DirEntry{}, nil
	}
	return entries, err
}

package git

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// contents are what Renew takes over from a repository: data, which no
// configuration can turn into a program.
var contents = []struct {
	name string
	dir  bool
}{{"objects", true}, {"refs", true}, {"packed-refs", false}, {"HEAD", false}, {"index", false}, {"shallow", false}}

// Renew makes the clone of url in dir, which others may have touched, one that
// this package made, so that Fetch and the Checkout functions may be used: it
// keeps objects, refs, HEAD and index, and has the configuration of a new
// clone, without hooks and attributes. finish must be called: it keeps that, or
// with back brings configuration, hooks and attributes back beside what was
// fetched. It fails for repositories of a form that Clone does not make, with
// submodules for example. After a failure the repository may be damaged.
func (g *Git) Renew(ctx context.Context, dir, url string) (finish func(back bool) error, err error) {
	old := filepath.Join(dir, ".git")
	if err := checkContents(dir, old); err != nil {
		return nil, fmt.Errorf("renew the repository: %w", err)
	}
	aside, err := os.MkdirTemp(filepath.Dir(dir), ".renew-")
	if err != nil {
		return nil, fmt.Errorf("renew the repository: %w", err)
	}
	if err := g.initLike(ctx, aside, url, old); err != nil {
		return nil, errors.Join(err, os.RemoveAll(aside))
	}
	fresh, kept := filepath.Join(aside, ".git"), filepath.Join(aside, "kept")
	err = errors.Join(moveContents(old, fresh), os.Rename(old, kept))
	if err == nil {
		err = os.Rename(fresh, old)
	}
	if err != nil {
		return nil, fmt.Errorf("renew the repository: %w", err)
	}
	return func(back bool) error {
		if !back {
			return os.RemoveAll(aside)
		}
		err := moveContents(old, kept)
		if err == nil {
			err = os.RemoveAll(old)
		}
		if err == nil {
			err = os.Rename(kept, old)
		}
		return errors.Join(err, os.RemoveAll(aside))
	}, nil
}

// checkContents refuses what is not as Clone makes it: a link could lead the
// next command somewhere else.
func checkContents(dir, gitDir string) error {
	for _, path := range []string{dir, gitDir} {
		if info, err := os.Lstat(path); err != nil || !info.IsDir() {
			return fmt.Errorf("%s is no directory", path)
		}
	}
	for _, name := range []string{"modules", "worktrees", "commondir", "sharedindex"} {
		if _, err := os.Lstat(filepath.Join(gitDir, name)); !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("it has %s", name)
		}
	}
	for _, c := range contents {
		info, err := os.Lstat(filepath.Join(gitDir, c.name))
		if errors.Is(err, os.ErrNotExist) && !c.dir {
			continue
		}
		if err != nil {
			return err
		}
		if info.IsDir() != c.dir || !c.dir && !info.Mode().IsRegular() {
			return fmt.Errorf("%s is of another kind", c.name)
		}
	}
	return nil
}

// initLike makes an empty repository with the configuration of a clone of url,
// a partial one if the old one is.
func (g *Git) initLike(ctx context.Context, dir, url, old string) error {
	r, err := g.remote(ctx, url)
	if err != nil {
		return err
	}
	settings := []setting{{"remote.origin.url", r.url}, {"remote.origin.fetch", "+refs/heads/*:" + remotePrefix + "*"}}
	partial, err := filepath.Glob(filepath.Join(old, "objects/pack/*.promisor"))
	if err != nil {
		return err
	}
	if len(partial) > 0 {
		settings = append(settings, setting{"core.repositoryformatversion", "1"}, setting{"extensions.partialClone", "origin"},
			setting{"remote.origin.promisor", "true"}, setting{"remote.origin.partialclonefilter", "tree:0"})
	}
	if _, err := g.own(ctx, dir, "init", "--quiet"); err != nil {
		return err
	}
	for _, s := range settings {
		if _, err := g.own(ctx, dir, "config", s.key, s.value); err != nil {
			return err
		}
	}
	return nil
}

// moveContents replaces the contents of one repository by those of another.
func moveContents(from, to string) error {
	for _, c := range contents {
		if err := os.RemoveAll(filepath.Join(to, c.name)); err != nil {
			return err
		}
		err := os.Rename(filepath.Join(from, c.name), filepath.Join(to, c.name))
		if err != nil && (c.dir || !errors.Is(err, os.ErrNotExist)) {
			return err
		}
	}
	// Objects of other repositories are looked for where this file says.
	return os.RemoveAll(filepath.Join(to, "objects", "info", "alternates"))
}

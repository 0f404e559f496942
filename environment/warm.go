package environment

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"

	"github.com/oz-platform/cloudagents/environment/git"
)

// fromWarm turns the workspace of a kept state, see Options.Keep, into one of
// this run: repositories get what is new, and the setup commands are to run
// again where they would do something else than when the state was made. What
// cannot be used is removed, and prepared as if there had been nothing.
func (r *preparation) fromWarm(ctx context.Context) error {
	m := r.marker
	again := len(r.o.Secrets) > 0 || r.o.Restore != nil
	err := errors.New("it is of another configuration")
	if m.Workspace != nil && !m.Updating && r.trust(m.Workspace) {
		var moved bool
		moved, err = r.catchUp(ctx)
		again = again || moved
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if err != nil {
		if err := r.wipe(); err != nil {
			return fmt.Errorf("remove a kept state that cannot be used: %w", err)
		}
		r.marker = &marker{path: m.path, Key: m.Key}
		return r.marker.save()
	}
	r.warm = true
	m.Workspace, m.Warm, m.Updating = nil, false, false
	m.Restored, m.Restoring = false, false
	if again {
		m.SetupDone = 0
	}
	return m.save()
}

// wipe empties the workspace, in which no run has worked yet.
func (r *preparation) wipe() error {
	entries, err := os.ReadDir(r.o.Dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if e.Name() == stateDir {
			continue
		}
		path := filepath.Join(r.o.Dir, e.Name())
		_ = filepath.WalkDir(path, func(path string, d fs.DirEntry, err error) error {
			if err == nil && d.IsDir() {
				return os.Chmod(path, 0o700) // module caches are read-only
			}
			return err
		})
		if err := os.RemoveAll(path); err != nil {
			return err
		}
	}
	return nil
}

// catchUp brings the checkouts to what their remotes have now, and reports
// whether one has moved to another commit.
func (r *preparation) catchUp(ctx context.Context) (moved bool, err error) {
	for i, repo := range r.o.Config.Repos {
		c, ok := r.marker.cloned(r.checkout(repo))
		if !ok {
			return false, fmt.Errorf("%s was not cloned", repo)
		}
		changed, err := r.catchUpOne(ctx, &c, repo.Ref)
		if err != nil {
			return false, err
		}
		moved = moved || changed
		r.marker.Cloned[i] = c
	}
	return moved, nil
}

// catchUpOne asks the remote with the run's own credentials, as for a clone:
// what it refuses to this run, a kept state must not give.
func (r *preparation) catchUpOne(ctx context.Context, c *Checkout, ref string) (moved bool, err error) {
	remote, err := r.git.RemoteRefs(ctx, c.URL)
	if err != nil {
		return false, err
	}
	local, err := r.git.OriginRefs(ctx, c.Dir)
	if err != nil {
		return false, err
	}
	moved = !stays(*c, ref, remote)
	if !moved && maps.Equal(local.Branches, remote.Branches) {
		return false, nil
	}
	r.marker.Updating = true
	if err := r.marker.save(); err != nil {
		return false, err
	}
	finish, err := r.git.Renew(ctx, c.Dir, c.URL)
	if err != nil {
		return false, err
	}
	if err := r.git.Fetch(ctx, c.Dir, c.URL); err != nil {
		return false, err
	}
	if !moved {
		return false, finish(true)
	}
	s := &staged{git: r.git, checkout: c, ref: ref, remote: remote, dir: c.Dir}
	c.Branch = ""
	if err := s.checkOut(ctx); err != nil {
		return false, err
	}
	if remote.DefaultBranch != "" {
		if err := r.git.SetOriginHead(ctx, c.Dir, remote.DefaultBranch); err != nil {
			return false, err
		}
	}
	return true, finish(false)
}

// stays reports whether a clone made now would have the same files. In doubt
// it would not.
func stays(c Checkout, ref string, remote git.Refs) bool {
	switch {
	case c.Commit == "":
		return remote.Empty()
	case ref == "":
		return remote.Head == c.Commit && remote.DefaultBranch == c.Branch
	case remote.Branches[ref] != "":
		return remote.Branches[ref] == c.Commit
	}
	return git.IsCommit(ref) && ref == c.Commit
}

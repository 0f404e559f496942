package environment

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/oz-platform/cloudagents/environment/git"
)

// Refill brings the cache's mirrors of o's repositories up to date, lays out
// spare checkouts for the next runs, and prunes the cache. Call it after
// Prepare, beside the agent's work, and wait for its return. It uses o's
// Config.Repos and Owner. Its failure only means that the next run clones.
// Without a cache it does nothing.
func (p *Preparer) Refill(ctx context.Context, o Options) error {
	if p.opts.Cache == nil {
		return nil
	}
	if err := o.Config.validateRepos(); err != nil {
		return err
	}
	var errs []error
	for _, repo := range o.Config.Repos {
		src := source{url: repo.Address(p.opts.Forge), owner: o.Owner}
		if err := p.opts.Cache.refill(ctx, p.git, src); err != nil {
			errs = append(errs, fmt.Errorf("cache repository %s: %w", repo, err))
		}
	}
	errs = append(errs, p.opts.Cache.Prune(ctx))
	return errors.Join(errs...)
}

func (c *Cache) refill(ctx context.Context, g *git.Git, s source) error {
	remote, err := g.RemoteRefs(ctx, s.url)
	if err != nil || remote.Head == "" {
		return err // an empty repository needs no cache
	}
	e := c.entry(s)
	if err := os.MkdirAll(e.dir, 0o700); err != nil {
		return err
	}
	held, err := lock(ctx, e.lock)
	if err != nil {
		return err
	}
	defer held.unlock()
	e.sweep()
	r := &refiller{git: g, entry: e, source: s, remote: remote}
	if err := r.updateMirror(ctx); err != nil {
		return err
	}
	if err := r.layOut(ctx, c.opts.Spares); err != nil {
		if ctx.Err() != nil {
			return err
		}
		// The mirror cannot be checked out. Once more from a new one.
		if err := r.rebuild(ctx); err != nil {
			return err
		}
		if err := r.layOut(ctx, c.opts.Spares); err != nil {
			return err
		}
	}
	e.touch(c.opts.Clock.Now())
	return nil
}

// refiller changes one entry of the cache. It holds the entry's lock.
type refiller struct {
	git    *git.Git
	entry  entry
	source source
	remote git.Refs
}

// updateMirror makes the mirror hold what the remote does: by a fetch if it is
// sound, anew otherwise.
func (r *refiller) updateMirror(ctx context.Context) error {
	mirror := r.entry.mirror()
	if exists(r.entry.path("bad")) || !exists(mirror) || checkPacks(mirror) != nil {
		return r.rebuild(ctx)
	}
	err := r.git.UpdateMirror(ctx, mirror, r.source.url, r.remote.DefaultBranch)
	if err != nil && ctx.Err() == nil && git.ReasonOf(err) == git.ReasonOther {
		return r.rebuild(ctx) // the remote answered a moment ago, so it is the mirror
	}
	return err
}

// rebuild replaces the entry's content by a new mirror.
func (r *refiller) rebuild(ctx context.Context) error {
	for _, path := range append(r.entry.spares(), r.entry.mirror()) {
		if err := removeAside(r.entry, path); err != nil {
			return err
		}
	}
	fresh, err := os.MkdirTemp(r.entry.dir, "new-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(fresh)
	dir := filepath.Join(fresh, "mirror.git")
	if err := r.git.Clone(ctx, r.source.url, dir, git.CloneOptions{Bare: true}); err != nil {
		return err
	}
	if err := syncDisk(dir); err != nil {
		return err
	}
	if err := os.Rename(dir, r.entry.mirror()); err != nil {
		return err
	}
	if err := os.Remove(r.entry.path("bad")); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}

// layOut makes spares until there are n of the remote's present commit, and
// removes those of an older one.
func (r *refiller) layOut(ctx context.Context, n int) error {
	have := 0
	for _, spare := range r.entry.spares() {
		if strings.HasPrefix(filepath.Base(spare), sparePrefix(r.remote.Head)) && have < n {
			have++
		} else if err := removeAside(r.entry, spare); err != nil {
			return err
		}
	}
	for ; have < n; have++ {
		if err := r.spare(ctx); err != nil {
			return err
		}
	}
	return nil
}

// spare lays out one checkout. It gets its name when it is whole and on disk:
// after a power cut a spare must not turn out to hold empty files.
func (r *refiller) spare(ctx context.Context) error {
	fresh, err := os.MkdirTemp(r.entry.dir, "new-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(fresh)
	dir := filepath.Join(fresh, "checkout")
	if err := r.git.CloneCopy(ctx, r.entry.mirror(), r.source.url, dir); err != nil {
		return err
	}
	if branch := r.remote.DefaultBranch; branch != "" {
		err = r.git.CheckoutBranch(ctx, dir, r.source.url, branch)
	} else {
		err = r.git.CheckoutCommit(ctx, dir, r.source.url, r.remote.Head)
	}
	if err != nil {
		return err
	}
	if err := syncDisk(dir); err != nil {
		return err
	}
	return os.Rename(dir, r.entry.path(spareName(r.remote.Head, fresh)))
}

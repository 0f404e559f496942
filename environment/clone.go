package environment

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"

	"golang.org/x/sync/errgroup"

	"github.com/oz-platform/cloudagents/environment/git"
	"github.com/oz-platform/cloudagents/task"
)

// cloneAll puts every repository in place, several at once. The first failure
// stops the others.
func (r *preparation) cloneAll(ctx context.Context, staging string) ([]Checkout, error) {
	checkouts := make([]Checkout, len(r.o.Config.Repos))
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(r.opts.ParallelClones)
	for i, repo := range r.o.Config.Repos {
		group.Go(func() error {
			step := Step{Phase: PhaseClone, Number: i + 1, Repo: repo.String(), Text: repo.Address(r.opts.Forge)}
			end := r.report.begin(step)
			c, err := r.cloneOne(ctx, repo, staging)
			step.From = c.From
			end(step, err)
			checkouts[i] = c
			if err != nil {
				return cloneFailed(repo, err)
			}
			return nil
		})
	}
	return checkouts, group.Wait()
}

// checkout is what is known of a checkout beforehand.
func (r *preparation) checkout(repo Repo) Checkout {
	return Checkout{Repo: repo.String(), URL: repo.Address(r.opts.Forge), Dir: filepath.Join(r.o.Dir, repo.Dir())}
}

// cloneOne puts one repository in place: made aside, then renamed, so that a
// directory of its name is always whole.
func (r *preparation) cloneOne(ctx context.Context, repo Repo, staging string) (Checkout, error) {
	c := r.checkout(repo)
	switch info, err := os.Stat(c.Dir); {
	case err == nil && info.IsDir():
		c.From = FromExisting
		if r.warm {
			c.From = FromWarm
		}
		return r.existing(ctx, c)
	case err == nil:
		return c, fmt.Errorf("%s is in the way and is not a directory", c.Dir)
	case !errors.Is(err, fs.ErrNotExist):
		return c, err
	}
	aside, err := os.MkdirTemp(staging, "clone-")
	if err != nil {
		return c, err
	}
	stage := filepath.Join(aside, repo.Dir())
	if err := r.stage(ctx, &c, repo.Ref, stage); err != nil {
		return c, err
	}
	return c, os.Rename(stage, c.Dir)
}

// existing describes a directory that was there before: one that an earlier
// attempt has cloned as it was then, whatever came into it since.
func (r *preparation) existing(ctx context.Context, c Checkout) (Checkout, error) {
	var err error
	if c.Commit, err = r.git.Head(ctx, c.Dir); errors.Is(err, git.ErrNotRepository) {
		return c, nil
	} else if err != nil {
		return c, err
	}
	if before, ok := r.marker.cloned(c); ok {
		c.Commit, c.Branch = before.Commit, before.Branch
		return c, nil
	}
	c.Branch, err = r.git.CurrentBranch(ctx, c.Dir)
	return c, err
}

// stage makes the repository of c at the path stage. The remote is asked first:
// what it refuses to this run, the cache must not give.
func (r *preparation) stage(ctx context.Context, c *Checkout, ref, stage string) error {
	remote, err := r.git.RemoteRefs(ctx, c.URL)
	if err != nil {
		return err
	}
	if remote.Empty() {
		return r.stageEmpty(ctx, c, ref, stage)
	}
	if ref == "" && remote.Head == "" {
		return fmt.Errorf("the repository's default branch %q does not exist: set checkout_ref to a branch", remote.DefaultBranch)
	}
	s := &staged{git: r.git, checkout: c, ref: ref, remote: remote, dir: stage}
	if r.opts.Cache != nil {
		src := source{url: c.URL, owner: r.o.Owner}
		if c.From = r.opts.Cache.take(ctx, r.git, src, stage); c.From != "" {
			err := s.bringUpToDate(ctx)
			if err == nil || ctx.Err() != nil {
				return err
			}
			r.opts.Cache.distrust(src)
			if err := os.RemoveAll(stage); err != nil {
				return err
			}
		}
	}
	c.From = FromRemote
	if err := r.git.Clone(ctx, c.URL, stage, git.CloneOptions{Treeless: true}); err != nil {
		return err
	}
	return s.checkOut(ctx)
}

// stageEmpty clones a repository that has nothing in it yet: HEAD names a
// branch that the first commit will make.
func (r *preparation) stageEmpty(ctx context.Context, c *Checkout, ref, stage string) error {
	if ref != "" {
		return fmt.Errorf("the repository is empty, so it has no %q: push a commit, or remove checkout_ref", ref)
	}
	c.From = FromRemote
	if err := r.git.Clone(ctx, c.URL, stage, git.CloneOptions{}); err != nil {
		return err
	}
	var err error
	c.Branch, err = r.git.CurrentBranch(ctx, stage)
	return err
}

// staged is a repository on its way into a workspace.
type staged struct {
	git      *git.Git
	checkout *Checkout
	ref      string   // what was asked for; "" is the default branch
	remote   git.Refs // what the remote has now
	dir      string
}

// bringUpToDate makes a copy from the cache equal to a fresh clone.
func (s *staged) bringUpToDate(ctx context.Context) error {
	local, err := s.git.OriginRefs(ctx, s.dir)
	if err != nil {
		return err
	}
	branch := s.remote.DefaultBranch
	if s.checkout.From == FromSpare && local.DefaultBranch != branch {
		return fmt.Errorf("the spare is of branch %q, the default is %q now", local.DefaultBranch, branch)
	}
	if !maps.Equal(local.Branches, s.remote.Branches) {
		if err := s.git.Fetch(ctx, s.dir, s.checkout.URL); err != nil {
			return err
		}
	}
	if s.checkout.From == FromMirror && branch != "" {
		if err := s.git.SetOriginHead(ctx, s.dir, branch); err != nil {
			return err
		}
	}
	if s.checkout.From == FromSpare && s.ref == "" && branch != "" && local.Head == s.remote.Head {
		s.checkout.Branch, s.checkout.Commit = local.DefaultBranch, local.Head
		return nil
	}
	return s.checkOut(ctx)
}

// checkOut fills the work tree: the default branch, or what was asked for with
// HEAD detached.
func (s *staged) checkOut(ctx context.Context) error {
	var err error
	switch {
	case s.ref == "" && s.remote.DefaultBranch != "":
		s.checkout.Branch = s.remote.DefaultBranch
		err = s.git.CheckoutBranch(ctx, s.dir, s.checkout.URL, s.remote.DefaultBranch)
	case s.ref == "":
		err = s.git.CheckoutCommit(ctx, s.dir, s.checkout.URL, s.remote.Head)
	default:
		err = s.checkOutRef(ctx)
	}
	if err != nil {
		return err
	}
	s.checkout.Commit, err = s.git.Head(ctx, s.dir)
	return err
}

// checkOutRef fetches what was asked for, unless it came with the clone.
func (s *staged) checkOutRef(ctx context.Context) error {
	url := s.checkout.URL
	if commit := s.remote.Branches[s.ref]; commit != "" && s.git.CheckoutCommit(ctx, s.dir, url, commit) == nil {
		return nil
	}
	if git.IsCommit(s.ref) && s.git.CheckoutCommit(ctx, s.dir, url, s.ref) == nil {
		return nil
	}
	if err := s.git.Fetch(ctx, s.dir, url, s.ref); err != nil {
		return err
	}
	return s.git.CheckoutCommit(ctx, s.dir, url, "FETCH_HEAD")
}

// cloneFailed names the repository, git's reason, which often has lines of its
// own, and the way out.
func cloneFailed(repo Repo, err error) error {
	advice := map[git.Reason]string{
		git.ReasonAccess:   "Check that the run's credentials may read the repository.",
		git.ReasonNotFound: "Check the spelling, and that the run's credentials may read the repository.",
		git.ReasonRef:      "Set checkout_ref to a branch, tag or full commit of the repository, or leave it out.",
		git.ReasonNetwork:  "Check that the git host can be reached from the sandbox, then start the run again.",
		git.ReasonDisk:     "Give the sandbox more disk space.",
		git.ReasonTimeout:  "Make the repository smaller, or raise the time limit.",
	}[git.ReasonOf(err)]
	if advice == "" {
		advice = "Mend the repository's entry in the environment."
	}
	return task.Errorf(task.CodeEnvironmentSetupFailed, "clone of repository %s failed: %w\n%s", repo, err, advice)
}

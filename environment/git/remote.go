package git

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
)

// Refs is what a remote has.
type Refs struct {
	// DefaultBranch is the branch that the remote's HEAD names, without
	// "refs/heads/". "" if HEAD is detached, or if the remote has no HEAD.
	DefaultBranch string
	// Head is the commit of HEAD; "" in an empty repository, or if HEAD names
	// a branch that does not exist.
	Head string
	// Branches maps branch names to commits.
	Branches map[string]string
}

// Empty reports a repository without any branch.
func (r Refs) Empty() bool { return r.Head == "" && len(r.Branches) == 0 }

// RemoteRefs asks the repository at url for its HEAD and branches.
func (g *Git) RemoteRefs(ctx context.Context, url string) (Refs, error) {
	res, err := g.lsRemote(ctx, url, "HEAD", "refs/heads/*")
	if err != nil {
		return Refs{}, err
	}
	if res.Truncated {
		return Refs{}, fmt.Errorf("git ls-remote: the repository lists more than %d bytes of branches", g.opts.MaxOutputBytes)
	}
	return parseRefs(string(res.Stdout)), nil
}

// RemoteHead gives the commit that ref (a branch, or a full name such as
// "refs/tags/v1", or "HEAD") has at url; "" if it has none.
func (g *Git) RemoteHead(ctx context.Context, url, ref string) (string, error) {
	if err := CheckRef(ref); err != nil {
		return "", fmt.Errorf("ref %q %w", ref, err)
	}
	if ref != "HEAD" && !strings.HasPrefix(ref, "refs/") {
		ref = branchPrefix + ref
	}
	res, err := g.lsRemote(ctx, url, ref)
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(string(res.Stdout)) {
		// A pattern also matches the end of longer names.
		if sha, name, ok := strings.Cut(strings.TrimSpace(line), "\t"); ok && name == ref && IsCommit(sha) {
			return sha, nil
		}
	}
	return "", nil
}

const branchPrefix = "refs/heads/"

// lsRemote runs outside any repository, so that no local configuration is read.
func (g *Git) lsRemote(ctx context.Context, url string, patterns ...string) (Result, error) {
	args := append([]string{"ls-remote", "--quiet", "--symref"}, "--")
	return g.remoteExec(ctx, url, g.state, "ls-remote", func(url string) []string {
		return append(append(args, url), patterns...)
	})
}

// parseRefs reads the output of ls-remote --symref. Lines it does not know are skipped.
func parseRefs(out string) Refs {
	refs := Refs{Branches: map[string]string{}}
	for line := range strings.Lines(out) {
		left, name, ok := strings.Cut(strings.TrimRight(line, "\n"), "\t")
		branch, isBranch := strings.CutPrefix(name, branchPrefix)
		target, isSymref := strings.CutPrefix(left, "ref: "+branchPrefix)
		switch {
		case !ok:
		case isSymref && name == "HEAD":
			refs.DefaultBranch = target
		case name == "HEAD" && IsCommit(left):
			refs.Head = left
		case isBranch && IsCommit(left):
			refs.Branches[branch] = left
		}
	}
	return refs
}

// CloneOptions says what kind of clone to make. The zero value is a full clone.
type CloneOptions struct {
	// Treeless leaves trees and files of history at the remote, to be fetched
	// when needed, if the remote allows it; otherwise the clone is full.
	Treeless bool
	// Bare makes a repository without a work tree, with all branches and tags
	// of the remote as its own.
	Bare bool
}

// Clone makes a repository in dest, which must not exist, with url as its
// "origin". It checks nothing out: see CheckoutBranch. An empty repository is no error.
// After a failure dest may hold a part.
func (g *Git) Clone(ctx context.Context, url, dest string, opts CloneOptions) error {
	err := g.clone(ctx, url, dest, opts)
	// A server that knows no filters makes git warn and clone in full. One
	// that knows filters but not this kind makes it fail.
	if opts.Treeless && err != nil && ctx.Err() == nil && strings.Contains(err.Error(), "filter") {
		opts.Treeless = false
		err = g.clone(ctx, url, dest, opts)
	}
	return err
}

func (g *Git) clone(ctx context.Context, url, dest string, opts CloneOptions) error {
	args := []string{"clone", "--quiet", "--no-recurse-submodules"}
	if opts.Bare {
		args = append(args, "--bare")
	} else {
		args = append(args, "--no-checkout", "--origin=origin")
	}
	if opts.Treeless {
		args = append(args, "--filter=tree:0")
	}
	_, err := g.remoteExec(ctx, url, g.state, "clone", func(url string) []string {
		return append(args, "--", url, dest)
	})
	return err
}

// CloneCopy makes a repository in dest from the one in the local directory
// mirror, copying its objects: nothing is shared with the mirror afterwards.
// origin becomes url. Like Clone, it checks nothing out.
func (g *Git) CloneCopy(ctx context.Context, mirror, url, dest string) error {
	r, err := g.remote(ctx, url)
	if err != nil {
		return err
	}
	args := []string{"clone", "--quiet", "--no-recurse-submodules", "--no-checkout", "--origin=origin",
		"--local", "--no-hardlinks", "--", mirror, dest}
	if _, err := g.exec(ctx, command{op: "clone", dir: g.state, args: args, timeout: g.opts.RemoteTimeout}); err != nil {
		return err
	}
	_, err = g.own(ctx, dest, "remote", "set-url", "origin", r.url)
	return err
}

// Fetch brings refspecs, or by default all branches of origin, from url into
// the repository dir, which must be one that this package made and nobody else
// has touched: its configuration is read by a process with credentials.
func (g *Git) Fetch(ctx context.Context, dir, url string, refspecs ...string) error {
	if len(refspecs) == 0 {
		refspecs = []string{"+refs/heads/*:" + remotePrefix + "*"}
	}
	_, err := g.remoteExec(ctx, url, dir, "fetch", func(string) []string {
		// By its name, so that a partial clone stays partial.
		return append([]string{"fetch", "--quiet", "--force", "--prune", "--no-recurse-submodules", "--", "origin"}, refspecs...)
	})
	return err
}

// CheckoutBranch puts the files of origin's branch, as last fetched, into the
// work tree of dir and makes HEAD a local branch of that name which follows it.
// It may fetch what a treeless clone lacks from url. The repository must be one
// that this package made, as for Fetch.
func (g *Git) CheckoutBranch(ctx context.Context, dir, url, branch string) error {
	if err := CheckRef(branch); err != nil {
		return fmt.Errorf("branch %q %w", branch, err)
	}
	return g.checkout(ctx, dir, url, "-B", branch, "--track", remotePrefix+branch)
}

// CheckoutCommit is like CheckoutBranch for a commit or a full ref name, on
// which HEAD is detached.
func (g *Git) CheckoutCommit(ctx context.Context, dir, url, commit string) error {
	if err := CheckRef(commit); err != nil {
		return fmt.Errorf("commit %q %w", commit, err)
	}
	return g.checkout(ctx, dir, url, "--detach", commit)
}

func (g *Git) checkout(ctx context.Context, dir, url string, args ...string) error {
	_, err := g.remoteExec(ctx, url, dir, "checkout", func(string) []string {
		return append([]string{"checkout", "--quiet", "--force"}, args...)
	})
	return err
}

// remoteExec runs a command that may use the credential for url.
func (g *Git) remoteExec(ctx context.Context, url, dir, op string, args func(url string) []string) (Result, error) {
	r, err := g.remote(ctx, url)
	if err != nil {
		return Result{}, err
	}
	return g.exec(ctx, command{op: op, dir: dir, args: args(r.url), env: r.env, settings: r.settings,
		secrets: r.secrets, timeout: g.opts.RemoteTimeout})
}

// own runs a local command in a repository that nobody else has touched.
func (g *Git) own(ctx context.Context, dir string, args ...string) (Result, error) {
	return g.exec(ctx, command{op: args[0], dir: dir, args: args, timeout: g.opts.LocalTimeout})
}

// OriginRefs gives the branches of origin as last fetched into dir, with the
// current branch and its commit as DefaultBranch and Head. The repository must
// be one that this package made, as for Fetch.
func (g *Git) OriginRefs(ctx context.Context, dir string) (Refs, error) {
	res, err := g.own(ctx, dir, "for-each-ref", "--format=%(objectname) %(HEAD) %(refname)", "refs/heads", remotePrefix)
	if err != nil {
		return Refs{}, err
	}
	if res.Truncated {
		return Refs{}, fmt.Errorf("git for-each-ref: more than %d bytes of branches", g.opts.MaxOutputBytes)
	}
	refs := Refs{Branches: map[string]string{}}
	for line := range strings.Lines(string(res.Stdout)) {
		sha, rest, _ := strings.Cut(strings.TrimRight(line, "\n"), " ")
		name, isCurrent := strings.CutPrefix(rest, "* ")
		name = strings.TrimSpace(name)
		if isCurrent {
			refs.DefaultBranch, refs.Head = strings.TrimPrefix(name, branchPrefix), sha
		}
		if branch, ok := strings.CutPrefix(name, remotePrefix); ok && branch != "HEAD" {
			refs.Branches[branch] = sha
		}
	}
	return refs, nil
}

// SetOriginHead makes branch what origin's HEAD is taken for in dir, which must
// be a repository that this package made, as for Fetch.
func (g *Git) SetOriginHead(ctx context.Context, dir, branch string) error {
	_, err := g.own(ctx, dir, "symbolic-ref", remotePrefix+"HEAD", remotePrefix+branch)
	return err
}

const remotePrefix = "refs/remotes/origin/"

// UpdateMirror makes the bare repository dir hold the branches and tags of url,
// with branch (if not "") as the default one, and packs it anew when it has
// gathered many packs.
func (g *Git) UpdateMirror(ctx context.Context, dir, url, branch string) error {
	_, err := g.remoteExec(ctx, url, dir, "fetch", func(url string) []string {
		return []string{"fetch", "--quiet", "--force", "--prune", "--no-recurse-submodules", "--", url,
			"+refs/heads/*:refs/heads/*", "+refs/tags/*:refs/tags/*"}
	})
	if err != nil {
		return err
	}
	if branch != "" {
		if _, err := g.own(ctx, dir, "symbolic-ref", "HEAD", branchPrefix+branch); err != nil {
			return err
		}
	}
	packs, err := filepath.Glob(filepath.Join(dir, "objects", "pack", "*.pack"))
	if err != nil || len(packs) <= maxPacks {
		return err
	}
	_, err = g.exec(ctx, command{op: "repack", dir: dir, args: []string{"repack", "-a", "-d", "--quiet"}, timeout: g.opts.RemoteTimeout})
	return err
}

// maxPacks is when a mirror is packed anew; git's own gc.autoPackLimit is 50,
// but each clone copies them all.
const maxPacks = 20

// RemoveOrigin forgets the address of origin in the work tree whose top is dir,
// and keeps what was fetched from it. It is no error if there is none.
func (g *Git) RemoveOrigin(ctx context.Context, dir string) error {
	url, err := g.optional(ctx, dir, "config", "--local", "--get", "remote.origin.url")
	if err != nil || url == "" {
		return err
	}
	// Not "git remote remove": that one does not heed core.hooksPath.
	_, err = g.local(ctx, dir, "", "config", "--local", "--remove-section", "remote.origin")
	return err
}

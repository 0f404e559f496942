package git

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// PushResult says how a commit came to be on the remote branch.
type PushResult struct {
	// Commit is what the remote branch holds now: the pushed commit or, if
	// somebody has built on it since, a descendant.
	Commit string
	// Already says that it was there before; nothing was sent.
	Already bool
}

// Push makes branch at url hold commit (a full name; "" is HEAD) of the
// repository dir, never by force, and asks the remote whether it does. A push
// whose commit is already there, or below what is there, succeeds without
// sending anything, so it may be repeated after a crash. It fails with an
// *Error of ReasonRejected if the branch has other commits, or ErrNotArrived.
func (g *Git) Push(ctx context.Context, dir, url, commit, branch string) (PushResult, error) {
	if err := CheckRef(branch); err != nil {
		return PushResult{}, fmt.Errorf("branch %q %w", branch, err)
	}
	sha, err := g.commitName(ctx, dir, commit)
	if err != nil {
		return PushResult{}, err
	}
	tip, err := g.RemoteHead(ctx, url, branch)
	if err != nil {
		return PushResult{}, err
	}
	if tip == sha {
		return PushResult{Commit: sha, Already: true}, nil
	}
	outbox, err := g.outbox(ctx, dir)
	if err != nil {
		return PushResult{}, err
	}
	defer outbox.remove()
	if tip != "" && outbox.contains(ctx, url, branch, sha) {
		return PushResult{Commit: tip, Already: true}, nil
	}
	return outbox.push(ctx, url, sha, branch)
}

// commitName resolves commit in dir.
func (g *Git) commitName(ctx context.Context, dir, commit string) (string, error) {
	if commit != "" && !IsCommit(commit) {
		return "", fmt.Errorf("commit %q is not a full commit name of 40 hexadecimal digits", commit)
	}
	if commit == "" {
		commit = "HEAD"
	}
	sha, err := g.optional(ctx, dir, "rev-parse", "--verify", "--quiet", commit+"^{commit}")
	if err != nil {
		return "", err
	}
	if sha == "" {
		return "", fmt.Errorf("%s: no commit %s to push: commit first", dir, commit)
	}
	return sha, nil
}

// outbox is an empty repository that borrows the objects of another. It is
// what a push with credentials works from, because the other's configuration
// may redirect addresses, add proxies or name programs.
type outbox struct {
	g       *Git
	dir     string
	partial bool // the other repository is a treeless clone
}

func (g *Git) outbox(ctx context.Context, repo string) (*outbox, error) {
	res, err := g.local(ctx, repo, "", "rev-parse", "--path-format=absolute", "--git-path", "objects", "--show-object-format")
	if err != nil {
		return nil, err
	}
	objects, format, _ := strings.Cut(strings.TrimSpace(string(res.Stdout)), "\n")
	dir, err := os.MkdirTemp(g.state, "push-")
	if err != nil {
		return nil, err
	}
	o := &outbox{g: g, dir: dir}
	promisors, _ := filepath.Glob(filepath.Join(objects, "pack", "*.promisor"))
	o.partial = len(promisors) > 0
	if _, err := g.own(ctx, dir, "init", "--quiet", "--bare", "--object-format="+format); err != nil {
		o.remove()
		return nil, err
	}
	alternates := filepath.Join(dir, "objects", "info", "alternates")
	if err := os.WriteFile(alternates, []byte(objects+"\n"), 0o600); err != nil {
		o.remove()
		return nil, err
	}
	return o, nil
}

func (o *outbox) remove() { _ = os.RemoveAll(o.dir) } // the state directory goes with it at Close

// promise lets git fetch what a treeless clone lacks from url.
func (o *outbox) promise(url string) []setting {
	if !o.partial {
		return nil
	}
	return []setting{
		{"remote.origin.url", url},
		{"remote.origin.promisor", "true"},
		{"remote.origin.partialCloneFilter", "tree:0"},
	}
}

func (o *outbox) run(ctx context.Context, url, op string, args func(url string) []string) error {
	r, err := o.g.remote(ctx, url)
	if err != nil {
		return err
	}
	_, err = o.g.exec(ctx, command{op: op, dir: o.dir, args: args(r.url), env: r.env,
		settings: append(r.settings, o.promise(r.url)...), secrets: r.secrets, timeout: o.g.opts.RemoteTimeout})
	return err
}

// contains reports whether the remote branch has sha in its history. When it
// cannot be found out the answer is no, and the push itself will tell.
func (o *outbox) contains(ctx context.Context, url, branch, sha string) bool {
	err := o.run(ctx, url, "fetch", func(url string) []string {
		return []string{"fetch", "--quiet", "--no-tags", "--", url, "+" + branchPrefix + branch + ":refs/tip"}
	})
	if err != nil {
		return false
	}
	_, err = o.g.own(ctx, o.dir, "merge-base", "--is-ancestor", sha, "refs/tip")
	return err == nil
}

// push sends sha and believes only what the remote says afterwards: a
// connection that broke may have delivered, one that ended well may have not.
func (o *outbox) push(ctx context.Context, url, sha, branch string) (PushResult, error) {
	sent := o.run(ctx, url, "push", func(url string) []string {
		return []string{"push", "--quiet", "--no-verify", "--no-recurse-submodules", "--", url, sha + ":" + branchPrefix + branch}
	})
	tip, err := o.g.RemoteHead(ctx, url, branch)
	switch {
	case err == nil && tip == sha:
		return PushResult{Commit: sha}, nil
	case sent != nil:
		return PushResult{}, sent
	case err != nil:
		return PushResult{}, fmt.Errorf("ask the remote whether the push arrived: %w", err)
	}
	return PushResult{}, fmt.Errorf("branch %s is at %q, not at %s: %w", branch, tip, sha, ErrNotArrived)
}

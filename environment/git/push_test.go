package git_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"gotest.tools/v3/assert"

	"github.com/oz-platform/cloudagents/environment/git"
	"github.com/oz-platform/cloudagents/environment/internal/gittest"
)

// remoteHook installs a hook in the remote of r that first notes each push in
// the file it returns the count of.
func remoteHook(t *testing.T, r *gittest.Repo, name, then string) (pushes func() int) {
	t.Helper()
	log := filepath.Join(t.TempDir(), "log")
	script := "#!/bin/sh\necho x >> '" + log + "'\n" + then + "\n"
	assert.NilError(t, os.WriteFile(filepath.Join(r.Bare, "hooks", name), []byte(script), 0o755))
	return func() int {
		data, err := os.ReadFile(log)
		assert.Assert(t, err == nil || errors.Is(err, os.ErrNotExist))
		return strings.Count(string(data), "x")
	}
}

func TestPushArrivesOnce(t *testing.T) {
	g, ctx := open(t, nil), t.Context()
	r := gittest.New(t, "app", map[string]string{"a": "1"})
	pushes := remoteHook(t, r, "post-receive", "")
	dir := clone(t, g, r)
	gittest.WriteFiles(t, dir, map[string]string{"a": "2"})
	sha, err := g.Commit(ctx, dir, "fix")
	assert.NilError(t, err)

	res, err := g.Push(ctx, dir, r.URL(), sha, "oz/fix")
	assert.NilError(t, err)
	assert.DeepEqual(t, res, git.PushResult{Commit: sha})
	assert.Equal(t, r.Head(t, "oz/fix"), sha)
	assert.Equal(t, pushes(), 1)

	// A restart pushes again: nothing is sent.
	res, err = g.Push(ctx, dir, r.URL(), sha, "oz/fix")
	assert.NilError(t, err)
	assert.DeepEqual(t, res, git.PushResult{Commit: sha, Already: true})
	assert.Equal(t, pushes(), 1)

	// Also when somebody has built on it meanwhile.
	gittest.Git(t, r.Work, "fetch", "--quiet", "origin", "oz/fix")
	gittest.Git(t, r.Work, "reset", "--quiet", "--hard", "FETCH_HEAD")
	later := r.Commit(t, "oz/fix", map[string]string{"b": "3"})
	assert.Equal(t, pushes(), 2)
	res, err = g.Push(ctx, dir, r.URL(), sha, "oz/fix")
	assert.NilError(t, err)
	assert.DeepEqual(t, res, git.PushResult{Commit: later, Already: true})
	assert.Equal(t, pushes(), 2)

	// What somebody else has on the branch is never overwritten.
	gittest.WriteFiles(t, dir, map[string]string{"a": "other"})
	other, err := g.Commit(ctx, dir, "another way")
	assert.NilError(t, err)
	_, err = g.Push(ctx, dir, r.URL(), other, "oz/fix")
	assert.Equal(t, git.ReasonOf(err), git.ReasonRejected, "%v", err)
	assert.Equal(t, r.Head(t, "oz/fix"), later)
}

func TestPushBelievesOnlyTheRemote(t *testing.T) {
	g, ctx := open(t, nil), t.Context()
	r := gittest.New(t, "app", map[string]string{"a": "1"})
	dir := clone(t, g, r)
	gittest.WriteFiles(t, dir, map[string]string{"a": "2"})
	sha, err := g.Commit(ctx, dir, "fix")
	assert.NilError(t, err)

	remoteHook(t, r, "update", "echo protected >&2; exit 1")
	_, err = g.Push(ctx, dir, r.URL(), sha, "protected")
	assert.Equal(t, git.ReasonOf(err), git.ReasonRejected, "%v", err)
	assert.NilError(t, os.Remove(filepath.Join(r.Bare, "hooks", "update")))

	// Accepted, and then moved away by the host: git is content, we are not.
	remoteHook(t, r, "post-receive", "git update-ref -d refs/heads/gone")
	_, err = g.Push(ctx, dir, r.URL(), sha, "gone")
	assert.ErrorIs(t, err, git.ErrNotArrived)

	// Delivered, although the connection died before git heard of it.
	remoteHook(t, r, "post-receive", "kill -9 $PPID")
	res, err := g.Push(ctx, dir, r.URL(), sha, "cut")
	assert.NilError(t, err)
	assert.DeepEqual(t, res, git.PushResult{Commit: sha})

	for _, bad := range []string{"-f", "+x", "a:b", ""} {
		_, err = g.Push(ctx, dir, r.URL(), sha, bad)
		assert.ErrorContains(t, err, "branch", "%q", bad)
	}
	_, err = g.Push(ctx, dir, r.URL(), "abc", "x")
	assert.ErrorContains(t, err, "full commit name")
	_, err = g.Push(ctx, dir, r.URL(), strings.Repeat("a", 40), "x")
	assert.ErrorContains(t, err, "no commit")
}

func TestPushFromTreelessClone(t *testing.T) {
	g, ctx := open(t, nil), t.Context()
	r := gittest.New(t, "app", map[string]string{"a/b/c": "1", "d": "1"})
	r.Commit(t, "main", map[string]string{"a/b/c": "2"})
	gittest.Git(t, r.Bare, "config", "uploadpack.allowFilter", "true")
	gittest.Git(t, r.Bare, "config", "uploadpack.allowAnySHA1InWant", "true")
	dir := filepath.Join(t.TempDir(), "app")
	assert.NilError(t, g.Clone(ctx, r.URL(), dir, git.CloneOptions{Treeless: true}))
	missing := func() string { return gittest.Git(t, dir, "rev-list", "--objects", "--all", "--missing=print") }
	assert.Assert(t, strings.Contains(missing(), "?"), "the clone is not treeless")
	assert.NilError(t, g.CheckoutBranch(ctx, dir, r.URL(), "main"))
	assert.Assert(t, strings.Contains(missing(), "?"), "the checkout fetched all of history")

	// The remote moves on, so that it no longer advertises our base.
	r.Commit(t, "main", map[string]string{"d": "3"})
	gittest.WriteFiles(t, dir, map[string]string{"a/new": "x"})
	sha, err := g.Commit(ctx, dir, "fix")
	assert.NilError(t, err)
	res, err := g.Push(ctx, dir, r.URL(), sha, "oz/fix")
	assert.NilError(t, err)
	assert.Equal(t, res.Commit, sha)
	assert.Equal(t, r.Head(t, "oz/fix"), sha)
	gittest.Git(t, r.Bare, "fsck", "--strict")
}

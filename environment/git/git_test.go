package git_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
	"gotest.tools/v3/assert"
	"pgregory.net/rapid"

	"github.com/oz-platform/cloudagents/environment/git"
	"github.com/oz-platform/cloudagents/environment/internal/gittest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func open(t testing.TB, opts *git.Options) *git.Git {
	t.Helper()
	g, err := git.Open(t.Context(), opts)
	assert.NilError(t, err)
	t.Cleanup(func() { assert.NilError(t, g.Close()) })
	return g
}

// clone makes a work tree of r on its default branch.
func clone(t *testing.T, g *git.Git, r *gittest.Repo) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "clone")
	assert.NilError(t, g.Clone(t.Context(), r.URL(), dir, git.CloneOptions{}))
	assert.NilError(t, g.CheckoutBranch(t.Context(), dir, r.URL(), "main"))
	return dir
}

func TestOpenNamesWhatIsMissing(t *testing.T) {
	_, err := git.Open(t.Context(), &git.Options{Path: "no-such-git"})
	assert.ErrorContains(t, err, "install it")

	old := filepath.Join(t.TempDir(), "git")
	assert.NilError(t, os.WriteFile(old, []byte("#!/bin/sh\necho git version 2.31.8\n"), 0o755))
	_, err = git.Open(t.Context(), &git.Options{Path: old})
	assert.ErrorContains(t, err, "2.31 is too old")

	assert.NilError(t, os.WriteFile(old, []byte("#!/bin/sh\necho hello\n"), 0o755))
	_, err = git.Open(t.Context(), &git.Options{Path: old})
	assert.ErrorContains(t, err, `"hello"`)
}

func TestCommitStatusDiff(t *testing.T) {
	g, ctx := open(t, &git.Options{Name: "Robot", Email: "robot@example.com"}), t.Context()
	r := gittest.New(t, "app", map[string]string{"a.txt": "one\n", "old name": "moved content\n", ".gitignore": "*.log\n"})
	dir := clone(t, g, r)

	changes, err := g.Status(ctx, dir)
	assert.NilError(t, err)
	assert.Equal(t, len(changes), 0)
	_, err = g.Commit(ctx, dir, "nothing")
	assert.ErrorIs(t, err, git.ErrNothingToCommit)

	gittest.WriteFiles(t, dir, map[string]string{"a.txt": "two\n", "dir/nüw\nline": "x", "noise.log": "x"})
	_, err = g.Run(ctx, dir, "mv", "old name", "new name")
	assert.NilError(t, err)
	changes, err = g.Status(ctx, dir)
	assert.NilError(t, err)
	assert.Assert(t, cmp.Equal(changes, []git.Change{
		{Code: " M", Path: "a.txt"}, {Code: "R ", Path: "new name"}, {Code: "??", Path: "dir/nüw\nline"},
	}), "%q", changes)

	diff, err := g.Diff(ctx, dir, "")
	assert.NilError(t, err)
	assert.Assert(t, strings.Contains(string(diff.Stdout), "-one\n+two\n"), "%s", diff.Stdout)

	before, err := g.Head(ctx, dir)
	assert.NilError(t, err)
	sha, err := g.Commit(ctx, dir, "Subject\n\n# not a comment\n")
	assert.NilError(t, err)
	assert.Assert(t, git.IsCommit(sha) && sha != before)
	assert.Equal(t, gittest.Git(t, dir, "log", "-1", "--format=%an <%ae>|%B"), "Robot <robot@example.com>|Subject\n\n# not a comment")
	assert.Equal(t, gittest.Git(t, dir, "status", "--porcelain"), "")

	diff, err = g.Diff(ctx, dir, before)
	assert.NilError(t, err)
	assert.Assert(t, strings.Contains(string(diff.Stdout), "rename to new name"))
	_, err = g.Diff(ctx, dir, "--output=/tmp/x")
	assert.ErrorContains(t, err, "must not begin with '-'")
	_, err = g.Commit(ctx, dir, " \n")
	assert.ErrorContains(t, err, "message is empty")
}

func TestEmptyRepositoryGetsItsFirstCommit(t *testing.T) {
	g, ctx := open(t, nil), t.Context()
	r := gittest.New(t, "app", nil)
	dir := filepath.Join(t.TempDir(), "app")
	assert.NilError(t, g.Clone(ctx, r.URL(), dir, git.CloneOptions{Treeless: true}))

	head, err := g.Head(ctx, dir)
	assert.NilError(t, err)
	assert.Equal(t, head, "")
	branch, err := g.CurrentBranch(ctx, dir)
	assert.NilError(t, err)
	assert.Equal(t, branch, "main")
	_, err = g.Push(ctx, dir, r.URL(), "", "main")
	assert.ErrorContains(t, err, "commit first")

	gittest.WriteFiles(t, dir, map[string]string{"README": "hello\n"})
	_, err = g.Run(ctx, dir, "add", "--all")
	assert.NilError(t, err)
	diff, err := g.Diff(ctx, dir, "")
	assert.NilError(t, err)
	assert.Assert(t, strings.Contains(string(diff.Stdout), "+hello"))
	sha, err := g.Commit(ctx, dir, "first")
	assert.NilError(t, err)
	res, err := g.Push(ctx, dir, r.URL(), "", "main")
	assert.NilError(t, err)
	assert.DeepEqual(t, res, git.PushResult{Commit: sha})
	assert.Equal(t, r.Head(t, "main"), sha)
}

func TestRemoteRefs(t *testing.T) {
	g, ctx := open(t, nil), t.Context()
	r := gittest.New(t, "app", map[string]string{"a": "1"})
	one := r.Head(t, "main")
	two := r.Commit(t, "team/main", map[string]string{"a": "2"})
	refs, err := g.RemoteRefs(ctx, r.URL())
	assert.NilError(t, err)
	assert.DeepEqual(t, refs, git.Refs{DefaultBranch: "main", Head: one, Branches: map[string]string{"main": one, "team/main": two}})

	sha, err := g.RemoteHead(ctx, r.URL(), "main") // not the tail of team/main
	assert.NilError(t, err)
	assert.Equal(t, sha, one)
	sha, err = g.RemoteHead(ctx, r.URL(), "none")
	assert.NilError(t, err)
	assert.Equal(t, sha, "")

	_, err = g.RemoteRefs(ctx, "file:///no/such/repository")
	assert.Equal(t, git.ReasonOf(err), git.ReasonNotFound, "%v", err)
	_, err = g.RemoteRefs(ctx, "http://127.0.0.1:1/x/y")
	assert.Equal(t, git.ReasonOf(err), git.ReasonNetwork, "%v", err)
	_, err = g.RemoteRefs(ctx, "ext::sh -c true")
	assert.ErrorContains(t, err, "repository URL")
}

func TestRunTakesOnlyLocalCommands(t *testing.T) {
	g, ctx := open(t, nil), t.Context()
	dir := clone(t, g, gittest.New(t, "app", map[string]string{"a": "1"}))
	for _, args := range [][]string{{}, {"push"}, {"-c", "x=y", "status"}, {"config", "a.b", "c"}, {"some-alias"}} {
		_, err := g.Run(ctx, dir, args...)
		assert.ErrorContains(t, err, "git.Run takes one of", "%q", args)
	}
	_, err := g.Run(ctx, filepath.Join(dir, ".git"), "status")
	assert.ErrorIs(t, err, git.ErrNotRepository)
}

func TestCommandsAreBounded(t *testing.T) {
	ctx := t.Context()
	r := gittest.New(t, "app", map[string]string{"a": strings.Repeat("0123456789\n", 1000)})
	small := open(t, &git.Options{MaxOutputBytes: 100})
	dir := clone(t, small, r)
	res, err := small.Run(ctx, dir, "show", "HEAD:a")
	assert.NilError(t, err)
	assert.Assert(t, res.Truncated && len(res.Stdout) == 100)
	gittest.WriteFiles(t, dir, map[string]string{strings.Repeat("long", 30): "x"})
	_, err = small.Status(ctx, dir)
	assert.ErrorContains(t, err, ".gitignore")

	hang := filepath.Join(t.TempDir(), "git")
	assert.NilError(t, os.WriteFile(hang, []byte("#!/bin/sh\ntest \"$1\" = version && exec git version\nsleep 600 & wait\n"), 0o755))
	slow := open(t, &git.Options{Path: hang, RemoteTimeout: 50 * time.Millisecond})
	_, err = slow.RemoteRefs(ctx, r.URL())
	assert.Equal(t, git.ReasonOf(err), git.ReasonTimeout)
	assert.ErrorIs(t, err, context.DeadlineExceeded)
	assert.ErrorContains(t, err, "git ls-remote: no end after 50ms")

	stop := errors.New("stop")
	cancelled, cancel := context.WithCancelCause(ctx)
	cancel(stop)
	_, err = slow.RemoteRefs(cancelled, r.URL())
	assert.Equal(t, git.ReasonOf(err), git.ReasonCancelled)
	assert.ErrorIs(t, err, stop)
}

func TestCheckURL(t *testing.T) {
	for _, good := range []string{
		"https://example.com/team/app", "https://example.com:8443/a/b/c.git", "http://localhost/x", "git://example.com/x",
		"ssh://git@example.com/team/app.git", "ssh://example.com:22/x", "file:///srv/git/app.git",
	} {
		assert.NilError(t, git.CheckURL(good), good)
	}
	for bad, why := range map[string]string{
		"":                              "is empty",
		"git@example.com:team/app":      "is not a URL",
		"team/app":                      "must begin with",
		"ext::sh -c id":                 "space",
		"ext::sh":                       "must begin with",
		"ftp://example.com/x":           "must begin with",
		"https://u:p@example.com/x":     "credentials",
		"https://token@example.com/x":   "credentials",
		"ssh://git:pw@example.com/x":    "password",
		"ssh://-oProxyCommand=id/x":     "begins with '-'",
		"ssh://-oProxyCommand@host/x":   "begins with '-'",
		"https://example.com/-x":        "begins with '-'",
		"https://example.com":           "names no repository",
		"https:///x":                    "names no host",
		"file://host/x":                 "local path",
		"file:///":                      "names no repository",
		"https:example.com/x":           "must have //",
		"file:/srv/x":                   "must have //",
		"https://example.com/x?token=1": "query",
		"https://example.com/x#y":       "query",
		"https://example.com/x\ny":      "control character",
		"https://example.com/\xff":      "UTF-8",
		"https://exa%zzmple.com/x":      "is not a URL",
		"https://example.com/" + strings.Repeat("x", git.MaxURLBytes): "longer",
	} {
		err := git.CheckURL(bad)
		assert.ErrorContains(t, err, why, "%q", bad)
		assert.Assert(t, bad == "" || !strings.Contains(err.Error(), bad), "the error repeats %q", bad)
	}
}

// CheckRef must accept nothing that git itself refuses as a branch.
func TestCheckRefAgreesWithGit(t *testing.T) {
	for _, good := range []string{"main", "feature/x-1", "v1.2", "0123456789012345678901234567890123456789", "ü"} {
		assert.NilError(t, git.CheckRef(good), good)
	}
	for _, bad := range []string{"", "-x", "+x", "a..b", "a b", "a:b", "a^", "x.lock", ".x", "a/.b", "x/", "/x", "x.", "@", "a@{1}", "a//b", "a\x7f"} {
		assert.Assert(t, git.CheckRef(bad) != nil, "%q", bad)
	}
	rapid.Check(t, func(t *rapid.T) {
		ref := rapid.StringMatching(`[a@./\-+{~^:?*\\ \[]{1,6}(\.lock)?`).Draw(t, "ref")
		if git.CheckRef(ref) == nil {
			err := gittest.Command("/", "check-ref-format", "--branch", ref).Run()
			assert.NilError(t, err, "%q", ref)
		}
	})
}

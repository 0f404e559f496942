package git_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"gotest.tools/v3/assert"

	"github.com/oz-platform/cloudagents/environment/git"
	"github.com/oz-platform/cloudagents/environment/internal/gittest"
)

// files reads those of a work tree, without .git; "->" marks a link.
func files(t *testing.T, dir string) map[string]string {
	t.Helper()
	found := map[string]string{}
	assert.NilError(t, filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.Name() == ".git" {
			if d != nil && d.IsDir() {
				return filepath.SkipDir
			}
			return err
		}
		rel, _ := filepath.Rel(dir, path)
		switch {
		case d.Type()&os.ModeSymlink != 0:
			to, err := os.Readlink(path)
			found[rel] = "->" + to
			return err
		case d.Type().IsRegular():
			data, err := os.ReadFile(path)
			info, _ := d.Info()
			found[rel] = string(data)
			if info.Mode()&0o100 != 0 {
				found[rel] += " (x)"
			}
			return err
		}
		return nil
	}))
	return found
}

func head(t *testing.T, g *git.Git, dir string) string {
	t.Helper()
	sha, err := g.Head(t.Context(), dir)
	assert.NilError(t, err)
	return sha
}

// carry saves the state of one clone and restores it in another.
func carry(t *testing.T, g *git.Git, r *gittest.Repo, from string, s git.WorkState) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "state.bundle")
	assert.NilError(t, g.Bundle(t.Context(), from, s, file))
	to := clone(t, g, r)
	assert.NilError(t, g.Restore(t.Context(), to, r.URL(), s, file))
	return to
}

func TestStateSurvivesTheWorkTree(t *testing.T) {
	g, ctx := open(t, nil), t.Context()
	r := gittest.New(t, "app", map[string]string{"a.txt": "one\n", "gone.txt": "x\n", "sub/b.bin": "\x00\x01", ".gitignore": "*.log\n"})
	dir := clone(t, g, r)
	base := head(t, g, dir)

	_, err := g.SaveState(ctx, dir, base, nil)
	assert.ErrorIs(t, err, git.ErrNothingToKeep)

	_, err = g.Run(ctx, dir, "checkout", "--quiet", "-b", "oz/work")
	assert.NilError(t, err)
	gittest.WriteFiles(t, dir, map[string]string{"a.txt": "two\n", "new/c.txt": "c\n"})
	_, err = g.Commit(ctx, dir, "A commit of the agent's")
	assert.NilError(t, err)
	gittest.WriteFiles(t, dir, map[string]string{"a.txt": "three\n", "nüw\nfile": "untracked", "run.sh": "#!/bin/sh\n", "noise.log": "ignored", "staged.txt": "s"})
	assert.NilError(t, os.Chmod(filepath.Join(dir, "run.sh"), 0o755))
	assert.NilError(t, os.Remove(filepath.Join(dir, "gone.txt")))
	assert.NilError(t, os.Symlink("a.txt", filepath.Join(dir, "link")))
	_, err = g.Run(ctx, dir, "add", "staged.txt")
	assert.NilError(t, err)
	before, err := g.Status(ctx, dir)
	assert.NilError(t, err)

	s, err := g.SaveState(ctx, dir, base, nil)
	assert.NilError(t, err)
	assert.Equal(t, s.Branch, "oz/work")
	assert.Equal(t, s.Head, head(t, g, dir))
	after, err := g.Status(ctx, dir)
	assert.NilError(t, err)
	assert.DeepEqual(t, after, before) // nothing has moved

	to := carry(t, g, r, dir, s)
	want := files(t, dir)
	delete(want, "noise.log")
	assert.DeepEqual(t, files(t, to), want)
	assert.Equal(t, head(t, g, to), s.Head)
	branch, err := g.CurrentBranch(ctx, to)
	assert.NilError(t, err)
	assert.Equal(t, branch, "oz/work")
	// What was not committed is not committed now, and the push goes on.
	_, err = g.Commit(ctx, to, "The rest")
	assert.NilError(t, err)
	_, err = g.Push(ctx, to, r.URL(), "", "oz/work")
	assert.NilError(t, err)

	patch, err := g.Patch(ctx, dir, s)
	assert.NilError(t, err)
	assert.Assert(t, strings.Contains(string(patch.Stdout), "+three"), "%s", patch.Stdout)
}

func TestStateLeavesFilesOut(t *testing.T) {
	g, ctx := open(t, nil), t.Context()
	r := gittest.New(t, "app", map[string]string{"a.txt": "one\n", "config": "old\n"})
	dir := clone(t, g, r)
	base := head(t, g, dir)
	gittest.WriteFiles(t, dir, map[string]string{"a.txt": "two\n", "config": "secret\n", ".env": "secret\n", "big": strings.Repeat("x", 1<<20)})
	s, err := g.SaveState(ctx, dir, base, &git.StateOptions{LeaveOut: func(_ string, content []byte, _ bool) bool {
		return strings.Contains(string(content), "secret")
	}})
	assert.NilError(t, err)
	assert.DeepEqual(t, s.LeftOut, []string{".env", "config"})
	got := files(t, carry(t, g, r, dir, s))
	assert.Equal(t, got["a.txt"], "two\n")
	assert.Equal(t, got["config"], "old\n")
	assert.Equal(t, len(got["big"]), 1<<20)
	_, ok := got[".env"]
	assert.Assert(t, !ok)

	gittest.WriteFiles(t, dir, map[string]string{"a.txt": "one\n"})
	assert.NilError(t, os.Remove(filepath.Join(dir, "big")))
	_, err = g.SaveState(ctx, dir, base, &git.StateOptions{LeaveOut: func(string, []byte, bool) bool { return true }})
	assert.ErrorIs(t, err, git.ErrNothingToKeep) // all of it must stay
}

func TestStateSquashed(t *testing.T) {
	g, ctx := open(t, nil), t.Context()
	r := gittest.New(t, "app", map[string]string{"a.txt": "one\n"})
	dir := clone(t, g, r)
	base := head(t, g, dir)
	gittest.WriteFiles(t, dir, map[string]string{"a.txt": "two\n"})
	_, err := g.Commit(ctx, dir, "with a secret in its message")
	assert.NilError(t, err)
	s, err := g.SaveState(ctx, dir, base, &git.StateOptions{Squash: true})
	assert.NilError(t, err)
	assert.Equal(t, s.Head, base)
	to := carry(t, g, r, dir, s)
	assert.Equal(t, head(t, g, to), base)
	assert.Equal(t, files(t, to)["a.txt"], "two\n")
	res, err := g.Run(ctx, to, "log", "--all", "--format=%B")
	assert.NilError(t, err)
	assert.Assert(t, !strings.Contains(string(res.Stdout), "secret"), "%s", res.Stdout)
}

func TestStateOfAnEmptyRepository(t *testing.T) {
	g, ctx := open(t, nil), t.Context()
	dir := t.TempDir()
	gittest.Git(t, dir, "init", "--quiet", "--initial-branch=main")
	gittest.WriteFiles(t, dir, map[string]string{"a.txt": "one\n"})
	s, err := g.SaveState(ctx, dir, "", nil)
	assert.NilError(t, err)
	file := filepath.Join(t.TempDir(), "state.bundle")
	assert.NilError(t, g.Bundle(ctx, dir, s, file))
	to := t.TempDir()
	gittest.Git(t, to, "init", "--quiet", "--initial-branch=main")
	assert.NilError(t, g.Restore(ctx, to, "file:///nowhere", s, file))
	assert.DeepEqual(t, files(t, to), map[string]string{"a.txt": "one\n"})
	assert.Equal(t, head(t, g, to), "")
}

// TestRestoreWithoutTheBase asks for an error, and for a work tree that can be
// taken back.
func TestRestoreWithoutTheBase(t *testing.T) {
	g, ctx := open(t, nil), t.Context()
	r := gittest.New(t, "app", map[string]string{"a.txt": "one\n"})
	dir := clone(t, g, r)
	gittest.WriteFiles(t, dir, map[string]string{"a.txt": "two\n"})
	base, err := g.Commit(ctx, dir, "never pushed")
	assert.NilError(t, err)
	gittest.WriteFiles(t, dir, map[string]string{"a.txt": "three\n"})
	s, err := g.SaveState(ctx, dir, base, nil)
	assert.NilError(t, err)
	file := filepath.Join(t.TempDir(), "state.bundle")
	assert.NilError(t, g.Bundle(ctx, dir, s, file))
	to := clone(t, g, r)
	assert.ErrorContains(t, g.Restore(ctx, to, r.URL(), s, file), "git fetch")
	assert.NilError(t, g.CheckoutBranch(ctx, to, r.URL(), "main"))
	assert.Equal(t, files(t, to)["a.txt"], "one\n")

	s.Branch = "../../etc"
	assert.ErrorContains(t, g.Restore(ctx, to, r.URL(), s, file), "branch")
	s.Changes = "--upload-pack=touch /tmp/x"
	assert.ErrorContains(t, g.Restore(ctx, to, r.URL(), s, file), "full commit name")
}

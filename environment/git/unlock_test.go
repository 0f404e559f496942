package git_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"gotest.tools/v3/assert"

	"github.com/oz-platform/cloudagents/environment/git"
	"github.com/oz-platform/cloudagents/environment/internal/gittest"
)

// TestUnlock: what a killed git left is gone, and nothing else.
func TestUnlock(t *testing.T) {
	repo := gittest.New(t, "app", map[string]string{"a": "1", "yarn.lock": "v1\n"})
	dir := filepath.Join(t.TempDir(), "app")
	gittest.Git(t, filepath.Dir(dir), "clone", "--quiet", repo.URL(), dir)
	gittest.Git(t, dir, "worktree", "add", "--quiet", "-b", "side", filepath.Join(filepath.Dir(dir), "side"))
	gittest.Git(t, dir, "worktree", "lock", filepath.Join(filepath.Dir(dir), "side"))
	locks := []string{".git/HEAD.lock", ".git/config.lock", ".git/index.lock", ".git/modules/lib/deep/index.lock", ".git/objects/info/commit-graphs/commit-graph-chain.lock",
		".git/objects/maintenance.lock", ".git/packed-refs.lock", ".git/refs/heads/main.lock", ".git/refs/heads/oz/work.lock", ".git/worktrees/side/index.lock"}
	files := map[string]string{".git/modules/lib/deep/HEAD": "ref: refs/heads/main\n", ".git/hooks/mine.lock": "kept", ".git/lfs/locks.lock": "kept"}
	for _, name := range locks {
		files[name] = ""
	}
	gittest.WriteFiles(t, dir, files)

	removed, err := git.Unlock(dir)
	assert.NilError(t, err)
	slices.Sort(removed)
	assert.DeepEqual(t, removed, locks)
	for _, name := range []string{"yarn.lock", ".git/hooks/mine.lock", ".git/lfs/locks.lock", ".git/worktrees/side/locked"} {
		_, err := os.Stat(filepath.Join(dir, name))
		assert.NilError(t, err)
	}
	gittest.Git(t, dir, "-c", "user.name=A", "-c", "user.email=a@example.com", "commit", "--quiet", "--allow-empty", "-m", "It goes on")
	removed, err = git.Unlock(dir)
	assert.NilError(t, err)
	assert.Equal(t, len(removed), 0)
}

// TestUnlockFollowsNoLink: a repository that an agent has bent cannot make it
// remove anything elsewhere.
func TestUnlockFollowsNoLink(t *testing.T) {
	outside := t.TempDir()
	gittest.WriteFiles(t, outside, map[string]string{"index.lock": "", "refs/heads/x.lock": ""})
	for _, at := range []string{".git", ".git/refs", ".git/modules", ".git/worktrees", ".git/objects", ".git/modules/lib"} {
		t.Run(strings.ReplaceAll(at, "/", "_"), func(t *testing.T) {
			dir := t.TempDir()
			assert.NilError(t, os.MkdirAll(filepath.Dir(filepath.Join(dir, at)), 0o755))
			assert.NilError(t, os.Symlink(outside, filepath.Join(dir, at)))
			removed, err := git.Unlock(dir)
			assert.NilError(t, err)
			assert.Equal(t, len(removed), 0)
		})
	}
	for _, name := range []string{"index.lock", "refs/heads/x.lock"} {
		_, err := os.Stat(filepath.Join(outside, name))
		assert.NilError(t, err)
	}
	_, err := git.Unlock(filepath.Join(outside, "nothing"))
	assert.ErrorContains(t, err, "remove left locks")
	removed, err := git.Unlock(outside) // no repository
	assert.NilError(t, err)
	assert.Equal(t, len(removed), 0)
}

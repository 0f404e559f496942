package git_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"gotest.tools/v3/assert"

	"github.com/oz-platform/cloudagents/environment/git"
	"github.com/oz-platform/cloudagents/environment/internal/gittest"
)

// TestStateOfStrangeWorkTrees: what agents do to work trees must not cost the
// rest of their work.
func TestStateOfStrangeWorkTrees(t *testing.T) {
	begin := map[string]string{"a.txt": "one\n", "dir/b.txt": "b\n", "dir/c.txt": "c\n", "plain": "p\n"}
	run := func(t *testing.T, g *git.Git, dir string, args ...string) {
		t.Helper()
		_, err := g.Run(t.Context(), dir, args...)
		assert.NilError(t, err)
	}
	tests := []struct {
		name    string
		do      func(t *testing.T, g *git.Git, dir string)
		want    map[string]string // beside begin; "" is gone
		leftOut []string
	}{
		{"a directory becomes a link to another", func(t *testing.T, g *git.Git, dir string) {
			assert.NilError(t, os.Rename(filepath.Join(dir, "dir"), filepath.Join(dir, "moved")))
			assert.NilError(t, os.Symlink("moved", filepath.Join(dir, "dir")))
		}, map[string]string{"dir": "->moved", "dir/b.txt": "", "dir/c.txt": "", "moved/b.txt": "b\n", "moved/c.txt": "c\n"}, nil},
		{"a directory becomes a file, a file a directory", func(t *testing.T, g *git.Git, dir string) {
			assert.NilError(t, os.RemoveAll(filepath.Join(dir, "dir")))
			assert.NilError(t, os.Remove(filepath.Join(dir, "plain")))
			gittest.WriteFiles(t, dir, map[string]string{"dir": "file\n", "plain/d.txt": "d\n"})
		}, map[string]string{"dir": "file\n", "dir/b.txt": "", "dir/c.txt": "", "plain": "", "plain/d.txt": "d\n"}, nil},
		{"a repository without a commit inside", func(t *testing.T, g *git.Git, dir string) {
			gittest.Git(t, dir, "init", "--quiet", "inner")
			gittest.WriteFiles(t, dir, map[string]string{"inner/x.txt": "x\n"})
		}, nil, []string{"inner"}},
		{"a repository with a commit inside", func(t *testing.T, g *git.Git, dir string) {
			gittest.Git(t, dir, "init", "--quiet", "inner")
			gittest.WriteFiles(t, dir, map[string]string{"inner/x.txt": "x\n"})
			_, err := g.Commit(t.Context(), filepath.Join(dir, "inner"), "A commit in it")
			assert.NilError(t, err)
		}, nil, []string{"inner"}},
		{"a lock that a killed git left", func(t *testing.T, g *git.Git, dir string) {
			gittest.WriteFiles(t, dir, map[string]string{".git/index.lock": "", ".git/HEAD.lock": ""})
		}, nil, nil},
		{"a merge with conflicts", func(t *testing.T, g *git.Git, dir string) {
			run(t, g, dir, "checkout", "--quiet", "-b", "other")
			gittest.WriteFiles(t, dir, map[string]string{"a.txt": "theirs\n"})
			_, err := g.Commit(t.Context(), dir, "Theirs")
			assert.NilError(t, err)
			run(t, g, dir, "checkout", "--quiet", "-b", "mine", "HEAD~")
			gittest.WriteFiles(t, dir, map[string]string{"a.txt": "mine\n"})
			_, err = g.Commit(t.Context(), dir, "Mine")
			assert.NilError(t, err)
			_, err = g.Run(t.Context(), dir, "rebase", "other")
			assert.ErrorContains(t, err, "rebase")
			gittest.WriteFiles(t, dir, map[string]string{"a.txt": "half resolved\n"})
		}, map[string]string{"a.txt": "half resolved\n"}, nil},
		{"a pipe, and a file of a gigabyte", func(t *testing.T, g *git.Git, dir string) {
			assert.NilError(t, syscall.Mkfifo(filepath.Join(dir, "pipe"), 0o600))
			gittest.WriteFiles(t, dir, map[string]string{"core.dump": ""})
			assert.NilError(t, os.Truncate(filepath.Join(dir, "core.dump"), 1<<30))
		}, nil, []string{"core.dump"}},
		{"a sparse work tree", func(t *testing.T, g *git.Git, dir string) {
			gittest.Git(t, dir, "sparse-checkout", "set", "--no-cone", "/a.txt", "/new.txt")
		}, nil, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			g := open(t, nil)
			r := gittest.New(t, "app", begin)
			dir := clone(t, g, r)
			base := head(t, g, dir)
			tt.do(t, g, dir)
			gittest.WriteFiles(t, dir, map[string]string{"new.txt": "new\n"})
			s, err := g.SaveState(t.Context(), dir, base, &git.StateOptions{MaxFileBytes: 1 << 20})
			assert.NilError(t, err)
			assert.DeepEqual(t, s.LeftOut, tt.leftOut)

			want := map[string]string{"new.txt": "new\n"}
			for path, text := range begin {
				want[path] = text
			}
			for path, text := range tt.want {
				want[path] = text
				if text == "" {
					delete(want, path)
				}
			}
			assert.DeepEqual(t, files(t, carry(t, g, r, dir, s)), want)
		})
	}
}

// TestStateOfManyFiles: each is judged with its content, however many there
// are, and one that is larger than can be read without.
func TestStateOfManyFiles(t *testing.T) {
	const limit = 64 << 10
	g := open(t, &git.Options{MaxOutputBytes: limit})
	r := gittest.New(t, "app", map[string]string{"a.txt": "one\n"})
	dir := clone(t, g, r)
	base := head(t, g, dir)
	made := map[string]string{"large": strings.Repeat("x", limit), "full": strings.Repeat("y", limit-200), "empty": ""}
	for i := range 300 {
		made[fmt.Sprintf("many/%d", i)] = strings.Repeat(fmt.Sprint(i, " "), 300)
	}
	gittest.WriteFiles(t, dir, made)
	assert.NilError(t, os.Symlink("to-a-secret", filepath.Join(dir, "link")))
	seen := map[string]string{}
	_, err := g.SaveState(t.Context(), dir, base, &git.StateOptions{LeaveOut: func(path string, content []byte, truncated bool) bool {
		assert.Check(t, truncated == (path == "large"), path)
		seen[path] = string(content)
		return false
	}})
	assert.NilError(t, err)
	made["large"], made["link"] = "", "to-a-secret"
	assert.DeepEqual(t, seen, made)
}

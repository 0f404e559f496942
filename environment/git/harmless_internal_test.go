package git

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"gotest.tools/v3/assert"

	"github.com/oz-platform/cloudagents/environment/internal/gittest"
)

// TestConfigurationIsJudgedAnew: a configuration that named no program is not
// asked about again, and one that changed is, wherever the change lies.
func TestConfigurationIsJudgedAnew(t *testing.T) {
	g, err := Open(t.Context(), nil)
	assert.NilError(t, err)
	defer func() { assert.Check(t, g.Close()) }()
	repo := gittest.New(t, "app", map[string]string{"a.txt": "1\n", ".gitattributes": "*.txt filter=evil\n"})
	clone := func(t *testing.T) string {
		dir := filepath.Join(t.TempDir(), "app")
		gittest.Git(t, filepath.Dir(dir), "clone", "--quiet", repo.URL(), dir)
		_, err := g.Status(t.Context(), dir)
		assert.NilError(t, err)
		key, plain := configKey(dir)
		assert.Assert(t, plain && g.harmless.has(key), "it is remembered")
		return dir
	}
	for name, arm := range map[string]func(t *testing.T, dir, program string){
		"itself": func(t *testing.T, dir, program string) {
			gittest.Git(t, dir, "config", "filter.evil.clean", program)
		},
		"included": func(t *testing.T, dir, program string) {
			gittest.Git(t, dir, "config", "--file", filepath.Join(dir, ".git", "more"), "filter.evil.clean", program)
			gittest.Git(t, dir, "config", "InClude.path", "more")
		},
		"of the work tree": func(t *testing.T, dir, program string) {
			gittest.Git(t, dir, "config", "extensions.worktreeConfig", "true")
			gittest.Git(t, dir, "config", "--worktree", "filter.evil.clean", program)
		},
		"elsewhere": func(t *testing.T, dir, program string) {
			other := filepath.Join(filepath.Dir(dir), "other")
			gittest.Git(t, filepath.Dir(dir), "clone", "--quiet", "--bare", repo.URL(), other)
			gittest.Git(t, other, "config", "core.bare", "false")
			gittest.Git(t, other, "config", "filter.evil.clean", program)
			gittest.WriteFiles(t, dir, map[string]string{".git/commondir": other + "\n"})
		},
		"too long": func(t *testing.T, dir, program string) {
			f, err := os.OpenFile(filepath.Join(dir, ".git", "config"), os.O_APPEND|os.O_WRONLY, 0)
			assert.NilError(t, err)
			_, err = f.WriteString(strings.Repeat("# padding\n", maxPlainConfig/10) + "[filter \"evil\"]\n\tclean = " + program + "\n")
			assert.NilError(t, err)
			assert.NilError(t, f.Close())
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := clone(t)
			sprung := filepath.Join(t.TempDir(), "sprung")
			program := filepath.Join(t.TempDir(), "filter")
			assert.NilError(t, os.WriteFile(program, []byte("#!/bin/sh\ntouch '"+sprung+"'\ncat\n"), 0o755))
			arm(t, dir, program)
			gittest.WriteFiles(t, dir, map[string]string{"a.txt": "changed\n"}) // of another size and time: git looks into it
			for range 2 {
				_, err := g.Run(t.Context(), dir, "add", "--intent-to-add", "a.txt")
				assert.NilError(t, err)
				_, err = g.Diff(t.Context(), dir, "")
				assert.NilError(t, err)
			}
			_, err := os.Stat(sprung)
			assert.Assert(t, os.IsNotExist(err), "the repository's program ran")
		})
	}
}

// TestStatusAt: the head and all that differs from it, whatever the files are called.
func TestStatusAt(t *testing.T) {
	g, err := Open(t.Context(), nil)
	assert.NilError(t, err)
	defer func() { assert.Check(t, g.Close()) }()
	dir := t.TempDir()
	gittest.Git(t, dir, "init", "--quiet")
	gittest.WriteFiles(t, dir, map[string]string{"a b.txt": "1\n", "new\nline": "1\n", "gone": "1\n", "both": "1\n"})
	head, changes, err := g.StatusAt(t.Context(), dir)
	assert.NilError(t, err)
	assert.Equal(t, head, "")
	assert.Equal(t, len(changes), 4)
	commit, err := g.Commit(t.Context(), dir, "First")
	assert.NilError(t, err)
	head, changes, err = g.StatusAt(t.Context(), dir)
	assert.NilError(t, err)
	assert.Equal(t, head, commit)
	assert.Equal(t, len(changes), 0)
	gittest.Git(t, dir, "mv", "gone", "moved here")
	gittest.WriteFiles(t, dir, map[string]string{"a b.txt": "2\n", "new\nline": "2\n", "x y/z": "1\n"})
	_, changes, err = g.StatusAt(t.Context(), dir)
	assert.NilError(t, err)
	assert.DeepEqual(t, changes, []Change{{" M", "a b.txt"}, {"D ", "gone"}, {"A ", "moved here"}, {" M", "new\nline"}, {"??", "x y/z"}})
	gittest.Git(t, dir, "-c", "user.name=A", "-c", "user.email=a@example.com", "commit", "--quiet", "--all", "-m", "Second")
	gittest.Git(t, dir, "checkout", "--quiet", "-b", "other", "HEAD~")
	gittest.WriteFiles(t, dir, map[string]string{"a b.txt": "3\n"})
	gittest.Git(t, dir, "-c", "user.name=A", "-c", "user.email=a@example.com", "commit", "--quiet", "--all", "-m", "Third")
	_ = gittest.Command(dir, "merge", "--quiet", "master").Run() // it conflicts
	_ = gittest.Command(dir, "merge", "--quiet", "main").Run()
	_, changes, err = g.StatusAt(t.Context(), dir)
	assert.NilError(t, err)
	found := false
	for _, c := range changes {
		found = found || c == Change{"UU", "a b.txt"}
	}
	assert.Assert(t, found, "%v", changes)
}

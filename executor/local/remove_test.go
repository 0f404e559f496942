//go:build linux

package local_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
	"gotest.tools/v3/assert"

	"github.com/oz-platform/cloudagents/executor"
	"github.com/oz-platform/cloudagents/executor/local"
)

func TestRemoveNeverFollowsSymlinks(t *testing.T) {
	root, outside := newRoot(t), t.TempDir()
	precious := filepath.Join(outside, "dir", "precious")
	assert.NilError(t, os.Mkdir(filepath.Dir(precious), 0o755))
	assert.NilError(t, os.WriteFile(precious, []byte("data"), 0o444))
	intact := func() {
		t.Helper()
		data, err := os.ReadFile(precious)
		assert.NilError(t, err)
		assert.Equal(t, string(data), "data")
		for path, want := range map[string]os.FileMode{precious: 0o444, filepath.Dir(precious): 0o755} {
			info, err := os.Stat(path)
			assert.NilError(t, err)
			assert.Equal(t, info.Mode().Perm(), want, "%s was made writable", path)
		}
	}
	// With isolation the directories around its own are out of reach.
	e := open(t, root, &local.Options{Isolation: local.IsolationOff})
	s := start(t, e, script("x", `
		for d in . "$HOME" "$TMPDIR"; do
			mkdir -p "$d/a/b"
			ln -s "$1" "$d/top"; ln -s "$1/dir" "$d/a/dir"; ln -s "$1/dir/precious" "$d/a/b/file"
			chmod 0500 "$d/a/b"
		done
		rm -rf "$HOME/../tmp2"; ln -s "$1" "$HOME/../tmp2"`, outside))
	assert.Equal(t, wait(t, s), executor.Exit{}, output(t, s))
	assert.NilError(t, s.Remove(newContext(t)))
	intact()
	assert.NilError(t, e.RemoveWorkspace(newContext(t), "w"))
	intact()

	t.Run("WorkspaceItself", func(t *testing.T) {
		replace := start(t, e, script("y", `cd ..; rm -r w; ln -s "$1" w`, outside))
		assert.Equal(t, wait(t, replace), executor.Exit{})
		_, err := e.Start(newContext(t), script("z", "rm -rf ./*"))
		assert.ErrorContains(t, err, "no directory")
		intact()
		assert.NilError(t, e.RemoveWorkspace(newContext(t), "w"))
		intact()
		assert.Equal(t, wait(t, start(t, e, script("z", "true"))), executor.Exit{})
	})

	t.Run("SandboxItself", func(t *testing.T) {
		assert.NilError(t, os.Symlink(outside, filepath.Join(root, "sandboxes", "link")))
		_, err := e.Open(newContext(t), "link")
		assert.Assert(t, err != nil)
		_, err = e.Start(newContext(t), script("link", "true"))
		assert.Assert(t, err != nil)
		intact()
	})
}

// TestRemoveStopsAtMounts: a sandbox of a worker that is root can mount, and a bind mount looks like a directory.
func TestRemoveStopsAtMounts(t *testing.T) {
	root, outside := newRoot(t), t.TempDir()
	precious := filepath.Join(outside, "precious")
	assert.NilError(t, os.WriteFile(precious, nil, 0o600))
	e := open(t, root, nil)
	s := start(t, e, script("x", "mkdir -p a/b/mount"))
	assert.Equal(t, wait(t, s), executor.Exit{})
	mount := filepath.Join(s.Dir(), "a", "b", "mount")
	if err := unix.Mount(outside, mount, "", unix.MS_BIND, ""); errors.Is(err, unix.EPERM) {
		t.Skip("only root can mount")
	} else {
		assert.NilError(t, err)
	}
	err := e.RemoveWorkspace(newContext(t), "w")
	_, stat := os.Stat(precious)
	// Wherever the directories above it have been moved to.
	mounts, globErr := filepath.Glob(filepath.Join(s.Dir(), "*", "mount"))
	assert.NilError(t, globErr)
	for _, path := range append(mounts, mount) {
		_ = unix.Unmount(path, 0)
	}
	assert.NilError(t, stat)
	assert.ErrorContains(t, err, "mount point")
	assert.NilError(t, e.RemoveWorkspace(newContext(t), "w"), "after it was unmounted")
	assert.NilError(t, func() error { _, err := os.Stat(precious); return err }())
}

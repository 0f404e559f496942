//go:build linux

package tree

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
)

// PrepareRoot makes an executor's root and the directories named below it, checks that no other user could change them,
// and returns the root's path free of symbolic links.
func PrepareRoot(root string, names ...string) (string, error) {
	if root == "" {
		return "", errors.New("root directory is empty")
	}
	root, err := filepath.Abs(root)
	if err != nil {
		return "", err
	}
	if err := os.MkdirAll(root, 0o700); err != nil {
		return "", err
	}
	if root, err = filepath.EvalSymlinks(root); err != nil {
		return "", err
	}
	if err := checkOwnDir(root); err != nil {
		return "", err
	}
	if err := checkAncestors(root); err != nil {
		return "", err
	}
	for _, name := range names {
		dir := filepath.Join(root, name)
		if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, os.ErrExist) {
			return "", err
		}
		if err := checkOwnDir(dir); err != nil {
			return "", err
		}
	}
	return root, nil
}

// checkOwnDir refuses what others could write to: who can rename a sandbox can have files of ours deleted or run.
func checkOwnDir(dir string) error {
	info, err := os.Lstat(dir)
	if err != nil {
		return err
	}
	if !info.IsDir() {
		return fmt.Errorf("%s is not a directory", dir)
	}
	if owner := info.Sys().(*syscall.Stat_t).Uid; int(owner) != os.Geteuid() {
		return fmt.Errorf("%s belongs to user %d, not to this process's user %d; use a directory of its own",
			dir, owner, os.Geteuid())
	}
	if perm := info.Mode().Perm(); perm&0o022 != 0 {
		return fmt.Errorf("%s is writable by others (mode %04o); chmod it to 0700", dir, perm)
	}
	return nil
}

// checkAncestors refuses a root that others could rename away. A sticky directory, /tmp for one, protects what is in it.
func checkAncestors(root string) error {
	for dir := filepath.Dir(root); ; dir = filepath.Dir(dir) {
		info, err := os.Stat(dir)
		if err != nil {
			return err
		}
		if info.Mode().Perm()&0o002 != 0 && info.Mode()&os.ModeSticky == 0 {
			return fmt.Errorf("%s, above the root, is writable by everybody; use another place", dir)
		}
		if dir == filepath.Dir(dir) {
			return nil
		}
	}
}

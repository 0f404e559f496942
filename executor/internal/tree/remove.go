//go:build linux

// Package tree removes directories that other, less trusted processes have
// filled.
package tree

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"
)

// Remove deletes name in the directory parent. It works from open directories only, never follows a symbolic link,
// and refuses to go into a mount, bind mounts included. It makes read-only directories writable on the way. A name that
// does not exist is no error. When ctx ends, what is left stays below name.
//
// Subdirectories are first moved up to name itself, so that a tree of any depth takes two open descriptors and no
// recursion.
func Remove(ctx context.Context, parent, name string) error {
	parentFD, err := unix.Open(parent, unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return &os.PathError{Op: "open", Path: parent, Err: err}
	}
	defer unix.Close(parentFD)
	path := filepath.Join(parent, name)
	switch err := unix.Unlinkat(parentFD, name, 0); {
	case err == nil || errors.Is(err, unix.ENOENT):
		return nil
	case !errors.Is(err, unix.EISDIR) && !errors.Is(err, unix.EPERM): // POSIX says EPERM, Linux EISDIR
		return &os.PathError{Op: "unlink", Path: path, Err: err}
	}
	top, err := openDir(parentFD, name)
	if err != nil {
		return &os.PathError{Op: "open", Path: path, Err: err}
	}
	r := remover{top: top, path: path}
	err = r.empty(ctx)
	top.Close()
	if err != nil {
		return err
	}
	if err := unix.Unlinkat(parentFD, name, unix.AT_REMOVEDIR); err != nil && !errors.Is(err, unix.ENOENT) {
		return &os.PathError{Op: "rmdir", Path: path, Err: err}
	}
	return nil
}

// openDir opens a directory for reading and makes it ours to change, whatever its mode is.
func openDir(dirFD int, name string) (*os.File, error) {
	pathFD, err := unix.Openat2(dirFD, name, &unix.OpenHow{
		Flags:   unix.O_PATH | unix.O_DIRECTORY | unix.O_NOFOLLOW | unix.O_CLOEXEC,
		Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_XDEV,
	})
	if errors.Is(err, unix.EXDEV) {
		return nil, errors.New("is a mount point; unmount it")
	}
	if err != nil {
		return nil, err
	}
	defer unix.Close(pathFD)
	// Through /proc, since fchmod(2) takes no descriptor opened with O_PATH, and chmod(2) would take a name that may
	// have become a link.
	self := "/proc/self/fd/" + strconv.Itoa(pathFD)
	var info unix.Stat_t
	if err := unix.Fstat(pathFD, &info); err != nil {
		return nil, err
	}
	if info.Mode&0o700 != 0o700 {
		if err := unix.Chmod(self, 0o700); err != nil {
			return nil, err
		}
	}
	fd, err := unix.Openat(pathFD, ".", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(fd), name), nil
}

// remover empties one directory.
type remover struct {
	top   *os.File
	path  string // of top, for errors
	moved int    // directories moved up so far
}

// empty deletes what is in top until a pass finds nothing.
func (r *remover) empty(ctx context.Context) error {
	for {
		names, err := r.list(ctx, r.top)
		if err != nil || len(names) == 0 {
			return err
		}
		for _, name := range names {
			if err := r.remove(ctx, name); err != nil {
				return fmt.Errorf("%s: %w", filepath.Join(r.path, name), err)
			}
		}
	}
}

// list reads a directory from its beginning.
func (r *remover) list(ctx context.Context, dir *os.File) ([]string, error) {
	if err := ctx.Err(); err != nil {
		return nil, context.Cause(ctx)
	}
	if _, err := dir.Seek(0, 0); err != nil {
		return nil, err
	}
	return dir.Readdirnames(-1)
}

// remove deletes an entry of top. Of a directory it deletes the files and moves the directories up.
func (r *remover) remove(ctx context.Context, name string) error {
	isDir, err := unlink(r.top, name)
	if err != nil || !isDir {
		return err
	}
	dir, err := openDir(int(r.top.Fd()), name)
	if err != nil {
		return err
	}
	defer dir.Close()
	names, err := r.list(ctx, dir)
	if err != nil {
		return err
	}
	for i, child := range names {
		if i%256 == 0 && ctx.Err() != nil {
			return context.Cause(ctx)
		}
		isDir, err := unlink(dir, child)
		if err == nil && isDir {
			err = r.moveUp(dir, child)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", child, err)
		}
	}
	if err := unix.Unlinkat(int(r.top.Fd()), name, unix.AT_REMOVEDIR); err != nil && !errors.Is(err, unix.ENOENT) {
		return err
	}
	return nil
}

// unlink deletes an entry unless it is a directory.
func unlink(dir *os.File, name string) (isDir bool, err error) {
	switch err := unix.Unlinkat(int(dir.Fd()), name, 0); {
	case err == nil || errors.Is(err, unix.ENOENT):
		return false, nil
	case errors.Is(err, unix.EISDIR):
		return true, nil
	default:
		return false, err
	}
}

// moveUp moves a directory into top, under a name that no one else uses.
func (r *remover) moveUp(dir *os.File, name string) error {
	child, err := openDir(int(dir.Fd()), name) // a directory must be writable to change its parent
	if err != nil {
		return err
	}
	child.Close()
	for {
		r.moved++
		to := ".removing-" + strconv.Itoa(r.moved)
		err := unix.Renameat2(int(dir.Fd()), name, int(r.top.Fd()), to, unix.RENAME_NOREPLACE)
		if !errors.Is(err, unix.EEXIST) {
			return err
		}
	}
}

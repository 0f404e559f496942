//go:build linux

package containerd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"
)

// parallelCopies is how many files are copied at once.
const parallelCopies = 4

// inode identifies a file that has several names.
type inode struct{ dev, ino uint64 }

// treeCopy is a copy on its way.
type treeCopy struct {
	from, to string
	links    map[inode]string // where the first name of a file was copied to
	dirs     []copiedDir
	files    *errgroup.Group
}

type copiedDir struct {
	path string
	info fs.FileInfo
}

// copyTree copies what is below the directory from into the empty directory to, with owners, modes, times and links, but
// without extended attributes. Nobody else may be writing to either. It follows no link. Sockets, pipes and devices are
// left out: they do nothing without the process that made them.
func copyTree(ctx context.Context, from, to string) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(parallelCopies)
	c := &treeCopy{from: from, to: to, links: map[inode]string{}, files: group}
	err := filepath.WalkDir(from, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		return c.visit(path, d)
	})
	if err := errors.Join(err, group.Wait()); err != nil {
		return fmt.Errorf("copy a kept workspace: %w", err)
	}
	for i := len(c.dirs) - 1; i >= 0; i-- { // once nothing changes below them
		if err := like(c.dirs[i].path, c.dirs[i].info); err != nil {
			return fmt.Errorf("copy a kept workspace: %w", err)
		}
	}
	return nil
}

func (c *treeCopy) visit(path string, d fs.DirEntry) error {
	info, err := d.Info()
	if err != nil {
		return err
	}
	name, err := filepath.Rel(c.from, path)
	if err != nil {
		return err
	}
	dest := filepath.Join(c.to, name)
	switch {
	case d.IsDir():
		if name != "." {
			if err := os.Mkdir(dest, 0o700); err != nil {
				return err
			}
		}
		c.dirs = append(c.dirs, copiedDir{dest, info})
	case d.Type() == fs.ModeSymlink:
		target, err := os.Readlink(path)
		if err != nil {
			return err
		}
		if err := os.Symlink(target, dest); err != nil {
			return err
		}
		return like(dest, info)
	case d.Type().IsRegular():
		return c.file(path, dest, info)
	}
	return nil
}

// file copies a regular file, or links it where another of its names was copied.
func (c *treeCopy) file(path, dest string, info fs.FileInfo) error {
	if st, ok := info.Sys().(*syscall.Stat_t); ok && st.Nlink > 1 {
		id := inode{st.Dev, st.Ino}
		if first := c.links[id]; first != "" {
			return os.Link(first, dest)
		}
		c.links[id] = dest
		return copyFile(path, dest, info) // before it is linked to
	}
	c.files.Go(func() error { return copyFile(path, dest, info) })
	return nil
}

// copyFile lets the kernel copy, or share blocks where the file system can.
func copyFile(path, dest string, info fs.FileInfo) error {
	in, err := os.Open(path)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(dest, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	if unix.IoctlFileClone(int(out.Fd()), int(in.Fd())) != nil {
		_, err = io.Copy(out, in)
	}
	if err := errors.Join(err, out.Close()); err != nil {
		return err
	}
	return like(dest, info)
}

// like gives a copy the owner, mode and times of its original.
func like(dest string, info fs.FileInfo) error {
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return fmt.Errorf("%s: no owner is known", dest)
	}
	if err := os.Lchown(dest, int(st.Uid), int(st.Gid)); err != nil {
		return err
	}
	if info.Mode()&fs.ModeSymlink == 0 {
		if err := os.Chmod(dest, info.Mode()); err != nil { // after the owner: chown takes setuid away
			return err
		}
	}
	times := []unix.Timespec{{Sec: st.Atim.Sec, Nsec: st.Atim.Nsec}, {Sec: st.Mtim.Sec, Nsec: st.Mtim.Nsec}}
	if err := unix.UtimesNanoAt(unix.AT_FDCWD, dest, times, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return &os.PathError{Op: "utimensat", Path: dest, Err: err}
	}
	return nil
}

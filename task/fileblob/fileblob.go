// Package fileblob is the default [task.BlobStore]: a directory of files.
//
//	blobs, err := fileblob.Open("/var/lib/oz/blobs", nil)
//	if err != nil {
//		return err
//	}
//	defer blobs.Close()
//	_, err = blobs.PutBlob(ctx, "runs/"+id+"/plan.md", file)
//
// The key "runs/1/plan.md" is the file runs+/1+/plan.md below the directory:
// the plus keeps a key apart from another that begins with it and a slash. A
// blob is written beside its place, flushed to the disk and renamed, so that
// readers and crashes see the old content or the new one, never a part.
//
// # Errors
//
// Keys that break the rules and blobs above [Options].MaxBytes are
// [task.CodeInvalidRequest]; a full or read-only disk is
// [task.CodeResourceUnavailable].
//
// # Concurrency
//
// A Store is safe for concurrent use. One process at a time owns a directory:
// Open removes what writes that were cut off have left.
//
// # Limits
//
// Symbolic links below the directory are not followed out of it. On a file
// system that ignores case, keys that differ by case alone are one.
package fileblob

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"
	"syscall"

	"github.com/google/uuid"

	"github.com/oz-platform/cloudagents/task"
)

// DefaultMaxBytes is the default of Options.MaxBytes.
const DefaultMaxBytes = 1 << 30

// temps is the directory of unfinished writes. No key leads there: their
// alphabet has no tilde.
const temps = "~unfinished"

// Options holds what a Store can do without. The zero value is ready to use.
type Options struct {
	// MaxBytes bounds one blob. Default DefaultMaxBytes, 1 GiB.
	MaxBytes int64
}

// Store keeps blobs in a directory. See the package comment.
type Store struct {
	root *os.Root
	max  int64
}

var _ task.BlobStore = (*Store)(nil)

// Open opens the directory, and makes it when there is none. Files in it can
// be read by their owner alone. opts may be nil.
func Open(dir string, opts *Options) (*Store, error) {
	s := &Store{max: DefaultMaxBytes}
	if opts != nil && opts.MaxBytes != 0 {
		s.max = opts.MaxBytes
	}
	if s.max < 0 {
		return nil, errors.New("open blob store: MaxBytes must not be negative")
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("open blob store: %w", err)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("open blob store: %w", err)
	}
	s.root = root
	if err := errors.Join(root.RemoveAll(temps), root.Mkdir(temps, 0o700)); err != nil {
		return nil, errors.Join(fmt.Errorf("open blob store %s: %w", dir, err), root.Close())
	}
	return s, nil
}

// Close lets go of the directory. Blobs that are open stay readable.
func (s *Store) Close() error { return s.root.Close() }

// PutBlob implements task.BlobStore. The context is asked between reads.
func (s *Store) PutBlob(ctx context.Context, key string, r io.Reader) (int64, error) {
	name, err := fileName(key)
	if err != nil {
		return 0, err
	}
	temp := path.Join(temps, uuid.NewString())
	size, err := s.writeTemp(ctx, temp, r)
	if err == nil {
		err = s.publish(temp, name)
	}
	if err != nil {
		_ = s.root.Remove(temp) // what is left is removed by the next Open
		return 0, explain(ctx, "store blob "+key, err)
	}
	return size, nil
}

// writeTemp writes and flushes an unfinished blob.
func (s *Store) writeTemp(ctx context.Context, temp string, r io.Reader) (size int64, err error) {
	f, err := s.root.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	size, err = io.Copy(f, io.LimitReader(&reader{ctx, r}, max(s.max, s.max+1))) // which may overflow
	if err != nil {
		return 0, err
	}
	if size > s.max {
		return 0, task.Errorf(task.CodeInvalidRequest, "has more than %d bytes, the limit of one blob", s.max)
	}
	return size, f.Sync()
}

// publish moves an unfinished blob to its place, durably.
func (s *Store) publish(temp, name string) error {
	dir := path.Dir(name)
	if err := s.root.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	if err := s.root.Rename(temp, name); err != nil {
		return err
	}
	for ; ; dir = path.Dir(dir) { // directories may be new
		if err := s.syncDir(dir); err != nil {
			return err
		}
		if dir == "." {
			return nil
		}
	}
}

func (s *Store) syncDir(dir string) error {
	d, err := s.root.Open(dir)
	if err != nil {
		return err
	}
	err = d.Sync()
	if errors.Is(err, syscall.EINVAL) || errors.Is(err, errors.ErrUnsupported) {
		err = nil // some file systems keep directories safe by themselves
	}
	return errors.Join(err, d.Close())
}

// OpenBlob implements task.BlobStore.
func (s *Store) OpenBlob(ctx context.Context, key string) (io.ReadSeekCloser, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	name, err := fileName(key)
	if err != nil {
		return nil, err
	}
	f, err := s.root.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, task.Errorf(task.CodeNotFound, "there is no blob %q", key)
	}
	if err != nil {
		return nil, explain(ctx, "open blob "+key, err)
	}
	return f, nil
}

// DeleteBlob implements task.BlobStore. Directories stay.
func (s *Store) DeleteBlob(ctx context.Context, key string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	name, err := fileName(key)
	if err != nil {
		return err
	}
	if err := s.root.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return explain(ctx, "delete blob "+key, err)
	}
	return nil
}

// fileName gives the file of a key.
func fileName(key string) (string, error) {
	if err := task.ValidateBlobKey(key); err != nil {
		return "", err
	}
	return strings.ReplaceAll(key, "/", "+/"), nil
}

// explain turns an error of the file system into what a caller can act on.
func explain(ctx context.Context, doing string, err error) error {
	var known *task.Error
	switch {
	case errors.As(err, &known):
		return err
	case ctx.Err() != nil:
		return ctx.Err()
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return &task.Error{Code: task.CodeResourceUnavailable, Message: doing + ": the disk is full; make room and try again", Err: err}
	case errors.Is(err, syscall.EROFS), errors.Is(err, fs.ErrPermission):
		return &task.Error{Code: task.CodeResourceUnavailable, Message: doing + ": the directory cannot be written to; check its permissions", Err: err}
	}
	return fmt.Errorf("%s: %w", doing, err)
}

// reader ends with the context.
type reader struct {
	ctx context.Context
	r   io.Reader
}

func (r *reader) Read(p []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	return r.r.Read(p)
}

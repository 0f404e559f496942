//go:build linux

package outlog

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"syscall"
	"time"

	"github.com/oz-platform/cloudagents/executor"
)

// How long a reader waits before it looks for more. Watching files with inotify(7) would be quicker, but a user has 128
// instances by default, which a few readers per sandbox use up.
const (
	minOutputPoll = 2 * time.Millisecond
	maxOutputPoll = 100 * time.Millisecond
)

// Reader follows the log of one sandbox.
type Reader struct {
	ctx    context.Context // of the reader, as in http.Request: a Reader has no other way to take one
	cancel context.CancelCauseFunc
	dir    string
	layout Layout
	ended  func() bool // whether no more can be written

	mu      sync.Mutex // held while reading; Close cancels ctx first
	piece   int
	file    *os.File // nil: the piece is to be opened
	offset  int64    // in the piece
	dropped int64    // bytes skipped and not yet noted
	note    []byte   // to return before anything else
}

// NewReader reads the log in dir from its start, also before there is one. ended says that no more can be written; it is
// asked often. ctx ends the reading.
func NewReader(ctx context.Context, dir string, layout Layout, ended func() bool) *Reader {
	ctx, cancel := context.WithCancelCause(ctx)
	return &Reader{ctx: ctx, cancel: cancel, dir: dir, layout: layout, ended: ended}
}

// Read implements io.Reader.
func (r *Reader) Read(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(p) == 0 {
		return 0, nil
	}
	for delay := minOutputPoll; ; delay = min(2*delay, maxOutputPoll) {
		if err := context.Cause(r.ctx); err != nil {
			return 0, err
		}
		if n, err := r.read(p); n > 0 || err != nil {
			return n, err
		}
		if r.ended() {
			// What was written between the two is still to come.
			n, err := r.read(p)
			if n == 0 && err == nil {
				err = io.EOF
			}
			return n, err
		}
		if err := pause(r.ctx, delay); err != nil {
			return 0, err
		}
	}
}

// read returns 0 when there is nothing now.
func (r *Reader) read(p []byte) (int, error) {
	for {
		if len(r.note) > 0 {
			n := copy(p, r.note)
			r.note = r.note[n:]
			return n, nil
		}
		if r.file == nil {
			if found, err := r.open(); !found || err != nil {
				return 0, err
			}
			continue
		}
		n, err := r.file.Read(p)
		r.offset += int64(n)
		if n > 0 || !errors.Is(err, io.EOF) {
			return n, err
		}
		if r.offset < r.layout.size(r.piece) {
			return 0, nil
		}
		r.file.Close()
		r.file, r.offset = nil, 0
		r.piece++
	}
}

// open opens the present piece or, if that was dropped, the oldest one after it, with a note for what lies between. It
// finds none when none is written yet.
func (r *Reader) open() (bool, error) {
	for {
		file, err := openPiece(piecePath(r.dir, r.piece))
		if err == nil {
			r.file = file
			if r.dropped > 0 {
				r.note = fmt.Appendf(nil, "\n[%d bytes of output dropped]\n", r.dropped)
				r.dropped = 0
			}
			return true, nil
		}
		if !errors.Is(err, os.ErrNotExist) {
			return false, err
		}
		next, err := r.oldest()
		if err != nil || next < 0 {
			return false, err
		}
		r.dropped += int64(next-r.piece) * r.layout.tail
		r.piece = next
	}
}

// openPiece opens a regular file only: who writes the log may be less trusted than who reads it, and must not lead the
// reader to another file or make it wait.
func openPiece(path string) (*os.File, error) {
	file, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	info, err := file.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("output: %s is no regular file", path)
	}
	if err != nil {
		file.Close()
		return nil, err
	}
	return file, nil
}

// oldest returns the lowest piece from the present one on, or -1.
func (r *Reader) oldest() (int, error) {
	numbers, err := pieces(r.dir)
	if errors.Is(err, os.ErrNotExist) {
		return 0, fmt.Errorf("output: sandbox removed: %w", executor.ErrNotFound)
	}
	if err != nil {
		return 0, err
	}
	lowest := -1
	for _, n := range numbers {
		if n >= r.piece && (lowest < 0 || n < lowest) {
			lowest = n
		}
	}
	return lowest, nil
}

// Close ends a Read that waits. It may be called more than once.
func (r *Reader) Close() error {
	r.cancel(os.ErrClosed)
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.file == nil {
		return nil
	}
	err := r.file.Close()
	r.file = nil
	return err
}

// pause waits for d or until ctx ends.
func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

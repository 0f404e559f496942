//go:build linux

package command

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/oz-platform/cloudagents/executor"
)

// followPoll is how often a reader of the output looks for more.
const followPoll = 50 * time.Millisecond

func (s *sandbox) openOutput() (*os.File, error) {
	return os.OpenFile(filepath.Join(s.dir, outputFile), os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600)
}

// note adds a line of ours to the output. What cannot be written is lost.
func (s *sandbox) note(format string, args ...any) {
	if f, err := s.openOutput(); err == nil {
		_, _ = fmt.Fprintf(f, "[oz] "+format+"\n", args...)
		_ = f.Close()
	}
}

// trimOutput drops the beginning of an output that is too long. Whoever writes to it appends, and goes on behind what
// is left. What is written in between is lost, too.
func (s *sandbox) trimOutput() {
	s.trimming.Lock()
	defer s.trimming.Unlock()
	f, err := os.OpenFile(filepath.Join(s.dir, outputFile), os.O_RDWR, 0)
	if err != nil {
		return
	}
	defer f.Close()
	info, err := f.Stat()
	limit := s.ex.opts.OutputLimit
	if err != nil || info.Size() <= limit {
		return
	}
	tail := make([]byte, limit/2)
	n, err := f.ReadAt(tail, info.Size()-int64(len(tail)))
	if err != nil && !errors.Is(err, io.EOF) {
		return
	}
	dropped := fmt.Appendf(nil, "[oz] %d bytes of output were dropped\n", info.Size()-int64(n))
	if f.Truncate(0) == nil {
		_, _ = f.WriteAt(append(dropped, tail[:n]...), 0)
	}
}

// Output implements executor.Sandbox: what the dispatch and the cancel command have printed.
func (s *sandbox) Output(ctx context.Context) (io.ReadCloser, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if s.removed() {
		return nil, fmt.Errorf("output of sandbox %s: %w", s.id, executor.ErrNotFound)
	}
	f, err := os.OpenFile(filepath.Join(s.dir, outputFile), os.O_RDONLY|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	return &follower{ctx: ctx, f: f, s: s}, nil
}

// follower reads the output until the sandbox has ended.
type follower struct {
	ctx context.Context
	f   *os.File
	s   *sandbox
}

// Read implements io.Reader.
func (r *follower) Read(p []byte) (int, error) {
	for {
		over := r.s.state() == ended || r.s.removed() // before the look at the file
		n, err := r.f.Read(p)
		if n > 0 || !errors.Is(err, io.EOF) || over {
			return n, err
		}
		select {
		case <-r.ctx.Done():
			return 0, context.Cause(r.ctx)
		case <-r.s.ended:
		case <-r.s.ex.opts.Clock.After(followPoll):
			if r.s.reopened {
				r.s.peek() // nobody else may be waiting for the status
			}
		}
	}
}

// Close implements io.Closer.
func (r *follower) Close() error { return r.f.Close() }

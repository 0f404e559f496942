// Command executor shows a driver of one's own: an executor over another one
// that starts nothing while the disk is nearly full, and tells what each
// sandbox took. Its test holds it against the suite that every driver passes.
//
//	go run ./examples/executor -- sh -c 'echo hello from $OZ_SANDBOX_ID'
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"syscall"
	"time"

	"github.com/oz-platform/cloudagents/executor"
	"github.com/oz-platform/cloudagents/executor/local"
)

// ErrFull says that too little of the disk is free.
var ErrFull = errors.New("the disk is nearly full")

// careful is an executor.Executor. What it does not change, the one below
// does: List, Workspaces and RemoveWorkspace.
type careful struct {
	executor.Executor
	root  string                                            // on the disk to look at
	floor uint64                                            // bytes that must be free
	took  func(id string, d time.Duration, x executor.Exit) // may be nil
}

var (
	_ executor.Executor = (*careful)(nil)
	_ executor.Capable  = (*careful)(nil)
)

// Start implements executor.Executor.
func (c *careful) Start(ctx context.Context, spec executor.Spec) (executor.Sandbox, error) {
	// A sandbox that exists is returned, however full the disk is.
	if s, err := c.Open(ctx, spec.ID); err == nil {
		return s, nil
	}
	if err := spec.Validate(); err != nil {
		return nil, err
	}
	var fs syscall.Statfs_t
	if err := syscall.Statfs(c.root, &fs); err != nil {
		return nil, fmt.Errorf("start sandbox %s: %w", spec.ID, err)
	}
	if free := fs.Bavail * uint64(fs.Bsize); free < c.floor {
		return nil, fmt.Errorf("start sandbox %s: %w: %d bytes are free at %s, %d are needed", spec.ID, ErrFull, free, c.root, c.floor)
	}
	began := time.Now()
	s, err := c.Executor.Start(ctx, spec)
	if err != nil {
		return nil, err
	}
	return &timed{Sandbox: s, began: began, took: c.took}, nil
}

// Open implements executor.Executor. When a sandbox of an earlier process
// began is not known, so its time is not told.
func (c *careful) Open(ctx context.Context, id string) (executor.Sandbox, error) {
	return c.Executor.Open(ctx, id)
}

// Capabilities implements executor.Capable. An optional interface that a
// wrapper does not forward is lost.
func (c *careful) Capabilities() executor.Capabilities { return executor.CapabilitiesOf(c.Executor) }

// timed tells how long its sandbox took, to each who waits for it.
type timed struct {
	executor.Sandbox
	began time.Time
	took  func(string, time.Duration, executor.Exit)
}

// Wait implements executor.Sandbox.
func (t *timed) Wait(ctx context.Context) (executor.Exit, error) {
	x, err := t.Sandbox.Wait(ctx)
	if err == nil && t.took != nil {
		t.took(t.ID(), time.Since(t.began), x)
	}
	return x, err
}

func main() {
	if code, ok := local.Supervise(); ok {
		os.Exit(code)
	}
	floor := flag.Uint64("floor", 100<<20, "`bytes` that must be free on the disk")
	flag.Parse()
	if err := run(context.Background(), flag.Args(), *floor, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "executor:", err)
		os.Exit(1)
	}
}

// run carries out one command in a sandbox.
func run(ctx context.Context, command []string, floor uint64, stdout io.Writer) (err error) {
	root, err := os.MkdirTemp("", "oz-executor-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(root)) }()
	below, err := local.New(root, nil)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, below.Close()) }()
	c := &careful{Executor: below, root: root, floor: floor, took: func(id string, d time.Duration, x executor.Exit) {
		fmt.Fprintf(stdout, "%s took %s, status %d\n", id, d.Round(time.Millisecond), x.Code)
	}}
	s, err := c.Start(ctx, executor.Spec{ID: "example", Workspace: "example", Command: command})
	if err != nil {
		return err
	}
	out, err := s.Output(ctx)
	if err != nil {
		return err
	}
	_, err = io.Copy(stdout, out)
	_, waitErr := s.Wait(ctx)
	return errors.Join(err, out.Close(), waitErr, s.Remove(ctx), c.RemoveWorkspace(ctx, "example"))
}

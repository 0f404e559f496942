//go:build !linux

package pgtest

import (
	"context"
	"errors"
	"os/exec"
	"time"
)

// owner runs PostgreSQL; on this system nobody does, since nothing here could
// make it end with the test.
type owner struct{}

func findOwner() (*owner, error) {
	return nil, errors.Join(ErrNotInstalled, errors.New("a private PostgreSQL for tests needs Linux"))
}

func (*owner) give(string) error { return nil }

func (*owner) command(ctx context.Context, _, path string, args ...string) *exec.Cmd {
	return exec.CommandContext(ctx, path, args...)
}

func (*owner) start(string, string, ...string) (*process, error) { return nil, errors.ErrUnsupported }

type process struct{ ended chan struct{} }

func (*process) output() string { return "" }

func (*process) stop(time.Duration) error { return nil }

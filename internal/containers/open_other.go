//go:build !linux

package containers

import (
	"context"
	"errors"
	"io"

	"go.uber.org/zap"

	"github.com/oz-platform/cloudagents/executor"
	"github.com/oz-platform/cloudagents/internal/modelenv"
)

// Executor is an executor with an end.
type Executor interface {
	executor.Executor
	io.Closer
}

// Prepare is nothing here.
func Prepare() []string { return nil }

var errLinux = errors.New("containers need Linux")

// CheckRunner fails: containers need Linux.
func (Config) CheckRunner() error { return errLinux }

// Open fails: containers need Linux.
func (Config) Open(context.Context, string, modelenv.Lookup, *zap.Logger) (Executor, []string, error) {
	return nil, nil, errLinux
}

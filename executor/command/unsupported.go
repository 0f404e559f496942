//go:build !linux

package command

import (
	"errors"

	"github.com/oz-platform/cloudagents/executor"
)

// Executor cannot be made on this system.
type Executor struct {
	executor.Executor
	opts Options
}

// New fails: hand-overs that outlive their worker need Linux.
func New(root, dispatch string, opts *Options) (*Executor, error) {
	return nil, errors.New("command executor: needs Linux")
}

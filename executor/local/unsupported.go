//go:build !linux

package local

import (
	"errors"
	"fmt"
	"runtime"

	"github.com/oz-platform/cloudagents/executor"
)

// Options holds what an Executor can do without. The driver works on Linux only.
type Options struct{}

// Executor is the driver's type on systems where it does not work; there are no values of it.
type Executor struct{ executor.Executor }

// New fails: the driver needs Linux.
func New(string, *Options) (*Executor, error) {
	return nil, fmt.Errorf("local executor on %s: %w; use Linux or another executor", runtime.GOOS, errors.ErrUnsupported)
}

// Supervise does nothing on systems where the driver does not work.
func Supervise() (code int, ok bool) { return 0, false }

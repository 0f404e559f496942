//go:build !linux

package local

import (
	"errors"
	"fmt"
	"runtime"

	"github.com/oz-platform/cloudagents/executor"
)

// Options holds what an Executor can do without; see them on Linux. The driver works there only.
type Options struct {
	OutputLimit int64
	InheritEnv  []string
	Cgroup      string
	Isolation   Isolation
	Hide        []string
	Visible     []string
}

// Executor is the driver's type on systems where it does not work; there are no values of it.
type Executor struct{ executor.Executor }

// Isolation says nothing: there is no Executor.
func (*Executor) Isolation() (means, why string) { return executor.IsolationNone, "" }

// Close does nothing: there is no Executor.
func (*Executor) Close() error { return nil }

// New fails: the driver needs Linux.
func New(string, *Options) (*Executor, error) {
	return nil, fmt.Errorf("local executor on %s: %w; use Linux or another executor", runtime.GOOS, errors.ErrUnsupported)
}

// Supervise does nothing on systems where the driver does not work.
func Supervise() (code int, ok bool) { return 0, false }

package git

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"time"

	"github.com/oz-platform/cloudagents/internal/proc"
)

// stderrTailBytes is how much of git's last words an error keeps.
const stderrTailBytes = 4 << 10

// Result is what a command printed.
type Result struct {
	// Stdout is the output, at most Options.MaxOutputBytes.
	Stdout []byte
	// Truncated says that there was more.
	Truncated bool
}

// command is one run of git.
type command struct {
	op       string // what an error calls it
	dir      string // working directory
	args     []string
	stdin    string
	env      []string  // beside Git.env
	settings []setting // beside hardened()
	secrets  []string  // never shown in an error
	timeout  time.Duration
}

// exec runs c to its end. Its whole process group is gone when exec returns
// with a failure.
func (g *Git) exec(ctx context.Context, c command) (Result, error) {
	limited, cancel := context.WithTimeoutCause(ctx, c.timeout, errTimeLimit)
	defer cancel()
	cmd := exec.CommandContext(limited, g.path, c.args...)
	proc.Group(cmd)
	cmd.Dir = c.dir
	cmd.Env = append(append(cmd.Env, g.env...), c.env...)
	cmd.Env = append(cmd.Env, configEnv(append(hardened(), c.settings...))...)
	cmd.Stdin = bytes.NewReader([]byte(c.stdin))
	stdout := &proc.Head{Limit: g.opts.MaxOutputBytes}
	stderr := &proc.Tail{Limit: stderrTailBytes + proc.LongestBytes(c.secrets)}
	cmd.Stdout, cmd.Stderr = stdout, stderr

	err := proc.RunBound(cmd)
	res := Result{Stdout: stdout.Bytes(), Truncated: stdout.Dropped > 0}
	if err == nil || (errors.Is(err, exec.ErrWaitDelay) && cmd.ProcessState.Success()) {
		return res, nil
	}
	_ = proc.KillGroup(cmd) // what git left behind
	return res, newError(limited, c, err, stderr.String())
}

// errTimeLimit is the cause of a context that ended at a command's own limit.
var errTimeLimit = errors.New("time limit reached")

func newError(ctx context.Context, c command, err error, stderr string) *Error {
	e := &Error{Op: c.op, ExitCode: -1, Stderr: scrub(stderr, c.secrets), Err: err}
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		e.ExitCode = exit.ExitCode()
	}
	e.Reason = classify(e.Stderr)
	switch cause := context.Cause(ctx); {
	case errors.Is(cause, errTimeLimit):
		e.Reason, e.Err = ReasonTimeout, fmt.Errorf("no end after %v: %w", c.timeout, context.DeadlineExceeded)
	case cause != nil:
		e.Reason, e.Err = ReasonCancelled, cause
	}
	return e
}

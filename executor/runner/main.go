package runner

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/oz-platform/cloudagents/executor"
	"github.com/oz-platform/cloudagents/executor/harness"
	"github.com/oz-platform/cloudagents/task"
)

// invocation is the first argument of a process that a worker starts as a
// runner. The run's ID follows, for whoever reads the process list.
const invocation = "oz-agent-runner"

// maxHandshakeBytes bounds what is read from standard input.
const maxHandshakeBytes = 1 << 20

// Command is the argument list that makes a binary whose main calls Main act
// as a runner.
func Command(binary string) []string { return []string{binary, invocation} }

// preparer is the first argument of a process that prepares a workspace for
// runs to start from.
const preparer = "oz-agent-prepare"

// PrepareCommand is the argument list that makes such a binary prepare the
// current directory as the executor.Preparation on its standard input says, as
// a state for runs to start from. The exit code is 0 when it may be kept.
func PrepareCommand(binary string) []string { return []string{binary, preparer} }

// Dial makes the link to the platform that a handshake names. client.NewLink
// of package transport/client is one.
type Dial func(executor.Handshake) (executor.Link, error)

// Main is the whole program of a runner in a sandbox. A binary that is both a
// server and its own runner calls it first:
//
//	if code, ok := runner.Main(dial, harnesses); ok {
//		os.Exit(code)
//	}
//
// ok is false when the process was not started by Command or PrepareCommand. The workspace is
// the current directory, the handshake comes on standard input. The exit code
// is 0 when the outcome, good or bad, was reported.
func Main(dial Dial, harnesses map[string]harness.Harness) (code int, ok bool) {
	if len(os.Args) < 2 || os.Args[1] != invocation && os.Args[1] != preparer {
		return 0, false
	}
	HideMemory()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	if os.Args[1] == preparer {
		if err := prepareState(ctx, os.Stdin, os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, "prepare:", err)
			return 1, true
		}
		return 0, true
	}
	if err := serve(ctx, os.Stdin, dial, harnesses); err != nil {
		fmt.Fprintln(os.Stderr, "runner:", err)
		return 1, true
	}
	return 0, true
}

func serve(ctx context.Context, stdin io.Reader, dial Dial, harnesses map[string]harness.Harness) error {
	h, err := ReadHandshake(stdin)
	if err != nil {
		return err
	}
	link, err := dial(h)
	if err != nil {
		return fmt.Errorf("connect to the platform: %w", err)
	}
	_, err = Run(ctx, link, &Options{Harnesses: harnesses, CacheDir: h.CacheDir})
	if errors.Is(err, task.ErrFenced) {
		return nil // another execution has the run: nothing went wrong here
	}
	return err
}

// ReadHandshake reads what a worker gives on standard input.
func ReadHandshake(r io.Reader) (executor.Handshake, error) {
	var h executor.Handshake
	if err := json.NewDecoder(io.LimitReader(r, maxHandshakeBytes)).Decode(&h); err != nil {
		return h, fmt.Errorf("read the handshake from standard input (this program is started by a worker): %w", err)
	}
	if h.ServerURL == "" || h.ExecutionID == "" || h.Token == "" {
		return h, errors.New("the handshake lacks server_url, execution_id or token")
	}
	return h, nil
}

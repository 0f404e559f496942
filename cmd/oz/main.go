// Command oz talks to a cloud agents server: it starts runs there or here,
// follows them, and manages what they need. See oz --help.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/oz-platform/cloudagents/executor/harness"
	ozagent "github.com/oz-platform/cloudagents/executor/harness/oz"
	"github.com/oz-platform/cloudagents/executor/runner"
	"github.com/oz-platform/cloudagents/transport/client"
)

// Exit codes (Oz command line, exit codes; 130 is the shell's for SIGINT).
const (
	exitOK          = 0
	exitFailure     = 1
	exitUsage       = 2
	exitInterrupted = 130
)

func main() {
	if code, ok := runner.Main(client.DialLink, harnesses()); ok {
		os.Exit(code)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal kills
	os.Exit(run(ctx, os.Args[1:], streams{os.Stdin, os.Stdout, os.Stderr}, os.Getenv))
}

// harnesses are the agents that `oz agent run` can drive.
func harnesses() map[string]harness.Harness {
	return map[string]harness.Harness{"oz": ozagent.New(nil)}
}

// streams are the program's standard streams.
type streams struct {
	in       io.Reader
	out, err io.Writer
}

// usageError is a mistake in the command line.
type usageError struct{ error }

// outcomeError says that the run ended badly; its output said so already.
type outcomeError struct{ error }

// run executes the command line and decides the exit code, here alone.
func run(ctx context.Context, args []string, s streams, env func(string) string) int {
	a := &app{streams: s, env: env}
	cmd := a.root()
	cmd.SetArgs(args)
	cmd.SetIn(s.in)
	cmd.SetOut(s.out)
	cmd.SetErr(s.err)
	err := cmd.ExecuteContext(ctx)
	var usage usageError
	var outcome outcomeError
	switch {
	case err == nil:
		return exitOK
	case errors.As(err, &usage) || !a.parsed:
		fmt.Fprintf(s.err, "oz: %v\nSee 'oz %shelp' for what it takes.\n", err, a.path())
		return exitUsage
	case errors.As(err, &outcome):
		fmt.Fprintf(s.err, "oz: %v\n", err)
		return exitFailure
	case ctx.Err() != nil:
		fmt.Fprintln(s.err, "oz: interrupted")
		return exitInterrupted
	}
	fmt.Fprintf(s.err, "oz: %v\n", err)
	return exitFailure
}

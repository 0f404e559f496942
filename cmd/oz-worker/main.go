// Command oz-worker joins the pool of a server and runs agents on this host.
// See oz-worker --help.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	_ "time/tzdata" // agents may ask for the time anywhere

	"github.com/spf13/cobra"

	"github.com/oz-platform/cloudagents/executor/containerd/pid1"
	"github.com/oz-platform/cloudagents/executor/harness"
	ozagent "github.com/oz-platform/cloudagents/executor/harness/oz"
	"github.com/oz-platform/cloudagents/executor/hooks"
	"github.com/oz-platform/cloudagents/executor/local"
	"github.com/oz-platform/cloudagents/executor/runner"
	"github.com/oz-platform/cloudagents/internal/modelenv"
	"github.com/oz-platform/cloudagents/internal/version"
	ozclient "github.com/oz-platform/cloudagents/transport/client"
)

func main() {
	// This binary is also the supervisor of its sandboxes or the first process
	// of its containers, what prepares for the agent in them, and the runner.
	if code, ok := pid1.Main(); ok {
		os.Exit(code)
	}
	if code, ok := local.Supervise(); ok {
		os.Exit(code)
	}
	if code, ok := hooks.Main(); ok {
		os.Exit(code)
	}
	if code, ok := runner.Main(ozclient.DialLink, map[string]harness.Harness{"oz": ozagent.New(nil)}); ok {
		os.Exit(code)
	}
	if probed() {
		return
	}
	runner.HideMemory() // from the agents, which run as the same user
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	os.Exit(exitCode(run(context.Background(), signals, os.Args[1:], os.Getenv, os.Stdout, os.Stderr), os.Stderr))
}

// Exit codes, those of the official worker where it has one.
const (
	exitFault = 1  // bad configuration, or a back-end that cannot be used
	exitUsage = 80 // bad flags
)

// usageError is a mistake in the command line.
type usageError struct{ error }

// errTold ends the program as a fault that was told already.
var errTold = errors.New("told")

// exitCode is decided here alone, and the error said.
func exitCode(err error, stderr io.Writer) int {
	var usage usageError
	switch {
	case err == nil:
		return 0
	case errors.Is(err, errTold):
		return exitFault
	case errors.As(err, &usage):
		fmt.Fprintf(stderr, "oz-worker: %v\nSee 'oz-worker --help' for what it takes.\n", err)
		return exitUsage
	}
	fmt.Fprintf(stderr, "oz-worker: %v\n", err)
	return exitFault
}

// run is the whole program but for the process around it.
func run(ctx context.Context, signals <-chan os.Signal, args []string, env modelenv.Lookup, stdout, stderr io.Writer) error {
	var c config
	cmd := &cobra.Command{
		Use:           "oz-worker",
		Short:         "Worker for cloud agents on a host of your own",
		Long:          longHelp,
		Example:       "  oz-worker --server https://oz.example.com --worker-id build-1\n  oz-worker doctor --config-file /etc/oz-worker.yaml",
		Version:       version.String(),
		SilenceUsage:  true,
		SilenceErrors: true,
		Args:          noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := c.load(cmd.Flags(), env); err != nil {
				return err
			}
			return serve(cmd.Context(), signals, c, env, stdout, stderr)
		},
	}
	c.register(cmd.Flags())
	cmd.AddCommand(doctorCommand(signals, env, stdout))
	cmd.CompletionOptions.HiddenDefaultCmd = true
	cmd.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usageError{err} })
	cmd.SetArgs(args)
	cmd.SetOut(stdout)
	cmd.SetErr(stderr)
	return cmd.ExecuteContext(ctx)
}

func noArguments(_ *cobra.Command, args []string) error {
	if len(args) > 0 {
		return usageError{fmt.Errorf("unknown argument %q: settings are flags", args[0])}
	}
	return nil
}

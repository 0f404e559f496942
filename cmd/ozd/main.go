// Command ozd is the reference server: the platform on an embedded database,
// its HTTP API, and a worker in the same process. See ozd --help.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	_ "time/tzdata" // schedules have time zones, and a bare host or image has none

	"github.com/spf13/cobra"

	"github.com/oz-platform/cloudagents/executor/containerd/pid1"
	"github.com/oz-platform/cloudagents/executor/local"
	"github.com/oz-platform/cloudagents/executor/runner"
	"github.com/oz-platform/cloudagents/internal/agents"
	"github.com/oz-platform/cloudagents/internal/modelenv"
	"github.com/oz-platform/cloudagents/internal/version"
	"github.com/oz-platform/cloudagents/transport/client"
)

func main() {
	// This binary is also the supervisor of its sandboxes, the first process of
	// its containers, and the runner in both.
	if code, ok := pid1.Main(); ok {
		os.Exit(code)
	}
	if code, ok := local.Supervise(); ok {
		os.Exit(code)
	}
	if code, ok := runner.Main(client.DialLink, agents.All()); ok {
		os.Exit(code)
	}
	runner.HideMemory() // from the agents, which run as the same user
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal kills
	os.Exit(exitCode(run(ctx, os.Args[1:], os.Getenv, os.Stdout, os.Stderr), os.Stderr))
}

// usageError is a mistake in the command line.
type usageError struct{ error }

// exitCode is decided here alone, and the error said.
func exitCode(err error, stderr io.Writer) int {
	var usage usageError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &usage):
		fmt.Fprintf(stderr, "ozd: %v\nSee 'ozd --help' for what it takes.\n", err)
		return 2
	}
	fmt.Fprintf(stderr, "ozd: %v\n", err)
	return 1
}

// run is the whole program but for the process around it.
func run(ctx context.Context, args []string, env modelenv.Lookup, stdout, stderr io.Writer) error {
	c := defaultConfig()
	cmd := &cobra.Command{
		Use:           "ozd",
		Short:         "Reference server for cloud agents",
		Long:          longHelp,
		Example:       "  ozd --listen 127.0.0.1:8080 --data /var/lib/oz\n  OZ_BOOTSTRAP_API_KEY=choose-a-long-one ozd",
		Version:       version.String(),
		SilenceUsage:  true,
		SilenceErrors: true,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 0 {
				return usageError{fmt.Errorf("unknown argument %q: settings are flags", args[0])}
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := c.load(cmd.Flags(), env); err != nil {
				return err
			}
			return serve(cmd.Context(), c, env, stdout, stderr)
		},
	}
	c.register(cmd.Flags())
	cmd.AddCommand(backupCommand(env, stdout))
	cmd.CompletionOptions.HiddenDefaultCmd = true
	cmd.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usageError{err} })
	cmd.SetArgs(args)
	cmd.SetOut(stdout)
	cmd.SetErr(stderr)
	return cmd.ExecuteContext(ctx)
}

// Command oz talks to a cloud agents server: it starts runs there or here,
// follows them, and manages what they need. See oz --help.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/oz-platform/cloudagents/executor/runner"
	"github.com/oz-platform/cloudagents/internal/agents"
	"github.com/oz-platform/cloudagents/task"
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
	if self, err := os.Executable(); err == nil { // agents find this program by it (Oz platform, MAO-9)
		_ = os.Setenv("OZ_CLI", self) // fails for odd names only
		_ = os.Setenv("WARP_CLI", self)
	}
	if code, ok := runner.Main(client.DialLink, agents.All()); ok {
		os.Exit(code)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal kills
	os.Exit(run(ctx, os.Args[1:], streams{os.Stdin, os.Stdout, os.Stderr}, os.Getenv))
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
	a.wire = &wireLog{app: a, base: http.DefaultTransport}
	root := a.root()
	root.SetArgs(joined(args))
	root.SetIn(s.in)
	root.SetOut(s.out)
	root.SetErr(s.err)
	cmd, err := root.ExecuteContextC(ctx)
	var usage usageError
	var outcome outcomeError
	switch {
	case err == nil:
		return exitOK
	case errors.As(err, &usage) || !a.parsed:
		fmt.Fprintf(s.err, "oz: %v\nSee '%s --help' for what it takes.\n", err, cmd.CommandPath())
		return exitUsage
	case errors.As(err, &outcome):
		fmt.Fprintf(s.err, "oz: %v\n", err)
		return exitFailure
	case ctx.Err() != nil:
		fmt.Fprintln(s.err, "oz: interrupted")
		return exitInterrupted
	}
	fmt.Fprintf(s.err, "oz: %v\n%s", err, a.hint(err))
	return exitFailure
}

// hint says what to look at, where the error itself cannot know.
func (a *app) hint(err error) string {
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		return "Is the server running? Start it with 'ozd', or name another with --server-root-url or WARP_SERVER_ROOT_URL.\n"
	case task.CodeOf(err) == task.CodeAuthenticationRequired && a.apiKey != "":
		return "The server is " + a.server + "; its key comes from " + a.keyFrom + ".\n"
	}
	return ""
}

// joined writes "--flag value" as "--flag=value" for the flags whose value can
// be left out (Oz command line, agent run): the flag library takes the value in
// this form only.
func joined(args []string) []string {
	var out []string
	for i := 0; i < len(args); i++ {
		switch args[i] {
		case "--":
			return append(out, args[i:]...)
		case "--share", "--idle-on-complete", "--idle-on-fail":
			if i+1 < len(args) && !strings.HasPrefix(args[i+1], "-") {
				out = append(out, args[i]+"="+args[i+1])
				i++
				continue
			}
		}
		out = append(out, args[i])
	}
	return out
}

// Command quickstart shows the whole platform at work, on this machine, within
// a minute: a prompt becomes a run, an agent mends a bug in a real Go
// repository, proves it with the tests, and pushes a branch.
//
//	go run ./examples/quickstart
//
// With ANTHROPIC_API_KEY or OPENAI_API_KEY it uses that model. Without, a
// scripted model on loopback plays the model's part, and the output says so;
// all else is real.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/oz-platform/cloudagents/executor/harness"
	ozagent "github.com/oz-platform/cloudagents/executor/harness/oz"
	"github.com/oz-platform/cloudagents/executor/local"
	"github.com/oz-platform/cloudagents/executor/runner"
	"github.com/oz-platform/cloudagents/transport/client"
)

func main() {
	if code, ok := local.Supervise(); ok {
		os.Exit(code)
	}
	if code, ok := runner.Main(client.DialLink, map[string]harness.Harness{"oz": ozagent.New(nil)}); ok {
		os.Exit(code)
	}
	dir := flag.String("dir", "", "keep everything in this `directory` (default: a temporary one, removed at the end)")
	prompt := flag.String("prompt", defaultPrompt, "what the agent shall do; a scripted model ignores it")
	flag.Parse()
	if flag.NArg() > 0 {
		fmt.Fprintf(os.Stderr, "quickstart: unknown argument %q; see --help\n", flag.Arg(0))
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	ok, err := run(ctx, options{dir: *dir, prompt: *prompt, env: os.Getenv, out: os.Stdout})
	switch {
	case ctx.Err() != nil:
		fmt.Fprintln(os.Stderr, "\nquickstart: interrupted")
		os.Exit(130)
	case err != nil:
		fmt.Fprintln(os.Stderr, "quickstart:", err)
		os.Exit(1)
	case !ok:
		os.Exit(1)
	}
}

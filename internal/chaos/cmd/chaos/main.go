// Command chaos runs package chaos and prints the table of laws. It exits with
// 1 when one was broken.
//
//	go run ./internal/chaos/cmd/chaos -n 1000 -store sqlite
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/oz-platform/cloudagents/internal/chaos"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	code, err := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	if err != nil {
		fmt.Fprintln(os.Stderr, "chaos:", err)
	}
	os.Exit(code)
}

// run gives the exit code: 0 when all laws held, 1 when not, 2 when it could
// not be found out.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) (int, error) {
	f := flag.NewFlagSet("chaos", flag.ContinueOnError)
	f.SetOutput(stderr)
	c := chaos.Config{Progress: stderr, AwaitWorkspaces: true}
	f.Uint64Var(&c.Seed, "seed", uint64(time.Now().Unix()), "`number` that chooses faults and stories")
	f.IntVar(&c.Faults, "n", 100, "how many faults")
	f.IntVar(&c.People, "people", 5, "how many runs at once")
	f.DurationVar(&c.Pause, "pause", 0, "mean time between faults (default 300ms)")
	f.DurationVar(&c.Lease, "lease", 0, "how long an agent may be silent (default 5s)")
	f.StringVar(&c.Dir, "dir", "", "empty `directory` to keep everything in")
	f.StringVar(&c.Server, "server", "", "`ozd` to run, built with the tag crashpoints (default: built now)")
	store := f.String("store", "sqlite", "sqlite, or postgres with two servers")
	if err := f.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return 0, nil
		}
		return 2, nil // flag has said what is wrong
	}
	var err error
	if c.Store, c.Replicas, err = chaos.StoreByName(*store); err != nil {
		return 2, err
	}
	fmt.Fprintf(stderr, "seed %d\n", c.Seed)
	report, err := chaos.Run(ctx, c)
	if err != nil {
		return 2, err
	}
	report.Print(stdout)
	if len(report.Violations) > 0 {
		return 1, nil
	}
	return 0, nil
}

// Command bench measures the platform beside the queues that a user might pick
// instead and beside the limit that the database and the system set, in turns
// on this machine, and prints one table of ratios.
//
//	go run . -only P1,P4 -quick
//
// It is a module of its own, so that the peers stay out of the library's.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime/pprof"
	"strings"
	"syscall"

	"github.com/oz-platform/cloudagents/internal/bench/figure"
	"github.com/oz-platform/cloudagents/internal/bench/measure"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal kills
	if err := run(ctx, os.Args[1:], os.Stdout, os.Stderr); err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// options are the flags.
type options struct {
	only, dir, profile string
	quick              bool
	size               figure.Size
}

func parse(args []string, stderr io.Writer) (options, error) {
	o := options{size: figure.Full}
	f := flag.NewFlagSet("bench", flag.ContinueOnError)
	f.SetOutput(stderr)
	f.StringVar(&o.only, "only", "", "measure only these `figures`, such as P1,P4")
	f.StringVar(&o.dir, "dir", "", "keep the databases in this `directory`, on the disk to measure (default: the temporary one)")
	f.StringVar(&o.profile, "cpuprofile", "", "write a processor profile to this `file`")
	f.BoolVar(&o.quick, "quick", false, "one small round of everything: shows that it runs, the ratios mean little")
	f.IntVar(&o.size.Rounds, "rounds", o.size.Rounds, "how many undisturbed `pairs` of samples a ratio needs")
	f.DurationVar(&o.size.Duration, "d", o.size.Duration, "how long a sample of a rate lasts")
	f.IntVar(&o.size.Jobs, "jobs", o.size.Jobs, "how many jobs a drained queue holds (P2)")
	f.IntVar(&o.size.Runs, "n", o.size.Runs, "how many `runs` the large database of lists has (P5)")
	f.IntVar(&o.size.Idle, "idle", o.size.Idle, "how many idle `subscribers` there are (P8)")
	if err := f.Parse(args); err != nil {
		return o, err
	}
	if f.NArg() > 0 {
		return o, fmt.Errorf("unexpected argument %q", f.Arg(0))
	}
	if o.quick {
		o.size = figure.Quick
	}
	s := o.size
	if s.Rounds < 1 || s.Duration <= 0 || s.Jobs < 1 || s.Runs < 1000 || s.Idle < 1 {
		return o, errors.New("-rounds, -d, -jobs and -idle must be above 0, -n at least 1000")
	}
	return o, nil
}

// run is the whole program but for the process around it.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) (err error) {
	o, err := parse(args, stderr)
	if err != nil {
		return err
	}
	if o.profile != "" {
		f, err := os.Create(o.profile)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, f.Close()) }()
		if err := pprof.StartCPUProfile(f); err != nil {
			return err
		}
		defer pprof.StopCPUProfile()
	}
	dir, err := os.MkdirTemp(o.dir, "oz-bench-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	b := &figure.Bench{Size: o.size, Dir: dir}
	if err := b.StartPostgres(ctx); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.Close()) }()
	var only []string
	if o.only != "" {
		only = strings.Split(o.only, ",")
	}
	rows, err := b.Run(ctx, only, func(f figure.Figure) { fmt.Fprintf(stderr, "measuring %s: %s\n", f.ID, f.Title) })
	return errors.Join(measure.Print(stdout, rows), err)
}

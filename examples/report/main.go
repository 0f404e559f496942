// Command report tells how the runs of the last days went: how many succeeded,
// how long they worked, why the others failed, and what they cost.
//
// It is one program for both ways of using the platform. Over HTTP:
//
//	WARP_API_KEY=... go run ./examples/report -server http://127.0.0.1:8080
//
// and inside a program that has the database itself:
//
//	go run ./examples/report -data oz-data
package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"text/tabwriter"
	"time"

	"github.com/oz-platform/cloudagents/oz"
	"github.com/oz-platform/cloudagents/task"
	"github.com/oz-platform/cloudagents/task/sqlitestore"
	"github.com/oz-platform/cloudagents/transport/client"
)

func main() {
	server := flag.String("server", "", "address of a server; its key is in WARP_API_KEY")
	data := flag.String("data", "", "directory of a server on this machine")
	days := flag.Int("days", 7, "how many days back")
	flag.Parse()
	if err := run(context.Background(), *server, *data, *days, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "report:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, server, data string, days int, out io.Writer) (err error) {
	since := time.Now().AddDate(0, 0, -days)
	switch {
	case (server == "") == (data == ""):
		return errors.New("name one of -server and -data")
	case server != "":
		remote, err := client.New(server, &client.Options{APIKey: os.Getenv("WARP_API_KEY")})
		if err != nil {
			return err
		}
		return report(ctx, remote, since, out)
	}
	store, err := sqlitestore.Open(ctx, filepath.Join(data, "oz.db"), nil)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	platform, err := oz.New(store, nil)
	if err != nil {
		return err
	}
	return report(ctx, platform, since, out)
}

// report is the whole of it. It does not know where the runs are.
func report(ctx context.Context, s oz.Service, since time.Time, out io.Writer) error {
	var ended, succeeded int
	var worked []time.Duration
	var dollars float64
	reasons := map[task.Code]int{}
	for t, err := range oz.Runs(ctx, s, task.Query{CreatedAfter: since, Sort: task.SortCreatedAt, Limit: 200}) {
		if err != nil {
			return err
		}
		cost, _ := t.Usage.Cost()
		dollars += cost.Total()
		if !t.State.Ended() || t.State == task.StateBlocked {
			continue
		}
		ended++
		worked = append(worked, t.RunTime)
		switch t.State {
		case task.StateSucceeded:
			succeeded++
		case task.StateFailed, task.StateError:
			reasons[cmp.Or(t.Head.Status.ErrorCode, "the agent's own word")]++
		}
	}
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "ended\t%d\n", ended)
	if ended > 0 {
		slices.Sort(worked)
		fmt.Fprintf(w, "succeeded\t%d (%.0f %%)\n", succeeded, 100*float64(succeeded)/float64(ended))
		fmt.Fprintf(w, "work time\tmedian %s, longest %s\n", round(worked[len(worked)/2]), round(worked[len(worked)-1]))
	}
	for _, code := range slices.Sorted(maps.Keys(reasons)) {
		fmt.Fprintf(w, "failed\t%d %s\n", reasons[code], code)
	}
	fmt.Fprintf(w, "cost\t$%.2f\n", dollars)
	return w.Flush()
}

func round(d time.Duration) time.Duration { return d.Round(100 * time.Millisecond) }

// Package figure measures the performance figures of the platform, each beside
// the peers or the limit that it is judged against.
package figure

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/oz-platform/cloudagents/internal/bench/measure"
	"github.com/oz-platform/cloudagents/internal/pgtest"
)

// Size says how much is measured.
type Size struct {
	// Rounds is how many undisturbed samples each side needs.
	Rounds int
	// Duration is how long a sample of a rate lasts.
	Duration time.Duration
	// Jobs is how many jobs or runs a drained queue holds.
	Jobs int
	// Runs is the size of the large database of lists.
	Runs int
	// Subscribers are the numbers of subscribers of a flooded run.
	Subscribers []int
	// FloodEvents is how many events each of them receives at 100
	// subscribers; with more subscribers there are fewer.
	FloodEvents int
	// Idle is how many subscribers wait for nothing.
	Idle int
}

// Full is the size of the published figures.
var Full = Size{Rounds: 5, Duration: time.Second, Jobs: 3000, Runs: 1_000_000, Subscribers: []int{100, 1000}, FloodEvents: 2000, Idle: 5000}

// Quick shows that every figure can be measured; its ratios mean little.
var Quick = Size{Rounds: 1, Duration: 20 * time.Millisecond, Jobs: 20, Runs: 2000, Subscribers: []int{3}, FloodEvents: 100, Idle: 10}

// Bench is what figures are measured with.
type Bench struct {
	Size
	// Dir is a directory on the disk to measure; each sample makes and removes
	// a directory in it.
	Dir string
	// Postgres is a server for the figures that need one; they are left out
	// when it is nil. See StartPostgres.
	Postgres *pgtest.Server
}

// Figure is one line of the plan: what is measured, in one or more rows.
type Figure struct {
	ID, Title string
	Measure   func(ctx context.Context, b *Bench) ([]measure.Row, error)
}

// All are the figures in order.
var All = []Figure{
	{"P1", "submit, durable", both(submit, submitPostgres)},
	{"P2", "claim to complete", both(claim, claimPostgres)},
	{"P3", "created to worker at 40/s", both(latency, latencyPostgres)},
	{"P4", "event append, 50 per batch, 64 runs", appendEvents},
	{"P5", "lists of a large database over a small one", both(lists, listsPostgres)},
	{"P6", "HTTP create, 32 clients", create},
	{"H1", "HTTP get and list, 32 clients", reads},
	{"P7", "live fan-out of one run", fanOut},
	{"P8", "memory per idle subscriber", memory},
	{"P12", "idle", idle},
}

// both measures a figure on SQLite, then on PostgreSQL.
func both(sqlite, postgres func(context.Context, *Bench) ([]measure.Row, error)) func(context.Context, *Bench) ([]measure.Row, error) {
	return func(ctx context.Context, b *Bench) ([]measure.Row, error) {
		rows, err := sqlite(ctx, b)
		if err != nil {
			return nil, err
		}
		more, err := postgres(ctx, b)
		return append(rows, more...), err
	}
}

// payload is what all sides carry: 200 bytes.
var payload = strings.Repeat("The parser loses the last line of a file. ", 5)[:200]

const workers = 100 // of every queue

// inDir runs a sample in a directory of its own.
func (b *Bench) inDir(name string, sample func(ctx context.Context, dir string) ([]float64, error)) measure.Side {
	return measure.Side{Name: name, Sample: func(ctx context.Context) (values []float64, err error) {
		dir, err := os.MkdirTemp(b.Dir, "sample-")
		if err != nil {
			return nil, err
		}
		defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
		return sample(ctx, dir)
	}}
}

// clients calls do from n goroutines for about d, and gives the calls per
// second. The first error ends it.
func clients(n int, d time.Duration, do func(client int) error) (perSecond float64, err error) {
	var (
		calls atomic.Int64
		all   sync.WaitGroup
		mu    sync.Mutex
	)
	start := time.Now()
	for i := range n {
		all.Go(func() {
			for time.Since(start) < d {
				if e := do(i); e != nil {
					mu.Lock()
					err = errors.Join(err, e)
					mu.Unlock()
					return
				}
				calls.Add(1)
			}
		})
	}
	all.Wait()
	return float64(calls.Load()) / time.Since(start).Seconds(), err
}

// paced calls do at random intervals, perSecond on average, without waiting
// for the calls to end, until n calls were made; then it waits for them.
func paced(ctx context.Context, n int, perSecond float64, do func(i int) error) (err error) {
	var all sync.WaitGroup
	var mu sync.Mutex
	next := time.Now()
	for i := range n {
		next = next.Add(time.Duration((0.5 + rand.Float64()) / perSecond * float64(time.Second)))
		select {
		case <-time.After(time.Until(next)):
		case <-ctx.Done():
			all.Wait()
			return errors.Join(err, ctx.Err())
		}
		all.Go(func() {
			if e := do(i); e != nil {
				mu.Lock()
				err = errors.Join(err, e)
				mu.Unlock()
			}
		})
	}
	all.Wait()
	return err
}

// rate makes a row of a figure where more is better.
func rate(id, name, unit, against string, must, goal float64) measure.Row {
	return measure.Row{ID: id, Name: name, Unit: unit, Against: against, Must: measure.AtLeast(must), Goal: measure.AtLeast(goal)}
}

// cost makes a row of a figure where less is better.
func cost(id, name, unit, against string, must, goal float64) measure.Row {
	return measure.Row{ID: id, Name: name, Unit: unit, Against: against, Must: measure.AtMost(must), Goal: measure.AtMost(goal)}
}

// without makes a row of a figure that cannot be measured here.
func without(row measure.Row, reason string) measure.Row {
	row.Unmeasured = "not measured: " + reason
	return row
}

// Run measures the figures whose IDs are chosen, all if none is, and tells of
// each before it starts.
func (b *Bench) Run(ctx context.Context, chosen []string, tell func(Figure)) ([]measure.Row, error) {
	want := map[string]bool{}
	for _, id := range chosen {
		want[strings.ToUpper(strings.TrimSpace(id))] = true
	}
	for _, f := range All {
		if want[f.ID] {
			delete(want, f.ID)
			want["."+f.ID] = true
		}
	}
	for id := range want {
		if !strings.HasPrefix(id, ".") {
			return nil, fmt.Errorf("there is no figure %q", id)
		}
	}
	var rows []measure.Row
	for _, f := range All {
		if len(want) > 0 && !want["."+f.ID] {
			continue
		}
		tell(f)
		more, err := f.Measure(ctx, b)
		if err != nil {
			return rows, fmt.Errorf("%s, %s: %w", f.ID, f.Title, err)
		}
		rows = append(rows, more...)
	}
	return rows, nil
}

func database(dir string) string { return filepath.Join(dir, "bench.db") }

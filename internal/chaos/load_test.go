package chaos_test

import (
	"bufio"
	"context"
	"fmt"
	"net/http"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
	"gotest.tools/v3/assert"

	"github.com/oz-platform/cloudagents/executor/gateway/scripted"
	"github.com/oz-platform/cloudagents/internal/servertest"
	"github.com/oz-platform/cloudagents/oz"
	"github.com/oz-platform/cloudagents/task"
	"github.com/oz-platform/cloudagents/transport/client"
)

const (
	// loadAtOnce is how many runs work at once.
	loadAtOnce = 64
	// loadShort is how many runs there are unless OZ_LOAD_RUNS says otherwise;
	// with fewer than loadLong the growth of memory says nothing.
	loadShort, loadLong = 192, 800
	// maxGrowth is how much the live heap may grow after the warm-up.
	maxGrowth = 0.05
	// databaseCache is what SQLite may cache as the database grows, in bytes
	// (sqlitestore.Options.CacheBytes, for the writer and four readers).
	databaseCache = 64 << 20
)

// TestLoad sends runs through one server, 64 at once, and looks at what the
// server has kept. OZ_LOAD_RUNS=1000 is the long form.
func TestLoad(t *testing.T) {
	if testing.Short() {
		t.Skip("takes half a minute")
	}
	runs := loadShort
	if text := os.Getenv("OZ_LOAD_RUNS"); text != "" {
		var err error
		runs, err = strconv.Atoi(text)
		assert.NilError(t, err, "OZ_LOAD_RUNS")
	}
	address := servertest.FreeAddress(t)
	s := newServer(t, scripted.Script{Steps: []scripted.Step{{Text: "The answer is 42."}}},
		fmt.Sprintf("max_concurrent: %d\nlog_level: warn\nmetrics_listen: %s\n", loadAtOnce, address))
	metrics := "http://" + address + "/metrics"
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Minute)
	defer cancel()
	s.Start()
	c := s.Client()
	began := time.Now()
	warm := max(loadAtOnce, runs/4)
	look := time.Millisecond
	if runs >= loadLong {
		look = 60 * time.Millisecond
	}
	load(ctx, t, c, warm)
	before := settle(ctx, t, s, metrics, look)
	t.Logf("after %5d runs: %s", warm, before)
	after := before
	for part := range 3 {
		n := (part+1)*(runs-warm)/3 - part*(runs-warm)/3
		load(ctx, t, c, n)
		after = settle(ctx, t, s, metrics, look)
		t.Logf("  and %5d more: %s", n, after)
	}
	growth := after.heap/before.heap - 1
	t.Logf("%d runs, %d at once, in %s; live heap %+.1f %%", runs, loadAtOnce, time.Since(began).Round(time.Second), 100*growth)
	assert.Equal(t, after.violations, 0.0, "laws broken, by the server's own count")
	assert.Assert(t, after.descriptors <= before.descriptors+4, "descriptors grew")
	assert.Assert(t, after.goroutines <= before.goroutines+8, "goroutines grew")
	assert.Assert(t, after.rss-before.rss < databaseCache, "resident memory grew by more than the database may cache")
	if runs >= loadLong {
		assert.Assert(t, growth < maxGrowth, "the live heap grew by %.1f %%", 100*growth)
	}
}

// load carries out n runs, loadAtOnce at a time; each must succeed.
func load(ctx context.Context, t *testing.T, c *client.Client, n int) {
	t.Helper()
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(loadAtOnce)
	for i := range n {
		g.Go(func() error {
			run, err := c.Submit(ctx, oz.Request{Prompt: fmt.Sprintf("What is the answer to question %d?", i)})
			if err != nil {
				return err
			}
			for _, err := range c.Watch(ctx, run.ID, 0) {
				if err != nil {
					return err
				}
			}
			if run, err = c.Get(ctx, run.ID); err == nil && (run.State != task.StateSucceeded || run.Executions != 1) {
				executions, _ := c.Executions(ctx, run.ID) // only to say more
				err = fmt.Errorf("run %s is %s after %d executions: %s %+v", run.ID, run.State, run.Executions, run.Status.Message, executions)
			}
			return err
		})
	}
	assert.NilError(t, g.Wait())
}

// figures are what a server takes, by its own metrics.
type figures struct {
	heap        float64 // bytes that are in use after a collection
	rss         float64 // bytes
	descriptors float64
	goroutines  float64
	violations  float64 // runs that broke a law
}

func (f figures) String() string {
	return fmt.Sprintf("live heap %.2f MiB, resident %.1f MiB, %.0f descriptors, %.0f goroutines", f.heap/(1<<20), f.rss/(1<<20), f.descriptors, f.goroutines)
}

// settle waits until no runner is left, and gives the least that the server
// takes in many looks. The looks themselves make it collect its garbage.
func settle(ctx context.Context, t *testing.T, s *servertest.Server, metrics string, look time.Duration) figures {
	t.Helper()
	await(ctx, t, "all runners have ended", func() bool { return len(s.Runners()) == 0 })
	least := scrape(ctx, t, metrics)
	for range 250 {
		select {
		case <-time.After(look): // what is kept for a moment after a run has time to go
		case <-ctx.Done():
			t.Fatal(ctx.Err())
		}
		f := scrape(ctx, t, metrics)
		least = figures{min(least.heap, f.heap), min(least.rss, f.rss), min(least.descriptors, f.descriptors),
			min(least.goroutines, f.goroutines), f.violations}
	}
	return least
}

// scrape reads the server's metrics.
func scrape(ctx context.Context, t *testing.T, url string) figures {
	t.Helper()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	assert.NilError(t, err)
	resp, err := http.DefaultClient.Do(req)
	assert.NilError(t, err)
	defer resp.Body.Close()
	var f figures
	lines := bufio.NewScanner(resp.Body)
	for lines.Scan() {
		name, value, _ := strings.Cut(lines.Text(), " ")
		name, _, _ = strings.Cut(name, "{")
		n, _ := strconv.ParseFloat(value, 64) // comments are no numbers
		switch name {
		case "go_memstats_heap_alloc_bytes":
			f.heap = n
		case "process_resident_memory_bytes":
			f.rss = n
		case "process_open_fds":
			f.descriptors = n
		case "go_goroutines":
			f.goroutines = n
		case "oz_invariant_violations_total":
			f.violations += n
		}
	}
	assert.NilError(t, lines.Err())
	assert.Assert(t, f.heap > 0 && f.rss > 0 && f.descriptors > 0 && f.goroutines > 0, "%s", f)
	return f
}

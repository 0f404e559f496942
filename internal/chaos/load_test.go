package chaos_test

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
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
	// maxGrowth is how much the memory may grow after the warm-up.
	maxGrowth = 0.05
	// maxGoroutines is what an idle server may have. One left per run would be
	// more.
	maxGoroutines = 120
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
	s := newServer(t, scripted.Script{Steps: []scripted.Step{{Text: "The answer is 42."}}},
		fmt.Sprintf("max_concurrent: %d\nlog_level: warn\n", loadAtOnce))
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Minute)
	defer cancel()
	s.Start()
	c := s.Client()
	server := pid(t, s)
	began := time.Now()
	warm := max(loadAtOnce, runs/4)
	load(ctx, t, c, warm)
	before := settle(ctx, t, s, server)
	load(ctx, t, c, runs-warm)
	after := settle(ctx, t, s, server)
	growth := float64(after.rss-before.rss) / float64(before.rss)
	t.Logf("%d runs, %d at once, in %s: %.1f runs/s; memory %d then %d MiB (%+.1f %%), descriptors %d then %d",
		runs, loadAtOnce, time.Since(began).Round(time.Second), float64(runs)/time.Since(began).Seconds(),
		before.rss>>20, after.rss>>20, 100*growth, before.descriptors, after.descriptors)
	assert.Assert(t, after.descriptors <= before.descriptors+4, "descriptors grew from %d to %d", before.descriptors, after.descriptors)
	if runs >= loadLong {
		assert.Assert(t, growth < maxGrowth, "memory grew by %.1f %%", 100*growth)
	}
	goroutines := dump(ctx, t, s, server)
	t.Logf("%d goroutines at the end", goroutines)
	assert.Assert(t, goroutines < maxGoroutines, "the server has %d goroutines\n%s", goroutines, s.Output())
	s.Kill() // it ended by the dump
	s.Start()
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

// figures are what a server takes.
type figures struct {
	rss         int64
	descriptors int
}

// settle waits until no runner is left, and gives the least that the server
// takes in a few looks: what the collector has not given back yet is no growth.
func settle(ctx context.Context, t *testing.T, s *servertest.Server, pid int) figures {
	t.Helper()
	await(ctx, t, "all runners have ended", func() bool { return len(s.Runners()) == 0 })
	var seen []figures
	for range 20 {
		fds, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
		assert.NilError(t, err)
		seen = append(seen, figures{memory(pid, "VmRSS"), len(fds)})
		select {
		case <-time.After(250 * time.Millisecond):
		case <-ctx.Done():
			t.Fatal(ctx.Err())
		}
	}
	least := seen[0]
	for _, f := range seen {
		least.rss, least.descriptors = min(least.rss, f.rss), min(least.descriptors, f.descriptors)
	}
	return least
}

// dump ends the server by SIGQUIT, which makes a Go program print all its
// goroutines, and counts them.
func dump(ctx context.Context, t *testing.T, s *servertest.Server, pid int) int {
	t.Helper()
	assert.NilError(t, syscall.Kill(pid, syscall.SIGQUIT))
	await(ctx, t, "the server has printed its goroutines", func() bool { return memory(pid, "VmRSS") == 0 })
	lines := strings.Split(s.Output(), "\n")
	return len(slices.DeleteFunc(lines, func(l string) bool { return !strings.HasPrefix(l, "goroutine ") }))
}

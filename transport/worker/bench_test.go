package worker_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/coder/websocket"
	"golang.org/x/sync/errgroup"
	"gotest.tools/v3/assert"

	"github.com/oz-platform/cloudagents/oz"
	"github.com/oz-platform/cloudagents/task"
	"github.com/oz-platform/cloudagents/transport/internal/transporttest"
)

// fleet connects n official workers, each with an id of its own, that claim
// what they are assigned and tell so.
func fleet(b *testing.B, e *transporttest.Env, n int) (claims <-chan task.ID) {
	b.Helper()
	told := make(chan task.ID, 4096)
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	for i := range n {
		ws, _, err := websocket.Dial(b.Context(), linkURL(e, fmt.Sprintf("w%d", i)),
			&websocket.DialOptions{HTTPClient: client, HTTPHeader: http.Header{"Authorization": {"Bearer " + e.Team}}})
		assert.NilError(b, err)
		done := make(chan struct{})
		go func() {
			defer close(done)
			for {
				_, raw, err := ws.Read(context.Background())
				if err != nil {
					return
				}
				var f struct {
					Type string `json:"type"`
					Data struct {
						ID task.ID `json:"task_id"`
					} `json:"data"`
				}
				if json.Unmarshal(raw, &f) == nil && f.Type == "task_assignment" {
					told <- f.Data.ID
					_ = ws.Write(context.Background(), websocket.MessageText, fmt.Appendf(nil, claimedFrame, f.Data.ID))
				}
			}
		}()
		b.Cleanup(func() { _ = ws.CloseNow(); <-done })
	}
	return told
}

// memory is what the process has in use, stacks included.
func memory() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapInuse + m.StackInuse
}

// BenchmarkIdleWorkers: 1,000 idle workers on one server. Both ends of each
// connection are in this process: half of the memory is the clients'. Then a
// run for each is submitted, 16 at a time: how long until all workers have
// theirs, and how much of it after the last run was stored.
func BenchmarkIdleWorkers(b *testing.B) {
	const workers = 1000
	for range b.N {
		e := start(b, func(o *transporttest.Options) { o.Platform.MaxWaiting = 2 * workers })
		before, goroutines := memory(), runtime.NumGoroutine()
		claims := fleet(b, e, workers)
		b.ReportMetric(float64(memory()-before)/workers, "B/worker,both-ends")
		b.ReportMetric(float64(runtime.NumGoroutine()-goroutines)/workers, "goroutines/worker,both-ends")
		began := time.Now()
		var g errgroup.Group
		g.SetLimit(16)
		stored := make(chan time.Time, 1)
		go func() {
			for i := range workers {
				g.Go(func() error {
					_, err := e.Platform.Submit(context.Background(), oz.Request{Prompt: "x", Config: task.Config{WorkerHost: fmt.Sprintf("w%d", i)}})
					return err
				})
			}
			assert.Check(b, g.Wait())
			stored <- time.Now()
		}()
		for range workers {
			<-claims
		}
		b.ReportMetric(time.Since(began).Seconds(), "s/submit-and-dispatch-to-all")
		b.ReportMetric(time.Since(<-stored).Seconds(), "s/after-the-last-submit")
	}
}

// BenchmarkCreatedToWorker is figure P3: the time from a run's creation until a
// worker has it, at 40 runs a second, over the link and in this process.
func BenchmarkCreatedToWorker(b *testing.B) {
	for name, config := range map[string]task.Config{"in-process": {}, "over-the-link": {WorkerHost: "w0"}} {
		b.Run(name, func(b *testing.B) {
			own := &instant{got: make(chan task.ID, 4096)}
			e := start(b, func(o *transporttest.Options) { o.Platform.Workers = []oz.Worker{own} })
			claims := fleet(b, e, 1)
			if config.WorkerHost == "" {
				claims = own.got
			}
			var took []time.Duration
			for b.Loop() {
				began := time.Now()
				_, err := e.Platform.Submit(b.Context(), oz.Request{Prompt: "x", Config: config})
				assert.NilError(b, err)
				<-claims
				took = append(took, time.Since(began))
				time.Sleep(max(0, time.Second/40-time.Since(began)))
			}
			slices.Sort(took)
			b.ReportMetric(float64(took[len(took)/2].Microseconds()), "µs/p50")
			b.ReportMetric(float64(took[len(took)*99/100].Microseconds()), "µs/p99")
		})
	}
}

// instant is a worker in this process that takes everything.
type instant struct{ got chan task.ID }

// Info implements oz.Worker.
func (*instant) Info() oz.WorkerInfo { return oz.WorkerInfo{ID: "instant"} }

// Offer implements oz.Worker.
func (w *instant) Offer(_ context.Context, a oz.Assignment) error { w.got <- a.Task.ID; return nil }

// Cancel implements oz.Worker.
func (*instant) Cancel(context.Context, task.ExecutionID) {}

// Run implements oz.Worker.
func (*instant) Run(ctx context.Context, h oz.WorkerHost) error {
	h.Ready()
	<-ctx.Done()
	return nil
}

package rest_test

import (
	"context"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"gotest.tools/v3/assert"

	"github.com/oz-platform/cloudagents/oz"
	"github.com/oz-platform/cloudagents/task"
	"github.com/oz-platform/cloudagents/transport/client"
	"github.com/oz-platform/cloudagents/transport/internal/transporttest"
)

// BenchmarkEventToViewers measures how long it takes from an event's leaving
// the runner until it is in the hands of each of 100 viewers of the run, all
// over HTTP, with 50 events a second.
func BenchmarkEventToViewers(b *testing.B) {
	const viewers, pace = 100, 20 * time.Millisecond
	e := transporttest.Start(b, &transporttest.Options{Platform: patient()})
	ctx, cancel := context.WithCancel(context.Background())
	run, err := e.Platform.Submit(ctx, oz.Request{Prompt: "x"})
	assert.NilError(b, err)
	link, err := client.NewLink(e.Claimed(), nil)
	assert.NilError(b, err)
	assert.NilError(b, link.Begin(ctx))

	var mu sync.Mutex
	var took []time.Duration
	var watching, ready, all sync.WaitGroup
	all.Add(viewers)
	ready.Add(viewers)
	for range viewers {
		c, err := client.New(e.URL, &client.Options{APIKey: e.Member})
		assert.NilError(b, err)
		watching.Go(func() {
			seen := 0
			own := make([]time.Duration, 0, b.N)
			for event, err := range c.Watch(ctx, run.ID, 0) {
				if err != nil {
					return
				}
				switch p := event.Payload.(type) {
				case *task.StateChanged:
					if p.To == task.StateInProgress {
						ready.Done()
					}
				case *task.Notice:
					sent, err := strconv.ParseInt(p.Text, 10, 64)
					assert.Check(b, err)
					own = append(own, time.Since(time.Unix(0, sent)))
					if seen++; seen == b.N {
						mu.Lock()
						took = append(took, own...)
						mu.Unlock()
						all.Done()
					}
				}
			}
		})
	}
	ready.Wait()
	tick := time.NewTicker(pace)
	defer tick.Stop()
	b.ResetTimer()
	for i := range b.N {
		<-tick.C
		text := strconv.FormatInt(time.Now().UnixNano(), 10)
		assert.NilError(b, link.Append(ctx, int64(i), []task.Event{{Time: time.Now(), Payload: &task.Notice{Text: text}}}))
	}
	all.Wait()
	b.StopTimer()
	cancel()
	watching.Wait()
	slices.Sort(took)
	ms := func(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
	b.ReportMetric(ms(took[len(took)/2]), "p50-ms")
	b.ReportMetric(ms(took[len(took)*99/100]), "p99-ms")
	b.ReportMetric(ms(took[len(took)-1]), "max-ms")
}

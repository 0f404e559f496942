package figure

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/oz-platform/cloudagents/executor"
	"github.com/oz-platform/cloudagents/internal/bench/measure"
	"github.com/oz-platform/cloudagents/internal/bench/raw"
	"github.com/oz-platform/cloudagents/task"
)

// fanOut is P7: the events of one run to many subscribers.
func fanOut(ctx context.Context, b *Bench) ([]measure.Row, error) {
	var rows []measure.Row
	for _, n := range b.Subscribers {
		events := max(appendBatch, b.FloodEvents*b.Subscribers[0]/n/appendBatch*appendBatch)
		r, err := measure.Take(ctx, b.Rounds, b.oursStream("ours", flood(n, events)), b.bareStream("bare", flood(n, events)))
		if err != nil {
			return nil, err
		}
		rows = append(rows, r.Compare(rate("P7", fmt.Sprintf("flood to %d subscribers", n), "/s", "bare SSE", 0.3, 0.6), 0, 1, 0))
	}
	listeners := b.Subscribers[0]
	r, err := measure.Take(ctx, b.Rounds, b.oursStream("ours", b.paced(listeners, 0)), b.bareStream("bare", b.paced(listeners, 0)),
		b.oursStream("ours, one stalled", b.paced(listeners, 1)))
	if err != nil {
		return nil, err
	}
	name := fmt.Sprintf("paced 200/s to %d subscribers, ", listeners)
	return append(rows,
		r.Compare(cost("P7", name+"p50", "ms", "bare SSE after a commit", 3, 1.5), 0, 1, 0),
		r.Compare(cost("P7", name+"p99", "ms", "bare SSE after a commit", 3, 1.5), 0, 1, 1),
		r.Compare(cost("P7", name+"p99, one stalled", "ms", "none stalled", 1.5, 1.1), 2, 0, 1)), nil
}

// stream is a running server with a log that can be written to.
type stream struct {
	address, path string
	publish       func(texts ...string) error
}

// oursStream gives a sample the event stream of a working run.
func (b *Bench) oursStream(name string, sample func(context.Context, stream) ([]float64, error)) measure.Side {
	return b.inDir(name, func(ctx context.Context, dir string) (v []float64, err error) {
		p, err := open(ctx, dir, nil)
		if err != nil {
			return nil, err
		}
		defer func() { err = errors.Join(err, p.close()) }()
		s, err := p.serve(ctx)
		if err != nil {
			return nil, err
		}
		defer func() { err = errors.Join(err, s.close()) }()
		ids, links, err := p.working(ctx, 1)
		if err != nil {
			return nil, err
		}
		run, err := p.Get(ctx, ids[0])
		if err != nil {
			return nil, err
		}
		path := fmt.Sprintf("/api/v1/oz/runs/%s/events?after=%d", ids[0], run.LastSeq)
		return sample(ctx, stream{s.address, path, appender(ctx, links[0])})
	})
}

// appender writes messages over a link.
func appender(ctx context.Context, link executor.Link) func(texts ...string) error {
	var offset int64
	return func(texts ...string) error {
		events := make([]task.Event, len(texts))
		for i, t := range texts {
			events[i].Payload = &task.Message{ID: "m", Text: t}
		}
		err := link.Append(ctx, offset, events)
		offset += int64(len(events))
		return err
	}
}

// bareStream gives a sample the limit: a log in memory whose events are as
// large, each batch sent on after one durable insert.
func (b *Bench) bareStream(name string, sample func(context.Context, stream) ([]float64, error)) measure.Side {
	return b.inDir(name, func(ctx context.Context, dir string) (v []float64, err error) {
		q, err := raw.NewSQLite(database(dir))
		if err != nil {
			return nil, err
		}
		defer func() { err = errors.Join(err, q.Close()) }()
		log := raw.NewStream()
		s, err := serve(&http.Server{Handler: log})
		if err != nil {
			return nil, err
		}
		defer func() { err = errors.Join(err, s.close()) }()
		publish := func(texts ...string) error {
			data := make([][]byte, len(texts))
			for i, t := range texts {
				e := task.Event{Seq: 100, TaskID: runID(0), ExecutionID: execution(0), Time: time.Now(), Payload: &task.Message{ID: "m", Text: t}}
				if data[i], err = e.MarshalJSON(); err != nil {
					return err
				}
			}
			if err := q.Enqueue(data...); err != nil {
				return err
			}
			log.Publish(string(task.TypeMessage), data...)
			return nil
		}
		return sample(ctx, stream{s.address, "/", publish})
	})
}

// flood publishes as fast as it can, and gives how many events per second
// reached all subscribers together.
func flood(n, events int) func(context.Context, stream) ([]float64, error) {
	return func(ctx context.Context, s stream) (v []float64, err error) {
		all, err := subscribeAll(s.address, s.path, n)
		if err != nil {
			return nil, err
		}
		defer func() { err = errors.Join(err, all.close()) }()
		texts := payloads(appendBatch)
		start := time.Now()
		err = all.each(ctx, func() error {
			for range events / appendBatch {
				if err := s.publish(texts...); err != nil {
					return err
				}
			}
			return nil
		}, func(one *subscriber) error { return one.count(events) })
		return []float64{float64(n*events) / time.Since(start).Seconds()}, err
	}
}

const pacedRate = 200 // events per second

// paced publishes at a steady rate and gives the median and the 99th
// percentile of the time to a subscriber. Some more subscribers read nothing.
func (b *Bench) paced(n, stalled int) func(context.Context, stream) ([]float64, error) {
	events := max(10, int(3*pacedRate*b.Duration.Seconds()))
	return func(ctx context.Context, s stream) (v []float64, err error) {
		still, err := subscribeAll(s.address, s.path, stalled)
		if err != nil {
			return nil, err
		}
		defer func() { err = errors.Join(err, still.close()) }()
		all, err := subscribeAll(s.address, s.path, n)
		if err != nil {
			return nil, err
		}
		defer func() { err = errors.Join(err, all.close()) }()
		var mu sync.Mutex
		var delays []time.Duration
		err = all.each(ctx, func() error { return steadily(ctx, events, func() error { return s.publish(stamped()) }) }, func(one *subscriber) error {
			mine, err := one.delays(events)
			mu.Lock()
			delays = append(delays, mine...)
			mu.Unlock()
			return err
		})
		ms := measure.Milliseconds(delays)
		return []float64{measure.Quantile(ms, 0.5), measure.Quantile(ms, 0.99)}, err
	}
}

// steadily calls do n times, pacedRate times a second.
func steadily(ctx context.Context, n int, do func() error) error {
	ticker := time.NewTicker(time.Second / pacedRate)
	defer ticker.Stop()
	for range n {
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return ctx.Err()
		}
		if err := do(); err != nil {
			return err
		}
	}
	return nil
}

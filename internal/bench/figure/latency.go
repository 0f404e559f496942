package figure

import (
	"context"
	"encoding/binary"
	"errors"
	"sync"
	"time"

	"github.com/oz-platform/cloudagents/internal/bench/measure"
	"github.com/oz-platform/cloudagents/internal/bench/raw"
	"github.com/oz-platform/cloudagents/oz"
	"github.com/oz-platform/cloudagents/task"
)

const createRate = 40 // per second

// latency is P3: the time from the call that creates a run to the call that
// gives it to the worker.
func latency(ctx context.Context, b *Bench) ([]measure.Row, error) {
	r, err := measure.Take(ctx, b.Rounds, b.oursPaced(), b.rawPaced())
	if err != nil {
		return nil, err
	}
	return []measure.Row{
		r.Compare(cost("P3", "created to worker at 40/s, p50, in process", "ms", "raw", 2, 1.3), 0, 1, 0),
		r.Compare(cost("P3", "created to worker at 40/s, p99, in process", "ms", "raw", 3, 2), 0, 1, 1),
		without(cost("P3", "created to worker at 40/s, over the worker link", "ms", "raw + round trips", 4, 2), "the worker link is not built yet"),
	}, nil
}

// pacedCalls is how many creations a sample makes: five times those of a
// sample's duration, since the 99th of 100 must mean something.
func (b *Bench) pacedCalls() int { return max(5, int(5*createRate*b.Duration.Seconds())) }

// arrivals notes when things were created and when they came.
type arrivals[K comparable] struct {
	mu      sync.Mutex
	created map[K]time.Time
	came    map[K]time.Time
	both    chan time.Duration
}

func newArrivals[K comparable](n int) *arrivals[K] {
	return &arrivals[K]{created: map[K]time.Time{}, came: map[K]time.Time{}, both: make(chan time.Duration, n)}
}

func (a *arrivals[K]) create(k K, at time.Time) { a.note(k, at, a.created, a.came, 1) }

func (a *arrivals[K]) come(k K) { a.note(k, time.Now(), a.came, a.created, -1) }

// note writes a time down and, when the other is known, what lies between.
func (a *arrivals[K]) note(k K, at time.Time, mine, theirs map[K]time.Time, sign time.Duration) {
	a.mu.Lock()
	defer a.mu.Unlock()
	mine[k] = at
	if other, ok := theirs[k]; ok {
		a.both <- sign * other.Sub(at)
	}
}

// quantiles waits for n arrivals.
func (a *arrivals[K]) quantiles(ctx context.Context, n int) ([]float64, error) {
	ds := make([]time.Duration, 0, n)
	for len(ds) < n {
		select {
		case d := <-a.both:
			ds = append(ds, d)
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	ms := measure.Milliseconds(ds)
	return []float64{measure.Quantile(ms, 0.5), measure.Quantile(ms, 0.99)}, nil
}

func (b *Bench) oursPaced() measure.Side {
	return b.inDir("ours", func(ctx context.Context, dir string) (v []float64, err error) {
		n := b.pacedCalls()
		a := newArrivals[task.ID](n)
		w := newWorker()
		w.offered = func(t task.Task) { a.come(t.ID) }
		p, err := open(ctx, dir, w)
		if err != nil {
			return nil, err
		}
		defer func() { err = errors.Join(err, p.close()) }()
		p.start()
		return pacedSubmits(ctx, n, p.Platform, a)
	})
}

func pacedSubmits(ctx context.Context, n int, p *oz.Platform, a *arrivals[task.ID]) ([]float64, error) {
	err := paced(ctx, n, createRate, func(int) error {
		at := time.Now()
		t, err := p.Submit(ctx, request())
		a.create(t.ID, at)
		return err
	})
	if err != nil {
		return nil, err
	}
	return a.quantiles(ctx, n)
}

func (b *Bench) rawPaced() measure.Side {
	return b.inDir("raw", func(ctx context.Context, dir string) (v []float64, err error) {
		q, err := raw.NewSQLite(database(dir))
		if err != nil {
			return nil, err
		}
		defer func() { err = errors.Join(err, q.Close()) }()
		return rawArrivals(ctx, b.pacedCalls(), q, q)
	})
}

// enqueuer is a raw queue that can be filled.
type enqueuer interface {
	Enqueue(payloads ...[]byte) error
}

// rawArrivals fills one queue and works at another on the same table.
func rawArrivals(ctx context.Context, n int, creates enqueuer, carries rawQueue) (v []float64, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	a := newArrivals[uint64](n)
	stopped := make(chan error, 1)
	go func() {
		stopped <- carries.Work(ctx, workers, func(j raw.Job) { a.come(binary.LittleEndian.Uint64(j.Payload)) }, func(raw.Job) {})
	}()
	err = paced(ctx, n, createRate, func(i int) error {
		numbered := []byte(payload)
		binary.LittleEndian.PutUint64(numbered, uint64(i))
		a.create(uint64(i), time.Now())
		return creates.Enqueue(numbered)
	})
	if err != nil {
		return nil, err
	}
	v, err = a.quantiles(ctx, n)
	cancel()
	return v, errors.Join(err, <-stopped)
}

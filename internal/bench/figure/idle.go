package figure

import (
	"context"
	"errors"
	"fmt"
	"syscall"
	"time"

	"github.com/oz-platform/cloudagents/internal/bench/measure"
	"github.com/oz-platform/cloudagents/oz"
	"github.com/oz-platform/cloudagents/task/sqlitestore"
)

// idle is P12: the processor that a platform with 100 idle workers takes, in
// per cent of a core, beside one per cent. The workers are in this process.
func idle(ctx context.Context, b *Bench) ([]measure.Row, error) {
	ours := b.inDir("ours", func(ctx context.Context, dir string) (v []float64, err error) {
		store, err := sqlitestore.Open(ctx, database(dir), nil)
		if err != nil {
			return nil, err
		}
		var all []oz.Worker
		for i := range workers {
			w := newWorker()
			w.id = fmt.Sprintf("bench-%d", i)
			all = append(all, w)
		}
		o, err := oz.New(store, &oz.Options{Workers: all})
		if err != nil {
			return nil, errors.Join(err, store.Close())
		}
		p := &platform{Platform: o, store: store}
		p.start()
		defer func() { err = errors.Join(err, p.close()) }()
		share, err := processorShare(ctx, 5*b.Duration)
		return []float64{100 * share}, err
	})
	baseline := measure.Side{Name: "nothing", Sample: func(ctx context.Context) ([]float64, error) {
		share, err := processorShare(ctx, 5*b.Duration)
		return []float64{100 * share}, err
	}}
	r, err := measure.Take(ctx, b.Rounds, ours, baseline)
	if err != nil {
		return nil, err
	}
	row := cost("P12", "idle with 100 workers in process, share of a core", "%", "1 % of a core", 1, 0.3)
	row.Ours, row.Other = r.Value(0, 0)-r.Value(1, 0), 1
	row.Ratio, row.Low, row.High = row.Ours, row.Ours, row.Ours
	if r.Disturbed {
		row.Unmeasured = measure.Busy
	}
	return []measure.Row{row}, nil
}

// processorShare is how much of one core this process uses during d.
func processorShare(ctx context.Context, d time.Duration) (float64, error) {
	before, err := used()
	if err != nil {
		return 0, err
	}
	select {
	case <-time.After(d):
	case <-ctx.Done():
		return 0, ctx.Err()
	}
	after, err := used()
	return float64(after-before) / float64(d), err
}

// used is the processor time of this process.
func used() (time.Duration, error) {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0, fmt.Errorf("read the processor time: %w", err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano()), nil
}

package figure

import (
	"context"
	"database/sql"
	"errors"
	"time"

	"github.com/oz-platform/cloudagents/internal/bench/measure"
	"github.com/oz-platform/cloudagents/internal/bench/peer"
	"github.com/oz-platform/cloudagents/internal/bench/raw"
)

// claim is P2: waiting runs or jobs that are claimed and completed, per
// second, with work that does nothing.
func claim(ctx context.Context, b *Bench) ([]measure.Row, error) {
	r, err := measure.Take(ctx, b.Rounds, b.oursDrains(), b.rawDrains(), b.riverDrains("River, tuned", peer.Tuned),
		b.riverDrains("River, defaults", peer.Tuning{}), b.backliteDrains())
	if err != nil {
		return nil, err
	}
	const name = "claim to complete, SQLite"
	return []measure.Row{
		r.Compare(rate("P2", name, "/s", "raw", 0.15, 0.3), 0, 1, 0),
		r.Compare(rate("P2", name, "/s", "River, tuned", 1.5, 3), 0, 2, 0),
		r.Compare(rate("P2", name, "/s", "River, defaults", 1.5, 3), 0, 3, 0),
		r.Compare(rate("P2", name, "/s", "backlite", 1.5, 3), 0, 4, 0),
		without(rate("P2", name, "/s", "Temporal dev", 20, 100), "its server is not among the tools of this bench"),
	}, nil
}

func (b *Bench) oursDrains() measure.Side {
	return b.inDir("ours", func(ctx context.Context, dir string) (v []float64, err error) {
		w := newWorker()
		p, err := open(ctx, dir, w)
		if err != nil {
			return nil, err
		}
		defer func() { err = errors.Join(err, p.close()) }()
		return b.drain(ctx, p, w)
	})
}

// drain fills a platform that does not run yet and measures how fast its
// worker ends the runs.
func (b *Bench) drain(ctx context.Context, p *platform, w *worker) ([]float64, error) {
	if err := p.fill(ctx, b.Jobs); err != nil {
		return nil, err
	}
	ended := make(chan error, b.Jobs)
	w.ended = func(err error) { ended <- err }
	start := time.Now()
	p.start()
	for range b.Jobs {
		select {
		case err := <-ended:
			if err != nil {
				return nil, err
			}
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	return []float64{float64(b.Jobs) / time.Since(start).Seconds()}, nil
}

func (b *Bench) rawDrains() measure.Side {
	return b.inDir("raw", func(ctx context.Context, dir string) (v []float64, err error) {
		q, err := raw.NewSQLite(database(dir))
		if err != nil {
			return nil, err
		}
		defer func() { err = errors.Join(err, q.Close()) }()
		if err := q.Enqueue(manyPayloads(b.Jobs)...); err != nil {
			return nil, err
		}
		return drainRaw(ctx, b.Jobs, q)
	})
}

// rawQueue is a raw queue on any database.
type rawQueue interface {
	Work(ctx context.Context, workers int, work, did func(raw.Job)) error
}

func drainRaw(ctx context.Context, jobs int, q rawQueue) ([]float64, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	did := make(chan struct{}, jobs)
	stopped := make(chan error, 1)
	start := time.Now()
	go func() {
		stopped <- q.Work(ctx, workers, func(raw.Job) {}, func(raw.Job) { did <- struct{}{} })
	}()
	for range jobs {
		select {
		case <-did:
		case err := <-stopped:
			return nil, errors.Join(err, ctx.Err())
		}
	}
	took := time.Since(start)
	cancel()
	return []float64{float64(jobs) / took.Seconds()}, <-stopped
}

func (b *Bench) riverDrains(name string, t peer.Tuning) measure.Side {
	return b.onSQLite(name, func(ctx context.Context, db *sql.DB) ([]float64, error) {
		q, err := peer.OnSQLite(ctx, db, workers, t)
		if err != nil {
			return nil, err
		}
		if err := q.Enqueue(ctx, payloads(b.Jobs)...); err != nil {
			return nil, err
		}
		took, err := q.Drain(ctx, b.Jobs)
		return []float64{float64(b.Jobs) / took.Seconds()}, err
	})
}

func (b *Bench) backliteDrains() measure.Side {
	return b.onSQLite("backlite", func(ctx context.Context, db *sql.DB) ([]float64, error) {
		q, err := peer.NewBacklite(db, workers)
		if err != nil {
			return nil, err
		}
		if err := q.Enqueue(ctx, payloads(b.Jobs)...); err != nil {
			return nil, err
		}
		took, err := q.Drain(ctx, b.Jobs)
		return []float64{float64(b.Jobs) / took.Seconds()}, err
	})
}

package figure

import (
	"context"
	"crypto/rand"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/oz-platform/cloudagents/internal/bench/measure"
	"github.com/oz-platform/cloudagents/internal/bench/peer"
	"github.com/oz-platform/cloudagents/internal/bench/raw"
	"github.com/oz-platform/cloudagents/internal/pgtest"
	"github.com/oz-platform/cloudagents/task"
	"github.com/oz-platform/cloudagents/task/pgstore"
)

// noPostgres is why figures on PostgreSQL are left out.
const noPostgres = "PostgreSQL is not installed"

// inDatabase runs a sample in a PostgreSQL database of its own.
func (b *Bench) inDatabase(name string, sample func(ctx context.Context, dsn string) ([]float64, error)) measure.Side {
	return measure.Side{Name: name, Sample: func(ctx context.Context) (v []float64, err error) {
		dsn, drop, err := b.newDatabase(ctx)
		if err != nil {
			return nil, err
		}
		defer func() { err = errors.Join(err, drop()) }()
		return sample(ctx, dsn)
	}}
}

// newDatabase makes an empty database.
func (b *Bench) newDatabase(ctx context.Context) (dsn string, drop func() error, err error) {
	name := "bench" + rand.Text()
	exec := func(ctx context.Context, text string) error {
		c, err := pgx.Connect(ctx, b.Postgres.Address("postgres"))
		if err != nil {
			return err
		}
		_, err = c.Exec(ctx, text)
		return errors.Join(err, c.Close(ctx))
	}
	quoted := pgx.Identifier{name}.Sanitize()
	if err := exec(ctx, "CREATE DATABASE "+quoted); err != nil {
		return "", nil, err
	}
	return b.Postgres.Address(name), func() error { return exec(context.WithoutCancel(ctx), "DROP DATABASE "+quoted+" WITH (FORCE)") }, nil
}

// openPostgres makes a platform on a database.
func openPostgres(ctx context.Context, dsn string, w *worker) (*platform, error) {
	store, err := pgstore.Open(ctx, dsn, nil)
	if err != nil {
		return nil, err
	}
	return on(store, w)
}

// onPostgres is inDatabase with a pool of connections, for River.
func (b *Bench) onPostgres(name string, sample func(ctx context.Context, pool *pgxpool.Pool) ([]float64, error)) measure.Side {
	return b.inDatabase(name, func(ctx context.Context, dsn string) ([]float64, error) {
		config, err := pgxpool.ParseConfig(dsn)
		if err != nil {
			return nil, err
		}
		config.MaxConns = 20
		pool, err := pgxpool.NewWithConfig(ctx, config)
		if err != nil {
			return nil, err
		}
		defer pool.Close()
		return sample(ctx, pool)
	})
}

// submitPostgres is P1 on PostgreSQL.
func submitPostgres(ctx context.Context, b *Bench) ([]measure.Row, error) {
	const name = "submit, 16 clients, PostgreSQL"
	row, limit := rate("P1", name, "/s", "River", 1, 2), rate("P1", name, "/s", "raw", 0.3, 0.5)
	if b.Postgres == nil {
		return []measure.Row{without(row, noPostgres), without(limit, noPostgres)}, nil
	}
	ours := b.inDatabase("ours", func(ctx context.Context, dsn string) (v []float64, err error) {
		p, err := openPostgres(ctx, dsn, nil)
		if err != nil {
			return nil, err
		}
		defer func() { err = errors.Join(err, p.close()) }()
		perSecond, err := clients(16, b.Duration, func(int) error { return p.submit(ctx) })
		return []float64{perSecond}, err
	})
	river := b.onPostgres("River", func(ctx context.Context, pool *pgxpool.Pool) ([]float64, error) {
		q, err := peer.OnPostgres(ctx, pool, workers, peer.Tuning{})
		if err != nil {
			return nil, err
		}
		perSecond, err := clients(16, b.Duration, func(int) error { return q.Enqueue(ctx, payload) })
		return []float64{perSecond}, err
	})
	bare := b.rawPostgres(func(_ context.Context, q *raw.Postgres) ([]float64, error) {
		perSecond, err := clients(16, b.Duration, func(int) error { return q.Enqueue([]byte(payload)) })
		return []float64{perSecond}, err
	})
	r, err := measure.Take(ctx, b.Rounds, ours, river, bare)
	if err != nil {
		return nil, err
	}
	return []measure.Row{r.Compare(row, 0, 1, 0), r.Compare(limit, 0, 2, 0)}, nil
}

func (b *Bench) rawPostgres(sample func(ctx context.Context, q *raw.Postgres) ([]float64, error)) measure.Side {
	return b.inDatabase("raw", func(ctx context.Context, dsn string) (v []float64, err error) {
		q, err := raw.NewPostgres(ctx, dsn)
		if err != nil {
			return nil, err
		}
		defer func() { err = errors.Join(err, q.Close()) }()
		return sample(ctx, q)
	})
}

// claimPostgres is P2 on PostgreSQL.
func claimPostgres(ctx context.Context, b *Bench) ([]measure.Row, error) {
	const name = "claim to complete, PostgreSQL"
	row, limit := rate("P2", name, "/s", "River, tuned", 0.5, 1), rate("P2", name, "/s", "raw", 0.15, 0.3)
	if b.Postgres == nil {
		return []measure.Row{without(row, noPostgres), without(limit, noPostgres)}, nil
	}
	ours := b.inDatabase("ours", func(ctx context.Context, dsn string) (v []float64, err error) {
		w := newWorker()
		p, err := openPostgres(ctx, dsn, w)
		if err != nil {
			return nil, err
		}
		defer func() { err = errors.Join(err, p.close()) }()
		return b.drain(ctx, p, w)
	})
	river := b.onPostgres("River, tuned", func(ctx context.Context, pool *pgxpool.Pool) ([]float64, error) {
		q, err := peer.OnPostgres(ctx, pool, workers, peer.Tuned)
		if err != nil {
			return nil, err
		}
		if err := q.Enqueue(ctx, payloads(b.Jobs)...); err != nil {
			return nil, err
		}
		took, err := q.Drain(ctx, b.Jobs)
		return []float64{float64(b.Jobs) / took.Seconds()}, err
	})
	bare := b.rawPostgres(func(ctx context.Context, q *raw.Postgres) ([]float64, error) {
		if err := q.Enqueue(manyPayloads(b.Jobs)...); err != nil {
			return nil, err
		}
		return drainRaw(ctx, b.Jobs, q)
	})
	r, err := measure.Take(ctx, b.Rounds, ours, river, bare)
	if err != nil {
		return nil, err
	}
	return []measure.Row{r.Compare(row, 0, 1, 0), r.Compare(limit, 0, 2, 0)}, nil
}

// latencyPostgres is P3 across replicas: created on one, carried out on
// another.
func latencyPostgres(ctx context.Context, b *Bench) ([]measure.Row, error) {
	p50 := cost("P3", "created on A to worker on B at 40/s, p50, PostgreSQL", "ms", "raw", 2, 1.3)
	p99 := cost("P3", "created on A to worker on B at 40/s, p99, PostgreSQL", "ms", "raw", 2.5, 1.3)
	if b.Postgres == nil {
		return []measure.Row{without(p50, noPostgres), without(p99, noPostgres)}, nil
	}
	ours := b.inDatabase("ours", func(ctx context.Context, dsn string) (v []float64, err error) {
		n := b.pacedCalls()
		a := newArrivals[task.ID](n)
		w := newWorker()
		w.offered = func(t task.Task) { a.come(t.ID) }
		carries, err := openPostgres(ctx, dsn, w)
		if err != nil {
			return nil, err
		}
		defer func() { err = errors.Join(err, carries.close()) }()
		carries.start()
		creates, err := openPostgres(ctx, dsn, nil)
		if err != nil {
			return nil, err
		}
		defer func() { err = errors.Join(err, creates.close()) }()
		return pacedSubmits(ctx, n, creates.Platform, a)
	})
	bare := b.inDatabase("raw", func(ctx context.Context, dsn string) (v []float64, err error) {
		carries, err := raw.NewPostgres(ctx, dsn)
		if err != nil {
			return nil, err
		}
		defer func() { err = errors.Join(err, carries.Close()) }()
		creates, err := raw.NewPostgres(ctx, dsn)
		if err != nil {
			return nil, err
		}
		defer func() { err = errors.Join(err, creates.Close()) }()
		return rawArrivals(ctx, b.pacedCalls(), creates, carries)
	})
	r, err := measure.Take(ctx, b.Rounds, ours, bare)
	if err != nil {
		return nil, err
	}
	return []measure.Row{r.Compare(p50, 0, 1, 0), r.Compare(p99, 0, 1, 1)}, nil
}

// listsPostgres is P5 on PostgreSQL.
func listsPostgres(ctx context.Context, b *Bench) (rows []measure.Row, err error) {
	if b.Postgres == nil {
		return []measure.Row{without(cost("P5", "newest 50 by any filter, PostgreSQL, p50", "ms", "N = 1000", 2, 1.3), noPostgres)}, nil
	}
	var stores []task.Store
	for _, n := range []int{b.Runs, smallRuns} {
		dsn, drop, err := b.newDatabase(ctx)
		if err != nil {
			return nil, err
		}
		defer func() { err = errors.Join(err, drop()) }()
		s, err := pgstore.Open(ctx, dsn, &pgstore.Options{StatementTimeout: time.Minute})
		if err != nil {
			return nil, err
		}
		defer func() { err = errors.Join(err, s.Close()) }()
		if err := fillStore(ctx, s, n); err != nil {
			return nil, err
		}
		if err := analyze(ctx, dsn); err != nil {
			return nil, err
		}
		stores = append(stores, s)
	}
	return b.compareLists(ctx, "PostgreSQL", stores[0], stores[1])
}

// analyze does what autovacuum does a minute after the last row.
func analyze(ctx context.Context, dsn string) error {
	c, err := pgx.Connect(ctx, dsn)
	if err != nil {
		return err
	}
	_, err = c.Exec(ctx, "VACUUM ANALYZE")
	return errors.Join(err, c.Close(ctx))
}

// StartPostgres starts a private server, unless PostgreSQL is not installed.
// Close ends it.
func (b *Bench) StartPostgres(ctx context.Context) error {
	s, err := pgtest.Start(ctx)
	if errors.Is(err, pgtest.ErrNotInstalled) {
		return nil
	}
	b.Postgres = s
	return err
}

// Close ends the server, if there is one.
func (b *Bench) Close() error {
	if b.Postgres == nil {
		return nil
	}
	return b.Postgres.Close()
}

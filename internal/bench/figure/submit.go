package figure

import (
	"context"
	"database/sql"
	"errors"
	"strings"

	"github.com/oz-platform/cloudagents/internal/bench/measure"
	"github.com/oz-platform/cloudagents/internal/bench/peer"
	"github.com/oz-platform/cloudagents/internal/bench/raw"
)

// submit is P1: runs or jobs that are stored durably, per second.
func submit(ctx context.Context, b *Bench) ([]measure.Row, error) {
	one, err := measure.Take(ctx, b.Rounds, b.oursSubmits(1), b.rawEnqueues(1))
	if err != nil {
		return nil, err
	}
	many, err := measure.Take(ctx, b.Rounds, b.oursSubmits(16), b.rawEnqueues(16), b.riverEnqueues(16), b.backliteEnqueues(16))
	if err != nil {
		return nil, err
	}
	bulk, err := measure.Take(ctx, b.Rounds, b.oursBulk(), b.rawBulk())
	if err != nil {
		return nil, err
	}
	return []measure.Row{
		one.Compare(rate("P1", "submit, 1 client, SQLite", "/s", "raw", 0.6, 0.85), 0, 1, 0),
		many.Compare(rate("P1", "submit, 16 clients, SQLite", "/s", "raw", 0.3, 0.5), 0, 1, 0),
		many.Compare(rate("P1", "submit, 16 clients, SQLite", "/s", "River", 2, 4), 0, 2, 0),
		many.Compare(rate("P1", "submit, 16 clients, SQLite", "/s", "backlite", 2, 4), 0, 3, 0),
		bulk.Compare(rate("P1", "submit, 1,000 at once, SQLite", "/s", "raw", 0.2, 0.4), 0, 1, 0),
	}, nil
}

func (b *Bench) oursSubmits(n int) measure.Side {
	return b.inDir("ours", func(ctx context.Context, dir string) (v []float64, err error) {
		p, err := open(ctx, dir, nil)
		if err != nil {
			return nil, err
		}
		defer func() { err = errors.Join(err, p.close()) }()
		perSecond, err := clients(n, b.Duration, func(int) error { return p.submit(ctx) })
		return []float64{perSecond}, err
	})
}

func (b *Bench) rawEnqueues(n int) measure.Side {
	return b.inDir("raw", func(ctx context.Context, dir string) (v []float64, err error) {
		q, err := raw.NewSQLite(database(dir))
		if err != nil {
			return nil, err
		}
		defer func() { err = errors.Join(err, q.Close()) }()
		perSecond, err := clients(n, b.Duration, func(int) error { return q.Enqueue([]byte(payload)) })
		return []float64{perSecond}, err
	})
}

func (b *Bench) riverEnqueues(n int) measure.Side {
	return b.onSQLite("River", func(ctx context.Context, db *sql.DB) ([]float64, error) {
		q, err := peer.OnSQLite(ctx, db, workers, peer.Tuning{})
		if err != nil {
			return nil, err
		}
		perSecond, err := clients(n, b.Duration, func(int) error { return q.Enqueue(ctx, payload) })
		return []float64{perSecond}, err
	})
}

func (b *Bench) backliteEnqueues(n int) measure.Side {
	return b.onSQLite("backlite", func(ctx context.Context, db *sql.DB) ([]float64, error) {
		q, err := peer.NewBacklite(db, workers)
		if err != nil {
			return nil, err
		}
		perSecond, err := clients(n, b.Duration, func(int) error { return q.Enqueue(ctx, payload) })
		return []float64{perSecond}, err
	})
}

// onSQLite is a sample on a new database with the same durable settings as ours.
func (b *Bench) onSQLite(name string, sample func(ctx context.Context, db *sql.DB) ([]float64, error)) measure.Side {
	return b.inDir(name, func(ctx context.Context, dir string) (v []float64, err error) {
		db, err := raw.OpenSQLite(database(dir))
		if err != nil {
			return nil, err
		}
		defer func() { err = errors.Join(err, db.Close()) }()
		return sample(ctx, db)
	})
}

const bulkSize = 1000

// oursBulk submits many runs at once, each by itself: the store puts them into
// few transactions.
func (b *Bench) oursBulk() measure.Side {
	return b.inDir("ours", func(ctx context.Context, dir string) (v []float64, err error) {
		p, err := open(ctx, dir, nil)
		if err != nil {
			return nil, err
		}
		defer func() { err = errors.Join(err, p.close()) }()
		perSecond, err := clients(1, b.Duration, func(int) error {
			return spread(bulkSize, bulkSize, func(int) error { return p.submit(ctx) })
		})
		return []float64{perSecond * bulkSize}, err
	})
}

func (b *Bench) rawBulk() measure.Side {
	return b.inDir("raw", func(ctx context.Context, dir string) (v []float64, err error) {
		q, err := raw.NewSQLite(database(dir))
		if err != nil {
			return nil, err
		}
		defer func() { err = errors.Join(err, q.Close()) }()
		jobs := manyPayloads(bulkSize)
		perSecond, err := clients(1, b.Duration, func(int) error { return q.Enqueue(jobs...) })
		return []float64{perSecond * bulkSize}, err
	})
}

// manyPayloads are n of them.
func manyPayloads(n int) [][]byte {
	out := make([][]byte, n)
	for i := range out {
		out[i] = []byte(payload)
	}
	return out
}

// payloads are n of them, for peers that take strings.
func payloads(n int) []string {
	out := make([]string, n)
	for i := range out {
		out[i] = strings.Clone(payload)
	}
	return out
}

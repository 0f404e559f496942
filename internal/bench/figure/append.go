package figure

import (
	"context"
	"errors"

	"github.com/oz-platform/cloudagents/internal/bench/measure"
	"github.com/oz-platform/cloudagents/internal/bench/raw"
)

const (
	appendRuns  = 64
	appendBatch = 50
)

// appendEvents is P4: events that runners append over their links, per second,
// beside transactions of as many plain rows.
func appendEvents(ctx context.Context, b *Bench) ([]measure.Row, error) {
	ours := b.inDir("ours", func(ctx context.Context, dir string) (v []float64, err error) {
		p, err := open(ctx, dir, nil)
		if err != nil {
			return nil, err
		}
		defer func() { err = errors.Join(err, p.close()) }()
		return b.appends(ctx, p)
	})
	limit := b.inDir("raw", func(ctx context.Context, dir string) ([]float64, error) {
		perSecond, err := raw.AppendEvents(database(dir), appendRuns, appendBatch, []byte(payload), b.Duration)
		return []float64{perSecond}, err
	})
	r, err := measure.Take(ctx, b.Rounds, ours, limit)
	if err != nil {
		return nil, err
	}
	return []measure.Row{r.Compare(rate("P4", "event append, 50 per batch, 64 runs, SQLite", "/s", "50-event transaction", 0.3, 0.6), 0, 1, 0)}, nil
}

func (b *Bench) appends(ctx context.Context, p *platform) ([]float64, error) {
	_, links, err := p.working(ctx, appendRuns)
	if err != nil {
		return nil, err
	}
	offsets := make([]int64, appendRuns)
	batches, err := clients(appendRuns, b.Duration, func(i int) error {
		err := links[i].Append(ctx, offsets[i], messages(appendBatch))
		offsets[i] += appendBatch
		return err
	})
	return []float64{batches * appendBatch}, err
}

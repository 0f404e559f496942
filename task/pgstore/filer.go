package pgstore

import (
	"context"
	"math"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

const (
	// fileInterval is how soon a run that has ended enters the list indexes.
	// Until then lists look at it together with those that work.
	fileInterval = 2 * time.Second
	// patientLooks is after how many intervals a run is filed that waits: most
	// are taken by a worker before, and then never enter the indexes.
	patientLooks = 3
	// fileBatch bounds the runs of one statement, which locks them.
	fileBatch = 200
)

// filer puts runs that wait or have ended into the list indexes, many at once
// and beside the commits, and packs the statistics. Each store files what it finds, so that a store that
// has died leaves nothing behind.
type filer struct {
	pool   *pgxpool.Pool
	after  time.Duration // between looks
	ring   chan struct{} // capacity 1: there may be something to file
	cancel context.CancelFunc
	ended  chan struct{}

	packer packer
	packed bool // the last look has packed all that was due
	looks  int
	mark   int64 // runs up to this one have waited for long enough
}

func newFiler(pool *pgxpool.Pool, schema string) *filer {
	f := &filer{pool: pool, after: fileInterval, ring: make(chan struct{}, 1), ended: make(chan struct{}), packer: newPacker(pool, schema)}
	f.wake() // for what others have left
	var running context.Context
	running, f.cancel = context.WithCancel(context.Background())
	go f.run(running)
	return f
}

// wake says that there is something to file.
func (f *filer) wake() {
	select {
	case f.ring <- struct{}{}:
	default:
	}
}

func (f *filer) stop() {
	f.cancel()
	<-f.ended
}

func (f *filer) run(ctx context.Context) {
	defer close(f.ended)
	for {
		select {
		case <-f.ring:
		case <-ctx.Done():
			return
		}
		select {
		case <-time.After(f.after):
		case <-ctx.Done():
			return
		}
		if more, err := f.look(ctx); more || err != nil {
			f.wake() // an error passes, or the next look meets it again
		}
	}
}

// The statements of filing: some runs behind a number. A run whose row another
// transaction has locked is left for the next look.
const (
	fileEnded = `WITH due AS (SELECT n FROM runs WHERE idle_at IS NULL AND state IN ('SUCCEEDED', 'FAILED', 'BLOCKED', 'ERROR', 'CANCELLED')
			AND n > $1 ORDER BY n LIMIT $2 FOR UPDATE SKIP LOCKED)
		UPDATE runs r SET idle_at = r.updated_at FROM due WHERE r.n = due.n RETURNING r.n`
	fileWaiting = `WITH due AS (SELECT n FROM runs WHERE idle_at IS NULL AND ready_at IS NOT NULL
			AND n > $1 AND n <= $3 ORDER BY n LIMIT $2 FOR UPDATE SKIP LOCKED)
		UPDATE runs r SET idle_at = r.updated_at FROM due WHERE r.n = due.n RETURNING r.n`
	selectNewest  = `SELECT coalesce(max(n), 0) FROM runs`
	selectUnfiled = `SELECT EXISTS (SELECT 1 FROM runs WHERE idle_at IS NULL AND (ready_at IS NOT NULL
		OR state IN ('SUCCEEDED', 'FAILED', 'BLOCKED', 'ERROR', 'CANCELLED')))`
)

// look files what is due. more says that another look is needed, as something
// waits that is to be filed when it has waited for long enough.
func (f *filer) look(ctx context.Context) (more bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, lookTimeout)
	defer cancel()
	if err := f.file(ctx, fileEnded); err != nil {
		return false, err
	}
	if f.looks++; f.looks%patientLooks == 0 {
		if err := f.file(ctx, fileWaiting, f.mark); err != nil {
			return false, err
		}
		if err := f.pool.QueryRow(ctx, selectNewest).Scan(&f.mark); err != nil {
			return false, err
		}
	}
	unpacked, err := f.pack(ctx)
	if err != nil {
		return false, err
	}
	err = f.pool.QueryRow(ctx, selectUnfiled).Scan(&more)
	return more || unpacked, err
}

// pack packs the statistics from time to time.
func (f *filer) pack(ctx context.Context) (more bool, err error) {
	if f.packed && f.looks%packEvery != 0 {
		return false, nil
	}
	more, err = f.packer.pack(ctx)
	f.packed = err == nil && !more
	return more, err
}

// file repeats a statement until it finds less than fits into one.
func (f *filer) file(ctx context.Context, statement string, args ...any) error {
	var filed []int64
	last := int64(math.MinInt64)
	for {
		b := &pgx.Batch{}
		// What gets lost when the server crashes is found again.
		b.Queue(`SELECT set_config('synchronous_commit', 'off', true)`)
		b.Queue(statement, append([]any{last, fileBatch}, args...)...).Query(func(rows pgx.Rows) (err error) {
			filed, err = pgx.CollectRows(rows, pgx.RowTo[int64])
			return err
		})
		if err := f.pool.SendBatch(ctx, b).Close(); err != nil || len(filed) < fileBatch {
			return err
		}
		last = slices.Max(filed)
	}
}

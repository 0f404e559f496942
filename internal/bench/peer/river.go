// Package peer runs the queues that a user might pick instead of the platform,
// each through its own public interface.
package peer

import (
	"context"
	"database/sql"
	"fmt"
	"io"
	"log/slog"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"github.com/riverqueue/river/riverdriver/riversqlite"
	"github.com/riverqueue/river/rivermigrate"
)

// job is what River carries.
type job struct {
	Payload string `json:"payload"`
}

func (job) Kind() string { return "bench" }

// worker does nothing, and says so.
type worker struct {
	river.WorkerDefaults[job]
	did func()
}

func (w *worker) Work(context.Context, *river.Job[job]) error {
	w.did()
	return nil
}

// Tuning is River's two settings that decide its speed.
type Tuning struct {
	// Cooldown is the shortest time between two fetches, Poll the longest.
	Cooldown, Poll time.Duration
}

// Tuned is the fastest setting that River allows, with a poll that does not
// take a processor for itself.
var Tuned = Tuning{Cooldown: time.Millisecond, Poll: 5 * time.Millisecond}

// River is a client of River on any of its databases.
type River[TTx any] struct {
	client *river.Client[TTx]
	worked *worker
}

// OnSQLite installs River in a database of one connection, as its
// documentation asks for. The zero Tuning is River's defaults.
func OnSQLite(ctx context.Context, db *sql.DB, workers int, t Tuning) (*River[*sql.Tx], error) {
	return install(ctx, riversqlite.New(db), workers, t)
}

// OnPostgres installs River in a database.
func OnPostgres(ctx context.Context, pool *pgxpool.Pool, workers int, t Tuning) (*River[pgx.Tx], error) {
	return install(ctx, riverpgxv5.New(pool), workers, t)
}

func install[TTx any](ctx context.Context, driver riverdriver.Driver[TTx], workers int, t Tuning) (*River[TTx], error) {
	quiet := slog.New(slog.NewTextHandler(io.Discard, nil))
	migrator, err := rivermigrate.New(driver, &rivermigrate.Config{Logger: quiet})
	if err != nil {
		return nil, err
	}
	if _, err := migrator.Migrate(ctx, rivermigrate.DirectionUp, nil); err != nil {
		return nil, fmt.Errorf("install River: %w", err)
	}
	r := &River[TTx]{worked: &worker{did: func() {}}}
	all := river.NewWorkers()
	river.AddWorker(all, r.worked)
	r.client, err = river.NewClient(driver, &river.Config{Workers: all, Logger: quiet, FetchCooldown: t.Cooldown, FetchPollInterval: t.Poll,
		Queues: map[string]river.QueueConfig{river.QueueDefault: {MaxWorkers: workers}}})
	if err != nil {
		return nil, fmt.Errorf("install River: %w", err)
	}
	return r, nil
}

// Enqueue stores jobs: one by an insert, several by River's fastest way.
func (r *River[TTx]) Enqueue(ctx context.Context, payloads ...string) error {
	if len(payloads) == 1 {
		_, err := r.client.Insert(ctx, job{payloads[0]}, nil)
		return err
	}
	params := make([]river.InsertManyParams, len(payloads))
	for i, p := range payloads {
		params[i].Args = job{p}
	}
	_, err := r.client.InsertManyFast(ctx, params)
	return err
}

// Drain works until n jobs have been completed durably, and gives the time
// that took, without the client's start and stop.
func (r *River[TTx]) Drain(ctx context.Context, n int) (took time.Duration, err error) {
	events, cancel := r.client.SubscribeConfig(&river.SubscribeConfig{ChanSize: n, Kinds: []river.EventKind{river.EventKindJobCompleted}})
	defer cancel()
	start := time.Now()
	if err := r.client.Start(ctx); err != nil {
		return 0, err
	}
	defer func() {
		if stop := r.client.StopAndCancel(ctx); err == nil {
			err = stop
		}
	}()
	for range n {
		select {
		case <-events:
		case <-ctx.Done():
			return 0, ctx.Err()
		}
	}
	return time.Since(start), nil
}

package peer

import (
	"context"
	"database/sql"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/mikestefanello/backlite"
)

// item is what backlite carries.
type item struct {
	Payload string `json:"payload"`
}

// Config implements backlite.Task. Completed jobs are kept, as ours are.
func (item) Config() backlite.QueueConfig {
	return backlite.QueueConfig{Name: "bench", MaxAttempts: 1, Timeout: time.Minute,
		Retention: &backlite.Retention{Data: &backlite.RetainData{}}}
}

// Backlite is a client of backlite.
type Backlite struct {
	client *backlite.Client
	db     *sql.DB
	did    atomic.Int64
}

// NewBacklite installs backlite in a database.
func NewBacklite(db *sql.DB, workers int) (*Backlite, error) {
	client, err := backlite.NewClient(backlite.ClientConfig{DB: db, NumWorkers: workers, ReleaseAfter: time.Hour})
	if err != nil {
		return nil, err
	}
	if err := client.Install(); err != nil {
		return nil, fmt.Errorf("install backlite: %w", err)
	}
	b := &Backlite{client: client, db: db}
	client.Register(backlite.NewQueue(func(context.Context, item) error { b.did.Add(1); return nil }))
	return b, nil
}

// Enqueue stores jobs in one transaction.
func (b *Backlite) Enqueue(ctx context.Context, payloads ...string) error {
	tasks := make([]backlite.Task, len(payloads))
	for i, p := range payloads {
		tasks[i] = item{p}
	}
	_, err := b.client.Add(tasks...).Ctx(ctx).Save()
	return err
}

// Drain works until n jobs have been carried out, and gives the time that
// took. The completions of the last few may still be on their way to the disk.
func (b *Backlite) Drain(ctx context.Context, n int) (time.Duration, error) {
	start := time.Now()
	run, cancel := context.WithCancel(ctx)
	defer cancel()
	b.client.Start(run)
	for b.did.Load() < int64(n) {
		select {
		case <-time.After(time.Millisecond):
		case <-ctx.Done():
			return 0, ctx.Err()
		}
	}
	took := time.Since(start)
	b.client.Stop(ctx)
	return took, nil
}

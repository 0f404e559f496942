package raw

import (
	"context"
	"sync"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// Postgres is a queue of one table: claims with SKIP LOCKED, inserts and
// completions that wait together share a statement, and each insert notifies
// the queues of all processes.
type Postgres struct {
	pool      *pgxpool.Pool
	inserts   *committer[[]byte]
	completed *committer[int64]
	wake      chan struct{} // capacity 1: jobs may be waiting
	stop      context.CancelFunc
	running   sync.WaitGroup
}

// NewPostgres makes the queue's table unless it is there, and listens.
func NewPostgres(ctx context.Context, dsn string) (*Postgres, error) {
	pool, err := pgxpool.New(ctx, dsn)
	if err != nil {
		return nil, err
	}
	q := &Postgres{pool: pool, wake: make(chan struct{}, 1)}
	_, err = pool.Exec(ctx, `CREATE TABLE IF NOT EXISTS jobs (id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY, state SMALLINT NOT NULL, payload BYTEA NOT NULL);
		CREATE INDEX IF NOT EXISTS jobs_waiting ON jobs (id) WHERE state = 0`)
	if err != nil {
		pool.Close()
		return nil, err
	}
	listener, err := pgx.ConnectConfig(ctx, pool.Config().ConnConfig)
	if err == nil {
		_, err = listener.Exec(ctx, `LISTEN jobs`)
	}
	if err != nil {
		pool.Close()
		return nil, err
	}
	ctx, q.stop = context.WithCancel(context.Background())
	q.running.Go(func() { q.listen(ctx, listener) })
	q.inserts = newCommitter(func(payloads [][]byte) error {
		_, err := pool.Exec(ctx, `WITH added AS (INSERT INTO jobs (state, payload) SELECT 0, unnest($1::bytea[])) SELECT pg_notify('jobs', '')`, payloads)
		return err
	})
	q.completed = newCommitter(func(ids []int64) error {
		_, err := pool.Exec(ctx, `UPDATE jobs SET state = 2 WHERE id = ANY($1)`, ids)
		return err
	})
	return q, nil
}

// listen passes notifications on until ctx ends.
func (q *Postgres) listen(ctx context.Context, c *pgx.Conn) {
	defer func() { _ = c.Close(context.Background()) }()
	for {
		if _, err := c.WaitForNotification(ctx); err != nil {
			return
		}
		q.ring()
	}
}

func (q *Postgres) ring() {
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

// Close ends the queue. No call may be under way.
func (q *Postgres) Close() error {
	q.inserts.close()
	q.completed.close()
	q.stop()
	q.running.Wait()
	q.pool.Close()
	return nil
}

// Enqueue stores jobs in one transaction.
func (q *Postgres) Enqueue(payloads ...[]byte) error { return q.inserts.do(payloads...) }

// Work is that of SQLite.
func (q *Postgres) Work(ctx context.Context, workers int, work, did func(Job)) error {
	q.ring() // jobs that were there before
	claim := func(limit int) ([]Job, error) {
		rows, err := q.pool.Query(context.Background(), `UPDATE jobs SET state = 1 WHERE id IN
			(SELECT id FROM jobs WHERE state = 0 ORDER BY id LIMIT $1 FOR UPDATE SKIP LOCKED) RETURNING id, payload`, limit)
		if err != nil {
			return nil, err
		}
		return pgx.CollectRows(rows, pgx.RowToStructByPos[Job])
	}
	return loop(ctx, workers, q.wake, claim, func(j Job) error { return q.completed.do(j.ID) }, work, did)
}

// committer writes what waits for it together.
type committer[T any] struct {
	ops  chan commit[T]
	done chan struct{} // closed when its goroutine has ended
}

type commit[T any] struct {
	items  []T
	result chan error
}

func newCommitter[T any](write func([]T) error) *committer[T] {
	c := &committer[T]{ops: make(chan commit[T], maxOps), done: make(chan struct{})}
	go func() {
		defer close(c.done)
		for first := range c.ops {
			batch, items := []commit[T]{first}, first.items
			for len(batch) < maxOps && len(c.ops) > 0 {
				o := <-c.ops
				batch, items = append(batch, o), append(items, o.items...)
			}
			err := write(items)
			for _, o := range batch {
				o.result <- err
			}
		}
	}()
	return c
}

func (c *committer[T]) do(items ...T) error {
	o := commit[T]{items, make(chan error, 1)}
	c.ops <- o
	return <-o.result
}

func (c *committer[T]) close() {
	close(c.ops)
	<-c.done
}

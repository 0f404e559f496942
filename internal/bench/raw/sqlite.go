// Package raw holds the limits that the platform is measured against: the
// thinnest durable queue on each database, a plain loop of event
// transactions, and bare HTTP and event-stream servers. They use every known
// technique and keep no promise beyond durability.
package raw

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"sync"

	_ "modernc.org/sqlite" // the driver
)

// Job is what a queue carries.
type Job struct {
	ID      int64
	Payload []byte
}

// OpenSQLite opens a database with the durable settings that all sides use:
// write-ahead log, and a sync with each commit. It has one connection.
func OpenSQLite(path string) (*sql.DB, error) {
	db, err := sql.Open("sqlite", "file:"+path+"?_txlock=immediate&_pragma=journal_mode(WAL)&_pragma=synchronous(FULL)&_pragma=busy_timeout(5000)&_pragma=cache_size(-32768)")
	if err != nil {
		return nil, err
	}
	db.SetMaxOpenConns(1)
	return db, nil
}

// SQLite is a queue of one table and one goroutine that writes. What waits
// for it shares a transaction.
type SQLite struct {
	db    *sql.DB
	stmts struct{ insert, claim, complete *sql.Stmt }
	ops   chan *op
	wake  chan struct{} // capacity 1: jobs may be waiting
	done  chan struct{} // closed when the writer has ended
}

// op is a write that waits for the writer: an insert, a claim of up to limit
// jobs, or a completion.
type op struct {
	payloads [][]byte
	limit    int
	id       int64
	claimed  []Job
	result   chan error
}

const maxOps = 512 // per transaction

// NewSQLite makes a queue in a new database file.
func NewSQLite(path string) (*SQLite, error) {
	db, err := OpenSQLite(path)
	if err != nil {
		return nil, err
	}
	q := &SQLite{db: db, ops: make(chan *op, maxOps), wake: make(chan struct{}, 1), done: make(chan struct{})}
	if err := q.prepare(); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	go q.write()
	return q, nil
}

func (q *SQLite) prepare() error {
	_, err := q.db.Exec(`CREATE TABLE jobs (id INTEGER PRIMARY KEY, state INTEGER NOT NULL, payload BLOB NOT NULL) STRICT;
		CREATE INDEX jobs_waiting ON jobs (id) WHERE state = 0`)
	if err != nil {
		return err
	}
	for text, stmt := range map[string]**sql.Stmt{
		`INSERT INTO jobs (state, payload) VALUES (0, ?)`: &q.stmts.insert,
		`UPDATE jobs SET state = 1 WHERE id IN (SELECT id FROM jobs INDEXED BY jobs_waiting WHERE state = 0 ORDER BY id LIMIT ?)
			RETURNING id, payload`: &q.stmts.claim,
		`UPDATE jobs SET state = 2 WHERE id = ?`: &q.stmts.complete,
	} {
		if *stmt, err = q.db.Prepare(text); err != nil {
			return err
		}
	}
	return nil
}

// Close ends the queue. No call may be under way.
func (q *SQLite) Close() error {
	close(q.ops)
	<-q.done
	return q.db.Close()
}

// Enqueue stores jobs in one transaction.
func (q *SQLite) Enqueue(payloads ...[]byte) error {
	if err := q.do(&op{payloads: payloads}); err != nil {
		return err
	}
	q.ring()
	return nil
}

func (q *SQLite) ring() {
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

func (q *SQLite) do(o *op) error {
	o.result = make(chan error, 1)
	q.ops <- o
	return <-o.result
}

// write takes what waits into one transaction, commits and answers, until the
// queue is closed.
func (q *SQLite) write() {
	defer close(q.done)
	for first := range q.ops {
		batch := []*op{first}
		for len(batch) < maxOps && len(q.ops) > 0 {
			o, ok := <-q.ops
			if !ok {
				break
			}
			batch = append(batch, o)
		}
		err := q.transact(batch)
		for _, o := range batch {
			o.result <- err
		}
	}
}

func (q *SQLite) transact(batch []*op) error {
	tx, err := q.db.Begin()
	if err != nil {
		return err
	}
	insert, claim, complete := tx.Stmt(q.stmts.insert), tx.Stmt(q.stmts.claim), tx.Stmt(q.stmts.complete)
	for _, o := range batch {
		if err := o.apply(insert, claim, complete); err != nil {
			return errors.Join(err, tx.Rollback())
		}
	}
	return tx.Commit()
}

func (o *op) apply(insert, claim, complete *sql.Stmt) error {
	for _, p := range o.payloads {
		if _, err := insert.Exec(p); err != nil {
			return err
		}
	}
	if o.id != 0 {
		_, err := complete.Exec(o.id)
		return err
	}
	if o.limit == 0 {
		return nil
	}
	rows, err := claim.Query(o.limit)
	if err != nil {
		return err
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		var j Job
		if err := rows.Scan(&j.ID, &j.Payload); err != nil {
			return err
		}
		o.claimed = append(o.claimed, j)
	}
	return rows.Err()
}

// Work claims jobs and carries each out on one of the workers, until ctx
// ends. did is called for each job once its completion is durable.
func (q *SQLite) Work(ctx context.Context, workers int, work, did func(Job)) error {
	claim := func(limit int) ([]Job, error) {
		o := &op{limit: limit}
		err := q.do(o)
		return o.claimed, err
	}
	complete := func(j Job) error { return q.do(&op{id: j.ID}) }
	return loop(ctx, workers, q.wake, claim, complete, work, did)
}

// loop claims as many jobs as workers are free, whenever some are and jobs may
// be waiting.
func loop(ctx context.Context, workers int, wake <-chan struct{}, claim func(int) ([]Job, error), complete func(Job) error, work, did func(Job)) error {
	free := make(chan struct{}, workers)
	for range workers {
		free <- struct{}{}
	}
	failed := make(chan error, workers)
	var running sync.WaitGroup
	defer running.Wait()
	for {
		select {
		case <-wake:
		case err := <-failed:
			return err
		case <-ctx.Done():
			return nil
		}
		for more := true; more; {
			n := take(ctx, free)
			if n == 0 {
				return nil
			}
			jobs, err := claim(n)
			if err != nil {
				return fmt.Errorf("claim: %w", err)
			}
			for range n - len(jobs) {
				free <- struct{}{}
			}
			more = len(jobs) == n
			for _, j := range jobs {
				running.Go(func() {
					work(j)
					if err := complete(j); err != nil {
						failed <- fmt.Errorf("complete: %w", err)
					}
					free <- struct{}{}
					did(j)
				})
			}
		}
	}
}

// take waits for a free worker and takes all that are free; 0 when ctx ended.
func take(ctx context.Context, free <-chan struct{}) int {
	select {
	case <-free:
	case <-ctx.Done():
		return 0
	}
	n := 1
	for {
		select {
		case <-free:
			n++
		default:
			return n
		}
	}
}

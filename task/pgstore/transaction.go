package pgstore

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/cenkalti/backoff/v4"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/oz-platform/cloudagents/task"
)

const (
	// A transaction that was in the way of another, or whose connection broke,
	// is tried again after waits that grow from the first to the last of these:
	// long enough for a connection to be made anew, too short to pile up
	// requests while the database is away.
	firstRetry = 5 * time.Millisecond
	lastRetry  = 200 * time.Millisecond
	maxRetries = 8
)

// errBusyQuota says that a transaction has to begin again with the lock that
// makes the count of waiting runs exact.
var errBusyQuota = errors.New("the limit of waiting runs is near")

// transact applies a batch in one transaction. The refusals are left in the
// requests; the error is the database's, and then nothing has happened, unless
// it is errUnknown.
func (s *Store) transact(batch []*request) error {
	wait := backoff.WithMaxRetries(backoff.NewExponentialBackOff(backoff.WithInitialInterval(firstRetry), backoff.WithMaxInterval(lastRetry)), maxRetries)
	exact := false
	return backoff.Retry(func() error {
		err := s.attempt(batch, exact)
		if errors.Is(err, errBusyQuota) {
			exact = true
			err = s.attempt(batch, exact)
		}
		if err != nil && !passing(err) {
			return backoff.Permanent(err)
		}
		return err
	}, wait)
}

// attempt tries a batch once.
func (s *Store) attempt(batch []*request, exact bool) error {
	// Longer than the server takes to give up: this is for a server that is
	// not heard of any more.
	ctx, cancel := context.WithTimeout(context.Background(), 2*s.opts.StatementTimeout)
	defer cancel()
	conn, err := s.writes.Acquire(ctx)
	if err != nil {
		return err
	}
	defer conn.Release() // the pool closes one that is broken or within a transaction
	tx := newTransaction(s, conn, needsOf(batch), exact)
	if err := tx.begin(ctx); err != nil {
		return tx.rollback(ctx, err)
	}
	for _, r := range batch {
		r.refused = r.decide(tx)
	}
	if !tx.writes() {
		return tx.rollback(ctx, nil)
	}
	if err := tx.commit(ctx); err != nil {
		return err
	}
	tx.tell()
	return nil
}

// transaction is a batch under way: what was read under locks, and what is to
// be written.
type transaction struct {
	s     *Store
	conn  *pgxpool.Conn
	needs *needs
	exact bool   // counts waiting runs under a lock
	xid   string // of PostgreSQL

	runs         map[task.ID]*run
	usedIDs      map[string]bool // of runs
	usedExecs    map[task.ExecutionID]bool
	freeNs       []int64 // for new runs
	keys         map[pair]*creationKey
	records      map[pair]*record
	bodies       map[task.ID]task.Task // of runs to be placed, without their heads
	waiting      int                   // runs that waited at the begin, if the batch needs to know
	delta        int                   // what the transaction changes that by
	forgetBefore int64                 // which idempotency keys are over
	trims        []*trim
	unread       map[task.ID]int // messages of the runs that get mail, up to task.MaxUnread
	mail         []*sendMail
	signals      []signal

	created, changed []*run        // what is to be written
	dirty            map[*run]bool // both
}

func newTransaction(s *Store, conn *pgxpool.Conn, n *needs, exact bool) *transaction {
	return &transaction{s: s, conn: conn, needs: n, exact: exact, runs: map[task.ID]*run{}, usedIDs: map[string]bool{},
		usedExecs: map[task.ExecutionID]bool{}, keys: map[pair]*creationKey{}, records: map[pair]*record{}, unread: map[task.ID]int{}, dirty: map[*run]bool{}}
}

// The statements that a transaction reads with. All locks are taken here, in
// the same order by all stores.
const (
	beginTransaction = `BEGIN ISOLATION LEVEL READ COMMITTED`
	// An ID before anything is written, so that the outcome of a commit can be
	// looked up when its answer gets lost.
	selectXID    = `SELECT pg_current_xact_id()::text`
	lockQuota    = `SELECT pg_advisory_xact_lock($1)`
	countWaiting = `SELECT count(*) FROM (SELECT 1 FROM runs WHERE ready_at IS NOT NULL LIMIT $1) w`
	lockRuns     = `SELECT id, n, version, head, idle_at IS NOT NULL FROM runs WHERE id = ANY($1) ORDER BY id FOR UPDATE`
	lockPlaced   = `SELECT id, n, version, head, idle_at IS NOT NULL FROM runs WHERE id = ANY($1) AND ready_at IS NOT NULL ORDER BY id FOR UPDATE SKIP LOCKED`
	selectBodies = `SELECT r.id, s.spec, (SELECT array_agg(a.data ORDER BY a.number) FROM artifacts a WHERE a.n = r.n)
		FROM runs r JOIN specs s ON s.n = r.n WHERE r.id = ANY($1)`
	selectPresent  = `SELECT x.id, x.n, x.data FROM runs r JOIN executions x ON x.n = r.n AND x.live WHERE r.id = ANY($1)`
	selectNamed    = `SELECT id, n, data FROM executions WHERE id = ANY($1)`
	selectExisting = `SELECT id FROM runs WHERE id = ANY($1)`
	selectNumbers  = `SELECT nextval('runs_n') FROM generate_series(1, $1::int)`
	lockKeys       = `SELECT k.principal, k.key, k.fingerprint, k.run, k.keep_until FROM creation_keys k
		WHERE (k.principal, k.key) IN (SELECT * FROM unnest($1::text[], $2::text[])) ORDER BY k.principal, k.key FOR UPDATE`
	lockRecords = `SELECT r.kind, r.key, r.revision FROM records r
		WHERE (r.kind, r.key) IN (SELECT * FROM unnest($1::text[], $2::text[])) ORDER BY r.kind, r.key FOR UPDATE`
)

// begin begins the transaction and reads what the batch needs, in one round
// trip.
func (tx *transaction) begin(ctx context.Context) error {
	n, b := tx.needs, &pgx.Batch{}
	b.Queue(beginTransaction)
	b.Queue(selectXID).QueryRow(func(row pgx.Row) error { return row.Scan(&tx.xid) })
	tx.queueQuota(b)
	if len(n.runs) > 0 {
		b.Queue(lockRuns, n.runs).Query(tx.readRuns)
	}
	if len(n.present) > 0 {
		b.Queue(selectPresent, n.present).Query(tx.readExecutions)
	}
	if len(n.placed) > 0 { // after those that are waited for, so that nobody waits for us in turn
		b.Queue(lockPlaced, n.placed).Query(tx.readRuns)
		b.Queue(selectBodies, n.placed).Query(tx.readBodies)
	}
	if len(n.execs) > 0 {
		b.Queue(selectNamed, n.execs).Query(tx.readExecutions)
	}
	if len(n.mail) > 0 {
		b.Queue(countUnread, n.mail, task.MaxUnread).Query(tx.readUnread)
	}
	if n.creates > 0 {
		b.Queue(selectExisting, n.newRuns).Query(tx.readExisting)
		b.Queue(selectNumbers, n.creates).Query(tx.readNumbers)
	}
	if len(n.keys) > 0 {
		first, second := split(n.keys)
		b.Queue(lockKeys, first, second).Query(tx.readKeys)
	}
	if len(n.records) > 0 {
		first, second := split(n.records)
		b.Queue(lockRecords, first, second).Query(tx.readRecords)
	}
	if err := tx.conn.SendBatch(ctx, b).Close(); err != nil {
		return err
	}
	return tx.checkQuota()
}

func (tx *transaction) readRuns(rows pgx.Rows) error {
	var id string
	var head []byte
	var n, version int64
	var filed bool
	_, err := pgx.ForEachRow(rows, []any{&id, &n, &version, &head, &filed}, func() error {
		if tx.runs[task.ID(untext(id))] != nil {
			return nil
		}
		r := &run{id: task.ID(untext(id)), n: n, version: version, filed: filed, execs: map[task.ExecutionID]*execution{}}
		tx.runs[r.id] = r
		if err := json.Unmarshal(head, &r.old); err != nil {
			return fmt.Errorf("decode head of run %s: %w", id, err)
		}
		r.head = r.old
		return nil
	})
	return err
}

// readBodies keeps what belongs to the runs that are to be placed.
func (tx *transaction) readBodies(rows pgx.Rows) error {
	var id string
	var spec []byte
	var artifacts [][]byte
	tx.bodies = map[task.ID]task.Task{}
	_, err := pgx.ForEachRow(rows, []any{&id, &spec, &artifacts}, func() error {
		t, err := decodeTask(id, spec, artifacts)
		tx.bodies[t.ID] = t
		return err
	})
	return err
}

// readExecutions keeps executions with the runs they belong to, if those are
// in the batch.
func (tx *transaction) readExecutions(rows pgx.Rows) error {
	var id string
	var n int64
	var data []byte
	_, err := pgx.ForEachRow(rows, []any{&id, &n, &data}, func() error {
		x := &execution{}
		if err := json.Unmarshal(data, &x.Execution); err != nil {
			return fmt.Errorf("decode execution %s: %w", id, err)
		}
		tx.usedExecs[x.ID] = true
		if r := tx.runs[x.TaskID]; r != nil && r.n == n {
			r.execs[x.ID] = x
		}
		return nil
	})
	return err
}

func (tx *transaction) readExisting(rows pgx.Rows) error {
	var id string
	_, err := pgx.ForEachRow(rows, []any{&id}, func() error {
		tx.usedIDs[id] = true
		return nil
	})
	return err
}

func (tx *transaction) readNumbers(rows pgx.Rows) (err error) {
	tx.freeNs, err = pgx.CollectRows(rows, pgx.RowTo[int64])
	return err
}

func (tx *transaction) readKeys(rows pgx.Rows) error {
	var p pair
	var fingerprint []byte
	var id string
	var until int64
	_, err := pgx.ForEachRow(rows, []any{&p.first, &p.second, &fingerprint, &id, &until}, func() error {
		tx.keys[p] = &creationKey{fingerprint: append([]byte{}, fingerprint...), run: task.ID(untext(id)), keepUntil: until, stored: true}
		return nil
	})
	return err
}

func (tx *transaction) readRecords(rows pgx.Rows) error {
	var p pair
	var revision int64
	_, err := pgx.ForEachRow(rows, []any{&p.first, &p.second, &revision}, func() error {
		tx.records[p] = &record{before: revision, Record: task.Record{Revision: revision}}
		return nil
	})
	return err
}

// rollback ends the transaction without an effect and gives err, or why it
// could not be ended.
func (tx *transaction) rollback(ctx context.Context, err error) error {
	if tx.conn.Conn().IsClosed() {
		return err
	}
	if _, failed := tx.conn.Exec(ctx, `ROLLBACK`); err == nil {
		return failed
	}
	if sqlState(err) == "25006" {
		// The server may have become a standby; the next connection looks for
		// the one that is none.
		_ = hangUp(tx.conn.Conn())
	}
	return err
}

// commit writes everything and commits, in one round trip.
func (tx *transaction) commit(ctx context.Context) error {
	if err := errors.Join(tx.encode(), tx.dropKnownArtifacts(ctx)); err != nil {
		return tx.rollback(ctx, err)
	}
	committed, changed := false, tx.changes()
	b := &pgx.Batch{}
	tx.queueWrites(b)
	b.Queue(`COMMIT`).Exec(func(pgconn.CommandTag) error {
		committed = true
		return nil
	})
	messages := tx.s.notify.ride(changed)
	if len(messages) > 0 {
		b.Queue(sendMessages, tx.s.notify.channel, messages)
	}
	err := tx.conn.SendBatch(ctx, b).Close()
	if err != nil || len(messages) == 0 {
		tx.s.notify.tell(changed)
	}
	if committed {
		return nil
	}
	var db *pgconn.PgError
	if errors.As(err, &db) && db.Severity == "ERROR" { // said before the COMMIT was reached
		return tx.rollback(ctx, err)
	}
	return tx.s.settle(tx.xid, err)
}

// settle finds out whether a transaction was committed whose connection broke:
// nil when it was, cause when it was not, and errUnknown when the server gives
// no answer for as long as a statement may take.
func (s *Store) settle(xid string, cause error) error {
	ctx, cancel := context.WithTimeout(context.Background(), s.opts.StatementTimeout)
	defer cancel()
	wait := backoff.NewExponentialBackOff(backoff.WithInitialInterval(firstRetry), backoff.WithMaxInterval(lastRetry), backoff.WithMaxElapsedTime(0))
	var outcome string
	err := backoff.Retry(func() error {
		err := s.writes.QueryRow(ctx, `SELECT coalesce(pg_xact_status($1::text::xid8), 'forgotten')`, xid).Scan(&outcome)
		switch {
		case err != nil && !away(err):
			return backoff.Permanent(err)
		case err == nil && outcome == "in progress":
			return errors.New("the server still has the transaction")
		}
		return err
	}, backoff.WithContext(wait, ctx))
	switch {
	case err != nil:
		return errors.Join(errUnknown, cause, err)
	case outcome == "committed":
		return nil
	case outcome == "aborted":
		return cause
	}
	return errors.Join(errUnknown, cause)
}

package pgstore

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/oz-platform/cloudagents/task"
)

// maxReads bounds how often a read is tried whose connection breaks.
const maxReads = 3

// query runs a statement and gives its rows to scan.
func query(ctx context.Context, s *Store, scan func(pgx.Rows) error, statement string, args ...any) error {
	return reading(ctx, s, func(ctx context.Context) error {
		rows, err := s.reads.Query(ctx, statement, args...)
		if err == nil {
			err = scan(rows)
			rows.Close()
		}
		if err == nil {
			err = rows.Err()
		}
		return err
	})
}

// reading does a read. It is repeated when its connection breaks, for a dead
// one is noticed by using it only.
func reading(ctx context.Context, s *Store, read func(ctx context.Context) error) (err error) {
	if err := ctx.Err(); err != nil {
		return err
	}
	if s.closed.Load() {
		return errClosed
	}
	// Longer than the server takes to give up: this is for a server that is
	// not heard of any more.
	bounded, cancel := context.WithTimeout(ctx, 2*s.opts.StatementTimeout)
	defer cancel()
	for range maxReads {
		if err = read(bounded); err == nil || !away(err) || bounded.Err() != nil || s.closed.Load() {
			return err
		}
		s.reads.Reset() // where one is dead, others mostly are
	}
	return err
}

// collect gives all rows of a query.
func collect[T any](ctx context.Context, s *Store, scan pgx.RowToFunc[T], statement string, args ...any) (out []T, err error) {
	err = query(ctx, s, func(rows pgx.Rows) (err error) {
		out, err = pgx.CollectRows(rows, scan)
		if len(out) == 0 {
			out = nil
		}
		return err
	}, statement, args...)
	return out, err
}

// one gives the first row of a query. It fails with pgx.ErrNoRows.
func one[T any](ctx context.Context, s *Store, scan pgx.RowToFunc[T], statement string, args ...any) (v T, err error) {
	all, err := collect(ctx, s, scan, statement, args...)
	if err == nil && len(all) == 0 {
		err = pgx.ErrNoRows
	}
	if err != nil {
		return v, err
	}
	return all[0], nil
}

// taskColumns are what scanTask reads.
const taskColumns = `r.id, r.head, s.spec, (SELECT array_agg(a.data ORDER BY a.number) FROM artifacts a WHERE a.n = r.n)`

func scanTask(row pgx.CollectableRow) (t task.Task, err error) {
	var id string
	var head, spec pgtype.DriverBytes // decoded before the next row
	var artifacts [][]byte
	if err := row.Scan(&id, &head, &spec, &artifacts); err != nil {
		return t, err
	}
	if t, err = decodeTask(id, spec, artifacts); err != nil {
		return t, err
	}
	return t, json.Unmarshal(head, &t.Head)
}

// decodeTask decodes all of a run but its head.
func decodeTask(id string, spec []byte, artifacts [][]byte) (t task.Task, err error) {
	t.ID = task.ID(untext(id))
	if err := json.Unmarshal(spec, &t.Spec); err != nil {
		return t, err
	}
	for _, data := range artifacts {
		var a task.Artifact
		if err := json.Unmarshal(data, &a); err != nil {
			return t, err
		}
		t.Artifacts = append(t.Artifacts, a)
	}
	return t, nil
}

// The statements of the fixed reads.
const (
	selectRun        = `SELECT ` + taskColumns + ` FROM runs r JOIN specs s ON s.n = r.n WHERE r.id = $1`
	selectExists     = `SELECT true FROM runs WHERE id = $1`
	selectExecution  = `SELECT data FROM executions WHERE id = $1`
	selectExecutions = `SELECT x.data FROM runs r JOIN executions x ON x.n = r.n WHERE r.id = $1 ORDER BY x.number`
	// In the order of the index, so that a scan of it forgets what has ended.
	selectLive = `SELECT data FROM executions WHERE live ORDER BY n`
	// The server sums up sizes, so that it never sends more than is wanted.
	selectEvents = `SELECT seq, execution, time, type, data FROM (
			SELECT e.*, sum(octet_length(data)) OVER (ORDER BY seq) - octet_length(data) AS before FROM (
				SELECT seq, execution, time, type, data FROM events
				WHERE n = (SELECT n FROM runs WHERE id = $1) AND seq > greatest($2, (SELECT pruned_to FROM runs WHERE id = $1))
				ORDER BY seq LIMIT $3) e) w
		WHERE before < $4 ORDER BY seq`
	// An owner that is too long for the index stands in full in the spec alone.
	selectWaiting = `SELECT r.id, r.worker_host, r.owner, r.ready_at, r.created_at, r.last_worker,
			(SELECT s.spec FROM specs s WHERE s.n = r.n AND octet_length(r.owner) > 512)
		FROM runs r WHERE r.ready_at IS NOT NULL AND r.ready_at <= $1 ORDER BY r.ready_at, r.n LIMIT $2`
)

// Get implements task.Store.
func (s *Store) Get(ctx context.Context, id task.ID) (task.Task, error) {
	t, err := one(ctx, s, scanTask, selectRun, text(string(id)))
	if errors.Is(err, pgx.ErrNoRows) {
		return task.Task{}, noRun(id)
	}
	return t, s.explainCall(ctx, "read run "+string(id), err)
}

// Execution implements task.Store.
func (s *Store) Execution(ctx context.Context, id task.ExecutionID) (task.Execution, error) {
	x, err := one(ctx, s, scanExecution, selectExecution, text(string(id)))
	if errors.Is(err, pgx.ErrNoRows) {
		return task.Execution{}, task.Errorf(task.CodeNotFound, "there is no execution %q", string(id))
	}
	return x, s.explainCall(ctx, "read execution "+string(id), err)
}

// Executions implements task.Store.
func (s *Store) Executions(ctx context.Context, id task.ID) ([]task.Execution, error) {
	out, err := collect(ctx, s, scanExecution, selectExecutions, text(string(id)))
	if err == nil && len(out) == 0 {
		err = s.mustExist(ctx, id)
	}
	return out, s.explainCall(ctx, "read executions of run "+string(id), err)
}

// Live implements task.Store.
func (s *Store) Live(ctx context.Context) ([]task.Execution, error) {
	out, err := collect(ctx, s, scanExecution, selectLive)
	return out, s.explainCall(ctx, "read the live executions", err)
}

func scanExecution(row pgx.CollectableRow) (x task.Execution, err error) {
	var data pgtype.DriverBytes
	if err = row.Scan(&data); err == nil {
		err = json.Unmarshal(data, &x)
	}
	return x, err
}

// mustExist fails with ErrNotFound when there is no such run.
func (s *Store) mustExist(ctx context.Context, id task.ID) error {
	_, err := one(ctx, s, pgx.RowTo[bool], selectExists, text(string(id)))
	if errors.Is(err, pgx.ErrNoRows) {
		return noRun(id)
	}
	return err
}

// maxEventsBytes bounds the payloads of one answer of Events, which then has
// fewer events than asked for, but always one.
const maxEventsBytes = 16 << 20

// Events implements task.Store.
func (s *Store) Events(ctx context.Context, id task.ID, after int64, limit int) ([]task.Event, error) {
	if limit < 1 {
		return nil, task.Invalid("limit", "must be at least 1")
	}
	var out []task.Event
	err := query(ctx, s, func(rows pgx.Rows) (err error) {
		out, err = scanEvents(rows, id)
		return err
	}, selectEvents, text(string(id)), after, limit, maxEventsBytes)
	if err == nil && len(out) == 0 {
		err = s.mustExist(ctx, id)
	}
	return out, s.explainCall(ctx, "read events of run "+string(id), err)
}

func scanEvents(rows pgx.Rows, id task.ID) (out []task.Event, err error) {
	var at int64
	var exec string
	var typ task.EventType
	var data pgtype.DriverBytes
	for rows.Next() {
		e := task.Event{TaskID: id}
		if err := rows.Scan(&e.Seq, &exec, &at, &typ, &data); err != nil {
			return nil, err
		}
		e.ExecutionID, e.Time = task.ExecutionID(untext(exec)), fromNanos(at)
		if e.Payload, err = task.UnmarshalPayload(typ, data); err != nil {
			return nil, err
		}
		out = append(out, e)
	}
	return out, nil
}

// Waiting implements task.Store.
func (s *Store) Waiting(ctx context.Context, now time.Time, limit int) ([]task.Waiting, error) {
	out, err := collect(ctx, s, scanWaiting, selectWaiting, nanos(now), max(limit, 0))
	return out, s.explainCall(ctx, "read the waiting runs", err)
}

func scanWaiting(row pgx.CollectableRow) (w task.Waiting, err error) {
	var id, host, owner, worker string
	var ready, created int64
	var spec pgtype.DriverBytes
	if err := row.Scan(&id, &host, &owner, &ready, &created, &worker, &spec); err != nil {
		return w, err
	}
	w = task.Waiting{ID: task.ID(untext(id)), WorkerHost: untext(host), Owner: parseScope(owner),
		ReadyAt: fromNanos(ready), CreatedAt: fromNanos(created), LastWorker: untext(worker)}
	if spec != nil {
		var s task.Spec
		err = json.Unmarshal(spec, &s)
		w.Owner = s.Owner
	}
	return w, err
}

package sqlitestore

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"time"

	"github.com/oz-platform/cloudagents/task"
)

// scanner is a row or the rows of a query.
type scanner interface{ Scan(dest ...any) error }

// collect gives all rows of a query.
func collect[T any](ctx context.Context, db querier, scan func(scanner) (T, error), text string, args ...any) (out []T, err error) {
	rows, err := db.QueryContext(ctx, text, args...)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		v, err := scan(rows)
		if err != nil {
			return nil, err
		}
		out = append(out, v)
	}
	return out, rows.Err()
}

// explainRead is explain for reads, which may have met the closed pool.
func (s *Store) explainRead(ctx context.Context, doing string, err error) error {
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return ctx.Err()
	case s.w.stopped():
		return errClosed
	}
	return explain(doing, err)
}

// taskColumns are those of a storedTask. Most runs have no artifacts: to ask
// first costs a fifth less for them.
const taskColumns = `r.id, r.head, s.spec, CASE WHEN EXISTS (SELECT 1 FROM artifacts a WHERE a.n = r.n)
	THEN (SELECT json_group_array(json(a.data) ORDER BY a.number) FROM artifacts a WHERE a.n = r.n) END`

// storedTask is a run as it is stored.
type storedTask struct {
	id                    string
	head, spec, artifacts sql.RawBytes
}

func (s *storedTask) scan(row scanner) error {
	if rows, ok := row.(*sql.Rows); ok {
		return rows.Scan(&s.id, &s.head, &s.spec, &s.artifacts)
	}
	// A single row cannot lend its bytes.
	return row.Scan(&s.id, (*[]byte)(&s.head), (*[]byte)(&s.spec), (*[]byte)(&s.artifacts))
}

func (s *storedTask) task() (t task.Task, err error) {
	t.ID = task.ID(s.id)
	if err := json.Unmarshal(s.spec, &t.Spec); err != nil {
		return t, err
	}
	if err := json.Unmarshal(s.head, &t.Head); err != nil {
		return t, err
	}
	if len(s.artifacts) > len("[]") {
		err = json.Unmarshal(s.artifacts, &t.Artifacts)
	}
	return t, err
}

func scanTask(row scanner) (task.Task, error) {
	var s storedTask
	if err := s.scan(row); err != nil {
		return task.Task{}, err
	}
	return s.task()
}

// The statements of the fixed reads.
const (
	selectRun        = `SELECT ` + taskColumns + ` FROM runs r JOIN specs s ON s.n = r.n WHERE r.id = ?`
	selectExecution  = `SELECT data FROM executions WHERE id = ?`
	selectExecutions = `SELECT x.data FROM runs r JOIN executions x ON x.n = r.n WHERE r.id = ? ORDER BY x.number`
	selectLive       = `SELECT data FROM executions INDEXED BY executions_live WHERE live = 1`
	selectEvents     = `SELECT e.key & 0xffffffff, e.execution, e.time, e.type, e.data FROM runs r
		CROSS JOIN events e ON e.key > (r.n << 32 | max(?, r.pruned_to)) AND e.key <= (r.n << 32 | 0xffffffff)
		WHERE r.id = ? ORDER BY e.key LIMIT +?`
	selectWaiting = `SELECT id, worker_host, owner, ready_at, created_at, last_worker
		FROM runs INDEXED BY runs_ready WHERE ready_at IS NOT NULL AND ready_at <= ? ORDER BY ready_at, n LIMIT +?`
)

// Get implements task.Store.
func (s *Store) Get(ctx context.Context, id task.ID) (task.Task, error) {
	t, err := scanTask(s.fixed.row(ctx, selectRun, string(id)))
	if errors.Is(err, sql.ErrNoRows) {
		return task.Task{}, noRun(id)
	}
	return t, s.explainRead(ctx, "read run "+string(id), err)
}

// Execution implements task.Store.
func (s *Store) Execution(ctx context.Context, id task.ExecutionID) (task.Execution, error) {
	if err := ctx.Err(); err != nil {
		return task.Execution{}, err
	}
	if x, ok := s.w.live.find(ctx, id); ok && !s.w.stopped() {
		return x, nil
	}
	x, err := scanExecution(s.fixed.row(ctx, selectExecution, string(id)))
	if errors.Is(err, sql.ErrNoRows) {
		return task.Execution{}, task.Errorf(task.CodeNotFound, "there is no execution %q", string(id))
	}
	return x, s.explainRead(ctx, "read execution "+string(id), err)
}

// Executions implements task.Store.
func (s *Store) Executions(ctx context.Context, id task.ID) ([]task.Execution, error) {
	out, err := collect(ctx, &s.fixed, scanExecution, selectExecutions, string(id))
	if err == nil && len(out) == 0 {
		err = s.mustExist(ctx, id)
	}
	return out, s.explainRead(ctx, "read executions of run "+string(id), err)
}

// Live implements task.Store.
func (s *Store) Live(ctx context.Context) ([]task.Execution, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if out, ok := s.w.live.all(ctx); ok && !s.w.stopped() {
		return out, nil
	}
	out, err := collect(ctx, &s.fixed, scanExecution, selectLive)
	return out, s.explainRead(ctx, "read the live executions", err)
}

func scanExecution(row scanner) (x task.Execution, err error) {
	var data []byte
	if err = row.Scan(&data); err == nil {
		err = json.Unmarshal(data, &x)
	}
	return x, err
}

// mustExist fails with ErrNotFound when there is no such run.
func (s *Store) mustExist(ctx context.Context, id task.ID) error {
	var one int
	err := s.fixed.row(ctx, `SELECT 1 FROM runs WHERE id = ?`, string(id)).Scan(&one)
	if errors.Is(err, sql.ErrNoRows) {
		return noRun(id)
	}
	return err
}

// maxEventsBytes bounds the payloads of one answer of Events, which then has
// fewer events than asked for, but always one.
const maxEventsBytes = 16 << 20

// maxSeq is the largest number that eventKey has room for.
const maxSeq = 1<<32 - 1

// Events implements task.Store.
func (s *Store) Events(ctx context.Context, id task.ID, after int64, limit int) ([]task.Event, error) {
	if limit < 1 {
		return nil, task.Invalid("limit", "must be at least 1")
	}
	out, err := s.events(ctx, id, min(max(after, 0), maxSeq), limit)
	if err == nil && len(out) == 0 {
		err = s.mustExist(ctx, id)
	}
	return out, s.explainRead(ctx, "read events of run "+string(id), err)
}

func (s *Store) events(ctx context.Context, id task.ID, after int64, limit int) (out []task.Event, err error) {
	rows, err := s.fixed.QueryContext(ctx, selectEvents, after, string(id), limit)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	size := 0
	for rows.Next() && size < maxEventsBytes {
		e := task.Event{TaskID: id}
		var at int64
		var typ task.EventType
		var data sql.RawBytes
		if err := rows.Scan(&e.Seq, &e.ExecutionID, &at, &typ, &data); err != nil {
			return nil, err
		}
		size += len(data)
		e.Time = fromNanos(at)
		if e.Payload, err = task.UnmarshalPayload(typ, data); err != nil {
			return nil, err
		}
		out = append(out, e)
	}
	return out, rows.Err()
}

// Waiting implements task.Store.
func (s *Store) Waiting(ctx context.Context, now time.Time, limit int) ([]task.Waiting, error) {
	out, err := collect(ctx, &s.fixed, scanWaiting, selectWaiting, nanos(now), max(limit, 0))
	return out, s.explainRead(ctx, "read the waiting runs", err)
}

func scanWaiting(row scanner) (w task.Waiting, err error) {
	var owner string
	var ready, created int64
	err = row.Scan(&w.ID, &w.WorkerHost, &owner, &ready, &created, &w.LastWorker)
	w.Owner, w.ReadyAt, w.CreatedAt = parseScope(owner), fromNanos(ready), fromNanos(created)
	return w, err
}

package pgstore

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/oz-platform/cloudagents/task"
)

var _ task.Outbox = (*Store)(nil)

const (
	outgoingHead   = `SELECT id, key, lane, kind, source, owner, task_id, `
	outgoingTail   = `, created_at, ready_at, state, attempts, reason, result, settled_at FROM outgoing `
	selectOutgoing = outgoingHead + `body` + outgoingTail + `WHERE id = $1`
	selectHeld     = outgoingHead + `body` + outgoingTail + `WHERE id = ANY($1) ORDER BY ready_at, k`
	outgoingRest   = ` AND ($2 = '' OR k < (SELECT k FROM outgoing WHERE id = $2))
		AND ($3::text[] IS NULL OR state = ANY($3)) AND ($4 = '' OR task_id = $4) ORDER BY k DESC LIMIT $5`
	selectOutgoingsOf    = outgoingHead + `NULL::bytea` + outgoingTail + `WHERE source = $1` + outgoingRest
	selectOutgoingsOfRun = outgoingHead + `NULL::bytea` + outgoingTail + `WHERE task_id = $1` + outgoingRest
	insertOutgoing       = `INSERT INTO outgoing (id, key, lane, head, kind, source, owner, task_id, body, created_at, ready_at, state, attempts, reason, holder, lease_until)
		VALUES ($1, $2, $3, $3 = '' OR NOT EXISTS (SELECT 1 FROM outgoing WHERE state = 'waiting' AND lane = $3), $4, $5, $6, $7, $8, $9, $10, 'waiting', 0, '', '', 0)
		ON CONFLICT (key) DO NOTHING`
	takeOutgoing = `WITH due AS (SELECT k FROM outgoing WHERE state = 'waiting' AND head AND ready_at <= $1 AND lease_until <= $1
			ORDER BY ready_at, k LIMIT $4 FOR UPDATE SKIP LOCKED)
		UPDATE outgoing SET holder = $2, lease_until = $3, attempts = attempts + 1 FROM due WHERE outgoing.k = due.k RETURNING outgoing.id`
	settleOutgoing = `UPDATE outgoing SET state = $3, ready_at = coalesce($4, ready_at), reason = $5, result = coalesce($6, result), settled_at = $7, holder = '', lease_until = 0
		WHERE id = $1 AND holder = $2 AND holder <> ''`
	replayOutgoing = `UPDATE outgoing SET state = 'waiting', ready_at = $2, attempts = 0, settled_at = NULL, holder = '', lease_until = 0 WHERE id = $1 AND state <> 'waiting'`
	nextOutgoing   = `SELECT min(greatest(ready_at, lease_until)) FROM outgoing WHERE state = 'waiting' AND head`

	// Whoever adds to a lane or takes something out of it holds the lane's lock,
	// so that its head is known.
	lockLanes       = `SELECT pg_advisory_xact_lock(h) FROM (SELECT DISTINCT hashtextextended(lane, $2) AS h FROM unnest($1::text[]) AS lane WHERE lane <> '' ORDER BY 1) AS hashes`
	demoteOutgoing  = `UPDATE outgoing SET head = false WHERE state = 'waiting' AND lane = $1 AND head`
	promoteOutgoing = `UPDATE outgoing SET head = true WHERE k = (SELECT min(k) FROM outgoing WHERE state = 'waiting' AND lane = $1)`

	trimOutgoing = `DELETE FROM outgoing WHERE k IN (SELECT k FROM outgoing WHERE settled_at < $1 LIMIT $2)`
	selectFeed   = `SELECT s.seq, s.type, r.id, s.execution, s.ref, s.time FROM signals s JOIN runs r ON r.n = s.n WHERE s.seq > $1 AND s.seq IS NOT NULL ORDER BY s.seq LIMIT $2`
)

// AddOutgoing implements task.Outbox.
func (s *Store) AddOutgoing(ctx context.Context, list ...task.Outgoing) error {
	const doing = "add outgoing messages"
	b := &pgx.Batch{}
	lanes := make([]string, 0, len(list))
	for _, o := range list {
		lanes = append(lanes, text(o.Lane))
	}
	b.Queue(lockLanes, lanes, lockKey(s.opts.Schema, "lanes"))
	for _, o := range list {
		if err := o.Validate(); err != nil {
			return err
		}
		b.Queue(insertOutgoing, text(string(o.ID)), text(o.Key), text(o.Lane), text(o.Kind), text(o.Source), text(o.Owner.String()), text(string(o.TaskID)),
			o.Body, nanos(o.CreatedAt), nanos(o.ReadyAt))
	}
	if s.closed.Load() {
		return errClosed
	}
	err := s.again(ctx, func() error {
		return pgx.BeginTxFunc(ctx, s.writes, pgx.TxOptions{}, func(tx pgx.Tx) error { return tx.SendBatch(ctx, b).Close() })
	})
	if err == nil {
		s.announce(task.NewOutgoing)
	}
	return s.explainCall(ctx, doing, err)
}

// again repeats what may be done twice while the database is away.
func (s *Store) again(ctx context.Context, do func() error) (err error) {
	for range maxReads {
		if err = do(); err == nil || !away(err) || ctx.Err() != nil || s.closed.Load() {
			return err
		}
		s.writes.Reset() // where one is dead, others mostly are
	}
	return err
}

// TakeOutgoing implements task.Outbox. What it held when its answer was lost
// is given again after until.
func (s *Store) TakeOutgoing(ctx context.Context, holder string, now, until time.Time, limit int) ([]task.Outgoing, error) {
	const doing = "take outgoing messages"
	if holder == "" || limit < 1 {
		return nil, task.Invalid("holder", "and a limit of at least 1 are required")
	}
	if s.closed.Load() {
		return nil, errClosed
	}
	var ids []string
	err := s.again(ctx, func() error {
		rows, err := s.writes.Query(ctx, takeOutgoing, nanos(now), text(holder), nanos(until), limit)
		if err != nil {
			return err
		}
		ids, err = pgx.CollectRows(rows, pgx.RowTo[string])
		return err
	})
	if err != nil || len(ids) == 0 {
		return nil, s.explainCall(ctx, doing, err)
	}
	out, err := collect(ctx, s, scanOutgoing, selectHeld, ids)
	return out, s.explainCall(ctx, doing, err)
}

// SettleOutgoing implements task.Outbox.
func (s *Store) SettleOutgoing(ctx context.Context, id task.OutgoingID, holder string, x task.Settlement) error {
	if err := x.Validate(); err != nil {
		return err
	}
	doing := "settle outgoing message " + string(id)
	ready, settled := pgtype.Int8{}, pgtype.Int8{Int64: nanos(s.opts.Clock.Now()), Valid: true}
	if x.State == task.OutgoingWaiting {
		ready, settled = pgtype.Int8{Int64: nanos(x.ReadyAt), Valid: true}, pgtype.Int8{}
	}
	if s.closed.Load() {
		return errClosed
	}
	settle := func(tx pgx.Tx, lane string) error {
		tag, err := tx.Exec(ctx, settleOutgoing, text(string(id)), text(holder), string(x.State), ready, text(task.CutReason(x.Reason, task.MaxOutgoingReason)), x.Result, settled)
		if err == nil && tag.RowsAffected() == 0 {
			err = task.ErrFenced
		}
		if err != nil || lane == "" || x.State == task.OutgoingWaiting {
			return err
		}
		_, err = tx.Exec(ctx, promoteOutgoing, lane)
		return err
	}
	return s.explainCall(ctx, doing, s.again(ctx, func() error { return s.inLane(ctx, id, settle) }))
}

// inLane does something to a message in a transaction that has its lane.
func (s *Store) inLane(ctx context.Context, id task.OutgoingID, do func(tx pgx.Tx, lane string) error) error {
	return pgx.BeginTxFunc(ctx, s.writes, pgx.TxOptions{}, func(tx pgx.Tx) error {
		var lane string
		err := tx.QueryRow(ctx, `SELECT lane FROM outgoing WHERE id = $1`, text(string(id))).Scan(&lane)
		if errors.Is(err, pgx.ErrNoRows) {
			return noOutgoing(id)
		}
		if err == nil && lane != "" {
			_, err = tx.Exec(ctx, lockLanes, []string{lane}, lockKey(s.opts.Schema, "lanes"))
		}
		if err != nil {
			return err
		}
		return do(tx, lane)
	})
}

// NextOutgoing implements task.Outbox.
func (s *Store) NextOutgoing(ctx context.Context) (time.Time, error) {
	at, err := one(ctx, s, pgx.RowTo[pgtype.Int8], nextOutgoing)
	if err != nil || !at.Valid {
		return time.Time{}, s.explainCall(ctx, "look for outgoing messages", err)
	}
	return fromNanos(at.Int64), nil
}

// Outgoing implements task.Outbox.
func (s *Store) Outgoing(ctx context.Context, id task.OutgoingID) (task.Outgoing, error) {
	o, err := one(ctx, s, scanOutgoing, selectOutgoing, text(string(id)))
	if errors.Is(err, pgx.ErrNoRows) {
		return task.Outgoing{}, noOutgoing(id)
	}
	return o, s.explainCall(ctx, "read outgoing message "+string(id), err)
}

// Outgoings implements task.Outbox.
func (s *Store) Outgoings(ctx context.Context, q task.OutgoingQuery) ([]task.Outgoing, error) {
	if err := q.Validate(); err != nil {
		return nil, err
	}
	statement, of := selectOutgoingsOf, q.Source
	if of == "" {
		statement, of = selectOutgoingsOfRun, string(q.TaskID)
	}
	out, err := collect(ctx, s, scanOutgoing, statement, text(of), text(string(q.Before)), texts(q.States), text(string(q.TaskID)), q.Limit)
	return out, s.explainCall(ctx, "list outgoing messages", err)
}

func scanOutgoing(row pgx.CollectableRow) (o task.Outgoing, err error) {
	var id, owner, run string
	var created, ready int64
	var settled pgtype.Int8
	err = row.Scan(&id, &o.Key, &o.Lane, &o.Kind, &o.Source, &owner, &run, &o.Body, &created, &ready, &o.State, &o.Attempts, &o.Reason, &o.Result, &settled)
	o.ID, o.Key, o.Lane, o.Kind, o.Source = task.OutgoingID(untext(id)), untext(o.Key), untext(o.Lane), untext(o.Kind), untext(o.Source)
	o.Owner, o.TaskID, o.Reason = parseScope(untext(owner)), task.ID(untext(run)), untext(o.Reason)
	o.CreatedAt, o.ReadyAt = fromNanos(created), fromNanos(ready)
	if settled.Valid {
		o.SettledAt = fromNanos(settled.Int64)
	}
	return o, err
}

// ReplayOutgoing implements task.Outbox.
func (s *Store) ReplayOutgoing(ctx context.Context, id task.OutgoingID, now time.Time) error {
	if s.closed.Load() {
		return errClosed
	}
	replay := func(tx pgx.Tx, lane string) error {
		if _, err := tx.Exec(ctx, replayOutgoing, text(string(id)), nanos(now)); err != nil || lane == "" {
			return err
		}
		if _, err := tx.Exec(ctx, demoteOutgoing, lane); err != nil {
			return err
		}
		_, err := tx.Exec(ctx, promoteOutgoing, lane)
		return err
	}
	err := s.again(ctx, func() error { return s.inLane(ctx, id, replay) })
	if err == nil {
		s.announce(task.NewOutgoing)
	}
	return s.explainCall(ctx, "replay outgoing message "+string(id), err)
}

// TrimOutgoing implements task.Outbox.
func (s *Store) TrimOutgoing(ctx context.Context, before time.Time, limit int) (done bool, err error) {
	const doing = "remove old outgoing messages"
	if limit < 1 {
		return false, task.Invalid("limit", "must be at least 1")
	}
	if err := s.write(ctx, doing, trimOutgoing, nanos(before), limit); err != nil {
		return false, err
	}
	rest, err := collect(ctx, s, pgx.RowTo[int32], `SELECT 1 FROM outgoing WHERE settled_at < $1 LIMIT 1`, nanos(before))
	return err == nil && len(rest) == 0, s.explainCall(ctx, doing, err)
}

// Feed implements task.Outbox.
func (s *Store) Feed(ctx context.Context, after int64, limit int) ([]task.Signal, error) {
	if err := s.number(ctx); err != nil {
		return nil, s.explainCall(ctx, "number signals", err)
	}
	out, err := collect(ctx, s, scanSignal, selectFeed, after, limit)
	return slices.Clip(out), s.explainCall(ctx, "read the feed", err)
}

func noOutgoing(id task.OutgoingID) error {
	return task.Errorf(task.CodeNotFound, "there is no outgoing message %q", string(id))
}

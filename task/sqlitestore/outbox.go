package sqlitestore

import (
	"context"
	"database/sql"
	"errors"
	"time"

	"github.com/oz-platform/cloudagents/task"
)

var _ task.Outbox = (*Store)(nil)

const (
	outgoingHead   = `SELECT id, key, lane, kind, source, owner, task_id, `
	outgoingTail   = `, created_at, ready_at, state, attempts, reason, result, settled_at FROM outgoing `
	selectOutgoing = outgoingHead + `body` + outgoingTail + `WHERE id = ?`
	outgoingRest   = ` AND (?2 = '' OR k < (SELECT k FROM outgoing WHERE id = ?2))
		AND (?3 IS NULL OR state IN (SELECT value FROM json_each(?3))) AND (?4 = '' OR task_id = ?4) ORDER BY k DESC LIMIT +?5`
	selectOutgoingsOf    = outgoingHead + `NULL` + outgoingTail + `WHERE source = ?1` + outgoingRest
	selectOutgoingsOfRun = outgoingHead + `NULL` + outgoingTail + `WHERE task_id = ?1` + outgoingRest
	insertOutgoing       = `INSERT INTO outgoing (id, key, lane, head, kind, source, owner, task_id, body, created_at, ready_at, state, attempts, reason, holder, lease_until)
		VALUES (?1, ?2, ?3, ?3 = '' OR NOT EXISTS (SELECT 1 FROM outgoing WHERE state = 'waiting' AND lane = ?3), ?4, ?5, ?6, ?7, ?8, ?9, ?10, 'waiting', 0, '', '', 0)
		ON CONFLICT (key) DO NOTHING`
	selectDue       = `SELECT k, id FROM outgoing WHERE state = 'waiting' AND head = 1 AND ready_at <= ?1 AND lease_until <= ?1 ORDER BY ready_at, k LIMIT 1`
	holdOutgoing    = `UPDATE outgoing SET holder = ?, lease_until = ?, attempts = attempts + 1 WHERE k = ?`
	settleOutgoing  = `UPDATE outgoing SET state = ?, ready_at = ?, reason = ?, result = coalesce(?, result), settled_at = ?, holder = '', lease_until = 0 WHERE id = ?`
	promoteOutgoing = `UPDATE outgoing SET head = 1 WHERE k = (SELECT min(k) FROM outgoing WHERE state = 'waiting' AND lane = ?)`
	replayOutgoing  = `UPDATE outgoing SET state = 'waiting', ready_at = ?, attempts = 0, settled_at = NULL, holder = '', lease_until = 0 WHERE id = ? AND state <> 'waiting'`
	demoteOutgoing  = `UPDATE outgoing SET head = 0 WHERE state = 'waiting' AND lane = ?`
	nextOutgoing    = `SELECT min(max(ready_at, lease_until)) FROM outgoing WHERE state = 'waiting' AND head = 1`
	trimOutgoing    = `DELETE FROM outgoing WHERE k IN (SELECT k FROM outgoing WHERE settled_at < ? LIMIT +?)`
	selectFeed      = `SELECT s.seq, s.type, r.id, s.execution, s.ref, s.time FROM signals s CROSS JOIN runs r ON r.n = s.n WHERE s.seq > ? ORDER BY s.seq LIMIT +?`
)

// AddOutgoing implements task.Outbox.
func (s *Store) AddOutgoing(ctx context.Context, list ...task.Outgoing) error {
	size := 0
	for _, o := range list {
		if err := o.Validate(); err != nil {
			return err
		}
		size += len(o.Body)
	}
	return s.w.do(ctx, "add outgoing messages", size, func(w *writer) error {
		w.changed[task.NewOutgoing] = struct{}{}
		for _, o := range list {
			if _, err := w.exec(insertOutgoing, string(o.ID), o.Key, o.Lane, o.Kind, o.Source, o.Owner.String(), string(o.TaskID),
				blob(append([]byte(nil), o.Body...)), nanos(o.CreatedAt), nanos(o.ReadyAt)); err != nil {
				return err
			}
		}
		return nil
	})
}

// TakeOutgoing implements task.Outbox.
func (s *Store) TakeOutgoing(ctx context.Context, holder string, now, until time.Time, limit int) ([]task.Outgoing, error) {
	if holder == "" || limit < 1 {
		return nil, task.Invalid("holder", "and a limit of at least 1 are required")
	}
	var ids []task.OutgoingID
	err := s.w.do(ctx, "take outgoing messages", 0, func(w *writer) error {
		ids = ids[:0]
		for len(ids) < limit {
			vals, err := w.row(selectDue, nanos(now))
			if err != nil || vals == nil {
				return err
			}
			if _, err := w.exec(holdOutgoing, holder, nanos(until), vals[0].(int64)); err != nil {
				return err
			}
			ids = append(ids, task.OutgoingID(vals[1].(string)))
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	out := make([]task.Outgoing, 0, len(ids))
	for _, id := range ids {
		o, err := s.Outgoing(ctx, id)
		if err != nil {
			return nil, err
		}
		out = append(out, o)
	}
	return out, nil
}

// SettleOutgoing implements task.Outbox.
func (s *Store) SettleOutgoing(ctx context.Context, id task.OutgoingID, holder string, x task.Settlement) error {
	if err := x.Validate(); err != nil {
		return err
	}
	result := blob(append([]byte(nil), x.Result...))
	return s.w.do(ctx, "settle outgoing message "+string(id), len(x.Result), func(w *writer) error {
		vals, err := w.row(`SELECT holder, lane, ready_at FROM outgoing WHERE id = ?`, string(id))
		switch {
		case err != nil:
			return err
		case vals == nil:
			return noOutgoing(id)
		case vals[0].(string) != holder || holder == "":
			return task.ErrFenced
		}
		ready, settled := vals[2].(int64), any(nanos(w.clock.Now()))
		if x.State == task.OutgoingWaiting {
			ready, settled = nanos(x.ReadyAt), nil
		}
		if _, err = w.exec(settleOutgoing, string(x.State), ready, task.CutReason(x.Reason, task.MaxOutgoingReason), result, settled, string(id)); err != nil {
			return err
		}
		return w.promote(vals[1].(string))
	})
}

// NextOutgoing implements task.Outbox.
func (s *Store) NextOutgoing(ctx context.Context) (time.Time, error) {
	var at sql.NullInt64
	err := s.fixed.row(ctx, nextOutgoing).Scan(&at)
	if err != nil || !at.Valid {
		return time.Time{}, s.explainRead(ctx, "look for outgoing messages", err)
	}
	return fromNanos(at.Int64), nil
}

// Outgoing implements task.Outbox.
func (s *Store) Outgoing(ctx context.Context, id task.OutgoingID) (task.Outgoing, error) {
	o, err := scanOutgoing(s.fixed.row(ctx, selectOutgoing, string(id)))
	if errors.Is(err, sql.ErrNoRows) {
		return task.Outgoing{}, noOutgoing(id)
	}
	return o, s.explainRead(ctx, "read outgoing message "+string(id), err)
}

// Outgoings implements task.Outbox.
func (s *Store) Outgoings(ctx context.Context, q task.OutgoingQuery) ([]task.Outgoing, error) {
	if err := q.Validate(); err != nil {
		return nil, err
	}
	states, err := jsonList(q.States)
	if err != nil {
		return nil, err
	}
	text, of := selectOutgoingsOf, q.Source
	if of == "" {
		text, of = selectOutgoingsOfRun, string(q.TaskID)
	}
	out, err := collect(ctx, &s.fixed, scanOutgoing, text, of, string(q.Before), states, string(q.TaskID), q.Limit)
	return out, s.explainRead(ctx, "list outgoing messages", err)
}

func scanOutgoing(row scanner) (o task.Outgoing, err error) {
	var owner string
	var created, ready int64
	var settled sql.NullInt64
	err = row.Scan(&o.ID, &o.Key, &o.Lane, &o.Kind, &o.Source, &owner, &o.TaskID, &o.Body, &created, &ready, &o.State, &o.Attempts, &o.Reason, &o.Result, &settled)
	o.Owner, o.CreatedAt, o.ReadyAt = parseScope(owner), fromNanos(created), fromNanos(ready)
	if settled.Valid {
		o.SettledAt = fromNanos(settled.Int64)
	}
	return o, err
}

// ReplayOutgoing implements task.Outbox.
func (s *Store) ReplayOutgoing(ctx context.Context, id task.OutgoingID, now time.Time) error {
	return s.w.do(ctx, "replay outgoing message "+string(id), 0, func(w *writer) error {
		vals, err := w.row(`SELECT lane FROM outgoing WHERE id = ?`, string(id))
		if err != nil {
			return err
		}
		if vals == nil {
			return noOutgoing(id)
		}
		if _, err = w.exec(replayOutgoing, nanos(now), string(id)); err != nil {
			return err
		}
		w.changed[task.NewOutgoing] = struct{}{}
		lane := vals[0].(string)
		if lane == "" {
			return nil
		}
		if _, err = w.exec(demoteOutgoing, lane); err != nil {
			return err
		}
		return w.promote(lane)
	})
}

// promote lets the first that waits in a lane be taken.
func (w *writer) promote(lane string) error {
	if lane == "" {
		return nil
	}
	_, err := w.exec(promoteOutgoing, lane)
	return err
}

// TrimOutgoing implements task.Outbox.
func (s *Store) TrimOutgoing(ctx context.Context, before time.Time, limit int) (done bool, err error) {
	if limit < 1 {
		return false, task.Invalid("limit", "must be at least 1")
	}
	err = s.w.do(ctx, "remove old outgoing messages", 0, func(w *writer) error {
		if _, err := w.exec(trimOutgoing, nanos(before), int64(limit)); err != nil {
			return err
		}
		rest, err := w.row(`SELECT 1 FROM outgoing WHERE settled_at < ? LIMIT 1`, nanos(before))
		done = err == nil && rest == nil
		return err
	})
	return done, err
}

// Feed implements task.Outbox. The order of the rows is that of the commits.
func (s *Store) Feed(ctx context.Context, after int64, limit int) ([]task.Signal, error) {
	out, err := collect(ctx, &s.fixed, scanSignal, selectFeed, after, limit)
	return out, s.explainRead(ctx, "read the feed", err)
}

func noOutgoing(id task.OutgoingID) error {
	return task.Errorf(task.CodeNotFound, "there is no outgoing message %q", string(id))
}

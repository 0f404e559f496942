package sqlitestore

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"time"

	"github.com/oz-platform/cloudagents/task"
)

var _ task.Inbox = (*Store)(nil)

const (
	deliveryHead     = `SELECT id, source, coalesce(key, ''), owner, received_at, event, `
	deliveryTail     = `, size, outcome, reason, runs, repeat_of, attempts, decided_at FROM deliveries `
	deliveryColumns  = deliveryHead + `header, body` + deliveryTail
	selectDelivery   = deliveryColumns + `WHERE id = ?`
	selectUndecided  = deliveryColumns + `WHERE outcome = '' AND ready_at <= ? ORDER BY ready_at, k LIMIT +?`
	selectDeliveries = deliveryHead + `NULL, NULL` + deliveryTail + `WHERE source = ?1
		AND (?2 = '' OR k < (SELECT k FROM deliveries WHERE id = ?2)) AND (?3 IS NULL OR outcome IN (SELECT value FROM json_each(?3))) ORDER BY k DESC LIMIT +?4`
	insertDelivery = `INSERT INTO deliveries (id, source, key, owner, received_at, event, header, body, size, outcome, reason, runs, repeat_of, attempts, ready_at, decided_at)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 0, ?, ?)`
	decideDelivery = `UPDATE deliveries SET outcome = ?, reason = ?, runs = ?, decided_at = ? WHERE id = ? AND outcome = ''`
	reviewDelivery = `UPDATE deliveries SET outcome = ?, reason = ?, decided_at = ? WHERE id = ?`
	putOffDelivery = `UPDATE deliveries SET ready_at = ?, reason = ?, attempts = attempts + 1 WHERE id = ? AND outcome = ''`
	oldDeliveries  = ` FROM deliveries WHERE source = ?1 AND outcome <> '' AND received_at < ?2
		AND k < coalesce((SELECT k FROM deliveries WHERE source = ?1 ORDER BY k DESC LIMIT 1 OFFSET ?3), -1)`
)

// Receive implements task.Inbox.
func (s *Store) Receive(ctx context.Context, d task.Delivery) (task.Delivery, error) {
	if err := d.Validate(); err != nil {
		return task.Delivery{}, err
	}
	d.Header, d.Body = append([]byte(nil), d.Header...), append([]byte(nil), d.Body...)
	stored := d
	err := s.w.do(ctx, "store a delivery of "+d.Source, len(d.Header)+len(d.Body), func(w *writer) (err error) {
		stored, err = w.receive(d)
		return err
	})
	return stored, err
}

func (w *writer) receive(d task.Delivery) (task.Delivery, error) {
	if d.Outcome != "" {
		d.Key, d.DecidedAt = "", d.ReceivedAt
	} else {
		vals, err := w.row(`SELECT id FROM deliveries WHERE source = ? AND key = ?`, d.Source, d.Key)
		if err != nil {
			return d, err
		}
		if vals != nil {
			d = d.Line(task.DeliveryID(vals[0].(string)))
		}
	}
	runs, err := json.Marshal(d.Runs)
	if err != nil {
		return d, err
	}
	var key any
	if d.Key != "" {
		key = d.Key
		w.changed[task.NewDeliveries] = struct{}{}
	}
	_, err = w.exec(insertDelivery, string(d.ID), d.Source, key, d.Owner.String(), nanos(d.ReceivedAt), d.Event, blob(d.Header), blob(d.Body),
		d.Size, string(d.Outcome), task.CutReason(d.Reason, task.MaxDeliveryReason), string(runs), string(d.RepeatOf), nanos(d.ReceivedAt), nanosOrNull(d.DecidedAt))
	return d, err
}

// blob is a column that may be NULL.
func blob(b []byte) any {
	if len(b) == 0 {
		return nil
	}
	return b
}

// Undecided implements task.Inbox.
func (s *Store) Undecided(ctx context.Context, now time.Time, limit int) ([]task.Delivery, error) {
	out, err := collect(ctx, &s.fixed, scanDelivery, selectUndecided, nanos(now), limit)
	return out, s.explainRead(ctx, "read undecided deliveries", err)
}

// Decide implements task.Inbox.
func (s *Store) Decide(ctx context.Context, id task.DeliveryID, v task.Verdict) (task.Delivery, error) {
	if err := v.Validate(); err != nil {
		return task.Delivery{}, err
	}
	runs, err := json.Marshal(v.Runs)
	if err != nil {
		return task.Delivery{}, err
	}
	err = s.w.do(ctx, "decide delivery "+string(id), 0, func(w *writer) error {
		_, err := w.exec(decideDelivery, string(v.Outcome), task.CutReason(v.Reason, task.MaxDeliveryReason), string(runs), nanos(w.clock.Now()), string(id))
		return err
	})
	if err != nil {
		return task.Delivery{}, err
	}
	return s.Delivery(ctx, id)
}

// Review implements task.Inbox.
func (s *Store) Review(ctx context.Context, id task.DeliveryID, r task.Review) (task.Delivery, error) {
	if err := r.Validate(); err != nil {
		return task.Delivery{}, err
	}
	err := s.w.do(ctx, "review delivery "+string(id), len(r.Next.Header)+len(r.Next.Body), func(w *writer) error {
		vals, err := w.row(`SELECT 1 FROM deliveries WHERE id = ? AND outcome = ?`, string(id), string(task.OutcomeHeld))
		if err != nil || vals == nil {
			return err // what else it is, is told below
		}
		if _, err := w.exec(reviewDelivery, string(r.Outcome), task.CutReason(r.Reason, task.MaxDeliveryReason), nanos(w.clock.Now()), string(id)); err != nil {
			return err
		}
		if r.Outcome == task.OutcomeReleased {
			_, err = w.receive(r.Next)
		}
		return err
	})
	if err != nil {
		return task.Delivery{}, err
	}
	d, err := s.Delivery(ctx, id)
	if err != nil {
		return task.Delivery{}, err
	}
	return d, d.Reviewed(r)
}

// PutOff implements task.Inbox.
func (s *Store) PutOff(ctx context.Context, id task.DeliveryID, until time.Time, reason string) error {
	return s.w.do(ctx, "put off delivery "+string(id), 0, func(w *writer) error {
		_, err := w.exec(putOffDelivery, nanos(until), task.CutReason(reason, task.MaxDeliveryReason), string(id))
		return err
	})
}

// Delivery implements task.Inbox.
func (s *Store) Delivery(ctx context.Context, id task.DeliveryID) (task.Delivery, error) {
	d, err := scanDelivery(s.fixed.row(ctx, selectDelivery, string(id)))
	if errors.Is(err, sql.ErrNoRows) {
		return task.Delivery{}, task.Errorf(task.CodeNotFound, "there is no delivery %q", string(id))
	}
	return d, s.explainRead(ctx, "read delivery "+string(id), err)
}

// Deliveries implements task.Inbox.
func (s *Store) Deliveries(ctx context.Context, q task.DeliveryQuery) ([]task.Delivery, error) {
	if err := q.Validate(); err != nil {
		return nil, err
	}
	outcomes, err := jsonList(q.Outcomes)
	if err != nil {
		return nil, err
	}
	out, err := collect(ctx, &s.fixed, scanDelivery, selectDeliveries, q.Source, string(q.Before), outcomes, q.Limit)
	return out, s.explainRead(ctx, "list deliveries of "+q.Source, err)
}

// jsonList is a filter's parameter: NULL does not filter.
func jsonList[T ~string](list []T) (any, error) {
	if list == nil {
		return nil, nil
	}
	b, err := json.Marshal(list)
	return string(b), err
}

func scanDelivery(row scanner) (d task.Delivery, err error) {
	var owner, runs string
	var received int64
	var decided sql.NullInt64
	if err := row.Scan(&d.ID, &d.Source, &d.Key, &owner, &received, &d.Event, &d.Header, &d.Body, &d.Size, &d.Outcome, &d.Reason, &runs, &d.RepeatOf,
		&d.Attempts, &decided); err != nil {
		return d, err
	}
	d.Owner, d.ReceivedAt = parseScope(owner), fromNanos(received)
	if decided.Valid {
		d.DecidedAt = fromNanos(decided.Int64)
	}
	return d, json.Unmarshal([]byte(runs), &d.Runs)
}

// TrimDeliveries implements task.Inbox.
func (s *Store) TrimDeliveries(ctx context.Context, source string, before time.Time, keep, limit int) (done bool, err error) {
	if limit < 1 || keep < 1 {
		return false, task.Invalid("limit", "and keep must be at least 1")
	}
	err = s.w.do(ctx, "remove old deliveries", 0, func(w *writer) error {
		if _, err := w.exec(`DELETE FROM deliveries WHERE k IN (SELECT k`+oldDeliveries+` ORDER BY k LIMIT +?4)`, source, nanos(before), int64(keep-1), int64(limit)); err != nil {
			return err
		}
		rest, err := w.row(`SELECT 1`+oldDeliveries+` LIMIT 1`, source, nanos(before), int64(keep-1))
		done = err == nil && rest == nil
		return err
	})
	return done, err
}

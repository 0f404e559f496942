package pgstore

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/oz-platform/cloudagents/task"
)

var _ task.Inbox = (*Store)(nil)

const (
	deliveryHead     = `SELECT id, source, coalesce(key, ''), owner, received_at, event, `
	deliveryTail     = `, size, outcome, reason, runs, repeat_of, attempts, decided_at FROM deliveries `
	selectDelivery   = deliveryHead + `header, body` + deliveryTail + `WHERE id = $1`
	selectUndecided  = deliveryHead + `header, body` + deliveryTail + `WHERE outcome = '' AND ready_at <= $1 ORDER BY ready_at, k LIMIT $2`
	selectDeliveries = deliveryHead + `NULL::bytea, NULL::bytea` + deliveryTail + `WHERE source = $1
		AND ($2 = '' OR k < (SELECT k FROM deliveries WHERE id = $2)) AND ($3::text[] IS NULL OR outcome = ANY($3)) ORDER BY k DESC LIMIT $4`
	insertDelivery = `INSERT INTO deliveries (id, source, key, owner, received_at, event, header, body, size, outcome, reason, runs, repeat_of, attempts, ready_at, decided_at)
		VALUES ($1, $2, nullif($3, ''), $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, 0, $5, $14) ON CONFLICT DO NOTHING`
	firstDelivery  = `SELECT id FROM deliveries WHERE source = $1 AND key = $2`
	decideDelivery = `UPDATE deliveries SET outcome = $2, reason = $3, runs = $4, decided_at = $5 WHERE id = $1 AND outcome = ''`
	reviewDelivery = `UPDATE deliveries SET outcome = $2, reason = $3, decided_at = $4 WHERE id = $1 AND outcome = 'held'`
	// releaseDelivery reviews one and receives the next in one statement.
	releaseDelivery = `WITH reviewed AS (` + reviewDelivery + ` RETURNING 1)
		INSERT INTO deliveries (id, source, key, owner, received_at, event, header, body, size, outcome, reason, runs, repeat_of, attempts, ready_at)
		SELECT $5::text, $6::text, $7::text, $8::text, $9::bigint, $10::text, $11::bytea, $12::bytea, $13::bigint, '', '', '{}', '', 0, $9::bigint FROM reviewed ON CONFLICT DO NOTHING`
	putOffDelivery = `UPDATE deliveries SET ready_at = $2, reason = $3, attempts = attempts + 1 WHERE id = $1 AND outcome = ''`
	oldDeliveries  = ` FROM deliveries WHERE source = $1 AND outcome <> '' AND received_at < $2
		AND k < coalesce((SELECT k FROM deliveries WHERE source = $1 ORDER BY k DESC LIMIT 1 OFFSET $3), -1)`
	trimDeliveries = `DELETE FROM deliveries WHERE k IN (SELECT k` + oldDeliveries + ` ORDER BY k LIMIT $4)`
)

// maxReceives bounds how often an arrival looks for the one before it, which
// may be removed at that moment.
const maxReceives = 10

// Receive implements task.Inbox.
func (s *Store) Receive(ctx context.Context, d task.Delivery) (task.Delivery, error) {
	if err := d.Validate(); err != nil {
		return task.Delivery{}, err
	}
	if d.Outcome != "" {
		d.Key, d.DecidedAt = "", d.ReceivedAt
	}
	doing := "store a delivery of " + d.Source
	for range maxReceives {
		first, err := s.receive(ctx, doing, d)
		switch {
		case err != nil:
			return task.Delivery{}, err
		case first == d.ID:
			s.announce(task.NewDeliveries)
			return d, nil
		case d.Key == "":
			return d, nil
		case first != "":
			d = d.Line(first)
			_, err := s.receive(ctx, doing, d)
			return d, err
		}
	}
	return task.Delivery{}, task.Errorf(task.CodeResourceUnavailable, "%s: the delivery before it comes and goes; try again", doing)
}

// receive writes a row and gives the one that has its key then: this one, also
// when it was written by an attempt whose answer was lost.
func (s *Store) receive(ctx context.Context, doing string, d task.Delivery) (task.DeliveryID, error) {
	runs := make([]string, len(d.Runs))
	for i, id := range d.Runs {
		runs[i] = text(string(id))
	}
	err := s.write(ctx, doing, insertDelivery, text(string(d.ID)), text(d.Source), text(d.Key), text(d.Owner.String()), nanos(d.ReceivedAt), text(d.Event),
		d.Header, d.Body, d.Size, string(d.Outcome), text(task.CutReason(d.Reason, task.MaxDeliveryReason)), runs, text(string(d.RepeatOf)), nanosOrNull(d.DecidedAt))
	if err != nil || d.Key == "" {
		return "", err
	}
	id, err := one(ctx, s, pgx.RowTo[string], firstDelivery, text(d.Source), text(d.Key))
	if errors.Is(err, pgx.ErrNoRows) {
		return "", nil
	}
	return task.DeliveryID(untext(id)), s.explainCall(ctx, doing, err)
}

// Undecided implements task.Inbox.
func (s *Store) Undecided(ctx context.Context, now time.Time, limit int) ([]task.Delivery, error) {
	out, err := collect(ctx, s, scanDelivery, selectUndecided, nanos(now), limit)
	return out, s.explainCall(ctx, "read undecided deliveries", err)
}

// Decide implements task.Inbox.
func (s *Store) Decide(ctx context.Context, id task.DeliveryID, v task.Verdict) (task.Delivery, error) {
	if err := v.Validate(); err != nil {
		return task.Delivery{}, err
	}
	runs := make([]string, len(v.Runs))
	for i, r := range v.Runs {
		runs[i] = text(string(r))
	}
	err := s.write(ctx, "decide delivery "+string(id), decideDelivery, text(string(id)), string(v.Outcome), text(task.CutReason(v.Reason, task.MaxDeliveryReason)), runs,
		nanos(s.opts.Clock.Now()))
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
	statement := reviewDelivery
	args := []any{text(string(id)), string(r.Outcome), text(task.CutReason(r.Reason, task.MaxDeliveryReason)), nanos(s.opts.Clock.Now())}
	if n := r.Next; r.Outcome == task.OutcomeReleased {
		statement = releaseDelivery
		args = append(args, text(string(n.ID)), text(n.Source), text(n.Key), text(n.Owner.String()), nanos(n.ReceivedAt), text(n.Event), n.Header, n.Body, n.Size)
	}
	if err := s.write(ctx, "review delivery "+string(id), statement, args...); err != nil {
		return task.Delivery{}, err
	}
	d, err := s.Delivery(ctx, id)
	if err != nil {
		return task.Delivery{}, err
	}
	if err = d.Reviewed(r); err == nil && r.Outcome == task.OutcomeReleased {
		s.announce(task.NewDeliveries)
	}
	return d, err
}

// PutOff implements task.Inbox. Repeated after a lost answer it may count an
// attempt twice.
func (s *Store) PutOff(ctx context.Context, id task.DeliveryID, until time.Time, reason string) error {
	return s.write(ctx, "put off delivery "+string(id), putOffDelivery, text(string(id)), nanos(until), text(task.CutReason(reason, task.MaxDeliveryReason)))
}

// Delivery implements task.Inbox.
func (s *Store) Delivery(ctx context.Context, id task.DeliveryID) (task.Delivery, error) {
	d, err := one(ctx, s, scanDelivery, selectDelivery, text(string(id)))
	if errors.Is(err, pgx.ErrNoRows) {
		return task.Delivery{}, task.Errorf(task.CodeNotFound, "there is no delivery %q", string(id))
	}
	return d, s.explainCall(ctx, "read delivery "+string(id), err)
}

// Deliveries implements task.Inbox.
func (s *Store) Deliveries(ctx context.Context, q task.DeliveryQuery) ([]task.Delivery, error) {
	if err := q.Validate(); err != nil {
		return nil, err
	}
	out, err := collect(ctx, s, scanDelivery, selectDeliveries, text(q.Source), text(string(q.Before)), texts(q.Outcomes), q.Limit)
	return out, s.explainCall(ctx, "list deliveries of "+q.Source, err)
}

// texts is a filter's parameter: nil does not filter.
func texts[T ~string](list []T) []string {
	if list == nil {
		return nil
	}
	out := make([]string, len(list))
	for i, v := range list {
		out[i] = text(string(v))
	}
	return out
}

func scanDelivery(row pgx.CollectableRow) (d task.Delivery, err error) {
	var id, owner, first string
	var runs []string
	var received int64
	var decided pgtype.Int8
	err = row.Scan(&id, &d.Source, &d.Key, &owner, &received, &d.Event, &d.Header, &d.Body, &d.Size, &d.Outcome, &d.Reason, &runs, &first, &d.Attempts, &decided)
	d.ID, d.Source, d.Key, d.Owner, d.RepeatOf = task.DeliveryID(untext(id)), untext(d.Source), untext(d.Key), parseScope(untext(owner)), task.DeliveryID(untext(first))
	d.Event, d.Reason, d.ReceivedAt = untext(d.Event), untext(d.Reason), fromNanos(received)
	for _, r := range runs {
		d.Runs = append(d.Runs, task.ID(untext(r)))
	}
	if decided.Valid {
		d.DecidedAt = fromNanos(decided.Int64)
	}
	return d, err
}

// TrimDeliveries implements task.Inbox.
func (s *Store) TrimDeliveries(ctx context.Context, source string, before time.Time, keep, limit int) (done bool, err error) {
	const doing = "remove old deliveries"
	if limit < 1 || keep < 1 {
		return false, task.Invalid("limit", "and keep must be at least 1")
	}
	if err := s.write(ctx, doing, trimDeliveries, text(source), nanos(before), keep-1, limit); err != nil {
		return false, err
	}
	rest, err := collect(ctx, s, pgx.RowTo[int32], `SELECT 1`+oldDeliveries+` LIMIT 1`, text(source), nanos(before), keep-1)
	return err == nil && len(rest) == 0, s.explainCall(ctx, doing, err)
}

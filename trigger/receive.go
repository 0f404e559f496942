package trigger

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"

	"github.com/google/uuid"

	"github.com/oz-platform/cloudagents/task"
)

// MaxBody bounds the body of what arrives at a path below /webhooks/; ok is
// false when nobody is there.
func (e *Engine) MaxBody(path string) (limit int64, ok bool) {
	o, ok := e.paths[path]
	if !ok {
		return 0, false
	}
	if limit = o.Info().MaxBody; limit == 0 {
		limit = task.MaxDeliveryBody
	}
	return limit, true
}

// Paths lists the first parts of the paths that origins have.
func (e *Engine) Paths() []string { return slices.Sorted(maps.Keys(e.paths)) }

// Receive takes what arrived at a path and gives the answer, after it is
// durable. Deciding it comes later. It fails as Origin.Accept does, with
// task.CodeNotFound for a path that is nobody's, and with
// task.CodeResourceUnavailable and a hint when too many come.
func (e *Engine) Receive(ctx context.Context, path string, r Request) (Reply, error) {
	o, ok := e.paths[path]
	if !ok {
		return Reply{}, task.Errorf(task.CodeNotFound, "nothing listens here")
	}
	if r.Time.IsZero() {
		r.Time = e.now()
	}
	a, err := o.Accept(ctx, r)
	if err != nil {
		return Reply{}, e.refuse(ctx, a, r, err)
	}
	if a.Source == "" {
		return replyOr(a.Reply, http.StatusOK, nil), nil
	}
	if wait, ok := e.rates.take(a.Source, a.PerMinute, r.Time); !ok {
		return Reply{}, tooMany(a.PerMinute, wait)
	}
	d, err := e.keep(ctx, a, r, Header{Fields: a.Header})
	if err != nil {
		return Reply{}, err
	}
	body, err := json.Marshal(map[string]task.DeliveryID{"delivery_id": d.ID})
	if err != nil {
		return Reply{}, err
	}
	reply := replyOr(a.Reply, http.StatusAccepted, body)
	reply.Delivery = d.ID
	return reply, nil
}

func replyOr(given *Reply, status int, body []byte) Reply {
	if given != nil {
		return *given
	}
	return Reply{Status: status, Header: map[string]string{"Content-Type": "application/json"}, Body: body}
}

// keep stores an arrival and lets it be decided.
func (e *Engine) keep(ctx context.Context, a Arrival, r Request, h Header) (task.Delivery, error) {
	header, err := json.Marshal(h)
	if err != nil {
		return task.Delivery{}, fmt.Errorf("encode header: %w", err)
	}
	body := a.Body
	if body == nil {
		body = r.Body
	}
	d, err := e.store.Receive(ctx, task.Delivery{ID: task.NewDeliveryID(), Source: a.Source, Key: a.Key, Owner: a.Owner, ReceivedAt: r.Time,
		Event: a.Event, Header: header, Body: body, Size: int64(len(r.Body))})
	if err != nil {
		return task.Delivery{}, fmt.Errorf("keep what arrived at %s: %w", a.Source, err)
	}
	if d.Outcome != "" { // a repeat
		e.opts.OnDelivery(d)
		return d, nil
	}
	e.pass(d)
	return d, nil
}

// pass has a stored delivery decided here, at once.
func (e *Engine) pass(d task.Delivery) {
	select {
	case e.inbox <- d:
	default: // it is found in the store
	}
}

// refusedPerMinute bounds the lines about refused arrivals at one source.
const refusedPerMinute = 60

// refuse writes a line about what was not authentic or not in order, if its
// source is known; its body is not kept.
func (e *Engine) refuse(ctx context.Context, a Arrival, r Request, cause error) error {
	if a.Source == "" {
		return cause
	}
	if _, ok := e.rates.take("refused "+a.Source, refusedPerMinute, r.Time); !ok {
		return cause
	}
	d := task.Delivery{ID: task.NewDeliveryID(), Source: a.Source, Owner: a.Owner, ReceivedAt: r.Time, Size: int64(len(r.Body)),
		Outcome: task.OutcomeRejected, Reason: cause.Error(), DecidedAt: r.Time}
	if _, err := e.store.Receive(ctx, d); err != nil {
		e.report(ctx, "write a line about a refused arrival", err)
	}
	e.opts.OnDelivery(d)
	return cause
}

// Refuse writes a line about a request that was refused before its origin saw
// the body, as one that was too large, when the origin can tell whose it is.
func (e *Engine) Refuse(ctx context.Context, path string, r Request, cause error) error {
	o, ok := e.paths[path].(interface {
		Whose(ctx context.Context, r Request) (Arrival, error)
	})
	if !ok {
		return cause
	}
	if r.Time.IsZero() {
		r.Time = e.now()
	}
	a, err := o.Whose(ctx, r)
	if err != nil {
		return err
	}
	return e.refuse(ctx, a, r, cause)
}

// Repeat lets a kept delivery through again, as a new one, and gives that. It
// fails with task.CodeNotFound, and with task.CodeOperationNotSupported when
// its body was not kept.
func (e *Engine) Repeat(ctx context.Context, id task.DeliveryID) (task.Delivery, error) {
	d, h, err := e.kept(ctx, id)
	if err != nil {
		return task.Delivery{}, err
	}
	h.RepeatOf = id
	a := Arrival{Source: d.Source, Owner: d.Owner, Key: "repeated " + uuid.NewString(), Event: d.Event, Body: d.Body}
	return e.keep(ctx, a, Request{Body: d.Body, Time: e.now()}, h)
}

// Approve lets a delivery through that was held, and gives the new one. Doing
// it again gives the same. It fails with task.CodeNotFound, and with
// task.CodeConflict for one that was turned down or not held.
func (e *Engine) Approve(ctx context.Context, id task.DeliveryID, by task.Principal) (task.Delivery, error) {
	d, h, err := e.kept(ctx, id)
	if err != nil {
		return task.Delivery{}, err
	}
	h.RepeatOf, h.ApprovedBy = id, by
	header, err := json.Marshal(h)
	if err != nil {
		return task.Delivery{}, fmt.Errorf("encode header: %w", err)
	}
	next := task.Delivery{ID: task.DeliveryID(uuid.NewSHA1(approved, []byte(id)).String()), Source: d.Source, Key: "approved " + string(id), Owner: d.Owner,
		ReceivedAt: e.now(), Event: d.Event, Header: header, Body: d.Body, Size: d.Size}
	r := task.Review{Outcome: task.OutcomeReleased, Reason: d.Reason + "; let through by " + nameOf(by) + " as delivery " + string(next.ID), Next: next}
	if d, err = e.store.Review(ctx, id, r); err != nil {
		return task.Delivery{}, err
	}
	e.opts.OnDelivery(d)
	if next, err = e.store.Delivery(ctx, next.ID); errors.Is(err, task.ErrNotFound) {
		return task.Delivery{}, task.Errorf(task.CodeConflict, "delivery %s was let through long ago, and what came of it is not kept any more", id)
	}
	if err == nil && next.Outcome == "" {
		e.pass(next)
	}
	return next, err
}

// approved is the space of the IDs of deliveries that were let through: who
// does it again, or at another replica, finds the same.
var approved = uuid.MustParse("b8a1a2f0-6c1f-4a53-9c37-6d2c1a5d2f10")

// MaxReviewReason bounds what is said of a delivery that is turned down, in
// bytes.
const MaxReviewReason = 1 << 10

// Decline turns a delivery down that was held, and gives it: it starts
// nothing. Doing it again changes nothing. The reason may be empty. It fails
// with task.CodeNotFound, with task.CodeConflict for one that was let through
// or not held, and with task.CodeInvalidRequest.
func (e *Engine) Decline(ctx context.Context, id task.DeliveryID, by task.Principal, reason string) (task.Delivery, error) {
	if len(reason) > MaxReviewReason {
		return task.Delivery{}, task.Invalid("reason", "has %d bytes, at most %d are allowed", len(reason), MaxReviewReason)
	}
	if err := task.ValidateText("reason", reason); err != nil {
		return task.Delivery{}, err
	}
	d, err := e.store.Delivery(ctx, id)
	if err != nil {
		return task.Delivery{}, err
	}
	why := "turned down by " + nameOf(by)
	if reason != "" {
		why += ": " + reason
	}
	if d, err = e.store.Review(ctx, id, task.Review{Outcome: task.OutcomeDeclined, Reason: why + " (" + d.Reason + ")"}); err != nil {
		return task.Delivery{}, err
	}
	e.opts.OnDelivery(d)
	return d, nil
}

// nameOf is what people call a principal.
func nameOf(p task.Principal) string {
	return cmp.Or(p.DisplayName, p.Email, p.UID, "somebody")
}

// kept gives a delivery of which there is something to let through again.
func (e *Engine) kept(ctx context.Context, id task.DeliveryID) (task.Delivery, Header, error) {
	d, err := e.store.Delivery(ctx, id)
	switch {
	case err != nil:
		return d, Header{}, err
	case d.Outcome == task.OutcomeDuplicate || d.Outcome == task.OutcomeRejected:
		return d, Header{}, task.Errorf(task.CodeOperationNotSupported, "delivery %s was %s, so that nothing of it was kept", id, d.Outcome)
	case d.Outcome == "":
		return d, Header{}, task.Errorf(task.CodeConflict, "delivery %s is not decided yet", id)
	}
	h, err := HeaderOf(d)
	return d, h, err
}

// Rehearse says what a delivery would do now, and does nothing.
func (e *Engine) Rehearse(ctx context.Context, id task.DeliveryID) (task.Delivery, Plan, error) {
	d, err := e.store.Delivery(ctx, id)
	if err != nil {
		return d, Plan{}, err
	}
	if len(d.Body) == 0 && (d.Outcome == task.OutcomeDuplicate || d.Outcome == task.OutcomeRejected) {
		return d, Plan{Reason: d.Reason}, nil
	}
	o, ok := e.origin(d.Source)
	if !ok {
		return d, Plan{}, task.Errorf(task.CodeOperationNotSupported, "%w", errUnknownSource(d.Source))
	}
	p, err := o.Plan(ctx, d)
	return d, p, err
}

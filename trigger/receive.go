package trigger

import (
	"context"
	"encoding/json"
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
	select {
	case e.inbox <- d:
	default: // it is found in the store
	}
	return d, nil
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
	return e.again(ctx, id, "repeated "+uuid.NewString(), func(h *Header, _ task.Delivery) error { h.RepeatOf = id; return nil })
}

// Approve lets a delivery through that was held, and gives the new one. Doing
// it again gives the same. It fails with task.CodeNotFound and
// task.CodeConflict.
func (e *Engine) Approve(ctx context.Context, id task.DeliveryID, by task.Principal) (task.Delivery, error) {
	return e.again(ctx, id, "approved "+string(id), func(h *Header, d task.Delivery) error {
		if d.Outcome != task.OutcomeHeld {
			return task.Errorf(task.CodeConflict, "delivery %s waits for nobody: it was %s", id, d.Outcome)
		}
		h.RepeatOf, h.ApprovedBy = id, by
		return nil
	})
}

func (e *Engine) again(ctx context.Context, id task.DeliveryID, key string, change func(*Header, task.Delivery) error) (task.Delivery, error) {
	d, err := e.store.Delivery(ctx, id)
	if err != nil {
		return task.Delivery{}, err
	}
	switch {
	case d.Outcome == task.OutcomeDuplicate || d.Outcome == task.OutcomeRejected:
		return task.Delivery{}, task.Errorf(task.CodeOperationNotSupported, "delivery %s was %s, so that nothing of it was kept", id, d.Outcome)
	case d.Outcome == "":
		return task.Delivery{}, task.Errorf(task.CodeConflict, "delivery %s is not decided yet", id)
	}
	h, err := HeaderOf(d)
	if err != nil {
		return task.Delivery{}, err
	}
	if err := change(&h, d); err != nil {
		return task.Delivery{}, err
	}
	a := Arrival{Source: d.Source, Owner: d.Owner, Key: key, Event: d.Event, Body: d.Body}
	return e.keep(ctx, a, Request{Body: d.Body, Time: e.now()}, h)
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

package gateway

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"time"

	"github.com/oz-platform/cloudagents/executor/catalog"
	"github.com/oz-platform/cloudagents/task"
)

// statusClientClosed is what a record says when the harness hung up; no such
// status is ever sent (nginx's convention).
const statusClientClosed = 499

// exchange is one call under way.
type exchange struct {
	g    *Gateway
	w    http.ResponseWriter
	r    *http.Request
	req  *modelRequest
	call Call

	price    catalog.Price
	priced   bool
	reserved amount
	finished bool
}

// category is what the harness says the call is for.
func category(r *http.Request) string {
	c := r.Header.Get(CategoryHeader)
	return c[:min(len(c), maxCategory)]
}

// serveCall carries one call through: read, route, reserve, try, pass on,
// settle, record.
func (g *Gateway) serveCall(w http.ResponseWriter, r *http.Request, op operation) {
	body, bad := readRequest(w, r)
	x := &exchange{g: g, w: w, r: r, call: Call{API: op.api, Category: category(r), Number: g.number.Add(1), Started: g.opts.Clock.Now()}}
	if bad != nil {
		x.refuse(*bad)
		return
	}
	req, err := parseRequest(op, body)
	if err != nil {
		x.refuse(refusal{http.StatusBadRequest, ClassInvalidRequest, err.Error()})
		return
	}
	x.req, x.call.ModelAsked, x.call.Model = req, req.model, req.model
	targets := g.router.route(op.api.Wire(), req.model)
	if targets == nil {
		x.refuse(refusal{http.StatusNotFound, ClassModelNotFound, g.router.missing(op.api.Wire(), req.model)})
		return
	}
	x.tryAll(r.Context(), targets)
}

// tryAll asks one target after the other until one answers, or the trouble is
// not one that another could mend.
func (x *exchange) tryAll(ctx context.Context, targets []target) {
	var last *failure
	first := targets[0]
	for _, t := range x.g.outages.order(targets) {
		if err := x.reserve(ctx, t); err != nil {
			if last == nil {
				x.refuse(unreserved(ctx, err))
				return
			}
			last.message += fmt.Sprintf("; the fallback %q was not asked: %v", t.at.Name, err)
			break
		}
		x.call.Provider, x.call.Model, x.call.Fallback = t.at.Name, t.model, t != first
		var got *answer
		if got, last = x.try(ctx, t); got != nil {
			x.g.outages.answered(t)
			x.deliver(got)
			return
		}
		if !last.transient() {
			break
		}
		x.g.outages.failed(t)
	}
	x.fail(last)
}

// unreserved is the refusal of a call that could not be reserved.
func unreserved(ctx context.Context, err error) refusal {
	switch {
	case task.CodeOf(err) == task.CodeBudgetExceeded:
		return refusal{http.StatusForbidden, ClassBudget, "budget_exceeded: " + err.Error()}
	case ctx.Err() != nil:
		return refusal{statusClientClosed, ClassCancelled, errHungUp.Error()}
	}
	return refusal{http.StatusServiceUnavailable, ClassUnreachable, "the platform did not say whether the budget has room for the call: " + err.Error()}
}

// reserve takes what a call to t may cost from the budgets, in place of what an
// earlier target had reserved.
func (x *exchange) reserve(ctx context.Context, t target) error {
	x.g.ledger.settle(x.reserved, amount{})
	x.reserved = amount{}
	x.price, x.priced = x.g.opts.Prices.Of(t.model)
	if !x.call.API.metered() {
		return nil
	}
	if !x.priced && x.g.opts.Budget.MaxUSD > 0 {
		return task.Errorf(task.CodeBudgetExceeded, "the run has a limit in money and the model %q has no price; add one to the price file, or limit the run by tokens", t.model)
	}
	want := x.req.reservation(x.price, x.priced)
	if err := x.g.ledger.reserve(want); err != nil {
		return err
	}
	x.reserved = want
	if x.g.opts.Reserve == nil {
		return nil
	}
	r := Reservation{Call: strconv.FormatInt(x.call.Number, 10), Tokens: want.tokens, USD: want.money.usd(), Priced: x.priced}
	held, err := x.g.opts.Reserve(ctx, r)
	if held {
		x.call.Reservation = r.Call
	}
	return err
}

// try asks one target as often as it is worth it.
func (x *exchange) try(ctx context.Context, t target) (*answer, *failure) {
	retry := x.g.opts.Retry
	pauses := retry.pauses()
	body := x.req.forModel(t.model)
	for n := 1; ; n++ {
		began := x.g.opts.Clock.Now()
		got, failed := x.g.attempt(ctx, x.r, t, x.req, body)
		if failed == nil {
			x.attempted(t, began, got.status, ClassNone, 0)
			return got, nil
		}
		pause, again := failed.pause(pauses.NextBackOff(), retry.MaxRetryAfter)
		again = again && n < retry.MaxAttempts
		if !again {
			pause = 0
		}
		x.attempted(t, began, failed.status(), failed.class, pause)
		if !again {
			return nil, failed
		}
		select {
		case <-x.g.opts.Clock.After(pause):
		case <-ctx.Done():
			return nil, &failure{class: ClassCancelled, message: "the harness hung up"}
		}
	}
}

func (x *exchange) attempted(t target, began time.Time, status int, class Class, wait time.Duration) {
	x.call.Attempts = append(x.call.Attempts, Attempt{
		Provider: t.at.Name, Model: t.model, Status: status, Class: class,
		Duration: x.since(began), Wait: wait,
	})
}

func (x *exchange) since(t time.Time) time.Duration { return x.g.opts.Clock.Now().Sub(t) }

// refuse answers for the gateway itself.
func (x *exchange) refuse(r refusal) {
	r.message = x.g.scrub.text(r.message)
	x.call.Status, x.call.Class, x.call.Message = r.status, r.class, r.message
	x.finish(Usage{}, false)
	r.write(x.w, x.call.API.Wire())
}

// fail tells the harness how the last attempt went wrong: in the provider's
// words when there are any that help, else in the gateway's.
func (x *exchange) fail(f *failure) {
	if f.class == ClassCancelled {
		x.call.Status, x.call.Class, x.call.Message = statusClientClosed, f.class, f.message
		x.finish(Usage{}, false)
		return
	}
	if !f.passesThrough() {
		x.refuse(f.refusal())
		return
	}
	x.call.Status, x.call.Class, x.call.Message = f.answer.status, f.class, x.g.scrub.text(f.message)
	x.call.RequestID = f.answer.requestID()
	x.finish(Usage{}, false)
	h := x.w.Header()
	x.copyHeader(f.answer.header)
	h.Set("X-Should-Retry", "false")
	h.Set(ErrorHeader, string(f.class))
	x.w.WriteHeader(f.answer.status)
	_, _ = x.w.Write(x.g.scrub.bytes(f.answer.body)) // the client is gone: nobody to tell
}

// deliver passes an answer on.
func (x *exchange) deliver(got *answer) {
	defer got.close()
	x.call.Status, x.call.RequestID = got.status, got.requestID()
	x.call.Streamed = got.stream != nil
	x.call.FirstByte = x.since(x.call.Started)
	x.copyHeader(got.header)
	if got.stream != nil {
		x.w.WriteHeader(got.status)
		x.passStream(got)
		return
	}
	seen := &reading{api: x.call.API}
	seen.readWhole(got.body)
	x.conclude(seen, int64(len(got.body)), nil)
	body := x.g.scrub.bytes(got.body)
	x.w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	x.w.WriteHeader(got.status)
	_, _ = x.w.Write(body) // the client is gone: nobody to tell
}

// errStreamTooLong ends a stream over MaxStreamBytes.
var errStreamTooLong = fmt.Errorf("the stream is larger than %d bytes", int64(MaxStreamBytes))

// passStream passes a stream on as it comes. It returns normally when the
// stream ended well, and breaks the connection when the provider's broke, so
// that the harness sees a cut stream as one.
func (x *exchange) passStream(got *answer) {
	conn := http.NewResponseController(x.w)
	seen := &reading{api: x.call.API}
	out := x.g.scrub.writer(x.w)
	var received int64
	var err error
	for chunk := range got.chunks(&err) {
		received += int64(len(chunk))
		if received > MaxStreamBytes {
			err = errStreamTooLong
			break
		}
		_, _ = seen.Write(chunk) // never fails
		if seen.over() {
			x.conclude(seen, received, nil)
		}
		// A harness that does not read must not hold the call for ever; off a real
		// connection there is no deadline to set.
		_ = conn.SetWriteDeadline(time.Now().Add(x.g.opts.IdleTimeout))
		if _, err = out.Write(chunk); err == nil {
			err = conn.Flush()
		}
		if err != nil {
			err = fmt.Errorf("%w: %w", errHungUp, err)
			break
		}
	}
	x.conclude(seen, received, err)
	if err == nil {
		err = out.Flush()
	}
	_ = conn.SetWriteDeadline(time.Time{}) // the connection may serve other calls
	if err != nil {
		panic(http.ErrAbortHandler) // net/http's way to break a connection
	}
}

// errHungUp marks trouble on the harness's side.
var errHungUp = errors.New("the harness hung up")

// conclude judges a delivered answer, settles and records it. Only the first
// call counts.
func (x *exchange) conclude(seen *reading, received int64, err error) {
	if x.finished {
		return
	}
	x.call.ModelServed, x.call.StopReason = seen.model, seen.stop
	x.call.RequestID = defaulted(x.call.RequestID, seen.id)
	x.call.Class, x.call.Message = x.judge(seen, err)
	if !x.call.API.metered() {
		x.finish(Usage{}, false)
		return
	}
	est := x.req.estimate(x.price)
	x.finish(seen.spent(est, received))
}

func (x *exchange) judge(seen *reading, err error) (Class, string) {
	provider := fmt.Sprintf("provider %q ", x.call.Provider)
	switch {
	case errors.Is(err, errHungUp), err != nil && x.r.Context().Err() != nil:
		return ClassCancelled, errHungUp.Error()
	case errors.Is(err, errSilent):
		return ClassTimeout, provider + "fell silent in the middle of its answer"
	case err != nil && !errors.Is(err, io.EOF):
		return ClassStreamCut, provider + "broke off: " + x.g.scrub.text(err.Error())
	case seen.trouble != "":
		return classOfTrouble(seen.trouble), provider + "reported " + x.g.scrub.text(seen.trouble)
	case seen.malformed:
		return ClassInvalidResponse, provider + "sent something that is not JSON"
	case !seen.done:
		return ClassStreamCut, provider + "ended its stream before the last event"
	}
	return ClassNone, ""
}

// finish settles the budget and records the call, once.
func (x *exchange) finish(u Usage, estimated bool) {
	if x.finished {
		return
	}
	x.finished = true
	x.call.Usage, x.call.UsageEstimated = u, estimated
	x.call.Total = x.since(x.call.Started)
	used := amount{tokens: u.Total()}
	if x.priced {
		b := billOf(x.price, u)
		used.money, x.call.Cost = b.total(), b.cost()
	}
	for _, said := range []*string{&x.call.RequestID, &x.call.StopReason, &x.call.ModelServed} {
		*said = clip(x.g.scrub.text(*said))
	}
	x.g.ledger.settle(x.reserved, used)
	x.g.record(x.call)
}

func (g *Gateway) record(c Call) {
	g.recording.Lock()
	defer g.recording.Unlock()
	g.addUsage(c)
	g.opts.OnCall(c)
}

func (g *Gateway) addUsage(c Call) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if c.Usage != (Usage{}) {
		g.usage[c.Model] = g.usage[c.Model].Add(c.Usage)
	}
}

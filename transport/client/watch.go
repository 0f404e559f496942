package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"mime"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/cenkalti/backoff/v4"

	"github.com/oz-platform/cloudagents/oz"
	"github.com/oz-platform/cloudagents/task"
	"github.com/oz-platform/cloudagents/transport/api"
	"github.com/oz-platform/cloudagents/transport/internal/wire"
)

// Watch implements oz.Service over a stream. When the connection breaks, the
// server restarts or stays silent, it is opened again behind the last event
// that was yielded, so that none is missed or repeated. It gives up when ctx
// ends or the server refuses (a wrong key, an unknown run).
func (c *Client) Watch(ctx context.Context, id task.ID, after int64) iter.Seq2[task.Event, error] {
	return c.WatchWith(ctx, id, after, nil)
}

// WatchWith is Watch that also tells who follows the run: onPresence, unless it
// is nil, is called with what there is at the begin and at each change, by the
// goroutine that reads the events.
func (c *Client) WatchWith(ctx context.Context, id task.ID, after int64, onPresence func(oz.Presence)) iter.Seq2[task.Event, error] {
	return c.watch(ctx, id, watch{last: after, presence: onPresence})
}

// WatchTypes is Watch of events of some types alone; none stands for all.
func (c *Client) WatchTypes(ctx context.Context, id task.ID, after int64, types ...task.EventType) iter.Seq2[task.Event, error] {
	return c.watch(ctx, id, watch{last: after, only: types})
}

func (c *Client) watch(ctx context.Context, id task.ID, from watch) iter.Seq2[task.Event, error] {
	return func(yield func(task.Event, error) bool) {
		err := checkID("run id", string(id))
		if err == nil {
			err = oz.CheckEventTypes(from.only)
		}
		if err != nil {
			yield(task.Event{}, err)
			return
		}
		w := &watch{c: c, id: id, last: from.last, only: from.only, yield: yield, presence: from.presence, delays: newBackoff()}
		for !w.over {
			err := w.follow(ctx)
			if !w.over {
				w.pause(ctx, err)
			}
		}
	}
}

// watch is a position in a remote log.
type watch struct {
	c     *Client
	id    task.ID
	last  int64
	only  []task.EventType // empty for all
	yield func(task.Event, error) bool
	// presence is told who follows the run; may be nil.
	presence func(oz.Presence)
	delays   backoff.BackOff
	over     bool // nothing more is to be yielded
}

// follow reads one stream until it ends. It sets over when the run has ended
// or the reader stopped; otherwise the error says why the stream broke off.
func (w *watch) follow(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	idle := time.AfterFunc(w.c.opts.StreamIdle, cancel)
	defer idle.Stop()
	q := url.Values{"after": {strconv.FormatInt(w.last, 10)}}
	if w.presence != nil {
		q.Set("presence", "true")
	}
	for _, t := range w.only {
		q.Add("types", string(t))
	}
	resp, err := w.c.stream.ListRunEvents(ctx, string(w.id), nil, header("Accept", "text/event-stream"), query(q))
	if err := check(resp, err); err != nil {
		return err
	}
	defer func() { cancel(); _ = resp.Body.Close() }() // a stream is not drained
	if media, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type")); media != "text/event-stream" {
		return &streamError{fmt.Errorf("the server answered with %q instead of a stream of events; is this the address of an Oz API?", media)}
	}
	frames := newFrameReader(resp.Body, func() { idle.Reset(w.c.opts.StreamIdle) })
	for !w.over {
		f, err := frames.next()
		if err != nil {
			return err
		}
		idle.Stop() // the reader may be slow, which is not the server's silence
		if err := w.take(f); err != nil {
			return err
		}
		idle.Reset(w.c.opts.StreamIdle)
	}
	return nil
}

// take yields the event of a frame, unless it was yielded before.
func (w *watch) take(f frame) error {
	switch f.event {
	case "end":
		w.over = true
		return nil
	case "presence": // no part of the log
		return w.takePresence(f)
	}
	var e task.Event
	switch err := json.Unmarshal(f.data, &e); {
	case unknownType(err):
		// A newer server's event: its number counts, its content is lost on us.
		if e.Seq, err = strconv.ParseInt(f.id, 10, 64); err != nil {
			return &streamError{fmt.Errorf("read event id %.40q: %w", f.id, err)}
		}
	case err != nil:
		return &streamError{fmt.Errorf("read event %.40q: %w", f.id, err)}
	}
	switch {
	case e.Seq <= w.last:
		return nil
	case e.Seq > w.last+1 && len(w.only) == 0 && !prunedTo(e):
		return &streamError{fmt.Errorf("the stream leaps from event %d to %d", w.last, e.Seq)}
	}
	w.last = e.Seq
	w.delays.Reset()
	if e.Payload != nil && !w.yield(e, nil) {
		w.over = true
	}
	return nil
}

// takePresence tells who follows the run.
func (w *watch) takePresence(f frame) error {
	var p api.Presence
	if err := json.Unmarshal(f.data, &p); err != nil {
		return &streamError{fmt.Errorf("read who follows the run: %w", err)}
	}
	if w.presence != nil {
		w.presence(wire.PresenceOf(p))
	}
	return nil
}

// prunedTo reports that an event stands for all those before it.
func prunedTo(e task.Event) bool {
	p, ok := e.Payload.(*task.Pruned)
	return ok && p.Through == e.Seq-1
}

// unknownType reports that an event is of a kind this version does not know.
func unknownType(err error) bool {
	var e *task.Error
	return errors.As(err, &e) && e.Field == "type"
}

// pause waits before the stream is opened again, or ends the watch with the
// error when that cannot help.
func (w *watch) pause(ctx context.Context, err error) {
	if err := pauseStream(ctx, w.c.opts.Clock, w.delays, err); err != nil {
		w.fail(err)
	}
}

// pauseStream waits before a stream that broke off with err is opened again. It
// fails when that cannot help.
func pauseStream(ctx context.Context, clock task.Clock, delays backoff.BackOff, err error) error {
	if cause := ctx.Err(); cause != nil {
		return cause
	}
	if refused(err) {
		return err
	}
	delay := delays.NextBackOff()
	var e *task.Error
	if errors.As(err, &e) && e.RetryAfterMS > 0 {
		delay = time.Duration(e.RetryAfterMS) * time.Millisecond
	}
	select {
	case <-clock.After(delay):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (w *watch) fail(err error) {
	w.over = true
	w.yield(task.Event{}, err)
}

// streamError is a stream that cannot be read, and would be the same when
// opened again.
type streamError struct{ err error }

func (e *streamError) Error() string { return e.err.Error() }

func (e *streamError) Unwrap() error { return e.err }

// refused reports that the server understood and said no, or that it cannot be
// understood: asking again gives the same answer. A stream that breaks off is
// never that.
func refused(err error) bool {
	var unreadable *streamError
	if errors.As(err, &unreadable) {
		return true
	}
	var e *task.Error
	return errors.As(err, &e) && !e.Code.Retryable() && e.Code.HTTPStatus() < http.StatusInternalServerError
}

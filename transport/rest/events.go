package rest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"github.com/oz-platform/cloudagents/oz"
	"github.com/oz-platform/cloudagents/task"
	"github.com/oz-platform/cloudagents/transport/api"
)

// defaultEvents is the size of a page of events.
const defaultEvents = 500

// ListRunEvents implements GET /oz/runs/{runId}/events: a page, or a stream
// when the client accepts one.
func (o operations) ListRunEvents(ctx context.Context, r api.ListRunEventsRequestObject) (api.ListRunEventsResponseObject, error) {
	c := callOf(ctx)
	after, err := resumeFrom(c.request, r.Params)
	if err != nil {
		return nil, err
	}
	only, err := eventTypes(r.Params.Types)
	if err != nil {
		return nil, err
	}
	if acceptsStream(c.request) {
		return o.openStream(ctx, c, task.ID(r.RunId), after, streamOptions{presence: r.Params.Presence, only: only})
	}
	if len(only) > 0 {
		events, through, more, err := c.client.EventsOf(ctx, task.ID(r.RunId), after, pageSize(r.Params.Limit), only)
		return filteredPage{eventPage(events), through, more}, err
	}
	events, err := c.client.Events(ctx, task.ID(r.RunId), after, pageSize(r.Params.Limit))
	if err != nil {
		return nil, err
	}
	return eventPage(events), nil
}

// eventTypes reads which events are wanted; none stands for all.
func eventTypes(asked []string) ([]task.EventType, error) {
	var only []task.EventType
	for _, t := range asked {
		only = append(only, task.EventType(t))
	}
	return only, oz.CheckEventTypes(only)
}

// resumeFrom gives the number of the last event that the client has.
func resumeFrom(r *http.Request, p api.ListRunEventsParams) (int64, error) {
	last := r.Header.Get("Last-Event-ID")
	if last == "" {
		return p.After, nil
	}
	after, err := strconv.ParseInt(last, 10, 64)
	if err != nil || after < 0 {
		return 0, task.Invalid("Last-Event-ID", "must be the number of an event")
	}
	return after, nil
}

func acceptsStream(r *http.Request) bool {
	return strings.Contains(strings.Join(r.Header.Values("Accept"), ","), "text/event-stream")
}

// pageSize fills in the default; the platform checks the bounds.
func pageSize(asked int) int {
	if asked == 0 {
		return defaultEvents
	}
	return asked
}

// streamOptions are what a client may want of a stream.
type streamOptions struct {
	presence bool
	only     []task.EventType // empty for all
}

// openStream takes a place among the streams and checks that the caller may
// see the run, while an error can still be answered.
func (h *Handler) openStream(ctx context.Context, c *call, id task.ID, after int64, want streamOptions) (*stream, error) {
	log, err := c.client.Follow(ctx, id, after)
	if err != nil {
		return nil, err
	}
	select {
	case h.streams <- struct{}{}:
	default:
		log.Close()
		return nil, task.Errorf(task.CodeResourceUnavailable, "the server has %d streams open and takes no more; poll the events instead, or try again", cap(h.streams))
	}
	s := &stream{h: h, ctx: ctx, call: c, id: id, log: log, only: want.only, leave: func() { <-h.streams }}
	if want.presence {
		s.crowd = newCrowd(log, h.opts.Clock)
	}
	return s, nil
}

// maxPageBytes is when a page ends although more events were asked for: pages
// are built in memory. The first event is always part of it.
const maxPageBytes = 16 << 20

// eventPage is a page that is cut when it grows too large.
type eventPage []task.Event

// VisitListRunEventsResponse implements api.ListRunEventsResponseObject.
func (p eventPage) VisitListRunEventsResponse(w http.ResponseWriter) error {
	body, n, err := p.encode()
	if err != nil {
		return err
	}
	if n < len(p) {
		body = append(body, `,"more":true`...)
	}
	return writePage(w, body)
}

// encode gives the begin of the page's JSON with its first n events, which are
// as many as fit.
func (p eventPage) encode() (body []byte, n int, err error) {
	body = []byte(`{"events":[`)
	for i, e := range p {
		data, err := json.Marshal(e)
		if err != nil {
			return nil, 0, fmt.Errorf("encode event %d: %w", e.Seq, err)
		}
		if i > 0 && len(body)+len(data) > maxPageBytes {
			break
		}
		if i > 0 {
			body = append(body, ',')
		}
		body = append(body, data...)
		n++
	}
	return append(body, ']'), n, nil
}

func writePage(w http.ResponseWriter, body []byte) error {
	w.Header().Set("Content-Type", "application/json")
	_, err := w.Write(append(body, '}'))
	return err
}

// filteredPage is a page of events of some types.
type filteredPage struct {
	events  eventPage
	through int64 // number of the last event that was looked at
	more    bool
}

// VisitListRunEventsResponse implements api.ListRunEventsResponseObject.
func (p filteredPage) VisitListRunEventsResponse(w http.ResponseWriter) error {
	body, n, err := p.events.encode()
	if err != nil {
		return err
	}
	if n < len(p.events) {
		p.through, p.more = p.events[n-1].Seq, true
	}
	body = strconv.AppendInt(append(body, `,"through":`...), p.through, 10)
	if p.more {
		body = append(body, `,"more":true`...)
	}
	return writePage(w, body)
}

// VisitListExecutionEventsResponse implements api.ListExecutionEventsResponseObject.
func (p eventPage) VisitListExecutionEventsResponse(w http.ResponseWriter) error {
	return p.VisitListRunEventsResponse(w)
}

// isEnd tells the errors by which a stream ends in the ordinary way.
func isEnd(err error) bool { return errors.Is(err, context.Canceled) }

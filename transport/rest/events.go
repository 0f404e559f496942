package rest

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"strings"

	"github.com/oz-platform/cloudagents/task"
	"github.com/oz-platform/cloudagents/transport/api"
)

// Pages of events.
const (
	defaultEvents = 500
	maxEvents     = 1000 // oz.MaxEvents
)

// ListRunEvents implements GET /oz/runs/{runId}/events: a page, or a stream
// when the client accepts one.
func (o operations) ListRunEvents(ctx context.Context, r api.ListRunEventsRequestObject) (api.ListRunEventsResponseObject, error) {
	c := callOf(ctx)
	after, err := resumeFrom(c.request, r.Params)
	if err != nil {
		return nil, err
	}
	if acceptsStream(c.request) {
		return o.openStream(ctx, c, task.ID(r.RunId), after)
	}
	events, err := c.client.Events(ctx, task.ID(r.RunId), after, pageSize(r.Params.Limit))
	if err != nil {
		return nil, err
	}
	return api.ListRunEvents200JSONResponse{Events: present(events)}, nil
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

// present makes an empty list of nil: required arrays are never null.
func present(events []task.Event) []task.Event {
	if events == nil {
		return []task.Event{}
	}
	return events
}

// openStream takes a place among the streams and checks that the caller may
// see the run, while an error can still be answered.
func (h *Handler) openStream(ctx context.Context, c *call, id task.ID, after int64) (*stream, error) {
	if after < 0 {
		return nil, task.Invalid("after", "must be 0 or the number of an event")
	}
	if _, err := c.client.Get(ctx, id); err != nil {
		return nil, err
	}
	select {
	case h.streams <- struct{}{}:
	default:
		return nil, task.Errorf(task.CodeResourceUnavailable, "the server has %d streams open and takes no more; poll the events instead, or try again", cap(h.streams))
	}
	s := &stream{h: h, ctx: ctx, events: c.client.Watch, id: id, after: after}
	context.AfterFunc(ctx, func() { <-h.streams }) // the request's context ends with its handler
	return s, nil
}

// isEnd tells the errors by which a stream ends in the ordinary way.
func isEnd(err error) bool { return errors.Is(err, context.Canceled) }

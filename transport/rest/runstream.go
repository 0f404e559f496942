package rest

import (
	"context"
	"encoding/json"
	"net/http"
	"time"

	"go.uber.org/zap"

	"github.com/oz-platform/cloudagents/oz"
	"github.com/oz-platform/cloudagents/task"
	"github.com/oz-platform/cloudagents/transport/api"
)

// StreamRuns implements GET /oz/runs/stream.
func (o operations) StreamRuns(ctx context.Context, r api.StreamRunsRequestObject) (api.StreamRunsResponseObject, error) {
	c := callOf(ctx)
	if !acceptsStream(c.request) {
		return nil, task.Invalid("Accept", "must be text/event-stream: this is a stream and nothing else")
	}
	select {
	case o.streams <- struct{}{}:
	default:
		return nil, task.Errorf(task.CodeResourceUnavailable, "the server has %d streams open and takes no more; poll the list instead, or try again", cap(o.streams))
	}
	runs, err := c.client.FollowRuns(ctx, r.Params.LastEventID)
	if err != nil {
		<-o.streams
		return nil, err
	}
	return &runStream{h: o.Handler, ops: o, ctx: ctx, call: c, runs: runs, who: c.client}, nil
}

// runStream sends what changes in the list of runs as server-sent events, and
// the caller's new notifications, so that a page needs one connection. Of
// a client that reads slowly the platform keeps nothing but its position: it
// is told to read the list anew when that is too far behind.
type runStream struct {
	h    *Handler
	ops  operations
	ctx  context.Context
	call *call
	runs *oz.RunFollower
	news notices
	who  *oz.Client // with the rights that the caller has now
}

// VisitStreamRunsResponse implements api.StreamRunsResponseObject.
func (s *runStream) VisitStreamRunsResponse(w http.ResponseWriter) error {
	defer func() { <-s.h.streams }()
	defer s.runs.Close()
	head := w.Header()
	head.Set("Content-Type", "text/event-stream")
	head.Set("X-Accel-Buffering", "no") // nginx would keep events back
	out := &streamWriter{w: w, control: http.NewResponseController(w)}
	// The server's limit for reading a request would end the stream with it.
	_ = out.control.SetReadDeadline(time.Time{})
	w.WriteHeader(http.StatusOK)
	if out.send([]byte(": open\n\n")) == nil && s.news.send(s.ctx, s.h, s.who, out) == nil {
		s.copy(out)
	}
	return nil
}

// copy sends changes as they come, until the client or the server has enough,
// or the caller has no rights any more.
func (s *runStream) copy(out *streamWriter) {
	pause, looks := s.h.opts.looks()
	tick := s.h.opts.Clock.After(pause)
	for n := 1; ; {
		changes, more := s.runs.Next()
		for _, change := range changes {
			if err := s.send(out, change); err != nil {
				return
			}
		}
		if more == nil {
			continue
		}
		select {
		case <-more:
		case <-tick:
			tick = s.h.opts.Clock.After(pause)
			if !s.allowed() || s.news.send(s.ctx, s.h, s.who, out) != nil || n%looks == 0 && out.send([]byte(": heartbeat\n\n")) != nil {
				return
			}
			n++
		case <-s.h.stopped:
			return
		case <-s.ctx.Done():
			return
		}
	}
}

// send writes one change.
func (s *runStream) send(out *streamWriter, change oz.RunChange) error {
	var body any = struct{}{}
	switch change.Kind {
	case oz.RunChanged:
		item, err := s.ops.item(s.call, change.Run)
		if err != nil {
			s.h.opts.Logger.Warn("cannot show a run", zap.String("task_id", string(change.RunID)), zap.Error(err))
			return nil
		}
		body = item
	case oz.RunGone:
		body = api.RunGone{RunId: string(change.RunID)}
	}
	data, err := json.Marshal(body)
	if err != nil {
		return err
	}
	frame := make([]byte, 0, len(data)+128)
	frame = append(frame, "id: "+change.Position+"\nevent: "+string(change.Kind)+"\ndata: "...)
	frame = append(frame, data...) // JSON has no line breaks
	return out.send(append(frame, "\n\n"...))
}

// allowed looks again who the caller is and what they may see: a key that was
// revoked must not go on reading by a stream that it opened before. A store
// that does not answer is no reason to end one.
func (s *runStream) allowed() bool {
	caller, err := s.h.authenticate(s.call.request)
	if saysNo(err) {
		return false
	}
	if err == nil {
		s.who = s.h.platform.As(caller)
		s.runs.As(s.who)
	}
	return true
}

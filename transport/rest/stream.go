package rest

import (
	"context"
	"errors"
	"io"
	"net/http"
	"slices"
	"time"

	"go.uber.org/zap"

	"github.com/oz-platform/cloudagents/oz"
	"github.com/oz-platform/cloudagents/task"
)

// stream sends a run's log as server-sent events. The log is the buffer: a
// client that reads slowly holds up its own connection alone, and one that
// does not read at all is dropped after a write's time limit. It sees its
// stream break off, and resumes from the last number it saw.
//
// Most streams wait most of the time, so one that waits has nothing of its own
// but its connection: no goroutine, no buffer, and a small stack.
type stream struct {
	h     *Handler
	ctx   context.Context
	call  *call
	id    task.ID
	log   *oz.Follower
	only  []task.EventType // empty for all
	crowd *crowd           // who else follows the run; nil unless it was asked for
	leave func()           // gives the place among the streams back
}

// VisitListRunEventsResponse implements api.ListRunEventsResponseObject.
func (s *stream) VisitListRunEventsResponse(w http.ResponseWriter) error {
	defer s.leave()
	defer s.log.Close()
	head := w.Header()
	head.Set("Content-Type", "text/event-stream")
	head.Set("X-Accel-Buffering", "no") // nginx would keep events back
	out := &streamWriter{w: w, control: http.NewResponseController(w)}
	// The server's limit for reading a request would end the stream with it.
	_ = out.control.SetReadDeadline(time.Time{})
	w.WriteHeader(http.StatusOK)
	if out.send([]byte(": open\n\n")) == nil {
		s.copy(out)
	}
	return nil
}

// copy sends what the log has and waits when it has nothing, until the client
// or the server has enough.
func (s *stream) copy(out *streamWriter) {
	pause, looks := s.h.opts.looks()
	tick := s.h.opts.Clock.After(pause)
	for n := 1; ; {
		more, ok := s.next(out)
		if !ok {
			return
		}
		select {
		case <-more:
		case <-s.crowd.changed():
			s.crowd.wait()
		case <-s.crowd.due():
			if !s.sendCrowd(out) {
				return
			}
		case <-tick:
			tick = s.h.opts.Clock.After(pause)
			if !s.allowed() || n%looks == 0 && out.send([]byte(": heartbeat\n\n")) != nil {
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

// maxUnseen is how long a stream may go on for one who may not see the run any
// more. What the log itself says of that ends it at once.
const maxUnseen = 4 * time.Second

// looks gives the pause between two looks at the caller's rights, and how many
// of them make the pause between two heartbeats.
func (o Options) looks() (pause time.Duration, perHeartbeat int) {
	perHeartbeat = int((o.StreamHeartbeat + maxUnseen - 1) / maxUnseen)
	return o.StreamHeartbeat / time.Duration(perHeartbeat), perHeartbeat
}

// next sends the next events of the log, or its end. It gives what to wait for
// before it is called again, and whether the stream goes on.
func (s *stream) next(out *streamWriter) (more <-chan struct{}, ok bool) {
	frames, more, err := s.log.Next(s.ctx, maxPending)
	switch {
	case errors.Is(err, io.EOF): // the run's log is complete for now
		_ = out.send([]byte("event: end\ndata: {}\n\n"))
		return nil, false
	case err != nil:
		if !isEnd(err) && !errors.Is(err, task.ErrNotFound) { // that is for one who may not see it any more
			s.h.opts.Logger.Warn("stream ended early", zap.String("task_id", string(s.id)), zap.Error(err))
		}
		return nil, false
	case len(frames) > 0:
		if frames = s.wanted(frames); len(frames) == 0 {
			return goOn, true
		}
		return goOn, out.frames(frames) == nil
	}
	return more, true
}

// wanted are the frames that the client asked for. Frames are shared by all who
// follow the run.
func (s *stream) wanted(frames []oz.Frame) []oz.Frame {
	if len(s.only) == 0 {
		return frames
	}
	var out []oz.Frame
	for _, f := range frames {
		if slices.Contains(s.only, f.Event.Payload.Type()) {
			out = append(out, f)
		}
	}
	return out
}

// goOn is what next gives when there may be more at once.
var goOn = func() <-chan struct{} {
	c := make(chan struct{})
	close(c)
	return c
}()

// allowed looks again whether the caller may see the run: a key that was
// revoked must not go on reading by a stream that it opened before. A store
// that does not answer is no reason to end one. The look needs a large stack,
// which is not to stay with the stream: hence the goroutine.
func (s *stream) allowed() bool {
	answer := make(chan bool, 1)
	go func() { answer <- s.look() }()
	return <-answer
}

func (s *stream) look() bool {
	caller, err := s.h.authenticate(s.call.request)
	if err == nil {
		_, err = s.h.platform.As(caller).Get(s.ctx, s.id)
	}
	return !saysNo(err)
}

// saysNo reports that err, of a look at the caller's rights, is for good.
func saysNo(err error) bool {
	switch task.CodeOf(err) {
	case task.CodeAuthenticationRequired, task.CodeNotAuthorized, task.CodeNotFound, task.CodeFeatureNotAvailable: // the last of a link to a run of a team that wants none any more
		return true
	}
	return false
}

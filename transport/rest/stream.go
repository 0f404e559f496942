package rest

import (
	"context"
	"net/http"
	"strconv"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/oz-platform/cloudagents/oz"
	"github.com/oz-platform/cloudagents/task"
)

// stream sends a run's log as server-sent events. The log is the buffer: a
// client that reads slowly holds up its own connection alone, and one that
// does not read at all is dropped after a write's time limit and resumes from
// the last number it saw.
type stream struct {
	h     *Handler
	ctx   context.Context
	call  *call
	id    task.ID
	after int64
	leave func() // gives the place among the streams back
}

// VisitListRunEventsResponse implements api.ListRunEventsResponseObject.
func (s *stream) VisitListRunEventsResponse(w http.ResponseWriter) error {
	defer s.leave()
	head := w.Header()
	head.Set("Content-Type", "text/event-stream")
	head.Set("X-Accel-Buffering", "no") // nginx would keep events back
	control := http.NewResponseController(w)
	// The server's limit for reading a request would end the stream with it.
	_ = control.SetReadDeadline(time.Time{})
	w.WriteHeader(http.StatusOK)
	out := &streamWriter{w: w, control: control}
	if out.send([]byte(": open\n\n")) != nil {
		return nil // the client is gone
	}
	ctx, cancel := context.WithCancel(s.ctx)
	box := newOutbox()
	var reader sync.WaitGroup
	reader.Go(func() { s.read(ctx, box) })
	defer reader.Wait()
	defer cancel()
	s.copy(box, out)
	return nil
}

// read follows the log until it ends, fails or ctx does.
func (s *stream) read(ctx context.Context, box *outbox) {
	for f, err := range s.call.client.Frames(ctx, s.id, s.after) {
		if err != nil {
			if !isEnd(err) {
				s.h.opts.Logger.Warn("stream ended early", zap.String("task_id", string(s.id)), zap.Error(err))
			}
			box.close(nil)
			return
		}
		if !box.put(ctx, f) {
			return
		}
	}
	box.close([]byte("event: end\ndata: {}\n\n")) // the run's log is complete for now
}

// copy sends what read gives: it gathers what is there, sends it, and only
// waits when there is nothing.
func (s *stream) copy(box *outbox, out *streamWriter) {
	heartbeat := s.h.opts.Clock.After(s.h.opts.StreamHeartbeat)
	for {
		select {
		case <-box.ready:
			frames, last := box.take()
			if out.send(frames) != nil || last {
				return
			}
		case <-heartbeat:
			heartbeat = s.h.opts.Clock.After(s.h.opts.StreamHeartbeat)
			if !s.allowed() || out.send([]byte(": heartbeat\n\n")) != nil {
				return
			}
		case <-s.h.stopped:
			return
		}
	}
}

// allowed looks again whether the caller may see the run: a key that was
// revoked must not go on reading by a stream that it opened before. A store
// that does not answer is no reason to end one.
func (s *stream) allowed() bool {
	caller, err := s.h.authenticate(s.call.request)
	if err == nil {
		_, err = s.h.platform.As(caller).Get(s.ctx, s.id)
	}
	switch task.CodeOf(err) {
	case task.CodeAuthenticationRequired, task.CodeNotAuthorized, task.CodeNotFound:
		return false
	}
	return true
}

// maxPending is how much of a log is read ahead of a connection, in bytes; an
// event that is larger is read alone.
const maxPending = 64 << 10

// outbox hands what a log's reader has to the connection's writer, bounded by
// its size: what comes together is sent together.
type outbox struct {
	ready chan struct{} // receives when there is something to take
	room  chan struct{} // receives when all was taken

	mu     sync.Mutex
	frames []byte
	closed bool
}

func newOutbox() *outbox {
	return &outbox{ready: make(chan struct{}, 1), room: make(chan struct{}, 1)}
}

// put adds an event once there is room. It reports whether the stream goes on.
func (b *outbox) put(ctx context.Context, f oz.Frame) bool {
	for !b.fits(f) {
		select {
		case <-b.room:
		case <-ctx.Done():
			return false
		}
	}
	return true
}

// fits adds an event, unless as much as may wait is waiting.
func (b *outbox) fits(f oz.Frame) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.frames) > 0 && len(b.frames)+len(f.JSON) > maxPending {
		return false
	}
	b.frames = appendFrame(b.frames, f)
	signal(b.ready)
	return true
}

// close adds the last frame, which may be empty.
func (b *outbox) close(last []byte) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.frames, b.closed = append(b.frames, last...), true
	signal(b.ready)
}

// take gives what is there. last says that nothing will follow.
func (b *outbox) take() (frames []byte, last bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	frames, b.frames = b.frames, nil
	signal(b.room)
	return frames, b.closed
}

// signal leaves a sign in c, unless there is one.
func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// appendFrame writes an event as server-sent event (HTML standard, section 9.2).
func appendFrame(to []byte, f oz.Frame) []byte {
	to = append(to, "id: "...)
	to = strconv.AppendInt(to, f.Event.Seq, 10)
	to = append(to, "\nevent: "...)
	to = append(to, f.Event.Payload.Type()...)
	to = append(to, "\ndata: "...)
	to = append(to, f.JSON...) // JSON has no line breaks
	return append(to, "\n\n"...)
}

// streamWriter sends at once what it is given.
type streamWriter struct {
	w       http.ResponseWriter
	control *http.ResponseController
}

// send writes frames, within the time limit that the response has for a write.
func (s *streamWriter) send(frames []byte) error {
	if _, err := s.w.Write(frames); err != nil {
		return err
	}
	return s.control.Flush()
}

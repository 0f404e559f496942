package rest

import (
	"context"
	"iter"
	"net/http"
	"strconv"
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
	h      *Handler
	ctx    context.Context
	frames func(context.Context, task.ID, int64) iter.Seq2[oz.Frame, error]
	id     task.ID
	after  int64
}

// streamBuffer is how many events are read ahead of the connection, so that
// what came together is sent together.
const streamBuffer = 64

// streamItem is one step of the log's iterator.
type streamItem struct {
	frame oz.Frame
	err   error
}

// VisitListRunEventsResponse implements api.ListRunEventsResponseObject.
func (s *stream) VisitListRunEventsResponse(w http.ResponseWriter) error {
	head := w.Header()
	head.Set("Content-Type", "text/event-stream")
	head.Set("X-Accel-Buffering", "no") // nginx would keep events back
	// The server's limit for reading a request would end the stream with it.
	_ = http.NewResponseController(w).SetReadDeadline(time.Time{})
	out := &streamWriter{w: w, control: http.NewResponseController(w), timeout: s.h.opts.StreamWriteTimeout}
	w.WriteHeader(http.StatusOK)
	if err := out.comment("open"); err != nil {
		return nil // the client is gone
	}
	ctx, cancel := context.WithCancel(s.ctx)
	items := make(chan streamItem, streamBuffer)
	go func() {
		defer close(items)
		s.read(ctx, items)
	}()
	defer func() {
		cancel()
		for range items { // wait for the reader
		}
	}()
	s.copy(items, out)
	return nil
}

// read follows the log until it ends, fails or ctx does.
func (s *stream) read(ctx context.Context, items chan<- streamItem) {
	for f, err := range s.frames(ctx, s.id, s.after) {
		select {
		case items <- streamItem{f, err}:
		case <-ctx.Done():
			return
		}
	}
}

// copy sends what read gives: it gathers what is there, sends it, and only
// waits when there is nothing.
func (s *stream) copy(items <-chan streamItem, out *streamWriter) {
	heartbeat := s.h.opts.Clock.After(s.h.opts.StreamHeartbeat)
	for {
		select {
		case item, ok := <-items:
			if !s.send(item, ok, items, out) {
				return
			}
		case <-heartbeat:
			heartbeat = s.h.opts.Clock.After(s.h.opts.StreamHeartbeat)
			if out.comment("heartbeat") != nil {
				return
			}
		case <-s.h.stopped:
			return
		}
	}
}

// send writes an item and all that wait behind it, then flushes. It reports
// whether the stream goes on.
func (s *stream) send(item streamItem, ok bool, items <-chan streamItem, out *streamWriter) bool {
	for {
		switch {
		case !ok:
			_ = out.end()
			return false
		case item.err != nil:
			if !isEnd(item.err) {
				s.h.opts.Logger.Warn("stream ended early", zap.String("task_id", string(s.id)), zap.Error(item.err))
			}
			_ = out.flush()
			return false
		}
		if err := out.event(item.frame); err != nil {
			return false
		}
		select {
		case item, ok = <-items:
		default:
			return out.flush() == nil
		}
	}
}

// streamWriter writes the wire format of server-sent events (HTML standard,
// section 9.2).
type streamWriter struct {
	w       http.ResponseWriter
	control *http.ResponseController
	timeout time.Duration
	buf     []byte
}

// maxPending is when gathered events are sent although more are waiting, in bytes.
const maxPending = 64 << 10

// event adds one event.
func (s *streamWriter) event(f oz.Frame) error {
	s.buf = append(s.buf, "id: "...)
	s.buf = strconv.AppendInt(s.buf, f.Event.Seq, 10)
	s.buf = append(s.buf, "\nevent: "...)
	s.buf = append(s.buf, f.Event.Payload.Type()...)
	s.buf = append(s.buf, "\ndata: "...)
	s.buf = append(s.buf, f.JSON...) // JSON has no line breaks
	s.buf = append(s.buf, "\n\n"...)
	if len(s.buf) >= maxPending {
		return s.write()
	}
	return nil
}

// end says that the run's log is complete for now.
func (s *streamWriter) end() error {
	s.buf = append(s.buf, "event: end\ndata: {}\n\n"...)
	return s.flush()
}

// comment sends what clients pass over.
func (s *streamWriter) comment(text string) error {
	s.buf = append(s.buf, ": "+text+"\n\n"...)
	return s.flush()
}

// write hands what was gathered to the connection, within the time limit.
func (s *streamWriter) write() error {
	if len(s.buf) == 0 {
		return nil
	}
	// A writer without deadlines (a test's recorder) is as patient as it is.
	_ = s.control.SetWriteDeadline(time.Now().Add(s.timeout)) // the kernel's clock, not ours
	_, err := s.w.Write(s.buf)
	s.buf = s.buf[:0]
	return err
}

func (s *streamWriter) flush() error {
	if err := s.write(); err != nil {
		return err
	}
	return s.control.Flush()
}

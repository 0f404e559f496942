package rest

import (
	"net/http"
	"strconv"
	"sync"

	"github.com/oz-platform/cloudagents/oz"
)

// maxPending is how much of a log is read ahead of a connection, in bytes; an
// event that is larger is read alone.
const maxPending = 64 << 10

// buffers are shared by all streams: each has one only while it sends.
var buffers = sync.Pool{New: func() any {
	b := make([]byte, 0, maxPending+maxPending/4) // with what stands around the events
	return &b
}}

// streamWriter sends at once what it is given.
type streamWriter struct {
	w       http.ResponseWriter
	control *http.ResponseController
}

// frames sends events that were read together with one write.
func (s *streamWriter) frames(frames []oz.Frame) error {
	if len(frames) == 1 && len(frames[0].JSON) > maxPending {
		return s.large(frames[0])
	}
	b := buffers.Get().(*[]byte)
	defer buffers.Put(b)
	*b = (*b)[:0]
	for i := range frames {
		*b = appendFrame(*b, &frames[i])
	}
	return s.send(*b)
}

// large sends an event without a copy of it.
func (s *streamWriter) large(f oz.Frame) error {
	if _, err := s.w.Write(appendHead(nil, &f)); err != nil {
		return err
	}
	if _, err := s.w.Write(f.JSON); err != nil {
		return err
	}
	return s.send([]byte("\n\n"))
}

// send writes data, within the time limit that the response has for a write.
func (s *streamWriter) send(data []byte) error {
	if _, err := s.w.Write(data); err != nil {
		return err
	}
	return s.control.Flush()
}

// appendFrame writes an event as server-sent event (HTML standard, section 9.2).
func appendFrame(to []byte, f *oz.Frame) []byte {
	to = append(appendHead(to, f), f.JSON...) // JSON has no line breaks
	return append(to, "\n\n"...)
}

// appendHead writes what stands before an event's data.
func appendHead(to []byte, f *oz.Frame) []byte {
	to = append(to, "id: "...)
	to = strconv.AppendInt(to, f.Event.Seq, 10)
	to = append(to, "\nevent: "...)
	to = append(to, f.Event.Payload.Type()...)
	return append(to, "\ndata: "...)
}

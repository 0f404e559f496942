package raw

import (
	"fmt"
	"net/http"
	"sync"
)

// Stream is a log in memory that is served as server-sent events: the limit
// for a fan-out. Each subscriber is a position in the log, and sends all that
// is new with one write and one flush.
type Stream struct {
	mu    sync.Mutex
	log   []byte        // the events as they go over the wire
	count int           // of events
	more  chan struct{} // closed at the next Publish
}

// NewStream returns an empty log.
func NewStream() *Stream { return &Stream{more: make(chan struct{})} }

// Publish adds events.
func (s *Stream) Publish(kind string, data ...[]byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, d := range data {
		s.count++
		s.log = fmt.Appendf(s.log, "id: %d\nevent: %s\ndata: %s\n\n", s.count, kind, d)
	}
	close(s.more)
	s.more = make(chan struct{})
}

// after gives what follows a position, and what tells of more.
func (s *Stream) after(position int) (data []byte, more <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.log[position:len(s.log):len(s.log)], s.more // bytes that are written never change
}

// ServeHTTP implements http.Handler.
func (s *Stream) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "text/event-stream")
	control := http.NewResponseController(w)
	if _, err := w.Write([]byte(": open\n\n")); err != nil || control.Flush() != nil {
		return
	}
	for position := 0; ; {
		data, more := s.after(position)
		if len(data) == 0 {
			select {
			case <-more:
				continue
			case <-r.Context().Done():
				return
			}
		}
		if _, err := w.Write(data); err != nil || control.Flush() != nil {
			return
		}
		position += len(data)
	}
}

package rest

import (
	"net/http"
	"slices"
	"time"

	"github.com/google/uuid"
)

// response remembers whether an answer has begun, so that a late failure cuts
// the connection instead of adding a second answer to the first. It bounds the
// time of each write: a client that reads nothing would hold its answer in
// memory for as long as it likes.
type response struct {
	http.ResponseWriter
	id      string
	control *http.ResponseController
	timeout time.Duration // of one write
	wrote   bool
}

func newResponse(w http.ResponseWriter, id string, timeout time.Duration) *response {
	return &response{ResponseWriter: w, id: id, control: http.NewResponseController(w), timeout: timeout}
}

// WriteHeader implements http.ResponseWriter.
func (w *response) WriteHeader(status int) {
	w.wrote = true
	w.extend()
	w.ResponseWriter.WriteHeader(status)
}

// maxWrite is how much one write's time limit is for, in bytes: a slow client
// gets a large answer as long as it takes some of it.
const maxWrite = 256 << 10

// Write implements http.ResponseWriter.
func (w *response) Write(b []byte) (n int, err error) {
	w.wrote = true
	for chunk := range slices.Chunk(b, maxWrite) {
		w.extend()
		m, err := w.ResponseWriter.Write(chunk)
		if n += m; err != nil {
			return n, err
		}
	}
	return n, nil
}

// extend gives the next write its time. A writer without deadlines (a test's
// recorder) is as patient as it is.
func (w *response) extend() {
	_ = w.control.SetWriteDeadline(time.Now().Add(w.timeout)) // the kernel's clock, not ours
}

// Unwrap lets http.ResponseController reach flushing and deadlines.
func (w *response) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// begun reports whether w has sent anything.
func begun(w http.ResponseWriter) bool {
	rw, ok := w.(*response)
	return ok && rw.wrote
}

// maxRequestID bounds an id that a client or proxy chose, in bytes.
const maxRequestID = 64

// requestID takes the caller's id if it is fit for a log, or makes one.
func requestID(r *http.Request) string {
	id := r.Header.Get("X-Request-Id")
	ok := id != "" && len(id) <= maxRequestID
	for _, c := range []byte(id) {
		ok = ok && (c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '_' || c == '.')
	}
	if !ok {
		return uuid.NewString()
	}
	return id
}

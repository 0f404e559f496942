package rest

import (
	"net/http"

	"github.com/google/uuid"
)

// response remembers whether an answer has begun, so that a late failure cuts
// the connection instead of adding a second answer to the first.
type response struct {
	http.ResponseWriter
	id    string
	wrote bool
}

// WriteHeader implements http.ResponseWriter.
func (w *response) WriteHeader(status int) {
	w.wrote = true
	w.ResponseWriter.WriteHeader(status)
}

// Write implements http.ResponseWriter.
func (w *response) Write(b []byte) (int, error) {
	w.wrote = true
	return w.ResponseWriter.Write(b)
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

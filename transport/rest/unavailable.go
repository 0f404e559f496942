package rest

import (
	"net/http"

	"github.com/oz-platform/cloudagents/task"
)

// Unavailable returns a handler that answers every request, health checks too,
// with 503 and a problem that tells clients to try again. It serves in place
// of a Handler as long as there is no store to make one over.
func Unavailable(message string) http.Handler {
	o, _ := (*Options)(nil).withDefaults() // the defaults are valid
	h := &Handler{opts: o}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h.fail(h.answer(w, r), r, &statusError{http.StatusServiceUnavailable, task.Errorf(task.CodeResourceUnavailable, "%s", message)})
	})
}

package rest

import (
	"errors"
	"io"
	"maps"
	"net/http"
	"slices"

	"github.com/oz-platform/cloudagents/oz/access"
	"github.com/oz-platform/cloudagents/task"
	"github.com/oz-platform/cloudagents/trigger"
)

// webhookPath is where origins listen: beside the API, not below its prefix,
// since its addresses are given to others (Oz platform, WHK-2).
const webhookPath = "POST /webhooks/{origin}/{path...}"

// webhook takes what an origin sends. Who that is, is for the origin to find
// out: these requests carry no key of ours. The content type is not looked at.
func (h *Handler) webhook(w http.ResponseWriter, r *http.Request) {
	r = r.WithContext(access.WithOrigin(r.Context(), access.Origin{RequestID: w.Header().Get("X-Request-Id"), Remote: remote(r)}))
	reply, err := h.receive(w, r)
	if err != nil {
		h.fail(w, r, err)
		return
	}
	for _, name := range slices.Sorted(maps.Keys(reply.Header)) {
		w.Header().Set(name, reply.Header[name])
	}
	w.WriteHeader(reply.Status)
	_, _ = w.Write(reply.Body)
}

func (h *Handler) receive(w http.ResponseWriter, r *http.Request) (trigger.Reply, error) {
	engine, origin := h.platform.Triggers(), r.PathValue("origin")
	if engine == nil {
		return trigger.Reply{}, task.Errorf(task.CodeNotFound, "nothing listens here")
	}
	limit, ok := engine.MaxBody(origin)
	if !ok {
		return trigger.Reply{}, task.Errorf(task.CodeNotFound, "nothing listens here")
	}
	in := trigger.Request{Path: r.PathValue("path"), Query: r.URL.Query(), Header: r.Header}
	if r.ContentLength > limit {
		return trigger.Reply{}, h.tooLarge(r, engine, origin, in, limit)
	}
	var err error
	in.Body, err = io.ReadAll(http.MaxBytesReader(w, r.Body, limit))
	var tooLarge *http.MaxBytesError
	if errors.As(err, &tooLarge) {
		return trigger.Reply{}, h.tooLarge(r, engine, origin, in, limit)
	}
	if err != nil {
		return trigger.Reply{}, task.Errorf(task.CodeInvalidRequest, "the body ended early")
	}
	return engine.Receive(r.Context(), origin, in)
}

// tooLarge leaves a line about a body that was not read.
func (h *Handler) tooLarge(r *http.Request, engine *trigger.Engine, origin string, in trigger.Request, limit int64) error {
	cause := &statusError{http.StatusRequestEntityTooLarge,
		task.Errorf(task.CodeInvalidRequest, "the body has more than the %d bytes allowed here", limit)}
	return engine.Refuse(r.Context(), origin, in, cause)
}

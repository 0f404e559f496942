package rest

import (
	"context"
	"encoding/json"
	"net/http"
	"time"

	"go.uber.org/zap"

	"github.com/oz-platform/cloudagents/task"
	"github.com/oz-platform/cloudagents/transport/api"
)

// healthTimeout bounds how long a store may take to answer a health check.
const healthTimeout = 5 * time.Second

// healthz answers 200 as long as the store does.
func (h *Handler) healthz(w http.ResponseWriter, r *http.Request) {
	if !h.storeAnswers(r) {
		h.fail(w, r, &statusError{http.StatusServiceUnavailable, task.Errorf(task.CodeResourceUnavailable, "the store does not answer")})
		return
	}
	writeJSON(w, api.Health{Status: "ok"})
}

// readyz answers 200 as long as the server takes new work.
func (h *Handler) readyz(w http.ResponseWriter, r *http.Request) {
	if h.platform.Draining() {
		h.fail(w, r, &statusError{http.StatusServiceUnavailable, task.Errorf(task.CodeResourceUnavailable, "the server is shutting down")})
		return
	}
	h.healthz(w, r)
}

func (h *Handler) storeAnswers(r *http.Request) bool {
	ctx, cancel := context.WithTimeout(r.Context(), healthTimeout)
	defer cancel()
	err := h.platform.Healthy(ctx)
	if err != nil {
		h.opts.Logger.Warn("health check failed", zap.Error(err))
	}
	return err == nil
}

func writeJSON(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(v) // the client may be gone
}

// GetOpenAPI implements GET /openapi.json.
func (o operations) GetOpenAPI(context.Context, api.GetOpenAPIRequestObject) (api.GetOpenAPIResponseObject, error) {
	return openAPI{}, nil
}

// openAPI is the contract as it stands, not decoded and encoded again.
type openAPI struct{}

// VisitGetOpenAPIResponse implements api.GetOpenAPIResponseObject.
func (openAPI) VisitGetOpenAPIResponse(w http.ResponseWriter) error {
	w.Header().Set("Content-Type", "application/json")
	_, err := w.Write(api.OpenAPI())
	return err
}

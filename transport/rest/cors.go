package rest

import (
	"net/http"
	"slices"
	"strings"
)

// What browsers may send and read across origins. A preflight lists the
// headers it wants: those of the SDKs begin with X-Stainless- (Oz API, CORS).
const (
	corsMethods = "GET, HEAD, POST, PUT, DELETE, OPTIONS"
	corsHeaders = "Authorization, Content-Type, Idempotency-Key, Last-Event-ID, Prefer, X-Oz-Link, X-Request-Id"
	corsExposed = "Location, Retry-After, X-Request-Id, retry-after-ms, x-should-retry"
	corsMaxAge  = "600" // seconds; what most browsers keep at least
)

// cors sets the headers for cross-origin callers, and answers preflights: then
// it returns true.
func (h *Handler) cors(w http.ResponseWriter, r *http.Request) bool {
	origin := r.Header.Get("Origin")
	if origin == "" {
		return false
	}
	head := w.Header()
	preflight := r.Method == http.MethodOptions && r.Header.Get("Access-Control-Request-Method") != ""
	switch {
	case h.opts.CORSOrigins == nil:
		head.Set("Access-Control-Allow-Origin", "*")
	case slices.Contains(h.opts.CORSOrigins, origin):
		head.Set("Access-Control-Allow-Origin", origin)
		head.Add("Vary", "Origin")
	default:
		head.Add("Vary", "Origin")
		if preflight {
			w.WriteHeader(http.StatusNoContent) // without the header the browser refuses
		}
		return preflight
	}
	head.Set("Access-Control-Expose-Headers", corsExposed)
	if !preflight {
		return false
	}
	head.Set("Access-Control-Allow-Methods", corsMethods)
	head.Set("Access-Control-Allow-Headers", allowedHeaders(r.Header.Get("Access-Control-Request-Headers")))
	head.Set("Access-Control-Max-Age", corsMaxAge)
	w.WriteHeader(http.StatusNoContent)
	return true
}

// maxStainless bounds how many headers of the SDKs a preflight may name.
const maxStainless = 32

// allowedHeaders adds to ours those that the SDKs ask for; a wildcard does not
// work together with Authorization.
func allowedHeaders(requested string) string {
	allowed := []string{corsHeaders}
	for name := range strings.SplitSeq(requested, ",") {
		name = strings.TrimSpace(name)
		if strings.HasPrefix(strings.ToLower(name), "x-stainless-") && plainToken(name) && len(allowed) <= maxStainless {
			allowed = append(allowed, name)
		}
	}
	return strings.Join(allowed, ", ")
}

// plainToken reports that a header's name holds letters, digits and dashes only.
func plainToken(s string) bool {
	return strings.Trim(strings.ToLower(s), "abcdefghijklmnopqrstuvwxyz0123456789-") == ""
}

package gateway

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// requestHeaders pass from the harness to the provider: what the wire needs,
// and nothing that identifies the machine or holds a credential. Host and
// length are the transport's.
func requestHeaders() []string {
	return []string{"Accept", "Content-Type", "User-Agent", "Anthropic-Version", "Anthropic-Beta", "Openai-Beta", "Idempotency-Key"}
}

// setHeader makes the header of a request to e out of the harness's.
func (e *endpoint) setHeader(to, from http.Header) {
	for _, name := range requestHeaders() {
		if values := from.Values(name); len(values) > 0 {
			to[name] = slices.Clone(values)
		}
	}
	if to.Get("Content-Type") == "" {
		to.Set("Content-Type", "application/json")
	}
	if to.Get("User-Agent") == "" {
		to.Set("User-Agent", "oz-model-gateway")
	}
	to.Set("Accept-Encoding", "identity")
	switch {
	case e.APIKey.IsZero():
	case e.Wire == Anthropic && !e.BearerAuth:
		to.Set("X-Api-Key", e.APIKey.Reveal())
	case e.Wire == Gemini && !e.BearerAuth:
		to.Set("X-Goog-Api-Key", e.APIKey.Reveal())
	default:
		to.Set("Authorization", "Bearer "+e.APIKey.Reveal())
	}
}

// passesBack reports whether a header of the provider is the harness's business:
// the type, the request's number, limits and pauses. Cookies and the account's
// name are not.
func passesBack(name string) bool {
	switch name {
	case "Content-Type", "Cache-Control", "Request-Id", "X-Request-Id", "Retry-After", "Retry-After-Ms", "Openai-Processing-Ms", "Openai-Version":
		return true
	}
	return strings.HasPrefix(name, "Anthropic-Ratelimit-") || strings.HasPrefix(name, "X-Ratelimit-")
}

// passedQuery is the query of a request to a provider: the harness's, byte for
// byte, but for what would carry a credential. Clients of the Gemini API may put
// the run's token there.
func passedQuery(raw string) string {
	parts := strings.Split(raw, "&")
	kept := slices.DeleteFunc(slices.Clone(parts), func(part string) bool {
		name, _, _ := strings.Cut(part, "=")
		name, err := url.QueryUnescape(name)
		return err != nil || slices.Contains(credentialParameters(), strings.ToLower(name))
	})
	if len(kept) == len(parts) {
		return raw
	}
	return strings.Join(kept, "&")
}

// credentialParameters are the query parameters by which Google's APIs take
// credentials (Google APIs, system parameters), in lower case.
func credentialParameters() []string {
	return []string{"key", "$key", "access_token", "$access_token", "oauth_token", "$oauth_token"}
}

func (x *exchange) copyHeader(from http.Header) {
	to := x.w.Header()
	for name, values := range from {
		if !passesBack(name) {
			continue
		}
		for _, v := range values {
			to.Add(name, x.g.scrub.text(v))
		}
	}
}

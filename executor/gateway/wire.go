package gateway

import (
	"encoding/json"
	"net/http"
)

// Wire is a family of protocols with its own paths, headers and error shape.
type Wire string

// The wires the gateway speaks.
const (
	// Anthropic is the Messages API.
	Anthropic Wire = "anthropic"
	// OpenAI is the Responses and the Chat Completions API.
	OpenAI Wire = "openai"
)

// defaultBaseURL is the vendor's endpoint, as its SDK spells the base URL.
func (w Wire) defaultBaseURL() string {
	if w == Anthropic {
		return "https://api.anthropic.com"
	}
	return "https://api.openai.com/v1"
}

// API is one operation of a wire.
type API string

// The operations the gateway passes on.
const (
	Messages        API = "messages"
	CountTokens     API = "count_tokens"
	Responses       API = "responses"
	ChatCompletions API = "chat_completions"
)

// Wire is the family that a belongs to.
func (a API) Wire() Wire {
	if a == Messages || a == CountTokens {
		return Anthropic
	}
	return OpenAI
}

// upstreamPath is what follows a provider's base URL. The vendors differ in
// whether the base URL holds the version (see [Provider.BaseURL]).
func (a API) upstreamPath() string {
	switch a {
	case Messages:
		return "/v1/messages"
	case CountTokens:
		return "/v1/messages/count_tokens"
	case Responses:
		return "/responses"
	default:
		return "/chat/completions"
	}
}

// metered reports whether a spends tokens. Counting tokens is free
// (Anthropic, token counting).
func (a API) metered() bool { return a != CountTokens }

// apiOf finds the operation behind a path of the gateway.
func apiOf(path string) (API, bool) {
	switch path {
	case "/anthropic/v1/messages":
		return Messages, true
	case "/anthropic/v1/messages/count_tokens":
		return CountTokens, true
	case "/openai/v1/responses":
		return Responses, true
	case "/openai/v1/chat/completions":
		return ChatCompletions, true
	}
	return "", false
}

// ErrorHeader carries the [Class] of a failed call to the harness.
const ErrorHeader = "X-Oz-Error-Class"

// refusal is an answer the gateway gives itself.
type refusal struct {
	status  int
	class   Class
	message string
}

// write sends r in the error shape of wire. The harness must not retry: what
// was worth a retry has been retried here.
func (r refusal) write(w http.ResponseWriter, wire Wire) {
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("X-Should-Retry", "false")
	h.Set(ErrorHeader, string(r.class))
	w.WriteHeader(r.status)
	_ = json.NewEncoder(w).Encode(r.body(wire)) // the client is gone: nobody to tell
}

// body is the wire's error document. Both have room for a code.
func (r refusal) body(wire Wire) any {
	if wire == Anthropic {
		return map[string]any{
			"type":  "error",
			"error": map[string]any{"type": anthropicErrorType(r.status), "message": r.message, "code": string(r.class)},
		}
	}
	return map[string]any{
		"error": map[string]any{"message": r.message, "type": openAIErrorType(r.status), "param": nil, "code": string(r.class)},
	}
}

// anthropicErrorType is the type of an error by its status (Anthropic API, errors).
func anthropicErrorType(status int) string {
	switch status {
	case http.StatusUnauthorized:
		return "authentication_error"
	case http.StatusForbidden:
		return "permission_error"
	case http.StatusNotFound:
		return "not_found_error"
	case http.StatusRequestEntityTooLarge:
		return "request_too_large"
	case http.StatusTooManyRequests:
		return "rate_limit_error"
	case http.StatusGatewayTimeout:
		return "timeout_error"
	}
	if status >= 500 {
		return "api_error"
	}
	return "invalid_request_error"
}

// openAIErrorType is the type of an error by its status (OpenAI API, error codes).
func openAIErrorType(status int) string {
	switch {
	case status == http.StatusForbidden:
		return "permission_error"
	case status == http.StatusTooManyRequests:
		return "rate_limit_error"
	case status >= 500:
		return "server_error"
	}
	return "invalid_request_error"
}

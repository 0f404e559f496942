package gateway

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
)

// Wire is a family of protocols with its own paths, headers and error shape.
type Wire string

// The wires the gateway speaks.
const (
	// Anthropic is the Messages API.
	Anthropic Wire = "anthropic"
	// OpenAI is the Responses, the Chat Completions and the Embeddings API.
	OpenAI Wire = "openai"
	// Gemini is the Gemini API (generateContent).
	Gemini Wire = "gemini"
)

// wires are all of them, in the order in which they are looked through.
func wires() []Wire { return []Wire{Anthropic, OpenAI, Gemini} }

// defaultBaseURL is the vendor's endpoint, as its SDK spells the base URL.
func (w Wire) defaultBaseURL() string {
	switch w {
	case Anthropic:
		return "https://api.anthropic.com"
	case Gemini:
		return "https://generativelanguage.googleapis.com"
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
	// Embeddings is OpenAI's, which many servers have as well.
	Embeddings API = "embeddings"
	// GenerateContent is Gemini's generateContent and streamGenerateContent.
	GenerateContent API = "generate_content"
	// GeminiCountTokens is Gemini's countTokens.
	GeminiCountTokens API = "gemini_count_tokens"
)

// Wire is the family that a belongs to.
func (a API) Wire() Wire {
	switch a {
	case Messages, CountTokens:
		return Anthropic
	case GenerateContent, GeminiCountTokens:
		return Gemini
	}
	return OpenAI
}

// metered reports whether a spends tokens. Counting tokens is free
// (Anthropic, token counting; Gemini API, countTokens).
func (a API) metered() bool { return a != CountTokens && a != GeminiCountTokens }

// operation is what a request's path says.
type operation struct {
	api API
	// model is in the path on the Gemini wire; elsewhere it is in the body.
	model string
	// stream says that the answer is a stream of events; elsewhere the body does.
	stream bool
	// path is what follows a provider's base URL. The vendors differ in whether
	// the base URL holds the version (see [Provider.BaseURL]). On the Gemini
	// wire it has a %s for the model.
	path string
}

// upstreamPath is the path below a provider's base URL when model is asked there.
func (op operation) upstreamPath(model string) string {
	if op.api.Wire() == Gemini {
		return fmt.Sprintf(op.path, model)
	}
	return op.path
}

// operationOf finds the operation behind a URL of the gateway.
func operationOf(u *url.URL) (operation, bool) {
	switch u.Path {
	case "/anthropic/v1/messages":
		return operation{api: Messages, path: "/v1/messages"}, true
	case "/anthropic/v1/messages/count_tokens":
		return operation{api: CountTokens, path: "/v1/messages/count_tokens"}, true
	case "/openai/v1/responses":
		return operation{api: Responses, path: "/responses"}, true
	case "/openai/v1/chat/completions":
		return operation{api: ChatCompletions, path: "/chat/completions"}, true
	case "/openai/v1/embeddings":
		return operation{api: Embeddings, path: "/embeddings"}, true
	}
	return geminiOperation(u)
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

// body is the wire's error document. Each has room for a code.
func (r refusal) body(wire Wire) any {
	switch wire {
	case Gemini:
		return geminiError(r)
	case Anthropic:
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

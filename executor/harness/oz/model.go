package ozagent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"

	"github.com/oz-platform/cloudagents/executor/gateway"
	"github.com/oz-platform/cloudagents/task"
)

// categoryHeader tells the gateway what a call is for; without it the call is
// the primary agent's.
const (
	categoryHeader     = "X-Oz-Category"
	categoryCompaction = "conversation_compaction"
)

// model asks a model for one answer. Each provider's wire is one.
type model interface {
	// turn sends req and gives the parts of the answer to on as they arrive.
	// An error of on ends the turn. Its own errors are *modelError, or ctx's.
	turn(ctx context.Context, req request, on func(delta) error) (ending, error)
}

// request is one call in the words of no wire.
type request struct {
	model     string
	system    string
	items     []item
	tools     []tool
	maxOutput int64  // tokens
	effort    string // "low", "medium", "high", or "" for the provider's default
	category  string // "" is the primary agent
}

// deltaKind says what a delta is.
type deltaKind int

const (
	deltaText      deltaKind = iota // a piece of text
	deltaReasoning                  // a piece of the model's thinking
	deltaEnd                        // the block under way is complete
	deltaCall                       // a whole tool call
)

// delta is a part of an answer.
type delta struct {
	kind deltaKind
	text string
	// opaque goes with the deltaEnd of a reasoning block.
	opaque *opaque
	call   wireCall
}

// wireCall is a tool call as the model made it. input may be anything.
type wireCall struct{ id, name, input string }

// opaque is what a provider wants back with a reasoning block. It is kept in
// the log as JSON, and only sent to the wire it came from.
type opaque struct {
	Wire      string `json:"wire"`
	Signature string `json:"signature,omitempty"` // anthropic
	Redacted  string `json:"redacted,omitempty"`  // anthropic
	ID        string `json:"id,omitempty"`        // openai
	Encrypted string `json:"encrypted,omitempty"` // openai
}

// ending says how an answer ended.
type ending struct {
	model, requestID string
	stop             stopReason
}

// stopReason is why the model stopped.
type stopReason string

const (
	stopDone    stopReason = "end_turn"
	stopTools   stopReason = "tool_use"
	stopLength  stopReason = "max_tokens"
	stopRefusal stopReason = "refusal"
)

// modelError is a call that gave no usable answer.
type modelError struct {
	class   gateway.Class
	message string // for people; no credential, no URL
	err     error
}

func (e *modelError) Error() string { return e.message }
func (e *modelError) Unwrap() error { return e.err }

// transient reports that the same turn may go well at once: the answer broke
// off. What failed before its first byte has been retried by the gateway.
func (e *modelError) transient() bool {
	return e.class == gateway.ClassStreamCut || e.class == gateway.ClassInvalidResponse
}

// httpFailure makes the error of an answer that is no stream. body is the
// provider's error document.
func httpFailure(res *http.Response, status int, body string, cause error) *modelError {
	e := &modelError{err: cause, message: wireMessage(body)}
	if res != nil {
		e.class = gateway.Class(res.Header.Get(gateway.ErrorHeader))
	}
	if e.class == gateway.ClassNone {
		e.class = classOf(status)
	}
	if e.message == "" {
		e.message = fmt.Sprintf("the model endpoint answered with status %d", status)
	}
	return e
}

// classOf stands in for a gateway that does not name the class.
func classOf(status int) gateway.Class {
	switch {
	case status == http.StatusUnauthorized || status == http.StatusForbidden:
		return gateway.ClassProviderAuth
	case status == http.StatusNotFound:
		return gateway.ClassModelNotFound
	case status == http.StatusTooManyRequests:
		return gateway.ClassRateLimited
	case status >= 500:
		return gateway.ClassProviderError
	}
	return gateway.ClassInvalidRequest
}

// wireMessage takes the words out of an error document of either wire.
func wireMessage(body string) string {
	var doc struct {
		Error   json.RawMessage `json:"error"`
		Message string          `json:"message"`
	}
	if json.Unmarshal([]byte(body), &doc) != nil {
		return ""
	}
	var inner struct {
		Message string `json:"message"`
	}
	if json.Unmarshal(doc.Error, &inner) == nil && inner.Message != "" {
		return inner.Message
	}
	return doc.Message
}

// streamFailure sorts an error that is no HTTP answer.
func streamFailure(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	var already *modelError
	if errors.As(err, &already) {
		return err
	}
	var dial *net.OpError
	if errors.As(err, &dial) && dial.Op == "dial" {
		return &modelError{class: gateway.ClassUnreachable, message: "the model gateway cannot be reached", err: err}
	}
	message := "the model's answer could not be read"
	class := gateway.ClassInvalidResponse
	if errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF) || errors.As(err, &dial) {
		message, class = "the model's answer broke off", gateway.ClassStreamCut
	}
	return &modelError{class: class, message: message, err: err}
}

// cutShort is the error of a stream that ended without its last event.
func cutShort() *modelError {
	return &modelError{class: gateway.ClassStreamCut, message: "the model's answer broke off", err: io.ErrUnexpectedEOF}
}

// code is the platform's error code for a run that ends by e.
func (e *modelError) code() task.Code {
	switch e.class {
	case gateway.ClassModelNotFound:
		return task.CodeInvalidRequest // the user named the model
	case gateway.ClassNone:
		return task.CodeInternal
	}
	return e.class.Code()
}

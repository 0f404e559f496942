package gateway

import (
	"time"

	"github.com/oz-platform/cloudagents/task"
)

// CategoryHeader is the request header by which a harness may say what a call
// is for, such as "conversation_compaction". It is not passed on.
const CategoryHeader = "X-Oz-Category"

// maxCategory bounds Call.Category, in bytes.
const maxCategory = 64

// Class says what kind of trouble a call had. The set is closed.
type Class string

// The classes of calls. Unless noted, the call had no usable answer.
const (
	// ClassNone is a call that went well.
	ClassNone Class = ""
	// ClassUnauthorized is a caller without the run's token. It makes no Call.
	ClassUnauthorized Class = "unauthorized"
	// ClassNotFound is a path or method the gateway does not have. It makes no Call.
	ClassNotFound Class = "not_found"
	// ClassInvalidRequest is a body the gateway or the provider refused.
	ClassInvalidRequest Class = "invalid_request"
	// ClassContextTooLong is a conversation that does not fit the model; compact it.
	ClassContextTooLong Class = "context_too_long"
	// ClassModelNotFound is a model nobody serves.
	ClassModelNotFound Class = "model_not_found"
	// ClassBudget is a call that the remaining budget does not cover.
	ClassBudget Class = "budget_exceeded"
	// ClassProviderAuth is a key the provider refused.
	ClassProviderAuth Class = "provider_auth"
	// ClassProviderQuota is an account at the provider without credit.
	ClassProviderQuota Class = "provider_quota"
	// ClassRateLimited is a 429 after all attempts.
	ClassRateLimited Class = "rate_limited"
	// ClassProviderError is a 5xx of the provider after all attempts, or an
	// error inside a stream.
	ClassProviderError Class = "provider_error"
	// ClassUnreachable is a provider without an answer after all attempts.
	ClassUnreachable Class = "unreachable"
	// ClassTimeout is a provider that fell silent.
	ClassTimeout Class = "timeout"
	// ClassStreamCut is a stream that ended before its last event; what came was passed on.
	ClassStreamCut Class = "stream_cut"
	// ClassInvalidResponse is an answer that is not the wire's; it was passed on.
	ClassInvalidResponse Class = "invalid_response"
	// ClassCancelled is a harness that hung up.
	ClassCancelled Class = "cancelled"
)

// Code is the platform's error code for a run that ends because of c; empty
// for ClassNone and ClassCancelled, which end no run.
func (c Class) Code() task.Code {
	switch c {
	case ClassNone, ClassCancelled:
		return ""
	case ClassUnauthorized:
		return task.CodeAuthenticationRequired
	case ClassInvalidRequest, ClassContextTooLong:
		return task.CodeInvalidRequest
	case ClassModelNotFound, ClassNotFound:
		return task.CodeNotFound
	case ClassBudget:
		return task.CodeBudgetExceeded
	case ClassProviderAuth, ClassProviderQuota:
		return task.CodeExternalAuthRequired
	}
	return task.CodeResourceUnavailable
}

// Attempt is one request to one provider.
type Attempt struct {
	// Provider and Model are whom was asked for what.
	Provider string `json:"provider"`
	Model    string `json:"model"`
	// Status is the HTTP status; 0 when there was no answer.
	Status int `json:"status,omitempty"`
	// Class is the trouble, if any.
	Class Class `json:"class,omitempty"`
	// Duration is from sending to a stream's first bytes, a whole answer's last, or the trouble.
	Duration time.Duration `json:"duration_ns"`
	// Wait is how long the gateway waited before the next attempt.
	Wait time.Duration `json:"wait_ns,omitempty"`
}

// Call is what happened in one call of a harness.
type Call struct {
	// Number counts the calls of a gateway from Options.FirstCall.
	Number int64 `json:"number"`
	// API is the operation.
	API API `json:"api"`
	// Category is what the harness says the call is for, from [CategoryHeader];
	// empty when it says nothing.
	Category string `json:"category,omitempty"`
	// ModelAsked is the model as the harness named it, Model what was used for
	// the last attempt, ModelServed what the provider says it was.
	ModelAsked  string `json:"model_asked"`
	Model       string `json:"model"`
	ModelServed string `json:"model_served,omitempty"`
	// Provider is the provider of the last attempt, empty if none was made.
	Provider string `json:"provider,omitempty"`
	// Fallback is set when another than the first choice answered last.
	Fallback bool `json:"fallback,omitempty"`
	// Attempts are the requests made, in order.
	Attempts []Attempt `json:"attempts,omitempty"`
	// Status is what the harness got.
	Status int `json:"status"`
	// Class is the trouble of the call as a whole.
	Class Class `json:"class,omitempty"`
	// Message explains Class in words for a user, without any credential.
	Message string `json:"message,omitempty"`
	// Streamed tells whether the answer was a stream.
	Streamed bool `json:"streamed,omitempty"`
	// RequestID is the provider's, for its support.
	RequestID string `json:"request_id,omitempty"`
	// StopReason is why the model stopped, in the wire's words.
	StopReason string `json:"stop_reason,omitempty"`
	// Started is when the request had been read.
	Started time.Time `json:"started"`
	// FirstByte is the time until the first byte of the answer; 0 if there was
	// none. Total is the time until the end.
	FirstByte time.Duration `json:"first_byte_ns,omitempty"`
	Total     time.Duration `json:"total_ns"`
	// Usage is what was spent.
	Usage Usage `json:"usage"`
	// Reservation names what Options.Reserve may hold for the call; "" for nothing.
	Reservation string `json:"reservation,omitempty"`
	// UsageEstimated is set when the provider did not tell (a cut stream, an
	// endpoint without usage) and Usage is the gateway's upper guess.
	UsageEstimated bool `json:"usage_estimated,omitempty"`
	// Cost is the price of Usage; nil when the model has no price.
	Cost *Cost `json:"cost,omitempty"`
}

// Err is the call's trouble as the platform's error; nil when it went well or
// the harness hung up.
func (c Call) Err() error {
	code := c.Class.Code()
	if code == "" {
		return nil
	}
	return task.Errorf(code, "model call %d (%s): %s", c.Number, c.ModelAsked, c.Message)
}

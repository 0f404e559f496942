package task

import (
	"errors"
	"fmt"
)

// Code names a kind of failure on the wire. The set is closed: clients decide
// by it, and a run that fails keeps it (Oz API, PlatformErrorCode).
type Code string

// The wire's error codes. The comment says the HTTP status and the state that
// a run takes when the failure happens during its life.
const (
	CodeInsufficientCredits      Code = "insufficient_credits"             // 403, FAILED
	CodeFeatureNotAvailable      Code = "feature_not_available"            // 403, FAILED
	CodeExternalAuthRequired     Code = "external_authentication_required" // 401, FAILED
	CodeNotAuthorized            Code = "not_authorized"                   // 403, FAILED
	CodeInvalidRequest           Code = "invalid_request"                  // 400, FAILED
	CodeNotFound                 Code = "resource_not_found"               // 404, FAILED
	CodeBudgetExceeded           Code = "budget_exceeded"                  // 403, FAILED
	CodeIntegrationDisabled      Code = "integration_disabled"             // 403, FAILED
	CodeIntegrationNotConfigured Code = "integration_not_configured"       // 400, FAILED
	CodeOperationNotSupported    Code = "operation_not_supported"          // 422, FAILED
	CodeEnvironmentSetupFailed   Code = "environment_setup_failed"         // 500, FAILED
	CodeContentPolicyViolation   Code = "content_policy_violation"         // 403, FAILED
	CodeConflict                 Code = "conflict"                         // 409, FAILED
	CodeAuthenticationRequired   Code = "authentication_required"          // 401, ERROR
	CodeResourceUnavailable      Code = "resource_unavailable"             // 429, ERROR
	CodeInternal                 Code = "internal_error"                   // 500, ERROR
	CodeAgentProcessFailed       Code = "agent_process_failed"             // 500, ERROR
	CodeInfrastructureTimeout    Code = "infrastructure_timeout"           // 500, ERROR
)

// codeInfo is one row of the error catalogue.
type codeInfo struct {
	status    int
	retryable bool
	platform  bool // the platform's fault: the run ends ERROR, not FAILED
	title     string
}

// catalogue is the whole closed set, with what the wire says of each code.
func catalogue(c Code) (codeInfo, bool) {
	switch c {
	case CodeInsufficientCredits:
		return codeInfo{403, false, false, "Insufficient credits"}, true
	case CodeFeatureNotAvailable:
		return codeInfo{403, false, false, "Feature not available"}, true
	case CodeExternalAuthRequired:
		return codeInfo{401, false, false, "External authentication required"}, true
	case CodeNotAuthorized:
		return codeInfo{403, false, false, "Not authorized"}, true
	case CodeInvalidRequest:
		return codeInfo{400, false, false, "Invalid request"}, true
	case CodeNotFound:
		return codeInfo{404, false, false, "Resource not found"}, true
	case CodeBudgetExceeded:
		return codeInfo{403, false, false, "Budget exceeded"}, true
	case CodeIntegrationDisabled:
		return codeInfo{403, false, false, "Integration disabled"}, true
	case CodeIntegrationNotConfigured:
		return codeInfo{400, false, false, "Integration not configured"}, true
	case CodeOperationNotSupported:
		return codeInfo{422, false, false, "Operation not supported"}, true
	case CodeEnvironmentSetupFailed:
		return codeInfo{500, false, false, "Environment setup failed"}, true
	case CodeContentPolicyViolation:
		return codeInfo{403, false, false, "Content policy violation"}, true
	case CodeConflict:
		return codeInfo{409, true, false, "Conflict"}, true
	case CodeAuthenticationRequired:
		return codeInfo{401, false, true, "Authentication required"}, true
	case CodeResourceUnavailable:
		return codeInfo{429, true, true, "Resource unavailable"}, true
	case CodeInternal:
		return codeInfo{500, true, true, "Internal error"}, true
	case CodeAgentProcessFailed:
		return codeInfo{500, false, true, "Agent process failed"}, true
	case CodeInfrastructureTimeout:
		return codeInfo{500, false, true, "Infrastructure timeout"}, true
	}
	return codeInfo{500, true, true, "Internal error"}, false
}

// Codes lists the closed set.
func Codes() []Code {
	return []Code{CodeInsufficientCredits, CodeFeatureNotAvailable, CodeExternalAuthRequired, CodeNotAuthorized, CodeInvalidRequest, CodeNotFound,
		CodeBudgetExceeded, CodeIntegrationDisabled, CodeIntegrationNotConfigured, CodeOperationNotSupported, CodeEnvironmentSetupFailed,
		CodeContentPolicyViolation, CodeConflict, CodeAuthenticationRequired, CodeResourceUnavailable, CodeInternal, CodeAgentProcessFailed,
		CodeInfrastructureTimeout}
}

// Known reports whether c belongs to the closed set.
func (c Code) Known() bool { _, ok := catalogue(c); return ok }

// HTTPStatus is the status of a request that fails with c; 500 for an unknown code.
func (c Code) HTTPStatus() int { i, _ := catalogue(c); return i.status }

// Retryable reports whether the same request may succeed later without a change.
func (c Code) Retryable() bool { i, _ := catalogue(c); return i.retryable }

// Platform reports whether the fault is the platform's, so that a run ends
// ERROR rather than FAILED.
func (c Code) Platform() bool { i, _ := catalogue(c); return i.platform }

// Title is the short English name of the kind of failure.
func (c Code) Title() string { i, _ := catalogue(c); return i.title }

// EndState is the state of a run that fails with c: FAILED when its user can
// mend it, ERROR when the platform is at fault.
func (c Code) EndState() State {
	if c.Platform() {
		return StateError
	}
	return StateFailed
}

// Error is the one error type that reaches users. Its Code survives the wire;
// an error without one is CodeInternal at the edge and keeps its text at home.
type Error struct {
	// Code decides status, retry and the state of a failed run.
	Code Code
	// Message says what was wrong and what to do next. It is shown to users,
	// so it never holds a secret or a URL with credentials.
	Message string
	// Field names the input at fault as the wire spells it ("config.model_id"); may be empty.
	Field string
	// RetryAfterMS hints when to try again, in milliseconds; 0 means no hint.
	RetryAfterMS int64
	// Help says where the user can mend it; nil when there is no such place.
	Help *Help
	// Err is the cause, for logs and errors.Is; it does not reach the wire. May be nil.
	Err error
}

// Help goes with CodeExternalAuthRequired and CodeIntegrationNotConfigured (Oz
// API, error body). Empty fields are not known.
type Help struct {
	Provider          string   // the outside service, such as "github"
	AuthURL           string   // where to connect it again
	InaccessibleRepos []string // owner/repo, out of reach
	IntegrationName   string   // the integration that is set up only in part
	SetupURL          string   // where to go on with that
}

// Errorf makes an *Error. A %w verb in format keeps that operand as its cause.
func Errorf(code Code, format string, args ...any) *Error {
	err := fmt.Errorf(format, args...)
	return &Error{Code: code, Message: err.Error(), Err: errors.Unwrap(err)}
}

// Invalid makes a CodeInvalidRequest error about one field of the input.
func Invalid(field, format string, args ...any) *Error {
	e := Errorf(CodeInvalidRequest, format, args...)
	e.Field = field
	return e
}

// Error gives the message, led by the field when there is one.
func (e *Error) Error() string {
	if e.Field != "" {
		return e.Field + ": " + e.Message
	}
	return e.Message
}

// Unwrap gives the cause.
func (e *Error) Unwrap() error { return e.Err }

// Is makes errors.Is(err, ErrNotFound) and the like compare codes: a target
// without message matches every error of its code.
func (e *Error) Is(target error) bool {
	t, ok := target.(*Error)
	return ok && t.Message == "" && t.Code == e.Code
}

// CodeOf gives the code of err, CodeInternal when it carries none, "" for nil.
func CodeOf(err error) Code {
	if err == nil {
		return ""
	}
	var e *Error
	if errors.As(err, &e) && e.Code.Known() {
		return e.Code
	}
	return CodeInternal
}

// Targets for errors.Is: each matches every *Error of its code.
var (
	ErrNotFound = &Error{Code: CodeNotFound}
	ErrConflict = &Error{Code: CodeConflict}
	ErrInvalid  = &Error{Code: CodeInvalidRequest}
)

// ErrFenced is what a write of an execution fails with once its lease is gone:
// another execution took over, or the run was cancelled. The writer must stop.
var ErrFenced = errors.New("execution has lost its lease")

// fenced wraps ErrFenced in a conflict that no client should repeat.
func fenced(id ExecutionID, why string) error {
	return &Error{Code: CodeOperationNotSupported, Message: fmt.Sprintf("execution %s: %s", id, why), Err: ErrFenced}
}

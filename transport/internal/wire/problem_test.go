package wire_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"gotest.tools/v3/assert"

	"github.com/oz-platform/cloudagents/task"
	"github.com/oz-platform/cloudagents/transport/api"
	"github.com/oz-platform/cloudagents/transport/internal/wire"
)

// codes is the whole closed set.
var codes = []task.Code{task.CodeInsufficientCredits, task.CodeFeatureNotAvailable, task.CodeExternalAuthRequired, task.CodeNotAuthorized, task.CodeInvalidRequest,
	task.CodeNotFound, task.CodeBudgetExceeded, task.CodeIntegrationDisabled, task.CodeIntegrationNotConfigured, task.CodeOperationNotSupported,
	task.CodeEnvironmentSetupFailed, task.CodeContentPolicyViolation, task.CodeConflict, task.CodeAuthenticationRequired, task.CodeResourceUnavailable, task.CodeInternal,
	task.CodeAgentProcessFailed, task.CodeInfrastructureTimeout}

// over sends a problem as a server does, and reads it as a client does.
func over(t *testing.T, err error) error {
	t.Helper()
	data, encodeErr := json.Marshal(wire.Problem(err))
	assert.NilError(t, encodeErr)
	var p api.Problem
	assert.NilError(t, json.Unmarshal(data, &p))
	return wire.Error(p, p.Status)
}

// TestProblemRoundTrip asks that code, field and words of an error survive.
func TestProblemRoundTrip(t *testing.T) {
	for _, code := range codes {
		p := wire.Problem(task.Errorf(code, "said so"))
		assert.Equal(t, p.Status, code.HTTPStatus())
		assert.Equal(t, *p.Retryable, code.Retryable())
		assert.Equal(t, p.Error, code.Title()+" (said so)")
		back := over(t, task.Errorf(code, "said so"))
		assert.Equal(t, task.CodeOf(back), code)
		assert.Equal(t, back.Error(), "said so")
	}
	for _, err := range []error{
		task.Invalid("config.model_id", "%q is unknown", "m"), task.Invalid("a: b", "x"), fmt.Errorf("while reading: %w", task.Errorf(task.CodeNotFound, "run r not found")),
	} {
		var e *task.Error
		assert.Assert(t, errors.As(err, &e))
		var back *task.Error
		assert.Assert(t, errors.As(over(t, err), &back))
		assert.Equal(t, back.Error(), e.Error())
		assert.Equal(t, back.Field, e.Field)
		assert.Equal(t, back.Code, e.Code)
	}
}

// TestSentinelsSurvive asks that errors.Is holds on the far side.
func TestSentinelsSurvive(t *testing.T) {
	fenced := &task.Error{Code: task.CodeOperationNotSupported, Message: "execution e: cancelled", Err: task.ErrFenced}
	for _, err := range []error{task.ErrFenced, fenced, fmt.Errorf("append: %w", task.ErrFenced)} {
		back := over(t, err)
		assert.ErrorIs(t, back, task.ErrFenced)
		assert.Assert(t, !*wire.Problem(err).Retryable, "a fenced runner must not go on")
		assert.Equal(t, task.CodeOf(back), task.CodeOperationNotSupported)
	}
	back := over(t, task.ErrUnseenInput)
	assert.ErrorIs(t, back, task.ErrUnseenInput)
	assert.ErrorIs(t, back, task.ErrConflict)
	assert.Assert(t, !*wire.Problem(task.ErrUnseenInput).Retryable, "the same end fails again")
	assert.ErrorIs(t, over(t, task.Errorf(task.CodeConflict, "x")), task.ErrConflict)
	assert.Assert(t, !errors.Is(over(t, task.Errorf(task.CodeConflict, "x")), task.ErrUnseenInput))
}

// TestInternalErrorsStayAtHome asks that what an unexpected error says does not
// reach the caller.
func TestInternalErrorsStayAtHome(t *testing.T) {
	for _, err := range []error{errors.New("dial postgres://oz:hunter2@db"), fmt.Errorf("hunter2: %w", task.Errorf(task.CodeNotFound, "run r not found")),
		&task.Error{Code: "odd", Message: "hunter2"}, &task.Error{Code: task.CodeNotFound, Message: "run r not found", Err: errors.New("hunter2")}} {
		data, encodeErr := json.Marshal(wire.Problem(err))
		assert.NilError(t, encodeErr)
		assert.Assert(t, !strings.Contains(string(data), "hunter2"), "%s", data)
	}
}

// TestForeignProblems reads the documents of other servers (Oz API, error body).
func TestForeignProblems(t *testing.T) {
	for _, tt := range []struct {
		p      api.Problem
		status int
		code   task.Code
		says   string
	}{
		{api.Problem{Type: "https://docs.warp.dev/errors/budget_exceeded"}, 403, task.CodeBudgetExceeded, "the server gave no reason"},
		{api.Problem{Type: "/errors/environment-setup-failed/", Title: "Setup"}, 500, task.CodeEnvironmentSetupFailed, "Setup"},
		{api.Problem{Type: "about:blank", Error: "nope", Title: "Nope"}, 404, task.CodeNotFound, "nope"},
		{api.Problem{ErrorCode: "new_code", Detail: "d"}, 409, task.CodeConflict, "d"},
		{api.Problem{}, 401, task.CodeAuthenticationRequired, ""}, {api.Problem{}, 403, task.CodeNotAuthorized, ""}, {api.Problem{}, 418, task.CodeInvalidRequest, ""},
		{api.Problem{}, 422, task.CodeOperationNotSupported, ""}, {api.Problem{}, 429, task.CodeResourceUnavailable, ""}, {api.Problem{}, 503, task.CodeResourceUnavailable, ""},
		{api.Problem{}, 500, task.CodeInternal, ""}, {api.Problem{}, 302, task.CodeInternal, ""},
	} {
		err := wire.Error(tt.p, tt.status)
		assert.Equal(t, task.CodeOf(err), tt.code)
		assert.ErrorContains(t, err, tt.says)
	}
	long := wire.Error(api.Problem{Detail: strings.Repeat("ä", 1<<20)}, 400)
	assert.Assert(t, len(long.Error()) < 9<<10)
}

// FuzzError reads what any server may send for a problem.
func FuzzError(f *testing.F) {
	f.Add([]byte(`{"type":"a/b","title":"t","status":404,"detail":"d","error":"e","retryable":false,"error_code":"conflict","field":"x","reason":"fenced"}`), 404)
	f.Add([]byte(`{"detail":"x: y","field":"x"}`), 400)
	f.Add([]byte(`{}`), 0)
	f.Fuzz(func(t *testing.T, data []byte, status int) {
		var p api.Problem
		if json.Unmarshal(data, &p) != nil {
			return
		}
		err := wire.Error(p, status)
		assert.Assert(t, task.CodeOf(err).Known())
		assert.Assert(t, err.Error() != "")
		var first, again *task.Error
		assert.Assert(t, errors.As(err, &first) && errors.As(over(t, err), &again))
		assert.Equal(t, errors.Is(again, task.ErrFenced), errors.Is(first, task.ErrFenced))
		assert.Equal(t, errors.Is(again, task.ErrUnseenInput), errors.Is(first, task.ErrUnseenInput))
	})
}

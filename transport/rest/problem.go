package rest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"runtime/debug"
	"strconv"
	"strings"
	"time"

	"go.uber.org/zap"

	"github.com/oz-platform/cloudagents/task"
	"github.com/oz-platform/cloudagents/transport/api"
	"github.com/oz-platform/cloudagents/transport/internal/wire"
)

// statusError is an error whose HTTP status differs from its code's (Oz API,
// statuses without a code of their own).
type statusError struct {
	status int
	err    error
}

func (e *statusError) Error() string { return e.err.Error() }

func (e *statusError) Unwrap() error { return e.err }

// retryHint is when to try again after a failure that says nothing itself, in
// milliseconds: an SDK's own three attempts would span little more.
const retryHint = 1000

// fail answers with the problem document for err.
func (h *Handler) fail(w http.ResponseWriter, r *http.Request, err error) {
	if begun(w) {
		h.cut(r, err)
	}
	p := wire.Problem(err)
	var s *statusError
	if errors.As(err, &s) {
		p.Status = s.status
	} else if p.ErrorCode == api.ErrorCode(task.CodeResourceUnavailable) && h.platform.Draining() {
		p.Status = http.StatusServiceUnavailable
	}
	p.Type = h.opts.ErrorTypeBase + string(p.ErrorCode)
	p.Instance = shownPath(r)
	p.RequestId = w.Header().Get("X-Request-Id")
	if p.Status >= http.StatusInternalServerError && p.ErrorCode == api.ErrorCode(task.CodeInternal) {
		h.logFailure(r, p.RequestId, err)
	}
	head := w.Header()
	head.Set("Content-Type", "application/problem+json")
	head.Set("x-should-retry", strconv.FormatBool(*p.Retryable))
	if p.Status == http.StatusUnauthorized && p.ErrorCode == api.ErrorCode(task.CodeAuthenticationRequired) {
		head.Set("WWW-Authenticate", "Bearer")
	}
	if *p.Retryable {
		setRetryAfter(head, err)
	}
	body, _ := json.Marshal(p) // strings, numbers and a bool cannot fail
	head.Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(p.Status)
	_, _ = w.Write(body) // a client that is gone needs no answer
}

// setRetryAfter tells both kinds of client when to come back (Oz API, retries).
func setRetryAfter(head http.Header, err error) {
	ms := int64(retryHint)
	var e *task.Error
	if errors.As(err, &e) && e.RetryAfterMS > 0 {
		ms = e.RetryAfterMS
	}
	head.Set("retry-after-ms", strconv.FormatInt(ms, 10))
	head.Set("Retry-After", strconv.FormatInt((ms+999)/1000, 10))
}

// cut ends a connection whose answer has begun and cannot be finished, which
// the client sees as a broken transfer rather than as a short, whole one.
func (h *Handler) cut(r *http.Request, err error) {
	if r.Context().Err() == nil {
		h.logFailure(r, "", err)
	}
	panic(http.ErrAbortHandler)
}

func (h *Handler) logFailure(r *http.Request, id string, err error) {
	if errors.Is(err, context.Canceled) {
		return // the client went away
	}
	h.opts.Logger.Error("request failed", zap.String("request_id", id), zap.String("method", r.Method),
		zap.String("path", shownPath(r)), zap.Error(err))
}

// recovered turns a panic of a handler into a problem and a line in the log.
func (h *Handler) recovered(w *response, r *http.Request) {
	v := recover()
	if v == nil {
		return
	}
	if err, ok := v.(error); ok && errors.Is(err, http.ErrAbortHandler) {
		panic(v)
	}
	h.opts.Logger.Error("handler panicked", zap.String("request_id", w.id), zap.String("method", r.Method),
		zap.String("path", shownPath(r)), zap.Any("panic", v), zap.ByteString("stack", debug.Stack()))
	if w.wrote {
		panic(http.ErrAbortHandler)
	}
	h.fail(w, r, task.Errorf(task.CodeInternal, "something went wrong; the server's log has it under request %s", w.id))
}

// shownPath is the path of a request as answers and logs have it: the address
// of a webhook may end in a secret (Oz platform, WHK-3).
func shownPath(r *http.Request) string {
	path := r.URL.EscapedPath()
	if rest, ok := strings.CutPrefix(path, "/webhooks/"); ok {
		origin, _, _ := strings.Cut(rest, "/")
		return "/webhooks/" + origin
	}
	return path
}

// badRequest answers for a request that the generated code could not read.
func (h *Handler) badRequest(w http.ResponseWriter, r *http.Request, err error) {
	h.fail(w, r, readable(err))
}

// readable says what was wrong in words that do not speak of Go.
func readable(err error) error {
	var (
		typed   *json.UnmarshalTypeError
		format  *api.InvalidParamFormatError
		missing *api.RequiredParamError
		many    *api.TooManyValuesForParamError
		when    *time.ParseError
		coded   *task.Error
	)
	switch {
	case errors.As(err, &coded):
		return err
	case errors.As(err, &typed):
		return task.Invalid(typed.Field, "must not be a JSON %s", typed.Value)
	case errors.As(err, &format):
		return task.Invalid(format.ParamName, "cannot be read as what the contract says it is")
	case errors.As(err, &missing):
		return task.Invalid(missing.ParamName, "is required")
	case errors.As(err, &many):
		return task.Invalid(many.ParamName, "may be given once only")
	case errors.As(err, &when):
		return task.Errorf(task.CodeInvalidRequest, "the body holds %q where a time like 2026-01-31T12:00:00Z must be", strings.Trim(when.Value, `"`))
	}
	return task.Errorf(task.CodeInvalidRequest, "the body does not fit the contract: %v", fmt.Sprint(err))
}

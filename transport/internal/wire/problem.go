package wire

import (
	"errors"
	"strings"

	"github.com/oz-platform/cloudagents/oz/access"
	"github.com/oz-platform/cloudagents/task"
	"github.com/oz-platform/cloudagents/transport/api"
)

// Problem gives the document for err, without type URI and instance (Oz API,
// error body). What err says reaches the caller only if it is a *task.Error:
// anything else is an internal error whose text stays at home.
func Problem(err error) api.Problem {
	code, detail := task.CodeOf(err), ""
	var p api.Problem
	var e *task.Error
	if errors.As(err, &e) && e.Code == code {
		detail, p.Field = e.Error(), e.Field
		if h := e.Help; h != nil {
			p.Provider, p.AuthUrl, p.InaccessibleRepos = h.Provider, h.AuthURL, h.InaccessibleRepos
			p.IntegrationName, p.SetupUrl = h.IntegrationName, h.SetupURL
		}
	}
	switch {
	case errors.Is(err, task.ErrFenced):
		p.Reason = api.Fenced
		if code == task.CodeInternal {
			code, detail = task.CodeOperationNotSupported, task.ErrFenced.Error()
		}
	case errors.Is(err, task.ErrUnseenInput):
		p.Reason = api.UnseenInput
	default:
		for reason, known := range deviceReasons() {
			if errors.Is(err, known) {
				p.Reason = reason
			}
		}
	}
	retryable := code.Retryable() && p.Reason == ""
	p.Status, p.Title, p.ErrorCode, p.Retryable = code.HTTPStatus(), code.Title(), api.ErrorCode(code), &retryable
	p.Detail = detail
	p.Error = p.Title
	if detail != "" {
		p.Error += " (" + detail + ")"
	}
	return p
}

// maxDetail bounds what is kept of a stranger's message, in bytes.
const maxDetail = 8 << 10

// Error gives the error that a problem document stands for. Documents of
// other servers, without error_code, are read by the last segment of type, or
// by the status.
func Error(p api.Problem, status int) error {
	e := &task.Error{Code: codeOf(p, status), Message: messageOf(p), Field: p.Field, Help: helpOf(p)}
	switch p.Reason {
	case api.Fenced:
		e.Err = task.ErrFenced
	case api.UnseenInput:
		e.Err = task.ErrUnseenInput
	default:
		e.Err = deviceReasons()[p.Reason]
	}
	return e
}

// deviceReasons say why a command line has no key yet (RFC 8628).
func deviceReasons() map[api.ProblemReason]error {
	return map[api.ProblemReason]error{api.AuthorizationPending: access.ErrAuthorizationPending, api.SlowDown: access.ErrSlowDown,
		api.AccessDenied: access.ErrAccessDenied, api.ExpiredToken: access.ErrExpiredToken}
}

func helpOf(p api.Problem) *task.Help {
	h := task.Help{Provider: p.Provider, AuthURL: p.AuthUrl, InaccessibleRepos: p.InaccessibleRepos, IntegrationName: p.IntegrationName, SetupURL: p.SetupUrl}
	if h.Provider == "" && h.AuthURL == "" && len(h.InaccessibleRepos) == 0 && h.IntegrationName == "" && h.SetupURL == "" {
		return nil
	}
	return &h
}

func codeOf(p api.Problem, status int) task.Code {
	if c := task.Code(p.ErrorCode); c.Known() {
		return c
	}
	slug := strings.TrimRight(p.Type, "/")
	slug = slug[strings.LastIndexByte(slug, '/')+1:]
	if c := task.Code(strings.ReplaceAll(slug, "-", "_")); c.Known() {
		return c
	}
	switch {
	case status == 401:
		return task.CodeAuthenticationRequired
	case status == 403:
		return task.CodeNotAuthorized
	case status == 404:
		return task.CodeNotFound
	case status == 409:
		return task.CodeConflict
	case status == 422:
		return task.CodeOperationNotSupported
	case status == 429 || status == 503:
		return task.CodeResourceUnavailable
	case status >= 400 && status < 500:
		return task.CodeInvalidRequest
	}
	return task.CodeInternal
}

// messageOf takes the field off the detail, since task.Error adds it again.
func messageOf(p api.Problem) string {
	m := p.Detail
	if p.Field != "" {
		m = strings.TrimPrefix(m, p.Field+": ")
	}
	for _, other := range []string{p.Error, p.Title, "the server gave no reason"} {
		if m == "" {
			m = other
		}
	}
	if len(m) > maxDetail {
		m = strings.ToValidUTF8(m[:maxDetail], "") + " ..."
	}
	return m
}

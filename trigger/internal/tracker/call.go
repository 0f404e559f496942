package tracker

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/oz-platform/cloudagents/task"
	"github.com/oz-platform/cloudagents/trigger"
)

// maxReply bounds what is read of an API's reply, in bytes.
const maxReply = 8 << 20

// Timeout bounds a call.
const Timeout = 20 * time.Second

// Caller calls an API that speaks JSON.
type Caller struct {
	// HTTP is with what. Default: a client that follows no redirects, since
	// none of the APIs redirects and the credential is for them alone.
	HTTP *http.Client
	// Clock tells the time.
	Clock task.Clock
}

// NewCaller returns one; both may be nil.
func NewCaller(client *http.Client, clock task.Clock) Caller {
	if client == nil {
		client = &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	}
	if clock == nil {
		clock = task.SystemClock()
	}
	return Caller{HTTP: client, Clock: clock}
}

// StatusError is a reply that says no.
type StatusError struct {
	Status int
	// RetryAfter is when the API asks for the next try; zero when it does not.
	RetryAfter time.Duration
	// Message is what it says, cut, and Header what it says beside.
	Message string
	Header  http.Header
}

// Error implements error.
func (e *StatusError) Error() string {
	if e.Message == "" {
		return fmt.Sprintf("it answers %d", e.Status)
	}
	return fmt.Sprintf("it answers %d: %s", e.Status, e.Message)
}

// Do sends in as JSON, unless nil, and reads the reply into out, unless nil. It
// fails with a *StatusError.
func (c Caller) Do(ctx context.Context, method, url string, h http.Header, in, out any) error {
	return c.do(ctx, method, url, h, in, out, false)
}

// DoAny is as Do, but reads a reply that says no into out, too, as far as it is
// JSON: GraphQL explains itself so.
func (c Caller) DoAny(ctx context.Context, method, url string, h http.Header, in, out any) error {
	return c.do(ctx, method, url, h, in, out, true)
}

func (c Caller) do(ctx context.Context, method, url string, h http.Header, in, out any, always bool) error {
	ctx, cancel := context.WithTimeout(ctx, Timeout)
	defer cancel()
	var body io.Reader
	if in != nil {
		data, err := json.Marshal(in)
		if err != nil {
			return fmt.Errorf("encode the request: %w", err)
		}
		body = bytes.NewReader(data)
	}
	req, err := http.NewRequestWithContext(ctx, method, url, body)
	if err != nil {
		return fmt.Errorf("make the request: %w", err)
	}
	for name, values := range h {
		req.Header[name] = values
	}
	req.Header.Set("Accept", "application/json")
	if in != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := c.HTTP.Do(req)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	data, err := io.ReadAll(io.LimitReader(resp.Body, maxReply+1))
	if err != nil {
		return fmt.Errorf("read the reply: %w", err)
	}
	if resp.StatusCode < 200 || resp.StatusCode > 299 {
		if always {
			_ = json.Unmarshal(data, out) // the status says enough when it is no JSON
		}
		return &StatusError{Status: resp.StatusCode, RetryAfter: c.retryAfter(resp.Header), Header: resp.Header,
			Message: strings.ToValidUTF8(string(data[:min(len(data), maxMessage)]), "")}
	}
	if len(data) > maxReply {
		return fmt.Errorf("the reply has more than %d bytes", maxReply)
	}
	if out == nil {
		return nil
	}
	if err := json.Unmarshal(data, out); err != nil {
		return fmt.Errorf("read the reply: %w", err)
	}
	return nil
}

// maxMessage bounds StatusError.Message, in bytes.
const maxMessage = 1000

// retryAfter reads a header of that name, in seconds or as a date.
func (c Caller) retryAfter(h http.Header) time.Duration {
	value := strings.TrimSpace(h.Get("Retry-After"))
	if seconds, err := strconv.Atoi(value); err == nil && seconds > 0 {
		return time.Duration(min(seconds, 86400)) * time.Second
	}
	if at, err := http.ParseTime(value); err == nil {
		return max(0, at.Sub(c.Clock.Now()))
	}
	return 0
}

// ForSend says to an engine how a failed call of trigger.Reporter.Send is to be
// taken: what no further try can mend is given up, and hints are kept. What is
// refused for want of a right credential is tried again, since a person may
// give a better one.
func ForSend(err error) error {
	var status *StatusError
	if !errors.As(err, &status) {
		return err
	}
	switch {
	case status.RetryAfter > 0:
		return &trigger.Later{After: status.RetryAfter, Err: err}
	case status.Status == http.StatusTooManyRequests || status.Status == http.StatusRequestTimeout:
		return err
	case status.Status == http.StatusUnauthorized || status.Status == http.StatusForbidden || status.Status >= 500:
		return err
	}
	return &trigger.GiveUp{Err: err}
}

// ForPlan says how a failed call of trigger.Origin.Plan is to be taken: final
// errors get a code, the rest is tried again.
func ForPlan(name string, err error) error {
	var status *StatusError
	if !errors.As(err, &status) {
		return err
	}
	switch {
	case status.RetryAfter > 0 || status.Status == http.StatusTooManyRequests || status.Status == http.StatusRequestTimeout || status.Status >= 500:
		return err
	case status.Status == http.StatusUnauthorized || status.Status == http.StatusForbidden:
		return task.Errorf(task.CodeIntegrationNotConfigured, "%s does not accept the credential of this integration: %w", name, err)
	case status.Status == http.StatusNotFound:
		return task.Errorf(task.CodeNotFound, "%s does not show what this is about: %w", name, err)
	}
	return task.Errorf(task.CodeOperationNotSupported, "%s refuses: %w", name, err)
}

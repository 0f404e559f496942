package client

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/oz-platform/cloudagents/task"
	"github.com/oz-platform/cloudagents/transport/api"
	"github.com/oz-platform/cloudagents/transport/internal/wire"
)

// maxProblem bounds what is read of a problem, in bytes.
const maxProblem = 1 << 20

// errTooLong is the answer of a server that sends more than it may.
var errTooLong = errors.New("the server's answer is longer than MaxAnswerBytes")

// decode reads an answer's JSON, or the problem in its place.
func decode[T any](resp *http.Response, err error) (T, error) {
	var v T
	data, err := read(resp, err)
	if err != nil {
		return v, err
	}
	if err := json.Unmarshal(data, &v); err != nil {
		return v, fmt.Errorf("read the server's answer: %w", err)
	}
	return v, nil
}

// read reads an answer as it is, or the problem in its place.
func read(resp *http.Response, err error) ([]byte, error) {
	if err := check(resp, err); err != nil {
		return nil, err
	}
	defer closeBody(resp)
	data, err := io.ReadAll(resp.Body) // the sender has bounded it
	if err != nil {
		return nil, task.Errorf(task.CodeResourceUnavailable, "the server's answer broke off: %w", err)
	}
	return data, nil
}

// done reads an answer whose content does not matter.
func done(resp *http.Response, err error) error {
	if err := check(resp, err); err != nil {
		return err
	}
	closeBody(resp)
	return nil
}

// check gives the problem of a failed answer, and then closes it.
func check(resp *http.Response, err error) error {
	if err != nil {
		return err
	}
	if resp.StatusCode < http.StatusMultipleChoices {
		return nil
	}
	defer closeBody(resp)
	return problem(resp)
}

// problem reads the error that an answer tells of, whatever its media type.
func problem(resp *http.Response) error {
	if resp.StatusCode < http.StatusBadRequest {
		return moved(resp)
	}
	data, _ := io.ReadAll(io.LimitReader(resp.Body, maxProblem))
	var p api.Problem
	if json.Unmarshal(data, &p) != nil || p.Error == "" && p.Title == "" {
		p = api.Problem{Detail: fmt.Sprintf("the server answered %s without saying why; is this the address of an Oz API?", resp.Status)}
	}
	err := wire.Error(p, resp.StatusCode)
	var e *task.Error
	if d, ok := requestedDelay(resp.Header, time.Now()); ok && errors.As(err, &e) {
		e.RetryAfterMS = d.Milliseconds()
	}
	return err
}

// moved says where a redirect that is not followed leads, without its query:
// that may be a signature.
func moved(resp *http.Response) error {
	where := "elsewhere"
	if to, err := resp.Location(); err == nil {
		where = "to " + to.Scheme + "://" + to.Host + to.EscapedPath()
	}
	return task.Errorf(task.CodeInvalidRequest, "the server answered %s %s, which is followed for reads only; use the address that it leads to", resp.Status, where)
}

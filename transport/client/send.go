package client

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/cenkalti/backoff/v4"

	"github.com/oz-platform/cloudagents/task"
)

// sender sends requests, again where that can help. It implements the
// generated client's HttpRequestDoer.
type sender struct {
	opts    Options
	timeout time.Duration // of one attempt; 0 is none
	// whole reads the answer as part of the attempt, so that one that breaks
	// off counts as failed; otherwise it is handed on as it comes.
	whole bool
	retry retryPolicy
}

// retryPolicy says whether to repeat a request that failed n+1 times. safe
// reports that the server cannot have acted on it, or that acting twice does
// no harm. err is nil if there was a whole answer.
type retryPolicy func(n int, safe bool, resp *http.Response, err error) bool

// retryFew is the policy of the official SDKs (Oz API, retries), with one more
// caution: a request that must not be done twice is not repeated after a
// broken connection, nor after a failure that a proxy may have made up, unless
// the server asks for it.
func retryFew(limit int) retryPolicy {
	return func(n int, safe bool, resp *http.Response, err error) bool {
		switch {
		case n >= limit:
			return false
		case err != nil:
			return safe
		case !safe && resp.StatusCode >= http.StatusInternalServerError && resp.Header.Get("x-should-retry") == "":
			return false
		}
		return worthRetry(resp)
	}
}

// retryForever repeats until the context ends, for a runner that outlives its
// server's restarts. All that a runner asks may be asked again.
func retryForever(_ int, _ bool, resp *http.Response, err error) bool {
	return err != nil || resp.StatusCode != http.StatusConflict && worthRetry(resp)
}

// worthRetry judges an answer (Oz API, retries).
func worthRetry(resp *http.Response) bool {
	switch resp.Header.Get("x-should-retry") {
	case "true":
		return true
	case "false":
		return false
	}
	switch resp.StatusCode {
	case http.StatusRequestTimeout, http.StatusConflict, http.StatusTooManyRequests:
		return true
	}
	return resp.StatusCode >= http.StatusInternalServerError
}

// Delays between attempts: min(0.5 s * 2^n, 8 s) times a random factor of 0.75
// to 1 (Oz API, retries), written as a middle and a spread around it.
const (
	firstDelay  = 500 * time.Millisecond * 7 / 8
	maxDelay    = 8 * time.Second * 7 / 8
	delaySpread = 1.0 / 7
)

func newBackoff() *backoff.ExponentialBackOff {
	b := backoff.NewExponentialBackOff()
	b.InitialInterval, b.MaxInterval, b.Multiplier, b.RandomizationFactor = firstDelay, maxDelay, 2, delaySpread
	b.MaxElapsedTime = 0 // the policy and the context decide
	b.Reset()
	return b
}

// maxRequestedDelay bounds what a server may ask for, so that a mistake of its
// does not stop a client for good.
const maxRequestedDelay = time.Minute

// requestedDelay is how long the server asks to wait.
func requestedDelay(h http.Header, now time.Time) (time.Duration, bool) {
	d := time.Duration(-1)
	if ms, err := strconv.ParseFloat(h.Get("retry-after-ms"), 64); err == nil {
		d = time.Duration(ms * float64(time.Millisecond))
	} else if s, err := strconv.ParseFloat(h.Get("Retry-After"), 64); err == nil {
		d = time.Duration(s * float64(time.Second))
	} else if at, err := http.ParseTime(h.Get("Retry-After")); err == nil {
		d = max(at.Sub(now), 0)
	}
	return min(d, maxRequestedDelay), d >= 0
}

// Do implements api.HttpRequestDoer.
func (s *sender) Do(req *http.Request) (*http.Response, error) {
	delays := newBackoff()
	for n := 0; ; n++ {
		resp, err := s.attempt(req, n)
		if err == nil && resp.StatusCode < http.StatusBadRequest {
			return resp, nil
		}
		if cause := req.Context().Err(); cause != nil {
			closeBody(resp)
			return nil, cause
		}
		if !repeatable(req, err) || !s.retry(n, safe(req, err), resp, err) {
			if resp == nil {
				return nil, unreachable(req, err)
			}
			return resp, nil // if it broke off, its status may still be all that matters
		}
		delay := delays.NextBackOff()
		if resp != nil {
			if d, ok := requestedDelay(resp.Header, s.opts.Clock.Now()); ok {
				delay = d
			}
			closeBody(resp)
		}
		select {
		case <-s.opts.Clock.After(delay):
		case <-req.Context().Done():
			return nil, req.Context().Err()
		}
	}
}

// repeatable reports that the request can be sent again, and that the answer
// to it might be another one.
func repeatable(req *http.Request, err error) bool {
	return (req.Body == nil || req.Body == http.NoBody || req.GetBody != nil) && !errors.Is(err, errTooLong)
}

// attempt sends the request once. When the answer breaks off, both the answer,
// as far as it came, and an error are returned.
func (s *sender) attempt(req *http.Request, n int) (*http.Response, error) {
	ctx := req.Context()
	if s.timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, s.timeout)
		defer cancel()
	}
	again := req.Clone(ctx)
	if n > 0 {
		again.Header.Set("X-Stainless-Retry-Count", strconv.Itoa(n))
	}
	if req.GetBody != nil {
		body, err := req.GetBody()
		if err != nil {
			return nil, err
		}
		again.Body = body
	}
	resp, err := s.opts.HTTPClient.Do(again)
	if err != nil {
		return nil, err // there may be an answer, too: a redirect that was refused
	}
	if !s.whole {
		return resp, nil
	}
	return buffered(resp, s.opts.MaxAnswerBytes)
}

// buffered reads an answer whole. Of a problem only the beginning is kept, and
// an answer that is too long is an error without an answer.
func buffered(resp *http.Response, limit int64) (*http.Response, error) {
	defer closeBody(resp)
	failed := resp.StatusCode >= http.StatusMultipleChoices
	if failed {
		limit = maxProblem
	}
	data, err := io.ReadAll(io.LimitReader(resp.Body, limit+1))
	whole := *resp
	whole.Body = io.NopCloser(bytes.NewReader(data))
	switch {
	case err != nil:
		whole.Body = io.NopCloser(io.MultiReader(bytes.NewReader(data), failing{err}))
		return &whole, err
	case int64(len(data)) > limit && !failed:
		return nil, errTooLong
	}
	return &whole, nil
}

// failing is the rest of an answer that broke off.
type failing struct{ err error }

// Read implements io.Reader.
func (f failing) Read([]byte) (int, error) { return 0, f.err }

// safe reports that repeating does no harm, whatever became of an attempt.
func safe(req *http.Request, err error) bool {
	switch req.Method {
	case http.MethodGet, http.MethodHead, http.MethodPut, http.MethodDelete:
		return true
	}
	var op *net.OpError
	return req.Header.Get("Idempotency-Key") != "" || errors.As(err, &op) && op.Op == "dial"
}

// unreachable says that there was no answer. The cause that net/http gives
// names the whole URL, which may be a signed one: only the server is named.
func unreachable(req *http.Request, err error) error {
	var with *url.Error
	if errors.As(err, &with) {
		err = with.Err
	}
	if errors.Is(err, errTooLong) {
		return err
	}
	return task.Errorf(task.CodeResourceUnavailable, "no answer from %s: %w", req.URL.Host, err)
}

// maxDrain is how much of an unwanted answer is read to keep its connection.
const maxDrain = 64 << 10

func closeBody(resp *http.Response) {
	if resp == nil {
		return
	}
	_, _ = io.CopyN(io.Discard, resp.Body, maxDrain)
	_ = resp.Body.Close()
}

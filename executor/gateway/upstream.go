package gateway

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"mime"
	"net/http"
	"strings"
	"time"

	"code.dny.dev/ssrf"
)

// answer is what a provider sent: a whole body, or a stream whose first bytes
// have come.
type answer struct {
	status int
	header http.Header
	body   []byte
	stream *stream
}

// stream is the rest of a streamed answer.
type stream struct {
	first []byte
	body  io.ReadCloser
	watch *watchdog
}

func (a *answer) requestID() string {
	if id := a.header.Get("Request-Id"); id != "" {
		return id
	}
	return a.header.Get("X-Request-Id")
}

// close gives the connection back or breaks it.
func (a *answer) close() {
	if a.stream != nil {
		_ = a.stream.body.Close()
		a.stream.watch.stop()
	}
}

// chunks yields a stream's bytes as they come; each is good until the next.
// err gets the reason when the stream did not end well.
func (a *answer) chunks(err *error) iter.Seq[[]byte] {
	return func(yield func([]byte) bool) {
		if !yield(a.stream.first) {
			return
		}
		buf := make([]byte, 32<<10)
		for {
			n, readErr := a.stream.body.Read(buf)
			a.stream.watch.touch()
			if n > 0 && !yield(buf[:n]) {
				return
			}
			if readErr == io.EOF {
				return
			}
			if readErr != nil {
				*err = a.stream.watch.explain(readErr)
				return
			}
		}
	}
}

// failure is an attempt without a usable answer.
type failure struct {
	class   Class
	message string
	// retry tells whether the same attempt may go better, after the provider's
	// own pause when it named one.
	retry  bool
	after  time.Duration
	asked  bool
	answer *answer // the provider's error, nil when there was no HTTP answer
}

// transient reports whether another provider may do better.
func (f *failure) transient() bool {
	switch f.class {
	case ClassRateLimited, ClassProviderError, ClassUnreachable, ClassTimeout:
		return true
	}
	return false
}

func (f *failure) status() int {
	if f.answer == nil {
		return 0
	}
	return f.answer.status
}

// pause is how long to wait before the next attempt, and whether to make one.
func (f *failure) pause(own, most time.Duration) (time.Duration, bool) {
	if !f.retry || f.asked && f.after > most {
		return 0, false
	}
	if f.asked {
		return f.after, true
	}
	return own, true
}

// passesThrough reports whether the provider's own words serve the harness
// best. They would mislead where they speak of a key, an account or a model
// that the harness did not choose.
func (f *failure) passesThrough() bool {
	if f.answer == nil || f.answer.status < 400 {
		return false
	}
	switch f.class {
	case ClassProviderAuth, ClassProviderQuota, ClassModelNotFound:
		return false
	}
	return true
}

// refusal is the gateway's own wording of f. A wrong key is no 401: the harness
// would take it for its own, and some retry that for minutes.
func (f *failure) refusal() refusal {
	status := http.StatusBadGateway
	switch f.class {
	case ClassProviderAuth, ClassProviderQuota:
		status = http.StatusForbidden
	case ClassModelNotFound:
		status = http.StatusNotFound
	case ClassTimeout:
		status = http.StatusGatewayTimeout
	}
	return refusal{status, f.class, f.message}
}

// errSilent is the cause when a provider took longer than its limit.
var errSilent = errors.New("silent for too long")

// attempt makes one request. For a stream it waits for the first bytes, so that
// whatever goes wrong before them can be tried again.
func (g *Gateway) attempt(ctx context.Context, r *http.Request, t target, req *modelRequest, body []byte) (*answer, *failure) {
	limit := g.opts.AnswerTimeout
	if req.stream {
		limit = g.opts.IdleTimeout
	}
	ctx, watch := newWatchdog(ctx, g.opts.Clock, limit)
	got, err := g.send(ctx, r, t, req.operation, body, watch)
	if err != nil {
		err = watch.explain(err)
		watch.stop()
		return nil, g.noAnswer(r.Context(), t, err)
	}
	if got.stream == nil {
		watch.stop()
	}
	if got.status >= 300 {
		got.close()
		return nil, g.errorAnswer(t, got)
	}
	return got, nil
}

// send makes the request and reads the answer as far as attempt wants it.
func (g *Gateway) send(ctx context.Context, r *http.Request, t target, op operation, body []byte, watch *watchdog) (*answer, error) {
	u := *t.at.base
	u.Path = strings.TrimSuffix(u.Path, "/") + op.upstreamPath(t.model)
	u.RawPath, u.RawQuery = "", passedQuery(r.URL.RawQuery)
	out, err := http.NewRequestWithContext(ctx, http.MethodPost, u.String(), bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	t.at.setHeader(out.Header, r.Header)
	// The transport is called directly: a client would follow redirects, and
	// carry the key to wherever they point.
	transport := g.opts.Transport
	if t.at.PublicOnly {
		transport = g.public
	}
	res, err := transport.RoundTrip(out)
	if err != nil {
		return nil, err
	}
	got := &answer{status: res.StatusCode, header: res.Header}
	if res.StatusCode < 300 && isEventStream(res.Header) {
		return got, got.open(res.Body, watch)
	}
	defer res.Body.Close()
	limit := int64(MaxReplyBytes)
	if res.StatusCode >= 300 {
		limit = maxErrorBytes
	}
	got.body, err = io.ReadAll(io.LimitReader(res.Body, limit+1))
	switch {
	case err != nil:
		return nil, err
	case int64(len(got.body)) > limit && got.status < 300:
		return nil, fmt.Errorf("the answer is larger than %d bytes", limit)
	case len(got.body) == 0 && got.status < 300:
		return nil, io.ErrUnexpectedEOF
	}
	got.body = got.body[:min(int64(len(got.body)), limit)]
	return got, nil
}

// open waits for a stream's first bytes.
func (a *answer) open(body io.ReadCloser, watch *watchdog) error {
	buf := make([]byte, 32<<10)
	for {
		n, err := body.Read(buf)
		watch.touch()
		if n > 0 {
			// An error that came with bytes comes again with the next read.
			a.stream = &stream{first: buf[:n], body: body, watch: watch}
			return nil
		}
		if err == io.EOF {
			err = io.ErrUnexpectedEOF // an empty stream
		}
		if err != nil {
			_ = body.Close()
			return err
		}
	}
}

func isEventStream(h http.Header) bool {
	mediaType, _, _ := mime.ParseMediaType(h.Get("Content-Type"))
	return mediaType == "text/event-stream"
}

// noAnswer explains an attempt that ended without an HTTP answer.
func (g *Gateway) noAnswer(caller context.Context, t target, err error) *failure {
	f := &failure{retry: true, class: ClassUnreachable}
	switch {
	case caller.Err() != nil:
		return &failure{class: ClassCancelled, message: errHungUp.Error()}
	case errors.Is(err, ssrf.ErrProhibitedIP):
		f.retry = false
		f.message = fmt.Sprintf("provider %q is at an address that is not on the internet; only the operator of the server may configure such a provider, or allow it", t.at.Name)
	case errors.Is(err, errSilent):
		f.class = ClassTimeout
		f.message = fmt.Sprintf("provider %q gave no answer in time", t.at.Name)
	default:
		f.message = fmt.Sprintf("provider %q did not answer: %s; check its base URL and the network", t.at.Name, g.scrub.text(err.Error()))
	}
	return f
}

// errorAnswer explains an HTTP answer that is no success.
func (g *Gateway) errorAnswer(t target, got *answer) *failure {
	said := g.scrub.text(errorText(got.body))
	f := &failure{answer: got, class: classOf(got.status, said)}
	f.retry = retryableStatus(got.status, got.header) && f.class != ClassProviderQuota
	if f.after, f.asked = retryAfter(got.header, g.opts.Clock.Now()); !f.asked && t.at.Wire == Gemini {
		f.after, f.asked = retryDelay(got.body)
	}
	switch {
	case got.status < 400:
		f.message = fmt.Sprintf("provider %q redirects elsewhere, which is not followed; set its base URL to the final address", t.at.Name)
	case f.class == ClassProviderAuth:
		f.message = fmt.Sprintf("external_authentication_required: provider %q refused its API key (HTTP %d: %s); correct the key of that provider", t.at.Name, got.status, said)
	case f.class == ClassProviderQuota:
		f.message = fmt.Sprintf("provider %q has no credit left (HTTP %d: %s); add credit or use another key", t.at.Name, got.status, said)
	case f.class == ClassModelNotFound:
		f.message = fmt.Sprintf("provider %q does not have the model %q (HTTP %d: %s); check the model id and the provider's base URL", t.at.Name, t.model, got.status, said)
	default:
		f.message = fmt.Sprintf("provider %q answered HTTP %d: %s", t.at.Name, got.status, said)
	}
	return f
}

// maxSaid bounds the provider's words in a record, in bytes.
const maxSaid = 500

// errorText takes the code and the message out of a provider's error document.
func errorText(body []byte) string {
	var doc struct {
		Error json.RawMessage `json:"error"`
	}
	var e wireError
	said := strings.TrimSpace(string(body))
	if json.Unmarshal(firstDocument(body), &doc) == nil && json.Unmarshal(doc.Error, &e) == nil && e.Message != "" {
		said = e.String()
	}
	return clip(said)
}

// clip bounds what is kept of a provider's words.
func clip(said string) string {
	if len(said) > maxSaid {
		said = said[:maxSaid] + "..."
	}
	return strings.ToValidUTF8(said, "\uFFFD")
}

// classOf sorts an error answer by its status and, where the vendors use one
// status for several things, by its words.
func classOf(status int, said string) Class {
	switch {
	case status < 400:
		return ClassUnreachable
	case isQuota(said) || status == http.StatusPaymentRequired:
		return ClassProviderQuota
	case status == http.StatusUnauthorized, status == http.StatusForbidden, isKeyRefused(said):
		return ClassProviderAuth
	case status == http.StatusRequestEntityTooLarge, isTooLong(said):
		return ClassContextTooLong
	case status == http.StatusNotFound:
		return ClassModelNotFound
	case status == http.StatusTooManyRequests:
		return ClassRateLimited
	case status >= 500:
		return ClassProviderError
	}
	return ClassInvalidRequest
}

// classOfTrouble sorts an error that came inside a stream.
func classOfTrouble(said string) Class {
	switch {
	case isQuota(said):
		return ClassProviderQuota
	case isTooLong(said):
		return ClassContextTooLong
	case strings.HasPrefix(said, "rate_limit"):
		return ClassRateLimited
	}
	return ClassProviderError
}

// isTooLong knows how the vendors, and the compatible servers in use, say that
// a conversation does not fit.
func isTooLong(said string) bool {
	return containsAny(said, "context_length_exceeded", "prompt is too long", "exceed context limit", "maximum context length",
		"exceeds the context window", "exceeds the maximum number of tokens allowed", "exceed_context_size_error", "exceeds the available context size")
}

// isQuota knows how the vendors say that an account is empty.
func isQuota(said string) bool {
	return containsAny(said, "insufficient_quota", "credit balance is too low", "billing_error", "prepayment credits are depleted")
}

// isKeyRefused knows how Google's APIs say, with status 400, that a key is wrong.
func isKeyRefused(said string) bool {
	return containsAny(said, "API key not valid", "API key expired", "API Key not found")
}

func containsAny(s string, words ...string) bool {
	for _, w := range words {
		if strings.Contains(s, w) {
			return true
		}
	}
	return false
}

package outbound

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"code.dny.dev/ssrf"

	"github.com/oz-platform/cloudagents/task"
	"github.com/oz-platform/cloudagents/trigger"
	"github.com/oz-platform/cloudagents/trigger/webhook"
)

// Kind is task.Outgoing.Kind of what is told to subscriptions.
const Kind = "subscription"

const (
	timeout     = 15 * time.Second // of one request
	maxAnswer   = 64 << 10         // bytes of an answer that are read
	userAgent   = "cloudagents-webhook/1"
	contentType = "application/json"
)

// Reporter tells the subscriptions of a Store what happens to runs. Safe for
// concurrent use.
type Reporter struct {
	store  *Store
	client *http.Client
}

// Compile-time proof that it is a reporter.
var _ trigger.Reporter = (*Reporter)(nil)

// NewReporter returns a Reporter on store.
func NewReporter(store *Store) *Reporter {
	dialer := &net.Dialer{Timeout: timeout}
	if !store.private {
		dialer.Control = ssrf.New(ssrf.WithAnyPort()).Safe // looks at the address that is really dialed
	}
	transport := &http.Transport{DialContext: dialer.DialContext, TLSHandshakeTimeout: timeout, ResponseHeaderTimeout: timeout,
		MaxIdleConnsPerHost: 4, IdleConnTimeout: 30 * time.Second, ForceAttemptHTTP2: true} // no proxy: it would dial for us
	return &Reporter{store: store, client: &http.Client{Transport: transport, Timeout: timeout,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}}
}

// Close ends idle connections.
func (r *Reporter) Close() { r.client.CloseIdleConnections() }

// message is the body of a request (Standard Webhooks: type, timestamp, data).
type message struct {
	Type      string    `json:"type"`
	Timestamp time.Time `json:"timestamp"`
	Data      data      `json:"data"`
}

// data is what is told of a run: nothing that was said in it.
type data struct {
	RunID         task.ID           `json:"run_id"`
	State         task.State        `json:"state"`
	Title         string            `json:"title"`
	Source        task.Source       `json:"source"`
	StatusMessage string            `json:"status_message,omitempty"`
	ErrorCode     task.Code         `json:"error_code,omitempty"`
	ParentRunID   task.ID           `json:"parent_run_id,omitempty"`
	TriggerURL    string            `json:"trigger_url,omitempty"`
	Metadata      map[string]string `json:"metadata,omitempty"`
	PullRequests  []string          `json:"pull_requests,omitempty"`
	CreatedAt     time.Time         `json:"created_at"`
	UpdatedAt     time.Time         `json:"updated_at"`
}

// Report implements trigger.Reporter.
func (r *Reporter) Report(ctx context.Context, n trigger.News) ([]task.Outgoing, error) {
	state, ok := n.Signal.Type.State()
	if n.Type != trigger.NewsSignal || !ok {
		return nil, nil
	}
	list, err := r.store.of(ctx, n.Owner)
	if err != nil {
		return nil, err
	}
	var out []task.Outgoing
	for _, s := range list {
		if !s.Enabled || !s.wants(n.Signal.Type) {
			continue
		}
		body, err := json.Marshal(messageOf(n, state))
		if err != nil {
			return nil, fmt.Errorf("encode what happened to run %s: %w", n.Task.ID, err)
		}
		out = append(out, task.Outgoing{Key: s.Source() + " " + n.Key, Lane: s.Source() + " " + string(n.Task.ID), Kind: Kind, Source: s.Source(),
			Owner: s.Owner, Body: body})
	}
	return out, nil
}

func messageOf(n trigger.News, state task.State) message {
	t := n.Task
	d := data{RunID: t.ID, State: state, Title: t.Title, Source: t.Source, ParentRunID: t.ParentID, TriggerURL: t.TriggerURL, Metadata: t.Metadata,
		CreatedAt: t.CreatedAt.UTC(), UpdatedAt: n.Signal.Time.UTC()}
	if t.State == state { // else the run has gone on: its status is of something later
		d.StatusMessage, d.ErrorCode = t.Status.Message, t.Status.ErrorCode
	}
	for _, a := range t.Artifacts {
		if a.Type == task.ArtifactPullRequest {
			d.PullRequests = append(d.PullRequests, a.URL)
		}
	}
	return message{Type: strings.Replace(string(n.Signal.Type), "_", ".", 1), Timestamp: n.Signal.Time.UTC(), Data: d}
}

// Kinds implements trigger.Reporter.
func (r *Reporter) Kinds() []string { return []string{Kind} }

// attempt is what is kept of an attempt.
type attempt struct {
	Status       int   `json:"status,omitempty"`
	Milliseconds int64 `json:"milliseconds"`
}

// Send implements trigger.Reporter.
func (r *Reporter) Send(ctx context.Context, o task.Outgoing) ([]byte, error) {
	s, err := r.store.Get(ctx, strings.TrimPrefix(o.Source, sourcePrefix))
	if errors.Is(err, task.ErrNotFound) {
		return nil, &trigger.GiveUp{Err: errors.New("the subscription was deleted")}
	}
	if err != nil {
		return nil, err
	}
	if !s.Enabled {
		return nil, &trigger.GiveUp{Err: errors.New("the subscription is disabled; enable it and send this again")}
	}
	secret, err := r.store.vault.Kept(ctx, s.Owner, vaultName(s.UID))
	if err != nil {
		return nil, fmt.Errorf("read the secret of subscription %s: %w", s.UID, err)
	}
	begin := time.Now()
	status, wait, err := r.post(ctx, s, secret, o)
	result, encodeErr := json.Marshal(attempt{Status: status, Milliseconds: time.Since(begin).Milliseconds()})
	if err = errors.Join(err, encodeErr); err == nil {
		return result, nil
	}
	if status == http.StatusGone {
		if err := r.store.disable(ctx, s.UID, "its address answered 410 Gone"); err != nil && !errors.Is(err, task.ErrNotFound) {
			return result, err
		}
		return result, &trigger.GiveUp{Err: err}
	}
	if wait > 0 {
		return result, &trigger.Later{After: wait, Err: err}
	}
	return result, err
}

// post makes one signed request. wait is what the answer asks for.
func (r *Reporter) post(ctx context.Context, s Subscription, secret []byte, o task.Outgoing) (status int, wait time.Duration, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, s.URL, bytes.NewReader(o.Body))
	if err != nil {
		return 0, 0, &trigger.GiveUp{Err: errors.New("the address is none")}
	}
	webhook.StandardWebhook.Sign(secret, req.Header, string(o.ID), o.Body, r.store.now())
	req.Header.Set("Content-Type", contentType)
	req.Header.Set("User-Agent", userAgent)
	resp, err := r.client.Do(req)
	if err != nil {
		if errors.Is(err, ssrf.ErrProhibitedIP) {
			return 0, 0, &trigger.GiveUp{Err: errors.New("the address is within a private network, which this server does not allow")}
		}
		return 0, 0, fmt.Errorf("no answer: %w", plainError(err))
	}
	defer resp.Body.Close()
	_, _ = io.Copy(io.Discard, io.LimitReader(resp.Body, maxAnswer)) // so that the connection can be used again
	if resp.StatusCode >= 200 && resp.StatusCode < 300 {
		return resp.StatusCode, 0, nil
	}
	if slices.Contains([]int{http.StatusTooManyRequests, http.StatusServiceUnavailable}, resp.StatusCode) {
		wait = retryAfter(resp.Header.Get("Retry-After"), r.store.now())
	}
	return resp.StatusCode, wait, fmt.Errorf("answered %s", resp.Status)
}

// plainError leaves the address out: people know it, and logs need not.
func plainError(err error) error {
	var u interface{ Unwrap() error }
	if errors.As(err, &u) {
		if inner := u.Unwrap(); inner != nil {
			return inner
		}
	}
	return err
}

// retryAfter reads both forms of the header; 0 when it says nothing.
func retryAfter(value string, now time.Time) time.Duration {
	if seconds, err := strconv.Atoi(value); err == nil && seconds > 0 {
		return min(time.Duration(seconds), 7*24*3600) * time.Second
	}
	if at, err := http.ParseTime(value); err == nil && at.After(now) {
		return at.Sub(now)
	}
	return 0
}

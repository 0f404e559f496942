package webpush

import (
	"bytes"
	"context"
	"crypto/ecdh"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"code.dny.dev/ssrf"

	"github.com/oz-platform/cloudagents/task"
	"github.com/oz-platform/cloudagents/trigger"
)

// Kind is task.Outgoing.Kind of what is sent to browsers.
const Kind = "webpush"

const (
	timeout   = 15 * time.Second // of one request
	maxAnswer = 16 << 10         // bytes of an answer that are read
	// keepFor is how long a push service keeps a message for a browser that is
	// away, in seconds. Older ones tell nothing new.
	keepFor = "86400"
)

// Sender sends messages to the browsers of a Store. Safe for concurrent use.
type Sender struct {
	store  *Store
	client *http.Client
}

// NewSender returns a Sender on store.
func NewSender(store *Store) *Sender {
	dialer := &net.Dialer{Timeout: timeout}
	if !store.opts.AllowPrivate {
		dialer.Control = ssrf.New(ssrf.WithAnyPort()).Safe // looks at the address that is really dialed
	}
	transport := &http.Transport{DialContext: dialer.DialContext, TLSHandshakeTimeout: timeout, ResponseHeaderTimeout: timeout,
		MaxIdleConnsPerHost: 4, IdleConnTimeout: 30 * time.Second, ForceAttemptHTTP2: true} // no proxy: it would dial for us
	return &Sender{store: store, client: &http.Client{Transport: transport, Timeout: timeout,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}}
}

// Close ends idle connections.
func (s *Sender) Close() { s.client.CloseIdleConnections() }

// Outgoing is a message to each browser of a person. key names it: it is sent
// once. Message has at most MaxMessage bytes.
func (s *Sender) Outgoing(ctx context.Context, person, key string, message []byte) (out []task.Outgoing, err error) {
	list, err := s.store.Of(ctx, person)
	if err != nil {
		return nil, err
	}
	for _, sub := range list {
		out = append(out, task.Outgoing{Key: sub.Source() + " " + key, Lane: sub.Source(), Kind: Kind, Source: sub.Source(), Owner: personScope(person), Body: message})
	}
	return out, nil
}

// attempt is what is kept of an attempt.
type attempt struct {
	Status       int   `json:"status,omitempty"`
	Milliseconds int64 `json:"milliseconds"`
}

// Send sends one, as trigger.Reporter has it. A browser that is gone is
// forgotten.
func (s *Sender) Send(ctx context.Context, o task.Outgoing) ([]byte, error) {
	sub, err := s.store.Get(ctx, strings.TrimPrefix(o.Source, sourcePrefix))
	if errors.Is(err, task.ErrNotFound) {
		return nil, &trigger.GiveUp{Err: errors.New("the browser has unsubscribed")}
	}
	if err != nil {
		return nil, err
	}
	begin := time.Now()
	status, wait, err := s.post(ctx, sub, o)
	result, encodeErr := json.Marshal(attempt{Status: status, Milliseconds: time.Since(begin).Milliseconds()})
	if err = errors.Join(err, encodeErr); err == nil {
		return result, nil
	}
	switch {
	case status == http.StatusGone || status == http.StatusNotFound:
		if err := s.store.Remove(ctx, sub.UID); err != nil && !errors.Is(err, task.ErrNotFound) {
			return result, err
		}
		return result, &trigger.GiveUp{Err: errors.New("the browser's subscription is gone")}
	case status == http.StatusRequestEntityTooLarge || status == http.StatusBadRequest:
		return result, &trigger.GiveUp{Err: err}
	case wait > 0:
		return result, &trigger.Later{After: wait, Err: err}
	}
	return result, err
}

// post makes one request. wait is what the answer asks for.
func (s *Sender) post(ctx context.Context, sub Subscription, o task.Outgoing) (status int, wait time.Duration, err error) {
	req, err := s.request(ctx, sub, o)
	if err != nil {
		return 0, 0, err
	}
	resp, err := s.client.Do(req)
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
	if seconds, err := strconv.Atoi(resp.Header.Get("Retry-After")); err == nil && seconds > 0 {
		wait = time.Duration(min(seconds, 24*3600)) * time.Second
	}
	return resp.StatusCode, wait, fmt.Errorf("the push service answered %s", resp.Status)
}

// request encrypts and signs a message.
func (s *Sender) request(ctx context.Context, sub Subscription, o task.Outgoing) (*http.Request, error) {
	data, err := s.store.vault.Kept(ctx, personScope(sub.Person), vaultName(sub.UID))
	if err != nil {
		return nil, fmt.Errorf("read the address of subscription %s: %w", sub.UID, err)
	}
	var spec sealedSpec
	if err := json.Unmarshal(data, &spec); err != nil {
		return nil, &trigger.GiveUp{Err: errors.New("the subscription is damaged")}
	}
	browser, auth, err := spec.Keys.parse()
	if err != nil {
		return nil, &trigger.GiveUp{Err: err}
	}
	own, err := ecdh.P256().GenerateKey(rand.Reader)
	if err != nil {
		return nil, err
	}
	salt := make([]byte, saltSize)
	_, _ = rand.Read(salt) // cannot fail
	body, err := encrypt(browser, auth, own, salt, o.Body)
	if err != nil {
		return nil, &trigger.GiveUp{Err: err}
	}
	key, err := s.store.serverKey(ctx)
	if err != nil {
		return nil, err
	}
	who, err := authorization(key, spec.Endpoint, s.store.opts.Subject, s.store.opts.Clock.Now())
	if err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, spec.Endpoint, bytes.NewReader(body))
	if err != nil {
		return nil, &trigger.GiveUp{Err: errors.New("the address is none")}
	}
	req.Header.Set("Authorization", who)
	req.Header.Set("Content-Encoding", "aes128gcm")
	req.Header.Set("Content-Type", "application/octet-stream")
	req.Header.Set("TTL", keepFor)
	req.Header.Set("Urgency", "normal")
	return req, nil
}

// plainError leaves the address out: it is a secret.
func plainError(err error) error {
	var u *url.Error
	if errors.As(err, &u) {
		return u.Err
	}
	return err
}

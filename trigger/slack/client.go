package slack

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// DefaultAPIURL is where Slack's methods are.
const DefaultAPIURL = "https://slack.com/api/"

// Bounds of one call.
const (
	callTimeout = 30 * time.Second
	maxAnswer   = 8 << 20 // bytes
	// defaultWait is for rate limits without a hint.
	defaultWait = 30 * time.Second
)

// apiError is Slack's refusal of a call.
type apiError struct {
	Method string
	Code   string // Slack's, such as channel_not_found
	Needed string // the scope that is missing
	// Wait is when to try again, for rate limits.
	Wait time.Duration
}

// Error implements error.
func (e *apiError) Error() string {
	text := fmt.Sprintf("Slack refuses %s: %s", e.Method, e.Code)
	if e.Needed != "" {
		text += " (" + e.Needed + ")"
	}
	return text
}

// passing reports that the same call may succeed later.
func (e *apiError) passing() bool {
	switch e.Code {
	case "ratelimited", "internal_error", "fatal_error", "service_unavailable", "request_timeout", "team_added_to_org":
		return true
	}
	return false
}

// tokenFault reports that another token is needed.
func (e *apiError) tokenFault() bool {
	switch e.Code {
	case "invalid_auth", "not_authed", "account_inactive", "token_revoked", "token_expired", "missing_scope", "ekm_access_denied":
		return true
	}
	return false
}

// refusal finds Slack's own error in err.
func refusal(err error) (*apiError, bool) {
	var e *apiError
	ok := errors.As(err, &e)
	return e, ok
}

func refusedWith(err error, codes ...string) bool {
	e, ok := refusal(err)
	if !ok {
		return false
	}
	for _, c := range codes {
		if e.Code == c {
			return true
		}
	}
	return false
}

// client calls Slack's methods as one app.
type client struct {
	base  string
	http  *http.Client
	token string
}

// post calls a method that writes, with JSON.
func (c *client) post(ctx context.Context, method string, args, out any) error {
	body, err := json.Marshal(args)
	if err != nil {
		return fmt.Errorf("encode %s: %w", method, err)
	}
	return c.call(ctx, method, "application/json; charset=utf-8", body, out)
}

// get calls a method that reads: those take no JSON.
func (c *client) get(ctx context.Context, method string, args url.Values, out any) error {
	return c.call(ctx, method, "application/x-www-form-urlencoded", []byte(args.Encode()), out)
}

func (c *client) call(ctx context.Context, method, contentType string, body []byte, out any) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, strings.TrimRight(c.base, "/")+"/"+method, bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("call %s: %w", method, err)
	}
	req.Header.Set("Content-Type", contentType)
	req.Header.Set("Authorization", "Bearer "+c.token)
	resp, err := c.http.Do(req)
	if err != nil {
		return fmt.Errorf("call %s: %w", method, err)
	}
	defer func() { _ = resp.Body.Close() }() // only read
	if resp.StatusCode == http.StatusTooManyRequests {
		return &apiError{Method: method, Code: "ratelimited", Wait: retryAfter(resp.Header)}
	}
	data, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	if err != nil {
		return fmt.Errorf("read the answer of %s: %w", method, err)
	}
	if resp.StatusCode != http.StatusOK || len(data) > maxAnswer {
		return fmt.Errorf("call %s: Slack answers %s with %d bytes", method, resp.Status, len(data))
	}
	var head struct {
		OK     bool   `json:"ok"`
		Error  string `json:"error"`
		Needed string `json:"needed"`
	}
	if err := json.Unmarshal(data, &head); err != nil {
		return fmt.Errorf("read the answer of %s: %w", method, err)
	}
	if !head.OK {
		return &apiError{Method: method, Code: cut(head.Error, maxShort), Needed: cut(head.Needed, maxShort), Wait: defaultWait}
	}
	if err := json.Unmarshal(data, out); err != nil {
		return fmt.Errorf("read the answer of %s: %w", method, err)
	}
	return nil
}

func retryAfter(h http.Header) time.Duration {
	n, err := strconv.Atoi(h.Get("Retry-After"))
	if err != nil || n < 1 || n > 24*3600 {
		return defaultWait
	}
	return time.Duration(n) * time.Second
}

// markType is the type of our metadata.
const markType = "oz_run"

// metadata goes with what is posted, for programs: no person sees it. Other apps
// have any payload.
type metadata struct {
	Type    string          `json:"event_type"`
	Payload json.RawMessage `json:"event_payload"`
}

// mark names a message that we have posted.
type mark struct {
	// Key is that of the outgoing message, or of the run's status.
	Key string `json:"key,omitempty"`
	Run string `json:"run,omitempty"`
	// Entity is what the thread below the message is about.
	Entity string `json:"entity,omitempty"`
}

// message is one of a channel or thread.
type message struct {
	TS       string    `json:"ts"`
	Thread   string    `json:"thread_ts"`
	User     string    `json:"user"`
	BotID    string    `json:"bot_id"`
	Username string    `json:"username"`
	Subtype  string    `json:"subtype"`
	Text     string    `json:"text"`
	Metadata *metadata `json:"metadata"`
}

// mark reads ours; ok is false for what others have posted. bot is the app's own
// user, if that is known.
func (m message) mark(bot string) (k mark, ok bool) {
	if m.Metadata == nil || m.Metadata.Type != markType || m.BotID == "" || bot != "" && m.User != bot {
		return k, false
	}
	return k, json.Unmarshal(m.Metadata.Payload, &k) == nil
}

func (k mark) metadata() (metadata, error) {
	payload, err := json.Marshal(k)
	return metadata{Type: markType, Payload: payload}, err
}

type page struct {
	Messages []message `json:"messages"`
	HasMore  bool      `json:"has_more"`
	Meta     struct {
		Cursor string `json:"next_cursor"`
	} `json:"response_metadata"`
}

// pageSize is how many messages a call asks for, maxPages how often it goes on.
const (
	pageSize = 200
	maxPages = 10
)

// each goes through the messages of a channel, or of a thread, until f says
// that it is enough. The first message of a thread comes always.
func (c *client) each(ctx context.Context, channel, thread, oldest, latest string, limit int, f func(message) (more bool)) error {
	method, args := "conversations.history", url.Values{"channel": {channel}, "limit": {strconv.Itoa(limit)}, "include_all_metadata": {"true"}}
	if thread != "" {
		method = "conversations.replies"
		args.Set("ts", thread)
	}
	if oldest != "" {
		args.Set("oldest", oldest)
		args.Set("inclusive", "true")
	}
	if latest != "" {
		args.Set("latest", latest)
	}
	for range maxPages {
		var p page
		if err := c.get(ctx, method, args, &p); err != nil {
			return err
		}
		for _, m := range p.Messages {
			if !f(m) {
				return nil
			}
		}
		if !p.HasMore || p.Meta.Cursor == "" {
			return nil
		}
		args.Set("cursor", p.Meta.Cursor)
	}
	return nil
}

// profile is who somebody is.
type profile struct{ Name, Email string }

func (c *client) profile(ctx context.Context, user string) (profile, error) {
	var r struct {
		User struct {
			Name     string `json:"name"`
			RealName string `json:"real_name"`
			Profile  struct {
				RealName    string `json:"real_name"`
				DisplayName string `json:"display_name"`
				Email       string `json:"email"`
			} `json:"profile"`
		} `json:"user"`
	}
	if err := c.get(ctx, "users.info", url.Values{"user": {user}}, &r); err != nil {
		return profile{}, err
	}
	u := r.User
	p := profile{Email: cut(u.Profile.Email, maxShort)}
	for _, name := range []string{u.Profile.DisplayName, u.Profile.RealName, u.RealName, u.Name, user} {
		if p.Name == "" {
			p.Name = strings.Join(strings.Fields(cut(name, maxShort)), " ")
		}
	}
	return p, nil
}

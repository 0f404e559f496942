package github

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

	"github.com/oz-platform/cloudagents/internal/version"
	"github.com/oz-platform/cloudagents/task"
	"github.com/oz-platform/cloudagents/trigger"
)

// Bounds of what is read.
const (
	pageSize   = 100
	maxPages   = 10
	maxAnswer  = 16 << 20 // bytes
	maxDetails = 1000     // bytes of a refusal
	apiVersion = "2022-11-28"
)

// client asks GitHub in the name of one integration.
type client struct {
	o     *Origin
	token func(ctx context.Context) (string, error)
	// stale is called when the token is refused, so that the next is a new one.
	stale func(token string)
}

// problem is a refusal by GitHub.
type problem struct {
	status int
	text   string
	after  time.Duration // 0: it did not say
}

func (p *problem) Error() string { return fmt.Sprintf("GitHub says %d: %s", p.status, p.text) }

// status is that of a refusal; 0 when GitHub was not heard.
func status(err error) int {
	var p *problem
	if errors.As(err, &p) {
		return p.status
	}
	return 0
}

// call sends a request and reads the answer into out, unless that is nil.
func (c *client) call(ctx context.Context, method, path string, in, out any) error {
	token, err := c.token(ctx)
	if err != nil {
		return err
	}
	err = c.o.ask(ctx, method, path, token, in, out)
	if status(err) == http.StatusUnauthorized && c.stale != nil {
		c.stale(token)
	}
	return err
}

// ask sends one request with a token.
func (o *Origin) ask(ctx context.Context, method, path, token string, in, out any) error {
	_, err := o.exchange(ctx, method, path, token, in, out)
	return err
}

// exchange sends one request with a token, and gives the answer's header.
func (o *Origin) exchange(ctx context.Context, method, path, token string, in, out any) (http.Header, error) {
	req, err := o.request(ctx, method, path, token, in)
	if err != nil {
		return nil, err
	}
	res, err := o.opts.HTTPClient.Do(req)
	if err != nil {
		return nil, fmt.Errorf("ask GitHub: %w", err)
	}
	defer func() { _ = res.Body.Close() }()
	data, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("read GitHub's answer to %s %s: %w", method, path, err)
	case res.StatusCode >= 300:
		return nil, o.problemOf(res, data)
	case len(data) > maxAnswer:
		return nil, fmt.Errorf("GitHub's answer to %s %s has more than %d bytes", method, path, maxAnswer)
	case out == nil:
		return res.Header, nil
	}
	if err := json.Unmarshal(data, out); err != nil {
		return nil, fmt.Errorf("read GitHub's answer to %s %s: %w", method, path, err)
	}
	return res.Header, nil
}

func (o *Origin) request(ctx context.Context, method, path, token string, in any) (*http.Request, error) {
	var body io.Reader
	if in != nil {
		data, err := json.Marshal(in)
		if err != nil {
			return nil, fmt.Errorf("encode what is sent to GitHub: %w", err)
		}
		body = bytes.NewReader(data)
	}
	req, err := http.NewRequestWithContext(ctx, method, strings.TrimRight(o.opts.APIURL, "/")+path, body)
	if err != nil {
		return nil, fmt.Errorf("ask GitHub: %w", err)
	}
	req.Header.Set("Accept", "application/vnd.github+json")
	req.Header.Set("Authorization", "Bearer "+token)
	req.Header.Set("User-Agent", "oz-cloudagents/"+version.String())
	req.Header.Set("X-GitHub-Api-Version", apiVersion)
	if in != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	return req, nil
}

// problemOf reads a refusal, and for how long GitHub asks us to be quiet.
func (o *Origin) problemOf(res *http.Response, data []byte) error {
	var answer struct {
		Message string          `json:"message"`
		Errors  json.RawMessage `json:"errors"`
	}
	_ = json.Unmarshal(data, &answer) // a proxy may answer anything
	p := &problem{status: res.StatusCode, text: task.CutReason(strings.ToValidUTF8(answer.Message+details(answer.Errors), "?"), 500)}
	if p.text == "" {
		p.text = http.StatusText(res.StatusCode)
	}
	limited := res.StatusCode == http.StatusForbidden || res.StatusCode == http.StatusTooManyRequests
	switch seconds, err := strconv.Atoi(res.Header.Get("Retry-After")); {
	case err == nil && seconds >= 0:
		p.after = max(time.Second, time.Duration(seconds)*time.Second)
	case limited && res.Header.Get("X-RateLimit-Remaining") == "0":
		reset, err := strconv.ParseInt(res.Header.Get("X-RateLimit-Reset"), 10, 64)
		if p.after = time.Minute; err == nil {
			p.after = max(time.Second, time.Unix(reset, 0).Sub(o.opts.Clock.Now())+time.Second)
		}
	case res.StatusCode == http.StatusTooManyRequests || limited && strings.Contains(strings.ToLower(answer.Message), "rate limit"):
		p.after = time.Minute // as GitHub's manual asks
	}
	return p
}

// details are the words that GitHub puts beside "Validation Failed".
func details(raw json.RawMessage) string {
	var list []struct {
		Message string `json:"message"`
		Field   string `json:"field"`
		Code    string `json:"code"`
	}
	if json.Unmarshal(raw, &list) != nil { // also when there are none
		return ""
	}
	var b strings.Builder
	for _, e := range list {
		if e.Message == "" {
			e.Message = strings.TrimSpace(e.Field + " " + e.Code)
		}
		if e.Message != "" && b.Len() < maxDetails {
			b.WriteString("; " + e.Message)
		}
	}
	return b.String()
}

// sendError tells the engine when to try again, if ever.
func sendError(err error) error {
	var p *problem
	if !errors.As(err, &p) {
		return err
	}
	switch {
	case p.after > 0:
		return &trigger.Later{After: p.after, Err: err}
	case p.status == http.StatusNotFound || p.status == http.StatusGone || p.status == http.StatusUnprocessableEntity:
		return &trigger.GiveUp{Err: err}
	}
	return err
}

// commentsPath is where the comments of an issue, a pull request or its reviews are.
func (a address) commentsPath() string {
	if a.Thread > 0 {
		return fmt.Sprintf("/repos/%s/pulls/%d/comments", a.Repo, a.Number)
	}
	return fmt.Sprintf("/repos/%s/issues/%d/comments", a.Repo, a.Number)
}

// each gives the comments that were changed since, from a page on, until f says
// that it is enough.
func (c *client) each(ctx context.Context, a address, since time.Time, first int, f func(comment) bool) error {
	for page := first; page < first+maxPages; page++ {
		path := fmt.Sprintf("%s?per_page=%d&page=%d", a.commentsPath(), pageSize, page)
		if !since.IsZero() {
			path += "&since=" + since.UTC().Truncate(time.Second).Format(time.RFC3339)
		}
		var list []comment
		if err := c.call(ctx, http.MethodGet, path, nil, &list); err != nil {
			return err
		}
		for _, m := range list {
			if f(m) {
				return nil
			}
		}
		if len(list) < pageSize {
			return nil
		}
	}
	return nil
}

// find looks for the comment that bears our mark; one without ID when there is
// none.
func (c *client) find(ctx context.Context, a address, mark string, since time.Time, us string) (found comment, err error) {
	err = c.each(ctx, a, since, 1, func(m comment) bool {
		if strings.HasPrefix(m.Body, mark) && strings.EqualFold(m.User.Login, us) {
			found = m
		}
		return found.ID > 0
	})
	return found, err
}

// post writes a comment, in a review thread as an answer.
func (c *client) post(ctx context.Context, a address, text string) (id int64, err error) {
	path := a.commentsPath()
	if a.Thread > 0 {
		path = fmt.Sprintf("%s/%d/replies", path, a.Thread)
	}
	var made comment
	err = c.call(ctx, http.MethodPost, path, map[string]string{"body": text}, &made)
	return made.ID, err
}

// edit changes a comment of ours.
func (c *client) edit(ctx context.Context, a address, id int64, text string) error {
	return c.call(ctx, http.MethodPatch, fmt.Sprintf("/repos/%s/%s/comments/%d", a.Repo, a.where(), id), map[string]string{"body": text}, nil)
}

func (a address) where() string {
	if a.Thread > 0 {
		return "pulls"
	}
	return "issues"
}

// react says that somebody was heard. Doing it again changes nothing.
func (c *client) react(ctx context.Context, a address) error {
	path := fmt.Sprintf("/repos/%s/issues/%d/reactions", a.Repo, a.Number)
	if a.Comment > 0 {
		path = fmt.Sprintf("/repos/%s/%s/comments/%d/reactions", a.Repo, a.where(), a.Comment)
	}
	return c.call(ctx, http.MethodPost, path, map[string]string{"content": "eyes"}, nil)
}

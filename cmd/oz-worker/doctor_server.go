package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/oz-platform/cloudagents/transport/worker"
)

// Differences between the clocks of server and host.
const (
	noticedSkew = 30 * time.Second
	brokenSkew  = 5 * time.Minute
)

// linkPath is where servers have the link of workers.
const linkPath = "/api/v1/selfhosted/worker/ws"

// server asks the server for its link as a worker would, but without making it.
func (d *doctor) server(ctx context.Context) {
	c := d.config
	target := c.Server + linkPath
	if c.linkURL != "" {
		target = "http" + strings.TrimPrefix(c.linkURL, "ws")
	}
	u, err := url.Parse(target)
	if err != nil || u.Host == "" {
		d.add("server", stateFail, "no URL", "name it with --server")
		return
	}
	u.RawQuery = url.Values{"worker_id": {c.WorkerID}}.Encode()
	ctx, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		d.add("server", stateFail, "no URL", "name it with --server")
		return
	}
	if c.key != "" {
		req.Header.Set("Authorization", "Bearer "+c.key.Reveal())
	}
	client := http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	resp, err := client.Do(req)
	if err != nil {
		d.unreachable(u, err)
		return
	}
	defer resp.Body.Close()
	body, _ := io.ReadAll(io.LimitReader(resp.Body, 64<<10))
	d.answered(u, resp, string(body))
	d.clock(resp.Header.Get("Date"))
}

// unreachable says why there was no answer.
func (d *doctor) unreachable(u *url.URL, err error) {
	var bare *url.Error
	if errors.As(err, &bare) {
		err = bare.Err // without the URL and its query
	}
	mend := cmp.Or(worker.Advice(err), "look at the way there: outbound connections to "+u.Host+" are all that a worker needs; HTTPS_PROXY is honoured")
	d.add("server", stateFail, fmt.Sprintf("%s://%s cannot be reached: %v", u.Scheme, u.Host, err), mend)
}

// answered judges the answer to a request that is one of a worker but for the
// upgrade.
func (d *doctor) answered(u *url.URL, resp *http.Response, body string) {
	at := u.Scheme + "://" + u.Host
	switch code := resp.StatusCode; {
	case (code == http.StatusBadRequest || code == http.StatusUpgradeRequired) && strings.Contains(body, "WebSocket"):
		d.add("server", stateOK, at+" answers, and has the link for workers", "")
		d.add("key", stateOK, "the server takes it", "")
	case code == http.StatusUnauthorized || code == http.StatusForbidden:
		d.add("server", stateOK, at+" answers", "")
		d.add("key", stateFail, fmt.Sprintf("the server refuses it with %d; it is that of %s", code, d.config.keyFrom), "it must be a worker key or a team key that is in force: "+makeKey)
	case code == http.StatusServiceUnavailable:
		d.add("server", stateFail, at+" is starting or stopping", "try again soon")
	case code >= 300 && code < 400:
		d.add("server", stateFail, fmt.Sprintf("%s leads elsewhere: %s", at, resp.Header.Get("Location")), "name that with --server: workers do not follow")
	case code == http.StatusNotFound:
		d.add("server", stateFail, at+" has no link for workers", "is it the root of an Oz server, and new enough?")
	default:
		d.add("server", stateFail, fmt.Sprintf("%s answers with %d", at, code), "see the server's log; and mind --worker-id")
	}
}

// clock compares the clocks, roughly.
func (d *doctor) clock(date string) {
	theirs, err := http.ParseTime(date)
	if err != nil {
		d.add("clock", stateNote, "the server does not tell its time", "")
		return
	}
	skew := time.Since(theirs).Round(time.Second)
	const mend = "set it: timedatectl set-ntp true"
	switch {
	case skew.Abs() >= brokenSkew:
		d.add("clock", stateFail, fmt.Sprintf("this host's is %s away from the server's: certificates and tokens will not hold", skew), mend)
	case skew.Abs() >= noticedSkew:
		d.add("clock", stateWarn, fmt.Sprintf("this host's is %s away from the server's", skew), mend)
	default:
		d.add("clock", stateOK, "as the server's", "")
	}
}

func dialUnix(ctx context.Context, path string) error {
	ctx, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	conn, err := (&net.Dialer{}).DialContext(ctx, "unix", path)
	if err != nil {
		return err
	}
	return conn.Close()
}

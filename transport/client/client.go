package client

import (
	"cmp"
	"context"
	"net/http"
	"net/url"
	"runtime/debug"
	"strings"
	"time"

	"github.com/oz-platform/cloudagents/oz"
	"github.com/oz-platform/cloudagents/task"
	"github.com/oz-platform/cloudagents/transport/api"
)

// Options holds what a Client can do without. The zero value is ready to use.
type Options struct {
	// APIKey is sent as the bearer token. Default: none, for public paths only.
	APIKey string

	// Link is the token of a link to a run, which is sent with every request
	// beside the key, or in the place of one. Default: none.
	Link string

	// HTTPClient carries the requests. Default: one of its own. Its Timeout
	// must be zero, else it cuts streams. Redirects are followed for reads
	// only, without the key once they leave the server, and never from https
	// to http; its CheckRedirect can refuse more.
	HTTPClient *http.Client

	// Timeout bounds each attempt of a request, but for streams and
	// transfers of files. Default 60 s (Oz API, SDK clients).
	Timeout time.Duration

	// MaxRetries is how often a failed request is repeated. Default 2 (Oz API,
	// SDK clients); below 0 is never.
	MaxRetries int

	// MaxAnswerBytes bounds an answer that is read whole. Default 256 MiB: a
	// page of 500 runs with prompts of 1 MiB does not fit, ask for less.
	MaxAnswerBytes int64

	// StreamIdle is how long a stream may be silent, without even a heartbeat,
	// before it is opened anew. Default 60 s.
	StreamIdle time.Duration

	// UserAgent is sent with every request. Default "oz-go/<version>".
	UserAgent string

	// Clock waits between attempts. Default: the machine's.
	Clock task.Clock
}

// Client is a remote platform as one API key sees it.
type Client struct {
	base   string // with prefix, without trailing slash
	opts   Options
	raw    *api.Client // requests and answers of bounded size
	files  *api.Client // answers that are handed on as they come
	stream *api.Client // the same in one attempt: who follows a log tries again by itself
}

var _ oz.Service = (*Client)(nil)

// New returns a Client of the server at baseURL. A URL without a path stands
// for its API at /api/v1; another path is taken as the API's own. opts may be
// nil. Nothing is sent yet.
func New(baseURL string, opts *Options) (*Client, error) {
	o := withDefaults(opts)
	if err := o.check(); err != nil {
		return nil, err
	}
	base, err := parseBase(baseURL)
	if err != nil {
		return nil, err
	}
	c := &Client{base: base, opts: o}
	if c.raw, err = c.newRaw(&sender{opts: o, timeout: o.Timeout, whole: true, retry: retryFew(o.MaxRetries)}); err != nil {
		return nil, err
	}
	if c.files, err = c.newRaw(&sender{opts: o, retry: retryFew(o.MaxRetries)}); err != nil {
		return nil, err
	}
	if c.stream, err = c.newRaw(&sender{opts: o, retry: retryFew(-1)}); err != nil {
		return nil, err
	}
	return c, nil
}

// newRaw returns the generated client, sending with s.
func (c *Client) newRaw(s *sender) (*api.Client, error) {
	return api.NewClient(c.base, api.WithHTTPClient(s), api.WithRequestEditorFn(func(_ context.Context, r *http.Request) error {
		c.credentials(r.Header)
		return nil
	}))
}

// credentials says who asks.
func (c *Client) credentials(h http.Header) {
	h.Set("User-Agent", c.opts.UserAgent)
	switch {
	case c.opts.APIKey != "":
		h.Set("Authorization", "Bearer "+c.opts.APIKey)
	case c.opts.Link != "":
		h.Set("Authorization", "Bearer "+c.opts.Link)
	}
	if c.opts.APIKey != "" && c.opts.Link != "" {
		h.Set("X-Oz-Link", c.opts.Link)
	}
}

func withDefaults(opts *Options) Options {
	var o Options
	if opts != nil {
		o = *opts
	}
	o.Timeout = cmp.Or(o.Timeout, time.Minute)
	if o.HTTPClient == nil {
		transport := http.DefaultTransport.(*http.Transport).Clone()
		transport.MaxIdleConnsPerHost = 16          // one host is all that a client talks to
		transport.ResponseHeaderTimeout = o.Timeout // bounds streams and files, which have no other limit
		o.HTTPClient = &http.Client{Transport: transport}
	}
	o.HTTPClient = cautious(o.HTTPClient)
	o.MaxRetries = cmp.Or(o.MaxRetries, 2)
	o.MaxAnswerBytes = cmp.Or(o.MaxAnswerBytes, 256<<20)
	o.StreamIdle = cmp.Or(o.StreamIdle, time.Minute)
	o.UserAgent = cmp.Or(o.UserAgent, "oz-go/"+version())
	if o.Clock == nil {
		o.Clock = task.SystemClock()
	}
	return o
}

// check refuses what could not be sent, without repeating it: a key that was
// read from a file often ends in a line break.
func (o Options) check() error {
	switch {
	case !oneLine(o.APIKey):
		return task.Invalid("APIKey", "must be one line of text")
	case !oneLine(o.Link):
		return task.Invalid("Link", "must be one line of text")
	case !oneLine(o.UserAgent):
		return task.Invalid("UserAgent", "must be one line of text")
	case o.Timeout < 0 || o.StreamIdle < 0 || o.MaxAnswerBytes < 0:
		return task.Invalid("Timeout", "bounds and durations may not be negative")
	}
	return nil
}

// oneLine reports that s can be the value of a header.
func oneLine(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f })
}

// module is whose version the client reports.
const module = "github.com/oz-platform/cloudagents"

// version is that of this module in the running program.
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "devel"
	}
	for _, m := range append(info.Deps, &info.Main) {
		if m.Path == module && m.Version != "" {
			return strings.Trim(m.Version, "()")
		}
	}
	return "devel"
}

// parseBase checks a server's address. The address is not part of the errors:
// it may hold what it should not.
func parseBase(s string) (string, error) {
	u, err := url.Parse(strings.TrimSpace(s))
	switch {
	case err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https"):
		return "", task.Invalid("server URL", "must be like https://oz.example.com")
	case u.User != nil:
		return "", task.Invalid("server URL", "must not hold credentials; pass the API key apart")
	case u.RawQuery != "" || u.Fragment != "":
		return "", task.Invalid("server URL", "must have neither query nor fragment")
	}
	if path := strings.TrimRight(u.Path, "/"); path != "" {
		u.Path = path
	} else {
		u.Path = "/api/v1"
	}
	u.RawPath = ""
	return u.String(), nil
}

// BaseURL is the address of the API, prefix included.
func (c *Client) BaseURL() string { return c.base }

// query sets the request's query. Queries are written by hand: the generated
// code sends parameters that are not given, too.
func query(v url.Values) api.RequestEditorFn {
	return func(_ context.Context, r *http.Request) error {
		r.URL.RawQuery = v.Encode()
		return nil
	}
}

// header sets one of the request's headers, unless value is empty.
func header(key, value string) api.RequestEditorFn {
	return func(_ context.Context, r *http.Request) error {
		if value == "" {
			return nil
		}
		if !oneLine(value) {
			return task.Invalid(key, "must be one line of text")
		}
		r.Header.Set(key, value)
		return nil
	}
}

// checkID refuses the ids that would change the path.
func checkID(kind, id string) error {
	if id == "" || id == "." || id == ".." {
		return task.Invalid(kind, "%q is no id", id)
	}
	return nil
}

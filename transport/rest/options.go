package rest

import (
	"cmp"
	"crypto/rand"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"go.uber.org/zap"

	"github.com/oz-platform/cloudagents/task"
	"github.com/oz-platform/cloudagents/transport/worker"
)

// Options holds what a Handler can do without. The zero value is ready to use.
type Options struct {
	// Prefix is put before every path but /healthz and /readyz. Default "/api/v1".
	Prefix string

	// ErrorTypeBase is put before the error code to make a problem's type URI.
	// Default the address of the Oz API's error pages.
	ErrorTypeBase string

	// SigningKey signs download links, at least 32 bytes. Default random, so
	// that links end with the process; replicas must share one.
	SigningKey []byte

	// LinkLifetime is how long a download link works. Default 15 minutes.
	LinkLifetime time.Duration

	// MaxBodyBytes bounds a request's body where nothing else is said. Default 1 MiB.
	MaxBodyBytes int64

	// MaxCreateBytes bounds the body that creates a run, attachments included.
	// Default 76 MiB: a prompt with its escapes, and five attachments of
	// 10 MiB in base64 (Oz platform, limits).
	MaxCreateBytes int64

	// CORSOrigins are the origins whose pages may call the API. nil allows
	// every origin: access needs a key that a browser never sends by itself.
	// An empty list allows none.
	CORSOrigins []string

	// MaxStreams bounds the event streams that are open at once; one more is
	// answered 429. Default 10,000.
	MaxStreams int

	// StreamHeartbeat is how often a stream sends a comment, so that proxies
	// keep it, and looks whether its key still holds. Default 15 s.
	StreamHeartbeat time.Duration

	// WriteTimeout is how long a client may take for one piece of an answer,
	// 256 KiB at most, before it counts as gone. Default 30 s.
	WriteTimeout time.Duration

	// Workers is the server's end of the links of workers on other hosts; its
	// Run is the caller's business. Default: none, so that none can connect.
	Workers *worker.Hub

	// SignIn lets people sign in with a browser. Its sessions are cookies,
	// which other sites can neither read nor make requests with. Default: none,
	// so that API keys are the only way in; a browser makes a session from one.
	SignIn *SignIn

	// Pages answers what is outside the API, such as the web app: it gets the
	// requests as they come, without the API's headers. Default: none, so that
	// they are answered 404.
	Pages http.Handler

	// Clock tells the time. Default: the machine's.
	Clock task.Clock

	// Logger receives panics, internal errors and what else has nobody to
	// return to. Default: none.
	Logger *zap.Logger
}

// defaultErrorTypes is where the codes are explained (Oz API, error body).
const defaultErrorTypes = "https://docs.warp.dev/reference/api-and-sdk/troubleshooting/errors/"

// minSigningKey is the output size of SHA-256: a shorter key is weaker than
// the signature (RFC 2104, section 3).
const minSigningKey = 32

func (o *Options) withDefaults() (Options, error) {
	if o == nil {
		o = &Options{}
	}
	r := *o
	r.Prefix = strings.TrimRight(cmp.Or(r.Prefix, "/api/v1"), "/")
	r.ErrorTypeBase = strings.TrimRight(cmp.Or(r.ErrorTypeBase, defaultErrorTypes), "/") + "/"
	r.SigningKey = slices.Clone(r.SigningKey)
	if len(r.SigningKey) == 0 {
		r.SigningKey = make([]byte, minSigningKey)
		_, _ = rand.Read(r.SigningKey) // never fails
	}
	r.LinkLifetime = cmp.Or(r.LinkLifetime, 15*time.Minute)
	r.MaxBodyBytes = cmp.Or(r.MaxBodyBytes, 1<<20)
	r.MaxCreateBytes = cmp.Or(r.MaxCreateBytes, 76<<20)
	r.MaxStreams = cmp.Or(r.MaxStreams, 10_000)
	r.StreamHeartbeat = cmp.Or(r.StreamHeartbeat, 15*time.Second)
	r.WriteTimeout = cmp.Or(r.WriteTimeout, 30*time.Second)
	if r.SignIn != nil {
		s := *r.SignIn
		s.Name = cmp.Or(s.Name, "single sign-on")
		r.SignIn = &s
	}
	if r.Clock == nil {
		r.Clock = task.SystemClock()
	}
	if r.Logger == nil {
		r.Logger = zap.NewNop()
	}
	return r, r.check()
}

func (o Options) check() error {
	switch {
	case o.Prefix != "" && (!strings.HasPrefix(o.Prefix, "/") || strings.ContainsAny(o.Prefix, "{} ?#")):
		return task.Invalid("Prefix", "must be a path like /api/v1")
	case len(o.SigningKey) < minSigningKey:
		return task.Invalid("SigningKey", "must have at least %d bytes", minSigningKey)
	case o.LinkLifetime < 0 || o.MaxBodyBytes < 0 || o.MaxCreateBytes < 0 || o.MaxStreams < 0 || o.StreamHeartbeat < 0 || o.WriteTimeout < 0:
		return task.Invalid("MaxBodyBytes", "bounds and durations may not be negative")
	}
	if o.SignIn != nil && o.SignIn.Provider == nil {
		return task.Invalid("SignIn", "needs a Provider")
	}
	if _, err := url.Parse(o.ErrorTypeBase); err != nil {
		return task.Invalid("ErrorTypeBase", "must be a URL")
	}
	return nil
}

package gateway

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"code.dny.dev/ssrf"

	"github.com/oz-platform/cloudagents/executor/catalog"
	"github.com/oz-platform/cloudagents/task"
)

// Limits of what passes through. Each protects the runner's memory, or its
// patience, from one side.
const (
	// MaxRequestBytes bounds a request's body. It is the limit of Anthropic's
	// Messages API (Anthropic API, request size limits).
	MaxRequestBytes = 32 << 20
	// MaxReplyBytes bounds an answer that is not a stream; it is held in memory.
	MaxReplyBytes = 32 << 20
	// MaxStreamBytes bounds a streamed answer, which is not held.
	MaxStreamBytes = 256 << 20
	// maxErrorBytes bounds a provider's error document.
	maxErrorBytes = 1 << 20
	// requestTimeout is how long a harness may take to send its request. It
	// comes over loopback, so this is generous.
	requestTimeout = time.Minute
)

// Options holds what a Gateway can do without.
type Options struct {
	// Aliases are names for models, such as "auto". Default: none.
	Aliases map[string]string
	// Fallback are models that stand in for one, asked on the same wire in this
	// order, after what its provider's own Fallback has. Default: none.
	Fallback map[string][]string
	// Disabled are models that are refused although a provider serves them, each
	// one exact or with a "*" at the end. Default: none.
	Disabled []string
	// Budget limits the spending. Default: no limit.
	Budget Budget
	// Reserve is asked before each call that costs something, once Budget has
	// room for it: for budgets that others spend as well. held says that
	// something may be held for the call now, whatever the error; Call.Reservation
	// then names it. An error with task.CodeBudgetExceeded refuses the call like
	// Budget does. Default: none.
	Reserve func(ctx context.Context, r Reservation) (held bool, err error)
	// Retry says how failures are tried again. Its zero fields have defaults.
	Retry Retry
	// AnswerTimeout is how long a whole answer may take from the request to
	// its last byte. Default 10 min, as the vendors' SDKs have it.
	AnswerTimeout time.Duration
	// IdleTimeout is how long a stream may be silent, before its first byte and
	// between any two. Default 5 min: reasoning models think that long unheard.
	IdleTimeout time.Duration
	// Prices is the table for costs and money limits. Default: [catalog.DefaultPrices].
	Prices *catalog.Prices
	// OnCall is given each call when its last byte is about to be passed on,
	// one call at a time. It must be quick. Default: none.
	OnCall func(Call)
	// FirstCall is the number of the first call. Default 1.
	FirstCall int64
	// Token is what harnesses show. Default: 32 random bytes in base64.
	Token Key
	// UnixSocket is the path that Run listens on, in a directory that only the
	// run's user may enter. Default: a free port of 127.0.0.1.
	UnixSocket string
	// MaxConcurrent is how many calls may be under way; more wait. Default 16.
	MaxConcurrent int
	// StopTimeout is how long calls under way may go on after Run is told to
	// stop. Default 5 s.
	StopTimeout time.Duration
	// Transport makes the requests to providers that are not PublicOnly; it must
	// not follow redirects nor decompress. Default: an own one that uses the
	// environment's proxy.
	Transport http.RoundTripper
	// Clock measures and waits. Default: the system's.
	Clock task.Clock
}

func (o Options) withDefaults() (Options, error) {
	o.Retry = o.Retry.withDefaults()
	o.AnswerTimeout = defaulted(o.AnswerTimeout, 10*time.Minute)
	o.IdleTimeout = defaulted(o.IdleTimeout, 5*time.Minute)
	o.FirstCall = defaulted(o.FirstCall, 1)
	o.MaxConcurrent = defaulted(o.MaxConcurrent, 16)
	o.StopTimeout = defaulted(o.StopTimeout, 5*time.Second)
	if o.Clock == nil {
		o.Clock = task.SystemClock()
	}
	if o.Transport == nil {
		o.Transport = newTransport(false)
	}
	if o.OnCall == nil {
		o.OnCall = func(Call) {}
	}
	if o.Token.IsZero() {
		o.Token = randomToken()
	}
	if o.Prices == nil {
		prices, err := catalog.DefaultPrices()
		if err != nil {
			return o, err
		}
		o.Prices = prices
	}
	if o.AnswerTimeout < 0 || o.IdleTimeout < 0 || o.StopTimeout < 0 || o.MaxConcurrent < 0 || o.FirstCall < 0 {
		return o, errors.New("a limit must not be negative")
	}
	return o, errors.Join(o.Budget.validate(), o.Retry.validate())
}

// newTransport is for a handful of hosts. It asks for no compression: what
// comes must pass through as it is, and be read on the way. A public one judges
// each address when it is dialled, after the name was resolved, and uses no
// proxy, for nobody could tell what that would dial.
func newTransport(public bool) *http.Transport {
	dialer := &net.Dialer{Timeout: 10 * time.Second, KeepAlive: 30 * time.Second}
	proxy := http.ProxyFromEnvironment
	if public {
		dialer.Control = ssrf.New(ssrf.WithAnyPort()).Safe
		proxy = nil
	}
	return &http.Transport{
		Proxy:                  proxy,
		DialContext:            dialer.DialContext,
		ForceAttemptHTTP2:      true,
		TLSHandshakeTimeout:    10 * time.Second,
		MaxIdleConnsPerHost:    16,
		IdleConnTimeout:        90 * time.Second,
		MaxResponseHeaderBytes: 64 << 10,
		DisableCompression:     true,
	}
}

func randomToken() Key {
	var b [32]byte
	_, _ = rand.Read(b[:]) // never fails (crypto/rand)
	return NewKey("sk-oz-" + base64.RawURLEncoding.EncodeToString(b[:]))
}

// Gateway is a run's door to the models. It is an http.Handler; Run serves it
// on loopback. Safe for concurrent use.
type Gateway struct {
	opts    Options
	router  *router
	scrub   *scrubber
	ledger  *ledger
	outages outages
	token   [sha256.Size]byte
	slots   chan struct{}
	// public reaches providers that are PublicOnly.
	public *http.Transport
	number atomic.Int64 // of the last call

	recording sync.Mutex // orders OnCall

	mu    sync.Mutex
	usage map[string]Usage
}

var _ http.Handler = (*Gateway)(nil)

// New returns a Gateway to providers. opts may be nil. It starts nothing.
func New(providers []Provider, opts *Options) (*Gateway, error) {
	if opts == nil {
		opts = &Options{}
	}
	o, err := opts.withDefaults()
	if err != nil {
		return nil, fmt.Errorf("model gateway: %w", err)
	}
	o.Aliases = maps.Clone(o.Aliases)
	r, err := newRouter(slices.Clone(providers), o)
	if err != nil {
		return nil, fmt.Errorf("model gateway: %w", err)
	}
	var keys []Key
	for _, p := range providers {
		keys = append(keys, p.APIKey)
	}
	g := &Gateway{
		opts: o, router: r, scrub: newScrubber(keys), ledger: newLedger(o.Budget),
		outages: outages{clock: o.Clock, known: map[outageKey]outage{}},
		token:   sha256.Sum256([]byte(o.Token.Reveal())),
		slots:   make(chan struct{}, o.MaxConcurrent), public: newTransport(true),
		usage: map[string]Usage{},
	}
	g.number.Store(o.FirstCall - 1)
	return g, nil
}

// Token is what a harness must show, for its environment.
func (g *Gateway) Token() string { return g.opts.Token.Reveal() }

// Usage is what this gateway's calls used so far, by model. It does not have
// what Budget says was spent before.
func (g *Gateway) Usage() map[string]Usage {
	g.mu.Lock()
	defer g.mu.Unlock()
	return maps.Clone(g.usage)
}

// Spent is what the run has spent of its budget, including what was spent
// before. Money spent on models without a price is not in it.
func (g *Gateway) Spent() (tokens int64, usd float64) {
	total := g.ledger.total()
	return total.tokens, total.money.usd()
}

// ServeHTTP takes one request of a harness.
func (g *Gateway) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	wire := wireOf(r.URL.Path)
	if !g.authorized(r) {
		refusal{http.StatusUnauthorized, ClassUnauthorized,
			"the model gateway wants the token of this run as x-api-key, x-goog-api-key or as a bearer token"}.write(w, wire)
		return
	}
	if r.Method == http.MethodGet && g.serveModels(w, r) {
		return
	}
	op, ok := operationOf(r.URL)
	if !ok {
		// The path alone: a query may hold the token.
		refusal{http.StatusNotFound, ClassNotFound, "the model gateway has no path " + r.URL.Path}.write(w, wire)
		return
	}
	if r.Method != http.MethodPost {
		w.Header().Set("Allow", http.MethodPost)
		refusal{http.StatusMethodNotAllowed, ClassNotFound, "use POST"}.write(w, wire)
		return
	}
	select {
	case g.slots <- struct{}{}:
		defer func() { <-g.slots }()
	case <-r.Context().Done():
		return
	}
	g.serveCall(w, r, op)
}

// wireOf tells in whose shape to answer.
func wireOf(path string) Wire {
	for _, wire := range wires() {
		if strings.HasPrefix(path, "/"+string(wire)+"/") {
			return wire
		}
	}
	return OpenAI
}

// authorized compares in constant time, whatever the length of what is shown.
// The token may stand in a query on the Gemini wire alone, whose clients know
// that way; it goes no further (see passedQuery).
func (g *Gateway) authorized(r *http.Request) bool {
	shown := []string{r.Header.Get("X-Api-Key"), r.Header.Get("X-Goog-Api-Key")}
	if scheme, token, ok := strings.Cut(r.Header.Get("Authorization"), " "); ok && strings.EqualFold(scheme, "Bearer") {
		shown = append(shown, strings.TrimSpace(token))
	}
	if wireOf(r.URL.Path) == Gemini {
		shown = append(shown, r.URL.Query().Get("key"))
	}
	match := 0
	for _, s := range shown {
		sum := sha256.Sum256([]byte(s))
		match |= subtle.ConstantTimeCompare(sum[:], g.token[:])
	}
	return match == 1
}

// readRequest takes the body of a call, within its limits of size and time.
func readRequest(w http.ResponseWriter, r *http.Request) ([]byte, *refusal) {
	if enc := r.Header.Get("Content-Encoding"); enc != "" && !strings.EqualFold(enc, "identity") {
		return nil, &refusal{http.StatusUnsupportedMediaType, ClassInvalidRequest, "send the body without Content-Encoding"}
	}
	// Deadlines are a matter of a real connection; elsewhere there is none to set.
	conn := http.NewResponseController(w)
	_ = conn.SetReadDeadline(time.Now().Add(requestTimeout))
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, MaxRequestBytes))
	_ = conn.SetReadDeadline(time.Time{}) // else it would end the call while it is under way
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		return nil, &refusal{http.StatusRequestEntityTooLarge, ClassContextTooLong,
			fmt.Sprintf("the request is larger than %d bytes; shorten the conversation", int64(MaxRequestBytes))}
	case err != nil:
		return nil, &refusal{http.StatusBadRequest, ClassInvalidRequest, "the request's body broke off"}
	}
	return body, nil
}

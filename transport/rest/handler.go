package rest

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync"

	"github.com/oz-platform/cloudagents/oz"
	"github.com/oz-platform/cloudagents/oz/access"
	"github.com/oz-platform/cloudagents/task"
	"github.com/oz-platform/cloudagents/transport/api"
	"github.com/oz-platform/cloudagents/transport/internal/termws"
)

// Handler serves the API over HTTP. Mount it at "/": it answers what is below
// its prefix, /healthz and /readyz, and 404 problems for all else, unless
// Options.Pages answers that.
type Handler struct {
	platform *oz.Platform
	opts     Options
	mux      *http.ServeMux
	recent   *recentCreates
	links    signer
	streams  chan struct{}       // one token per open stream
	guesses  access.Guesses      // of keys and codes at the sign-in
	mcp      func() http.Handler // of the Model Context Protocol
	// reference renders the contract as a page, when it is first asked for.
	reference func() (string, error)

	stopOnce sync.Once
	stopped  chan struct{}
}

// New returns a Handler over p. It fails when a route has no entry in the
// access table, or an operation of the contract is not served. opts may be nil.
func New(p *oz.Platform, opts *Options) (*Handler, error) {
	o, err := opts.withDefaults()
	if err != nil {
		return nil, fmt.Errorf("rest options: %w", err)
	}
	h := &Handler{
		platform: p,
		opts:     o,
		recent:   newRecentCreates(o.Clock),
		links:    signer{key: o.SigningKey, clock: o.Clock},
		streams:  make(chan struct{}, o.MaxStreams),
		guesses:  access.Guesses{Max: signInGuesses, Window: signInWindow},
		stopped:  make(chan struct{}),
	}
	h.reference = sync.OnceValues(func() (string, error) { return renderReference(api.OpenAPI(), o.Prefix) })
	h.mcp = sync.OnceValue(h.newMCP) // its schemas take a while, and few ask
	routes, err := parseRoutes(api.OpenAPI())
	if err != nil {
		return nil, fmt.Errorf("rest routes: %w", err)
	}
	if h.mux, err = h.routes(routes); err != nil {
		return nil, fmt.Errorf("rest routes: %w", err)
	}
	return h, nil
}

// routes builds the mux from the generated routes and the two health checks.
func (h *Handler) routes(routes map[string]route) (*http.ServeMux, error) {
	t := &table{mux: http.NewServeMux(), prefix: h.opts.Prefix, routes: routes, guard: h.guard}
	strict := api.NewStrictHandlerWithOptions(operations{h}, nil, api.StrictHTTPServerOptions{
		RequestErrorHandlerFunc:  h.badRequest,
		ResponseErrorHandlerFunc: h.fail,
	})
	api.HandlerWithOptions(strict, api.StdHTTPServerOptions{
		BaseURL: h.opts.Prefix, BaseRouter: t, ErrorHandlerFunc: h.badRequest,
	})
	t.mux.HandleFunc(webhookPath, h.webhook) // origins answer for themselves
	t.mux.HandleFunc("GET /link", h.linkPage)
	t.HandleFunc("GET /healthz", h.healthz)
	t.HandleFunc("GET /readyz", h.readyz)
	return t.mux, t.check()
}

// Stop ends the open streams, so that http.Server.Shutdown need not wait for
// them; their clients resume elsewhere. Pass it to RegisterOnShutdown, as
// NewServer does. Stopping again does nothing.
func (h *Handler) Stop() { h.stopOnce.Do(func() { close(h.stopped) }) }

// ServeHTTP implements http.Handler.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	_, pattern := h.mux.Handler(r)
	if pattern == "" && h.opts.Pages != nil && !h.below(r.URL.Path) {
		h.opts.Pages.ServeHTTP(w, r)
		return
	}
	rw := h.answer(w, r)
	defer h.recovered(rw, r)
	if h.cors(rw, r) {
		return
	}
	if pattern == "" {
		h.unrouted(rw, r)
		return
	}
	h.mux.ServeHTTP(rw, r)
}

// below reports that a path is below the API's prefix.
func (h *Handler) below(path string) bool {
	rest, ok := strings.CutPrefix(path, h.opts.Prefix)
	return ok && (rest == "" || rest[0] == '/')
}

// answer begins what all answers have in common.
func (h *Handler) answer(w http.ResponseWriter, r *http.Request) *response {
	rw := newResponse(w, requestID(r), h.opts.WriteTimeout)
	head := rw.Header()
	head.Set("X-Request-Id", rw.id)
	head.Set("X-Content-Type-Options", "nosniff")
	head.Set("Cache-Control", "no-store")      // answers depend on the key
	head.Set("Referrer-Policy", "no-referrer") // an address may be a signed link
	return rw
}

// call is what is known of a request while it is served.
type call struct {
	route   route
	caller  access.Caller
	client  *oz.Client
	request *http.Request
	body    []byte     // of jsonBody routes
	list    *listQuery // of listRuns
}

// callKey is the context key of the call.
type callKey struct{}

// callOf gives the call that ctx belongs to. Every operation runs behind
// guard, which put it there.
func callOf(ctx context.Context) *call { return ctx.Value(callKey{}).(*call) }

// guard lets requests of a route through that admit has nothing against. It
// keeps nothing on its stack: streams wait for hours beneath it.
func (h *Handler) guard(rt route, next http.HandlerFunc) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r = h.admit(w, r, rt); r != nil {
			next(w, r)
		}
	})
}

// admit finds the caller of a route and reads its body, in this order, so that
// a stranger cannot make the server read one. It gives the request with its
// call, or nil after it has answered.
func (h *Handler) admit(w http.ResponseWriter, r *http.Request, rt route) *http.Request {
	c := &call{route: rt}
	r = r.WithContext(access.WithOrigin(r.Context(), access.Origin{RequestID: w.Header().Get("X-Request-Id"), Remote: remote(r)}))
	if !rt.public {
		caller, err := h.authenticate(r)
		if err == nil {
			err = h.mayUse(r.Context(), caller, rt)
		}
		if err != nil {
			h.fail(w, r, err)
			return nil
		}
		c.caller, c.client = caller, h.platform.As(caller)
	}
	if err := h.readBody(w, r, c); err != nil {
		h.fail(w, r, err)
		return nil
	}
	r = r.WithContext(context.WithValue(r.Context(), callKey{}, c))
	if err := readQuery(r, c); err != nil {
		h.fail(w, r, err)
		return nil
	}
	c.request = r
	return r
}

// remote is the address of the peer without its port: the client's, or that
// of the proxy in front. Headers that any client can send are not believed.
func remote(r *http.Request) string {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return r.RemoteAddr
	}
	return host
}

// mayUse keeps run tokens, which an agent might get hold of, from every route
// that the access table does not give to runners; what the caller may do to
// the object at hand is judged by the platform.
func (h *Handler) mayUse(ctx context.Context, c access.Caller, rt route) error {
	if c.Execution == "" {
		return nil
	}
	return h.platform.As(c).Allow(ctx, rt.action, access.Object{TaskID: c.TaskID})
}

// authenticate finds who asks. The key is everything after "Bearer ", verbatim:
// keys may hold spaces (Oz API, auth).
func (h *Handler) authenticate(r *http.Request) (access.Caller, error) {
	links, err := h.runLinks(r)
	if err != nil {
		return access.Caller{}, err
	}
	key, err := bearer(r)
	if err != nil {
		return access.Caller{}, err
	}
	if strings.HasPrefix(key, oz.RunLinkPrefix) {
		return h.guest(r, key)
	}
	var c access.Caller
	if key != "" {
		c, err = h.platform.Authenticate(r.Context(), key)
	} else if c, err = h.session(r); err != nil && len(links) > 0 && task.CodeOf(err) == task.CodeAuthenticationRequired {
		return h.guestOf(links)
	}
	if err == nil && c.SignedIn() {
		c.Links = links
	}
	return c, err
}

// bearer gives the key of a request, "" for one without.
func bearer(r *http.Request) (string, error) {
	const scheme = "Bearer "
	header := r.Header.Get("Authorization")
	if header == "" {
		key, ok := termws.Key(r.Header.Values("Sec-WebSocket-Protocol"))
		if !ok {
			return "", task.Errorf(task.CodeAuthenticationRequired, "the subprotocol %s<key> needs the key in base64url", termws.BearerPrefix)
		}
		return key, nil
	}
	if len(header) <= len(scheme) || !strings.EqualFold(header[:len(scheme)], scheme) {
		return "", task.Errorf(task.CodeAuthenticationRequired, "send an API key in the header Authorization: Bearer <key>")
	}
	return header[len(scheme):], nil
}

// unrouted answers for paths and methods that the API does not have.
func (h *Handler) unrouted(w http.ResponseWriter, r *http.Request) {
	probe := &discard{header: http.Header{}}
	h.mux.ServeHTTP(probe, r) // tells a wrong method from an unknown path
	switch allow := probe.header.Get("Allow"); {
	case probe.status == http.StatusMethodNotAllowed && allow != "":
		w.Header().Set("Allow", allow)
		h.fail(w, r, &statusError{http.StatusMethodNotAllowed, task.Errorf(task.CodeInvalidRequest, "%s is not possible here; use %s", r.Method, allow)})
	case h.lacksID(r):
		h.fail(w, r, task.Errorf(task.CodeInvalidRequest, "the path ends where an id must follow"))
	default:
		h.fail(w, r, task.Errorf(task.CodeNotFound, "the API has no such path; see %s/openapi.json", h.opts.Prefix))
	}
}

// lacksID reports a path whose last parameter is empty: a client was given ""
// for an id (Oz API, path parameters).
func (h *Handler) lacksID(r *http.Request) bool {
	if !strings.HasSuffix(r.URL.Path, "/") {
		return false
	}
	longer := r.Clone(r.Context())
	longer.URL.Path += "x"
	longer.URL.RawPath = ""
	_, pattern := h.mux.Handler(longer)
	return pattern != ""
}

// discard is a ResponseWriter that keeps status and header alone.
type discard struct {
	header http.Header
	status int
}

func (d *discard) Header() http.Header { return d.header }

func (d *discard) WriteHeader(status int) { d.status = status }

func (d *discard) Write(b []byte) (int, error) { return len(b), nil }

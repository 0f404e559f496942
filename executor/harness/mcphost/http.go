package mcphost

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/modelcontextprotocol/go-sdk/auth"
	"github.com/modelcontextprotocol/go-sdk/auth/extauth"
	sdk "github.com/modelcontextprotocol/go-sdk/mcp"
	"github.com/modelcontextprotocol/go-sdk/oauthex"
	"golang.org/x/oauth2"
	"golang.org/x/oauth2/clientcredentials"

	"github.com/oz-platform/cloudagents/environment/mcp"
)

// errRefused is in the errors of servers that do not let us in: there is no
// point in another transport.
var errRefused = errors.New("the server refused the credentials")

// headerTimeout bounds the wait for the head of an answer to what is no call.
const headerTimeout = time.Minute

// streamable is the transport of today.
func (v *server) streamable(seen *refusals) (sdk.Transport, error) {
	t := &sdk.StreamableClientTransport{Endpoint: v.config.URL, HTTPClient: v.client(seen), MaxEventSize: v.h.opts.MaxMessageBytes, MaxRetries: 2, DisableStandaloneSSE: true}
	if v.config.OAuth != nil {
		o, err := v.oauth(v.config.OAuth)
		if err != nil {
			return nil, err
		}
		t.OAuthHandler = o
	}
	return t, nil
}

// sse is the transport of before March 2025.
func (v *server) sse(seen *refusals) (sdk.Transport, error) {
	return &sdk.SSEClientTransport{Endpoint: v.config.URL, HTTPClient: v.client(seen), MaxEventSize: v.h.opts.MaxMessageBytes}, nil
}

// client sends the server's headers to the server alone, and bounds answers.
func (v *server) client(seen *refusals) *http.Client {
	base := http.DefaultTransport.(*http.Transport).Clone() // it is one
	base.ResponseHeaderTimeout = max(headerTimeout, v.h.opts.CallTimeout)
	base.DisableKeepAlives = true      // nothing is left behind
	home, _ := url.Parse(v.config.URL) // Parse has judged it
	return &http.Client{
		Transport: &door{base: base, home: home, headers: v.config.Headers, limit: int64(v.h.opts.MaxMessageBytes), seen: seen},
		CheckRedirect: func(r *http.Request, via []*http.Request) error {
			if len(via) >= 5 || !sameOrigin(r.URL, home) {
				return errors.New("it redirects to another server, which is not followed")
			}
			return nil
		},
	}
}

func sameOrigin(a, b *url.URL) bool {
	return a.Scheme == b.Scheme && strings.EqualFold(a.Host, b.Host)
}

// door is the transport of one server's requests.
type door struct {
	base    *http.Transport
	home    *url.URL
	headers map[string]string
	limit   int64
	seen    *refusals
}

// RoundTrip implements http.RoundTripper.
func (d *door) RoundTrip(r *http.Request) (*http.Response, error) {
	if sameOrigin(r.URL, d.home) && len(d.headers) > 0 {
		r = r.Clone(r.Context())
		for name, value := range d.headers {
			r.Header.Set(name, value)
		}
	}
	res, err := d.base.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	d.seen.note(res.StatusCode)
	if !strings.HasPrefix(res.Header.Get("Content-Type"), "text/event-stream") { // events have a limit each
		res.Body = &boundedBody{ReadCloser: res.Body, left: d.limit, limit: d.limit}
	}
	return res, nil
}

// boundedBody fails, rather than ends, at its limit.
type boundedBody struct {
	io.ReadCloser
	left, limit int64
}

// Read implements io.Reader.
func (b *boundedBody) Read(p []byte) (int, error) {
	if int64(len(p)) > b.left+1 {
		p = p[:b.left+1]
	}
	n, err := b.ReadCloser.Read(p)
	if b.left -= int64(n); b.left < 0 {
		return 0, fmt.Errorf("its answer has more than %d bytes", b.limit)
	}
	return n, err
}

// refusals remembers that a server did not let us in.
type refusals struct {
	mu     sync.Mutex
	status int
}

func (r *refusals) note(status int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if status == http.StatusUnauthorized || status == http.StatusForbidden {
		r.status = status
	}
}

func (r *refusals) explain(err error) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.status == 0 {
		return err
	}
	return fmt.Errorf("%w (HTTP %d): check headers or oauth, and the secrets that they name", errRefused, r.status)
}

// oauth gets tokens without a person.
func (v *server) oauth(o *mcp.OAuth) (auth.OAuthHandler, error) {
	client := &http.Client{Timeout: headerTimeout, Transport: &door{base: v.tokenTransport(), home: &url.URL{}, limit: 1 << 20, seen: &refusals{}}}
	if o.TokenURL == "" {
		h, err := extauth.NewClientCredentialsHandler(&extauth.ClientCredentialsHandlerConfig{
			Credentials: &oauthex.ClientCredentials{ClientID: o.ClientID, ClientSecretAuth: &oauthex.ClientSecretAuth{ClientSecret: o.ClientSecret}}, HTTPClient: client})
		if err != nil {
			return nil, fmt.Errorf("oauth: %w", err)
		}
		return &learning{OAuthHandler: h, v: v}, nil
	}
	ctx := context.WithValue(context.Background(), oauth2.HTTPClient, client)
	config := clientcredentials.Config{ClientID: o.ClientID, ClientSecret: o.ClientSecret, TokenURL: o.TokenURL, Scopes: o.Scopes}
	return &learning{OAuthHandler: &fixed{source: config.TokenSource(ctx), renew: func() oauth2.TokenSource { return config.TokenSource(ctx) }}, v: v}, nil
}

func (v *server) tokenTransport() *http.Transport {
	base := http.DefaultTransport.(*http.Transport).Clone() // it is one
	base.DisableKeepAlives = true
	return base
}

// fixed gets tokens from an address that the configuration names.
type fixed struct {
	mu     sync.Mutex
	source oauth2.TokenSource
	renew  func() oauth2.TokenSource
}

// TokenSource implements auth.OAuthHandler.
func (f *fixed) TokenSource(context.Context) (oauth2.TokenSource, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.source, nil
}

// Authorize implements auth.OAuthHandler: a token that was refused before its
// time may have been revoked.
func (f *fixed) Authorize(_ context.Context, _ *http.Request, res *http.Response) error {
	_ = res.Body.Close() // it says nothing that is of use
	f.mu.Lock()
	defer f.mu.Unlock()
	f.source = f.renew()
	return nil
}

// learning makes tokens secret before they are used.
type learning struct {
	auth.OAuthHandler
	v *server
}

// TokenSource implements auth.OAuthHandler.
func (l *learning) TokenSource(ctx context.Context) (oauth2.TokenSource, error) {
	source, err := l.OAuthHandler.TokenSource(ctx)
	if source == nil || err != nil {
		return nil, err
	}
	return tokens{source, l.v}, nil
}

type tokens struct {
	oauth2.TokenSource
	v *server
}

// Token implements oauth2.TokenSource. Its errors may repeat what the token
// server said, which is not for the log.
func (t tokens) Token() (*oauth2.Token, error) {
	token, err := t.TokenSource.Token()
	var refused *oauth2.RetrieveError
	if errors.As(err, &refused) && refused.Response != nil {
		return nil, fmt.Errorf("%w: the token server answered with HTTP %d (%s)", errRefused, refused.Response.StatusCode, bounded(refused.ErrorCode, 100))
	}
	if err != nil {
		return nil, fmt.Errorf("get a token: %w", err)
	}
	// What is too short or too plain to be redacted is no secret.
	_ = t.v.h.s.Redactor.Add(label(t.v.name+".token"), token.AccessToken)
	return token, nil
}

package gateway

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"sync"
	"time"
)

// Endpoint is where a gateway listens, as harnesses want to know it.
type Endpoint struct {
	// AnthropicURL is the base URL for the Anthropic wire, without /v1.
	AnthropicURL string
	// OpenAIURL is the base URL for the OpenAI wire, with /v1.
	OpenAIURL string
	// GeminiURL is the base URL for the Gemini wire, without /v1beta, as
	// GOOGLE_GEMINI_BASE_URL.
	GeminiURL string
	// Socket is the path of the unix socket to dial; empty on loopback. The
	// host in the URLs then means nothing.
	Socket string
	// Token is what to show as the API key. It is good for this gateway only.
	Token string
}

// Run listens on a free port of 127.0.0.1, or on Options.UnixSocket, tells
// ready where, and serves until ctx ends. Then calls under way have
// Options.StopTimeout to end. When Run returns, all calls are recorded. It
// returns nil when ctx ended it.
func (g *Gateway) Run(ctx context.Context, ready func(Endpoint)) error {
	ln, err := g.listen()
	if err != nil {
		return fmt.Errorf("model gateway: %w", err)
	}
	if ready != nil {
		ready(g.endpoint(ln))
	}
	return g.Serve(ctx, ln)
}

func (g *Gateway) listen() (net.Listener, error) {
	if g.opts.UnixSocket == "" {
		return net.Listen("tcp", "127.0.0.1:0")
	}
	ln, err := net.Listen("unix", g.opts.UnixSocket)
	if err != nil {
		return nil, err
	}
	if err := os.Chmod(g.opts.UnixSocket, 0o600); err != nil {
		return nil, errors.Join(err, ln.Close())
	}
	return ln, nil
}

func (g *Gateway) endpoint(ln net.Listener) Endpoint {
	at := Endpoint{Token: g.Token()}
	host := ln.Addr().String()
	if ln.Addr().Network() == "unix" {
		at.Socket, host = host, "gateway"
	}
	at.AnthropicURL = "http://" + host + "/anthropic"
	at.OpenAIURL = "http://" + host + "/openai/v1"
	at.GeminiURL = "http://" + host + "/gemini"
	return at
}

// Serve is Run on a listener of the caller's, which it closes.
func (g *Gateway) Serve(ctx context.Context, ln net.Listener) error {
	calls := &drain{next: g}
	srv := &http.Server{
		Handler:           calls,
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       5 * time.Minute,
		MaxHeaderBytes:    64 << 10,
		ErrorLog:          log.New(io.Discard, "", 0), // what matters is in the records
	}
	failed := make(chan error, 1)
	go func() { failed <- srv.Serve(ln) }()
	select {
	case err := <-failed:
		return fmt.Errorf("model gateway: %w", err)
	case <-ctx.Done():
	}
	grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), g.opts.StopTimeout)
	defer cancel()
	if srv.Shutdown(grace) != nil {
		_ = srv.Close() // ends the contexts of the calls under way
	}
	<-failed
	calls.close()
	g.CloseIdleConnections()
	return nil
}

// CloseIdleConnections drops the kept connections to providers. Serve does it;
// who mounts the Gateway as a handler does it at the end.
func (g *Gateway) CloseIdleConnections() {
	g.public.CloseIdleConnections()
	if t, ok := g.opts.Transport.(interface{ CloseIdleConnections() }); ok {
		t.CloseIdleConnections()
	}
}

// drain lets requests through to next until it is closed. (*http.Server).Close
// does not wait for handlers; this does.
type drain struct {
	next http.Handler

	mu      sync.Mutex
	closed  bool
	running sync.WaitGroup
}

// ServeHTTP drops a request that comes after close; its connection is gone anyway.
func (d *drain) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if !d.enter() {
		return
	}
	defer d.running.Done()
	d.next.ServeHTTP(w, r)
}

func (d *drain) enter() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.closed {
		d.running.Add(1)
	}
	return !d.closed
}

// close lets nothing more in and waits for what is.
func (d *drain) close() {
	d.mu.Lock()
	d.closed = true
	d.mu.Unlock()
	d.running.Wait()
}

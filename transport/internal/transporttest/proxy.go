package transporttest

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"testing"
	"time"

	"gotest.tools/v3/assert"

	"github.com/oz-platform/cloudagents/task"
)

// Fault is what a Proxy does to one request. The zero Fault passes it on.
type Fault struct {
	// Status answers in the server's place, which then sees nothing.
	Status int
	Header http.Header
	Body   string
	// Refuse cuts the connection before the server sees the request.
	Refuse bool
	// Lose lets the server act and cuts the connection instead of answering.
	Lose bool
	// CutAfter cuts the answer behind so many bytes of its body, unless 0.
	CutAfter int
	// Hold leaves the answer's end out: the connection stays open and silent
	// behind CutAfter bytes until the client gives up.
	Hold bool
}

// Proxy is a real HTTP server between client and server that breaks what a
// network and a proxy break.
type Proxy struct {
	// URL is the proxy's root, without prefix.
	URL string

	target string
	client *http.Client
	fault  func(n int, r *http.Request) Fault

	mu   sync.Mutex
	seen []Seen
}

// Seen is a request that reached the proxy.
type Seen struct {
	Method, Path string
	Header       http.Header
}

// StartProxy starts a proxy before target, until the test ends. fault decides
// on the n-th request, from 0.
func StartProxy(t testing.TB, target string, fault func(n int, r *http.Request) Fault) *Proxy {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	assert.NilError(t, err)
	p := &Proxy{URL: "http://" + listener.Addr().String(), target: target, fault: fault}
	transport := &http.Transport{DisableKeepAlives: true}
	p.client = &http.Client{Transport: transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	server := &http.Server{Handler: p}
	var served sync.WaitGroup
	served.Go(func() {
		if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			t.Errorf("serve: %v", err)
		}
	})
	t.Cleanup(func() {
		_ = server.Close()
		served.Wait()
	})
	return p
}

// Seen gives the requests so far.
func (p *Proxy) Seen() []Seen {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]Seen(nil), p.seen...)
}

// ServeHTTP implements http.Handler.
func (p *Proxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	p.mu.Lock()
	n := len(p.seen)
	p.seen = append(p.seen, Seen{Method: r.Method, Path: r.URL.Path, Header: r.Header.Clone()})
	p.mu.Unlock()
	f := p.fault(n, r)
	switch {
	case f.Refuse:
		panic(http.ErrAbortHandler)
	case f.Status != 0:
		for key, values := range f.Header {
			w.Header()[key] = values
		}
		w.WriteHeader(f.Status)
		_, _ = io.WriteString(w, f.Body)
		return
	}
	resp, err := p.forward(r)
	if err != nil {
		http.Error(w, fmt.Sprint(err), http.StatusBadGateway)
		return
	}
	defer func() { _ = resp.Body.Close() }()
	if f.Lose {
		_, _ = io.Copy(io.Discard, resp.Body)
		panic(http.ErrAbortHandler)
	}
	for key, values := range resp.Header {
		w.Header()[key] = values
	}
	w.WriteHeader(resp.StatusCode)
	if f.CutAfter > 0 {
		_, _ = io.CopyN(flushed{w}, resp.Body, int64(f.CutAfter))
		if f.Hold {
			<-r.Context().Done()
		}
		panic(http.ErrAbortHandler)
	}
	_, _ = io.Copy(flushed{w}, resp.Body)
}

func (p *Proxy) forward(r *http.Request) (*http.Response, error) {
	out, err := http.NewRequestWithContext(r.Context(), r.Method, p.target+r.URL.RequestURI(), r.Body)
	if err != nil {
		return nil, err
	}
	out.Header, out.ContentLength, out.Host = r.Header.Clone(), r.ContentLength, r.Host
	return p.client.Do(out)
}

// flushed sends each write at once, as a stream needs it.
type flushed struct{ w http.ResponseWriter }

func (f flushed) Write(b []byte) (int, error) {
	n, err := f.w.Write(b)
	if err != nil {
		return n, err
	}
	return n, http.NewResponseController(f.w).Flush()
}

// Clock fires at once and remembers what it was asked to wait.
type Clock struct {
	task.Clock
	mu     sync.Mutex
	waited []time.Duration
}

// NewClock returns a Clock that tells the machine's time.
func NewClock() *Clock { return &Clock{Clock: task.SystemClock()} }

// After implements task.Clock.
func (c *Clock) After(d time.Duration) <-chan time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.waited = append(c.waited, d)
	fired := make(chan time.Time, 1)
	fired <- c.Now()
	return fired
}

// Waited gives the waits so far.
func (c *Clock) Waited() []time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	return append([]time.Duration(nil), c.waited...)
}

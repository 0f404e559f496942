package gateway_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"gotest.tools/v3/assert"

	"github.com/oz-platform/cloudagents/executor/gateway"
	"github.com/oz-platform/cloudagents/executor/gateway/scripted"
)

func TestUnixSocket(t *testing.T) {
	_, url := play(t, scripted.Step{Text: "through a socket"})
	d := open(t, both(url), gateway.Options{UnixSocket: filepath.Join(t.TempDir(), "models.sock")})
	info, err := os.Stat(d.Socket)
	assert.NilError(t, err)
	assert.Equal(t, info.Mode().Perm(), os.FileMode(0o600))
	transport := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", d.Socket)
	}}
	defer transport.CloseIdleConnections()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, d.messages(), strings.NewReader(hello))
	assert.NilError(t, err)
	req.Header = http.Header{"X-Api-Key": {d.Token}, "Content-Type": {"application/json"}, "Anthropic-Version": {"2023-06-01"}}
	res, err := (&http.Client{Transport: transport}).Do(req)
	assert.NilError(t, err)
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	assert.NilError(t, err)
	assert.Assert(t, strings.Contains(string(body), "through a socket"), string(body))
}

func TestRunFailsWhenItCannotListen(t *testing.T) {
	gw, err := gateway.New(both("http://127.0.0.1:1"), &gateway.Options{UnixSocket: filepath.Join(t.TempDir(), "missing", "x.sock")})
	assert.NilError(t, err)
	err = gw.Run(t.Context(), func(gateway.Endpoint) { t.Error("not ready") })
	assert.ErrorContains(t, err, "model gateway")
}

// When Run returns, what was under way has ended and is recorded.
func TestStopEndsCallsUnderWay(t *testing.T) {
	arrived := make(chan struct{})
	url := upstream(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		close(arrived)
		<-r.Context().Done()
	})
	d := &door{}
	gw, err := gateway.New(both(url), &gateway.Options{OnCall: d.record, StopTimeout: time.Millisecond})
	assert.NilError(t, err)
	ctx, stop := context.WithCancel(t.Context())
	ready, done := make(chan gateway.Endpoint, 1), make(chan error, 1)
	go func() { done <- gw.Run(ctx, func(e gateway.Endpoint) { ready <- e }) }()
	d.Endpoint = <-ready
	answered := make(chan reply, 1)
	go func() { answered <- d.send(t, d.messages(), hello) }()
	<-arrived
	stop()
	assert.NilError(t, <-done)
	calls := d.recorded()
	assert.Equal(t, len(calls), 1)
	assert.Equal(t, calls[0].Class, gateway.ClassCancelled)
	assert.Assert(t, (<-answered).err != nil)
}

func TestNoMoreThanMaxConcurrent(t *testing.T) {
	var mu sync.Mutex
	now, most := 0, 0
	d := open(t, both(upstream(t, func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		now++
		most = max(most, now)
		mu.Unlock()
		_, _ = io.Copy(io.Discard, r.Body)
		mu.Lock()
		now--
		mu.Unlock()
		fmt.Fprint(w, wholeMessage)
	})), gateway.Options{MaxConcurrent: 2})
	var all sync.WaitGroup
	for range 20 {
		all.Go(func() { assert.Check(t, d.send(t, d.messages(), hello).status == 200) })
	}
	all.Wait()
	assert.Assert(t, most <= 2, "%d at once", most)
	numbers := map[int64]bool{}
	for _, c := range d.recorded() {
		numbers[c.Number] = true
	}
	assert.Equal(t, len(numbers), 20)
}

func TestTokensDiffer(t *testing.T) {
	a, err := gateway.New(both("http://127.0.0.1:1"), nil)
	assert.NilError(t, err)
	b, err := gateway.New(both("http://127.0.0.1:1"), nil)
	assert.NilError(t, err)
	assert.Assert(t, a.Token() != b.Token())
	assert.Assert(t, len(a.Token()) >= 43)
}

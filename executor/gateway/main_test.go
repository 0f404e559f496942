package gateway_test

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"go.uber.org/goleak"
	"gotest.tools/v3/assert"

	"github.com/oz-platform/cloudagents/executor/gateway"
	"github.com/oz-platform/cloudagents/executor/gateway/scripted"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const testKey = "sk-secret/+=\"key-of-the-provider"

// door is a gateway under test, and what it recorded.
type door struct {
	gateway.Endpoint
	gw *gateway.Gateway

	mu    sync.Mutex
	calls []gateway.Call
}

func (d *door) record(c gateway.Call) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.calls = append(d.calls, c)
}

// recorded gives the calls so far.
func (d *door) recorded() []gateway.Call {
	d.mu.Lock()
	defer d.mu.Unlock()
	return append([]gateway.Call(nil), d.calls...)
}

// last is the newest call.
func (d *door) last(t testing.TB) gateway.Call {
	t.Helper()
	calls := d.recorded()
	assert.Assert(t, len(calls) > 0, "no call was recorded")
	return calls[len(calls)-1]
}

// open runs a gateway until the test ends.
func open(t testing.TB, providers []gateway.Provider, opts gateway.Options) *door {
	t.Helper()
	d := &door{}
	opts.OnCall = d.record
	var err error
	d.gw, err = gateway.New(providers, &opts)
	assert.NilError(t, err)
	ctx, stop := context.WithCancel(context.Background())
	ready, done := make(chan gateway.Endpoint, 1), make(chan error, 1)
	go func() { done <- d.gw.Run(ctx, func(e gateway.Endpoint) { ready <- e }) }()
	t.Cleanup(func() { stop(); assert.Check(t, <-done) })
	select {
	case d.Endpoint = <-ready:
	case err := <-done:
		done <- nil
		t.Fatal(err)
	}
	return d
}

// both is one endpoint that serves all wires under a URL.
func both(url string) []gateway.Provider {
	return []gateway.Provider{
		{Name: "google", Wire: gateway.Gemini, BaseURL: url, APIKey: gateway.NewKey(testKey), Models: []string{"gemini-*"}},
		{Name: "anthropic", Wire: gateway.Anthropic, BaseURL: url, APIKey: gateway.NewKey(testKey), Models: []string{"claude-*"}},
		{Name: "openai", Wire: gateway.OpenAI, BaseURL: url + "/v1", APIKey: gateway.NewKey(testKey), Models: []string{"gpt-*", "local"}},
	}
}

// upstream is a provider that does what handler does.
func upstream(t testing.TB, handler http.HandlerFunc) string {
	t.Helper()
	srv := httptest.NewServer(handler)
	t.Cleanup(srv.Close)
	return srv.URL
}

// play serves a script as the provider.
func play(t testing.TB, steps ...scripted.Step) (*scripted.Server, string) {
	t.Helper()
	server, err := scripted.New(scripted.Script{Steps: steps}, &scripted.Options{APIKey: testKey})
	assert.NilError(t, err)
	at, err := server.Start()
	assert.NilError(t, err)
	t.Cleanup(func() { assert.Check(t, at.Close()) })
	return server, at.URL
}

func client(t testing.TB) *http.Client {
	t.Helper()
	transport := &http.Transport{DisableCompression: true}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}

type reply struct {
	status int
	header http.Header
	body   string
	err    error // of reading the body
}

// shape takes the error of any wire apart. Google's has the status where the
// others have the code.
func (r reply) shape(t testing.TB) (kind, code, message string) {
	t.Helper()
	var doc struct {
		Error struct {
			Type, Status, Message string
			Code                  any
			Details               []struct{ Reason string }
		}
	}
	assert.NilError(t, json.Unmarshal([]byte(r.body), &doc), r.body)
	if status, google := doc.Error.Code.(float64); google {
		assert.Equal(t, int(status), r.status)
		assert.Assert(t, len(doc.Error.Details) > 0, r.body)
		return doc.Error.Status, doc.Error.Details[0].Reason, doc.Error.Message
	}
	code, _ = doc.Error.Code.(string)
	return doc.Error.Type, code, doc.Error.Message
}

// send makes one request with the run's token.
func (d *door) send(t testing.TB, url, body string, header ...string) reply {
	t.Helper()
	return d.sendWith(t, t.Context(), url, body, header...)
}

func (d *door) sendWith(t testing.TB, ctx context.Context, url, body string, header ...string) reply {
	t.Helper()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader([]byte(body)))
	assert.NilError(t, err)
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Anthropic-Version", "2023-06-01")
	req.Header.Set("X-Api-Key", d.Token)
	for i := 0; i < len(header); i += 2 {
		req.Header.Del(header[i])
		if header[i+1] != "" {
			req.Header.Set(header[i], header[i+1])
		}
	}
	res, err := client(t).Do(req)
	if err != nil {
		return reply{err: err}
	}
	defer res.Body.Close()
	got, err := io.ReadAll(res.Body)
	return reply{res.StatusCode, res.Header, string(got), err}
}

func (d *door) messages() string { return d.AnthropicURL + "/v1/messages" }

const hello = `{"model":"claude-sonnet-4-5","max_tokens":100,"messages":[{"role":"user","content":"hi"}]}`

// streaming is hello as a stream.
var streaming = strings.Replace(hello, `"max_tokens"`, `"stream":true,"max_tokens"`, 1)

// chat and responses are hello on the other wire.
const (
	chat      = `{"model":"gpt-4o","max_completion_tokens":100,"messages":[{"role":"user","content":"hi"}]}`
	responses = `{"model":"gpt-4o","max_output_tokens":100,"input":"hi"}`
	generate  = `{"contents":[{"role":"user","parts":[{"text":"hi"}]}],"generationConfig":{"maxOutputTokens":100}}`
)

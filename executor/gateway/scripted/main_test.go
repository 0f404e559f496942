package scripted_test

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"testing"

	"go.uber.org/goleak"
	"gotest.tools/v3/assert"

	"github.com/oz-platform/cloudagents/executor/gateway"
	"github.com/oz-platform/cloudagents/executor/gateway/scripted"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const testKey = "sk-test-key-of-the-provider"

// start serves a script on loopback until the test ends.
func start(t *testing.T, script scripted.Script, opts *scripted.Options) (*scripted.Server, *scripted.Listening) {
	t.Helper()
	server, err := scripted.New(script, opts)
	assert.NilError(t, err)
	at, err := server.Start()
	assert.NilError(t, err)
	t.Cleanup(func() { assert.Check(t, at.Close()) })
	return server, at
}

// throughGateway puts a gateway in front of a scripted server that wants testKey.
func throughGateway(t *testing.T, at *scripted.Listening, opts *gateway.Options) gateway.Endpoint {
	t.Helper()
	gw, err := gateway.New([]gateway.Provider{
		{Name: "anthropic", Wire: gateway.Anthropic, BaseURL: at.AnthropicURL, APIKey: gateway.NewKey(testKey), Models: []string{"*"}},
		{Name: "openai", Wire: gateway.OpenAI, BaseURL: at.OpenAIURL, APIKey: gateway.NewKey(testKey), Models: []string{"*"}},
		{Name: "google", Wire: gateway.Gemini, BaseURL: at.GeminiURL, APIKey: gateway.NewKey(testKey), Models: []string{"*"}},
	}, opts)
	assert.NilError(t, err)
	ctx, stop := context.WithCancel(context.Background())
	ready, done := make(chan gateway.Endpoint, 1), make(chan error, 1)
	go func() { done <- gw.Run(ctx, func(e gateway.Endpoint) { ready <- e }) }()
	t.Cleanup(func() { stop(); assert.Check(t, <-done) })
	return <-ready
}

// client has connections of its own, so that none outlives the test.
func client(t *testing.T) *http.Client {
	t.Helper()
	transport := &http.Transport{}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}

type reply struct {
	status int
	header http.Header
	body   string
	err    error // of reading the body
}

// post sends a body to a path of the scripted server, on the wire the path says.
func post(t *testing.T, url, body string, header map[string]string) reply {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url, bytes.NewReader([]byte(body)))
	assert.NilError(t, err)
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Anthropic-Version", "2023-06-01")
	for name, value := range header {
		req.Header.Set(name, value)
		if value == "" {
			req.Header.Del(name)
		}
	}
	res, err := client(t).Do(req)
	assert.NilError(t, err)
	defer res.Body.Close()
	got, err := io.ReadAll(res.Body)
	return reply{res.StatusCode, res.Header, string(got), err}
}

// errorOf takes type, code and message out of an error of either wire.
func errorOf(t *testing.T, body string) (kind, code, message string) {
	t.Helper()
	var doc struct {
		Error struct {
			Type    string
			Code    *string
			Message string
		}
	}
	assert.NilError(t, json.Unmarshal([]byte(body), &doc), body)
	if doc.Error.Code != nil {
		code = *doc.Error.Code
	}
	return doc.Error.Type, code, doc.Error.Message
}

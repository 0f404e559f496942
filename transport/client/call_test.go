package client_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"gotest.tools/v3/assert"

	"github.com/oz-platform/cloudagents/task"
	"github.com/oz-platform/cloudagents/transport/client"
	"github.com/oz-platform/cloudagents/transport/internal/transporttest"
)

// TestCall reaches operations by their paths, with the rules of all methods.
func TestCall(t *testing.T) {
	e := transporttest.Start(t, nil)
	c, ctx := connect(t, e.URL), t.Context()
	raw, err := c.Call(ctx, http.MethodGet, "/oz/whoami", nil, nil)
	assert.NilError(t, err)
	assert.Assert(t, strings.Contains(string(raw), `"principal"`), "%s", raw)

	raw, err = c.Call(ctx, http.MethodPost, "oz/prompts", nil, map[string]any{"name": "a/b", "prompt": "Do it."})
	assert.NilError(t, err)
	var made struct {
		UID string `json:"uid"`
	}
	assert.NilError(t, json.Unmarshal(raw, &made))
	raw, err = c.Call(ctx, http.MethodDelete, "/oz/prompts/"+url.PathEscape(made.UID), nil, nil)
	assert.NilError(t, err)
	assert.Equal(t, len(raw), 0)

	raw, err = c.Call(ctx, http.MethodGet, "/agent/runs", url.Values{"limit": {"1"}}, nil)
	assert.NilError(t, err)
	assert.Assert(t, strings.Contains(string(raw), `"runs":[]`), "%s", raw)
	_, err = c.Call(ctx, http.MethodGet, "/agent/runs", url.Values{"limit": {"-1"}}, nil)
	assert.ErrorIs(t, err, task.ErrInvalid)
	_, err = c.Call(ctx, http.MethodGet, "/oz/prompts/"+url.PathEscape("../nothing"), nil, nil)
	assert.ErrorIs(t, err, task.ErrNotFound)
	_, err = c.Call(ctx, http.MethodGet, "/oz/%zz", nil, nil)
	assert.ErrorContains(t, err, "is no path of the API")
	_, err = c.Call(ctx, http.MethodPost, "/oz/prompts", nil, func() {})
	assert.ErrorContains(t, err, "encode the request")
	_, err = with(t, e.URL, client.Options{APIKey: "wrong", Clock: transporttest.NewClock()}).Call(ctx, http.MethodGet, "/oz/whoami", nil, nil)
	assert.Equal(t, task.CodeOf(err), task.CodeAuthenticationRequired)
}

// TestCallOfAnotherServer: what is no JSON is no answer, and a change is not
// sent twice when its answer was lost.
func TestCallOfAnotherServer(t *testing.T) {
	var sent int
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if sent++; r.Method == http.MethodPost {
			w.WriteHeader(http.StatusBadGateway)
			return
		}
		_, _ = w.Write([]byte("<html>a proxy</html>"))
	}))
	defer s.Close()
	c := connect(t, s.URL)
	_, err := c.Call(t.Context(), http.MethodGet, "/oz/whoami", nil, nil)
	assert.ErrorContains(t, err, "is no JSON")
	sent = 0
	_, err = c.Call(t.Context(), http.MethodPost, "/oz/prompts", nil, map[string]string{"name": "x"})
	assert.Assert(t, err != nil)
	assert.Equal(t, sent, 1)
}

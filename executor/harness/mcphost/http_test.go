package mcphost_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	sdk "github.com/modelcontextprotocol/go-sdk/mcp"
	"gotest.tools/v3/assert"
	is "gotest.tools/v3/assert/cmp"

	"github.com/oz-platform/cloudagents/environment/mcp"
	"github.com/oz-platform/cloudagents/executor/harness/mcphost"
	"github.com/oz-platform/cloudagents/internal/proc"
)

// TestHTTP: a server elsewhere gets its headers, with secrets filled in.
func TestHTTP(t *testing.T) {
	var mu sync.Mutex
	var seen []string
	url := overHTTP(t, func(h http.Header) {
		mu.Lock()
		defer mu.Unlock()
		seen = append(seen, h.Get("Authorization")+" "+h.Get("X-Tenant"))
	})
	l := newLab(t, map[string]string{"TRACKER_TOKEN": token})
	h := l.open(t, map[string]mcp.Server{"s": {URL: url, Headers: map[string]string{"Authorization": `Bearer \u007b\u007bTRACKER_TOKEN\u007d\u007d`, "X-Tenant": "a"}}},
		&mcphost.Options{Secret: secrets})
	text, err := call(t, h, "mcp__s__echo", object{"text": "over http with " + token})
	assert.NilError(t, err)
	assert.Assert(t, is.Contains(text, "over http with [redacted:TRACKER_TOKEN]"))
	mu.Lock()
	defer mu.Unlock()
	assert.Assert(t, len(seen) >= 3)
	for _, s := range seen {
		assert.Equal(t, s, "Bearer "+token+" a")
	}
}

// TestHeadersStayAtHome: a redirect to another server is not followed.
func TestHeadersStayAtHome(t *testing.T) {
	var stolen atomic.Int64
	thief := listen(t, http.HandlerFunc(func(http.ResponseWriter, *http.Request) { stolen.Add(1) }))
	url := listen(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, thief+"/mcp", http.StatusTemporaryRedirect)
	}))
	l := newLab(t, nil)
	l.open(t, map[string]mcp.Server{"s": {URL: url, Headers: map[string]string{"Authorization": "Bearer x"}}}, nil)
	assert.Assert(t, is.Contains(l.notices(t), "redirects to another server"))
	assert.Equal(t, stolen.Load(), int64(0))
}

// TestRefusedCredentials are told as such, without the credential.
func TestRefusedCredentials(t *testing.T) {
	url := listen(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.Error(w, "no: "+r.Header.Get("X-Api-Key"), http.StatusUnauthorized)
	}))
	l := newLab(t, nil)
	l.open(t, map[string]mcp.Server{"s": {URL: url, Headers: map[string]string{"X-Api-Key": token}}}, nil)
	log := l.notices(t)
	assert.Assert(t, is.Contains(log, "refused the credentials (HTTP 401)"))
	assert.Assert(t, !strings.Contains(log, token), log)
}

// TestOldServers speak SSE, and are found out.
func TestOldServers(t *testing.T) {
	server := newServer()
	url := listen(t, sdk.NewSSEHandler(func(*http.Request) *sdk.Server { return server }, nil))
	l := newLab(t, nil)
	h := l.open(t, map[string]mcp.Server{"s": {URL: url}}, nil)
	text, err := call(t, h, "mcp__s__echo", object{"text": "old"})
	assert.NilError(t, err)
	assert.Assert(t, is.Contains(text, "old"))
}

// tokenServer gives access tokens for a client's credentials, and guards an MCP
// server with them. discovery says whether its metadata is to be found.
func tokenServer(t *testing.T, discovery bool) (mcpURL, tokenURL string, issued *atomic.Int64) {
	t.Helper()
	issued = &atomic.Int64{}
	server := newServer()
	inner := sdk.NewStreamableHTTPHandler(func(*http.Request) *sdk.Server { return server }, nil)
	endSessions(t, server)
	mux := http.NewServeMux()
	srv := httptest.NewServer(mux)
	t.Cleanup(srv.Close)
	answer := func(w http.ResponseWriter, v any) {
		w.Header().Set("Content-Type", "application/json")
		assert.Check(t, json.NewEncoder(w).Encode(v))
	}
	mux.HandleFunc("POST /token", func(w http.ResponseWriter, r *http.Request) {
		id, secret, ok := r.BasicAuth()
		if !ok {
			id, secret = r.FormValue("client_id"), r.FormValue("client_secret")
		}
		if id != "run" || secret != token || r.FormValue("grant_type") != "client_credentials" {
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(http.StatusUnauthorized)
			answer(w, object{"error": "invalid_client", "error_description": "not " + secret})
			return
		}
		answer(w, object{"access_token": fmt.Sprintf("access-token-Q7x-%d", issued.Add(1)), "token_type": "Bearer", "expires_in": 3600})
	})
	mux.HandleFunc("/mcp", func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != fmt.Sprintf("Bearer access-token-Q7x-%d", issued.Load()) {
			if discovery {
				w.Header().Set("WWW-Authenticate", `Bearer resource_metadata="`+srv.URL+`/.well-known/oauth-protected-resource/mcp"`)
			}
			http.Error(w, "no", http.StatusUnauthorized)
			return
		}
		inner.ServeHTTP(w, r)
	})
	if discovery {
		mux.HandleFunc("/.well-known/oauth-protected-resource/mcp", func(w http.ResponseWriter, _ *http.Request) {
			answer(w, object{"resource": srv.URL + "/mcp", "authorization_servers": []string{srv.URL}})
		})
		mux.HandleFunc("/.well-known/oauth-authorization-server", func(w http.ResponseWriter, _ *http.Request) {
			answer(w, object{"issuer": srv.URL, "token_endpoint": srv.URL + "/token", "authorization_endpoint": srv.URL + "/authorize", "response_types_supported": []string{"code"},
				"grant_types_supported": []string{"client_credentials"}, "token_endpoint_auth_methods_supported": []string{"client_secret_basic", "client_secret_post"},
				"code_challenge_methods_supported": []string{"S256"}})
		})
	}
	return srv.URL + "/mcp", srv.URL + "/token", issued
}

// TestOAuth: a run gets a token by itself, from the address that it is told or
// that the server names, and a new one when the old was revoked.
func TestOAuth(t *testing.T) {
	for _, discovery := range []bool{false, true} {
		t.Run(fmt.Sprint("discovery ", discovery), func(t *testing.T) {
			url, tokenURL, issued := tokenServer(t, discovery)
			o := &mcp.OAuth{ClientID: "run", ClientSecret: "${TRACKER_TOKEN}", TokenURL: tokenURL}
			if discovery {
				o.TokenURL = ""
			}
			l := newLab(t, nil)
			h := l.open(t, map[string]mcp.Server{"s": {URL: url, OAuth: o}}, &mcphost.Options{Secret: secrets})
			text, err := call(t, h, "mcp__s__echo", object{"text": "it was access-token-Q7x-1"})
			assert.NilError(t, err, l.notices(t))
			assert.Assert(t, is.Contains(text, "it was [redacted:mcp.s.token]"))
			issued.Add(1) // all tokens are revoked
			if !discovery {
				_, err = call(t, h, "mcp__s__echo", object{"text": "again"})
				assert.NilError(t, err)
			}
		})
	}
	t.Run("refused", func(t *testing.T) {
		url, tokenURL, _ := tokenServer(t, false)
		l := newLab(t, map[string]string{"X": "wrong-secret-9kd"})
		l.open(t, map[string]mcp.Server{"s": {URL: url, OAuth: &mcp.OAuth{ClientID: "run", ClientSecret: "wrong-secret-9kd", TokenURL: tokenURL}}}, nil)
		log := l.notices(t)
		assert.Assert(t, is.Contains(log, "invalid_client"))
		assert.Assert(t, !strings.Contains(log, "wrong-secret"), log)
	})
}

// TestRealServerOverHTTP: the server of the protocol's makers, over streamable
// HTTP.
func TestRealServerOverHTTP(t *testing.T) {
	program := npmServer(t, "mcp-server-everything")
	free, err := net.Listen("tcp", "127.0.0.1:0")
	assert.NilError(t, err)
	port := free.Addr().(*net.TCPAddr).Port
	assert.NilError(t, free.Close())
	cmd := exec.CommandContext(t.Context(), program, "streamableHttp")
	cmd.Env = append(os.Environ(), fmt.Sprint("PORT=", port))
	proc.Group(cmd)
	said, err := cmd.StderrPipe()
	assert.NilError(t, err)
	assert.NilError(t, cmd.Start())
	t.Cleanup(func() { assert.Check(t, proc.KillGroup(cmd)); _ = cmd.Wait() })
	for lines := bufio.NewScanner(said); lines.Scan(); {
		if strings.Contains(lines.Text(), "listening") {
			break
		}
	}
	l := newLab(t, nil)
	h := l.open(t, map[string]mcp.Server{"everything": {URL: fmt.Sprintf("http://127.0.0.1:%d/mcp", port), StartupTimeoutSeconds: 60}}, nil)
	text, err := call(t, h, "mcp__everything__get-sum", object{"a": 2, "b": 40})
	assert.NilError(t, err, "%s\n%v", l.notices(t), names(h))
	assert.Assert(t, is.Contains(text, "42"))
}

// BenchmarkStart is how long a run waits for ten servers on standard input and
// output, beside one.
func BenchmarkStart(b *testing.B) {
	for _, n := range []int{1, 10} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			l := newLab(b, nil)
			servers := map[string]mcp.Server{}
			for i := range n {
				servers[fmt.Sprint("s", i)] = self(b, "good")
			}
			var closing time.Duration
			for b.Loop() {
				h, err := mcphost.Open(b.Context(), l.s, servers, nil)
				assert.NilError(b, err)
				begun := time.Now()
				assert.NilError(b, h.Close())
				closing += time.Since(begun)
			}
			b.ReportMetric(float64(closing.Milliseconds())/float64(b.N), "ms-to-close/op")
		})
	}
}

// BenchmarkCall is what one call of a tool costs on top of the server's work.
func BenchmarkCall(b *testing.B) {
	l := newLab(b, nil)
	h := l.open(b, map[string]mcp.Server{"s": self(b, "good")}, nil)
	for b.Loop() {
		_, err := call(b, h, "mcp__s__echo", object{"text": "x"})
		assert.NilError(b, err)
	}
}

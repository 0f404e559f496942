package rest_test

import (
	"net/http"
	"strings"
	"testing"

	"gotest.tools/v3/assert"

	"github.com/oz-platform/cloudagents/oz/access"
	"github.com/oz-platform/cloudagents/task"
	"github.com/oz-platform/cloudagents/transport/internal/transporttest"
	"github.com/oz-platform/cloudagents/transport/rest"
)

// startSession signs in from a page of the server and gives the cookie.
func startSession(t *testing.T, e *transporttest.Env, body any, headers ...string) (transporttest.Answer, *http.Cookie) {
	t.Helper()
	a := e.Call("", http.MethodPost, "/oz/auth/session", body, append([]string{"Origin", e.URL}, headers...)...)
	cookies := (&http.Response{Header: a.Header}).Cookies()
	if len(cookies) == 0 {
		return a, nil
	}
	return a, cookies[0]
}

func TestSessionFromAKey(t *testing.T) {
	e := transporttest.Start(t, &transporttest.Options{Idle: true})
	a, cookie := startSession(t, e, map[string]any{"key": e.Member})
	assert.Equal(t, a.Status, http.StatusOK, "%s", a.Body)
	assert.Assert(t, !strings.Contains(string(a.Body)+a.Header.Get("Set-Cookie"), e.Member), "the key is given to no script")
	assert.Assert(t, cookie.HttpOnly && cookie.SameSite == http.SameSiteLaxMode && cookie.Path == "/" && cookie.MaxAge > 0, "%v", cookie)
	whoami := func(c *http.Cookie) int {
		return e.Call("", http.MethodGet, "/oz/whoami", nil, "Cookie", c.Name+"="+c.Value).Status
	}
	assert.Equal(t, whoami(cookie), http.StatusOK)

	// What changes something must come from one of our own pages.
	create := func(headers ...string) int {
		return e.Call("", http.MethodPost, "/agent/runs", map[string]any{"prompt": "x"}, append([]string{"Cookie", cookie.Name + "=" + cookie.Value}, headers...)...).Status
	}
	assert.Equal(t, create("Origin", e.URL), http.StatusOK)
	assert.Equal(t, create("Origin", e.URL, "Sec-Fetch-Site", "same-site"), http.StatusForbidden)
	assert.Equal(t, create("Origin", "https://evil.example"), http.StatusForbidden)
	assert.Equal(t, create(), http.StatusForbidden)

	// Another sign-in ends the session before, and signing out this one.
	_, next := startSession(t, e, map[string]any{"key": e.Team}, "Cookie", cookie.Name+"="+cookie.Value)
	assert.Equal(t, whoami(cookie), http.StatusUnauthorized)
	assert.Equal(t, whoami(next), http.StatusOK)
	out := e.Call("", http.MethodPost, "/oz/auth/logout", nil, "Cookie", next.Name+"="+next.Value, "Origin", e.URL)
	assert.Equal(t, out.Status, http.StatusOK, "%s", out.Body)
	assert.Equal(t, whoami(next), http.StatusUnauthorized)
}

// TestSessionEndsWithItsKey: whoever revokes a key locks its browsers out, too.
func TestSessionEndsWithItsKey(t *testing.T) {
	e := transporttest.Start(t, &transporttest.Options{Idle: true})
	a := e.Call(transporttest.AdminKey, http.MethodPost, "/oz/api-keys", map[string]any{"name": "browser"})
	assert.Equal(t, a.Status, http.StatusCreated, "%s", a.Body)
	var made struct {
		Key    string
		APIKey struct{ UID string } `json:"api_key"`
	}
	a.JSON(e, &made)
	_, cookie := startSession(t, e, map[string]any{"key": made.Key})
	revoked := e.Call("", http.MethodDelete, "/oz/api-keys/"+made.APIKey.UID, nil, "Cookie", cookie.Name+"="+cookie.Value, "Origin", e.URL)
	assert.Assert(t, revoked.Status < 300, "%s", revoked.Body)
	a = e.Call("", http.MethodGet, "/oz/whoami", nil, "Cookie", cookie.Name+"="+cookie.Value)
	assert.Equal(t, a.Status, http.StatusUnauthorized)
	assert.Equal(t, a.Code(), task.CodeAuthenticationRequired)
}

func TestSessionFromACode(t *testing.T) {
	e := transporttest.Start(t, &transporttest.Options{Idle: true})
	code, err := e.Platform.Registry().NewSignInCode(t.Context(), access.DefaultUser)
	assert.NilError(t, err)
	a, cookie := startSession(t, e, map[string]any{"code": code})
	assert.Equal(t, a.Status, http.StatusOK, "%s", a.Body)
	a = e.Call("", http.MethodGet, "/oz/whoami", nil, "Cookie", cookie.Name+"="+cookie.Value)
	assert.Equal(t, a.Status, http.StatusOK)
	a, _ = startSession(t, e, map[string]any{"code": code})
	assert.Equal(t, a.Status, http.StatusUnauthorized, "once")
}

func TestSessionRefuses(t *testing.T) {
	e := transporttest.Start(t, &transporttest.Options{Idle: true})
	for name, body := range map[string]any{"neither": map[string]any{}, "both": map[string]any{"key": "x", "code": "y"}, "not an object": "[]", "not text": map[string]any{"key": 1}} {
		a, cookie := startSession(t, e, body)
		assert.Equal(t, a.Status, http.StatusBadRequest, "%s: %s", name, a.Body)
		assert.Assert(t, cookie == nil)
	}
	// A page of somebody else signs nobody in, not even with a good key.
	for _, headers := range [][]string{{"Origin", "https://evil.example"}, {"Origin", "null"}, {"Origin", e.URL, "Sec-Fetch-Site", "cross-site"}, nil} {
		a := e.Call("", http.MethodPost, "/oz/auth/session", map[string]any{"key": e.Member}, headers...)
		assert.Equal(t, a.Status, http.StatusForbidden, "%v", headers)
		assert.Equal(t, a.Header.Get("Set-Cookie"), "")
	}
	// Guessing is slowed down; from then on not even a good key is looked at.
	for range 30 {
		a, _ := startSession(t, e, map[string]any{"key": "oz-guess"})
		assert.Equal(t, a.Status, http.StatusUnauthorized)
		assert.Equal(t, a.Problem()["field"], "key")
	}
	a, _ := startSession(t, e, map[string]any{"key": e.Member})
	assert.Equal(t, a.Status, http.StatusTooManyRequests, "%s", a.Body)
	assert.Assert(t, a.Header.Get("Retry-After") != "")
	// Refusals are written down; what was tried is not.
	log := e.Call(transporttest.AdminKey, http.MethodGet, "/oz/audit?limit=100", nil)
	assert.Assert(t, !strings.Contains(string(log.Body), "oz-guess"), "%s", log.Body)
	assert.Assert(t, strings.Contains(string(log.Body), "account.sign_in"), "%s", log.Body)
}

// TestPages: what is outside the API goes to the pages, and nothing else.
func TestPages(t *testing.T) {
	pages := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = w.Write([]byte("page " + r.URL.Path)) })
	e := transporttest.Start(t, &transporttest.Options{Idle: true, Rest: rest.Options{Pages: pages}})
	for _, path := range []string{"/", "/runs", "/runs/x", "/api/v1x"} {
		a := e.Call("", http.MethodGet, path, nil)
		assert.Equal(t, string(a.Body), "page "+path)
		assert.Equal(t, a.Header.Get("Access-Control-Allow-Origin"), "", "pages are not for others to read")
	}
	for path, status := range map[string]int{"/api/v1": 404, "/api/v1/none": 404, "/api/v1/oz/whoami": 401, "/healthz": 200} {
		a := e.Call("", http.MethodGet, path, nil)
		assert.Equal(t, a.Status, status, path)
		assert.Assert(t, !strings.HasPrefix(string(a.Body), "page"), path)
	}
}

package rest_test

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/zitadel/oidc/v3/example/server/exampleop"
	"github.com/zitadel/oidc/v3/example/server/storage"
	"github.com/zitadel/oidc/v3/pkg/op"
	"gotest.tools/v3/assert"

	"github.com/oz-platform/cloudagents/oz"
	"github.com/oz-platform/cloudagents/oz/access"
	"github.com/oz-platform/cloudagents/oz/access/oidc"
	"github.com/oz-platform/cloudagents/task"
	"github.com/oz-platform/cloudagents/transport/client"
	"github.com/oz-platform/cloudagents/transport/internal/transporttest"
	"github.com/oz-platform/cloudagents/transport/rest"
)

// provider is a real OpenID Connect provider with two people, whose password
// is "verysecure".
func provider(t *testing.T) (issuer string, register func(redirect string)) {
	t.Helper()
	var handler http.Handler
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { handler.ServeHTTP(w, r) }))
	t.Cleanup(s.Close)
	issuer = strings.Replace(s.URL, "127.0.0.1", "localhost", 1)
	return issuer, func(redirect string) {
		storage.RegisterClients(storage.WebClient("oz", "client-secret-1", redirect))
		handler = exampleop.SetupServer(issuer, storage.NewStorage(storage.NewUserStore(issuer)), nil, false, op.WithAllowInsecure())
	}
}

// signInEnv is a server whose people sign in at a real provider.
func signInEnv(t *testing.T, policy access.SignInPolicy, clock task.Clock) *transporttest.Env {
	t.Helper()
	issuer, register := provider(t)
	p, err := oidc.New(&oidc.Options{Issuer: issuer, ClientID: "oz", ClientSecret: "client-secret-1", Clock: clock})
	assert.NilError(t, err)
	e := transporttest.Start(t, &transporttest.Options{Rest: rest.Options{SignIn: &rest.SignIn{Provider: p, Policy: policy, Name: "Example ID"}}})
	register(e.URL + "/api/v1/oz/auth/callback")
	return e
}

// browser is a person's.
type browser struct {
	*http.Client
	t    *testing.T
	root string
}

func newBrowser(t *testing.T, e *transporttest.Env) *browser {
	jar, err := cookiejar.New(nil)
	assert.NilError(t, err)
	return &browser{Client: &http.Client{Jar: jar, Transport: &http.Transport{DisableKeepAlives: true}}, t: t, root: e.URL + "/api/v1"}
}

// open reads a page, wherever it leads.
func (b *browser) open(address string) (page string, at *url.URL, status int) {
	b.t.Helper()
	resp, err := b.Get(address)
	assert.NilError(b.t, err)
	return b.read(resp)
}

func (b *browser) read(resp *http.Response) (string, *url.URL, int) {
	b.t.Helper()
	body, err := io.ReadAll(resp.Body)
	assert.NilError(b.t, err)
	assert.NilError(b.t, resp.Body.Close())
	return string(body), resp.Request.URL, resp.StatusCode
}

// requestID finds what the provider's form carries.
var requestID = regexp.MustCompile(`name="id" value="([^"]+)"`)

// signIn goes to an address that leads to the provider, types the password
// there, and gives where it ends.
func (b *browser) signIn(address, user string) (page string, at *url.URL, status int) {
	b.t.Helper()
	form, at, status := b.open(address)
	assert.Equal(b.t, status, http.StatusOK, form)
	id := requestID.FindStringSubmatch(form)
	assert.Assert(b.t, id != nil, "no form of the provider at %s: %s", at, form)
	resp, err := b.PostForm(at.Scheme+"://"+at.Host+"/login/username", url.Values{"id": {id[1]}, "username": {user}, "password": {"verysecure"}})
	assert.NilError(b.t, err)
	return b.read(resp)
}

// send makes a request as a page of site would.
func (b *browser) send(method, path, site, body string) (string, int) {
	b.t.Helper()
	req, err := http.NewRequest(method, b.root+path, strings.NewReader(body))
	assert.NilError(b.t, err)
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	if site != "" {
		req.Header.Set("Origin", site)
	}
	resp, err := b.Do(req)
	assert.NilError(b.t, err)
	text, _, status := b.read(resp)
	return text, status
}

const ownPage = "test-user@localhost"

func anybody() access.SignInPolicy {
	return access.SignInPolicy{Domains: []string{"zitadel.ch"}, Team: access.DefaultTeam}
}

func TestSignInWithAProvider(t *testing.T) {
	e := signInEnv(t, anybody(), nil)
	b := newBrowser(t, e)
	_, status := b.send(http.MethodGet, "/oz/whoami", "", "")
	assert.Equal(t, status, http.StatusUnauthorized)
	_, at, status := b.signIn(b.root+"/oz/auth/login?next="+url.QueryEscape("/api/v1/oz/whoami"), ownPage)
	assert.Equal(t, status, http.StatusOK)
	assert.Equal(t, at.Path, "/api/v1/oz/whoami")
	me, status := b.send(http.MethodGet, "/oz/whoami", "", "")
	assert.Equal(t, status, http.StatusOK)
	var who struct {
		Principal struct{ Type, Email string } `json:"principal"`
		Teams     []access.Membership          `json:"teams"`
	}
	assert.NilError(t, json.Unmarshal([]byte(me), &who))
	assert.Equal(t, who.Principal.Email, "test-user@zitadel.ch")
	assert.DeepEqual(t, who.Teams, []access.Membership{{UID: access.DefaultTeam, Role: access.RoleMember}})

	// The session makes runs from our own pages, and from no others.
	run := `{"prompt":"hello"}`
	for _, site := range []string{"https://evil.example", "null", "", strings.Replace(e.URL, "http:", "https:", 1)} {
		text, status := b.send(http.MethodPost, "/agent/runs", site, run)
		assert.Equal(t, status, http.StatusForbidden, "%q: %s", site, text)
	}
	_, status = b.send(http.MethodPost, "/agent/runs", e.URL, run)
	assert.Equal(t, status, http.StatusOK)

	// The cookie is out of the reach of scripts and other sites.
	at, err := url.Parse(e.URL)
	assert.NilError(t, err)
	stolen := b.Jar.Cookies(at)
	assert.Equal(t, len(stolen), 1, "the login's own cookie is gone: %v", stolen)
	text, status := b.send(http.MethodPost, "/oz/auth/logout", e.URL, "")
	assert.Equal(t, status, http.StatusOK, text)
	thief := newBrowser(t, e)
	thief.Jar.SetCookies(at, stolen)
	_, status = thief.send(http.MethodGet, "/oz/whoami", "", "")
	assert.Equal(t, status, http.StatusUnauthorized, "a session that was ended stays ended")
}

func TestSignInCookies(t *testing.T) {
	e := signInEnv(t, anybody(), nil)
	a := e.Call("", http.MethodGet, "/oz/auth/login", nil)
	assert.Equal(t, a.Status, http.StatusFound)
	for _, want := range []string{"HttpOnly", "SameSite=Lax", "Max-Age=600"} {
		assert.Assert(t, strings.Contains(a.Header.Get("Set-Cookie"), want), a.Header.Get("Set-Cookie"))
	}
	to, err := url.Parse(a.Header.Get("Location"))
	assert.NilError(t, err)
	assert.Equal(t, to.Query().Get("code_challenge_method"), "S256")
	assert.Assert(t, to.Query().Get("nonce") != "" && to.Query().Get("state") != "")
}

// TestSignInCookiesOfThisHost asks that a browser which comes by https takes
// the cookies from this host alone.
func TestSignInCookiesOfThisHost(t *testing.T) {
	p, err := oidc.New(&oidc.Options{Issuer: "http://127.0.0.1:1", ClientID: "oz"})
	assert.NilError(t, err)
	e := transporttest.Start(t, &transporttest.Options{Platform: oz.Options{PublicURL: "https://oz.example.com/base"}, Rest: rest.Options{SignIn: &rest.SignIn{Provider: p}}})
	token, _, err := e.Platform.Registry().StartSession(t.Context(), access.DefaultUser)
	assert.NilError(t, err)
	assert.Equal(t, e.Call("", http.MethodGet, "/oz/whoami", nil, "Cookie", "oz_session="+token).Status, http.StatusUnauthorized)
	assert.Equal(t, e.Call("", http.MethodGet, "/oz/whoami", nil, "Cookie", "__Host-oz_session="+token).Status, http.StatusOK)
	for _, origin := range []string{e.URL, "http://oz.example.com", "https://oz.example.com.evil.example", "null", ""} {
		a := e.Call("", http.MethodPost, "/oz/auth/logout", nil, "Cookie", "__Host-oz_session="+token, "Origin", origin)
		assert.Equal(t, a.Status, http.StatusForbidden, "%q: %s", origin, a.Body)
	}
	a := e.Call("", http.MethodPost, "/oz/auth/logout", nil, "Cookie", "__Host-oz_session="+token, "Origin", "https://oz.example.com")
	assert.Equal(t, a.Status, http.StatusOK, "%s", a.Body)
	gone := a.Header.Get("Set-Cookie")
	for _, want := range []string{"__Host-oz_session=;", "Path=/;", "Secure", "Max-Age=0"} {
		assert.Assert(t, strings.Contains(gone, want), gone)
	}
}

// TestNoFirstKeysBesideSignIn asks that nobody gets a key for an account whose
// owner is to come by their e-mail address.
func TestNoFirstKeysBesideSignIn(t *testing.T) {
	p, err := oidc.New(&oidc.Options{Issuer: "http://127.0.0.1:1", ClientID: "oz"})
	assert.NilError(t, err)
	e := transporttest.Start(t, &transporttest.Options{Rest: rest.Options{SignIn: &rest.SignIn{Provider: p, Policy: access.SignInPolicy{LinkEmail: true}}}})
	path := "/oz/teams/" + access.DefaultTeam + "/members"
	a := e.Call(transporttest.AdminKey, http.MethodPost, path, map[string]any{"email": "eve@example.com", "issue_key": true})
	assert.Equal(t, a.Code(), task.CodeFeatureNotAvailable, "%s", a.Body)
	assert.Assert(t, strings.Contains(string(a.Body), "issue_key"), "%s", a.Body)
	a = e.Call(transporttest.AdminKey, http.MethodPost, path, map[string]any{"email": "eve@example.com"})
	assert.Equal(t, a.Status, http.StatusCreated, "%s", a.Body)
}

func TestSignInRefuses(t *testing.T) {
	e := signInEnv(t, access.SignInPolicy{Domains: []string{"example.com"}}, nil)
	b := newBrowser(t, e)
	page, _, status := b.signIn(b.root+"/oz/auth/login", ownPage)
	assert.Equal(t, status, http.StatusForbidden, "not one of ours: %s", page)
	_, status = b.send(http.MethodGet, "/oz/whoami", "", "")
	assert.Equal(t, status, http.StatusUnauthorized)

	// Whoever did not begin the sign-in does not end it: a link with somebody
	// else's code signs nobody in.
	for _, query := range []string{"?code=x&state=y", "?state=", "", "?error=access_denied"} {
		page, _, status := newBrowser(t, e).open(b.root + "/oz/auth/callback" + query)
		assert.Equal(t, status, http.StatusForbidden, "%s: %s", query, page)
	}
	_, status = b.send(http.MethodGet, "/oz/auth/login?next=https://evil.example/", "", "")
	assert.Equal(t, status, http.StatusBadRequest)
}

func TestSignInTokensExpire(t *testing.T) {
	late := shiftedClock{task.SystemClock(), 48 * time.Hour}
	e := signInEnv(t, anybody(), late)
	b := newBrowser(t, e)
	page, _, status := b.signIn(b.root+"/oz/auth/login", ownPage)
	assert.Equal(t, status, http.StatusForbidden, page)
	assert.Assert(t, strings.Contains(page, "not valid for this sign-in"), page)
}

// shiftedClock is one that is wrong.
type shiftedClock struct {
	task.Clock
	by time.Duration
}

func (c shiftedClock) Now() time.Time { return c.Clock.Now().Add(c.by) }

func TestSignInWithoutItsProvider(t *testing.T) {
	p, err := oidc.New(&oidc.Options{Issuer: "http://127.0.0.1:1", ClientID: "oz"})
	assert.NilError(t, err)
	e := transporttest.Start(t, &transporttest.Options{Rest: rest.Options{SignIn: &rest.SignIn{Provider: p}}})
	a := e.Call("", http.MethodGet, "/oz/auth/login", nil)
	assert.Equal(t, a.Code(), task.CodeResourceUnavailable, "%s", a.Body)
	assert.Assert(t, strings.Contains(string(a.Body), "API key"), "%s", a.Body)

	none := transporttest.Start(t, nil)
	for path, method := range map[string]string{"/oz/auth/login": http.MethodGet, "/oz/auth/callback": http.MethodGet, "/oz/auth/device": http.MethodGet} {
		a := none.Call("", method, path, nil)
		assert.Equal(t, a.Code(), task.CodeFeatureNotAvailable, path)
	}
	a = none.Call("", http.MethodGet, "/oz/auth/config", nil)
	assert.Equal(t, strings.TrimSpace(string(a.Body)), `{"api_keys":true,"oidc":false}`)
	a = none.Call("", http.MethodGet, "/oz/whoami", nil, "Cookie", "oz_session=ozs_x")
	assert.Equal(t, a.Status, http.StatusUnauthorized)
}

func TestCommandLineSignIn(t *testing.T) {
	e := signInEnv(t, anybody(), nil)
	b := newBrowser(t, e)
	cli, err := client.New(e.URL, &client.Options{Clock: transporttest.NewClock()})
	assert.NilError(t, err)
	ways, err := cli.SignInWays(t.Context())
	assert.NilError(t, err)
	assert.DeepEqual(t, ways, client.SignInWays{Browser: true, Provider: "Example ID"})

	agreed := make(chan bool, 1)
	raw, k, err := cli.DeviceSignIn(t.Context(), `oz on <build-1>`, func(d client.DeviceCode) {
		page, at, status := b.signIn(d.URL, ownPage)
		assert.Equal(t, status, http.StatusOK, page)
		assert.Equal(t, at.Path, "/api/v1/oz/auth/device")
		assert.Assert(t, strings.Contains(page, "oz on &lt;build-1&gt;") && strings.Contains(page, d.UserCode), page)
		body, err := json.Marshal(map[string]any{"user_code": d.UserCode})
		assert.NilError(t, err)
		text, status := b.send(http.MethodPost, "/oz/auth/device/approve", "https://evil.example", string(body))
		assert.Equal(t, status, http.StatusForbidden, text)
		text, status = b.send(http.MethodPost, "/oz/auth/device/approve", e.URL, string(body))
		assert.Equal(t, status, http.StatusOK, text)
		agreed <- true
	})
	assert.NilError(t, err)
	assert.Assert(t, <-agreed)
	assert.Equal(t, k.Name, "oz on <build-1>")
	signedIn, err := client.New(e.URL, &client.Options{APIKey: raw})
	assert.NilError(t, err)
	me, err := signedIn.Whoami(t.Context())
	assert.NilError(t, err)
	assert.Equal(t, me.Principal.Email, "test-user@zitadel.ch")

	_, _, err = cli.DeviceSignIn(t.Context(), "another", func(d client.DeviceCode) {
		body, err := json.Marshal(map[string]any{"user_code": d.UserCode, "deny": true})
		assert.NilError(t, err)
		_, status := b.send(http.MethodPost, "/oz/auth/device/approve", e.URL, string(body))
		assert.Equal(t, status, http.StatusOK)
	})
	assert.ErrorIs(t, err, access.ErrAccessDenied)
}

// FuzzNext asks that no link to the sign-in leads to another server.
func FuzzNext(f *testing.F) {
	for _, next := range []string{"/runs", "//evil.example", "https://evil.example", "/\\evil.example", "/%5cevil.example", "/a?b=//c", "\t//evil.example", "/..//evil.example", "/%2f/evil.example"} {
		f.Add(next)
	}
	f.Fuzz(func(t *testing.T, next string) {
		got, err := rest.LocalPath(next)
		if err != nil || next == "" {
			return
		}
		base, _ := url.Parse("https://oz.example.com/api/v1/oz/auth/callback")
		// Browsers take a backslash for a slash, and leave out tabs and line breaks.
		to, err := base.Parse(strings.NewReplacer("\\", "/", "\t", "", "\n", "", "\r", "").Replace(got))
		assert.NilError(t, err, "%q", got)
		assert.Equal(t, to.Host, "oz.example.com", "%q", got)
		assert.Equal(t, to.Scheme, "https", "%q", got)
	})
}

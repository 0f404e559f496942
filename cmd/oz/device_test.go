package main

import (
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/zitadel/oidc/v3/example/server/exampleop"
	"github.com/zitadel/oidc/v3/example/server/storage"
	"github.com/zitadel/oidc/v3/pkg/op"
	"gotest.tools/v3/assert"

	"github.com/oz-platform/cloudagents/internal/servertest"
)

// newSignInDesk has a server whose people sign in at a real OpenID Connect
// provider.
func newSignInDesk(t *testing.T) *desk {
	t.Helper()
	var provider http.Handler
	at := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { provider.ServeHTTP(w, r) }))
	t.Cleanup(at.Close)
	issuer := strings.Replace(at.URL, "127.0.0.1", "localhost", 1)
	d := &desk{t: t, dir: t.TempDir(), server: servertest.New(t, filepath.Join(bin, "ozd"), servertest.Talker(filepath.Join(t.TempDir(), "release")))}
	storage.RegisterClients(storage.WebClient("oz", "client-secret-1", d.server.URL+"/api/v1/oz/auth/callback"))
	provider = exampleop.SetupServer(issuer, storage.NewStorage(storage.NewUserStore(issuer)), nil, false, op.WithAllowInsecure())
	d.configure(fmt.Sprintf("public_url: %s\nsign_in: {name: Example ID, issuer: %q, client_id: oz, client_secret_file: %q, domains: [zitadel.ch], team: default}\n",
		d.server.URL, issuer, d.file("client-secret", "client-secret-1")))
	d.server.Start()
	return d
}

// person is a browser with somebody in front of it.
func person(t *testing.T, page string) *http.Client {
	t.Helper()
	jar, err := cookiejar.New(nil)
	assert.NilError(t, err)
	c := &http.Client{Jar: jar, Transport: &http.Transport{DisableKeepAlives: true}}
	read := func(resp *http.Response, err error) (string, *url.URL) {
		t.Helper()
		assert.NilError(t, err)
		defer func() { _ = resp.Body.Close() }()
		text, err := io.ReadAll(resp.Body)
		assert.NilError(t, err)
		assert.Equal(t, resp.StatusCode, http.StatusOK, string(text))
		return string(text), resp.Request.URL
	}
	form, at := read(c.Get(page))
	id := regexp.MustCompile(`name="id" value="([^"]+)"`).FindStringSubmatch(form)
	assert.Assert(t, id != nil, "no form of the provider at %s: %s", at, form)
	text, _ := read(c.PostForm(at.Scheme+"://"+at.Host+"/login/username", url.Values{"id": {id[1]}, "username": {"test-user@localhost"}, "password": {"verysecure"}}))
	assert.Assert(t, strings.Contains(text, "oz on "), "the page does not say who asks: %s", text)
	return c
}

// TestLoginByBrowser: the person agrees on the page that oz names, and is
// signed in here until they sign out, which ends the key.
func TestLoginByBrowser(t *testing.T) {
	d := newSignInDesk(t)
	env := servertest.Environ("HOME="+d.dir, "WARP_SERVER_ROOT_URL="+d.server.URL)
	cmd := d.command("login")
	out := &servertest.Buffer{}
	cmd.Env, cmd.Stdout, cmd.Stderr = env, out, out
	assert.NilError(t, cmd.Start())
	shown := regexp.MustCompile(`Open (\S+)\nand agree there, if it shows the code (\S+)\.`)
	await(t, "the page's address", func() bool { return shown.MatchString(out.String()) })
	page := shown.FindStringSubmatch(out.String())
	browser := person(t, page[1])
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, d.server.URL+"/api/v1/oz/auth/device/approve", strings.NewReader(`{"user_code":"`+page[2]+`"}`))
	assert.NilError(t, err)
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Origin", d.server.URL)
	resp, err := browser.Do(req)
	assert.NilError(t, err)
	assert.NilError(t, resp.Body.Close())
	assert.Equal(t, resp.StatusCode, http.StatusOK)
	assert.NilError(t, cmd.Wait(), "%s", out)
	has(t, out.String(), "Signed in to "+d.server.URL+" as Test User.\n")

	as := func(args ...string) result {
		cmd := d.command(args...)
		cmd.Env = env
		return finish(t, cmd)
	}
	has(t, as("whoami").out, "Test User", "default: Default team (member)")
	has(t, as("login").out, "as Test User already")
	assert.Equal(t, d.ok("api-key", "list", "--jq", ".keys | length"), "2\n")
	r := as("logout")
	assert.Equal(t, r.code, 0, r.err)
	assert.Equal(t, as("whoami").code, exitFailure)
	assert.Equal(t, d.ok("api-key", "list", "--jq", ".keys | length"), "1\n") // the admin's own
}

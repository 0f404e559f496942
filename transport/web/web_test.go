package web_test

import (
	"compress/gzip"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"testing/fstest"

	"gotest.tools/v3/assert"

	"github.com/oz-platform/cloudagents/task"
	"github.com/oz-platform/cloudagents/transport/internal/transporttest"
	"github.com/oz-platform/cloudagents/transport/web"
	"github.com/oz-platform/cloudagents/transport/web/internal/browser"
)

// ask gives the answer to a request; headers are pairs.
func ask(h http.Handler, method, path string, headers ...string) *http.Response {
	r := httptest.NewRequest(method, path, nil)
	for i := 0; i+1 < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w.Result()
}

func text(t *testing.T, r *http.Response) string {
	t.Helper()
	data, err := io.ReadAll(r.Body)
	assert.NilError(t, err)
	return string(data)
}

// TestFiles: pages are asked for each time, files are kept for ever under their
// version, and everything carries the policy.
func TestFiles(t *testing.T) {
	h, err := web.New(&web.Options{Title: `A "team" <b>`})
	assert.NilError(t, err)
	page := ask(h, http.MethodGet, "/runs/01a2")
	assert.Equal(t, page.StatusCode, http.StatusOK)
	assert.Equal(t, page.Header.Get("Cache-Control"), "no-cache")
	policy := page.Header.Get("Content-Security-Policy")
	for _, part := range []string{"default-src 'none'", "script-src 'self'", "style-src 'self'", "frame-ancestors 'none'", "require-trusted-types-for 'script'", "base-uri 'none'"} {
		assert.Assert(t, strings.Contains(policy, part), policy)
	}
	assert.Assert(t, !strings.Contains(policy, "unsafe"), policy)
	markup := text(t, page)
	assert.Assert(t, strings.Contains(markup, "<title>A &#34;team&#34; &lt;b&gt;</title>"), markup)
	assert.Assert(t, !strings.Contains(markup, "{{"), markup)
	assert.Assert(t, !regexp.MustCompile(`<script>|<style|style=|\son[a-z]+=`).MatchString(markup), "nothing inline: %s", markup)

	file := regexp.MustCompile(`src="(/assets/[0-9a-f]{16}/js/app\.js)"`).FindStringSubmatch(markup)[1]
	plain := ask(h, http.MethodGet, file)
	assert.Equal(t, plain.Header.Get("Content-Type"), "text/javascript; charset=utf-8")
	assert.Equal(t, plain.Header.Get("X-Content-Type-Options"), "nosniff")
	assert.Assert(t, strings.Contains(plain.Header.Get("Cache-Control"), "immutable"))
	zipped := ask(h, http.MethodGet, file, "Accept-Encoding", "br, gzip;q=0.5")
	assert.Equal(t, zipped.Header.Get("Content-Encoding"), "gzip")
	z, err := gzip.NewReader(zipped.Body)
	assert.NilError(t, err)
	unzipped, err := io.ReadAll(z)
	assert.NilError(t, err)
	assert.Equal(t, string(unzipped), text(t, plain))
	for _, no := range []string{"", "br", "gzip;q=0", "gzip; q=0.0", "gzip2"} {
		assert.Equal(t, ask(h, http.MethodGet, file, "Accept-Encoding", no).Header.Get("Content-Encoding"), "", no)
	}
	assert.Equal(t, ask(h, http.MethodGet, file, "If-None-Match", plain.Header.Get("ETag")).StatusCode, http.StatusNotModified)
	assert.Equal(t, text(t, ask(h, http.MethodHead, file)), "")
	old := strings.Replace(file, "/assets/"+strings.Split(file, "/")[2], "/assets/0123456789abcdef", 1)
	assert.Equal(t, ask(h, http.MethodGet, old).Header.Get("Cache-Control"), "no-cache", "an older page's files are not kept")
	for _, none := range []string{"/assets/x/none.js", "/assets/", "/assets/x", "/assets/x/../../web.go", "/assets/x/js/"} {
		assert.Equal(t, ask(h, http.MethodGet, none).StatusCode, http.StatusNotFound, none)
	}
	for _, method := range []string{http.MethodPost, http.MethodPut, http.MethodDelete, http.MethodOptions} {
		a := ask(h, method, "/runs")
		assert.Equal(t, a.StatusCode, http.StatusMethodNotAllowed)
		assert.Equal(t, a.Header.Get("Allow"), "GET, HEAD")
	}
}

// TestOptions: a prefix that is none is refused by its name, and one that is,
// is in all addresses.
func TestOptions(t *testing.T) {
	for field, o := range map[string]web.Options{"Prefix": {Prefix: "agents"}, "API": {API: "/a b"}, "Behind": {Behind: `/"><script>`}} {
		_, err := web.New(&o)
		assert.ErrorIs(t, err, task.ErrInvalid)
		assert.ErrorContains(t, err, field)
	}
	h, err := web.New(&web.Options{Prefix: "/agents/", Behind: "/tools", API: "/v1"})
	assert.NilError(t, err)
	moved := ask(h, http.MethodGet, "/agents")
	assert.Equal(t, moved.StatusCode, http.StatusMovedPermanently)
	assert.Equal(t, moved.Header.Get("Location"), "/tools/agents/")
	markup := text(t, ask(h, http.MethodGet, "/agents/runs"))
	for _, part := range []string{`content="/tools/agents"`, `content="/tools/v1"`, `src="/tools/agents/assets/`} {
		assert.Assert(t, strings.Contains(markup, part), "%s in %s", part, markup)
	}
	for _, path := range []string{"/", "/agentsx", "/other"} {
		assert.Equal(t, ask(h, http.MethodGet, path).StatusCode, http.StatusNotFound, path)
	}
}

// TestAssetsFromElsewhere: files that are worked on are read anew each time.
func TestAssetsFromElsewhere(t *testing.T) {
	files := fstest.MapFS{"index.html": {Data: []byte("one {{assets}}")}, "terminal.html": {Data: []byte("x")}, "js/app.js": {Data: []byte("1")}}
	h, err := web.New(&web.Options{Assets: files})
	assert.NilError(t, err)
	first := text(t, ask(h, http.MethodGet, "/"))
	files["js/app.js"] = &fstest.MapFile{Data: []byte("2")}
	assert.Assert(t, text(t, ask(h, http.MethodGet, "/")) != first, "its version is another")
	a := ask(h, http.MethodGet, "/assets/x/js/app.js")
	assert.Equal(t, text(t, a), "2")
	assert.Equal(t, a.Header.Get("Cache-Control"), "no-cache")
	delete(files, "index.html")
	assert.Equal(t, ask(h, http.MethodGet, "/").StatusCode, http.StatusInternalServerError)
	var _ fs.FS = files
}

// TestBelowAPrefix: the app works below a path of somebody else's server, and
// behind a proxy that takes a path away.
func TestBelowAPrefix(t *testing.T) {
	e := browser.Start(t, &browser.Options{Web: web.Options{Prefix: "/agents"}, Options: transporttest.Options{Idle: true}})
	tab := e.Open(t, "/agents/runs", nil)
	tab.ClickName("Schedules")
	tab.Wait(`location.pathname === "/agents/schedules"`)
	tab.Settled()
	tab.Press("n")
	tab.Wait(`document.activeElement?.tagName === "TEXTAREA"`)

	behind := browser.Start(t, &browser.Options{Web: web.Options{Behind: "/tools/oz"}, Options: transporttest.Options{Idle: true}})
	target, err := url.Parse(behind.URL)
	assert.NilError(t, err)
	proxy := httptest.NewServer(http.StripPrefix("/tools/oz", &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(target)
		r.Out.Host = r.In.Host // as proxies do that serve one site
	}}))
	t.Cleanup(proxy.Close)
	tab = behind.Tab(t, &browser.View{Stranger: true, Root: proxy.URL, Allow: []string{"401"}})
	tab.Load("/tools/oz/runs")
	tab.Type(`input[name="key"]`, transporttest.AdminKey+"\r")
	tab.ClickName("Environments")
	tab.Wait(`location.pathname === "/tools/oz/environments"`)
	tab.Settled()
}

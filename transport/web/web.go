package web

import (
	"bytes"
	"cmp"
	"compress/gzip"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"html"
	"io/fs"
	"mime"
	"net/http"
	"path"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/oz-platform/cloudagents/task"
)

//go:embed assets
var embedded embed.FS

// Options holds what a Handler can do without. The zero value is ready to use.
type Options struct {
	// Prefix is the path below which the app lives, like "/agents". Default: the
	// root of the server.
	Prefix string

	// Behind is the path that a proxy in front takes away before it passes a
	// request on, like "/tools/oz": links begin with it. Default: none.
	Behind string

	// API is the prefix of the HTTP API on the same host, as rest.Options has
	// it. Default "/api/v1".
	API string

	// Title is what the pages call the server. Default "Oz".
	Title string

	// Assets serves the pages from elsewhere, as os.DirFS("transport/web/assets")
	// while they are worked on: each request reads them anew, and nothing is kept
	// by browsers. Default: those embedded in the binary.
	Assets fs.FS
}

func (o *Options) withDefaults() (Options, error) {
	r := Options{}
	if o != nil {
		r = *o
	}
	r.Prefix = strings.TrimRight(r.Prefix, "/")
	r.Behind = strings.TrimRight(r.Behind, "/")
	r.API = strings.TrimRight(cmp.Or(r.API, "/api/v1"), "/")
	r.Title = cmp.Or(r.Title, "Oz")
	for field, p := range map[string]string{"Prefix": r.Prefix, "Behind": r.Behind, "API": r.API} {
		if p != "" && (!strings.HasPrefix(p, "/") || strings.HasPrefix(p, "//") || strings.ContainsAny(p, "{} ?#\\\"'<>")) {
			return r, fmt.Errorf("web options: %w", task.Invalid(field, "must be a path like /agents"))
		}
	}
	return r, nil
}

// base is what the addresses of pages begin with, as browsers see them.
func (o Options) base() string { return o.Behind + o.Prefix }

// Handler serves the app. It is safe for concurrent use.
type Handler struct {
	opts  Options
	files *files // nil when they are read anew for each request
}

// New returns a Handler. opts may be nil. It fails with task.CodeInvalidRequest
// for a path that is none.
func New(opts *Options) (*Handler, error) {
	o, err := opts.withDefaults()
	if err != nil {
		return nil, err
	}
	h := &Handler{opts: o}
	if o.Assets != nil {
		return h, nil
	}
	assets, err := fs.Sub(embedded, "assets")
	if err != nil {
		return nil, fmt.Errorf("web assets: %w", err)
	}
	if h.files, err = pack(assets, o); err != nil {
		return nil, fmt.Errorf("web assets: %w", err)
	}
	return h, nil
}

// policy is the content security policy of all pages. 'self' for scripts means
// the files in assets and nothing else: there is no upload among them.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; media-src 'self' blob:; font-src 'self'; " +
	"connect-src 'self'; manifest-src 'self'; worker-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; " +
	"require-trusted-types-for 'script'; trusted-types oz-worker" // one, that names sw.js: manage/device.js

// terminalPolicy is that of the terminal's page alone: the terminal makes style
// elements for its colours. Its scripts are as strictly kept as all others.
var terminalPolicy = strings.Replace(policy, "style-src 'self'", "style-src 'self' 'unsafe-inline'", 1)

// isTerminal tells the address of the terminal's page, /runs/<id>/terminal.
func isTerminal(path string) bool {
	run, ok := strings.CutPrefix(path, "/runs/")
	id, end, _ := strings.Cut(run, "/")
	return ok && id != "" && end == "terminal"
}

// ServeHTTP implements http.Handler.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	head := w.Header()
	head.Set("X-Content-Type-Options", "nosniff")
	head.Set("Referrer-Policy", "no-referrer") // an address may hold a link's secret
	head.Set("Cross-Origin-Opener-Policy", "same-origin")
	head.Set("Content-Security-Policy", policy)
	head.Set("Permissions-Policy", "camera=(), microphone=(), geolocation=()")
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		head.Set("Allow", "GET, HEAD")
		http.Error(w, "the app has pages to read; changes go to the API", http.StatusMethodNotAllowed)
		return
	}
	all := h.files
	if all == nil {
		var err error
		if all, err = pack(h.opts.Assets, h.opts); err != nil {
			http.Error(w, "the pages cannot be read: "+err.Error(), http.StatusInternalServerError)
			return
		}
	}
	rest, ok := strings.CutPrefix(r.URL.Path, h.opts.Prefix)
	switch name, asset := strings.CutPrefix(rest, "/assets/"); {
	case !ok || rest != "" && rest[0] != '/':
		http.NotFound(w, r)
	case asset:
		h.asset(w, r, all, name)
	case rest == "/sw.js": // a service worker rules what is below its own path
		h.worker(w, r, all)
	case rest == "/version.json": // pages that are open ask whether they are old
		head.Set("Cache-Control", "no-cache")
		newFile("version.json", []byte(`{"version":"`+all.version+`"}`)).serve(w, r)
	case rest == "":
		http.Redirect(w, r, h.opts.base()+"/", http.StatusMovedPermanently)
	case isTerminal(rest):
		head.Set("Cache-Control", "no-cache")
		head.Set("Content-Security-Policy", terminalPolicy)
		all.terminal.serve(w, r)
	default:
		head.Set("Cache-Control", "no-cache")
		all.page.serve(w, r) // which page it is, the router in the browser finds
	}
}

// asset serves a file by version and name. Versions are hashes of all files, so
// that a browser may keep a file for ever.
func (h *Handler) asset(w http.ResponseWriter, r *http.Request, all *files, name string) {
	version, name, _ := strings.Cut(name, "/")
	f := all.byName[name]
	if f == nil {
		http.NotFound(w, r)
		return
	}
	w.Header().Set("Cache-Control", "no-cache")
	if version == all.version && h.files != nil {
		w.Header().Set("Cache-Control", "public, max-age=31536000, immutable")
	}
	f.serve(w, r)
}

// worker serves the service worker, which shows notifications and keeps nothing.
func (h *Handler) worker(w http.ResponseWriter, r *http.Request, all *files) {
	f := all.byName["js/sw.js"]
	if f == nil {
		http.NotFound(w, r)
		return
	}
	w.Header().Set("Cache-Control", "no-cache")
	f.serve(w, r)
}

// files are the assets, ready to send.
type files struct {
	version string
	byName  map[string]*file
	page    *file
	// terminal is a document of its own, see terminalPolicy.
	terminal *file
}

// pack reads all files, and makes the one HTML page of them.
func pack(assets fs.FS, o Options) (*files, error) {
	all := &files{byName: map[string]*file{}}
	sum := sha256.New()
	err := fs.WalkDir(assets, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := fs.ReadFile(assets, name)
		if err != nil {
			return err
		}
		fmt.Fprintf(sum, "%s\x00%d\x00", name, len(data))
		sum.Write(data)
		all.byName[name] = newFile(name, data)
		return nil
	})
	if err != nil {
		return nil, err
	}
	all.version = hex.EncodeToString(sum.Sum(nil))[:16]
	for name, to := range map[string]**file{"index.html": &all.page, "terminal.html": &all.terminal} {
		page, err := all.render(name, o)
		if err != nil {
			return nil, err
		}
		*to = newFile(name, page)
	}
	return all, nil
}

// render fills a page in. The modules that every page needs are named in
// it, so that a browser asks for them at once and not one after the other.
func (all *files) render(name string, o Options) ([]byte, error) {
	index := all.byName[name]
	if index == nil {
		return nil, fmt.Errorf("%s: %w", name, fs.ErrNotExist)
	}
	var preload []string
	for name := range all.byName {
		if strings.HasPrefix(name, "js/core/") || name == "js/app.js" || slices.Contains(eager, name) {
			preload = append(preload, name)
		}
	}
	slices.Sort(preload)
	assets := o.base() + "/assets/" + all.version
	var links strings.Builder
	for _, name := range preload {
		fmt.Fprintf(&links, "<link rel=\"modulepreload\" href=\"%s/%s\">\n", html.EscapeString(assets), html.EscapeString(name))
	}
	// Not html/template: by it the linker would keep every method of every type, a third of the binary.
	fill := strings.NewReplacer("{{base}}", html.EscapeString(o.base()), "{{api}}", html.EscapeString(o.Behind+o.API), "{{version}}", all.version,
		"{{title}}", html.EscapeString(o.Title), "{{assets}}", html.EscapeString(assets), "{{preload}}", links.String())
	return []byte(fill.Replace(string(index.data))), nil
}

// eager are what every page needs beside the core.
var eager = []string{"js/shell/keys.js", "js/shell/nav.js", "js/shell/unread.js", "lib/preact.js", "lib/hooks.js", "lib/htm.js"}

// file is one file with its compressed form.
type file struct {
	kind string
	tag  string
	data []byte
	// zipped gives nil where that is no gain. It compresses when it is first
	// asked: all files together would be a third of a server's start.
	zipped func() []byte
}

func newFile(name string, data []byte) *file {
	sum := sha256.Sum256(data)
	return &file{kind: kindOf(name), tag: `"` + hex.EncodeToString(sum[:8]) + `"`, data: data,
		zipped: sync.OnceValue(func() []byte { return compress(data) })}
}

// compress gives nil where less than a tenth is gained.
func compress(data []byte) []byte {
	var b bytes.Buffer
	z, _ := gzip.NewWriterLevel(&b, gzip.BestCompression) // the level is one
	_, _ = z.Write(data)                                  // memory
	_ = z.Close()
	if b.Len() >= len(data)*9/10 {
		return nil
	}
	return b.Bytes()
}

// kindOf is the media type of a file. The host's tables are not asked: they
// differ, and a script with the wrong type does not run.
func kindOf(name string) string {
	switch path.Ext(name) {
	case ".js":
		return "text/javascript; charset=utf-8"
	case ".css":
		return "text/css; charset=utf-8"
	case ".html":
		return "text/html; charset=utf-8"
	case ".svg":
		return "image/svg+xml"
	case ".json":
		return "application/json"
	case ".webmanifest":
		return "application/manifest+json"
	case ".txt":
		return "text/plain; charset=utf-8"
	}
	return cmp.Or(mime.TypeByExtension(path.Ext(name)), "application/octet-stream")
}

func (f *file) serve(w http.ResponseWriter, r *http.Request) {
	head := w.Header()
	head.Set("Content-Type", f.kind)
	head.Set("Vary", "Accept-Encoding")
	head.Set("ETag", f.tag)
	if r.Header.Get("If-None-Match") == f.tag {
		w.WriteHeader(http.StatusNotModified)
		return
	}
	body := f.data
	if acceptsGzip(r.Header.Get("Accept-Encoding")) {
		if zipped := f.zipped(); zipped != nil {
			head.Set("Content-Encoding", "gzip")
			body = zipped
		}
	}
	head.Set("Content-Length", fmt.Sprint(len(body)))
	if r.Method != http.MethodHead {
		_, _ = w.Write(body) // whoever asked has gone
	}
}

// acceptsGzip reads Accept-Encoding (RFC 9110, section 12.5.3), as far as it
// names gzip.
func acceptsGzip(header string) bool {
	for part := range strings.SplitSeq(header, ",") {
		name, weight, _ := strings.Cut(part, ";")
		if strings.TrimSpace(name) == "gzip" {
			value, ok := strings.CutPrefix(strings.ReplaceAll(weight, " ", ""), "q=")
			q, err := strconv.ParseFloat(value, 64)
			return !ok || err == nil && q > 0
		}
	}
	return false
}

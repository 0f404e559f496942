package browser

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/input"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
	"gotest.tools/v3/assert"

	"github.com/oz-platform/cloudagents/transport/internal/transporttest"
)

// View says how a page is looked at. The zero View is a desk in daylight, and
// the admin before it.
type View struct {
	Width, Height int  // default 1440 x 900
	Dark          bool // what the system prefers
	// Key is whose session the browser has; default the admin's.
	Key string
	// Stranger has no session.
	Stranger bool
	// Root is where the browser reaches the server; default its own address.
	Root string
	// Allow are parts of messages in the console that are part of the test,
	// such as "401".
	Allow []string
}

// Phone is a View of 390 pixels.
func Phone() *View { return &View{Width: 390, Height: 844} }

// Tab is one page in a browser of its own: it shares no cookie with others.
type Tab struct {
	t    testing.TB
	ctx  context.Context
	root string

	mu       sync.Mutex
	allow    []string
	trouble  []string
	changed  bool // the machine's network did, see Goto
	requests []Request
	byID     map[network.RequestID]int
}

// Request is one that the page has made.
type Request struct {
	URL    string
	Status int64
	Bytes  int64 // as they came over the wire, with headers
}

// Open opens a page of the server and waits until it has a heading.
func (e *Env) Open(t testing.TB, path string, v *View) *Tab {
	t.Helper()
	tab := e.Tab(t, v)
	tab.Goto(path)
	return tab
}

// Tab makes an empty page, with a session already.
func (e *Env) Tab(t testing.TB, v *View) *Tab {
	t.Helper()
	if v == nil {
		v = &View{}
	}
	parent, err := shared.start()
	assert.NilError(t, err)
	tab := &Tab{t: t, root: cmp.Or(v.Root, e.URL), allow: slices.Clone(v.Allow), byID: map[network.RequestID]int{}}
	ctx, cancel := chromedp.NewContext(parent, chromedp.WithNewBrowserContext())
	tab.ctx = ctx
	t.Cleanup(func() {
		tab.check()
		cancel()
	})
	assert.NilError(t, chromedp.Listen(ctx, tab.hear))
	tab.Do(enable(v), signIn(e, t, v))
	return tab
}

// enable sets the view up.
func enable(v *View) chromedp.Action[chromedp.Void] {
	width, height := v.Width, v.Height
	if width == 0 {
		width, height = 1440, 900
	}
	scheme := "light"
	if v.Dark {
		scheme = "dark"
	}
	return chromedp.Func(func(ctx context.Context, t *chromedp.Target) error {
		if _, err := cdp.Call(ctx, t, log.Enable, cdp.Empty{}); err != nil {
			return err
		}
		if _, err := cdp.Call(ctx, t, network.Enable, network.EnableParams{}); err != nil {
			return err
		}
		if _, err := chromedp.EmulateViewport(int64(width), int64(height))(ctx, t); err != nil {
			return err
		}
		// The pages of one browser do not take the keys from one another.
		if _, err := cdp.Call(ctx, t, emulation.SetFocusEmulationEnabled, emulation.SetFocusEmulationEnabledParams{Enabled: true}); err != nil {
			return err
		}
		// Without motion, pictures are the same each time.
		_, err := cdp.Call(ctx, t, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{
			{Name: "prefers-color-scheme", Value: scheme}, {Name: "prefers-reduced-motion", Value: "reduce"}}})
		return err
	})
}

// signIn gives the browser the cookie of a session.
func signIn(e *Env, t testing.TB, v *View) chromedp.Action[chromedp.Void] {
	return chromedp.Func(func(ctx context.Context, target *chromedp.Target) error {
		if v.Stranger {
			return nil
		}
		key := v.Key
		if key == "" {
			key = transporttest.AdminKey
		}
		c := e.Session(t, key)
		yes := true
		_, err := cdp.Call(ctx, target, network.SetCookie, network.SetCookieParams{Name: c.Name, Value: c.Value, URL: e.URL, Path: "/", HTTPOnly: &yes,
			SameSite: network.CookieSameSiteLax})
		return err
	})
}

// Session signs in with a key and gives the cookie.
func (e *Env) Session(t testing.TB, key string) *http.Cookie {
	t.Helper()
	a := e.CallIn(t, "", http.MethodPost, "/oz/auth/session", map[string]any{"key": key}, "Origin", e.URL)
	assert.Equal(t, a.Status, http.StatusOK, "%s", a.Body)
	return (&http.Response{Header: a.Header}).Cookies()[0]
}

// Do runs actions of chromedp.
func (tab *Tab) Do(actions ...chromedp.Action[chromedp.Void]) {
	tab.t.Helper()
	for _, a := range actions {
		_, err := limited(tab, a)
		assert.NilError(tab.t, err)
	}
}

// limited runs one action with the patience of tests. The first use of a tab
// opens it, and must not end with a time-out's context.
func limited[T any](tab *Tab, a chromedp.Action[T]) (T, error) {
	var zero T
	if err := chromedp.Do(tab.ctx); err != nil {
		return zero, err
	}
	ctx, cancel := context.WithTimeout(tab.ctx, Patience)
	defer cancel()
	return chromedp.Run(ctx, a)
}

// Goto opens a path and waits until the page of the app has its heading, and
// nothing is loading.
func (tab *Tab) Goto(path string) {
	tab.t.Helper()
	for range maxLoads {
		tab.set(false)
		tab.Load(path)
		tab.Settled()
		if !tab.set(false) {
			return
		}
	}
}

// maxLoads bounds how often a page is opened anew because the machine's network
// changed meanwhile.
const maxLoads = 10

// set notes whether the machine's network changed, and gives what was noted.
func (tab *Tab) set(changed bool) (was bool) {
	tab.mu.Lock()
	defer tab.mu.Unlock()
	was, tab.changed = tab.changed, changed
	return was
}

// Load opens a path.
func (tab *Tab) Load(path string) {
	tab.t.Helper()
	tab.Do(chromedp.Navigate(tab.root + path))
}

// Settled waits until the page has a heading and nothing is loading.
func (tab *Tab) Settled() {
	tab.t.Helper()
	tab.Wait(`document.querySelector("h1") && !document.querySelector(".loading")`)
}

// Eval gives what an expression in the page is worth. A promise is awaited.
func Eval[T any](tab *Tab, expression string) T {
	tab.t.Helper()
	v, err := limited(tab, chromedp.Evaluate[T](expression, chromedp.EvalAwaitPromise))
	assert.NilError(tab.t, err, "%s", expression)
	return v
}

// Wait waits until an expression is true in the page.
func (tab *Tab) Wait(expression string) {
	tab.t.Helper()
	ticker := time.NewTicker(20 * time.Millisecond)
	defer ticker.Stop()
	last := ""
	for end := time.Now().Add(Patience); time.Now().Before(end); <-ticker.C {
		ok, err := limited(tab, chromedp.Evaluate[bool]("!!("+expression+")"))
		if ok && err == nil {
			return
		}
		if err != nil {
			last = err.Error() // as while a page is left
		}
	}
	text, _ := limited(tab, chromedp.Evaluate[string](`document.body ? document.body.innerText.slice(0, 3000) : ""`))
	at, _ := limited(tab, chromedp.Evaluate[string](`location.href + ", focus on " + (document.activeElement?.outerHTML ?? "nothing").slice(0, 300) + ", value " + document.activeElement?.value`))
	tab.t.Fatalf("never true: %s %s\nAt %s\nThe page says:\n%s\nIts troubles: %v", expression, last, at, text, tab.Trouble())
}

// WaitText waits until the page shows a text.
func (tab *Tab) WaitText(text string) {
	tab.t.Helper()
	tab.Wait("document.body.innerText.includes(" + quote(text) + ")")
}

// Text is what is read in the first element of a selector.
func (tab *Tab) Text(selector string) string {
	tab.t.Helper()
	return strings.TrimSpace(Eval[string](tab, "document.querySelector("+quote(selector)+")?.innerText ?? ''"))
}

// Count is how many elements a selector has.
func (tab *Tab) Count(selector string) int {
	tab.t.Helper()
	return Eval[int](tab, "document.querySelectorAll("+quote(selector)+").length")
}

// Path is where the page is.
func (tab *Tab) Path() string {
	tab.t.Helper()
	return Eval[string](tab, "location.pathname + location.search")
}

func quote(s string) string {
	data, _ := json.Marshal(s)
	return string(data)
}

// Click presses the mouse on the first element of a selector.
func (tab *Tab) Click(selector string) {
	tab.t.Helper()
	tab.clickAt("document.querySelector(" + quote(selector) + ")")
}

// ClickName presses the mouse on the first control that is seen with a name,
// in the topmost dialog if one is open.
func (tab *Tab) ClickName(name string) {
	tab.t.Helper()
	tab.clickAt(fmt.Sprintf(`[...([...document.querySelectorAll("dialog[open]")].pop() ?? document).querySelectorAll("button, a, summary, label, input, select, textarea, [role=option], [role=tab]")].find((e) =>
		e.checkVisibility() && [e.innerText?.trim(), e.getAttribute("aria-label"), e.labels?.[0]?.innerText?.trim()].some((n) => n?.replace(/\s+/g, " ") === %s))`, quote(name)))
}

// clickAt waits until the element of an expression stands still in sight, and
// presses the mouse in its middle.
func (tab *Tab) clickAt(expression string) {
	tab.t.Helper()
	at := "(() => { const e = " + expression + `; if (!e || e.disabled || e.ariaDisabled === "true" || !e.checkVisibility()) return null; e.scrollIntoView({ block: "center", behavior: "instant" });
		const r = e.getBoundingClientRect(), x = r.x + r.width / 2, y = r.y + r.height / 2, top = document.elementFromPoint(x, y);
		return r.width && top && (e.contains(top) || top.contains(e) || top.labels === undefined && top.closest("label")?.contains(e)) ? [x, y] : null; })()`
	tab.Wait(at)
	point := Eval[[]float64](tab, at)
	assert.Assert(tab.t, len(point) == 2, "%s is not to be pressed any more", expression)
	tab.Do(chromedp.MouseClickXY(point[0], point[1]))
}

// Type puts the focus into the first element of a selector and types there, in
// the place of what was there.
func (tab *Tab) Type(selector, text string) {
	tab.t.Helper()
	// A pane is in the page a moment before it is open and takes the focus.
	tab.Wait("(() => { const e = document.querySelector(" + quote(selector) + "); if (!e?.checkVisibility()) return false; e.focus(); e.select?.(); return document.activeElement === e; })()")
	tab.Press(text)
}

// Press presses keys, one after the other; package kb names those that are no
// letters. A key and the letter that it makes are one event, as they are from a
// keyboard: a page that takes the key keeps the letter out.
func (tab *Tab) Press(keys string, modifiers ...chromedp.Modifier) {
	tab.t.Helper()
	var held int64
	for _, m := range modifiers {
		held |= int64(m)
	}
	for _, r := range keys {
		events := kb.Encode(r)
		down, up := events[0], events[len(events)-1]
		if len(events) == 3 && held&^int64(chromedp.ModifierShift) == 0 {
			down.Text, down.UnmodifiedText = events[1].Text, events[1].UnmodifiedText
		}
		for _, ev := range []*input.DispatchKeyEventParams{down, up} {
			ev.Modifiers |= held
			tab.Do(chromedp.Func(func(ctx context.Context, t *chromedp.Target) error {
				_, err := cdp.Call(ctx, t, input.DispatchKeyEvent, *ev)
				return err
			}))
		}
	}
}

// Focused tells what has the focus, by its name for people.
func (tab *Tab) Focused() string {
	tab.t.Helper()
	return Eval[string](tab, `(() => { const e = document.activeElement; return e?.getAttribute("aria-label") || e?.labels?.[0]?.innerText?.trim() || e?.innerText?.trim() || e?.tagName || ""; })()`)
}

// Picture gives a PNG of what is in sight; whole: of the page from top to bottom.
func (tab *Tab) Picture(whole bool) []byte {
	tab.t.Helper()
	png, err := limited(tab, chromedp.Action[[]byte](func(ctx context.Context, t *chromedp.Target) ([]byte, error) {
		r, err := cdp.Call(ctx, t, page.CaptureScreenshot, page.CaptureScreenshotParams{Format: page.CaptureScreenshotFormatPng, CaptureBeyondViewport: &whole})
		if err != nil {
			return nil, err
		}
		return r.Data, nil
	}))
	assert.NilError(tab.t, err)
	return png
}

// Save keeps a picture below the directory that OZ_PICTURES names, for people
// who look at pages; without it, it does nothing.
func (tab *Tab) Save(name string) {
	tab.t.Helper()
	dir := os.Getenv("OZ_PICTURES")
	if dir == "" {
		return
	}
	assert.NilError(tab.t, os.MkdirAll(dir, 0o755))
	assert.NilError(tab.t, os.WriteFile(filepath.Join(dir, name+".png"), tab.Picture(true), 0o644))
}

// hear notes what goes wrong in a page, and its requests.
func (tab *Tab) hear(ev any) {
	tab.mu.Lock()
	defer tab.mu.Unlock()
	switch ev := ev.(type) {
	case *log.EventEntryAdded:
		// Chromium drops all that it loads when another program makes a network
		// interface, as the tests of containers do: no fault of the page.
		if strings.Contains(ev.Entry.Text, "ERR_NETWORK_CHANGED") {
			tab.changed = true
			return
		}
		if ev.Entry.Level == log.EntryLevelError {
			tab.trouble = append(tab.trouble, fmt.Sprintf("%s: %s %s", ev.Entry.Source, ev.Entry.Text, ev.Entry.URL))
		}
	case *runtime.EventExceptionThrown:
		text := ev.ExceptionDetails.Text
		if ev.ExceptionDetails.Exception != nil {
			text += " " + ev.ExceptionDetails.Exception.Description
		}
		tab.trouble = append(tab.trouble, "exception: "+text)
	case *runtime.EventConsoleAPICalled:
		if ev.Type == runtime.ConsoleAPICalledTypeError || ev.Type == runtime.ConsoleAPICalledTypeWarning {
			var words []string
			for _, a := range ev.Args {
				words = append(words, string(a.Value)+a.Description)
			}
			tab.trouble = append(tab.trouble, "console: "+strings.Join(words, " "))
		}
	case *network.EventResponseReceived:
		tab.byID[ev.RequestID] = len(tab.requests)
		tab.requests = append(tab.requests, Request{URL: ev.Response.URL, Status: int64(ev.Response.Status)})
	case *network.EventLoadingFinished:
		if i, ok := tab.byID[ev.RequestID]; ok {
			tab.requests[i].Bytes = int64(ev.EncodedDataLength)
		}
	}
}

// Requests are those that the page has made, in the order of their answers.
func (tab *Tab) Requests() []Request {
	tab.mu.Lock()
	defer tab.mu.Unlock()
	return append([]Request(nil), tab.requests...)
}

// Trouble is what went wrong in the page and was not allowed to.
func (tab *Tab) Trouble() []string {
	tab.mu.Lock()
	defer tab.mu.Unlock()
	var bad []string
	for _, text := range tab.trouble {
		allowed := false
		for _, part := range tab.allow {
			allowed = allowed || strings.Contains(text, part)
		}
		if !allowed {
			bad = append(bad, text)
		}
	}
	return bad
}

// Allow adds to what may be in the console.
func (tab *Tab) Allow(parts ...string) {
	tab.mu.Lock()
	defer tab.mu.Unlock()
	tab.allow = append(tab.allow, parts...)
}

// check fails the test for what went wrong in the page.
func (tab *Tab) check() {
	tab.t.Helper()
	for _, text := range tab.Trouble() {
		tab.t.Errorf("in the page: %s", text)
	}
}

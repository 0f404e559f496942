package web_test

import (
	"io/fs"
	"net/http"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"testing/fstest"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
	"gotest.tools/v3/assert"

	"github.com/oz-platform/cloudagents/oz"
	"github.com/oz-platform/cloudagents/oz/access"
	"github.com/oz-platform/cloudagents/transport/internal/transporttest"
	"github.com/oz-platform/cloudagents/transport/web"
	"github.com/oz-platform/cloudagents/transport/web/internal/browser"
)

// TestSessionIsOver: whoever is signed out while they write signs in again
// above the page, and goes on with what they wrote.
func TestSessionIsOver(t *testing.T) {
	e := browser.Start(t, &browser.Options{Options: transporttest.Options{Idle: true}})
	key, uid := e.Key(t, access.DefaultUser, access.KeyPersonal)
	tab := e.Open(t, "/runs", &browser.View{Key: key, Allow: []string{"401"}})
	tab.Press("n")
	tab.Wait(`document.activeElement?.tagName === "TEXTAREA"`)
	tab.Press("A long prompt that nobody wants to write twice")
	admin := e.Client(t, transporttest.AdminKey)
	assert.NilError(t, admin.RevokeKey(t.Context(), uid))
	tab.Press(kb.Enter, chromedp.ModifierCtrl)
	tab.WaitText("Your session is over")
	tab.Accessible()
	tab.Wait(`document.activeElement?.name === "key"`)
	tab.Press("wrong" + kb.Enter)
	tab.WaitText("this API key is unknown")
	tab.Type(`input[name="key"]`, transporttest.AdminKey+kb.Enter)
	tab.Wait(`document.querySelectorAll("dialog[open]").length === 1`)
	assert.Equal(t, browser.Eval[string](tab, `document.querySelector("dialog textarea").value`), "A long prompt that nobody wants to write twice")
	tab.ClickName("Start run")
	tab.Wait(`location.pathname.startsWith("/runs/")`)
}

// TestRevokedKeyClosesAnOpenPage: nobody has to touch the page for it.
func TestRevokedKeyClosesAnOpenPage(t *testing.T) {
	e := browser.Start(t, &browser.Options{Options: transporttest.Options{Idle: true}})
	key, uid := e.Key(t, "mary", access.KeyPersonal)
	tab := e.Open(t, "/runs", &browser.View{Key: key, Allow: []string{"401", "404"}})
	assert.NilError(t, e.Client(t, transporttest.AdminKey).RevokeKey(t.Context(), uid))
	tab.WaitText("Your session is over")
	// Somebody else signs in: nothing of hers is left in the page.
	browser.Eval[bool](tab, `window.before = true`)
	tab.Type(`input[name="key"]`, transporttest.AdminKey+kb.Enter)
	tab.Wait(`!window.before && document.querySelector("nav#nav")?.innerText.includes("Admin")`)
}

// TestServerAwayAndBack: a page says that the server is away, and mends itself
// when it is back.
func TestServerAwayAndBack(t *testing.T) {
	e := browser.Start(t, &browser.Options{Options: transporttest.Options{Idle: true}})
	tab := e.Open(t, "/runs", &browser.View{Allow: []string{"ERR_CONNECTION", "ERR_INCOMPLETE", "ERR_EMPTY", "network:"}})
	e.Down()
	tab.WaitText("The server cannot be reached")
	tab.Accessible()
	// What is clicked meanwhile says so, too, and keeps a way on.
	tab.Do(choose("Sort by", "title"))
	tab.Wait(`document.querySelector(".failure")`)
	_, err := e.Platform.As(e.Caller(transporttest.AdminKey)).Submit(t.Context(), oz.Request{Prompt: "Meanwhile"})
	assert.NilError(t, err)
	e.Up()
	waitTitles(tab, "Meanwhile")
	tab.Wait(`!document.body.innerText.includes("cannot be reached")`)
}

// TestNewerPages: a page that is open while the server is replaced by another
// version says that there are newer ones.
func TestNewerPages(t *testing.T) {
	e := browser.Start(t, nil)
	tab := e.Open(t, "/runs", &browser.View{Allow: []string{"ERR_CONNECTION", "network:"}})
	browser.Eval[bool](tab, `(() => { const f = window.fetch; window.fetch = (a, ...rest) => String(a).endsWith("/version.json") ? f("/version.json").then(() => new Response('{"version":"another"}')) : f(a, ...rest); return true; })()`)
	e.Down()
	tab.WaitText("The server cannot be reached")
	e.Up()
	tab.WaitText("The server has newer pages")
	browser.Eval[bool](tab, `window.before = true`)
	tab.ClickName("Reload")
	tab.Wait(`!window.before && document.querySelector("h1")`)
	assert.Assert(t, !strings.Contains(tab.Text("main"), "newer pages"))
}

// TestPhoneNavigation: the drawer keeps the focus, Escape closes it, and the
// focus is where it was.
func TestPhoneNavigation(t *testing.T) {
	e := browser.Start(t, nil)
	tab := e.Open(t, "/runs", browser.Phone())
	tab.ClickName("Menu")
	tab.Wait(`document.querySelector("nav.open")`)
	tab.Accessible()
	tab.Save("phone-menu")
	for range 30 { // further than there are controls
		tab.Press(kb.Tab)
		assert.Assert(t, browser.Eval[bool](tab, `document.activeElement === document.body || document.querySelector("nav.open").contains(document.activeElement)`), tab.Focused())
	}
	tab.Press(kb.Escape)
	tab.Wait(`!document.querySelector("nav.open")`)
	tab.Wait(`document.activeElement?.getAttribute("aria-label") === "Menu"`)
	tab.ClickName("Menu")
	tab.ClickName("Schedules")
	tab.Wait(`location.pathname === "/schedules" && !document.querySelector("nav.open")`)
	tab.WaitText("No schedules yet") // it has controls of its own to look at
	small := browser.Eval[string](tab, `[...document.querySelectorAll(".topbar a, .topbar button, main button, main a.button, main input, main select")].filter((e) => e.checkVisibility() && e.getBoundingClientRect().height > 0 && e.getBoundingClientRect().height < 24)
		.map((e) => e.outerHTML.slice(0, 120)).join("\n")`)
	assert.Equal(t, small, "", "targets are large enough for a thumb")
}

// TestKeys: every shortcut that the list of them names, and that they can be
// switched off.
func TestKeys(t *testing.T) {
	e := browser.Start(t, nil)
	e.Furnish(t)
	tab := e.Open(t, "/", nil)
	tab.Press("gr")
	tab.Wait(`location.pathname === "/runs"`)
	tab.Wait(`document.activeElement?.tagName === "H1"`) // as after a page load
	tab.Press("/")
	tab.Wait(`document.activeElement?.type === "search"`)
	tab.Press("gd?n") // is text there
	assert.Equal(t, browser.Eval[string](tab, `document.activeElement.value`), "gd?n")
	tab.Press("k", chromedp.ModifierCtrl)
	tab.Wait(`document.activeElement?.getAttribute("role") === "combobox"`)
	tab.Press("refund")
	tab.Wait(`document.querySelector("[role=option]")?.innerText.includes("Splitting a refund")`)
	tab.Accessible()
	tab.Press(kb.Enter)
	tab.Wait(`location.pathname.startsWith("/runs/") && !document.querySelector("dialog[open]")`)
	tab.Press("gs")
	tab.Wait(`location.pathname === "/schedules"`)
	tab.Press("?")
	tab.WaitText("Keyboard shortcuts")
	tab.Accessible()
	tab.ClickName("Single keys act Off: only those with Ctrl and Esc do.")
	tab.Press(kb.Escape)
	tab.Wait(`!document.querySelector("dialog[open]")`)
	tab.Press("gr")
	tab.Press("k", chromedp.ModifierCtrl)
	tab.Wait(`document.querySelector("dialog[open]")`)
	assert.Equal(t, tab.Path(), "/schedules", "single keys are off")
}

// TestFocusStays: a button that works for a while keeps the focus of who presses
// it by keyboard, and acts once; a run that is opened takes the focus.
func TestFocusStays(t *testing.T) {
	e := browser.Start(t, nil)
	house := e.Furnish(t)
	tab := e.Open(t, "/schedules/"+house.Schedule, nil)
	// The answer waits until the test has looked.
	browser.Eval[bool](tab, `(() => { window.sent = 0; const f = window.fetch; window.fetch = (a, ...rest) => String(a).endsWith("/pause") ? (sent++, new Promise((r) => { window.answer = () => r(f(a, ...rest)); })) : f(a, ...rest); return true; })()`)
	tabTo(tab, "Pause")
	tab.Press(kb.Enter)
	tab.Wait(`window.answer && document.activeElement?.getAttribute("aria-busy") === "true"`)
	tab.Press(kb.Enter)
	browser.Eval[bool](tab, `new Promise((r) => requestAnimationFrame(() => setTimeout(() => r(true))))`) // by then a browser has taken the focus from what cannot have it
	assert.Equal(t, tab.Focused(), "Pause")
	browser.Eval[bool](tab, `(answer(), true)`)
	tab.Wait(`document.activeElement?.innerText?.trim() === "Enable" && !document.querySelector('[aria-busy="true"]')`)
	assert.Equal(t, browser.Eval[int](tab, "sent"), 1)

	tab.Goto("/runs")
	tabTo(tab, "Rename the table invoices to bills.")
	tab.Press(kb.Enter)
	tab.Wait(`location.pathname.startsWith("/runs/") && document.activeElement?.tagName === "H1"`)
}

// TestTheme: the choice wins over the system's, and is kept.
func TestTheme(t *testing.T) {
	e := browser.Start(t, nil)
	tab := e.Open(t, "/", &browser.View{Dark: true})
	background := func() string { return browser.Eval[string](tab, `getComputedStyle(document.body).backgroundColor`) }
	dark := background()
	tab.Click(`button[aria-label^="Colours"]`) // light
	tab.Wait(`document.documentElement.dataset.theme === "light"`)
	light := background()
	assert.Assert(t, light != dark)
	tab.Goto("/runs")
	assert.Equal(t, background(), light)
	tab.Click(`button[aria-label^="Colours"]`)
	tab.Click(`button[aria-label^="Colours"]`) // the system's again
	tab.Wait(`!document.documentElement.dataset.theme`)
	assert.Equal(t, background(), dark)
}

// TestFirstLoadIsSmall: what a browser fetches for its first page, compressed
// and with headers, is at most 200 KiB.
func TestFirstLoadIsSmall(t *testing.T) {
	e := browser.Start(t, nil)
	e.Furnish(t)
	for _, path := range []string{"/", "/runs"} {
		tab := e.Open(t, path, nil)
		var total int64
		for _, r := range tab.Requests() {
			if strings.Contains(r.URL, "/api/") {
				continue // what it shows, not what it is
			}
			assert.Equal(t, r.Status, int64(http.StatusOK), r.URL)
			total += r.Bytes
		}
		t.Logf("%s: %d bytes", path, total)
		assert.Assert(t, total > 20_000, "%d bytes: nothing was counted", total)
		assert.Assert(t, total <= 200<<10, "%s takes %d bytes, over 200 KiB", path, total)
	}
}

// lacking are the pages of which one script needs another that does not arrive,
// until it is there.
type lacking struct {
	fs.FS
	name  string
	there *atomic.Bool
}

func (l lacking) Open(name string) (fs.File, error) {
	if name == l.name && !l.there.Load() {
		return fstest.MapFS{name: {Data: []byte("import './lost.js';")}}.Open(name)
	}
	return l.FS.Open(name)
}

// TestPageDoesNotArriveWhole: a script that is lost on the way leaves no empty
// page, but one that says so and goes on.
func TestPageDoesNotArriveWhole(t *testing.T) {
	var there atomic.Bool
	e := browser.Start(t, &browser.Options{Web: web.Options{Assets: lacking{os.DirFS("assets"), "js/core/feed.js", &there}}})
	tab := e.Tab(t, &browser.View{Width: 390, Height: 844, Dark: true, Allow: []string{"js/core/lost.js"}})
	tab.Load("/runs")
	tab.WaitText("The page did not arrive whole")
	tab.Accessible()
	there.Store(true)
	tab.ClickName("Reload")
	tab.WaitText("What agents do and have done.")
}

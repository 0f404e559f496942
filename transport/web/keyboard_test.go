package web_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
	"gotest.tools/v3/assert"

	"github.com/oz-platform/cloudagents/task"
	"github.com/oz-platform/cloudagents/transport/internal/transporttest"
	"github.com/oz-platform/cloudagents/transport/web/internal/browser"
)

// tabbable are the controls that Tab must reach: of a group of radio buttons
// and of a list of tabs it is one, as arrows do the rest.
const tabbable = `[...document.querySelectorAll("a[href], button, input, select, textarea, summary, [tabindex='0']")]
	.filter((e) => e.checkVisibility() && !e.disabled && e.tabIndex >= 0 && !e.closest("[inert]") && !e.closest(".transcript, [role=log], [role=feed]") && !(e.type === "radio" && !e.checked))`

// stop is one place that Tab led to.
type stop struct {
	Name       string
	End        bool // out of the page
	Again      bool // been there
	Lit, Clear bool // the focus is seen, and nothing covers it
	HTML       string
}

const look1 = `(() => { const e = document.activeElement; window.seen ??= new Set();
	if (!e || e === document.body) return { End: true };
	const again = window.seen.has(e); window.seen.add(e);
	const s = getComputedStyle(e), r = e.getClientRects()[0] ?? e.getBoundingClientRect(), x = Math.min(Math.max(r.x + Math.min(r.width, 40) / 2, 1), innerWidth - 2), y = Math.min(Math.max(r.y + r.height / 2, 1), innerHeight - 2);
	const top = document.elementFromPoint(x, y), in_ = r.bottom > 0 && r.top < innerHeight && r.right > 0 && r.left < innerWidth;
	return { Again: again, Lit: s.outlineStyle !== "none" && parseFloat(s.outlineWidth) >= 1, Clear: in_ && !!top && (e.contains(top) || top.contains(e) || e.parentElement.contains(top)), Name: e.getAttribute("aria-label") || e.innerText || e.tagName, HTML: e.outerHTML.slice(0, 160) }; })()`

// TestKeyboardReachesEverything walks through every page by Tab alone: each
// control is reached, where the focus is can be seen and is covered by nothing,
// and it leaves the page again at its end.
func TestKeyboardReachesEverything(t *testing.T) {
	e := browser.Start(t, nil)
	house := e.Furnish(t)
	tab := e.Tab(t, nil)
	for i, route := range routes(t) {
		tab.Goto(address(route, house))
		if i > 0 { // the navigation is the same everywhere
			browser.Eval[bool](tab, `document.querySelector("nav.nav").inert = true`)
		}
		walk(t, tab)
	}
	tab = e.Tab(t, browser.Phone())
	for _, route := range []string{"/runs", "/runs/:id", "/settings/:tab"} { // those that are put together otherwise
		tab.Goto(address(route, house))
		walk(t, tab)
	}
}

// walk goes through a page by Tab. What is drawn anew meanwhile, as when the run
// of a page is read, was not there to be reached: then it goes once more.
func walk(t *testing.T, tab *browser.Tab) {
	t.Helper()
	tab.Settled()
	var missed []string
	for range 3 {
		if missed = walkOnce(t, tab); len(missed) == 0 {
			return
		}
	}
	t.Errorf("%s: Tab does not reach\n%s", tab.Path(), strings.Join(missed, "\n"))
}

func walkOnce(t *testing.T, tab *browser.Tab) (missed []string) {
	t.Helper()
	browser.Eval[bool](tab, `(() => { window.seen = new Set(); document.activeElement.blur(); document.body.tabIndex = -1; document.body.focus(); document.body.removeAttribute("tabindex"); window.getSelection().removeAllRanges(); return true; })()`)
	const most = 300
	for n := range most {
		tab.Press(kb.Tab)
		s := browser.Eval[stop](tab, look1)
		if s.End || s.Again && n > 0 {
			break
		}
		assert.Check(t, s.Lit, "%s: one does not see that the focus is on %q: %s", tab.Path(), s.Name, s.HTML)
		assert.Check(t, s.Clear, "%s: something covers %q, which has the focus: %s", tab.Path(), s.Name, s.HTML)
		assert.Check(t, n < most-1, "%s: there is no way out", tab.Path())
	}
	return browser.Eval[[]string](tab, tabbable+`.filter((e) => !window.seen.has(e)).map((e) => e.outerHTML.slice(0, 160))`)
}

// keys presses what a person without a mouse presses.
type keys struct {
	t   *testing.T
	tab *browser.Tab
}

// to goes forward by Tab until a control has the focus.
func (k keys) to(name string) keys {
	k.t.Helper()
	is := fmt.Sprintf(`(() => { const e = document.activeElement; return [e?.getAttribute("aria-label"), e?.labels?.[0]?.innerText.replace("(required)", ""), e?.innerText].some((n) => n?.trim().replace(/\s+/g, " ") === %q); })()`, name)
	for range 150 {
		if browser.Eval[bool](k.tab, is) {
			return k
		}
		k.tab.Press(kb.Tab)
	}
	k.t.Fatalf("%s: %q cannot be reached by Tab", k.tab.Path(), name)
	return k
}

func (k keys) press(what string) keys { k.tab.Press(what); return k }

// pane waits until a pane is open and has the focus.
func (k keys) pane() keys {
	k.tab.Wait(`document.querySelector("dialog[open]")?.contains(document.activeElement) && !document.querySelector("dialog[open] .loading")`)
	return k
}

// escaped closes a pane by Escape: the focus is back on what opened it.
func (k keys) escaped(name string) {
	k.t.Helper()
	k.tab.Press(kb.Escape)
	closed(k.tab)
	k.tab.Wait(fmt.Sprintf(`(document.activeElement?.innerText ?? "").trim().replace(/\s+/g, " ") === %q`, name))
}

// TestPagesByKeyboard does what each page is for by Tab, Enter, Space, arrows
// and Escape alone.
func TestPagesByKeyboard(t *testing.T) {
	e := browser.Start(t, nil)
	house := e.Furnish(t)
	admin := e.Client(t, transporttest.AdminKey)
	tab := e.Tab(t, nil)
	k := keys{t, tab}
	at := func(path string) { t.Helper(); tab.Goto(path) }

	at("/")
	k.to("New schedule Work that comes back by the clock").press(kb.Enter).pane().escaped("New schedule Work that comes back by the clock")

	at("/runs")
	k.to("Mine").press(kb.Enter)
	tab.Wait(`location.search === "?view=mine"`)
	k.to("Search runs by title, prompt or skill").press("refund")
	tab.Wait(`document.querySelectorAll(".runs li").length === 1`)
	k.to("Splitting a refund loses cents. Find the cause and mend it without touching…")
	k.press(kb.Enter)
	tab.Wait(`location.pathname.startsWith("/runs/")`)
	tab.Settled()

	at("/runs/" + string(house.Runs[task.StateSucceeded]))
	k.to("Overview").press(kb.ArrowRight)
	tab.Wait(`document.querySelector("[role=tab][aria-selected=true]")?.innerText.startsWith("Results")`)
	at("/runs/" + string(house.Runs[task.StateSucceeded]))
	k.to("Follow up: a new execution goes on from here")
	k.press("And the docs").press(kb.Tab).press(kb.Enter)
	tab.Wait(`!document.querySelector("textarea").value`)
	got, err := admin.Get(t.Context(), house.Runs[task.StateSucceeded])
	assert.NilError(t, err)
	assert.Assert(t, got.State != task.StateSucceeded, "the follow-up did not start anything")

	at("/artifacts/report-1")
	k.to("Download")

	at("/agents")
	k.to("New agent").press(kb.Enter).pane().press("Keeper").press(kb.Enter)
	closed(tab)
	tab.WaitText("Keeper")
	k.to("Keeper").press(kb.Enter).pane().to("Delete").press(kb.Enter)
	tab.Wait(`[...document.querySelectorAll("dialog[open]")].pop()?.innerText.includes("Delete Keeper?") && document.activeElement.closest("dialog")?.innerText.includes("Delete Keeper?")`)
	k.to("Delete agent").press(kb.Enter)
	closed(tab)

	at("/skills")
	k.to("From environments 0").press(kb.ArrowRight)
	tab.Wait(`location.search.includes("tab=suggested")`)

	at("/schedules")
	k.to("Pause Nightly dependency check").press(kb.Enter)
	tab.WaitText("Paused")

	at("/environments")
	k.to("New environment").press(kb.Enter).pane().press("web").press(kb.Enter)
	closed(tab)
	tab.Wait(`document.querySelector("main").innerText.includes("web")`)

	at("/integrations")
	k.to("Services").press(kb.ArrowRight)
	tab.Wait(`location.search === "?tab=webhooks"`)
	k.to("New webhook").press(kb.Enter).pane().press("tickets").to("Prompt").press("Look").to("Create webhook").press(" ")
	tab.WaitText("it is not shown again")
	k.to("Go on").press(kb.Enter)
	tab.Wait(`location.pathname.startsWith("/integrations/webhooks/")`)
	tab.Settled()
	k.to("Disable").press(kb.Enter)
	tab.WaitText("It is switched off.")
	tab.Wait(`document.activeElement?.innerText === "Enable"`) // the focus stays where it was

	at("/secrets")
	k.to("New secret").press(kb.Enter).pane().press("API_TOKEN").to("Value").press("k3J9-xQ2m-Zp7v" + kb.Enter)
	closed(tab)
	tab.WaitText("API_TOKEN")

	at("/workers")
	k.to("Add a worker").press(kb.Enter).pane().escaped("Add a worker")

	at("/usage")
	k.to("As a table").press(kb.Enter)
	tab.Wait(`document.querySelector(".chart details").open`)
	at("/usage")
	k.to("How it goes").press(kb.ArrowLeft)
	tab.Wait(`location.search === "?tab=budgets"`)
	k.to("New budget").press(kb.Enter).pane().to("At most, US dollars").press("10" + kb.Enter)
	closed(tab)
	tab.WaitText("of $10")

	at("/settings/keys")
	k.to("New API key").press(kb.Enter).pane().press("ci").to("Expires after").press(kb.ArrowDown).to("Create key").press(kb.Enter)
	tab.WaitText("it is not shown again")
	k.to("I have copied it").press(kb.Enter)
	closed(tab)
	k.to("Revoke ci").press(kb.Enter).pane().to("Revoke key").press(kb.Enter)
	closed(tab)
	tab.Wait(`![...document.querySelectorAll("td")].some((d) => d.innerText === "ci")`)

	at("/settings")
	k.to("Members").press(kb.Enter)
	tab.Wait(`location.pathname === "/settings/team"`)
	tab.Settled()
	k.to("Role of Mary").press(kb.ArrowDown)
	tab.WaitText("The role is changed.")

	at("/notifications")
	unread := tab.Count(".note.unread")
	k.to("Mark all as read").press(kb.Enter)
	assert.Assert(t, unread > 0)
	tab.Wait(`!document.querySelector(".note.unread")`)

	at("/welcome")
	k.to("Build an app Start and follow runs from a program of yours, by the API or in Go.").press(" ")
	tab.WaitText("Make an API key")

	// From anywhere: a run is started without a mouse, and its page takes over.
	at("/schedules/" + house.Schedule)
	tab.Press("n")
	k.pane().to("What shall be done?").press("Count the stars")
	tab.Press(kb.Enter, chromedp.ModifierCtrl)
	tab.Wait(`location.pathname.startsWith("/runs/")`)
	page, err := admin.List(t.Context(), task.Query{})
	assert.NilError(t, err)
	assert.Equal(t, page.Tasks[0].Prompt, "Count the stars")
}

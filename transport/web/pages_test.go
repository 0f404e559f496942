package web_test

import (
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"

	"gotest.tools/v3/assert"

	"github.com/oz-platform/cloudagents/task"
	"github.com/oz-platform/cloudagents/transport/web/internal/browser"
)

// routes reads the routes of the app whose pages are there.
func routes(t *testing.T) []string {
	source, err := os.ReadFile("assets/js/app.js")
	assert.NilError(t, err)
	var list []string
	for _, m := range regexp.MustCompile(`\{ path: '([^']+)', load: \(\) => import\('\./([^']+)'\)`).FindAllStringSubmatch(string(source), -1) {
		if _, err := os.Stat("assets/js/" + m[2]); err == nil {
			list = append(list, m[1])
		}
	}
	assert.Assert(t, len(list) > 0)
	return list
}

// address fills the parameters of a route in; "" when there is nothing of
// the kind.
func address(route string, h *browser.House) string {
	for pattern, real := range map[string]string{"/runs/:id": "/runs/" + string(h.Runs[task.StateSucceeded]), "/schedules/:id": "/schedules/" + h.Schedule,
		"/artifacts/:uid": "/artifacts/report-1", "/integrations/:kind/:uid": "/integrations/webhooks/" + h.Webhook, "/settings/:tab": "/settings/keys"} {
		if route == pattern {
			return real
		}
	}
	return route
}

// views are how each page is looked at.
func views() map[string]*browser.View {
	return map[string]*browser.View{"desk light": {}, "desk dark": {Dark: true}, "phone light": browser.Phone(), "phone dark": {Width: 390, Height: 844, Dark: true}}
}

// TestPages opens every page of the app on a furnished server and on an empty
// one, at a desk and on a phone, in light and in dark: it has one heading and a
// title, fits, and axe-core finds nothing serious.
func TestPages(t *testing.T) {
	furnished := browser.Start(t, nil)
	house := furnished.Furnish(t)
	empty := browser.Start(t, nil)
	for name, view := range views() {
		t.Run(name, func(t *testing.T) {
			tab := furnished.Tab(t, view)
			for _, route := range routes(t) {
				look(t, tab, address(route, house), strings.ReplaceAll(name, " ", "-"))
			}
		})
	}
	t.Run("empty", func(t *testing.T) {
		tab := empty.Tab(t, browser.Phone())
		for _, route := range routes(t) {
			if !strings.Contains(route, ":") {
				look(t, tab, route, "empty")
			}
		}
	})
}

// look asks of one page what holds for all.
func look(t *testing.T, tab *browser.Tab, path, name string) {
	t.Helper()
	tab.Goto(path)
	tab.Save(name + strings.ReplaceAll(path, "/", "_"))
	assert.Check(t, tab.Count("h1") == 1, "%s: %d headings of the first level", path, tab.Count("h1"))
	title := browser.Eval[string](tab, "document.title")
	assert.Check(t, strings.HasSuffix(title, " · Oz") && len(title) > len(" · Oz"), "%s: title %q", path, title)
	wide := browser.Eval[string](tab, `(() => { const w = document.documentElement.clientWidth; if (document.documentElement.scrollWidth <= w) return "";
		return [...document.querySelectorAll("main *")].filter((e) => e.getBoundingClientRect().right > w + 1).slice(0, 3).map((e) => e.outerHTML.slice(0, 200)).join("\n") || "something"; })()`)
	assert.Check(t, wide == "", "%s scrolls sideways: %s", path, wide)
	failed := browser.Eval[string](tab, `[...document.querySelectorAll(".failure")].map((e) => e.innerText).join("; ")`)
	assert.Check(t, failed == "", "%s: %s", path, failed)
	tab.Accessible()
}

// TestNoSuchPage: an address that leads nowhere says so.
func TestNoSuchPage(t *testing.T) {
	e := browser.Start(t, nil)
	tab := e.Tab(t, nil)
	tab.Load("/nowhere/at/all")
	tab.WaitText("There is no such page")
	tab.ClickName("To the dashboard")
	tab.Wait(fmt.Sprintf("location.pathname === %q", "/"))
}

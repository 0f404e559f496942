package web_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/dom"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
	"gotest.tools/v3/assert"

	"github.com/oz-platform/cloudagents/oz"
	"github.com/oz-platform/cloudagents/task"
	"github.com/oz-platform/cloudagents/transport/internal/transporttest"
	"github.com/oz-platform/cloudagents/transport/web/internal/browser"
)

// titles are those of the rows that are seen, as a line.
const titles = `[...document.querySelectorAll(".runs .row-link")].map((e) => e.innerText).join(" | ")`

// waitTitles waits until these rows are seen, named by a part of their title.
func waitTitles(tab *browser.Tab, parts ...string) {
	conditions := []string{fmt.Sprintf(`document.querySelectorAll(".runs .run").length === %d`, len(parts))}
	for _, p := range parts {
		conditions = append(conditions, titles+".includes("+quoted(p)+")")
	}
	tab.Wait(strings.Join(conditions, " && "))
}

// TestRunsFilters goes through the filters by mouse; each is in the address,
// so that it can be passed on and comes back with the browser's own Back.
func TestRunsFilters(t *testing.T) {
	e := browser.Start(t, nil)
	h := e.Furnish(t)
	tab := e.Open(t, "/runs", nil)
	tab.Wait(`document.querySelectorAll(".runs .run").length === 6`)
	tab.ClickName("Failed")
	waitTitles(tab, "Bring the changelog", "Move the settings")
	assert.Equal(t, tab.Path(), "/runs?view=failed")
	tab.ClickName("Active")
	waitTitles(tab, "Add a test for each rule")
	tab.ClickName("Mine")
	waitTitles(tab, "Add a test", "Rename the table", "Move the settings", "Splitting a refund")
	tab.ClickName("Recurring")
	tab.WaitText("No run fits")
	tab.ClickName("Clear the filters")
	tab.Wait(`document.querySelectorAll(".runs .run").length === 6`)

	tab.Type(`input[type="search"]`, "refund")
	waitTitles(tab, "Splitting a refund")
	assert.Equal(t, tab.Path(), "/runs?q=refund")
	tab.Type(`input[type="search"]`, kb.Backspace)
	tab.Wait(`document.querySelectorAll(".runs .run").length === 6`)

	tab.ClickName("Filters")
	tab.ClickName("Needs you")
	waitTitles(tab, "Rename the table")
	tab.ClickName("Cancelled")
	waitTitles(tab, "Rename the table", "Try whether the cache")
	assert.Equal(t, tab.Path(), "/runs?state=BLOCKED&state=CANCELLED")
	tab.ClickName("Remove the filter Cancelled")
	waitTitles(tab, "Rename the table")
	tab.ClickName("Clear all")
	tab.Do(choose("Environment", h.Environment))
	waitTitles(tab, "Splitting a refund", "Add a test")
	tab.Wait(`document.querySelector(".chips").innerText.includes("in tally")`)

	// Someone opens the address, with what only a person could have made up.
	other := e.Open(t, "/runs?view=failed&state=ERROR&state=NONSENSE&sort=x&source=%22&from=2020-01-01&to=nonsense", nil)
	waitTitles(other, "Move the settings")
	other.Goto("/runs?view=failed&state=SUCCEEDED")
	other.WaitText("No run fits")
	other.Goto("/runs?from=2999-01-01")
	other.WaitText("No run fits")
}

// choose sets a select by its label.
func choose(label, value string) chromedp.Action[chromedp.Void] {
	return chromedp.Evaluate[chromedp.Void](fmt.Sprintf(`(() => { const e = [...document.querySelectorAll("select")].find((s) => s.labels[0]?.innerText.startsWith(%s));
		e.value = %s; if (e.value !== %[2]s) throw new Error("there is no such choice"); e.dispatchEvent(new Event("change", { bubbles: true })); })()`, quoted(label), quoted(value)))
}

// TestRunsAreLive: rows change, come and go without a word of the reader.
func TestRunsAreLive(t *testing.T) {
	e := browser.Start(t, nil)
	h := e.Furnish(t)
	tab := e.Open(t, "/runs?view=active", nil)
	waitTitles(tab, "Add a test")
	admin := e.Client(t, transporttest.AdminKey)
	_, err := admin.Submit(t.Context(), oz.Request{Prompt: "Another one comes"})
	assert.NilError(t, err)
	waitTitles(tab, "Another one comes", "Add a test")
	heartbeat, err := h.Live.Heartbeat(t.Context())
	assert.NilError(t, err)
	assert.NilError(t, h.Live.End(t.Context(), task.End{State: task.StateSucceeded, SeenInput: heartbeat.LastInput}))
	waitTitles(tab, "Another one comes")
}

// TestUnseenTabsRest: a tab that nobody looks at gives its connection back,
// and is up to date again as soon as somebody does.
func TestUnseenTabsRest(t *testing.T) {
	e := browser.Start(t, &browser.Options{Options: transporttest.Options{Idle: true}})
	tab := e.Open(t, "/runs", nil)
	tab.WaitText("No runs yet")
	seen := func(state string) {
		browser.Eval[bool](tab, `(() => { Object.defineProperty(document, "visibilityState", { value: `+quoted(state)+`, configurable: true }); document.dispatchEvent(new Event("visibilitychange")); return true; })()`)
	}
	streams := func() int { return strings.Count(fmt.Sprint(tab.Requests()), "/oz/runs/stream") }
	seen("hidden")
	browser.Eval[bool](tab, `new Promise((r) => setTimeout(() => r(true), 11000))`)
	_, err := e.Client(t, transporttest.AdminKey).Submit(t.Context(), oz.Request{Prompt: "While nobody looked"})
	assert.NilError(t, err)
	browser.Eval[bool](tab, `new Promise((r) => setTimeout(() => r(true), 1500))`)
	assert.Equal(t, tab.Count(".runs .run"), 0, "it rests")
	seen("visible")
	waitTitles(tab, "While nobody looked")
	assert.Assert(t, streams() >= 2, "it has asked again")
}

// TestRunsPages: a long list comes in parts.
func TestRunsPages(t *testing.T) {
	e := browser.Start(t, &browser.Options{Options: transporttest.Options{Idle: true}})
	admin := e.Client(t, transporttest.AdminKey)
	for i := range 60 {
		_, err := admin.Submit(t.Context(), oz.Request{Prompt: fmt.Sprintf("Number %d of many", i)})
		assert.NilError(t, err)
	}
	tab := e.Open(t, "/runs", nil)
	for _, n := range []int{25, 50} {
		tab.Wait(fmt.Sprintf(`document.querySelectorAll(".runs .run").length === %d`, n))
		tab.ClickName("Show more")
	}
	tab.Wait(`document.querySelectorAll(".runs .run").length === 60`)
	assert.Equal(t, tab.Count(".center .button"), 0)
	assert.Equal(t, browser.Eval[int](tab, `new Set([...document.querySelectorAll(".runs .row-link")].map((e) => e.href)).size`), 60, "each once")
}

// TestCancelMany selects and cancels runs by keyboard alone.
func TestCancelMany(t *testing.T) {
	e := browser.Start(t, &browser.Options{Options: transporttest.Options{Idle: true}})
	admin := e.Client(t, transporttest.AdminKey)
	for _, prompt := range []string{"First", "Second", "Third"} {
		_, err := admin.Submit(t.Context(), oz.Request{Prompt: prompt})
		assert.NilError(t, err)
	}
	tab := e.Open(t, "/runs", nil)
	waitTitles(tab, "First", "Second", "Third")
	tabTo(tab, "Select First")
	tab.Press(" ")
	tab.WaitText("1 run selected")
	tabTo(tab, "Select all that can be cancelled")
	tab.Press(" ")
	tab.WaitText("3 runs selected")
	tabTo(tab, "Cancel them")
	tab.Press(kb.Enter)
	tab.WaitText("Cancel 3 runs?")
	tabTo(tab, "Cancel runs")
	tab.Press(kb.Enter)
	tab.WaitText("3 runs cancelled")
	tab.Wait(`[...document.querySelectorAll(".runs .run")].every((r) => r.dataset.state === "CANCELLED")`)
	assert.Equal(t, tab.Count(".runs .pick input:not(:disabled)"), 0, "nothing is left to cancel")
}

// tabTo presses Tab until the focus is on what has a name.
func tabTo(tab *browser.Tab, name string) {
	for range 80 {
		if tab.Focused() == name {
			return
		}
		tab.Press(kb.Tab)
	}
	tab.Wait(`false && ` + quoted("Tab never came to "+name)) // says what the page shows
}

// TestNewRun starts a run from anywhere, by keyboard alone, with a draft that
// outlives the page.
func TestNewRun(t *testing.T) {
	e := browser.Start(t, &browser.Options{Options: transporttest.Options{Idle: true}})
	tab := e.Open(t, "/", nil)
	tab.Press("n")
	tab.Wait(`document.activeElement?.tagName === "TEXTAREA"`)
	tab.Press("Bring the changelog up to date.")
	tab.Press(kb.Escape)
	tab.Wait(`!document.querySelector("dialog[open]")`)
	tab.Goto("/schedules")
	tab.Press("n")
	tab.Wait(`document.querySelector("dialog textarea")?.value === "Bring the changelog up to date."`)
	tab.Accessible()
	tab.Save("new-run-desk")
	tab.ClickName("Plan first It writes a plan and waits for your approval.")
	tab.Press(kb.Enter, chromedp.ModifierCtrl)
	tab.Wait(`location.pathname.startsWith("/runs/")`)
	runs, err := e.Client(t, transporttest.AdminKey).List(t.Context(), task.Query{})
	assert.NilError(t, err)
	assert.Equal(t, len(runs.Tasks), 1)
	assert.Equal(t, runs.Tasks[0].Source, task.SourceWebApp)
	tab.Goto("/")
	tab.Press("n")
	tab.Wait(`document.querySelector("dialog textarea")?.value === ""`) // what was sent is no draft any more
}

// TestNewRunInFull fills every field in, attaches a file, and reads the run's
// record; mistakes are said beside their fields.
func TestNewRunInFull(t *testing.T) {
	e := browser.Start(t, nil)
	h := e.Furnish(t)
	tab := e.Open(t, "/", &browser.View{Width: 390, Height: 844, Allow: []string{"400", "403", "404"}})
	tab.ClickName("Menu")
	tab.ClickName("New run")
	tab.Wait(`document.querySelector("dialog textarea")`)
	tab.Type("dialog textarea", "Look into this")
	dir := t.TempDir()
	assert.NilError(t, os.WriteFile(filepath.Join(dir, "crash.log"), []byte("panic: nil map"), 0o600))
	tab.Do(attach(`#new-run-files`, filepath.Join(dir, "crash.log")))
	tab.WaitText("crash.log is no image")
	assert.NilError(t, os.WriteFile(filepath.Join(dir, "screen <b>.png"), tab.Picture(false), 0o600))
	tab.Do(attach(`#new-run-files`, filepath.Join(dir, "screen <b>.png")))
	tab.WaitText("screen <b>.png")
	tab.Do(choose("Environment", h.Environment))
	tab.Do(choose("Agent", h.Agent))
	tab.Type(`input[placeholder="owner/repo:skill"]`, "not a skill")
	tab.ClickName("More settings")
	tab.Accessible()
	tab.Save("new-run-phone")
	tab.ClickName("Start run")
	tab.Wait(`document.querySelector('input[placeholder="owner/repo:skill"]').getAttribute("aria-invalid") === "true"`)
	tab.Type(`input[placeholder="owner/repo:skill"]`, kb.Backspace)
	tab.Type(`input[type="number"]`, "2.5")
	tab.ClickName("Start run")
	tab.Wait(`location.pathname.startsWith("/runs/")`)
	run, err := e.Client(t, transporttest.AdminKey).Get(t.Context(), task.ID(strings.TrimPrefix(tab.Path(), "/runs/")))
	assert.NilError(t, err)
	assert.Equal(t, run.Config.EnvironmentID, h.Environment)
	assert.Equal(t, run.Config.Limits.MaxCostUSD, 2.5)
	assert.Equal(t, len(run.Attachments), 1)
	assert.Equal(t, run.Attachments[0].FileName, "screen <b>.png")
}

// attach chooses a file, as the browser's own window would.
func attach(selector, file string) chromedp.Action[chromedp.Void] {
	return chromedp.Func(func(ctx context.Context, t *chromedp.Target) error {
		doc, err := cdp.Call(ctx, t, dom.GetDocument, dom.GetDocumentParams{})
		if err != nil {
			return err
		}
		node, err := cdp.Call(ctx, t, dom.QuerySelector, dom.QuerySelectorParams{NodeID: doc.Root.NodeID, Selector: selector})
		if err != nil {
			return err
		}
		_, err = cdp.Call(ctx, t, dom.SetFileInputFiles, dom.SetFileInputFilesParams{Files: []string{file}, NodeID: node.NodeID})
		return err
	})
}

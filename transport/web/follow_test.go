package web_test

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
	"gotest.tools/v3/assert"

	"github.com/oz-platform/cloudagents/oz"
	"github.com/oz-platform/cloudagents/task"
	"github.com/oz-platform/cloudagents/transport/internal/transporttest"
	"github.com/oz-platform/cloudagents/transport/web/internal/browser"
)

// patient is a platform that gives no runner up, which a test plays slowly.
func patient() *browser.Options {
	return &browser.Options{Options: transporttest.Options{Platform: oz.Options{Lease: time.Hour, Heartbeat: time.Minute}}}
}

// fill puts payloads into the log past the server, many at a time.
func (w *work) fill(n int, payload func(i int) task.Payload) {
	w.t.Helper()
	run, err := w.e.Platform.Get(w.t.Context(), w.id)
	assert.NilError(w.t, err)
	for i := 0; i < n; {
		var list []task.Event
		for ; i < n && len(list) < task.MaxAppendEvents; i++ {
			list = append(list, task.Event{Time: time.Now(), Payload: payload(i)})
		}
		_, err := w.e.Store.Do(w.t.Context(), w.id, task.Append{Execution: run.Execution, Offset: w.sent, Events: list})
		assert.NilError(w.t, err)
		w.sent += int64(len(list))
	}
}

// said reads what a transcript shows from its begin to its end: each message
// with its event's number, in the order of the page. It tells where that order
// is not the log's.
const said = `(async () => {
	const v = document.querySelector(".vlist"), seen = new Map(), wrong = [];
	const frame = () => new Promise((r) => requestAnimationFrame(() => setTimeout(r)));
	const read = () => {
		let last = 0;
		for (const e of v.querySelectorAll(".vrow")) {
			const seq = Number(e.dataset.key.slice(1)), m = e.querySelector(".ev-message .md");
			if (seq < last) wrong.push(seq + " stands behind " + last);
			last = seq;
			if (!m) continue;
			const text = m.innerText.trim();
			if (seen.has(seq) && seen.get(seq) !== text) wrong.push(seq + " changed");
			seen.set(seq, text);
		}
	};
	for (let still = 0; still < 4;) {
		read();
		const before = v.scrollTop;
		v.scrollTop -= v.clientHeight;
		await frame();
		still = v.scrollTop === before && document.querySelector(".edge").innerText.includes("begins here") ? still + 1 : 0;
	}
	return { Seen: [...seen].sort((a, b) => a[0] - b[0]).map((x) => x[1]), Wrong: wrong };
})()`

// TestNoGapsInTheBrowser cuts the page's stream at random bytes, and restarts
// the server, while events flow: the page shows each once, in order.
func TestNoGapsInTheBrowser(t *testing.T) {
	const total = 1200
	e := browser.Start(t, patient())
	w := begin(t, e, oz.Request{Prompt: "Count"})
	random := rand.New(rand.NewPCG(7, 11))
	cuts := 0
	proxy := transporttest.StartProxy(t, e.URL, func(_ int, r *http.Request) transporttest.Fault {
		if strings.Contains(r.Header.Get("Accept"), "event-stream") && strings.HasSuffix(r.URL.Path, "/events") {
			cuts++ // the proxy asks for one request at a time
			return transporttest.Fault{CutAfter: 200 + random.IntN(20_000)}
		}
		return transporttest.Fault{}
	})
	tab := e.Tab(t, &browser.View{Allow: []string{"502", "Failed to load", "ERR_"}})
	tab.Do(navigate(proxy.URL + w.path()))
	tab.Wait(`document.querySelector(".vrow")`)
	for i := range 4 { // and restarts in between
		w.fill(total/4, func(k int) task.Payload {
			n := i*total/4 + k
			return &task.Message{ID: fmt.Sprint("m", n), Text: fmt.Sprint("number ", n)}
		})
		tab.Wait(fmt.Sprintf(`Number(document.querySelector(".vlist").dataset.rows) > %d`, i*total/4))
		e.Down()
		e.Up()
	}
	tab.WaitText(fmt.Sprint("number ", total-1))
	got := browser.Eval[struct{ Seen, Wrong []string }](tab, said)
	assert.Equal(t, len(got.Wrong), 0, "%v", got.Wrong)
	assert.Equal(t, len(got.Seen), total)
	for i, text := range got.Seen {
		assert.Equal(t, text, fmt.Sprint("number ", i))
	}
	assert.Assert(t, cuts > 10, "the stream was opened %d times", cuts)
}

// TestRevokedViewer: the page of who may not see a run any more ends with a
// clear word, and shows nothing that comes after.
func TestRevokedViewer(t *testing.T) {
	e := browser.Start(t, patient())
	w := begin(t, e, oz.Request{Prompt: "Work"})
	w.share(task.VisibilityPrivate, "oscar")
	w.add(&task.Message{ID: "m1", Text: "Before"})
	tab := e.Open(t, w.path(), &browser.View{Key: e.Outsider, Allow: []string{"404", "403"}})
	tab.WaitText("Before")
	w.share(task.VisibilityPrivate)
	begin := time.Now()
	tab.WaitText("You may not see this run any more")
	t.Logf("after %v", time.Since(begin).Round(time.Millisecond))
	w.add(&task.Message{ID: "m2", Text: "After"})
	tab.Goto(w.path())
	tab.WaitText("may have been deleted, or it is not shared with you")
	assert.Assert(t, !strings.Contains(tab.Text("body"), "After"))
}

// TestLogThatCannotBeRead: a log that was out of reach when its page was opened
// is read when somebody tries again.
func TestLogThatCannotBeRead(t *testing.T) {
	e := browser.Start(t, patient())
	w := begin(t, e, oz.Request{Prompt: "Work"})
	w.add(&task.Message{ID: "m1", Text: "It is there"})
	var failed atomic.Bool
	proxy := transporttest.StartProxy(t, e.URL, func(_ int, r *http.Request) transporttest.Fault {
		if strings.HasSuffix(r.URL.Path, "/events") && failed.CompareAndSwap(false, true) {
			return transporttest.Fault{Status: http.StatusServiceUnavailable}
		}
		return transporttest.Fault{}
	})
	tab := e.Tab(t, &browser.View{Allow: []string{"503"}})
	tab.Do(navigate(proxy.URL + w.path()))
	tab.ClickName("Try again")
	tab.WaitText("It is there")
	w.add(&task.Message{ID: "m2", Text: "And goes on"})
	tab.WaitText("And goes on")
}

// TestLongTranscript: of a long log only the end is loaded and only what is in
// sight is drawn; an address leads to an event in the middle, the search finds
// what is not loaded, and older parts move nothing that is in sight.
func TestLongTranscript(t *testing.T) {
	e := browser.Start(t, patient())
	w := begin(t, e, oz.Request{Prompt: "Much"})
	w.fill(6000, func(i int) task.Payload {
		if i == 17 {
			return &task.Message{ID: "needle", Text: "a needle in the hay"}
		}
		return &task.Message{ID: fmt.Sprint("m", i), Text: fmt.Sprintf("line %d %s", i, strings.Repeat("words ", i%90))}
	})
	w.end(task.StateSucceeded, task.Status{Message: "done"})
	tab := e.Open(t, w.path(), nil)
	tab.WaitText("line 5999")
	pages := 0
	for _, r := range tab.Requests() {
		if strings.Contains(r.URL, "/events?after=") {
			pages++
		}
	}
	assert.Assert(t, pages <= 3, "%d pages were loaded to show the end", pages)
	assert.Assert(t, tab.Count(".vrow") < 120, "%d rows are drawn", tab.Count(".vrow"))

	// What is in sight stays where it is while older pages come.
	moved := browser.Eval[[]string](tab, `(async () => {
		const v = document.querySelector(".vlist"), frame = () => new Promise((r) => requestAnimationFrame(() => setTimeout(r))), bad = [];
		for (let i = 0; i < 150; i++) {
			const b = v.getBoundingClientRect(), row = document.elementFromPoint(b.left + 200, b.top + b.height / 2)?.closest(".vrow");
			const key = row?.dataset.key, y = row?.getBoundingClientRect().top, before = v.scrollTop;
			v.scrollTop -= 260;
			await frame();
			const now = key && document.querySelector('[data-key="' + key + '"]');
			if (now && before > 300 && Math.abs(now.getBoundingClientRect().top - y - 260) > 3) bad.push(key + " by " + (now.getBoundingClientRect().top - y));
		}
		return bad;
	})()`)
	assert.Equal(t, len(moved), 0, "%v", moved)
	tab.ClickName("Jump to latest")
	tab.WaitText("line 5999")

	tab.Goto(w.path() + "#e3004")
	tab.Wait(`(() => { const m = document.querySelector(".ev.marked"); if (!m) return false; const r = m.getBoundingClientRect(); return m.id === "e3004" && r.top > 0 && r.bottom < innerHeight; })()`)
	tab.ClickName("Jump to latest")
	tab.WaitText("line 5999")
	assert.Equal(t, browser.Eval[string](tab, "location.hash"), "")

	tab.Press("f", chromedp.ModifierCtrl)
	tab.Wait(`document.activeElement?.getAttribute("aria-label") === "Find in the transcript"`)
	tab.Press("needle in the hay")
	tab.WaitText("Nothing")
	tab.Wait(`[...document.querySelectorAll(".find button")].find((b) => b.innerText.startsWith("Search before"))`)
	tab.Click(".find .button.small:not(.quiet)")
	tab.WaitText("1 row")
	tab.Type(".find input", "needle in the hay"+kb.Enter)
	tab.WaitText("a needle in the hay")
	tab.Press(kb.Escape)
	tab.Wait(`!document.querySelector(".find")`)

	raw := browser.Eval[int](tab, `fetch("/api/v1/agent/runs/`+string(w.id)+`/transcript").then((r) => r.text()).then((t) => t.trim().split("\n").length)`)
	assert.Assert(t, raw > 6000, "%d lines", raw)
}

// TestPlanIsReadAndApproved: a plan is read beside the transcript, changed, and
// approved; the page shows its versions.
func TestPlanIsReadAndApproved(t *testing.T) {
	e := browser.Start(t, patient())
	w := begin(t, e, oz.Request{Prompt: "Plan it", Mode: task.ModePlan})
	text := "# The plan\n\n1. Read\n2. Write <b>it</b>\n"
	blob, size, err := w.link.Upload(t.Context(), "plan-1", strings.NewReader(text))
	assert.NilError(t, err)
	w.add(&task.ArtifactReported{Artifact: task.Artifact{UID: "plan-1", Type: task.ArtifactPlan, Title: "How to do it", MIMEType: "text/markdown", SizeBytes: size, Blob: blob}})
	w.end(task.StateBlocked, task.Status{Message: "A plan", Question: &task.Question{ID: "p1", Kind: task.QuestionApproval, Text: "Shall I carry it out?", Choices: []string{task.ChoiceApprove, task.ChoiceReject}, Subject: "plan-1", ExpiresAt: time.Now().Add(time.Hour)}})
	tab := e.Open(t, w.path()+"?tab=plan", nil)
	tab.WaitText("Write <b>it</b>")
	tab.WaitText("Not approved")
	tab.ClickName("Edit")
	tab.Type("dialog textarea", "# Another plan")
	tab.ClickName("Save as a new version")
	tab.Wait(`document.querySelector(".run-side .doc .h1")?.innerText === "Another plan"`)
	tab.Wait(`document.querySelectorAll(".run-side select option").length === 2`)
	tab.ClickName("Approve")
	takeUp(t, e)
	tab.WaitText("approved the plan")
	tab.Wait(`!document.querySelector(".ask")`)
}

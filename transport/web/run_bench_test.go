package web_test

import (
	"bufio"
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/chromedp"
	"gotest.tools/v3/assert"

	"github.com/oz-platform/cloudagents/oz"
	"github.com/oz-platform/cloudagents/task"
	"github.com/oz-platform/cloudagents/transport/internal/transporttest"
	"github.com/oz-platform/cloudagents/transport/web/internal/browser"
)

// longRun is a run with 100,000 events of the kinds that an agent's log has.
func longRun(b *testing.B, e *browser.Env) *work {
	w := begin(b, e, oz.Request{Prompt: "Much"})
	w.fill(100_000, func(i int) task.Payload {
		id := fmt.Sprint(i / 4)
		switch i % 4 {
		case 0:
			return &task.Message{ID: id, Text: fmt.Sprintf("Step **%d**: %s", i, strings.Repeat("some words of the agent ", 1+i/4%30))}
		case 1:
			return &task.ToolCall{ID: id, Name: "run_command", Category: task.CategoryCommand, Input: encoded(map[string]string{"command": "go test ./pkg" + id + "/..."})}
		case 2:
			return &task.ToolOutput{CallID: id, Text: "ok  \tpkg" + id + "\t0.01s\n"}
		}
		return &task.ToolResult{CallID: id, Name: "run_command", Category: task.CategoryCommand, State: task.ToolCompleted, Content: "ok", Output: encoded(map[string]int{"exit_code": 0})}
	})
	w.add(&task.Message{ID: "last", Text: "the very last word"})
	return w
}

// BenchmarkOpenLongTranscript is how long it takes from the address of a run
// with 100,000 events to its last event on the screen.
func BenchmarkOpenLongTranscript(b *testing.B) {
	e := browser.Start(b, patient())
	w := longRun(b, e)
	tab := e.Tab(b, nil)
	tab.Do(chromedp.Func(func(ctx context.Context, t *chromedp.Target) error {
		_, err := cdp.Call(ctx, t, page.AddScriptToEvaluateOnNewDocument, page.AddScriptToEvaluateOnNewDocumentParams{Source: `new MutationObserver((_, o) => {
			const last = [...document.querySelectorAll(".ev-message")].at(-1);
			if (last?.innerText.includes("the very last word")) { o.disconnect(); requestAnimationFrame(() => setTimeout(() => { window.shown = performance.now(); })); }
		}).observe(document, { childList: true, subtree: true })`})
		return err
	}))
	tab.Goto(w.path()) // fills the browser's cache, as for who works with the app
	var times []float64
	for b.Loop() {
		tab.Load("/")
		tab.Load(w.path())
		tab.Wait("window.shown")
		times = append(times, browser.Eval[float64](tab, "window.shown"))
	}
	slices.Sort(times)
	b.ReportMetric(times[len(times)/2], "ms/open-p50")
	b.ReportMetric(times[len(times)-1], "ms/open-max")
}

// BenchmarkScroll is the time between frames while a long transcript is
// scrolled up through pages that have to be loaded.
func BenchmarkScroll(b *testing.B) {
	e := browser.Start(b, patient())
	w := longRun(b, e)
	tab := e.Open(b, w.path(), nil)
	tab.WaitText("the very last word")
	var gaps []float64
	for b.Loop() {
		gaps = append(gaps, browser.Eval[[]float64](tab, `new Promise((done) => {
			const v = document.querySelector(".vlist"), gaps = [];
			let last = performance.now();
			const step = (now) => { gaps.push(now - last); last = now; v.scrollTop -= 90; if (gaps.length < 300) requestAnimationFrame(step); else done(gaps.slice(5)); };
			requestAnimationFrame(step);
		})`)...)
	}
	slices.Sort(gaps)
	late := len(gaps) - slices.IndexFunc(gaps, func(g float64) bool { return g > 25 })
	if gaps[len(gaps)-1] <= 25 {
		late = 0
	}
	b.ReportMetric(gaps[len(gaps)/2], "ms/frame-p50")
	b.ReportMetric(gaps[len(gaps)*99/100], "ms/frame-p99")
	b.ReportMetric(100*float64(late)/float64(len(gaps)), "%late")
}

// BenchmarkEventToScreen is the time from an event's append to its text in a
// page, while 100 others follow the same run.
func BenchmarkEventToScreen(b *testing.B) {
	e := browser.Start(b, patient())
	w := begin(b, e, oz.Request{Prompt: "Live"})
	stop := watchers(b, e, w.id, 100)
	defer stop()
	tab := e.Open(b, w.path(), nil)
	tab.WaitText("In progress")
	browser.Eval[bool](tab, `(() => { window.at = {}; new MutationObserver(() => { const now = Date.now(); for (const e of document.querySelectorAll(".ev-message .md")) at[e.innerText.trim()] ??= now; }).observe(document.body, { childList: true, subtree: true, characterData: true }); return true; })()`)
	var times []float64
	n := 0
	for b.Loop() {
		text := fmt.Sprint("event ", n)
		n++
		begin := time.Now()
		w.add(&task.Message{ID: text, Text: text})
		tab.Wait(fmt.Sprintf("window.at[%q]", text))
		times = append(times, browser.Eval[float64](tab, fmt.Sprintf("window.at[%q]", text))-float64(begin.UnixMicro())/1000)
	}
	slices.Sort(times)
	b.ReportMetric(times[len(times)/2], "ms/event-p50")
	b.ReportMetric(times[len(times)*99/100], "ms/event-p99")
}

// watchers follow a run's stream until they are stopped.
func watchers(b *testing.B, e *browser.Env, id task.ID, n int) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	transport := &http.Transport{}
	var all sync.WaitGroup
	for range n {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, e.URL+"/api/v1/oz/runs/"+string(id)+"/events", nil)
		assert.NilError(b, err)
		req.Header.Set("Authorization", "Bearer "+transporttest.AdminKey)
		req.Header.Set("Accept", "text/event-stream")
		res, err := transport.RoundTrip(req)
		assert.NilError(b, err)
		assert.Equal(b, res.StatusCode, http.StatusOK)
		all.Go(func() {
			defer func() { _ = res.Body.Close() }()
			for lines := bufio.NewReader(res.Body); ; {
				if _, err := lines.ReadString('\n'); err != nil {
					return
				}
			}
		})
	}
	return func() { cancel(); all.Wait(); transport.CloseIdleConnections() }
}

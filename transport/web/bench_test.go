package web_test

import (
	"testing"

	"gotest.tools/v3/assert"

	"github.com/oz-platform/cloudagents/transport/web/internal/browser"
)

// BenchmarkFirstPaint opens the list of runs in a browser that has nothing kept
// yet. Reported are the first contentful paint, the moment when the runs are
// seen, and the bytes of the app, for the median of the iterations' worst case
// to be judged against a second.
func BenchmarkFirstPaint(b *testing.B) {
	e := browser.Start(b, nil)
	e.Furnish(b)
	var paint, shown, bytes float64
	for b.Loop() {
		tab := e.Tab(b, nil)
		tab.Load("/runs")
		tab.Wait(`document.querySelector(".runs .run")`)
		paint = max(paint, browser.Eval[float64](tab, `performance.getEntriesByName("first-contentful-paint")[0].startTime`))
		shown = max(shown, browser.Eval[float64](tab, `performance.getEntriesByType("resource").filter((r) => r.name.includes("/agent/runs")).map((r) => r.responseEnd)[0]`))
		bytes = 0
		for _, r := range tab.Requests() {
			bytes += float64(r.Bytes)
		}
		assert.Equal(b, len(tab.Trouble()), 0)
	}
	b.ReportMetric(paint, "worst-paint-ms")
	b.ReportMetric(shown, "worst-data-ms")
	b.ReportMetric(bytes/1024, "KiB")
}

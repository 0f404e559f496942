package main

import (
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"gotest.tools/v3/assert"

	"github.com/oz-platform/cloudagents/trigger/schedule"
)

// TestScheduleMetrics: every outcome is shown from the start, and counted.
func TestScheduleMetrics(t *testing.T) {
	m := newMetrics()
	o := m.schedules()
	o.OnTick("s", schedule.Tick{Outcome: schedule.Missed})
	o.OnSilence("s", time.Now())
	answer := httptest.NewRecorder()
	m.handler().ServeHTTP(answer, httptest.NewRequest("GET", "/metrics", nil))
	for _, outcome := range schedule.Outcomes() {
		n := "0"
		if outcome == schedule.Missed {
			n = "1"
		}
		line := `oz_schedule_ticks_total{outcome="` + string(outcome) + `"} ` + n + "\n"
		assert.Assert(t, strings.Contains(answer.Body.String(), line), line)
	}
	assert.Assert(t, strings.Contains(answer.Body.String(), "oz_schedule_silent_total 1\n"))
}

package wire_test

import (
	"encoding/json"
	"math"
	"strings"
	"testing"
	"time"

	"gotest.tools/v3/assert"

	"github.com/oz-platform/cloudagents/oz"
	"github.com/oz-platform/cloudagents/task"
	"github.com/oz-platform/cloudagents/transport/api"
	"github.com/oz-platform/cloudagents/transport/internal/wire"
	"github.com/oz-platform/cloudagents/trigger/schedule"
)

// TestScheduleHidesCredentials: headers of MCP servers are for those who may
// change the schedule.
func TestScheduleHidesCredentials(t *testing.T) {
	item := oz.ScheduleItem{Schedule: schedule.Schedule{Spec: schedule.Spec{Config: task.Config{MCPServers: map[string]json.RawMessage{
		"tickets": json.RawMessage(`{"url":"https://mcp.example.com","headers":{"Authorization":"k3J9-xQ2m"}}`)}}}}}
	for _, mine := range []bool{true, false} {
		item.Manageable = mine
		data, err := json.Marshal(wire.Schedule(item))
		assert.NilError(t, err)
		assert.Equal(t, strings.Contains(string(data), "k3J9-xQ2m"), mine, "%s", data)
		assert.Assert(t, strings.Contains(string(data), "Authorization"))
	}
}

// TestTimingOfHugeNumbers: what no duration can hold does not wrap around into
// one that is allowed.
func TestTimingOfHugeNumbers(t *testing.T) {
	for _, n := range []int{-1, math.MinInt, math.MaxInt, math.MaxInt / 60_000_000_000 * 2} {
		got := wire.TimingOf(&api.ScheduleOptions{CatchUpMinutes: n, JitterSeconds: n})
		assert.Assert(t, got.CatchUp < 0 || got.CatchUp > 100*24*time.Hour, "%d: %v", n, got.CatchUp)
		assert.Assert(t, got.Jitter < 0 || got.Jitter > 100*time.Hour, "%d: %v", n, got.Jitter)
	}
	assert.Equal(t, wire.TimingOf(&api.ScheduleOptions{CatchUpMinutes: 3}).CatchUp, 3*time.Minute)
}

package web_test

import (
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"gotest.tools/v3/assert"

	"github.com/oz-platform/cloudagents/task"
)

// questions asks the module of the list what it makes of addresses.
func questions(t *testing.T, zone string, queries []string) []map[string]any {
	t.Helper()
	return scripted[map[string]any](t, "assets/js/runs/query.js", "m.question(new URLSearchParams(text), 'me')", zone, queries)
}

// TestRunsQuery: what an address of the list asks of the API.
func TestRunsQuery(t *testing.T) {
	states := func(list ...any) []any { return append([]any{}, list...) }
	cases := []struct {
		query string
		want  map[string]any // besides the order
	}{
		{"", map[string]any{"state": states(), "nothing": false}},
		{"view=mine&creator=eve", map[string]any{"state": states(), "nothing": false, "creator": "me"}},
		{"creator=eve", map[string]any{"state": states(), "nothing": false, "creator": "eve"}},
		{"view=failed", map[string]any{"state": states("FAILED", "ERROR"), "nothing": false}},
		{"view=failed&state=ERROR&state=BLOCKED", map[string]any{"state": states("ERROR"), "nothing": false}},
		{"view=active&state=BLOCKED", map[string]any{"state": states(), "nothing": true}},
		{"view=recurring&source=CLI", map[string]any{"state": states(), "nothing": false, "source": "SCHEDULED_AGENT"}},
		{"view=nonsense&state=x&source=toString&sort=__proto__&from=yesterday&to=2026-13-45", map[string]any{"state": states(), "nothing": false}},
		{"q=a%26b", map[string]any{"state": states(), "nothing": false, "q": "a&b"}},
		// The reader's own days, also those of 23 and 25 hours.
		{"from=2026-03-29&to=2026-03-29", map[string]any{"state": states(), "nothing": false, "created_after": "2026-03-28T22:59:59.999Z", "created_before": "2026-03-29T22:00:00.000Z"}},
		{"from=2026-12-31&to=2026-12-31", map[string]any{"state": states(), "nothing": false, "created_after": "2026-12-30T22:59:59.999Z", "created_before": "2026-12-31T23:00:00.000Z"}},
	}
	var queries []string
	for _, c := range cases {
		queries = append(queries, c.query)
	}
	for i, got := range questions(t, "Europe/Berlin", queries) {
		order := got["sort_order"]
		assert.Equal(t, order, "desc")
		assert.Equal(t, got["sort_by"], "created_at")
		delete(got, "sort_by")
		delete(got, "sort_order")
		assert.DeepEqual(t, got, cases[i].want)
	}
}

// TestRunsQueryTakesAnything asks of any address that the question is one that the API takes.
func TestRunsQueryTakesAnything(t *testing.T) {
	known := []string{"q", "state", "nothing", "source", "creator", "environment_id", "executor", "skill", "created_after", "created_before", "sort_by", "sort_order"}
	parts := []string{"", "x", "all", "mine", "failed", "FAILED", "2026-02-30", "0000-00-00", "9999-99-99", "-1", "\u202e", "<b>", "constructor", "hasOwnProperty", strings.Repeat("9", 40)}
	var queries []string
	for _, field := range []string{"view", "q", "state", "source", "creator", "environment", "agent", "skill", "from", "to", "sort", "order", "__proto__"} {
		for _, v := range parts {
			queries = append(queries, url.Values{field: {v, v}}.Encode())
		}
	}
	for i, got := range questions(t, "Pacific/Apia", queries) {
		for field, v := range got {
			assert.Assert(t, slices.Contains(known, field), "%s: %s", queries[i], field)
			if strings.HasPrefix(field, "created_") {
				_, err := time.Parse(time.RFC3339, v.(string))
				assert.NilError(t, err, queries[i])
			}
		}
		for _, s := range got["state"].([]any) {
			assert.Assert(t, task.State(s.(string)).Known(), "%s: %v", queries[i], s)
		}
	}
}

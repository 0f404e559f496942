package webhook_test

import (
	"strings"
	"testing"

	"gotest.tools/v3/assert"

	"github.com/oz-platform/cloudagents/task"
	"github.com/oz-platform/cloudagents/trigger/webhook"
)

func TestFilter(t *testing.T) {
	const body = `{"action":"opened","n":1e0,"draft":false,"who":null,"issue":{"labels":[{"name":"bug"},{"name":"urgent"}],"id":7},"tags":["a","b"],"in":"x"}`
	for _, c := range []struct {
		filter string
		why    string // part of it; "" when it matches
	}{
		{``, ""},
		{`null`, ""},
		{`{}`, ""},
		{`{"action":"opened"}`, ""},
		{`{"action":"closed"}`, `action is "opened", not "closed"`},
		{`{"action":["closed","opened"]}`, ""},
		{`{"action":["closed","merged"]}`, "not one of"},
		{`{"action":"opened","draft":true}`, "draft is false, not true"},
		{`{"n":1}`, ""},
		{`{"n":1.0}`, ""},
		{`{"n":"1"}`, "n is 1e0"},
		{`{"who":null}`, ""},
		{`{"nothing":null}`, "nothing is missing"},
		{`{"action":{"in":["opened"]}}`, ""},
		{`{"action":{"in":["closed"]}}`, "action"},
		{`{"action":{"not_in":["closed"]}}`, ""},
		{`{"action":{"not_in":["opened"]}}`, "must not be"},
		{`{"nothing":{"not_in":["x"]}}`, ""},
		{`{"nothing":{"exists":false}}`, ""},
		{`{"who":{"exists":true}}`, ""},
		{`{"nothing":{"exists":true}}`, "nothing is missing"},
		{`{"action":{"exists":false}}`, "is there"},
		{`{"action":{"exists":true,"not_in":["closed"]}}`, ""},
		{`{"issue":{"id":7}}`, ""},
		{`{"issue":{"labels":{"name":"urgent"}}}`, ""},
		{`{"issue":{"labels":{"name":"wontfix"}}}`, "issue.labels.name"},
		{`{"issue":{"nothing":{"deep":1}}}`, "issue.nothing.deep is missing"},
		{`{"action":{"deep":1}}`, "action is no object"},
		{`{"tags":"b"}`, ""},
		{`{"tags":["c","a"]}`, ""},
		{`{"tags":{"not_in":["a"]}}`, "must not be"},
		{`{"issue":[{"id":8},{"id":7}]}`, ""},
		{`{"in":"x"}`, ""},
	} {
		f, err := webhook.ParseFilter([]byte(c.filter))
		assert.NilError(t, err, "%s", c.filter)
		ok, why := f.Match([]byte(body))
		assert.Equal(t, ok, c.why == "", "%s: %s", c.filter, why)
		assert.Assert(t, strings.Contains(why, c.why), "%s: %s", c.filter, why)
	}
	f, err := webhook.ParseFilter([]byte(`{"a":1}`))
	assert.NilError(t, err)
	for _, payload := range []string{``, `{`, `[]`, `1`, `"a"`, `{"a":1}{"a":1}`} {
		ok, _ := f.Match([]byte(payload))
		assert.Assert(t, !ok, "%s", payload)
	}
}

func TestBadFilters(t *testing.T) {
	for _, filter := range []string{`{`, `[]`, `"x"`, `1`, `{"a":[]}`, `{"a":{"in":[]}}`, `{"a":{"in":"x"}}`, `{"a":{"in":[{}]}}`, `{"a":{"exists":1}}`,
		`{"a":{"in":[1],"b":2}}`, `{"a":1}{}`, strings.Repeat(`{"a":`, 30) + `1` + strings.Repeat(`}`, 30), `{"a":"` + strings.Repeat("x", 20_000) + `"}`} {
		_, err := webhook.ParseFilter([]byte(filter))
		assert.ErrorIs(t, err, task.ErrInvalid, "%.60s", filter)
	}
}

func FuzzFilter(f *testing.F) {
	f.Add([]byte(`{"a":{"in":[1,"x",null]},"b":[{"c":1},2]}`), []byte(`{"a":1,"b":{"c":1}}`))
	f.Add([]byte(`{"a":1e999999999}`), []byte(`{"a":1e999999998}`))
	f.Add([]byte(`{"a":{"not_in":[true]}}`), []byte(`{"a":[[[[true]]]]}`))
	f.Fuzz(func(t *testing.T, filter, payload []byte) {
		parsed, err := webhook.ParseFilter(filter)
		if err != nil {
			assert.ErrorIs(t, err, task.ErrInvalid)
			return
		}
		if ok, why := parsed.Match(payload); !ok {
			assert.Assert(t, why != "")
		}
	})
}

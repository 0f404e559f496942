package celfilter_test

import (
	"fmt"
	"strings"
	"testing"

	"gotest.tools/v3/assert"

	"github.com/oz-platform/cloudagents/trigger/webhook/celfilter"
)

func ExampleCompile() {
	c, err := celfilter.Compile(`event == "issues.opened" && body.issue.labels.exists(l, l.name == "bug")`)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(c.Match("issues.opened", []byte(`{"issue":{"labels":[{"name":"bug"}]}}`)))
	fmt.Println(c.Match("issues.closed", []byte(`{"issue":{"labels":[{"name":"bug"}]}}`)))
	// Output:
	// true <nil>
	// false <nil>
}

func TestMatch(t *testing.T) {
	for _, c := range []struct {
		text, body string
		want       bool
		fails      string
	}{
		{`body.n > 3`, `{"n":4}`, true, ""},
		{`body.n > 3.5`, `{"n":3}`, false, ""},
		{`has(body.x) && body.x == 1`, `{}`, false, ""},
		{`body.x == 1`, `{}`, false, "no such key"},
		{`body.s.startsWith("ab")`, `{"s":"abc"}`, true, ""},
		{`body.s.lowerAscii() == "abc"`, `{"s":"ABC"}`, true, ""},
		{`body == null`, `null`, true, ""},
		{`size(body) == 2`, `[1,2]`, true, ""},
		{`body.s`, `{"s":true}`, true, ""},
		{`body.s`, `{"s":"x"}`, false, "not true or false"},
		{`true`, `{`, false, "not JSON"},
		{`body.all(a, body.all(b, body.all(c, a == b || c == a)))`, `[` + strings.Repeat("1,", 999) + `1]`, false, "cost limit"},
	} {
		cond, err := celfilter.Compile(c.text)
		assert.NilError(t, err, "%s", c.text)
		got, err := cond.Match("", []byte(c.body))
		if c.fails != "" {
			assert.ErrorContains(t, err, c.fails)
			continue
		}
		assert.NilError(t, err, "%s", c.text)
		assert.Equal(t, got, c.want, "%s", c.text)
	}
}

func TestBadExpressions(t *testing.T) {
	for _, text := range []string{``, `body.`, `1`, `"x"`, `nobody.x`, `body.x ==`, `event + 1 == 2`, strings.Repeat("(", 1000)} {
		_, err := celfilter.Compile(text)
		assert.Assert(t, err != nil, "%.40s", text)
	}
}

func FuzzCompile(f *testing.F) {
	f.Add(`body.a == 1`, []byte(`{"a":1}`))
	f.Add(`body.exists(x, x.matches("a+"))`, []byte(`["a"]`))
	f.Fuzz(func(t *testing.T, text string, body []byte) {
		if len(text) > 4<<10 {
			t.Skip()
		}
		c, err := celfilter.Compile(text)
		if err == nil {
			_, _ = c.Match("", body)
		}
	})
}

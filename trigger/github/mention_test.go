package github_test

import (
	"strings"
	"testing"

	"gotest.tools/v3/assert"

	"github.com/oz-platform/cloudagents/trigger/github"
)

func TestMentioned(t *testing.T) {
	for text, want := range map[string]string{
		"@oz":                           "oz",
		"Hi @Oz, @oz and @x-y-!":        "oz x-y",
		"(@oz) **@a** \"@b\" ,@c: @d.":  "oz a b c d",
		"@oz[bot]":                      "oz",
		"mail a@oz or a.b+@oz":          "",
		"@oz/team @oz@example.com":      "",
		"@oz_x @-x @ x":                 "",
		"é@oz https://x.com/@oz":        "",
		"`@oz` and ``@a ` b`` @c":       "c",
		"`@oz \n@a` @b":                 "b",
		"`open @oz":                     "oz",
		"`open\n\n` @oz":                "oz",
		"\\`@oz\\`":                     "oz",
		"```\n@oz\n```\n@a":             "a",
		"~~~go\n@oz\n```\n@b\n~~~~\n@a": "a",
		"```\n@oz":                      "",
		"- ```\n  @oz\n  ```\n@a":       "a",
		"   ```\r\n@oz\r\n```\r\n@a":    "a",
		"> @oz said\n@a":                "a",
		"<!-- @oz --> @a <code>@b</code> <pre x>\n@c</pre>": "a",
		"<!-- @oz":                    "",
		"@" + strings.Repeat("x", 40): "",
	} {
		assert.Equal(t, strings.Join(github.Mentioned(text), " "), want, "%q", text)
	}
}

func FuzzMentioned(f *testing.F) {
	for _, seed := range []string{"@oz", "`@oz`", "```\n@oz\n```", "<!-- @oz -->@a", "a@b @c/d > @e", "\\`@x` ``@y` @z``"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		for _, login := range github.Mentioned(text) {
			assert.Assert(t, login != "" && len(login) <= 39 && strings.Contains(strings.ToLower(text), "@"+login))
		}
		assert.Equal(t, len(github.Mentioned("```\n"+strings.ReplaceAll(text, "`", "")+"\n")), 0)
	})
}

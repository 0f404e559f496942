package skill_test

import (
	"fmt"
	"strings"
	"testing"

	"gotest.tools/v3/assert"

	"github.com/oz-platform/cloudagents/environment/skill"
)

func TestParseSpec(t *testing.T) {
	for _, tt := range []struct {
		in   string
		want skill.Spec
		err  string
	}{
		{in: "deploy", want: skill.Spec{Name: "deploy"}},
		{in: "app:deploy", want: skill.Spec{Repo: "app", Name: "deploy"}},
		{in: "acme/app:deploy", want: skill.Spec{Owner: "acme", Repo: "app", Name: "deploy"}},
		{in: "group/sub/app:deploy", want: skill.Spec{Owner: "group/sub", Repo: "app", Name: "deploy"}},
		{in: ".claude/skills/x/SKILL.md", want: skill.Spec{Path: ".claude/skills/x/SKILL.md"}},
		{in: "acme/app:.claude/skills/x", want: skill.Spec{Owner: "acme", Repo: "app", Path: ".claude/skills/x/SKILL.md"}},
		{in: "app:./.claude//skills/x/SKILL.md", want: skill.Spec{Repo: "app", Path: ".claude/skills/x/SKILL.md"}},
		{in: "", err: "is empty"},
		{in: " ", err: "is empty"},
		{in: ":deploy", err: "before the colon"},
		{in: "/app:deploy", err: "owner/repo"},
		{in: "acme/:deploy", err: "owner/repo"},
		{in: "acme/app:", err: "names no skill"},
		{in: "acme/app:../other/SKILL.md", err: "within the repository"},
		{in: "acme/app:/etc/SKILL.md", err: "within the repository"},
		{in: "a\nb", err: "one line"},
		{in: "a\xff", err: "one line"},
		{in: strings.Repeat("x", 2000), err: "at most 1024"},
	} {
		t.Run(tt.in, func(t *testing.T) {
			got, err := skill.ParseSpec(tt.in)
			if tt.err != "" {
				assert.ErrorContains(t, err, tt.err)
				return
			}
			assert.NilError(t, err)
			assert.Equal(t, got, tt.want)
		})
	}
}

func TestFind(t *testing.T) {
	list := []skill.Skill{
		{Name: "deploy", Path: ".warp/skills/deploy/SKILL.md", Malformed: "no name"},
		{Name: "deploy", Path: ".claude/skills/ship/SKILL.md"},
		{Name: "broken", Path: ".claude/skills/broken/SKILL.md", Malformed: "no name"},
	}
	for _, tt := range []struct{ spec, want string }{
		{"deploy", ".claude/skills/ship/SKILL.md"},
		{".warp/skills/deploy", ".warp/skills/deploy/SKILL.md"},
		{"broken", ".claude/skills/broken/SKILL.md"},
		{"ship", ""},
	} {
		spec, err := skill.ParseSpec(tt.spec)
		assert.NilError(t, err)
		got, ok := spec.Find(list)
		assert.Equal(t, got.Path, tt.want)
		assert.Equal(t, ok, tt.want != "")
	}
}

func TestExpand(t *testing.T) {
	for _, tt := range []struct{ body, arguments, want string }{
		{"Deploy $ARGUMENTS now", "app to staging", "Deploy app to staging now"},
		{"Deploy $0 to $1, not $2", "app staging", "Deploy app to staging, not $2"},
		{"$ARGUMENTS[1] $ARGUMENTS[7]", "app staging", "staging $ARGUMENTS[7]"},
		{"$ARGUMENTS", "", ""},
		{"costs $10 or $1x", "a b", "costs $10 or $1x"},
		{"$0", "$1 b", "$1"}, // what was put in is not looked at again
		{"no placeholder", "a", "no placeholder"},
	} {
		got, err := skill.Expand(tt.body, tt.arguments, 100)
		assert.NilError(t, err)
		assert.Equal(t, got, tt.want, "%q", tt.body)
	}
}

func TestSplit(t *testing.T) {
	folder, dir, ok := skill.Split(".claude/skills/deploy/SKILL.md")
	assert.Assert(t, ok)
	assert.Equal(t, fmt.Sprint(folder, " ", dir), ".claude/skills deploy")
	for _, file := range []string{"SKILL.md", ".claude/skills/SKILL.md", ".claude/skills/a/b/SKILL.md", ".claude/skills/a/skill.md", "x/.claude/skills/a/SKILL.md", ""} {
		_, _, ok := skill.Split(file)
		assert.Assert(t, !ok, file)
	}
}

// TestExpandIsBounded: 20,000 placeholders times a long word would be
// gigabytes.
func TestExpandIsBounded(t *testing.T) {
	word := strings.Repeat("x", 1000)
	got, err := skill.Expand("$0$0", word, 2000)
	assert.NilError(t, err)
	assert.Equal(t, got, word+word)
	_, err = skill.Expand("$0$0 ", word, 2000)
	assert.ErrorContains(t, err, "more than 2000 bytes")
	_, err = skill.Expand(strings.Repeat("$0", 20_000), strings.Repeat("x", 256<<10), 256<<10)
	assert.ErrorContains(t, err, "more than")
}

package rules_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"gotest.tools/v3/assert"

	"github.com/oz-platform/cloudagents/environment/rules"
)

// tree writes files and opens them as a tree.
func tree(t *testing.T, files map[string]string) (*rules.Tree, string) {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		file := filepath.Join(dir, name)
		assert.NilError(t, os.MkdirAll(filepath.Dir(file), 0o755))
		assert.NilError(t, os.WriteFile(file, []byte(text), 0o644))
	}
	r, err := rules.Open(dir)
	assert.NilError(t, err)
	t.Cleanup(func() { assert.Check(t, r.Close()) })
	return r, dir
}

func TestWhichFileCounts(t *testing.T) {
	for _, tt := range []struct {
		name  string
		files map[string]string
		want  string
	}{
		{"none", nil, ""},
		{"agents", map[string]string{"AGENTS.md": "a"}, "AGENTS.md"},
		{"warp wins", map[string]string{"AGENTS.md": "a", "WARP.md": "w"}, "WARP.md"},
		{"an empty one is none", map[string]string{"AGENTS.md": "a", "WARP.md": " \n"}, "AGENTS.md"},
		{"capitals count", map[string]string{"agents.md": "a", "Warp.md": "w"}, ""},
		{"another agent's", map[string]string{"CLAUDE.md": "c", ".cursorrules": "x"}, "CLAUDE.md"},
		{"below a directory", map[string]string{".github/copilot-instructions.md": "c"}, ".github/copilot-instructions.md"},
		{"ours before another agent's", map[string]string{"CLAUDE.md": "c", "AGENTS.md": "a"}, "AGENTS.md"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if _, err := os.Stat("RULES.GO"); err == nil && tt.name == "capitals count" {
				t.Skip("this file system does not tell capitals")
			}
			r, _ := tree(t, tt.files)
			got, err := r.In(".")
			assert.NilError(t, err)
			assert.Equal(t, got.Path, tt.want)
			assert.Equal(t, got.Text == "", tt.want == "")
		})
	}
}

// TestHugeRules: a file of 10 MiB is cut at a line, and says so.
func TestHugeRules(t *testing.T) {
	line := strings.Repeat("x", 99) + "\n"
	r, _ := tree(t, map[string]string{"AGENTS.md": strings.Repeat(line, 10<<20/len(line)+1)})
	got, err := r.In(".")
	assert.NilError(t, err)
	assert.Assert(t, got.Cut)
	assert.Assert(t, len(got.Text) <= rules.MaxFileBytes && len(got.Text) > rules.MaxFileBytes-len(line), "%d bytes", len(got.Text))
	assert.Equal(t, (len(got.Text)+1)%len(line), 0, "cut within a line")
	assert.Assert(t, got.SizeBytes > 10<<20)
	text, used := rules.Compose([]rules.Rule{got})
	assert.Assert(t, strings.Contains(text, fmt.Sprintf("The rest is left out: it has %d bytes", got.SizeBytes)))
	assert.Assert(t, strings.Contains(used[0].String(), "only the first"), used[0])
}

// TestHostileRules: what is no text in the tree is no rule, and is named.
func TestHostileRules(t *testing.T) {
	r, dir := tree(t, map[string]string{
		"bin/WARP.md": "a\x00b", "bin/AGENTS.md": "text", "dir/AGENTS.md/x": "x", "odd/AGENTS.md": "ok \xff\xfe",
		"in/CLAUDE.md": "linked", "secret": "s",
	})
	outside := filepath.Join(t.TempDir(), "secret")
	assert.NilError(t, os.WriteFile(outside, []byte("SECRET"), 0o644))
	for _, d := range []string{"out", "up"} {
		assert.NilError(t, os.Mkdir(filepath.Join(dir, d), 0o755))
	}
	assert.NilError(t, os.Symlink(outside, filepath.Join(dir, "out", "AGENTS.md")))
	assert.NilError(t, os.Symlink("../../../../../../etc/passwd", filepath.Join(dir, "up", "WARP.md")))
	assert.NilError(t, os.Symlink("CLAUDE.md", filepath.Join(dir, "in", "AGENTS.md")))
	for _, tt := range []struct{ dir, text, problem string }{
		{"bin", "text", "bin/WARP.md: is not text"},
		{"dir", "", "dir/AGENTS.md: is not a regular file"},
		{"odd", "ok \uFFFD", ""},
		{"out", "", "out/AGENTS.md: is a link that leads out"},
		{"up", "", "up/WARP.md: is a link that leads out"},
		{"in", "linked", ""},
		{"../" + filepath.Base(filepath.Dir(outside)), "", "leads out"},
		{"no\nsuch", "", ""},
	} {
		t.Run(tt.dir, func(t *testing.T) {
			got, err := r.In(tt.dir)
			assert.Equal(t, got.Text, tt.text)
			if tt.problem == "" {
				assert.NilError(t, err)
				return
			}
			assert.ErrorContains(t, err, tt.problem)
			assert.Assert(t, !strings.Contains(err.Error(), "SECRET"))
		})
	}
}

// TestWeakRulesGiveWay: for want of room the strongest are told whole.
func TestWeakRulesGiveWay(t *testing.T) {
	rule := func(name string, bytes int) rules.Rule { return rules.Global(name, strings.Repeat(name[:1], bytes)) }
	text, used := rules.Compose([]rules.Rule{rule("weakest", 30<<10), rule("weak", 30<<10), rule("middle", 30<<10), rule("none", 0), rule("strong", 30<<10)})
	var got []string
	for _, r := range used {
		got = append(got, fmt.Sprintf("%s %d %v", r.Name, len(r.Text), r.Cut))
	}
	assert.DeepEqual(t, got, []string{"weakest 6144 true", "weak 30720 false", "middle 30720 false", "strong 30720 false"})
	assert.Assert(t, len(text) < rules.MaxTotalBytes+1000)
	assert.Assert(t, strings.Index(text, "Rule weak\n") < strings.Index(text, "Rule strong\n"))
	text, used = rules.Compose(nil)
	assert.Equal(t, text, "")
	assert.Equal(t, len(used), 0)
}

func TestBetween(t *testing.T) {
	for _, tt := range []struct {
		top, dir string
		want     []string
	}{
		{".", ".", nil},
		{".", "a/b", []string{"a", "a/b"}},
		{"app", "app/a/b/../c", []string{"app/a", "app/a/c"}},
		{"app", "other", nil},
		{"app", "..", nil},
		{"app", "apple/x", nil},
	} {
		assert.DeepEqual(t, rules.Between(tt.top, tt.dir), tt.want)
	}
}

func ExampleCompose() {
	text, _ := rules.Compose([]rules.Rule{rules.Global("style", "Write plain English."), {Path: "app/AGENTS.md", Text: "Run make check."}})
	fmt.Print(text)
	// Output:
	// Rules that your work must follow. Where two disagree, the later one counts. The rules of a directory are for the files below it.
	//
	// Rule style
	// Write plain English.
	//
	// Project rules from app/AGENTS.md
	// Run make check.
}

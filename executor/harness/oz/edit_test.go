package ozagent_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf8"

	"gotest.tools/v3/assert"
	is "gotest.tools/v3/assert/cmp"
	"pgregory.net/rapid"

	"github.com/oz-platform/cloudagents/executor/harness/harnesstest"
	ozagent "github.com/oz-platform/cloudagents/executor/harness/oz"
	"github.com/oz-platform/cloudagents/task"
)

func TestEditFiles(t *testing.T) {
	for _, tt := range []struct {
		name, text, search, replace string
		all                         bool
		want, note, err             string
	}{
		{name: "exact", text: "a\nb\nc\n", search: "b", replace: "B", want: "a\nB\nc\n"},
		{name: "exact over lines", text: "a\nb\nc\n", search: "a\nb\n", replace: "x\n", want: "x\nc\n"},
		{name: "delete", text: "a\nb\nc\n", search: "b\n", replace: "", want: "a\nc\n"},
		{name: "without line feed at the end", text: "a\nb", search: "b", replace: "c", want: "a\nc"},
		{name: "ambiguous", text: "x = 1\ny = 2\nx = 1\n", search: "x = 1", replace: "x = 3", err: "2 times, at lines 1, 3"},
		{name: "all", text: "x = 1\ny = 2\nx = 1\n", search: "x = 1", replace: "x = 3", all: true, want: "x = 3\ny = 2\nx = 3\n"},
		{name: "CRLF", text: "a\r\nb\r\nc\r\n", search: "a\nb\n", replace: "x\ny\n", want: "x\r\ny\r\nc\r\n"},
		{name: "CRLF in one line", text: "a b\r\nc\r\n", search: "b", replace: "d\ne", want: "a d\ne\r\nc\r\n"},
		{name: "BOM", text: "\ufeffa\nb\n", search: "a", replace: "x", want: "\ufeffx\nb\n"},
		{name: "BOM in the search", text: "\ufeffa\nb\n", search: "\ufeffa\n", replace: "x\n", want: "\ufeffx\nb\n"},
		{
			name: "trailing white space", text: "a  \nb\t\nc\n", search: "a\nb\n", replace: "x\ny\n",
			want: "x\ny\nc\n", note: "matched at line 1 without regard to white space at line ends",
		},
		{
			name: "other indentation", text: "func f() {\n\t\tif x {\n\t\t\treturn\n\t\t}\n}\n",
			search: "if x {\n\treturn\n}", replace: "if x {\n\treturn 1\n}",
			want: "func f() {\n\t\tif x {\n\t\t\treturn 1\n\t\t}\n}\n", note: "matched at line 2 without regard to indentation",
		},
		{
			name: "spaces for tabs", text: "func f() {\n\tif x {\n\t\treturn\n\t}\n}\n",
			search: "    if x {\n        return\n    }", replace: "    if x {\n        if y {\n            panic(1)\n        }\n    }",
			want: "func f() {\n\tif x {\n\t\tif y {\n\t\t\tpanic(1)\n\t\t}\n\t}\n}\n", note: "matched at line 2 without regard to indentation",
		},
		{
			name: "quotes and inner space", text: "say(\u201chi\u201d,  1)\n", search: `say("hi", 1)`, replace: `say("ho", 2)`,
			want: "say(\"ho\", 2)\n", note: "matched at line 1 without regard to white space and quote characters",
		},
		{
			name: "loose CRLF", text: "\tif a {\r\n\t\tb()\r\n\t}\r\n", search: "if a {\n\tb()\n}", replace: "if a {\n\tc()\n}",
			want: "\tif a {\r\n\t\tc()\r\n\t}\r\n", note: "matched at line 1 without regard to indentation",
		},
		{name: "loose and ambiguous", text: "\ta()\nx\n\t\ta()\n", search: "  a()\n", replace: "b()\n", err: "2 times without regard to indentation, at lines 1, 3"},
		{name: "missing", text: "alpha beta gamma\ndelta\n", search: "alpha beta gamme", replace: "x", err: "does not occur. The lines most like it:\n     1\talpha beta gamma"},
		{name: "nothing like it", text: "alpha\n", search: "zzz zzz", replace: "x", err: "Nothing in the file is like it"},
		{name: "only white space", text: "a\nb\n", search: "\n\n\n", replace: "x", err: "only white space"},
		{name: "empty file", text: "", search: "a", replace: "x", err: "does not occur"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, note, err := ozagent.ApplyEdit(tt.text, tt.search, tt.replace, tt.all)
			if tt.err != "" {
				assert.ErrorContains(t, err, tt.err)
				return
			}
			assert.NilError(t, err)
			assert.Equal(t, got, tt.want)
			assert.Equal(t, note, tt.note)
			assert.Assert(t, tt.search != tt.replace && ozagent.AlreadyMade(got, tt.search, tt.replace) || tt.note != "" || tt.all || strings.Contains(tt.name, "CRLF") || strings.Contains(tt.name, "BOM"))
		})
	}
}

// TestEditFilesOnDisk covers what happens to the files around the edits.
func TestEditFilesOnDisk(t *testing.T) {
	lab := harnesstest.NewLab(t, harnesstest.LabOptions{NoRepo: true})
	b := openBench(t, lab)
	write(t, lab, "run.sh", "#!/bin/sh\necho one\n")
	assert.NilError(t, os.Chmod(filepath.Join(lab.Root, "run.sh"), 0o755))
	write(t, lab, "b.txt", "two\n")
	write(t, lab, "bin", "a\x00b")
	assert.NilError(t, os.Symlink("b.txt", filepath.Join(lab.Root, "link.txt")))
	assert.NilError(t, os.Symlink("/etc/passwd", filepath.Join(lab.Root, "out")))

	edits := func(list ...object) object { return object{"edits": list} }
	one := func(path, search, replace string) object {
		return object{"path": path, "search": search, "replace": replace}
	}

	got := b.call("edit_files", edits(one("run.sh", "one", "two"), one("run.sh", "two", "three"), one("b.txt", "two", "2")))
	assert.Equal(t, got.State, task.ToolCompleted, got.Content)
	assert.Equal(t, read(t, lab, "run.sh"), "#!/bin/sh\necho three\n")
	info, err := os.Stat(filepath.Join(lab.Root, "run.sh"))
	assert.NilError(t, err)
	assert.Equal(t, info.Mode().Perm(), os.FileMode(0o755), "the mode is kept")
	assert.Assert(t, is.Contains(got.Output["diff"].(string), "-echo one\n+echo three\n"))

	t.Run("all or none", func(t *testing.T) {
		got := b.call("edit_files", edits(one("b.txt", "2", "3"), one("run.sh", "absent thing", "x")))
		assert.Equal(t, got.State, task.ToolFailed)
		assert.Assert(t, is.Contains(got.Content, "No file was changed"))
		assert.Equal(t, read(t, lab, "b.txt"), "2\n")
	})
	t.Run("link inside", func(t *testing.T) {
		got := b.call("edit_files", edits(one("link.txt", "2", "4")))
		assert.Equal(t, got.State, task.ToolCompleted, got.Content)
		assert.Equal(t, read(t, lab, "b.txt"), "4\n")
		target, err := os.Readlink(filepath.Join(lab.Root, "link.txt"))
		assert.NilError(t, err)
		assert.Equal(t, target, "b.txt", "the link is still one")
	})
	t.Run("after a restart", func(t *testing.T) {
		in := edits(one("b.txt", "4\n", "4\n5\n"))
		assert.Equal(t, b.call("edit_files", in).State, task.ToolCompleted)
		got := b.again("edit_files", in)
		assert.Equal(t, got.State, task.ToolCompleted, got.Content)
		assert.Equal(t, read(t, lab, "b.txt"), "4\n5\n", "made once")
	})
	for name, tt := range map[string]struct {
		in    any
		state task.ToolState
		want  string
	}{
		"binary":          {edits(one("bin", "a", "b")), task.ToolFailed, "binary"},
		"missing file":    {edits(one("nope.txt", "a", "b")), task.ToolFailed, "does not exist"},
		"link outside":    {edits(one("out", "root", "x")), task.ToolDenied, "leads out"},
		"path outside":    {edits(one("../../etc/passwd", "root", "x")), task.ToolDenied, "outside the workspace"},
		"git's own":       {edits(one(".git/config", "a", "b")), task.ToolDenied, "git's own"},
		"empty search":    {edits(one("b.txt", "", "b")), task.ToolFailed, "search is empty"},
		"same":            {edits(one("b.txt", "4", "4")), task.ToolFailed, "are the same"},
		"no edits":        {edits(), task.ToolFailed, "1 to 100"},
		"unknown field":   {object{"edits": []object{{"path": "b.txt", "search": "4", "replace": "5", "regex": true}}}, task.ToolFailed, `unknown field "regex"`},
		"wrong type":      {object{"edits": "b.txt"}, task.ToolFailed, `"edits" must be an array`},
		"replace missing": {object{"edits": []object{{"path": "b.txt", "search": "4"}}}, task.ToolFailed, "replace is missing"},
		"no JSON":         {`{"edits": [`, task.ToolFailed, "not a JSON object"},
		"directory":       {edits(one(".", "4", "5")), task.ToolFailed, "is a directory"},
		"NUL in the path": {edits(one("b\x00", "4", "5")), task.ToolFailed, "NUL"},
	} {
		t.Run(name, func(t *testing.T) {
			got := b.call("edit_files", tt.in)
			assert.Equal(t, got.State, tt.state, got.Content)
			assert.Assert(t, is.Contains(got.Content, tt.want))
		})
	}
}

// FuzzEditFiles: an exact edit is what strings.Replace does, and whatever goes
// wrong the text outside of the match stays.
func FuzzEditFiles(f *testing.F) {
	f.Add("a\nb\nc\n", "b", "B")
	f.Add("a\r\nb\r\n", "a\nb", "x")
	f.Add("\ufeffx\n\ty\n", "  y", "z")
	f.Add("\t\tif x {\n\t\t\ty()\n\t\t}\n", "if x {\n    y()\n}", "if z {\n    y()\n}")
	f.Fuzz(func(t *testing.T, text, search, replace string) {
		if search == "" || len(text)+len(search)+len(replace) > 64<<10 {
			return
		}
		got, note, err := ozagent.ApplyEdit(text, search, replace, false)
		body, key := strings.TrimPrefix(text, "\ufeff"), strings.TrimPrefix(search, "\ufeff")
		switch {
		case err != nil:
			if key != "" && strings.Count(body, key) == 1 {
				t.Fatalf("an exact match was refused: %v", err)
			}
		case key != "" && strings.Count(body, key) == 1:
			if want := text[:len(text)-len(body)] + strings.Replace(body, key, replace, 1); got != want {
				t.Fatalf("got %q, want %q", got, want)
			}
		case note != "":
			before, after := splitLines(body), splitLines(strings.TrimPrefix(got, "\ufeff"))
			kept := 0
			for kept < len(before) && kept < len(after) && before[kept] == after[kept] {
				kept++
			}
			end := 0
			for end < len(before)-kept && end < len(after)-kept && before[len(before)-1-end] == after[len(after)-1-end] {
				end++
			}
			if lost := len(before) - kept - end; lost > strings.Count(search, "\n")+1 {
				t.Fatalf("%d lines changed for a search of %q", lost, search)
			}
		}
		if err == nil && utf8.ValidString(text) && utf8.ValidString(replace) && utf8.ValidString(search) && !utf8.ValidString(got) {
			t.Fatalf("valid text became invalid: %q", got)
		}
	})
}

func splitLines(s string) []string { return strings.SplitAfter(s, "\n") }

// TestUnifiedDiff applies each diff with git and compares.
func TestUnifiedDiff(t *testing.T) {
	lab := harnesstest.NewLab(t, harnesstest.LabOptions{})
	rapid.Check(t, func(r *rapid.T) {
		line := rapid.SampledFrom([]string{"a", "b", "c", "d", ""})
		text := func(name string) string {
			lines := rapid.SliceOfN(line, 1, 30).Draw(r, name)
			s := strings.Join(lines, "\n")
			if s == "" || rapid.Bool().Draw(r, name+" ends") {
				s += "\n"
			}
			return s
		}
		old, new := text("old"), text("new")
		diff := ozagent.UnifiedDiff("f.txt", old, new)
		if old == new {
			assert.Equal(r, diff, "")
			return
		}
		dir := lab.Dir
		assert.NilError(r, os.WriteFile(filepath.Join(dir, "f.txt"), []byte(old), 0o644))
		assert.NilError(r, os.WriteFile(filepath.Join(dir, "change.patch"), []byte(diff), 0o644))
		lab.RunGit(t, dir, "apply", "--unidiff-zero", "change.patch")
		got, err := os.ReadFile(filepath.Join(dir, "f.txt"))
		assert.NilError(r, err)
		assert.Equal(r, string(got), new)
	})
}

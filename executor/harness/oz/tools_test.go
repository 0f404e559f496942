package ozagent_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"gotest.tools/v3/assert"
	is "gotest.tools/v3/assert/cmp"

	"github.com/oz-platform/cloudagents/executor/harness/harnesstest"
	ozagent "github.com/oz-platform/cloudagents/executor/harness/oz"
	"github.com/oz-platform/cloudagents/task"
)

// TestTools: every schema is one that both wires take.
func TestTools(t *testing.T) {
	lab := harnesstest.NewLab(t, harnesstest.LabOptions{NoRepo: true})
	schemas := ozagent.ToolSchemas(lab.Session(t).Tools)
	for name, s := range schemas {
		assert.Equal(t, s["type"], "object", name)
		properties, ok := s["properties"].(map[string]any)
		assert.Assert(t, ok, name)
		required, _ := s["required"].([]any)
		for _, r := range required {
			assert.Assert(t, properties[r.(string)] != nil, "%s requires %v, which it does not have", name, r)
		}
	}
	for _, name := range []string{"run_command", "command_output", "write_to_command", "stop_command", "read_files", "edit_files",
		"write_file", "grep", "file_glob", "update_todos", "report_artifact", "git_commit", "git_push", "ask_user", "finish", "write_plan"} {
		assert.Assert(t, schemas[name] != nil, name)
	}
}

func TestReadFiles(t *testing.T) {
	lab := harnesstest.NewLab(t, harnesstest.LabOptions{NoRepo: true})
	b := openBench(t, lab)
	write(t, lab, "a.txt", "one\ntwo\nthree\r\nfour")
	write(t, lab, "bin", "\x7fELF\x00\x01")
	write(t, lab, "long.txt", strings.Repeat("0123456789\n", 20000))
	assert.NilError(t, os.Symlink("/etc/passwd", filepath.Join(lab.Root, "out")))
	files := func(path, lines string) object {
		return object{"files": []object{{"path": path, "lines": lines}}}
	}
	for _, tt := range []struct {
		name  string
		in    object
		state task.ToolState
		want  string
	}{
		{"whole", files("a.txt", ""), task.ToolCompleted, "== a.txt (4 lines)\n     1\tone\n     2\ttwo\n     3\tthree\n     4\tfour\n"},
		{"range", files("a.txt", "2-3"), task.ToolCompleted, "(4 lines)\n     2\ttwo\n     3\tthree\n"},
		{"ranges overlap", files("a.txt", "1-2,2-3"), task.ToolCompleted, "1\tone\n     2\ttwo\n     3\tthree\n"},
		{"open end", files("a.txt", "4-"), task.ToolCompleted, "     4\tfour\n"},
		{"beyond", files("a.txt", "9-10"), task.ToolCompleted, "has no line 9"},
		{"absolute", files(filepath.Join(lab.Root, "a.txt"), "1"), task.ToolCompleted, "     1\tone"},
		{"binary", files("bin", ""), task.ToolCompleted, "binary file, 6 bytes"},
		{"cut", files("long.txt", ""), task.ToolCompleted, "ask for the rest with lines"},
		{"link outside", files("out", ""), task.ToolFailed, "leads out of the workspace"},
		{"outside", files("../x", ""), task.ToolFailed, "outside the workspace"},
		{"missing", files("nope", ""), task.ToolFailed, "does not exist"},
		{"bad range", files("a.txt", "3-1"), task.ToolFailed, `lines "3-1" is not like`},
		{"none", object{"files": []object{}}, task.ToolFailed, "1 to 20 files"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := b.call("read_files", tt.in)
			assert.Equal(t, got.State, tt.state, got.Content)
			assert.Assert(t, is.Contains(got.Content, tt.want))
			assert.Assert(t, len(got.Content) < 80<<10)
		})
	}
}

func TestWriteFile(t *testing.T) {
	lab := harnesstest.NewLab(t, harnesstest.LabOptions{NoRepo: true})
	b := openBench(t, lab)
	got := b.call("write_file", object{"path": "a/b/c.txt", "content": "one\n"})
	assert.Equal(t, got.State, task.ToolCompleted, got.Content)
	assert.Equal(t, read(t, lab, "a/b/c.txt"), "one\n")
	assert.NilError(t, os.Chmod(filepath.Join(lab.Root, "a/b/c.txt"), 0o700))
	got = b.call("write_file", object{"path": "a/b/c.txt", "content": ""})
	assert.Equal(t, got.State, task.ToolCompleted, got.Content)
	assert.Equal(t, read(t, lab, "a/b/c.txt"), "")
	info, err := os.Stat(filepath.Join(lab.Root, "a/b/c.txt"))
	assert.NilError(t, err)
	assert.Equal(t, info.Mode().Perm(), os.FileMode(0o700))

	outside := filepath.Join(t.TempDir(), "victim")
	assert.NilError(t, os.MkdirAll(outside, 0o755))
	assert.NilError(t, os.Symlink(outside, filepath.Join(lab.Root, "dir")))
	for name, in := range map[string]object{
		"through a link":  {"path": "dir/x", "content": "x"},
		"outside":         {"path": "/tmp/oz-should-not-be", "content": "x"},
		"hook":            {"path": ".git/hooks/pre-commit", "content": "x"},
		"git, other case": {"path": "sub/.GIT/config", "content": "x"},
	} {
		t.Run(name, func(t *testing.T) {
			assert.Equal(t, b.call("write_file", in).State, task.ToolDenied)
		})
	}
	left, err := os.ReadDir(outside)
	assert.NilError(t, err)
	assert.Equal(t, len(left), 0)
	assert.Equal(t, b.call("write_file", object{"path": "a", "content": "x"}).State, task.ToolFailed, "a directory")
	assert.Equal(t, b.call("write_file", object{"path": "x"}).State, task.ToolFailed, "no content")
}

func TestSearch(t *testing.T) {
	lab := harnesstest.NewLab(t, harnesstest.LabOptions{Files: map[string]string{
		".gitignore": "build/\n", "main.go": "package main\n\nfunc main() {\n\tprintln(1)\n}\n", "pkg/a_test.go": "package pkg\n// Println\n", "docs/x.md": "println\n",
	}})
	b := openBench(t, lab)
	write(t, lab, "build/out.go", "println\n")
	write(t, lab, "new.go", "println(2)\n")
	write(t, lab, "bin", "println\x00")

	got := b.call("grep", object{"queries": []string{"println"}})
	assert.Equal(t, got.Content, "docs/x.md:1:println\nmain.go:4:\tprintln(1)\nnew.go:1:println(2)\n")
	got = b.call("grep", object{"queries": []string{"println", "func"}, "include": "*.go", "ignore_case": true})
	assert.Equal(t, got.Content, "main.go:3:func main() {\nmain.go:4:\tprintln(1)\nnew.go:1:println(2)\npkg/a_test.go:2:// Println\n")
	got = b.call("grep", object{"queries": []string{"func"}, "path": "main.go", "context_lines": 1})
	assert.Equal(t, got.Content, "main.go-2-\nmain.go:3:func main() {\nmain.go-4-\tprintln(1)\n")
	got = b.call("grep", object{"queries": []string{"println"}, "path": lab.Root})
	assert.Assert(t, is.Contains(got.Content, "main.go:4"), "from above the repository")
	assert.Assert(t, is.Contains(b.call("grep", object{"queries": []string{"absent"}}).Content, "No match"))
	assert.Assert(t, is.Contains(b.call("grep", object{"queries": []string{"("}}).Content, "queries[0]"))

	got = b.call("file_glob", object{"patterns": []string{"**/*.go"}})
	assert.Equal(t, got.Content, "main.go\nnew.go\npkg/a_test.go")
	got = b.call("file_glob", object{"patterns": []string{"*_test.go", "*.md"}})
	assert.Equal(t, got.Content, "docs/x.md\npkg/a_test.go")
	got = b.call("file_glob", object{"patterns": []string{"*"}, "path": "pkg"})
	assert.Equal(t, got.Content, "pkg/a_test.go")
	assert.Equal(t, b.call("file_glob", object{"patterns": []string{"["}}).State, task.ToolFailed)
	assert.Equal(t, b.call("file_glob", object{"patterns": []string{"*"}, "path": "/"}).State, task.ToolDenied)
}

func TestReportArtifact(t *testing.T) {
	const value = "Hq2-Zw9_bN4xKc7Lm1Pv"
	lab := harnesstest.NewLab(t, harnesstest.LabOptions{NoRepo: true, Secrets: map[string]string{"UPLOAD_KEY": value}})
	b := openBench(t, lab)
	write(t, lab, "report.html", "<h1>good</h1>")
	write(t, lab, "leak.txt", "key="+value)
	for range 2 {
		got := b.call("report_artifact", object{"type": "file", "path": "report.html", "title": "Report"})
		assert.Equal(t, got.State, task.ToolCompleted, got.Content)
		data, ok := lab.Uploaded(got.Output["artifact_uid"].(string))
		assert.Assert(t, ok)
		assert.Equal(t, string(data), "<h1>good</h1>")
	}
	b.call("report_artifact", object{"type": "pull_request", "url": "https://github.com/o/r/pull/1", "branch": "b"})
	b.call("report_artifact", object{"type": "reference", "url": "https://example.com/t/1", "reference_type": "ticket"})
	reported := harnesstest.Payloads[*task.ArtifactReported](lab.Log)
	assert.Equal(t, len(reported), 3, "a file reported twice is there once")
	assert.Equal(t, reported[0].Artifact.MIMEType, "text/html; charset=utf-8")
	assert.Equal(t, reported[0].Artifact.SizeBytes, int64(13))

	for name, tt := range map[string]struct {
		in    object
		state task.ToolState
		want  string
	}{
		"secret":      {object{"type": "file", "path": "leak.txt"}, task.ToolDenied, "UPLOAD_KEY"},
		"secret URL":  {object{"type": "reference", "url": "https://example.com/?k=" + value, "reference_type": "x"}, task.ToolDenied, "UPLOAD_KEY"},
		"outside":     {object{"type": "file", "path": "/etc/passwd"}, task.ToolDenied, "outside"},
		"directory":   {object{"type": "file", "path": "."}, task.ToolFailed, "not a regular file"},
		"credentials": {object{"type": "reference", "url": "https://u:p@example.com", "reference_type": "x"}, task.ToolFailed, "credentials"},
		"no branch":   {object{"type": "pull_request", "url": "https://example.com"}, task.ToolFailed, "branch"},
		"type":        {object{"type": "poem"}, task.ToolFailed, "type must be"},
	} {
		t.Run(name, func(t *testing.T) {
			got := b.call("report_artifact", tt.in)
			assert.Equal(t, got.State, tt.state, got.Content)
			assert.Assert(t, is.Contains(got.Content, tt.want))
			assert.Assert(t, !strings.Contains(got.Content, value))
		})
	}
}

func TestBranchURL(t *testing.T) {
	for remote, want := range map[string]string{
		"https://github.com/o/r.git":     "https://github.com/o/r/tree/oz/b",
		"https://u:p@github.com/o/r":     "https://github.com/o/r/tree/oz/b",
		"https://gitlab.example.com/o/r": "https://gitlab.example.com/o/r/-/tree/oz/b",
		"https://git.example.com/o/r":    "https://git.example.com/o/r",
		"git@github.com:o/r.git":         "ssh://github.com/o/r.git",
		"file:///srv/r.git":              "file:///srv/r.git",
		"/srv/r.git":                     "file:///srv/r.git",
	} {
		assert.Equal(t, ozagent.BranchURL(remote, "oz/b"), want)
	}
}

func TestSystemPrompt(t *testing.T) {
	lab := harnesstest.NewLab(t, harnesstest.LabOptions{Instructions: "BASE-PROMPT",
		Files:   map[string]string{"AGENTS.md": "RULE-AGENTS"},
		Secrets: map[string]string{"TOKEN_X": "Jd4-Wq8_zT2nVb6Rk9Ls"},
	})
	text := openBench(t, lab).SystemPrompt()
	assert.Assert(t, !strings.Contains(text, "RULE-AGENTS"), "the runner reads rules, for every agent")
	assert.Assert(t, is.Contains(text, "BASE-PROMPT"))
	assert.Assert(t, is.Contains(text, "branch main"))

	lab = harnesstest.NewLab(t, harnesstest.LabOptions{Mode: task.ModePlan})
	assert.Assert(t, is.Contains(openBench(t, lab).SystemPrompt(), "plan mode"))
}

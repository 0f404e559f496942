package ozagent_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"gotest.tools/v3/assert"
	is "gotest.tools/v3/assert/cmp"

	"github.com/oz-platform/cloudagents/executor/harness/harnesstest"
	"github.com/oz-platform/cloudagents/task"
)

// TestNestedRules: the rules of a directory come with the first file that is
// read, written or edited below it, once, and those of the top are not told
// again.
func TestNestedRules(t *testing.T) {
	lab := harnesstest.NewLab(t, harnesstest.LabOptions{Files: map[string]string{
		"AGENTS.md": "RULE-TOP", "a/AGENTS.md": "RULE-A", "a/WARP.md": "RULE-WARP-A", "a/b/AGENTS.md": "RULE-B", "a/b/x.txt": "one\n", "top.txt": "t\n",
		"c/CLAUDE.md": "RULE-C " + strings.Repeat("long ", 100_000), "c/y.txt": "y\n",
	}})
	outside := filepath.Join(t.TempDir(), "secret")
	assert.NilError(t, os.WriteFile(outside, []byte("RULE-OUTSIDE"), 0o644))
	assert.NilError(t, os.Mkdir(filepath.Join(lab.Dir, "d"), 0o755))
	assert.NilError(t, os.Symlink(outside, filepath.Join(lab.Dir, "d", "AGENTS.md")))
	b := openBench(t, lab)
	files := func(path string) object { return object{"files": []object{{"path": path}}} }

	got := b.call("read_files", files("top.txt")).Content
	assert.Assert(t, !strings.Contains(got, "RULE"), got)
	got = b.call("read_files", files("a/b/x.txt")).Content
	assert.Assert(t, is.Contains(got, "Rules that count for the files below a\nProject rules from a/WARP.md\nRULE-WARP-A"))
	assert.Assert(t, strings.Index(got, "RULE-WARP-A") < strings.Index(got, "RULE-B"), "the stronger last")
	assert.Assert(t, !strings.Contains(got, "RULE-A") && !strings.Contains(got, "RULE-TOP"), got)
	got = b.call("edit_files", object{"edits": []object{{"path": "a/b/x.txt", "search": "one", "replace": "two"}}}).Content
	assert.Assert(t, !strings.Contains(got, "RULE"), "told before")

	got = b.call("write_file", object{"path": "c/new.txt", "content": "n\n"}).Content
	assert.Assert(t, is.Contains(got, "RULE-C"))
	assert.Assert(t, is.Contains(got, "The rest is left out"))
	assert.Assert(t, len(got) < 20<<10, "%d bytes", len(got))
	called := b.call("write_file", object{"path": "d/new.txt", "content": "n\n"})
	assert.Equal(t, called.State, task.ToolCompleted)
	assert.Assert(t, !strings.Contains(called.Content, "RULE-OUTSIDE"))
}

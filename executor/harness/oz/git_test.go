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

// token is a secret that must not be pushed.
const token = "tkn-5Rv9Xc2Wq7Lz"

// TestPushScansEverything: wherever in a commit or its name a secret stands,
// the push is refused and nothing arrives.
func TestPushScansEverything(t *testing.T) {
	commit := func(args ...string) []string { return append([]string{"commit", "-q", "--allow-empty"}, args...) }
	tests := map[string][][]string{
		"branch":         {{"switch", "-q", "-c", "fix-" + token}, commit("-m", "x")},
		"message":        {commit("-m", "Use "+token)},
		"author":         {commit("-m", "x", "--author", token+" <a@example.com>")},
		"gone again":     {{"add", "key"}, commit("-m", "a"), {"rm", "-q", "key"}, commit("-m", "b")},
		"name":           {{"add", token + ".txt"}, commit("-m", "a")},
		"hidden as text": {{"add", ".gitattributes", "key"}, commit("-m", "a")},
	}
	for name, steps := range tests {
		t.Run(name, func(t *testing.T) {
			lab := harnesstest.NewLab(t, harnesstest.LabOptions{Secrets: map[string]string{"TOKEN": token}})
			lab.RunGit(t, lab.Dir, "switch", "-q", "-c", "work")
			write(t, lab, "key", token)
			write(t, lab, token+".txt", "") // empty: only its name tells
			write(t, lab, ".gitattributes", "key binary -diff\n")
			for _, args := range steps {
				lab.RunGit(t, lab.Dir, args...)
			}
			got := openBench(t, lab).call("git_push", object{})
			assert.Equal(t, got.State, task.ToolDenied, got.Content)
			assert.Assert(t, is.Contains(got.Content, "TOKEN"))
			assert.Assert(t, !strings.Contains(got.Content, token))
			assert.Equal(t, lab.RunGit(t, lab.Remote, "for-each-ref", "--format=%(refname)"), "refs/heads/main")
		})
	}
}

// TestRemovedNameMayBePushed: a commit that takes a file away is the way out.
func TestRemovedNameMayBePushed(t *testing.T) {
	lab := harnesstest.NewLab(t, harnesstest.LabOptions{Secrets: map[string]string{"TOKEN": token}, Files: map[string]string{token + ".txt": "", "a": "a\n"}})
	lab.RunGit(t, lab.Dir, "switch", "-q", "-c", "work")
	lab.RunGit(t, lab.Dir, "rm", "-q", token+".txt")
	lab.RunGit(t, lab.Dir, "commit", "-q", "-m", "Take it away")
	got := openBench(t, lab).call("git_push", object{})
	assert.Equal(t, got.State, task.ToolCompleted, got.Content)
}

// TestHostileRepository: nothing that a repository names as a program runs
// when the agent's git tools work in it: its own process would run it.
func TestHostileRepository(t *testing.T) {
	lab := harnesstest.NewLab(t, harnesstest.LabOptions{})
	mark := filepath.Join(t.TempDir(), "ran")
	program := filepath.Join(t.TempDir(), "evil")
	assert.NilError(t, os.WriteFile(program, []byte("#!/bin/sh\necho \"$0 $*\" >> "+mark+"\ncat\n"), 0o700))
	for _, hook := range []string{"pre-commit", "commit-msg", "post-commit", "pre-push", "post-checkout", "reference-transaction", "post-index-change"} {
		assert.NilError(t, os.WriteFile(filepath.Join(lab.Dir, ".git", "hooks", hook), []byte("#!/bin/sh\n"+program+" "+hook+"\n"), 0o700))
	}
	for key, value := range map[string]string{
		"core.fsmonitor": program, "core.sshCommand": program, "core.editor": program, "core.pager": program, "diff.external": program,
		"filter.evil.clean": program, "filter.evil.smudge": program, "filter.evil.required": "true", "diff.evil.textconv": program,
		"diff.evil.command": program, "gpg.program": program, "commit.gpgSign": "true", "credential.helper": program,
		"url." + filepath.Join(t.TempDir(), "elsewhere.git") + ".insteadOf": "file://", "remote.origin.receivepack": program,
		"alias.status": "!" + program, "core.hooksPath": filepath.Join(lab.Dir, ".git", "hooks"), "core.alternateRefsCommand": program,
	} {
		lab.RunGit(t, lab.Dir, "config", key, value)
	}
	write(t, lab, ".gitattributes", "* filter=evil diff=evil\n")
	write(t, lab, "new.txt", "new\n")
	b := openBench(t, lab)
	got := b.call("git_commit", object{"message": "Add a file", "branch": "work"})
	assert.Equal(t, got.State, task.ToolCompleted, got.Content)
	got = b.call("git_push", object{})
	assert.Equal(t, got.State, task.ToolCompleted, got.Content)
	assert.Equal(t, lab.RunGit(t, lab.Remote, "show", "work:new.txt"), "new")
	ran, err := os.ReadFile(mark)
	assert.ErrorIs(t, err, os.ErrNotExist, "%s", ran)
}

// TestFileToolsStayInside: links that lead out of the workspace are not
// followed by the file tools, whoever made them.
func TestFileToolsStayInside(t *testing.T) {
	lab := harnesstest.NewLab(t, harnesstest.LabOptions{})
	outside := filepath.Join(t.TempDir(), "outside")
	assert.NilError(t, os.Mkdir(outside, 0o700))
	assert.NilError(t, os.WriteFile(filepath.Join(outside, "file"), []byte("outside\n"), 0o600))
	assert.NilError(t, os.Symlink(outside, filepath.Join(lab.Dir, "dir")))
	assert.NilError(t, os.Symlink(filepath.Join(outside, "file"), filepath.Join(lab.Dir, "link")))
	b := openBench(t, lab)
	for _, path := range []string{"dir/file", "link", filepath.Join(outside, "file"), "../../../../../../etc/passwd"} {
		for tool, input := range map[string]object{
			"read_files":      {"files": []object{{"path": path}}},
			"write_file":      {"path": path, "content": "mine"},
			"edit_files":      {"edits": []object{{"path": path, "search": "outside", "replace": "mine"}}},
			"report_artifact": {"type": "file", "path": path},
		} {
			got := b.call(tool, input)
			assert.Assert(t, got.State != task.ToolCompleted || tool == "read_files", "%s of %s: %s", tool, path, got.Content)
			assert.Assert(t, !strings.Contains(got.Content, "outside\n"), "%s of %s: %s", tool, path, got.Content)
		}
	}
	got := b.call("grep", object{"pattern": "outside"})
	assert.Assert(t, !strings.Contains(got.Content, "outside\n"), got.Content)
	data, err := os.ReadFile(filepath.Join(outside, "file"))
	assert.NilError(t, err)
	assert.Equal(t, string(data), "outside\n")
}

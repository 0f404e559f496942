package main

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"gotest.tools/v3/assert"

	"github.com/oz-platform/cloudagents/internal/servertest"
)

// TestQuickstart runs the program as the README says, and looks at what it
// left: a branch on the remote, on which the tests that failed before pass.
func TestQuickstart(t *testing.T) {
	program := filepath.Join(t.TempDir(), "quickstart")
	out, err := exec.Command("go", "build", "-o", program, ".").CombinedOutput()
	assert.NilError(t, err, "%s", out)
	ctx, cancel := context.WithTimeout(t.Context(), servertest.Patience)
	defer cancel()
	dir, home := t.TempDir(), t.TempDir()
	cmd := exec.CommandContext(ctx, program, "--dir", dir)
	cmd.Env = servertest.Environ("HOME="+home, "GOCACHE="+goenv(t, "GOCACHE"), "GOFLAGS=-count=1")
	out, err = cmd.CombinedOutput()
	assert.NilError(t, err, "%s", out)
	for _, want := range []string{
		"The model is SCRIPTED", "--- FAIL: TestSplitKeepsEveryCent", "▸ workspace", "▸ setup", "exit 1 after", "  ok  \texample.com/tally",
		"◆ git branch oz/refunds-keep-every-cent", "■ SUCCEEDED", "+			shares[i] += cent", "Outcome   SUCCEEDED",
	} {
		assert.Assert(t, strings.Contains(string(out), want), "no %q in\n%s", want, out)
	}
	for _, figure := range []string{`sandbox +\d+ ms`, `workspace +\d+ ms`, `setup +\d+ ms`, `agent +\d+ ms`, `total +\d+ ms`, `Tokens +\d+ in, \d+ out`} {
		assert.Assert(t, regexp.MustCompile(figure).Match(out), "no %s in\n%s", figure, out)
	}

	remote := filepath.Join(dir, "remote.git")
	for branch, passes := range map[string]bool{"main": false, "oz/refunds-keep-every-cent": true} {
		tree := t.TempDir()
		clone, err := exec.Command("git", "clone", "--quiet", "--branch", branch, remote, tree).CombinedOutput()
		assert.NilError(t, err, "%s", clone)
		test := exec.Command("go", "test", "-count=1", "./...")
		test.Dir, test.Env = tree, append(os.Environ(), "GOFLAGS=", "GOWORK=off")
		result, err := test.CombinedOutput()
		assert.Equal(t, err == nil, passes, "go test on %s: %s", branch, result)
	}
	files, err := exec.Command("git", "-C", remote, "diff", "--name-only", "main...oz/refunds-keep-every-cent").Output()
	assert.NilError(t, err)
	assert.Equal(t, string(files), "split.go\n", "changed files")
	count, err := exec.Command("git", "-C", remote, "rev-list", "--count", "main..oz/refunds-keep-every-cent").Output()
	assert.NilError(t, err)
	assert.Equal(t, string(count), "1\n", "commits")
}

func goenv(t *testing.T, name string) string {
	t.Helper()
	out, err := exec.Command("go", "env", name).Output()
	assert.NilError(t, err)
	return strings.TrimSpace(string(out))
}

package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"gotest.tools/v3/assert"

	"github.com/oz-platform/cloudagents/internal/servertest"
)

// program is the quickstart as a binary.
var program string

func TestMain(m *testing.M) {
	os.Exit(func() int {
		dir, err := os.MkdirTemp("", "quickstart-test-")
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer os.RemoveAll(dir)
		program = filepath.Join(dir, "quickstart")
		if out, err := exec.Command("go", "build", "-o", program, ".").CombinedOutput(); err != nil {
			fmt.Fprintf(os.Stderr, "build: %v\n%s", err, out)
			return 1
		}
		return m.Run()
	}())
}

// TestQuickstart runs the program as the README says, and looks at what it
// left: a branch on the remote, on which the tests that failed before pass.
func TestQuickstart(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), servertest.Patience)
	defer cancel()
	dir, home := filepath.Join(t.TempDir(), "kept"), t.TempDir()
	cmd := exec.CommandContext(ctx, program, "--dir", dir)
	cmd.Env = servertest.Environ("HOME="+home, "GOCACHE="+goenv(t, "GOCACHE"), "GOFLAGS=-count=1")
	out, err := cmd.CombinedOutput()
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

func TestMistakes(t *testing.T) {
	onlyGit := t.TempDir()
	git, err := exec.LookPath("git")
	assert.NilError(t, err)
	assert.NilError(t, os.Symlink(git, filepath.Join(onlyGit, "git")))
	for _, tt := range []struct{ path, arg, want string }{
		{t.TempDir(), "--dir=" + t.TempDir(), "git is needed and not found in PATH"},
		{onlyGit, "--dir=" + t.TempDir(), "go is needed and not found in PATH"},
		{os.Getenv("PATH"), "extra", `unknown argument "extra"`},
		{os.Getenv("PATH"), "--dir=/proc/quickstart", "mkdir /proc/quickstart"},
	} {
		cmd := exec.CommandContext(t.Context(), program, tt.arg)
		cmd.Env = []string{"PATH=" + tt.path}
		out, err := cmd.CombinedOutput()
		assert.Assert(t, err != nil)
		assert.Assert(t, strings.Contains(string(out), tt.want), "%s", out)
	}
}

// TestInterrupt: nothing stays behind, neither files nor processes.
func TestInterrupt(t *testing.T) {
	tmp := t.TempDir()
	cmd := exec.CommandContext(t.Context(), program)
	cmd.Env = append(servertest.Environ("HOME="+tmp, "GOCACHE="+goenv(t, "GOCACHE")), "TMPDIR="+tmp)
	out := &servertest.Buffer{}
	cmd.Stdout, cmd.Stderr = out, out
	assert.NilError(t, cmd.Start())
	for deadline := time.Now().Add(servertest.Patience); !strings.Contains(out.String(), "▸ agent"); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			_ = cmd.Process.Kill()
			t.Fatalf("the agent never began\n%s", out)
		}
	}
	assert.NilError(t, cmd.Process.Signal(os.Interrupt))
	_ = cmd.Wait()
	assert.Equal(t, cmd.ProcessState.ExitCode(), 130, out.String())
	left, err := os.ReadDir(tmp)
	assert.NilError(t, err)
	for _, e := range left {
		assert.Assert(t, !strings.HasPrefix(e.Name(), "oz-quickstart"), "left behind: %s", e.Name())
	}
	commands, err := filepath.Glob("/proc/[0-9]*/cmdline")
	assert.NilError(t, err)
	for _, c := range commands {
		line, _ := os.ReadFile(c) // it may have ended meanwhile
		assert.Assert(t, !strings.HasPrefix(string(line), program), "still runs: %q", line)
	}
}

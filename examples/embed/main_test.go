package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"gotest.tools/v3/assert"

	"github.com/oz-platform/cloudagents/executor/gateway/scripted"
	"github.com/oz-platform/cloudagents/internal/servertest"
)

// TestEmbed runs the program as a user does, over a scripted model.
func TestEmbed(t *testing.T) {
	program := filepath.Join(t.TempDir(), "embed")
	out, err := exec.Command("go", "build", "-o", program, ".").CombinedOutput()
	assert.NilError(t, err, "%s", out)
	model, err := scripted.New(servertest.Talker(""), &scripted.Options{APIKey: "embed-model-key"})
	assert.NilError(t, err)
	at, err := model.Start()
	assert.NilError(t, err)
	defer at.Close()

	ctx, cancel := context.WithTimeout(t.Context(), servertest.Patience)
	defer cancel()
	tmp := t.TempDir()
	cmd := exec.CommandContext(ctx, program, "greet", "me")
	cmd.Env = append(servertest.Environ("HOME="+tmp, "ANTHROPIC_API_KEY=embed-model-key", "ANTHROPIC_BASE_URL="+at.AnthropicURL), "TMPDIR="+tmp)
	out, err = cmd.CombinedOutput()
	assert.NilError(t, err, "%s", out)
	assert.Equal(t, string(out), `
[QUEUED] 

[PENDING] 

[CLAIMED] 

[INPROGRESS] 
I do it.It is done.
[SUCCEEDED] Done: greet.

Verified with: echo hello from the agent
`)
	left, err := os.ReadDir(tmp)
	assert.NilError(t, err)
	assert.Equal(t, len(left), 0, "left behind: %v", left)
}

// TestReadme: the README shows this program's embed function, as it is.
func TestReadme(t *testing.T) {
	source, err := os.ReadFile("main.go")
	assert.NilError(t, err)
	readme, err := os.ReadFile("../../README.md")
	assert.NilError(t, err)
	_, rest, ok := strings.Cut(string(source), "\nfunc embed(")
	assert.Assert(t, ok)
	body, _, ok := strings.Cut(rest, "\n}\n")
	assert.Assert(t, ok)
	shown := fmt.Sprintf("```go\nfunc embed(%s\n}\n```\n", body)
	assert.Assert(t, strings.Contains(string(readme), shown), "README.md should show:\n%s", shown)
	assert.Assert(t, strings.Count(body, "\n") <= 30, "the smallest program has grown to %d lines", strings.Count(body, "\n"))
}

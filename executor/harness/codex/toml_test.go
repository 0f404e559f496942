package codex_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"gotest.tools/v3/assert"

	"github.com/oz-platform/cloudagents/executor"
	"github.com/oz-platform/cloudagents/executor/harness"
	"github.com/oz-platform/cloudagents/executor/harness/cliagent"
	"github.com/oz-platform/cloudagents/executor/harness/codex"
	"github.com/oz-platform/cloudagents/executor/harness/harnesstest"
	"github.com/oz-platform/cloudagents/task"
)

// launch makes the command for a session.
func launch(t *testing.T, s *harness.Session) (cliagent.Command, string) {
	t.Helper()
	l := &cliagent.Launch{Session: s, State: t.TempDir(), Scratch: t.TempDir()}
	c, err := codex.Agent().Launch(l)
	assert.NilError(t, err)
	return c, l.State
}

// The program itself reads the settings that are written for it, whatever
// characters are in them.
func TestSettingsAreRead(t *testing.T) {
	path := harnesstest.Program(t, "codex", codex.Version)
	s := &harness.Session{Dir: t.TempDir(), Model: harness.Model{ID: "gpt-5.5", BaseURL: "http://127.0.0.1:1", Token: "run-token"},
		Instructions: "odd \"quotes\" \\ \x7f \u2028 \x01 '''\n[table]\nend = \"\"\"",
		MCP: []harness.MCPServer{{Name: "a.b \"c\"", URL: "http://127.0.0.1:1/mcp", Headers: map[string]string{"Authorization": "Bearer secret-header"}},
			{Name: "local", Command: []string{"server", "--flag"}, Env: map[string]string{"KEY": "it's secret-env"}, Allow: []string{"one"}}}}
	c, state := launch(t, s)
	cmd := exec.CommandContext(t.Context(), path, "mcp", "list", "--json")
	cmd.Env = []string{"CODEX_HOME=" + state, "HOME=" + t.TempDir(), "PATH=" + os.Getenv("PATH")}
	out, err := cmd.CombinedOutput()
	assert.NilError(t, err, "%s", out)
	assert.Assert(t, strings.Contains(string(out), `a.b \"c\"`), "%s", out)
	assert.Assert(t, strings.Contains(string(out), `"local"`), "%s", out)

	config, err := os.ReadFile(filepath.Join(state, "config.toml"))
	assert.NilError(t, err)
	assert.Assert(t, strings.Count(string(config), "tool_timeout_sec") == 2, "calls have their time: %s", config)
	for _, secret := range []string{"run-token", "secret-header", "secret-env"} {
		assert.Assert(t, !strings.Contains(string(config)+strings.Join(c.Args, " "), secret), "%s is seen", secret)
	}
}

func TestReasoningLevel(t *testing.T) {
	s := &harness.Session{Dir: t.TempDir(), Model: harness.Model{ID: "gpt-5.5", Token: executor.Sensitive("t")}}
	s.Task.Config.Harness = &task.HarnessConfig{Type: "codex", ReasoningLevel: "High"}
	_, state := launch(t, s)
	config, err := os.ReadFile(filepath.Join(state, "config.toml"))
	assert.NilError(t, err)
	assert.Assert(t, strings.Contains(string(config), `"model_reasoning_effort" = "high"`), "%s", config)
}

package githubaction_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
	"gotest.tools/v3/assert"

	"github.com/oz-platform/cloudagents/internal/servertest"
	"github.com/oz-platform/cloudagents/oz/access"
	"github.com/oz-platform/cloudagents/task"
)

// bin holds oz and ozd.
var bin string

func TestMain(m *testing.M) {
	os.Exit(func() int {
		var err error
		if bin, err = os.MkdirTemp("", "oz-action-test-"); err == nil {
			defer os.RemoveAll(bin)
			err = servertest.Build(bin, "oz", "ozd")
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		return m.Run()
	}())
}

// step runs a program of the Action as a job does, and gives its exit code, what
// it showed and the outputs that it set.
func step(t *testing.T, path string, args []string, env ...string) (code int, out, outputs string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), servertest.Patience)
	defer cancel()
	path, err := filepath.Abs(path)
	assert.NilError(t, err)
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Dir = t.TempDir()
	file := filepath.Join(t.TempDir(), "outputs")
	cmd.Env = append(servertest.Environ(append([]string{"HOME=" + cmd.Dir, "PATH=" + bin + ":" + os.Getenv("PATH")}, env...)...)[1:],
		"GITHUB_OUTPUT="+file, "GITHUB_ACTIONS=true")
	raw, err := cmd.CombinedOutput()
	if cmd.ProcessState == nil {
		t.Fatal(err)
	}
	set, err := os.ReadFile(file)
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	return cmd.ProcessState.ExitCode(), string(raw), string(set)
}

// output reads the one output that the file sets.
func output(t *testing.T, outputs string) string {
	t.Helper()
	first, rest, _ := strings.Cut(outputs, "\n")
	end, ok := strings.CutPrefix(first, "agent_output<<")
	assert.Assert(t, ok && len(end) > 30, outputs)
	text, after, ok := strings.Cut(rest, "\n"+end+"\n")
	assert.Assert(t, ok && after == "", outputs)
	return text
}

// TestAction: the agent's words are the output, its end is the step's, and the
// server has the runs.
func TestAction(t *testing.T) {
	s := servertest.New(t, filepath.Join(bin, "ozd"), servertest.Talker(filepath.Join(t.TempDir(), "release")))
	s.Start()
	key, _, err := s.Client().CreateKey(t.Context(), access.KeySpec{Name: "ci", Type: access.KeyTeam})
	assert.NilError(t, err)
	env := func(more ...string) []string {
		return append([]string{"WARP_API_KEY=" + key, "WARP_SERVER_ROOT_URL=" + s.URL}, more...)
	}
	code, out, outputs := step(t, "run.sh", nil, env("OZ_PROMPT=greet us; $(touch /tmp/x) `id`", "OZ_CWD=.", "OZ_NAME=ci", "OZ_SHARE=team")...)
	assert.Equal(t, code, 0, out)
	assert.Assert(t, strings.Contains(output(t, outputs), "hello from the agent"), outputs)
	assert.Assert(t, !strings.Contains(out+outputs, key))

	code, out, outputs = step(t, "run.sh", nil, env("OZ_PROMPT=refuse it", "OZ_OUTPUT_FORMAT=ndjson")...)
	assert.Equal(t, code, 1, out)
	assert.Assert(t, output(t, outputs) != "")

	code, out, outputs = step(t, "run.sh", nil, env("OZ_PROMPT=greet us", "OZ_CLOUD=true", "OZ_CWD=.")...)
	assert.Equal(t, code, 0, out)
	assert.Assert(t, strings.Contains(output(t, outputs), "hello from the agent"), outputs)

	page, err := s.Client().List(t.Context(), task.Query{Sort: task.SortCreatedAt, Asc: true})
	assert.NilError(t, err)
	assert.Equal(t, len(page.Tasks), 3)
	first := page.Tasks[0]
	assert.Equal(t, first.Source, task.SourceGitHubAction)
	assert.Equal(t, first.Prompt, "greet us; $(touch /tmp/x) `id`")
	assert.Equal(t, first.Config.Name, "ci")
	assert.Equal(t, page.Tasks[1].State, task.StateFailed)
}

func TestBadInputs(t *testing.T) {
	for _, c := range []struct {
		path string
		args []string
		env  []string
		want string
	}{
		{"run.sh", nil, []string{"WARP_SERVER_ROOT_URL=x", "OZ_PROMPT=x"}, "WARP_API_KEY: is needed"},
		{"run.sh", nil, []string{"WARP_API_KEY=x", "OZ_PROMPT=x"}, "WARP_SERVER_ROOT_URL: is needed"},
		{"run.sh", nil, []string{"WARP_API_KEY=x", "WARP_SERVER_ROOT_URL=x"}, "prompt, saved_prompt or skill is needed"},
		{"run.sh", nil, []string{"WARP_API_KEY=x", "WARP_SERVER_ROOT_URL=x", "OZ_PROMPT=x", "OZ_HOST=h"}, "only with cloud"},
		{"run.sh", nil, []string{"WARP_API_KEY=x", "WARP_SERVER_ROOT_URL=x", "OZ_PROMPT=x", "OZ_CLOUD=true", "OZ_CWD=sub"}, "no meaning with cloud"},
		{"install.sh", []string{"resolve"}, []string{"OZ_CHANNEL=nightly"}, "neither stable nor preview"},
		{"install.sh", []string{"resolve"}, []string{"OZ_VERSION=v1; rm -rf /"}, "is no release"},
		{"install.sh", nil, nil, "usage"},
	} {
		code, out, outputs := step(t, c.path, c.args, c.env...)
		assert.Assert(t, code != 0 && strings.Contains(out, c.want) && outputs == "", "%v: %s", c, out)
	}
	code, out, outputs := step(t, "install.sh", []string{"resolve"}, "OZ_VERSION=v1.2.3")
	assert.Equal(t, code, 0, out)
	assert.Equal(t, outputs, "version=v1.2.3\n")
}

// TestDefinition: every input that the Oz platform names is there and reaches a
// program, and none stands in a line of shell.
func TestDefinition(t *testing.T) {
	raw, err := os.ReadFile("action.yml")
	assert.NilError(t, err)
	var action struct {
		Name, Description string
		Inputs            map[string]struct {
			Description, Default string
			Required             bool
		}
		Outputs map[string]struct{ Description, Value string }
		Runs    struct {
			Using string
			Steps []struct {
				ID, If, Uses, Shell, Run string
				Env, With                map[string]string
			}
		}
	}
	assert.NilError(t, yaml.UnmarshalWithOptions(raw, &action, yaml.DisallowUnknownField()))
	used := map[string]bool{}
	variables := map[string]bool{}
	for _, s := range action.Runs.Steps {
		assert.Assert(t, !strings.Contains(s.Run, "${{"), "an expression in a line of shell is an injection: %s", s.Run)
		for name, value := range s.Env {
			variables[name] = true
			if input, ok := strings.CutPrefix(value, "${{ inputs."); ok {
				used[strings.TrimSuffix(input, " }}")] = true
			}
		}
	}
	for _, name := range []string{"prompt", "saved_prompt", "skill", "model", "name", "mcp", "cwd", "profile", "output_format", "warp_api_key", "share", "debug",
		"oz_channel", "oz_version", "cloud", "host", "environment", "computer_use", "server"} {
		in, ok := action.Inputs[name]
		assert.Assert(t, ok && in.Description != "" && used[name], name)
	}
	assert.Equal(t, action.Outputs["agent_output"].Value, "${{ steps.run.outputs.agent_output }}")
	program, err := os.ReadFile("run.sh")
	assert.NilError(t, err)
	for name := range variables {
		install := name == "OZ_CHANNEL" || name == "OZ_VERSION"
		assert.Assert(t, install || strings.Contains(string(program), "${"+name), name)
	}
}

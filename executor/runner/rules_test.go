package runner_test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"gotest.tools/v3/assert"
	is "gotest.tools/v3/assert/cmp"

	"github.com/oz-platform/cloudagents/environment"
	"github.com/oz-platform/cloudagents/executor/harness"
	"github.com/oz-platform/cloudagents/executor/runner"
	"github.com/oz-platform/cloudagents/oz"
	"github.com/oz-platform/cloudagents/task"
)

// notices lists what the log tells people.
func notices(events []task.Event) []string {
	var out []string
	for _, n := range payloads[*task.Notice](events) {
		out = append(out, n.Text)
	}
	return out
}

// TestRulesReachTheAgent: the base prompt, the owner's rules, those at the top
// of the repository and in the working directory reach the agent in the order
// of their strength, and the log names them.
func TestRulesReachTheAgent(t *testing.T) {
	files := map[string]string{"greeting.txt": "helo world\n", "check.sh": greeting["check.sh"],
		"AGENTS.md": "RULE-AGENTS", "WARP.md": "RULE-TOP", "sub/AGENTS.md": "RULE-SUB\n" + strings.Repeat("more\n", 2<<20)}
	r := newRig(t, setup{script: mender(), files: files})
	_, err := r.CreateRule(t.Context(), oz.RuleInput{Name: "style", Rule: "RULE-STYLE"})
	assert.NilError(t, err)
	_, err = r.CreateRule(t.Context(), oz.RuleInput{Name: "answers", Rule: "RULE-ANSWERS"})
	assert.NilError(t, err)
	id := r.submit(oz.Request{Prompt: prompt, Config: task.Config{EnvironmentID: r.environment(nil), BasePrompt: "BASE-PROMPT"}})
	run, events := r.finish(id)
	assert.Equal(t, run.State, task.StateSucceeded, describe(events))
	system := r.model.Requests()[0].System
	at := -1
	for _, text := range []string{"BASE-PROMPT", "RULE-ANSWERS", "RULE-STYLE", "RULE-TOP"} {
		i := strings.Index(system, text)
		assert.Assert(t, i > at, "%s at %d:\n%s", text, i, system)
		at = i
	}
	assert.Assert(t, !strings.Contains(system, "RULE-AGENTS"), "WARP.md wins")
	assert.Assert(t, !strings.Contains(system, "RULE-SUB"), "nobody works there")
	assert.Assert(t, is.Contains(notices(events), "Rules: answers, style, greeting/WARP.md"))
}

// instructed keeps what its agent was told, and reads AGENTS.md by itself.
type instructed struct{ told chan string }

func (i instructed) ReadsRules() []string { return []string{"AGENTS.md"} }

func (i instructed) Run(ctx context.Context, s *harness.Session) (harness.Outcome, error) {
	i.told <- s.Instructions
	out := harness.Outcome{State: task.StateFailed, Status: task.Status{Message: "enough"}}
	inputs, err := s.Journal.Inputs(ctx, 0)
	for _, e := range inputs {
		out.SeenInput = e.Seq
	}
	return out, err
}

// TestRulesAreNotGivenTwice: an agent that reads a file by itself is told of
// the others alone; a huge file and a link out of the tree have their outcome.
func TestRulesAreNotGivenTwice(t *testing.T) {
	spy := instructed{make(chan string, 2)}
	dir := t.TempDir()
	outside := filepath.Join(dir, "secret")
	assert.NilError(t, os.WriteFile(outside, []byte("RULE-OUTSIDE"), 0o644))
	r := newRig(t, setup{script: mender(), files: map[string]string{"AGENTS.md": "RULE-AGENTS"},
		runner: func(o *runner.Options) { o.Harnesses = map[string]harness.Harness{"oz": spy} }})
	_, err := r.CreateRule(t.Context(), oz.RuleInput{Name: "style", Rule: "RULE-STYLE"})
	assert.NilError(t, err)
	told := func(env string) (string, string) {
		_, events := r.do(prompt, env)
		assert.Assert(t, len(spy.told) > 0, "no agent was started: %s", describe(events))
		return <-spy.told, strings.Join(notices(events), "\n")
	}
	text, said := told(r.environment(nil))
	assert.Assert(t, is.Contains(text, "RULE-STYLE"))
	assert.Assert(t, !strings.Contains(text, "RULE-AGENTS"), "read by the agent itself")
	assert.Equal(t, said, "Rules: style")

	r.makeRemote(filepath.Join(r.dir, "other.git"), map[string]string{"AGENTS.md": "RULE-OTHER\n" + strings.Repeat("more\n", 2<<20)})
	text, said = told(r.environment(func(c *environment.Config) {
		c.Name = "both"
		c.Repos = append(c.Repos, environment.Repo{Owner: "demo", Name: "other", URL: "file://" + filepath.Join(r.dir, "other.git")})
		c.SetupCommands = []string{"ln -s " + outside + " greeting/WARP.md"}
	}))
	assert.Assert(t, is.Contains(text, "RULE-AGENTS"), "not above the working directory")
	assert.Assert(t, is.Contains(text, "RULE-OTHER"))
	assert.Assert(t, len(text) < 40<<10, "%d bytes", len(text))
	assert.Assert(t, !strings.Contains(text, "RULE-OUTSIDE"))
	assert.Assert(t, is.Contains(said, "A rule file was left out: greeting/WARP.md: is a link that leads out of the workspace."))
	assert.Assert(t, is.Contains(said, "other/AGENTS.md (only the first"))
}

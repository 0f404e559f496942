package runner_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"gotest.tools/v3/assert"
	is "gotest.tools/v3/assert/cmp"

	"github.com/oz-platform/cloudagents/environment"
	"github.com/oz-platform/cloudagents/executor/gateway/scripted"
	"github.com/oz-platform/cloudagents/executor/runner"
	"github.com/oz-platform/cloudagents/task"
)

func skillText(name, body string) string {
	return "---\nname: " + name + "\ndescription: Knows about " + name + "\n---\n" + body + "\n"
}

// TestSkillsAtHand: the agent is told of the skills of its home, of the named
// directories and of all repositories, and reads them, with what lies beside
// them, when it needs them.
func TestSkillsAtHand(t *testing.T) {
	home, more := t.TempDir(), t.TempDir()
	put := func(path, text string) {
		t.Helper()
		assert.NilError(t, os.MkdirAll(filepath.Dir(path), 0o755))
		assert.NilError(t, os.WriteFile(path, []byte(text), 0o644))
	}
	put(filepath.Join(home, ".claude/skills/mine/SKILL.md"), skillText("mine", "Mine."))
	put(filepath.Join(more, "extra/SKILL.md"), skillText("extra", "Extra."))
	files := map[string]string{"greeting.txt": "helo world\n", "check.sh": greeting["check.sh"],
		".agents/skills/release/SKILL.md": skillText("release", "Release $0 by checklist.txt."), ".agents/skills/release/checklist.txt": "the tests are green\n",
		".claude/skills/broken/SKILL.md": "no front matter", ".claude/skills/huge/SKILL.md": skillText("huge", strings.Repeat("more\n", 2<<20))}
	script := scripted.Script{Steps: []scripted.Step{
		call("read_skill", object{"skill": "release"}),
		call("read_skill", object{"skill": "greeting:release", "arguments": "v2"}),
		call("read_skill", object{"skill": "greeting:release", "file": "checklist.txt"}),
		call("read_skill", object{"skill": "greeting:release", "file": "../../../.git/config"}),
		call("read_skill", object{"skill": "mine"}),
		call("read_skill", object{"skill": "demo/other:release"}),
		call("list_skills", object{"query": "RELEASE"}),
		call("list_skills", object{"query": ".claude", "include_malformed": true, "refresh": true}),
		finish("Read."),
	}}
	r := newRig(t, setup{script: script, files: files, runner: func(o *runner.Options) {
		o.Environ = append(os.Environ(), "HOME="+home, "WARP_SKILL_DIRS="+more)
	}})
	r.makeRemote(filepath.Join(r.dir, "other.git"), map[string]string{".github/skills/release/SKILL.md": skillText("release", "The other release.")})
	run, events := r.do(prompt, r.environment(func(c *environment.Config) {
		c.Repos = append(c.Repos, environment.Repo{Owner: "demo", Name: "other", URL: "file://" + filepath.Join(r.dir, "other.git")})
	}))
	assert.Equal(t, run.State, task.StateSucceeded, describe(events))
	system := r.model.Requests()[0].System
	for _, line := range []string{"- mine: Knows about mine", "- extra: ", "- greeting:release: ", "- other:release: "} {
		assert.Assert(t, is.Contains(system, line))
	}
	assert.Assert(t, !strings.Contains(system, "broken") && !strings.Contains(system, "huge"), system)
	var answers []string
	for _, res := range payloads[*task.ToolResult](events) {
		if strings.HasSuffix(res.Name, "_skill") || strings.HasSuffix(res.Name, "_skills") {
			answers = append(answers, res.Content)
		}
	}
	all := strings.Join(answers, "\n---\n")
	for _, text := range []string{"several skills, say which: greeting:release, other:release", "Release v2 by checklist.txt.", "Beside it: checklist.txt",
		"the tests are green", "Mine.", "The other release.", "must begin with front matter", "has more than 131072 bytes", "must be a path below the skill's directory"} {
		assert.Assert(t, is.Contains(all, text))
	}
}

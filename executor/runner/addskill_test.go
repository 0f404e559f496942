package runner_test

import (
	"testing"

	"gotest.tools/v3/assert"
	is "gotest.tools/v3/assert/cmp"

	"github.com/oz-platform/cloudagents/environment/skill/bundled"
	"github.com/oz-platform/cloudagents/environment/skill/skillmd"
	"github.com/oz-platform/cloudagents/oz"
	"github.com/oz-platform/cloudagents/task"
)

// TestSkillIsAdded: a run of the skill that came with the server for it is told
// how, and leaves a branch with a skill that can be read.
func TestSkillIsAdded(t *testing.T) {
	skills, err := bundled.Skills()
	assert.NilError(t, err)
	const path, on = ".agents/skills/cut-release/SKILL.md", "skill/cut-release"
	const check = "grep name: " + path
	r := newRig(t, setup{platform: func(o *oz.Options) { o.Suggested = skills }, script: play(
		call("write_file", object{"path": path, "content": skillText("cut-release", "1. Run `sh check.sh`.")}),
		command(check),
		call("git_commit", object{"message": "Add the skill cut-release", "branch": on}),
		call("git_push", object{}),
		call("finish", object{"outcome": "success", "summary": "The skill cut-release is on its branch.", "verification": []string{check}}),
	)})
	config := task.Config{EnvironmentID: r.environment(nil)}
	run, events := r.finish(r.submit(oz.Request{Skill: "add-skill", Prompt: "Cut a release as we do.", Config: config}))
	assert.Equal(t, run.State, task.StateSucceeded, describe(events))
	assert.Equal(t, run.Config.Name, "add-skill")
	assert.Assert(t, is.Contains(r.model.Requests()[0].System, "What the skill is to do: Cut a release as we do."))
	got := skillmd.Parse(skillmd.File{Path: path, Data: []byte(r.git(r.remote, "show", on+":"+path))})
	assert.Equal(t, got.Malformed, "")
	assert.Equal(t, got.Name, "cut-release")
	assert.Equal(t, r.git(r.remote, "diff", "--name-only", "main", on), path)
}

package oz_test

import (
	"strings"
	"testing"

	"gotest.tools/v3/assert"

	"github.com/oz-platform/cloudagents/environment"
	"github.com/oz-platform/cloudagents/environment/skill/bundled"
	"github.com/oz-platform/cloudagents/environment/skill/gitskills"
	"github.com/oz-platform/cloudagents/oz"
	"github.com/oz-platform/cloudagents/task"
)

const fixTest = "oz/bundled:fix-failing-test/SKILL.md"

// TestBundledSkills: they are in everybody's list, run by their names like any
// other, and give way to a repository's own.
func TestBundledSkills(t *testing.T) {
	skills, err := bundled.Skills()
	assert.NilError(t, err)
	f := forge{t: t, dir: t.TempDir()}
	source, err := gitskills.Open(t.Context(), t.TempDir(), nil)
	assert.NilError(t, err)
	defer source.Close()
	p, _ := newPlatform(t, &oz.Options{RepositoryBase: f.base(), Skills: source, Suggested: skills})
	f.push("acme/app", map[string]string{".agents/skills/triage-issue/SKILL.md": skillFile("triage-issue", "Our own way.")})
	who := people(t, p)
	env, err := who["ann"].CreateEnvironment(t.Context(), environment.Config{Name: "shop", Repos: []environment.Repo{{Owner: "acme", Name: "app"}}}, nil)
	assert.NilError(t, err)

	l, err := who["ann"].Skills(t.Context(), oz.SkillQuery{})
	assert.NilError(t, err)
	assert.Equal(t, len(l.Skills), 6)
	assert.Equal(t, l.Skills[1].Name, "fix-failing-test")
	assert.Equal(t, l.Skills[1].Variants[0].ID, fixTest)
	assert.Assert(t, l.Skills[1].Variants[0].Suggested)
	assert.Equal(t, l.Skills[4].Name, "triage-issue")
	assert.Equal(t, len(l.Skills[4].Variants), 2)
	l, err = who["ann"].Skills(t.Context(), oz.SkillQuery{Repo: "acme/app"})
	assert.NilError(t, err)
	assert.Equal(t, shown(l), "triage-issue=acme/app:.agents/skills/triage-issue/SKILL.md", "of one repository only its own")

	for _, spec := range []string{"fix-failing-test", "bundled:fix-failing-test", "oz/bundled:fix-failing-test", fixTest} {
		run := submit(t, who["ann"], oz.Request{Skill: spec, Prompt: "TestCheckout on main", Config: task.Config{EnvironmentID: env.UID}})
		assert.Equal(t, run.Config.Name, "fix-failing-test")
		assert.Equal(t, run.Config.SkillSpec, fixTest)
		assert.Equal(t, run.Skill.BundledID, "fix-failing-test")
		assert.Equal(t, run.Skill.Path, "")
		assert.Assert(t, strings.Contains(run.Config.BasePrompt, "failure: TestCheckout on main"), run.Config.BasePrompt)
		assert.Assert(t, !strings.Contains(string(run.Environment), "bundled"), "nothing is cloned: %s", run.Environment)
	}
	l, err = who["ann"].Skills(t.Context(), oz.SkillQuery{ByLastRun: true})
	assert.NilError(t, err)
	assert.Equal(t, l.Skills[0].Name, "fix-failing-test")

	own := submit(t, who["ann"], oz.Request{Skill: "triage-issue", Config: task.Config{EnvironmentID: env.UID}})
	assert.Equal(t, own.Skill.Path, "acme/app/.agents/skills/triage-issue/SKILL.md")
	err = submitError(t, who["ann"], oz.Request{Skill: "oz/bundled:none"})
	assert.Equal(t, task.CodeOf(err), task.CodeNotFound, "%v", err)
	agent, err := who["ann"].CreateAgent(t.Context(), oz.AgentInput{Name: ptr("triage"), Skills: &[]string{"oz/bundled:triage-issue/SKILL.md"}})
	assert.NilError(t, err)
	run := submit(t, who["ann"], oz.Request{AgentIdentityUID: agent.UID, Prompt: "issue 7"})
	assert.Equal(t, run.Skill.BundledID, "triage-issue")
}

// TestBundledSkillsNeedNoSource of others.
func TestBundledSkillsNeedNoSource(t *testing.T) {
	skills, err := bundled.Skills()
	assert.NilError(t, err)
	p, _ := newPlatform(t, &oz.Options{Suggested: skills})
	l, err := p.Skills(t.Context(), oz.SkillQuery{})
	assert.NilError(t, err)
	assert.Equal(t, len(l.Skills), 6)
	run := submit(t, p, oz.Request{Skill: "refresh-documentation"})
	assert.Equal(t, run.Config.Name, "refresh-documentation")
	err = submitError(t, p, oz.Request{Skill: "none"})
	assert.Equal(t, task.CodeOf(err), task.CodeFeatureNotAvailable)
}

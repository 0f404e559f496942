package oz_test

import (
	"strings"
	"testing"

	"gotest.tools/v3/assert"

	"github.com/oz-platform/cloudagents/oz"
	"github.com/oz-platform/cloudagents/task"
)

// TestAgentSkillsAreLookedFor saves skills that are there, and refuses those
// that are not; runs of the agent are told what they say.
func TestAgentSkillsAreLookedFor(t *testing.T) {
	_, _, who, env := shop(t)
	ctx := t.Context()
	agent, err := who["bob"].CreateAgent(ctx, oz.AgentInput{Name: ptr("Deployer"), EnvironmentID: &env.UID,
		Skills: &[]string{"acme/app:./.claude/skills/deploy/SKILL.md"}})
	assert.NilError(t, err)
	assert.DeepEqual(t, agent.Config.Skills, []string{"acme/app:.claude/skills/deploy/SKILL.md"})
	for _, spec := range []string{"acme/app:.claude/skills/none/SKILL.md", "acme/nothing:.claude/skills/deploy/SKILL.md"} {
		_, err := who["bob"].UpdateAgent(ctx, agent.UID, oz.AgentInput{Skills: &[]string{spec}})
		assert.ErrorIs(t, err, task.ErrInvalid)
		assert.Assert(t, strings.HasPrefix(err.(*task.Error).Field, "skills[0]"), "%v", err)
	}
	run := submit(t, who["bob"], oz.Request{Prompt: "now", AgentIdentityUID: agent.UID})
	assert.Equal(t, run.Origins["skills"], "agent")
	assert.DeepEqual(t, run.Config.Skills, agent.Config.Skills)
	assert.Assert(t, strings.Contains(run.Config.BasePrompt, "then report."), run.Config.BasePrompt)
}

package e2e_test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"gotest.tools/v3/assert"

	"github.com/oz-platform/cloudagents/executor/gateway/scripted"
	"github.com/oz-platform/cloudagents/oz"
	"github.com/oz-platform/cloudagents/task"
)

// TestSkillRun carries out a skill by its name alone: the model gets its text,
// and the agent the files beside it.
func TestSkillRun(t *testing.T) {
	t.Parallel()
	const look = "cat $(find . -name checklist.txt)"
	r := newRig(t, scripted.Script{Steps: []scripted.Step{
		{ToolCalls: []scripted.ToolCall{{Name: "run_command", Input: map[string]any{"command": look}}}},
		{ToolCalls: []scripted.ToolCall{{Name: "finish", Input: map[string]any{"outcome": "success", "summary": "Checked.", "verification": []string{look}}}}},
	}})
	forge := filepath.Join(r.dir, "forge")
	r.configure("repository_base: file://" + forge + "\n")
	repo := filepath.Join(forge, "acme", "app")
	dir := filepath.Join(repo, ".agents", "skills", "release-check")
	assert.NilError(t, os.MkdirAll(dir, 0o755))
	assert.NilError(t, os.WriteFile(filepath.Join(dir, "SKILL.md"), []byte("---\nname: release-check\ndescription: Checks a release\n---\nGo through checklist.txt.\n"), 0o644))
	assert.NilError(t, os.WriteFile(filepath.Join(dir, "checklist.txt"), []byte("the tests are green\n"), 0o644))
	git(t, repo, "init", "-q", "-b", "main")
	git(t, repo, "add", "-A")
	git(t, repo, "-c", "user.name=T", "-c", "user.email=t@example.com", "commit", "-qm", "Start")
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	r.serve()

	run, events := r.await(ctx, r.submit(ctx, oz.Request{Skill: "acme/app:release-check"}))
	assert.Equal(t, run.State, task.StateSucceeded, "%s", run.Status.Message)
	assert.Equal(t, run.Skill.Name, "release-check")
	seen := ""
	for _, e := range events {
		if result, ok := e.Payload.(*task.ToolResult); ok {
			seen += result.Content
		}
	}
	assert.Assert(t, strings.Contains(seen, "the tests are green"), seen)
	requests := r.model.Requests()
	assert.Assert(t, len(requests) > 0)
	assert.Assert(t, strings.Contains(requests[0].System, "Go through checklist.txt."), requests[0].System)
	r.checkQuiet(ctx)
}

package rest_test

import (
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	"gotest.tools/v3/assert"

	"github.com/oz-platform/cloudagents/environment"
	"github.com/oz-platform/cloudagents/environment/skill/gitskills"
	"github.com/oz-platform/cloudagents/oz"
	"github.com/oz-platform/cloudagents/task"
	"github.com/oz-platform/cloudagents/transport/client"
	"github.com/oz-platform/cloudagents/transport/internal/transporttest"
)

// repository makes a git repository with files at dir.
func repository(t *testing.T, dir string, files map[string]string) {
	t.Helper()
	for name, text := range files {
		path := filepath.Join(dir, name)
		assert.NilError(t, os.MkdirAll(filepath.Dir(path), 0o755))
		assert.NilError(t, os.WriteFile(path, []byte(text), 0o644))
	}
	for _, args := range [][]string{{"init", "-q", "-b", "main"}, {"add", "-A"}, {"commit", "-qm", "x"}} {
		cmd := exec.Command("git", args...)
		cmd.Dir = dir
		cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=/nonexistent", "GIT_CONFIG_NOSYSTEM=1",
			"GIT_AUTHOR_NAME=A", "GIT_AUTHOR_EMAIL=a@example.com", "GIT_COMMITTER_NAME=A", "GIT_COMMITTER_EMAIL=a@example.com"}
		out, err := cmd.CombinedOutput()
		assert.NilError(t, err, "%s", out)
	}
}

// TestSkillsOverHTTP lists skills as the wire has them and runs one.
func TestSkillsOverHTTP(t *testing.T) {
	forge := t.TempDir()
	repository(t, filepath.Join(forge, "acme", "app"), map[string]string{
		".claude/skills/deploy/SKILL.md": "---\nname: deploy\ndescription: Ships it\n---\nDeploy $ARGUMENTS.\n",
		".warp/skills/bad/SKILL.md":      "nothing",
	})
	source, err := gitskills.Open(t.Context(), t.TempDir(), nil)
	assert.NilError(t, err)
	t.Cleanup(func() { assert.Check(t, source.Close()) })
	e := transporttest.Start(t, &transporttest.Options{Idle: true, Platform: oz.Options{Skills: source, RepositoryBase: "file://" + forge}})
	c, err := client.New(e.URL, &client.Options{APIKey: transporttest.AdminKey})
	assert.NilError(t, err)
	env, err := c.CreateEnvironment(t.Context(), environment.Config{Name: "shop",
		Repos: []environment.Repo{{Owner: "acme", Name: "app"}, {Owner: "acme", Name: "gone"}}}, nil)
	assert.NilError(t, err)

	var got map[string]any
	e.Call(transporttest.AdminKey, http.MethodGet, "/agent", nil).JSON(e, &got)
	unreachable, _ := got["unreachable"].([]any)
	assert.Equal(t, len(unreachable), 1)
	delete(got, "unreachable")
	want := map[string]any{"agents": []any{map[string]any{"name": "deploy", "variants": []any{map[string]any{
		"id": "acme/app:.claude/skills/deploy/SKILL.md", "description": "Ships it", "base_prompt": "Deploy $ARGUMENTS.",
		"source":       map[string]any{"owner": "acme", "name": "app", "skill_path": ".claude/skills/deploy/SKILL.md"},
		"environments": []any{map[string]any{"uid": env.UID, "name": "shop"}},
	}}}}}
	assert.Assert(t, cmp.Equal(got, want), cmp.Diff(want, got))

	run, err := c.Submit(t.Context(), oz.Request{Skill: "acme/app:deploy", Prompt: "to staging"})
	assert.NilError(t, err)
	a := e.Call(transporttest.AdminKey, http.MethodGet, "/agent/runs/"+string(run.ID), nil)
	a.JSON(e, &got)
	assert.DeepEqual(t, got["agent_skill"], map[string]any{"name": "deploy", "description": "Ships it", "full_path": "acme/app/.claude/skills/deploy/SKILL.md"})
	config, _ := got["agent_config"].(map[string]any)
	assert.Equal(t, config["skill_spec"], "acme/app:.claude/skills/deploy/SKILL.md")
	assert.Equal(t, config["name"], "deploy")
	inside, err := e.Platform.Get(t.Context(), run.ID)
	assert.NilError(t, err)
	assert.DeepEqual(t, run.Skill, inside.Skill)

	list, err := c.Skills(t.Context(), oz.SkillQuery{Repo: "acme/app", Malformed: true, ByLastRun: true, Refresh: true})
	assert.NilError(t, err)
	assert.Equal(t, len(list.Skills), 2)
	assert.Equal(t, list.Skills[0].Name, "deploy")
	assert.Assert(t, list.Skills[0].Variants[0].LastRunAt.Equal(run.CreatedAt))
	assert.Assert(t, list.Skills[1].Variants[0].Error != "")

	for _, tt := range []struct {
		query  string
		status int
		code   task.Code
		field  string
	}{
		{"repo=nonsense", 400, task.CodeInvalidRequest, "repo"},
		{"repo=a/../b", 400, task.CodeInvalidRequest, "repo"},
		{"repo=https://example.com/a/b", 400, task.CodeInvalidRequest, "repo"},
		{"sort_by=age", 400, task.CodeInvalidRequest, "sort_by"},
		{"refresh=perhaps", 400, task.CodeInvalidRequest, "refresh"},
		{"repo=acme/gone", 404, task.CodeNotFound, "repo"},
		{"repo=acme/app&sort_by=&refresh=", 200, "", ""},
	} {
		a := e.Call(transporttest.AdminKey, http.MethodGet, "/agent?"+tt.query, nil)
		assert.Equal(t, a.Status, tt.status, "%s: %s", tt.query, a.Body)
		assert.Equal(t, a.Code(), tt.code)
		field, _ := a.Problem()["field"].(string)
		assert.Equal(t, field, tt.field, tt.query)
	}
	a = e.Call(e.Outsider, http.MethodGet, "/agent", nil)
	assert.Equal(t, string(a.Body), "{\"agents\":[]}\n")
	a = e.Call(transporttest.AdminKey, http.MethodPost, "/agent/runs", `{"skill":"acme/app:none"}`)
	assert.Equal(t, a.Status, http.StatusNotFound)
	assert.Equal(t, a.Problem()["field"], any("skill"))
}

package oz_test

import (
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"gotest.tools/v3/assert"

	"github.com/oz-platform/cloudagents/environment"
	"github.com/oz-platform/cloudagents/environment/skill/gitskills"
	"github.com/oz-platform/cloudagents/oz"
	"github.com/oz-platform/cloudagents/task"
)

// forge is a directory of real repositories, owner/name each.
type forge struct {
	t   testing.TB
	dir string
}

// base is where the platform finds them.
func (f forge) base() string { return "file://" + f.dir }

func (f forge) git(dir string, args ...string) {
	f.t.Helper()
	cmd := exec.Command("git", args...)
	cmd.Dir = dir
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=/nonexistent", "GIT_CONFIG_NOSYSTEM=1",
		"GIT_AUTHOR_NAME=A", "GIT_AUTHOR_EMAIL=a@example.com", "GIT_COMMITTER_NAME=A", "GIT_COMMITTER_EMAIL=a@example.com"}
	out, err := cmd.CombinedOutput()
	assert.NilError(f.t, err, "%s", out)
}

// push puts files into a repository, which is made if it is not there.
func (f forge) push(repo string, files map[string]string) {
	f.t.Helper()
	dir := filepath.Join(f.dir, repo)
	if _, err := os.Stat(dir); err != nil {
		assert.NilError(f.t, os.MkdirAll(dir, 0o755))
		f.git(dir, "init", "-q", "-b", "main")
	}
	for name, text := range files {
		path := filepath.Join(dir, name)
		assert.NilError(f.t, os.MkdirAll(filepath.Dir(path), 0o755))
		assert.NilError(f.t, os.WriteFile(path, []byte(text), 0o644))
	}
	f.git(dir, "add", "-A")
	f.git(dir, "commit", "-qm", "x")
}

func skillFile(name, body string) string {
	return "---\nname: " + name + "\ndescription: does " + name + "\n---\n" + body + "\n"
}

// withSkills makes a platform that finds skills in a forge.
func withSkills(t *testing.T) (*oz.Platform, forge) {
	t.Helper()
	f := forge{t: t, dir: t.TempDir()}
	source, err := gitskills.Open(t.Context(), t.TempDir(), nil)
	assert.NilError(t, err)
	t.Cleanup(func() { assert.Check(t, source.Close()) })
	p, _ := newPlatform(t, &oz.Options{RepositoryBase: f.base(), Skills: source})
	return p, f
}

// shop has the repositories acme/app and acme/lib with skills, and an
// environment of ann's team with both.
func shop(t *testing.T) (p *oz.Platform, f forge, who map[string]*oz.Client, env environment.Environment) {
	t.Helper()
	p, f = withSkills(t)
	f.push("acme/app", map[string]string{
		".claude/skills/deploy/SKILL.md": skillFile("deploy", "Deploy $0, then report."),
		".warp/skills/review/SKILL.md":   skillFile("review", "Review the change."),
		".warp/skills/bad/SKILL.md":      "no front matter",
	})
	f.push("acme/lib", map[string]string{".agents/skills/review/SKILL.md": skillFile("review", "Review the library.")})
	who = people(t, p)
	env, err := who["ann"].CreateEnvironment(t.Context(), environment.Config{Name: "shop",
		Repos: []environment.Repo{{Owner: "acme", Name: "app"}, {Owner: "acme", Name: "lib"}}}, nil)
	assert.NilError(t, err)
	return p, f, who, env
}

func shown(l oz.SkillList) string {
	var all []string
	for _, s := range l.Skills {
		for _, v := range s.Variants {
			all = append(all, s.Name+"="+v.ID)
		}
	}
	return strings.Join(all, " ")
}

func TestSkillsAreListed(t *testing.T) {
	p, f, who, env := shop(t)
	ctx := t.Context()
	list := func(name string, q oz.SkillQuery) oz.SkillList {
		t.Helper()
		l, err := who[name].Skills(ctx, q)
		assert.NilError(t, err)
		return l
	}
	const all = "deploy=acme/app:.claude/skills/deploy/SKILL.md review=acme/app:.warp/skills/review/SKILL.md review=acme/lib:.agents/skills/review/SKILL.md"
	l := list("bob", oz.SkillQuery{})
	assert.Equal(t, shown(l), all)
	v := l.Skills[0].Variants[0]
	assert.Equal(t, v.BasePrompt, "Deploy $0, then report.")
	assert.Equal(t, v.Owner+" "+v.Repo+" "+v.Path+" "+v.Description, "acme app .claude/skills/deploy/SKILL.md does deploy")
	assert.DeepEqual(t, v.Environments, []oz.EnvironmentRef{{UID: env.UID, Name: "shop"}})
	assert.Assert(t, v.LastRunAt.IsZero())
	assert.Equal(t, shown(list("cid", oz.SkillQuery{})), "", "of other teams nothing is seen")

	malformed := list("bob", oz.SkillQuery{Malformed: true})
	assert.Equal(t, malformed.Skills[0].Name, "bad")
	assert.Assert(t, strings.Contains(malformed.Skills[0].Variants[0].Error, "front matter"))
	assert.Equal(t, shown(list("bob", oz.SkillQuery{Repo: "acme/LIB"})), "review=acme/lib:.agents/skills/review/SKILL.md")
	_, err := who["bob"].Skills(ctx, oz.SkillQuery{Repo: "nonsense"})
	assert.ErrorContains(t, err, "repo: must be owner/repo")
	_, err = who["bob"].Skills(ctx, oz.SkillQuery{Repo: "acme/none"})
	assert.ErrorIs(t, err, task.ErrNotFound)

	run := submit(t, who["ann"], oz.Request{Skill: "acme/lib:review", Config: task.Config{EnvironmentID: env.UID}})
	l = list("bob", oz.SkillQuery{ByLastRun: true})
	assert.Equal(t, shown(l), "review=acme/lib:.agents/skills/review/SKILL.md review=acme/app:.warp/skills/review/SKILL.md deploy=acme/app:.claude/skills/deploy/SKILL.md")
	assert.Assert(t, l.Skills[0].Variants[0].LastRunAt.Equal(run.CreatedAt))

	f.push("acme/lib", map[string]string{".agents/skills/test/SKILL.md": skillFile("test", "Test.")})
	assert.Equal(t, len(list("bob", oz.SkillQuery{}).Skills), 2)
	assert.Equal(t, len(list("bob", oz.SkillQuery{Refresh: true}).Skills), 3)
	_ = p
}

// TestUnreachableRepositoriesAreTold, and hide no others.
func TestUnreachableRepositoriesAreTold(t *testing.T) {
	_, _, who, _ := shop(t)
	_, err := who["ann"].CreateEnvironment(t.Context(), environment.Config{Name: "gone", Repos: []environment.Repo{{Owner: "acme", Name: "gone"}}}, nil)
	assert.NilError(t, err)
	l, err := who["bob"].Skills(t.Context(), oz.SkillQuery{})
	assert.NilError(t, err)
	assert.Equal(t, len(l.Skills), 2)
	assert.Equal(t, len(l.Unreachable), 1)
	assert.Equal(t, l.Unreachable[0].Repository, "acme/gone")
	assert.Equal(t, l.Unreachable[0].Code, task.CodeNotFound)
	assert.Assert(t, strings.Contains(l.Unreachable[0].Message, "acme/gone"), l.Unreachable[0].Message)
}

// TestSkillBecomesTheRun: its text, its name, its first message, and its
// repository.
func TestSkillBecomesTheRun(t *testing.T) {
	p, _, who, env := shop(t)
	ctx := t.Context()
	run := submit(t, who["bob"], oz.Request{Skill: "app:deploy", Prompt: "staging now", Config: task.Config{
		EnvironmentID: env.UID, BasePrompt: "Be brief.", Skills: []string{"lib:review", "acme/app:.claude/skills/deploy"}}})
	c := run.Config
	assert.Equal(t, c.SkillSpec, "acme/app:.claude/skills/deploy/SKILL.md")
	assert.DeepEqual(t, c.Skills, []string{"acme/app:.claude/skills/deploy/SKILL.md", "acme/lib:.agents/skills/review/SKILL.md"})
	assert.Equal(t, c.Name, "deploy")
	assert.Equal(t, run.Origins["name"], "skill")
	assert.Equal(t, run.Title, "staging now")
	deploy, rest, ok := strings.Cut(c.BasePrompt, "Deploy staging, then report.")
	assert.Assert(t, ok && strings.Contains(deploy, "acme/app"), c.BasePrompt)
	assert.Assert(t, strings.Contains(rest, "Review the library.") && strings.HasSuffix(rest, "Be brief."), c.BasePrompt)
	assert.DeepEqual(t, run.Skill, &task.Skill{Name: "deploy", Description: "does deploy", Path: "acme/app/.claude/skills/deploy/SKILL.md"})
	assert.Equal(t, firstInput(t, who["bob"], run.ID), "staging now")

	bare := submit(t, who["bob"], oz.Request{Config: task.Config{SkillSpec: "acme/lib:review", Name: "mine"}})
	assert.Equal(t, bare.Prompt, "")
	assert.Equal(t, bare.Title, "review: does review")
	assert.Equal(t, bare.Config.Name, "mine")
	assert.Equal(t, firstInput(t, who["bob"], bare.ID), `Carry out the skill "review".`)
	var e environment.Config
	assert.NilError(t, json.Unmarshal(bare.Environment, &e))
	assert.DeepEqual(t, e.Repos, []environment.Repo{{Owner: "acme", Name: "lib"}})

	local, _, err := who["bob"].StartLocal(ctx, oz.Request{Skill: "acme/lib:review"})
	assert.NilError(t, err)
	assert.Equal(t, local.Skill.Name, "review")
	assert.Equal(t, len(local.Environment), 0, "nothing is cloned where a person works")

	page, err := p.List(ctx, task.Query{Skill: "acme/lib:.agents/skills/review/SKILL.md"})
	assert.NilError(t, err)
	assert.Equal(t, len(page.Tasks), 2)
}

// firstInput is what the agent is told first.
func firstInput(t *testing.T, c *oz.Client, id task.ID) string {
	t.Helper()
	events, err := c.Events(t.Context(), id, 0, 10)
	assert.NilError(t, err)
	for _, e := range events {
		if in, ok := e.Payload.(*task.Input); ok {
			return in.Text
		}
	}
	return ""
}

func TestSkillsThatCannotRun(t *testing.T) {
	_, f, who, env := shop(t)
	f.push("other/app", map[string]string{".warp/skills/x/SKILL.md": skillFile("x", "X.")})
	for _, tt := range []struct {
		name, skill, environment string
		code                     task.Code
		says                     string
	}{
		{"unknown", "app:nothing", env.UID, task.CodeNotFound, "there are acme/app:deploy, acme/app:review"},
		{"unknown path", "acme/app:.warp/skills/none", env.UID, task.CodeNotFound, "there are"},
		{"unknown repository", "acme/none:x", env.UID, task.CodeNotFound, "acme/none"},
		{"ambiguous", "review", env.UID, task.CodeInvalidRequest, "acme/app:.warp/skills/review/SKILL.md, acme/lib:.agents/skills/review/SKILL.md"},
		{"malformed", "bad", env.UID, task.CodeInvalidRequest, "front matter"},
		{"no environment", "deploy", "", task.CodeNotFound, "name an environment"},
		{"one name, two repositories", "other/app:x", env.UID, task.CodeInvalidRequest, "same directory"},
		{"bad form", ":x", env.UID, task.CodeInvalidRequest, "colon"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			err := submitError(t, who["bob"], oz.Request{Skill: tt.skill, Config: task.Config{EnvironmentID: tt.environment}})
			assert.Equal(t, task.CodeOf(err), tt.code, "%v", err)
			assert.ErrorContains(t, err, tt.says)
			assert.Assert(t, strings.HasPrefix(err.Error(), "skill: ") || strings.HasPrefix(err.Error(), "config.skills: "), "%v", err)
		})
	}
	err := submitError(t, who["bob"], oz.Request{Config: task.Config{Skills: []string{"acme/app:deploy", "lib:none"}, EnvironmentID: env.UID}})
	assert.ErrorContains(t, err, "config.skills[1]")
	err = submitError(t, who["bob"], oz.Request{Config: task.Config{Skills: make([]string, 21)}})
	assert.ErrorContains(t, err, "at most 20")
}

// TestSkillsNeedASource: without one there are none, and none can run.
func TestSkillsNeedASource(t *testing.T) {
	p, _ := newPlatform(t, nil)
	l, err := p.Skills(context.Background(), oz.SkillQuery{})
	assert.NilError(t, err)
	assert.Equal(t, len(l.Skills), 0)
	_, err = p.Submit(t.Context(), oz.Request{Skill: "a/b:c"})
	assert.Equal(t, task.CodeOf(err), task.CodeFeatureNotAvailable)
}

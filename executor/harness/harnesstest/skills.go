package harnesstest

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"gotest.tools/v3/assert"

	"github.com/oz-platform/cloudagents/environment/skill/skilldir"
	"github.com/oz-platform/cloudagents/executor/gateway/scripted"
	"github.com/oz-platform/cloudagents/task"
)

// RunSkills tests a third party's agent that has skills of its own: the
// session's reach the model by the program itself, and the repository stays as
// it is. root is where they must lie below the session's state directory, reads
// are the folders that the program looks into by itself.
func RunSkills(t *testing.T, h Harness, root string, reads ...string) {
	lab := h.lab(t, LabOptions{Script: scripted.Script{Steps: []scripted.Step{{Text: "One."}, {Text: "Two."}, {Text: "Three."}}}})
	home := t.TempDir()
	write := func(name, text string) {
		t.Helper()
		path := filepath.Join(home, ".agents", "skills", name)
		assert.NilError(t, os.MkdirAll(filepath.Dir(path), 0o755))
		assert.NilError(t, os.WriteFile(path, []byte(text), 0o755))
	}
	const known = "Knows the zebra-quartz release ritual"
	write("release/SKILL.md", "---\nname: Release/../Ritual\ndescription: broken\n---\nx\n")
	write("ritual/SKILL.md", "---\nname: Release Ritual\ndescription: "+known+"\n---\nDo it.\n")
	write("ritual/steps/one.sh", "#!/bin/sh\n")
	write("ritual/large.bin", strings.Repeat("x", 10<<20))
	assert.NilError(t, os.Symlink("/etc/passwd", filepath.Join(home, ".agents/skills/ritual/link")))
	finder := skilldir.New(skilldir.Root{Dir: home})

	agent := h.New() // one: each asks its program for the version, which is slow
	s := lab.Session(t)
	one, err := finder.Find("Release Ritual")
	assert.NilError(t, err)
	s.Skills = []skilldir.Found{one}
	s.StateDir = filepath.Join(t.TempDir(), "state")
	lab.Log.Say("Hello.")
	o, err := agent.Run(t.Context(), s)
	assert.NilError(t, err)
	assert.Equal(t, o.State, task.StateSucceeded, "%v", o.Status)
	assert.Assert(t, strings.Contains(string(lab.Server.Requests()[0].Body), known), "the program did not tell the model of the skill")

	dir := filepath.Join(s.StateDir, root, "release-ritual")
	for name, there := range map[string]bool{"SKILL.md": true, "steps/one.sh": true, "large.bin": false, "link": false} {
		_, err := os.Lstat(filepath.Join(dir, name))
		assert.Equal(t, err == nil, there, "%s: %v", name, err)
	}
	res, err := lab.Git.Run(t.Context(), lab.Dir, "status", "--porcelain", "--ignored")
	assert.NilError(t, err)
	assert.Equal(t, string(res.Stdout), "", "the repository is changed")

	s.Skills = nil
	for _, folder := range reads { // what the program finds by itself need not be put there
		path := filepath.Join(lab.Dir, folder, "own", "SKILL.md")
		assert.NilError(t, os.MkdirAll(filepath.Dir(path), 0o755))
		assert.NilError(t, os.WriteFile(path, []byte("---\nname: own\ndescription: Found by itself in "+folder+"\n---\nx\n"), 0o644))
		own, err := skilldir.New(skilldir.Root{Dir: lab.Dir, Repo: "app"}).Find("app:" + folder + "/own")
		assert.NilError(t, err)
		s.Skills = append(s.Skills, own)
	}
	lab.Log.Say("Hello again.")
	o, err = agent.Run(t.Context(), s)
	assert.NilError(t, err)
	assert.Equal(t, o.State, task.StateSucceeded, "%v", o.Status)
	_, err = os.Lstat(dir)
	assert.Assert(t, os.IsNotExist(err), "what is gone stays published: %v", err)
	_, err = os.Lstat(filepath.Join(s.StateDir, root, "own"))
	assert.Assert(t, os.IsNotExist(err), "the program finds it by itself: %v", err)
	all := lab.Server.Requests()
	body := string(all[len(all)-1].Body)
	assert.Assert(t, len(reads) == 0 || strings.Contains(body, "Found by itself in "), "the program does not find the repository's skills by itself")
}

package tools_test

import (
	"os"
	"path/filepath"
	"testing"

	"gotest.tools/v3/assert"
	is "gotest.tools/v3/assert/cmp"

	"github.com/oz-platform/cloudagents/executor/harness"
	"github.com/oz-platform/cloudagents/executor/harness/harnesstest"
	"github.com/oz-platform/cloudagents/executor/harness/tools"
	"github.com/oz-platform/cloudagents/task"
)

// The platform pushes for agents whose git has no credentials: once, not to
// the base, and nothing with a secret in it.
func TestPushBranch(t *testing.T) {
	const secret = "Tq7-vX2_pL9zKd4Rw8"
	lab := harnesstest.NewLab(t, harnesstest.LabOptions{Secrets: map[string]string{"DEPLOY_KEY": secret}})
	session := func() *harness.Session {
		s := lab.Session(t)
		s.Tools = tools.For(s, tools.Foreign)
		return s
	}
	s := session()
	refused := func(want string, in object) {
		t.Helper()
		_, no := do(t, s, tools.NamePushBranch, in)
		assert.Assert(t, no != nil)
		assert.Assert(t, is.Contains(no.Message, want))
		assert.Equal(t, len(lab.RemoteBranches(t)), 0)
	}
	commit := func(text string) {
		t.Helper()
		assert.NilError(t, os.WriteFile(filepath.Join(lab.Dir, "file.txt"), []byte(text), 0o644))
		lab.RunGit(t, lab.Dir, "add", "--all")
		lab.RunGit(t, lab.Dir, "commit", "-q", "-m", "Work")
	}
	refused("base branch", nil)
	refused("repo must be one of demo", object{"repo": "other"})
	refused("unknown field", object{"force": true})
	lab.RunGit(t, lab.Dir, "checkout", "-q", "-b", "oz/work")
	refused("no new commit", nil)
	commit("key " + secret + "\n")
	refused("the secret DEPLOY_KEY", nil)
	commit("no key any more\n")
	refused("the secret DEPLOY_KEY", nil) // the commit before still has it

	lab.RunGit(t, lab.Dir, "reset", "-q", "--hard", lab.Base)
	commit("work\n")
	for range 2 { // the second time as another execution
		answer, no := do(t, session(), tools.NamePushBranch, nil)
		assert.Assert(t, no == nil, "%v", no)
		assert.Assert(t, is.Contains(answer.Text, "Branch oz/work is at"))
	}
	assert.DeepEqual(t, lab.RemoteBranches(t), map[string]int{"oz/work": 1})
	reported := harnesstest.Payloads[*task.ArtifactReported](lab.Log)
	assert.Equal(t, len(reported), 1)
	assert.Equal(t, reported[0].Artifact.ReferenceType, task.ReferenceBranch)

	assert.NilError(t, os.Rename(lab.Remote, lab.Remote+".away"))
	commit("more\n")
	_, no := do(t, session(), tools.NamePushBranch, nil)
	assert.Assert(t, no != nil)
	assert.Equal(t, no.State, task.ToolFailed)
}

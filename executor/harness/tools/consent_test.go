package tools_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"gotest.tools/v3/assert"
	is "gotest.tools/v3/assert/cmp"

	"github.com/oz-platform/cloudagents/executor"
	"github.com/oz-platform/cloudagents/executor/harness"
	"github.com/oz-platform/cloudagents/executor/harness/harnesstest"
	"github.com/oz-platform/cloudagents/executor/harness/tools"
	"github.com/oz-platform/cloudagents/task"
)

// TestStrangersPushWaits: in a run that nobody vouches for, exactly the push
// that a person has approved is done. A no stays one, and so does silence.
func TestStrangersPushWaits(t *testing.T) {
	lab := harnesstest.NewLab(t, harnesstest.LabOptions{Untrusted: true})
	push := func() (harness.ToolAnswer, *harness.ToolError) {
		s := lab.Session(t) // of another execution each time
		s.Tools = tools.For(s, tools.Foreign)
		return do(t, s, tools.NamePushBranch, nil)
	}
	commit := func(text string) {
		t.Helper()
		assert.NilError(t, os.WriteFile(filepath.Join(lab.Dir, "file.txt"), []byte(text), 0o644))
		lab.RunGit(t, lab.Dir, "add", "--all")
		lab.RunGit(t, lab.Dir, "commit", "-q", "-m", "Work")
	}
	asked := func() *task.Question {
		t.Helper()
		answer, no := push()
		assert.Assert(t, no == nil, "%v", no)
		assert.Assert(t, answer.End != nil, answer.Text)
		assert.Equal(t, answer.End.State, task.StateBlocked)
		q := answer.End.Status.Question
		assert.NilError(t, q.Validate())
		assert.Equal(t, q.Kind, task.QuestionApproval)
		assert.Equal(t, q.OnExpiry, task.ExpiryContinue)
		assert.Assert(t, strings.HasPrefix(q.Subject, executor.OutwardSubject))
		assert.Assert(t, is.Contains(q.Text, "oz/work"))
		assert.Assert(t, is.Contains(q.Text, lab.RunGit(t, lab.Dir, "rev-parse", "--short=12", "HEAD")))
		return q
	}
	say := func(in task.Input) {
		t.Helper()
		j := lab.Log.Journal("", lab.Redactor, harnesstest.Crash{})
		assert.NilError(t, j.Post(t.Context(), &in))
		assert.NilError(t, j.Flush(t.Context()))
	}
	denied := func(want string) {
		t.Helper()
		_, no := push()
		assert.Assert(t, no != nil)
		assert.Equal(t, no.State, task.ToolDenied)
		assert.Assert(t, is.Contains(no.Message, want))
	}
	lab.RunGit(t, lab.Dir, "checkout", "-q", "-b", "oz/work")
	commit("one\n")
	q := asked()
	say(task.Input{Text: "Go on, it is fine, it is approved."}) // words are no answer
	assert.Equal(t, asked().ID, q.ID)
	say(task.Input{Text: "no", Question: q.ID, Choice: task.ChoiceReject})
	denied("refused")
	say(task.Input{Text: "yes", Question: q.ID, Choice: task.ChoiceApprove})
	denied("refused") // the first answer counts
	commit("two\n")
	second := asked()
	assert.Assert(t, second.ID != q.ID)
	say(task.Input{Text: "Nobody has answered.", Question: second.ID})
	denied("Nobody has approved this in time")
	assert.Equal(t, len(lab.RemoteBranches(t)), 0)

	commit("three\n")
	say(task.Input{Text: "yes", Question: asked().ID, Choice: task.ChoiceApprove})
	for range 2 { // the second time as another execution
		answer, no := push()
		assert.Assert(t, no == nil, "%v", no)
		assert.Assert(t, is.Contains(answer.Text, "Branch oz/work is at"))
	}
	assert.DeepEqual(t, lab.RemoteBranches(t), map[string]int{"oz/work": 1})
	commit("four\n") // which nobody has seen
	asked()
	assert.DeepEqual(t, lab.RemoteBranches(t), map[string]int{"oz/work": 1})
}

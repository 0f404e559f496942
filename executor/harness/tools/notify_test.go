package tools_test

import (
	"context"
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

// noteDesk is a platform that takes notes, or fails as it is told. The real one
// is behind the runner's tests.
type noteDesk struct {
	executor.Outreach
	notes []executor.Note
	err   error
}

func (d *noteDesk) NotifyUser(_ context.Context, n executor.Note) error {
	d.notes = append(d.notes, n)
	return d.err
}

// TestNotifyUser: what is told has no secrets, and is the same note when the call
// is made again; what cannot be told the agent learns, with the rule.
func TestNotifyUser(t *testing.T) {
	const secret = "Tq7-vX2_pL9zKd4Rw8"
	s := harnesstest.NewLab(t, harnesstest.LabOptions{NoRepo: true, Secrets: map[string]string{"DEPLOY_KEY": secret}}).Session(t)
	desk := &noteDesk{}
	s.Tools = tools.For(s, tools.Notes(desk))
	for range 2 {
		answer, no := do(t, s, tools.NameNotifyUser, object{"message": "It takes longer: the key is " + secret + "."})
		assert.Assert(t, no == nil, "%v", no)
		assert.Assert(t, answer.End == nil && strings.HasPrefix(answer.Text, "Told."), answer.Text)
	}
	assert.Equal(t, len(desk.notes), 2)
	assert.DeepEqual(t, desk.notes[0], desk.notes[1])
	assert.Equal(t, desk.notes[0].Message, "It takes longer: the key is [redacted:DEPLOY_KEY].")
	assert.NilError(t, desk.notes[0].Validate())
	_, no := do(t, s, tools.NameNotifyUser, object{"message": "Another."})
	assert.Assert(t, no == nil, "%v", no)
	assert.Assert(t, desk.notes[2].Key != desk.notes[0].Key)

	for message, want := range map[string]string{"": "message: must not be empty", " \n": "message: must not be empty",
		strings.Repeat("x", executor.MaxNoteBytes+1): "message: has 8193 bytes, at most 8192 are allowed"} {
		_, no := do(t, s, tools.NameNotifyUser, object{"message": message})
		assert.Assert(t, no != nil && no.Input)
		assert.Assert(t, is.Contains(no.Message, want))
	}
	_, no = do(t, s, tools.NameNotifyUser, object{"message": "x", "to": "ann"})
	assert.Assert(t, no != nil && no.Input)
	assert.Equal(t, len(desk.notes), 3)

	desk.err = task.Errorf(task.CodeOperationNotSupported, "the run has made 100 notes, and can make no more")
	_, no = do(t, s, tools.NameNotifyUser, object{"message": "x"})
	assert.Assert(t, no != nil && is.Contains(no.Message, "has made 100 notes")().Success(), "%v", no)
	desk.err = task.ErrFenced
	_, err := s.Tools[0].Run(t.Context(), harness.ToolCall{Input: []byte(`{"message":"x"}`)})
	assert.ErrorIs(t, err, task.ErrFenced, "who has lost the lease stops")
}

// TestNotifyUserIsOffered: not to runs that nobody vouches for, and not where no
// platform takes notes.
func TestNotifyUserIsOffered(t *testing.T) {
	s := harnesstest.NewLab(t, harnesstest.LabOptions{NoRepo: true}).Session(t)
	assert.Equal(t, len(tools.For(s, tools.Notes(&noteDesk{}))), 1)
	assert.Equal(t, len(tools.For(s, tools.Notes(nil))), 0)
	s = harnesstest.NewLab(t, harnesstest.LabOptions{NoRepo: true, Untrusted: true}).Session(t)
	assert.Equal(t, len(tools.For(s, tools.Notes(&noteDesk{}))), 0)
}

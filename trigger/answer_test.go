package trigger_test

import (
	"testing"
	"time"

	"gotest.tools/v3/assert"

	"github.com/oz-platform/cloudagents/task"
	"github.com/oz-platform/cloudagents/trigger"
	"github.com/oz-platform/cloudagents/trigger/triggertest"
)

// TestAnswersTakeTheRunOnThatAsked: an answer counts once, for the question that
// it was given to, and makes no run.
func TestAnswersTakeTheRunOnThatAsked(t *testing.T) {
	r := newRig(t, &chat{})
	r.Decided(post(t, r, message{ID: "1", Thread: "a", Text: "plan it"}).Delivery)
	id := r.Runs()[0].ID
	q := task.Question{ID: "q1", Kind: task.QuestionApproval, Text: "May I?", Choices: []string{task.ChoiceApprove, task.ChoiceReject}, Subject: "plan", ExpiresAt: time.Now().Add(time.Hour)}
	r.Finish(id, task.StateBlocked, task.Status{Message: "waits", Question: &q})

	answer := func(a trigger.Answer) error { return goOn(t, r, id, &a) }
	for name, bad := range map[string]trigger.Answer{
		"another run": {Run: "x", Question: "q1", Choice: task.ChoiceApprove}, "another question": {Run: id, Question: "q2", Choice: task.ChoiceApprove},
	} {
		assert.Equal(t, task.CodeOf(answer(bad)), task.CodeOperationNotSupported, name)
	}
	assert.ErrorIs(t, answer(trigger.Answer{Run: id, Question: "q1", Choice: "maybe"}), task.ErrInvalid)
	assert.NilError(t, answer(trigger.Answer{Run: id, Question: "q1", Choice: task.ChoiceApprove}))
	run, err := r.Store.Get(t.Context(), id)
	assert.NilError(t, err)
	assert.Equal(t, run.Approved, "plan")
	assert.Equal(t, run.State, task.StateQueued)
	assert.Equal(t, task.CodeOf(answer(trigger.Answer{Run: id, Question: "q1", Choice: task.ChoiceReject})), task.CodeOperationNotSupported, "too late")
}

func goOn(t *testing.T, r *triggertest.Rig, id task.ID, a *trigger.Answer) error {
	t.Helper()
	run, err := r.Store.Get(t.Context(), id)
	assert.NilError(t, err)
	return r.Host.GoOn(t.Context(), id, trigger.Start{Message: "I chose " + a.Choice, Answer: a, OnlyGoOn: true}, "k "+a.Question+a.Choice, run.LastInput)
}

package oz_test

import (
	"context"
	"encoding/json"
	"testing"
	"time"

	"gotest.tools/v3/assert"

	"github.com/oz-platform/cloudagents/oz"
	"github.com/oz-platform/cloudagents/task"
	"github.com/oz-platform/cloudagents/task/fileblob"
	"github.com/oz-platform/cloudagents/trigger"
)

// board is an origin whose events are the starts that they ask for.
type board struct{}

func (board) Info() trigger.Info { return trigger.Info{Name: "board"} }

func (board) Accept(_ context.Context, r trigger.Request) (trigger.Arrival, error) {
	return trigger.Arrival{Source: "board/x", Owner: task.Scope{Type: task.ScopeTeam, UID: "red"}, Key: r.Path}, nil
}

func (board) Plan(_ context.Context, d task.Delivery) (trigger.Plan, error) {
	var s trigger.Start
	err := json.Unmarshal(d.Body, &s)
	return trigger.Plan{Starts: []trigger.Start{s}}, err
}

// TestEventsAnswerQuestions: a plan that a person approves elsewhere, by a
// button, is approved as if they had done it here; too late a press does nothing.
func TestEventsAnswerQuestions(t *testing.T) {
	blobs, err := fileblob.Open(t.TempDir(), nil)
	assert.NilError(t, err)
	t.Cleanup(func() { assert.Check(t, blobs.Close()) })
	decided := make(chan task.Delivery, 10)
	p, store := newPlatform(t, &oz.Options{Blobs: blobs, Origins: []trigger.Origin{board{}},
		Triggers: trigger.Options{Poll: 5 * time.Millisecond, OnDelivery: func(d task.Delivery) { decided <- d }}})
	ann := people(t, p)["ann"]
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- p.Triggers().Run(ctx) }()
	defer func() { stop(); assert.NilError(t, <-done) }()
	send := func(key string, s trigger.Start) task.Delivery {
		s.Owner, s.Creator, s.Entity = task.Scope{Type: task.ScopeTeam, UID: "red"}, ann.Caller().Principal, "e"
		body, err := json.Marshal(s)
		assert.NilError(t, err)
		_, err = p.Triggers().Receive(ctx, "board", trigger.Request{Path: key, Body: body})
		assert.NilError(t, err)
		return <-decided
	}

	d := send("1", trigger.Start{Kind: task.SourceSlack, Title: "t", Prompt: "plan it", Mode: task.ModePlan})
	assert.Equal(t, d.Outcome, task.OutcomeStarted, d.Reason)
	id := d.Runs[0]
	l := &planner{Link: deskOf(t, p, store, id), run: id}
	l.plan(t, "v1", "# One", nil)
	l.finish(t)
	q := get(t, p, id).Open()
	approve := trigger.Start{Message: "Looks good.", OnlyGoOn: true, Answer: &trigger.Answer{Run: id, Question: q.ID, Choice: task.ChoiceApprove}}
	assert.Equal(t, send("2", approve).Outcome, task.OutcomeContinued)
	got := get(t, p, id)
	assert.Equal(t, got.Approved, "v1")
	assert.Equal(t, got.CurrentMode(), task.ModeNormal)
	assert.Equal(t, lastInput(t, p, got).Text, "Your plan \"The plan\" is approved. Carry it out now.\n\nLooks good.")
	d = send("3", approve)
	assert.Equal(t, d.Outcome, task.OutcomeFailed, "a second press")
	assert.Equal(t, get(t, p, id).LastInput, got.LastInput)
}

// TestEventsStopRuns: an event that asks to stop ends the run about its thing,
// in the name of who asks and with their rights; nothing is started for it.
func TestEventsStopRuns(t *testing.T) {
	decided := make(chan task.Delivery, 10)
	p, _ := newPlatform(t, &oz.Options{Origins: []trigger.Origin{board{}},
		Triggers: trigger.Options{Poll: 5 * time.Millisecond, OnDelivery: func(d task.Delivery) { decided <- d }}})
	ann := people(t, p)["ann"].Caller().Principal
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- p.Triggers().Run(ctx) }()
	defer func() { stop(); assert.NilError(t, <-done) }()
	send := func(key string, s trigger.Start) task.Delivery {
		s.Owner, s.Creator, s.Entity = task.Scope{Type: task.ScopeTeam, UID: "red"}, ann, "e"
		body, err := json.Marshal(s)
		assert.NilError(t, err)
		_, err = p.Triggers().Receive(ctx, "board", trigger.Request{Path: key, Body: body})
		assert.NilError(t, err)
		return <-decided
	}
	halt := trigger.Start{OnlyGoOn: true, Stop: true}
	assert.Equal(t, send("0", halt).Outcome, task.OutcomeIgnored, "there is nothing to stop")

	d := send("1", trigger.Start{Kind: task.SourceLinear, Title: "t", Prompt: "work"})
	assert.Equal(t, d.Outcome, task.OutcomeStarted, d.Reason)
	id := d.Runs[0]
	d = send("2", trigger.Start{OnlyGoOn: true, Stop: true, Untrusted: true})
	assert.Equal(t, d.Outcome, task.OutcomeFailed, "a stranger stops nothing")
	assert.Equal(t, get(t, p, id).State, task.StateQueued)
	for _, key := range []string{"3", "4"} {
		d = send(key, halt)
		assert.Equal(t, d.Outcome, task.OutcomeContinued, d.Reason)
		assert.Equal(t, get(t, p, id).State, task.StateCancelled)
	}
}

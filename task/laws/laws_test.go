package laws_test

import (
	"slices"
	"testing"
	"time"

	"gotest.tools/v3/assert"

	"github.com/oz-platform/cloudagents/task"
	"github.com/oz-platform/cloudagents/task/laws"
)

// sound gives the record of a run that was lost once, went on and succeeded.
func sound() laws.Record {
	at := time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)
	payload := func(by task.ExecutionID, p task.Payload) task.Event {
		return task.Event{ExecutionID: by, Time: at, Payload: p}
	}
	state := func(from, to task.State) task.Event { return payload("", &task.StateChanged{From: from, To: to}) }
	events := []task.Event{
		state("", task.StateQueued),
		payload("", &task.Input{Text: "do it"}),
		state(task.StateQueued, task.StatePending),
		state(task.StatePending, task.StateClaimed),
		state(task.StateClaimed, task.StateInProgress),
		payload("x1", &task.Delivered{Inputs: []int64{2}}),
		payload("x1", &task.ToolResult{CallID: "setup-1"}),
		payload("x2", &task.ToolResult{CallID: "setup-1"}),
		payload("x2", &task.ToolResult{CallID: "c1"}),
		payload("x2", &task.Effect{Key: "push", State: task.EffectIntended}),
		payload("x2", &task.Effect{Key: "push", State: task.EffectSettled}),
		state(task.StateInProgress, task.StateSucceeded),
	}
	for i := range events {
		events[i].Seq = int64(i + 1)
	}
	r := laws.Record{Task: task.Task{ID: "r"}, Events: events, Executions: []task.Execution{
		{ID: "x1", Number: 1, State: task.ExecutionEnded}, {ID: "x2", Number: 2, State: task.ExecutionEnded}}}
	r.Task.State, r.Task.LastSeq = task.StateSucceeded, int64(len(events))
	r.Task.Artifacts = []task.Artifact{{UID: "a"}, {UID: "b"}}
	return r
}

func TestSoundRecords(t *testing.T) {
	assert.Equal(t, len(laws.Check(sound())), 0, "%v", laws.Check(sound()))
	brief := sound()
	for i, e := range brief.Events {
		brief.Events[i] = laws.Essence(e)
	}
	assert.Equal(t, len(laws.Check(brief)), 0, "%v", laws.Check(brief))

	pruned := sound()
	pruned.Events = []task.Event{{Seq: 13, Payload: &task.Pruned{Through: 12}}}
	pruned.Task.PrunedTo, pruned.Task.LastSeq = 12, 13
	assert.Equal(t, len(laws.Check(pruned)), 0, "%v", laws.Check(pruned))

	grown := sound() // the run went on after its head was read
	grown.Events = append(grown.Events, task.Event{Seq: 13, Payload: &task.Input{Text: "more"}},
		task.Event{Seq: 14, Payload: &task.StateChanged{From: task.StateSucceeded, To: task.StateQueued}})
	assert.Equal(t, len(laws.Check(grown)), 0, "%v", laws.Check(grown))
}

// TestEveryLawCanBreak breaks each law in a sound record.
func TestEveryLawCanBreak(t *testing.T) {
	again := func(i int) func(*laws.Record) { // repeats event i+1 at the end
		return func(r *laws.Record) {
			e := r.Events[i]
			e.Seq = int64(len(r.Events) + 1)
			r.Events = append(r.Events, e)
			r.Task.LastSeq++
		}
	}
	for name, tt := range map[string]struct {
		law     laws.Law
		disturb func(*laws.Record)
	}{
		"gap":              {laws.Gapless, func(r *laws.Record) { r.Events[3].Seq = 40 }},
		"repeat":           {laws.Gapless, func(r *laws.Record) { r.Events[3].Seq = 3 }},
		"cut off":          {laws.Gapless, func(r *laws.Record) { r.Task.LastSeq++ }},
		"ended twice":      {laws.EndedOnce, again(11)},
		"head differs":     {laws.EndedOnce, func(r *laws.Record) { r.Task.State = task.StateFailed }},
		"delivered twice":  {laws.DeliveredOnce, again(5)},
		"delivers nothing": {laws.DeliveredOnce, func(r *laws.Record) { r.Events[5].Payload = &task.Delivered{Inputs: []int64{2, 99}} }},
		"never delivered":  {laws.DeliveredOnce, func(r *laws.Record) { r.Events[5].Payload = &task.Notice{} }},
		"two results":      {laws.ToolOnce, again(8)},
		"two pushes":       {laws.EffectOnce, again(10)},
		"unintended":       {laws.EffectOnce, func(r *laws.Record) { r.Events[9].Payload = &task.Notice{} }},
		"artifact twice":   {laws.ArtifactOnce, func(r *laws.Record) { r.Task.Artifacts[1].UID = "a" }},
		"two live": {laws.OneLease, func(r *laws.Record) {
			r.Executions[0].State = task.ExecutionWorking
			r.Executions[1].State = task.ExecutionWorking
		}},
		"stale write":       {laws.OneLease, again(6)},
		"unknown execution": {laws.OneLease, func(r *laws.Record) { r.Events[6].ExecutionID = "x9" }},
		"number missing":    {laws.OneLease, func(r *laws.Record) { r.Executions[1].Number = 3 }},
	} {
		t.Run(name, func(t *testing.T) {
			r := sound()
			tt.disturb(&r)
			found := laws.Check(r)
			assert.Assert(t, slices.ContainsFunc(found, func(v laws.Violation) bool { return v.Law == tt.law }), "%v", found)
			assert.Assert(t, slices.Contains(laws.All(), tt.law))
			for i, e := range r.Events {
				r.Events[i] = laws.Essence(e)
			}
			assert.DeepEqual(t, laws.Check(r), found)
		})
	}
}

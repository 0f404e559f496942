package storetest

import (
	"errors"
	"fmt"
	"sync"
	"time"

	"gotest.tools/v3/assert"

	"github.com/oz-platform/cloudagents/task"
)

var commandCases = []testCase{
	{name: "MissingRun", run: doMissing},
	{name: "WholeLife", run: wholeLife},
	{name: "RefusalChangesNothing", run: refusals},
	{name: "Fencing", run: fencing},
	{name: "FencingAcrossRuns", run: fencingAcrossRuns},
	{name: "ExecutionIDsAreUnique", run: executionIDs},
	{name: "OneWinner", run: oneWinner},
	{name: "AppendExactlyOnce", run: appendOnce},
	{name: "AppendRace", run: appendRace},
	{name: "AppendBadEvents", run: appendBad},
	{name: "Artifacts", run: artifacts},
	{name: "UsageAddsUp", run: usageAddsUp},
	{name: "SharesNoMemory", run: doSharesNothing},
}

func doMissing(f *fixture) {
	for _, c := range []task.Command{offer("x"), task.Cancel{}, task.Append{Execution: "x"}, task.Log{}, task.SandboxGone{Execution: "x"}} {
		_, err := f.s.Do(f.ctx(), newID(), c)
		assert.ErrorIs(f, err, task.ErrNotFound, "%T", c)
	}
	_, err := f.s.Execution(f.ctx(), "x")
	assert.ErrorIs(f, err, task.ErrNotFound)
	_, err = f.s.Executions(f.ctx(), newID())
	assert.ErrorIs(f, err, task.ErrNotFound)
}

// wholeLife takes a run through a refused offer, a lost and a good execution,
// and a follow-up, and checks what is stored at each step.
func wholeLife(f *fixture) {
	id := f.create(nil).ID
	step := func(c task.Command, want task.State) {
		f.Helper()
		h := f.do(id, c)
		assert.Equal(f, h.State, want, "%T", c)
		assert.DeepEqual(f, f.get(id).Head, h)
	}
	lease := start.Add(time.Minute + time.Nanosecond)
	step(offer("x1"), task.StatePending)
	step(task.Release{Execution: "x1", Reason: "busy", ReadyAt: start}, task.StateQueued)
	step(offer("x2"), task.StatePending)
	step(task.Accept{Execution: "x2", LeaseUntil: lease}, task.StateClaimed)
	step(task.Begin{Execution: "x2"}, task.StateInProgress)
	step(task.Release{Execution: "x2", Reason: "lost", ReadyAt: start, MaxAttempts: 3}, task.StateInProgress)
	step(offer("x3"), task.StateInProgress)
	step(task.Begin{Execution: "x3"}, task.StateInProgress)
	step(task.Renew{Execution: "x3", Until: lease}, task.StateInProgress)
	step(task.End{Execution: "x3", State: task.StateBlocked, Status: task.Status{Message: "which branch?"}, SeenInput: 2}, task.StateBlocked)
	step(task.SandboxGone{Execution: "x3"}, task.StateBlocked)
	step(task.AddInput{Input: task.Input{Text: "main"}}, task.StateQueued)
	step(task.Fail{Status: task.Status{ErrorCode: task.CodeBudgetExceeded, Message: "over budget"}}, task.StateFailed)

	all, err := f.s.Executions(f.ctx(), id)
	assert.NilError(f, err)
	assert.Equal(f, len(all), 3)
	for i, x := range all {
		assert.Equal(f, x.Number, i+1)
		assert.Equal(f, x.TaskID, id)
		assert.Equal(f, x.State, task.ExecutionEnded)
		assert.DeepEqual(f, x.TokenHash, []byte{1, 2, 3})
		one, err := f.s.Execution(f.ctx(), x.ID)
		assert.NilError(f, err)
		assert.DeepEqual(f, one, x)
	}
	assert.Assert(f, all[2].LeaseUntil.Equal(lease))
	assert.Assert(f, all[2].SandboxGone)
	got := f.get(id)
	assert.DeepEqual(f, got.Status, task.Status{ErrorCode: task.CodeBudgetExceeded, Message: "over budget"})
	assert.Equal(f, got.LastSeq, int64(len(f.events(id))))
}

func refusals(f *fixture) {
	t := f.create(nil)
	f.refused(t.ID, task.Begin{Execution: "none"}, task.CodeOperationNotSupported)
	f.refused(t.ID, task.Offer{}, task.CodeInvalidRequest)
	f.do(t.ID, offer("x"))
	f.refused(t.ID, offer("y"), task.CodeConflict)
	f.refused(t.ID, task.Cancel{}, task.CodeConflict)
	f.refused(t.ID, task.End{Execution: "x", State: task.StateSucceeded}, task.CodeConflict)
	f.refused(t.ID, task.Append{Execution: "x", Offset: 1, Events: messages("a")}, task.CodeConflict)
	f.do(t.ID, task.Begin{Execution: "x"})
	_, err := f.s.Do(f.ctx(), t.ID, task.End{Execution: "x", State: task.StateSucceeded})
	assert.ErrorIs(f, err, task.ErrUnseenInput)
	// A batch is taken whole or not at all.
	f.refused(t.ID, task.Append{Execution: "x", Events: append(messages("good"), task.Event{Payload: &task.StateChanged{}})}, task.CodeInvalidRequest)
	f.refused(t.ID, task.Log{Payloads: []task.Payload{&task.Notice{Text: "good"}, &task.Message{}}}, task.CodeInvalidRequest)
}

// fencing: of 1,000 writes by executions that have lost the run, each with
// every way to lose it, 1,000 are refused.
func fencing(f *fixture) {
	const writes = 1000
	lose := []func(id task.ID, x task.ExecutionID){
		func(id task.ID, x task.ExecutionID) {
			f.do(id, task.Release{Execution: x, Reason: "lease lost", ReadyAt: start})
		},
		func(id task.ID, x task.ExecutionID) {
			f.do(id, task.Release{Execution: x, Reason: "lease lost", ReadyAt: start}, offer(x+"-next"), task.Begin{Execution: x + "-next"})
		},
		func(id task.ID, _ task.ExecutionID) { f.do(id, task.Cancel{}) },
		func(id task.ID, x task.ExecutionID) { f.finish(id, x, task.StateSucceeded) },
	}
	refused := 0
	for _, lost := range lose {
		t, x := f.working(nil)
		f.do(t.ID, task.Append{Execution: x, Events: messages("mine")})
		lost(t.ID, x)
		before := f.get(t.ID)
		for i := range writes / len(lose) {
			_, err := f.s.Do(f.ctx(), t.ID, staleWrite(i, x))
			assert.Check(f, errors.Is(err, task.ErrFenced), "write %d: %v", i, err)
			if err != nil {
				refused++
			}
		}
		assert.DeepEqual(f, f.get(t.ID), before)
		assert.DeepEqual(f, texts(f.events(t.ID)), []string{"mine"})
	}
	assert.Equal(f, refused, writes)
}

// staleWrite is one of the writes that an execution can make.
func staleWrite(i int, x task.ExecutionID) task.Command {
	switch i % 6 {
	case 0:
		return task.Append{Execution: x, Offset: 1, Events: messages("stale")}
	case 1:
		return task.Append{Execution: x, Events: messages("mine")} // known, but no longer its business
	case 2:
		return task.Renew{Execution: x, Until: start.Add(time.Hour)}
	case 3:
		return task.Begin{Execution: x}
	case 4:
		return task.Accept{Execution: x, LeaseUntil: start.Add(time.Hour)}
	}
	return task.End{Execution: x, State: task.StateFailed, SeenInput: 1 << 40}
}

func fencingAcrossRuns(f *fixture) {
	_, x := f.working(nil)
	other := f.create(nil)
	for i := range 6 {
		_, err := f.s.Do(f.ctx(), other.ID, staleWrite(i, x))
		assert.ErrorIs(f, err, task.ErrFenced, "the execution of another run")
	}
	assert.DeepEqual(f, f.get(other.ID), other)
}

func executionIDs(f *fixture) {
	a, b := f.create(nil), f.create(nil)
	f.do(a.ID, offer("x"))
	f.refused(b.ID, offer("x"), task.CodeConflict)
	f.do(a.ID, task.Release{Execution: "x", ReadyAt: start})
	f.refused(a.ID, offer("x"), task.CodeConflict)
	f.do(a.ID, offer("y"))
	_, _, err := f.s.Create(f.ctx(), creation(func(c *task.Creation) { c.Commands = []task.Command{offer("y")} }))
	assert.ErrorIs(f, err, task.ErrConflict)
}

// oneWinner offers one run to many workers at once.
func oneWinner(f *fixture) {
	for range 5 {
		id := f.create(nil).ID
		var mu sync.Mutex
		var won []task.ExecutionID
		var all sync.WaitGroup
		for range 16 {
			all.Go(func() {
				x := task.NewExecutionID()
				_, err := f.s.Do(f.ctx(), id, offer(x))
				if err != nil {
					assert.Check(f, errors.Is(err, task.ErrConflict), "%v", err)
					return
				}
				mu.Lock()
				defer mu.Unlock()
				won = append(won, x)
			})
		}
		all.Wait()
		assert.Equal(f, len(won), 1)
		assert.Equal(f, f.get(id).Execution, won[0])
	}
}

func appendOnce(f *fixture) {
	t, x := f.working(nil)
	batches := []struct {
		offset int64
		texts  []string
	}{{0, []string{"a", "b"}}, {0, []string{"a", "b"}}, {1, []string{"b", "c"}}, {3, nil}, {0, []string{"a"}}, {3, []string{"d"}}, {0, []string{"a", "b", "c", "d", "e"}}}
	for _, b := range batches {
		f.do(t.ID, task.Append{Execution: x, Offset: b.offset, Events: messages(b.texts...)})
	}
	f.refused(t.ID, task.Append{Execution: x, Offset: 6, Events: messages("gap")}, task.CodeConflict)
	f.refused(t.ID, task.Append{Execution: x, Offset: -1, Events: messages("gap")}, task.CodeConflict)
	assert.DeepEqual(f, texts(f.events(t.ID)), []string{"a", "b", "c", "d", "e"})
	got, err := f.s.Execution(f.ctx(), x)
	assert.NilError(f, err)
	assert.Equal(f, got.Appended, int64(5))

	// The next execution counts from 0 again.
	f.do(t.ID, task.Release{Execution: x, ReadyAt: start}, offer("y"), task.Begin{Execution: "y"}, task.Append{Execution: "y", Events: messages("f")})
	assert.DeepEqual(f, texts(f.events(t.ID)), []string{"a", "b", "c", "d", "e", "f"})
}

// appendRace sends every batch of a run from several goroutines at once, as a
// client that repeats after lost answers does.
func appendRace(f *fixture) {
	t, x := f.working(nil)
	for i := range 20 {
		var all sync.WaitGroup
		for range 8 {
			all.Go(func() {
				_, err := f.s.Do(f.ctx(), t.ID, task.Append{Execution: x, Offset: int64(2 * i), Events: messages(fmt.Sprint(2*i), fmt.Sprint(2*i+1))})
				assert.Check(f, err)
			})
		}
		all.Wait()
	}
	got := texts(f.events(t.ID))
	assert.Equal(f, len(got), 40)
	for i, text := range got {
		assert.Equal(f, text, fmt.Sprint(i))
	}
}

func appendBad(f *fixture) {
	t, x := f.working(nil)
	bad := [][]task.Event{
		{{}},
		{{Payload: &task.Input{Text: "I am a person"}}},
		{{Payload: &task.StateChanged{To: task.StateSucceeded}}},
		{{Payload: &task.ToolCall{ID: "c", Input: []byte(`{not json`)}}},
		{{Payload: &task.Message{Text: string(make([]byte, task.MaxEventBytes))}}},
		{{Payload: &task.ArtifactReported{Artifact: task.Artifact{UID: "a", Type: "NONE"}}}},
		make([]task.Event, task.MaxAppendEvents+1),
	}
	for _, events := range bad {
		f.refused(t.ID, task.Append{Execution: x, Events: append(messages("good"), events...)}, task.CodeInvalidRequest)
	}
	most := make([]task.Event, task.MaxAppendEvents)
	for i := range most {
		most[i].Payload = &task.Message{ID: "m", Text: fmt.Sprint(i)}
	}
	f.do(t.ID, task.Append{Execution: x, Events: most})
	assert.Equal(f, len(texts(f.events(t.ID))), task.MaxAppendEvents)
}

func artifact(uid string) task.Event {
	return task.Event{Payload: &task.ArtifactReported{Artifact: task.Artifact{UID: uid, Type: task.ArtifactFile, Path: "p/" + uid, CreatedAt: start}}}
}

func artifacts(f *fixture) {
	t, x := f.working(nil)
	again := artifact("b")
	again.Payload.(*task.ArtifactReported).Artifact.Path = "another"
	f.do(t.ID, task.Append{Execution: x, Events: []task.Event{artifact("c"), artifact("a"), artifact("b"), again}})
	want := []string{"p/c", "p/a", "p/b"}
	var got []string
	for _, a := range f.get(t.ID).Artifacts {
		got = append(got, a.Path)
	}
	assert.DeepEqual(f, got, want)

	var many []task.Event
	for i := range task.MaxArtifacts {
		many = append(many, artifact(fmt.Sprint(i)))
	}
	f.do(t.ID, task.Append{Execution: x, Offset: 4, Events: many})
	assert.Equal(f, len(f.get(t.ID).Artifacts), task.MaxArtifacts)
	page, err := f.s.List(f.ctx(), task.Query{})
	assert.NilError(f, err)
	assert.DeepEqual(f, page.Tasks, []task.Task{f.get(t.ID)})
}

func usageAddsUp(f *fixture) {
	t, x := f.working(nil)
	report := task.UsageReport{Category: "primary_agent", Model: "m", Calls: 1, Priced: true, Tokens: task.TokenCount{Input: 3, Output: 5}, Cost: task.CostUSD{Input: 0.25}}
	for i := range 3 {
		f.do(t.ID, task.Append{Execution: x, Offset: int64(i), Events: []task.Event{{Payload: &report}}})
	}
	f.do(t.ID, task.Append{Execution: x, Offset: 0, Events: []task.Event{{Payload: &report}}}) // a repeat counts nothing
	got := f.get(t.ID).Usage
	assert.DeepEqual(f, got, task.Usage{Models: []task.ModelUsage{{Category: "primary_agent", Model: "m", Calls: 3,
		Tokens: task.TokenCount{Input: 9, Output: 15}, Cost: task.CostUSD{Input: 0.75}}}})
}

func doSharesNothing(f *fixture) {
	t, x := f.working(nil)
	hash := []byte{9, 9}
	f.do(t.ID, task.Release{Execution: x, ReadyAt: start}, task.Offer{Execution: "y", TokenHash: hash}, task.Begin{Execution: "y"})
	hash[0] = 0
	payload := &task.Message{ID: "m", Text: "said"}
	report := &task.UsageReport{Category: "c", Model: "m", Calls: 1}
	h := f.do(t.ID, task.Append{Execution: "y", Events: []task.Event{{Payload: payload}, {Payload: report}}})
	payload.Text, report.Calls = "unsaid", 50
	h.Usage.Models[0].Calls = 100
	h = f.do(t.ID, task.Renew{Execution: "y", Until: start.Add(time.Hour)})
	assert.Equal(f, h.Usage.Models[0].Calls, 1)
	assert.Equal(f, f.get(t.ID).Usage.Models[0].Calls, 1)
	assert.DeepEqual(f, texts(f.events(t.ID)), []string{"said"})
	got, err := f.s.Execution(f.ctx(), "y")
	assert.NilError(f, err)
	assert.DeepEqual(f, got.TokenHash, []byte{9, 9})
}

package storetest

import (
	"fmt"
	"time"

	"gotest.tools/v3/assert"

	"github.com/oz-platform/cloudagents/task"
)

// pruneCases run for stores that implement task.Pruner.
var pruneCases = []testCase{
	{name: "OldRunsOnly", run: pruneOldRunsOnly},
	{name: "HidesAtOnceDeletesLater", run: pruneHides},
	{name: "GoesOnAfterReopen", reopens: true, run: pruneReopens},
}

// pruner skips the case for stores that cannot remove logs.
func (f *fixture) pruner() task.Pruner {
	f.Helper()
	p, ok := f.s.(task.Pruner)
	if !ok {
		f.Skip("the store is no task.Pruner")
	}
	return p
}

// ended makes a run whose execution has appended n events and ended.
func (f *fixture) ended(n int, s task.State) task.ID {
	f.Helper()
	t, x := f.working(nil)
	var said []string
	for i := range n {
		said = append(said, fmt.Sprint(i))
	}
	f.do(t.ID, task.Append{Execution: x, Events: messages(said...)})
	f.finish(t.ID, x, s)
	return t.ID
}

func pruneOldRunsOnly(f *fixture) {
	p := f.pruner()
	var old []task.ID
	for _, s := range []task.State{task.StateSucceeded, task.StateFailed, task.StateBlocked, task.StateError} {
		old = append(old, f.ended(1, s))
	}
	working, _ := f.working(nil)
	f.create(nil) // waits
	limit := f.get(old[3]).UpdatedAt.Add(time.Nanosecond)
	late := f.ended(1, task.StateSucceeded)
	prunable := func(before time.Time, limit int) []task.ID {
		got, err := p.Prunable(f.ctx(), before, limit)
		assert.NilError(f, err)
		return got
	}
	assert.DeepEqual(f, prunable(limit, 10), old)
	assert.DeepEqual(f, prunable(limit, 2), old[:2])
	assert.Equal(f, len(prunable(f.get(old[0]).UpdatedAt, 10)), 0, "only what changed before")

	f.refused(working.ID, task.Prune{Before: limit.Add(time.Hour)}, task.CodeConflict)
	f.refused(late, task.Prune{Before: limit}, task.CodeConflict)
}

func pruneHides(f *fixture) {
	p := f.pruner()
	id, other := f.ended(25, task.StateSucceeded), f.ended(5, task.StateSucceeded)
	kept := f.events(other)
	before := f.get(id)
	f.do(id, task.Prune{Before: before.UpdatedAt.Add(time.Hour)})
	after := f.get(id)
	assert.Equal(f, after.PrunedTo, before.LastSeq)
	assert.Equal(f, after.LastSeq, before.LastSeq+1)
	assert.Assert(f, after.UpdatedAt.Equal(before.UpdatedAt), "no place in a list changes")
	for done := false; !done; {
		for from := int64(0); from <= before.LastSeq; from += 7 {
			log, err := f.s.Events(f.ctx(), id, from, 100)
			assert.NilError(f, err)
			assert.Equal(f, len(log), 1, "what was pruned is never seen again")
			assert.Equal(f, log[0].Seq, after.LastSeq)
			assert.DeepEqual(f, log[0].Payload, &task.Pruned{Through: before.LastSeq})
		}
		left, err := p.Leftovers(f.ctx(), 10)
		assert.NilError(f, err)
		assert.DeepEqual(f, left, []task.ID{id})
		done, err = p.Trim(f.ctx(), id, 10)
		assert.NilError(f, err)
	}
	left, err := p.Leftovers(f.ctx(), 10)
	assert.NilError(f, err)
	assert.Equal(f, len(left), 0)
	done, err := p.Trim(f.ctx(), other, 10)
	assert.NilError(f, err)
	assert.Assert(f, done, "there is nothing to trim")
	assert.DeepEqual(f, f.events(other), kept)

	got, err := p.Prunable(f.ctx(), f.get(other).UpdatedAt.Add(time.Hour), 10)
	assert.NilError(f, err)
	assert.DeepEqual(f, got, []task.ID{other})
	f.do(id, task.Prune{Before: before.UpdatedAt.Add(time.Hour)}) // again
	assert.Equal(f, f.get(id).LastSeq, after.LastSeq)
	_, err = f.s.Do(f.ctx(), id, task.AddInput{Input: task.Input{Text: "more"}})
	assert.Equal(f, task.CodeOf(err), task.CodeOperationNotSupported, "nothing to go on from")
	f.do(id, task.Log{Payloads: []task.Payload{&task.Notice{Text: "n"}}})
	log, err := f.s.Events(f.ctx(), id, after.LastSeq, 10)
	assert.NilError(f, err)
	assert.Equal(f, len(log), 1, "the numbers go on")
	_, err = p.Trim(f.ctx(), newID(), 10)
	assert.ErrorIs(f, err, task.ErrNotFound)
}

func pruneReopens(f *fixture) {
	f.pruner()
	id := f.ended(5, task.StateFailed)
	f.do(id, task.Prune{Before: f.get(id).UpdatedAt.Add(time.Hour)})
	f.reopen()
	p := f.pruner()
	left, err := p.Leftovers(f.ctx(), 10)
	assert.NilError(f, err)
	assert.DeepEqual(f, left, []task.ID{id})
	done, err := p.Trim(f.ctx(), id, 1000)
	assert.NilError(f, err)
	assert.Assert(f, done)
	log, err := f.s.Events(f.ctx(), id, 0, 10)
	assert.NilError(f, err)
	assert.Equal(f, len(log), 1)
}

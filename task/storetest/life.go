package storetest

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"gotest.tools/v3/assert"

	"github.com/oz-platform/cloudagents/task"
)

var lifeCases = []testCase{
	{name: "ReopenKeepsEverything", run: reopenKeeps, reopens: true},
	{name: "CancelledContext", run: cancelledContext},
	{name: "CancelledWhileWaiting", run: cancelledWhileWaiting},
	{name: "Closed", run: closed},
	{name: "CloseDuringCalls", run: closeDuringCalls, reopens: true},
}

func reopenKeeps(f *fixture) {
	tasks := f.population(30)
	var logs [][]task.Event
	var execs [][]task.Execution
	for _, t := range tasks {
		logs = append(logs, f.events(t.ID))
		x, err := f.s.Executions(f.ctx(), t.ID)
		assert.NilError(f, err)
		execs = append(execs, x)
	}
	order := idsOf(f.all(task.Query{Limit: 4}))
	waiting := f.waiting(start.Add(time.Hour), 100)
	rev := f.put(task.Record{Kind: "a", Key: "k", Data: []byte("data"), UpdatedAt: start})
	f.reopen()
	for i, t := range tasks {
		assert.DeepEqual(f, f.get(t.ID), t)
		assert.DeepEqual(f, f.events(t.ID), logs[i])
		x, err := f.s.Executions(f.ctx(), t.ID)
		assert.NilError(f, err)
		assert.DeepEqual(f, x, execs[i])
	}
	assert.DeepEqual(f, idsOf(f.all(task.Query{Limit: 4})), order)
	assert.DeepEqual(f, f.waiting(start.Add(time.Hour), 100), waiting)
	assert.Equal(f, f.record("a", "k").Revision, rev)
	for _, t := range tasks { // and goes on where it was
		if t.Execution != "" && t.State == task.StateInProgress {
			f.do(t.ID, task.Append{Execution: t.Execution, Events: messages("after")})
			assert.DeepEqual(f, texts(f.events(t.ID)), []string{"after"})
		}
	}
}

// calls names every method that takes a context.
func calls(id task.ID) map[string]func(ctx context.Context, s task.Store) error {
	return map[string]func(ctx context.Context, s task.Store) error{
		"Create": func(ctx context.Context, s task.Store) error { _, _, err := s.Create(ctx, creation(nil)); return err },
		"Do": func(ctx context.Context, s task.Store) error {
			_, err := s.Do(ctx, id, task.AddInput{Input: task.Input{Text: "a"}})
			return err
		},
		"Get":        func(ctx context.Context, s task.Store) error { _, err := s.Get(ctx, id); return err },
		"List":       func(ctx context.Context, s task.Store) error { _, err := s.List(ctx, task.Query{}); return err },
		"Execution":  func(ctx context.Context, s task.Store) error { _, err := s.Execution(ctx, "x"); return err },
		"Executions": func(ctx context.Context, s task.Store) error { _, err := s.Executions(ctx, id); return err },
		"Events":     func(ctx context.Context, s task.Store) error { _, err := s.Events(ctx, id, 0, 10); return err },
		"Waiting":    func(ctx context.Context, s task.Store) error { _, err := s.Waiting(ctx, time.Now(), 10); return err },
		"Live":       func(ctx context.Context, s task.Store) error { _, err := s.Live(ctx); return err },
		"RunStats":   func(ctx context.Context, s task.Store) error { _, err := s.RunStats(ctx, statsDay(nil)); return err },
		"PutRecord": func(ctx context.Context, s task.Store) error {
			_, err := s.PutRecord(ctx, task.Record{Kind: "a", Key: key()})
			return err
		},
		"Record":       func(ctx context.Context, s task.Store) error { _, err := s.Record(ctx, "a", "k"); return err },
		"Records":      func(ctx context.Context, s task.Store) error { _, err := s.Records(ctx, "a", nil); return err },
		"DeleteRecord": func(ctx context.Context, s task.Store) error { return s.DeleteRecord(ctx, "a", "spare") },
	}
}

func (f *fixture) prepared() task.ID {
	f.Helper()
	id := f.create(nil).ID
	f.do(id, offer("x"))
	f.put(task.Record{Kind: "a", Key: "k"})
	f.put(task.Record{Kind: "a", Key: "spare"})
	return id
}

func cancelledContext(f *fixture) {
	id := f.prepared()
	before := f.get(id)
	ctx, cancel := context.WithCancel(f.ctx())
	cancel()
	late, cancelLate := context.WithDeadline(f.ctx(), start)
	defer cancelLate()
	for name, call := range calls(id) {
		assert.ErrorIs(f, call(ctx, f.s), context.Canceled, name)
		assert.ErrorIs(f, call(late, f.s), context.DeadlineExceeded, name)
	}
	assert.DeepEqual(f, f.get(id), before)
	assert.Equal(f, len(f.all(task.Query{})), 1)
	f.record("a", "k")
	for name, call := range calls(id) {
		assert.NilError(f, call(f.ctx(), f.s), name)
	}
}

// cancelledWhileWaiting ends contexts of writes under way: a write that fails
// has not happened, and one that succeeds has.
func cancelledWhileWaiting(f *fixture) {
	t, x := f.working(nil)
	id := t.ID
	var mu sync.Mutex
	done := map[string]bool{}
	var all sync.WaitGroup
	for i := range 200 {
		text := fmt.Sprint(i)
		ctx, cancel := context.WithCancel(f.ctx())
		all.Go(func() {
			_, err := f.s.Do(ctx, id, task.Log{Payloads: []task.Payload{&task.Notice{Text: text}}})
			assert.Check(f, err == nil || errors.Is(err, context.Canceled), "%v", err)
			mu.Lock()
			defer mu.Unlock()
			done[text] = err == nil
		})
		all.Go(cancel)
	}
	all.Wait()
	wrote := map[string]bool{}
	for _, e := range f.events(id) {
		if n, ok := e.Payload.(*task.Notice); ok {
			wrote[n.Text] = true
		}
	}
	for text, ok := range done {
		assert.Check(f, wrote[text] == ok, "notice %s: acknowledged %v, stored %v", text, ok, wrote[text])
	}
	f.do(id, task.Append{Execution: x, Events: messages("still works")})
}

func closed(f *fixture) {
	id := f.prepared()
	changed, cancel := f.s.Subscribe(id)
	assert.NilError(f, f.s.Close())
	assert.NilError(f, f.s.Close())
	for name, call := range calls(id) {
		assert.Assert(f, call(f.ctx(), f.s) != nil, name)
	}
	f.silent(changed)
	cancel()
	_, cancel = f.s.Subscribe(id)
	cancel()
}

// closeDuringCalls closes under load. Every call returns, and what was
// acknowledged is there afterwards.
func closeDuringCalls(f *fixture) {
	const writers = 8
	type acknowledged struct {
		id    task.ID
		count int
	}
	results := make([]acknowledged, writers)
	execs := make([]task.ExecutionID, writers)
	for i := range writers {
		t, x := f.working(nil)
		results[i].id, execs[i] = t.ID, x
	}
	var all sync.WaitGroup
	var begun sync.WaitGroup
	begun.Add(writers)
	for i := range writers {
		all.Go(func() {
			r := &results[i]
			for {
				_, err := f.s.Do(f.ctx(), r.id, task.Append{Execution: execs[i], Offset: int64(r.count), Events: messages(fmt.Sprint(r.count))})
				if err != nil {
					return
				}
				if r.count++; r.count == 3 {
					begun.Done()
				}
			}
		})
		all.Go(func() {
			for {
				if _, err := f.s.List(f.ctx(), task.Query{}); err != nil {
					return
				}
			}
		})
	}
	begun.Wait()
	var closing sync.WaitGroup
	for range 3 {
		closing.Go(func() { assert.Check(f, f.s.Close()) })
	}
	all.Wait()
	closing.Wait()
	f.s = f.h.Open(f.T)
	for _, r := range results {
		got := texts(f.events(r.id))
		assert.Check(f, len(got) == r.count || len(got) == r.count+1, "%d acknowledged, %d stored", r.count, len(got))
		for i, text := range got {
			assert.Equal(f, text, fmt.Sprint(i))
		}
	}
}

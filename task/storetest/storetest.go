// Package storetest is the contract of [task.Store] as tests: every promise in
// the comments of that interface has a case here. Whoever writes a store runs
// it:
//
//	func TestStoreConformance(t *testing.T) {
//		paths := map[string]string{}
//		storetest.Run(t, storetest.Harness{Open: func(t *testing.T) task.Store {
//			if paths[t.Name()] == "" {
//				paths[t.Name()] = filepath.Join(t.TempDir(), "oz.db")
//			}
//			s, err := mystore.Open(t.Context(), paths[t.Name()])
//			assert.NilError(t, err)
//			t.Cleanup(func() { _ = s.Close() })
//			return s
//		}})
//	}
//
// The cases ask for nothing but the interface. They create at most some
// hundred runs each and take some seconds in all.
package storetest

import (
	"cmp"
	"context"
	"slices"
	"testing"
	"time"

	"github.com/google/uuid"
	"gotest.tools/v3/assert"

	"github.com/oz-platform/cloudagents/task"
)

// Harness is what a store brings to its tests.
type Harness struct {
	// Open returns a Store on storage that is private to t. Calls with the
	// same t open the same storage; the suite closes the first Store before it
	// opens the second. Open registers its own cleanup, which may close again.
	Open func(t *testing.T) task.Store

	// Only names the groups of cases to run, such as "Stats", for a store that is
	// tested in another way as well. Empty means all.
	Only []string

	// Volatile stores forget their runs when closed; they skip the cases that
	// open again.
	Volatile bool
}

// Run tests a store. Cases run one after another, each on its own storage.
func Run(t *testing.T, h Harness) {
	t.Helper()
	groups := []struct {
		name  string
		cases []testCase
	}{
		{"Create", createCases},
		{"Do", commandCases},
		{"Events", eventCases},
		{"List", listCases},
		{"Dispatch", dispatchCases},
		{"Records", recordCases},
		{"Place", placeCases},
		{"Prune", pruneCases},
		{"Mail", mailCases},
		{"Journal", journalCases},
		{"Inbox", inboxCases},
		{"Outbox", outboxCases},
		{"Usage", usageCases},
		{"Stats", statsCases},
		{"Life", lifeCases},
		{"Model", modelCases},
	}
	for _, g := range groups {
		if len(h.Only) > 0 && !slices.Contains(h.Only, g.name) {
			continue
		}
		t.Run(g.name, func(t *testing.T) {
			for _, c := range g.cases {
				t.Run(c.name, func(t *testing.T) {
					if c.reopens && h.Volatile {
						t.Skip("a volatile store has nothing to open again")
					}
					c.run(&fixture{T: t, h: h, s: h.Open(t)})
				})
			}
		})
	}
}

// testCase is one case of the suite.
type testCase struct {
	name    string
	run     func(f *fixture)
	reopens bool
}

// fixture is a case under way.
type fixture struct {
	*testing.T
	h Harness
	s task.Store
}

// start is when everything begins that needs a fixed time: with nanoseconds.
var start = time.Date(2026, 2, 3, 4, 5, 6, 123456789, time.UTC)

// patience bounds every wait: a case that waits longer hangs.
const patience = 30 * time.Second

func (f *fixture) ctx() context.Context { return f.Context() }

// reopen closes the store and opens it again.
func (f *fixture) reopen() {
	f.Helper()
	assert.NilError(f, f.s.Close())
	f.s = f.h.Open(f.T)
}

func newID() task.ID { return task.NewID() }

// key makes a record key or idempotency key of its own.
func key() string { return uuid.NewString() }

// creation is a plain one.
func creation(change func(*task.Creation)) task.Creation {
	c := task.Creation{ID: newID(), Now: start, Spec: task.Spec{
		Title: "title", Prompt: "prompt", Owner: task.Scope{Type: task.ScopeTeam, UID: "team"},
		Creator: task.Principal{Type: task.PrincipalUser, UID: "ada"},
	}}
	if change != nil {
		change(&c)
	}
	return c
}

// create makes a run.
func (f *fixture) create(change func(*task.Creation)) task.Task {
	f.Helper()
	c := creation(change)
	t, replayed, err := f.s.Create(f.ctx(), c)
	assert.NilError(f, err)
	assert.Assert(f, !replayed)
	assert.Equal(f, t.ID, c.ID)
	return t
}

// do applies commands that must succeed.
func (f *fixture) do(id task.ID, commands ...task.Command) (h task.Head) {
	f.Helper()
	for _, c := range commands {
		var err error
		h, err = f.s.Do(f.ctx(), id, c)
		assert.NilError(f, err, "%T", c)
	}
	return h
}

// refused applies a command that must fail with a code and change nothing.
func (f *fixture) refused(id task.ID, c task.Command, code task.Code) {
	f.Helper()
	before, events := f.get(id), f.events(id)
	_, err := f.s.Do(f.ctx(), id, c)
	assert.Equal(f, task.CodeOf(err), code, "%T: %v", c, err)
	assert.DeepEqual(f, f.get(id), before)
	assert.DeepEqual(f, f.events(id), events)
}

// working makes a run that an execution works on.
func (f *fixture) working(change func(*task.Creation)) (task.Task, task.ExecutionID) {
	f.Helper()
	t := f.create(change)
	x := task.NewExecutionID()
	f.do(t.ID, offer(x), task.Accept{Execution: x, LeaseUntil: start}, task.Begin{Execution: x})
	return f.get(t.ID), x
}

func offer(x task.ExecutionID) task.Offer {
	return task.Offer{Execution: x, Worker: "worker", TokenHash: []byte{1, 2, 3}, LeaseUntil: start}
}

// finish ends a run's execution.
func (f *fixture) finish(id task.ID, x task.ExecutionID, s task.State) {
	f.Helper()
	f.do(id, task.End{Execution: x, State: s, SeenInput: f.get(id).LastInput})
}

func (f *fixture) get(id task.ID) task.Task {
	f.Helper()
	t, err := f.s.Get(f.ctx(), id)
	assert.NilError(f, err)
	return t
}

// events reads a run's whole log, in small pages, and checks its numbers.
func (f *fixture) events(id task.ID) (all []task.Event) {
	f.Helper()
	for {
		page, err := f.s.Events(f.ctx(), id, int64(len(all)), 100)
		assert.NilError(f, err)
		if len(page) == 0 {
			return all
		}
		for _, e := range page {
			all = append(all, e)
			assert.Equal(f, e.Seq, int64(len(all)), "a gap in the log")
			assert.Equal(f, e.TaskID, id)
		}
	}
}

func texts(events []task.Event) (out []string) {
	for _, e := range events {
		if m, ok := e.Payload.(*task.Message); ok {
			out = append(out, m.Text)
		}
	}
	return out
}

func messages(texts ...string) (out []task.Event) {
	for _, text := range texts {
		out = append(out, task.Event{Payload: &task.Message{ID: "m", Text: text}})
	}
	return out
}

// signalled waits for a signal of a subscription.
func (f *fixture) signalled(changed <-chan struct{}) {
	f.Helper()
	select {
	case <-changed:
	case <-time.After(patience):
		f.Fatal("no signal")
	}
}

// silent checks that no signal is there. Signals of calls that have returned
// must have been sent by then, so that nothing has to be waited for.
func (f *fixture) silent(changed <-chan struct{}) {
	f.Helper()
	select {
	case <-changed:
		f.Fatal("a signal without a change")
	default:
	}
}

func idsOf(tasks []task.Task) (out []task.ID) {
	for _, t := range tasks {
		out = append(out, t.ID)
	}
	return out
}

func sorted[T cmp.Ordered](in []T) []T {
	out := slices.Clone(in)
	slices.Sort(out)
	return out
}

package storetest

import (
	"fmt"
	"slices"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"gotest.tools/v3/assert"
	"pgregory.net/rapid"

	"github.com/oz-platform/cloudagents/task"
)

var modelCases = []testCase{{name: "RandomCommands", run: randomCommands}}

// shadow is what task.Decide makes of the commands that a store was given.
type shadow struct {
	id    task.ID
	head  task.Head
	execs map[task.ExecutionID]task.Execution
	log   []task.Event
	uids  []string // of artifacts
}

func (m *shadow) apply(c task.Command) error {
	snap := task.Snapshot{ID: m.id, Head: m.head, Execution: m.execs[task.Subject(m.head, c)]}
	change, err := task.Decide(snap, c, start)
	if err != nil {
		return err
	}
	m.head = change.Head
	if change.Execution != nil {
		m.execs[change.Execution.ID] = *change.Execution
	}
	m.log = append(m.log, change.Events...)
	for _, a := range change.Artifacts {
		if !slices.Contains(m.uids, a.UID) {
			m.uids = append(m.uids, a.UID)
		}
	}
	return nil
}

// randomCommands gives the store random sequences and compares all that it
// tells with the model. Times are those of the store's clock, so that only
// their presence is compared.
func randomCommands(f *fixture) {
	rapid.Check(f.T, func(rt *rapid.T) {
		where := rapid.SampledFrom([]task.Location{task.LocationRemote, task.LocationRemote, task.LocationLocal}).Draw(rt, "where")
		c := creation(func(c *task.Creation) { c.Where = where })
		made, events := c.Build()
		m := &shadow{id: c.ID, head: made.Head, execs: map[task.ExecutionID]task.Execution{}, log: events}
		_, _, err := f.s.Create(f.ctx(), c)
		assert.NilError(rt, err)
		for range rapid.IntRange(1, 30).Draw(rt, "steps") {
			cmd := drawCommand(rt, m)
			want := m.apply(cmd)
			got, err := f.s.Do(f.ctx(), c.ID, cmd)
			assert.Equal(rt, fmt.Sprint(err), fmt.Sprint(want), "%#v", cmd)
			if err == nil {
				f.same(rt, timeless(got), timeless(m.head))
			}
		}
		f.compare(rt, m)
	})
}

func (f *fixture) compare(rt *rapid.T, m *shadow) {
	t := f.get(m.id)
	f.same(rt, timeless(t.Head), timeless(m.head))
	uids := []string{}
	for _, a := range t.Artifacts {
		uids = append(uids, a.UID)
	}
	f.same(rt, uids, append([]string{}, m.uids...))
	log := f.events(m.id)
	assert.Equal(rt, len(log), len(m.log))
	for i := range log {
		f.same(rt, log[i].Payload, m.log[i].Payload)
		f.same(rt, log[i].ExecutionID, m.log[i].ExecutionID)
	}
	all, err := f.s.Executions(f.ctx(), m.id)
	assert.NilError(rt, err)
	assert.Equal(rt, len(all), len(m.execs))
	for _, x := range all {
		f.same(rt, timelessExecution(x), timelessExecution(m.execs[x.ID]))
	}
}

func (f *fixture) same(rt *rapid.T, got, want any) {
	if diff := gocmp.Diff(want, got); diff != "" {
		rt.Fatalf("the store differs from task.Decide (-want +got):\n%s", diff)
	}
}

// present keeps of a time only whether there is one.
func present(t time.Time) time.Time {
	if t.IsZero() {
		return t
	}
	return start
}

func timeless(h task.Head) task.Head {
	h.ReadyAt, h.CreatedAt, h.UpdatedAt = present(h.ReadyAt), present(h.CreatedAt), present(h.UpdatedAt)
	h.StartedAt, h.BegunAt, h.EndedAt, h.RunTime = present(h.StartedAt), present(h.BegunAt), present(h.EndedAt), 0
	return h
}

func timelessExecution(x task.Execution) task.Execution { // LeaseUntil comes with the commands
	x.OfferedAt, x.ClaimedAt, x.BegunAt, x.EndedAt = present(x.OfferedAt), present(x.ClaimedAt), present(x.BegunAt), present(x.EndedAt)
	return x
}

// drawCommand picks any command, of an execution that the run has, had or
// never had.
func drawCommand(rt *rapid.T, m *shadow) task.Command {
	known := []task.ExecutionID{"never"}
	for id := range m.execs {
		known = append(known, id)
	}
	if m.head.Execution != "" { // mostly the one that may write
		known = append(known, m.head.Execution, m.head.Execution, m.head.Execution)
	}
	slices.Sort(known)
	x := rapid.SampledFrom(known).Draw(rt, "execution")
	lease := start.Add(time.Duration(rapid.IntRange(0, 100).Draw(rt, "lease")) * time.Second)
	switch rapid.IntRange(0, 13).Draw(rt, "command") {
	case 0, 1:
		return task.Offer{Execution: task.NewExecutionID(), Worker: "w", TokenHash: []byte{1}, LeaseUntil: lease}
	case 2:
		return task.Accept{Execution: x, LeaseUntil: lease}
	case 3, 4:
		return task.Begin{Execution: x}
	case 5, 6:
		offset := max(0, m.execs[x].Appended+int64(rapid.IntRange(-2, 1).Draw(rt, "offset")))
		events := append(messages("a", "b"), artifact(fmt.Sprint(offset%3)), task.Event{Payload: &task.UsageReport{Model: "m", Calls: 1}})
		return task.Append{Execution: x, Offset: offset, Events: events[:rapid.IntRange(0, 4).Draw(rt, "events")]}
	case 7:
		return task.Renew{Execution: x, Until: lease}
	case 8, 9:
		state := rapid.SampledFrom(task.States()).Draw(rt, "state")
		return task.End{Execution: x, State: state, Status: task.Status{Message: "m"}, SeenInput: m.head.LastInput - int64(rapid.IntRange(0, 1).Draw(rt, "unseen"))}
	case 10:
		return task.Release{Execution: x, Reason: "r", ReadyAt: lease, MaxAttempts: rapid.IntRange(0, 3).Draw(rt, "attempts")}
	case 11:
		return rapid.SampledFrom([]task.Command{task.Cancel{}, task.Fail{Status: task.Status{ErrorCode: task.CodeInternal}}}).Draw(rt, "stop")
	case 12:
		return task.AddInput{Input: task.Input{Text: rapid.SampledFrom([]string{"", "more"}).Draw(rt, "text")}}
	}
	return rapid.SampledFrom([]task.Command{task.SandboxGone{Execution: x}, task.Log{Payloads: []task.Payload{&task.Notice{Text: "n"}}},
		task.Tell{Execution: x, Payload: &task.Notice{Text: "t", Key: "k"}}, task.Tell{Execution: x, Payload: artifact("1").Payload}}).Draw(rt, "other")
}

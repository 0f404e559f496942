package task_test

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"gotest.tools/v3/assert"
	"pgregory.net/rapid"

	"github.com/oz-platform/cloudagents/task"
)

// model is a second, smaller account of the rules, written from the wire's
// description and not from Decide.
type model struct {
	local    bool
	state    task.State
	holder   task.ExecutionID // may write, if any
	waits    bool             // for a worker
	phase    map[task.ExecutionID]string
	appended map[task.ExecutionID]int64
	ends     map[task.ExecutionID]task.State
	attempts int
	events   int64
	input    int64 // number of the newest message
}

// What the model can say to a command.
const (
	yes         = ""
	fencedOff   = "fenced"
	conflict    = "conflict"
	invalid     = "invalid_request"
	unsupported = "operation_not_supported"
)

func (m *model) move(to task.State) {
	if m.state != to {
		m.state = to
		m.events++
	}
}

func (m *model) drop() {
	if m.holder != "" {
		m.phase[m.holder] = "ended"
		m.holder = ""
	}
}

func (m *model) finish(to task.State) {
	m.drop()
	m.waits = false
	m.move(to)
}

// apply predicts the answer to a command and follows it.
func (m *model) apply(c task.Command) string {
	switch c := c.(type) {
	case task.Offer:
		if m.holder != "" || m.state.Ended() || (!m.waits && !m.local) {
			return conflict
		}
		m.holder, m.waits, m.phase[c.Execution] = c.Execution, false, "offered"
		if m.state != task.StateInProgress {
			m.move(task.StatePending)
		}
		return yes
	case task.Cancel:
		switch {
		case m.local:
			return unsupported
		case m.state.Ended():
			return invalid
		case m.state == task.StatePending:
			return conflict
		}
		m.ends[m.holder] = task.StateCancelled // if it says so too, it repeats
		m.finish(task.StateCancelled)
		return yes
	case task.Fail:
		if m.state.Ended() {
			return conflict
		}
		m.finish(map[bool]task.State{true: task.StateError, false: task.StateFailed}[c.Status.ErrorCode == task.CodeInternal])
		return yes
	case task.AddInput:
		return m.addInput(c.Input.Text != "")
	case task.Log:
		m.events += int64(len(c.Payloads))
		return yes
	case task.SandboxGone:
		return yes
	}
	return m.write(c)
}

func (m *model) addInput(words bool) string {
	if m.state.Ended() && m.local {
		return unsupported
	}
	if words {
		m.events++
		m.input = m.events
	}
	if m.state.Ended() {
		m.attempts, m.waits = 0, true
		m.move(task.StateQueued)
	}
	return yes
}

// write predicts the commands of executions.
func (m *model) write(c task.Command) string {
	x := task.Subject(task.Head{}, c)
	if end, ok := c.(task.End); ok && m.phase[x] == "ended" && m.ends[x] != "" && m.ends[x] == end.State {
		return yes // said again
	}
	if x == "" || x != m.holder {
		return fencedOff
	}
	switch c := c.(type) {
	case task.Accept:
		m.accept(x)
	case task.Begin:
		m.accept(x)
		m.phase[x] = "working"
		m.move(task.StateInProgress)
	case task.Append:
		if c.Offset < 0 || c.Offset > m.appended[x] {
			return conflict
		}
		if n := c.Offset + int64(len(c.Events)) - m.appended[x]; n > 0 {
			m.events += n
			m.appended[x] += n
		}
	case task.End:
		return m.end(c)
	case task.Release:
		m.release(c)
	}
	return yes
}

func (m *model) accept(x task.ExecutionID) {
	if m.phase[x] != "offered" {
		return
	}
	m.phase[x] = "claimed"
	if m.state == task.StatePending {
		m.move(task.StateClaimed)
	}
}

func (m *model) end(c task.End) string {
	fault := c.State == task.StateFailed || c.State == task.StateError
	switch {
	case !c.State.Ended():
		return invalid
	case m.state != task.StateInProgress && !fault:
		return conflict
	case (c.State == task.StateSucceeded || c.State == task.StateBlocked) && m.input > c.SeenInput:
		return conflict
	}
	m.ends[c.Execution] = c.State
	m.finish(c.State)
	return yes
}

func (m *model) release(c task.Release) {
	if c.MaxAttempts > 0 {
		m.attempts++
	}
	if m.local || (c.MaxAttempts > 0 && m.attempts >= c.MaxAttempts) {
		m.finish(task.StateError)
		return
	}
	m.drop()
	m.waits = true
	if m.state == task.StateInProgress {
		m.events++ // a notice
		return
	}
	m.move(task.StateQueued)
}

// TestDecideAgainstModel drives random sequences through Decide and the model
// and checks, after every command, that they agree and that what must always
// hold does.
func TestDecideAgainstModel(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		where := rapid.SampledFrom([]task.Location{task.LocationRemote, task.LocationRemote, task.LocationLocal}).Draw(rt, "where")
		h := newHistory(where, "")
		m := &model{local: where == task.LocationLocal, state: task.StateQueued, waits: where == task.LocationRemote, events: 2, input: 2,
			phase: map[task.ExecutionID]string{}, appended: map[task.ExecutionID]int64{}, ends: map[task.ExecutionID]task.State{}}
		for range rapid.IntRange(1, 60).Draw(rt, "steps") {
			stepBoth(rt, h, m, randomCommand(rt, h))
		}
	})
}

func stepBoth(rt *rapid.T, h *history, m *model, c task.Command) {
	before := *h
	execs := map[task.ExecutionID]task.Execution{}
	for id, x := range h.execs {
		execs[id] = x
	}
	want := m.apply(c)
	err := h.do(c)
	assert.Equal(rt, verdict(err), want, "%#v in %s: %v", c, before.head.State, err)
	if err != nil {
		assert.DeepEqual(rt, h.head, before.head)
	}

	// The model's account of the run.
	assert.Equal(rt, h.head.State, m.state)
	assert.Equal(rt, h.head.Execution, m.holder)
	assert.Equal(rt, !h.head.ReadyAt.IsZero(), m.waits && !m.local)
	assert.Equal(rt, h.head.Attempts, m.attempts)
	assert.Equal(rt, h.head.LastSeq, m.events)
	assert.Equal(rt, h.head.LastInput, m.input)

	invariants(rt, h, before, execs)
	repeatable(rt, h, c, err)
}

func verdict(err error) string {
	if errors.Is(err, task.ErrFenced) {
		return fencedOff
	}
	return string(task.CodeOf(err))
}

func invariants(rt *rapid.T, h *history, before history, execs map[task.ExecutionID]task.Execution) {
	for i, e := range h.log {
		assert.Equal(rt, e.Seq, int64(i+1), "the log has a gap")
	}
	live := 0
	for id, x := range h.execs {
		if x.Live() {
			live++
			assert.Equal(rt, id, h.head.Execution)
			continue
		}
		assert.Assert(rt, !x.EndedAt.IsZero() && x.Reason != "")
		assert.Assert(rt, execs[id].ID == "" || execs[id].Live() || execs[id].Appended == x.Appended, "an ended execution has written")
	}
	assert.Assert(rt, live <= 1, "two live executions")
	assert.Equal(rt, live == 1, h.head.Execution != "")
	assert.Assert(rt, h.head.RunTime >= before.head.RunTime, "run time went back")
	assert.Assert(rt, h.head.WorkTime(h.now) >= before.head.WorkTime(before.now), "work time went back")
	assert.Equal(rt, walk(rt, "", h.log), h.head.State)
	assert.Assert(rt, h.head.Execution == "" || h.head.ReadyAt.IsZero(), "it has a worker and waits for one")
	assert.Assert(rt, !h.head.State.Ended() || (h.head.Execution == "" && h.head.ReadyAt.IsZero() && h.head.BegunAt.IsZero()))
	assert.Equal(rt, h.head.State.Ended(), !h.head.EndedAt.IsZero(), "the time of the end")
	assert.Assert(rt, !h.head.BegunAt.IsZero() || h.head.Execution == "" || h.execs[h.head.Execution].State != task.ExecutionWorking)
}

// repeatable checks that a client may repeat what it has had no answer to.
func repeatable(rt *rapid.T, h *history, c task.Command, err error) {
	switch c.(type) {
	case task.Accept, task.Begin, task.Append, task.End, task.SandboxGone: // a renewal is another sign of life
	default:
		return
	}
	if err != nil {
		return
	}
	change, err := task.Decide(h.snapshot(c), c, h.now.Add(time.Minute))
	assert.NilError(rt, err, "%#v again", c)
	assert.DeepEqual(rt, change, task.Change{Head: h.head})
}

func randomCommand(rt *rapid.T, h *history) task.Command {
	ids := []task.ExecutionID{"never"}
	for id := range h.execs {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	if h.head.Execution != "" { // mostly the one that may write
		ids = append(ids, h.head.Execution, h.head.Execution, h.head.Execution)
	}
	x := rapid.SampledFrom(ids).Draw(rt, "execution")
	switch rapid.IntRange(0, 12).Draw(rt, "command") {
	case 0, 1:
		return task.Offer{Execution: task.ExecutionID(fmt.Sprint("x", len(h.execs)))}
	case 2:
		return task.Accept{Execution: x}
	case 3, 4:
		return task.Begin{Execution: x}
	case 5:
		events := make([]task.Event, rapid.IntRange(0, 3).Draw(rt, "events"))
		for i := range events {
			events[i].Payload = rapid.SampledFrom([]task.Payload{&task.Message{}, &task.UsageReport{Model: "m"}}).Draw(rt, "payload")
		}
		return task.Append{Execution: x, Offset: h.execs[x].Appended + int64(rapid.IntRange(-2, 1).Draw(rt, "offset")), Events: events}
	case 6:
		return task.Renew{Execution: x, Until: epoch.Add(time.Duration(rapid.IntRange(0, 9).Draw(rt, "until")) * time.Minute)}
	case 7, 8:
		return task.End{Execution: x, State: rapid.SampledFrom(task.States()).Draw(rt, "state"), SeenInput: h.head.LastInput - int64(rapid.IntRange(0, 1).Draw(rt, "unseen"))}
	case 9:
		return task.Release{Execution: x, Reason: "lost", ReadyAt: epoch, MaxAttempts: rapid.IntRange(0, 3).Draw(rt, "attempts")}
	case 10:
		return task.AddInput{Input: task.Input{Text: rapid.SampledFrom([]string{"", "more"}).Draw(rt, "text")}}
	case 11:
		return rapid.SampledFrom([]task.Command{task.Cancel{}, task.Fail{Status: task.Status{Message: "m", ErrorCode: task.CodeInternal}},
			task.Fail{Status: task.Status{Message: "m", ErrorCode: task.CodeNotFound}}}).Draw(rt, "stop")
	}
	return rapid.SampledFrom([]task.Command{task.SandboxGone{Execution: x}, task.Log{Payloads: []task.Payload{&task.Notice{}}}}).Draw(rt, "other")
}

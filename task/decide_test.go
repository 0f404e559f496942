package task_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"gotest.tools/v3/assert"

	"github.com/oz-platform/cloudagents/task"
)

// history applies commands to a run as a store does.
type history struct {
	id    task.ID
	head  task.Head
	execs map[task.ExecutionID]task.Execution
	log   []task.Event
	now   time.Time
}

func newHistory(where task.Location, from task.Source) *history {
	t, events := task.Creation{ID: "run", Now: epoch, Where: where, From: from, Spec: task.Spec{Prompt: "prompt"}}.Build()
	return &history{id: t.ID, head: t.Head, execs: map[task.ExecutionID]task.Execution{}, log: events, now: epoch}
}

// do applies a command one second after the last.
func (h *history) do(c task.Command) error {
	h.now = h.now.Add(time.Second)
	change, err := task.Decide(h.snapshot(c), c, h.now)
	if err != nil {
		return err
	}
	h.head = change.Head
	if change.Execution != nil {
		h.execs[change.Execution.ID] = *change.Execution
	}
	h.log = append(h.log, change.Events...)
	return nil
}

func (h *history) snapshot(c task.Command) task.Snapshot {
	return task.Snapshot{ID: h.id, Head: h.head, Execution: h.execs[task.Subject(h.head, c)]}
}

func (h *history) must(t testing.TB, commands ...task.Command) *history {
	t.Helper()
	for _, c := range commands {
		assert.NilError(t, h.do(c), "%T", c)
	}
	return h
}

// seen is a SeenInput that has seen all.
const seen = 1 << 40

// steps that lead to each situation of a remote run. LOST is INPROGRESS
// without an execution.
func situations() map[string][]task.Command {
	work := []task.Command{task.Offer{Execution: "x"}, task.Accept{Execution: "x"}, task.Begin{Execution: "x"}}
	then := func(c ...task.Command) []task.Command { return append(work[:len(work):len(work)], c...) }
	end := func(s task.State) []task.Command { return then(task.End{Execution: "x", State: s, SeenInput: seen}) }
	return map[string][]task.Command{
		"QUEUED": nil, "PENDING": work[:1], "CLAIMED": work[:2], "INPROGRESS": work, "LOST": then(task.Release{Execution: "x", ReadyAt: epoch}),
		"SUCCEEDED": end(task.StateSucceeded), "FAILED": end(task.StateFailed), "BLOCKED": end(task.StateBlocked),
		"ERROR": end(task.StateError), "CANCELLED": end(task.StateCancelled),
	}
}

// decideTable is the whole table: what each command makes of a run in each
// situation. "=" is accepted and leaves the state; a state is moved to;
// "fenced" is ErrFenced; other words in lower case are error codes.
const decideTable = `
command        QUEUED    PENDING   CLAIMED   INPROGRESS LOST      SUCCEEDED FAILED    BLOCKED   ERROR     CANCELLED
offer          PENDING   conflict  conflict  conflict   =         conflict  conflict  conflict  conflict  conflict
accept         fenced    CLAIMED   =         =          fenced    fenced    fenced    fenced    fenced    fenced
begin          fenced    INPROGRESS INPROGRESS =        fenced    fenced    fenced    fenced    fenced    fenced
append         fenced    =         =         =          fenced    fenced    fenced    fenced    fenced    fenced
tell           fenced    =         =         =          fenced    fenced    fenced    fenced    fenced    fenced
tell-message   fenced    invalid_request invalid_request invalid_request fenced fenced fenced fenced fenced fenced
renew          fenced    =         =         =          fenced    fenced    fenced    fenced    fenced    fenced
end-succeeded  fenced    conflict  conflict  SUCCEEDED  fenced    =         fenced    fenced    fenced    fenced
end-failed     fenced    FAILED    FAILED    FAILED     fenced    fenced    =         fenced    fenced    fenced
end-blocked    fenced    conflict  conflict  BLOCKED    fenced    fenced    fenced    =         fenced    fenced
end-error      fenced    ERROR     ERROR     ERROR      fenced    fenced    fenced    fenced    =         fenced
end-cancelled  fenced    conflict  conflict  CANCELLED  fenced    fenced    fenced    fenced    fenced    =
end-queued     fenced    invalid_request invalid_request invalid_request fenced fenced fenced fenced fenced fenced
release        fenced    QUEUED    QUEUED    =          fenced    fenced    fenced    fenced    fenced    fenced
release-last   fenced    ERROR     ERROR     ERROR      fenced    fenced    fenced    fenced    fenced    fenced
cancel         CANCELLED conflict  CANCELLED CANCELLED  CANCELLED invalid_request invalid_request invalid_request invalid_request invalid_request
input          =         =         =         =          =         QUEUED    QUEUED    QUEUED    QUEUED    QUEUED
input-blank    =         =         =         =          =         QUEUED    QUEUED    QUEUED    QUEUED    QUEUED
fail-user      FAILED    FAILED    FAILED    FAILED     FAILED    conflict  conflict  conflict  conflict  conflict
fail-platform  ERROR     ERROR     ERROR     ERROR      ERROR     conflict  conflict  conflict  conflict  conflict
sandbox-gone   =         =         =         =          =         =         =         =         =         =
log            =         =         =         =          =         =         =         =         =         =
`

func tableCommands() map[string]task.Command {
	end := func(s task.State) task.Command { return task.End{Execution: "x", State: s, SeenInput: seen} }
	return map[string]task.Command{
		"offer": task.Offer{Execution: "y", Worker: "w"}, "accept": task.Accept{Execution: "x"}, "begin": task.Begin{Execution: "x"},
		"append": task.Append{Execution: "x", Events: []task.Event{{Payload: &task.Notice{Text: "n"}}}},
		"tell":   task.Tell{Execution: "x", Payload: &task.Notice{Text: "n"}}, "tell-message": task.Tell{Execution: "x", Payload: &task.Message{Text: "m"}},
		"renew": task.Renew{Execution: "x", Until: epoch}, "end-succeeded": end(task.StateSucceeded), "end-failed": end(task.StateFailed),
		"end-blocked": end(task.StateBlocked), "end-error": end(task.StateError), "end-cancelled": end(task.StateCancelled), "end-queued": end(task.StateQueued),
		"release": task.Release{Execution: "x", ReadyAt: epoch}, "release-last": task.Release{Execution: "x", MaxAttempts: 1},
		"cancel": task.Cancel{}, "input": task.AddInput{Input: task.Input{Text: "more"}}, "input-blank": task.AddInput{Input: task.Input{Text: " \n"}},
		"fail-user":     task.Fail{Status: task.Status{ErrorCode: task.CodeBudgetExceeded}},
		"fail-platform": task.Fail{Status: task.Status{ErrorCode: task.CodeInfrastructureTimeout}},
		"sandbox-gone":  task.SandboxGone{Execution: "x"}, "log": task.Log{Payloads: []task.Payload{&task.Notice{Text: "n"}}},
	}
}

func TestDecideTable(t *testing.T) {
	lines := strings.Split(strings.TrimSpace(decideTable), "\n")
	columns := strings.Fields(lines[0])[1:]
	commands, steps := tableCommands(), situations()
	assert.Equal(t, len(columns), len(steps))
	assert.Equal(t, len(lines)-1, len(commands))
	for _, line := range lines[1:] {
		cells := strings.Fields(line)
		assert.Equal(t, len(cells), len(columns)+1, line)
		for i, situation := range columns {
			t.Run(cells[0]+"/"+situation, func(t *testing.T) {
				h := newHistory("", "").must(t, steps[situation]...)
				checkCell(t, h, commands[cells[0]], cells[i+1])
			})
		}
	}
}

func checkCell(t *testing.T, h *history, c task.Command, want string) {
	t.Helper()
	before := *h
	err := h.do(c)
	switch {
	case want == "fenced":
		assert.ErrorIs(t, err, task.ErrFenced)
	case strings.ToLower(want) == want && want != "=":
		assert.Equal(t, string(task.CodeOf(err)), want)
		assert.Assert(t, !errors.Is(err, task.ErrFenced))
	default:
		assert.NilError(t, err)
	}
	if err != nil || want == "=" {
		assert.Equal(t, h.head.State, before.head.State)
	} else {
		assert.Equal(t, string(h.head.State), want)
		assert.Assert(t, h.head.UpdatedAt.Equal(h.now), "updated_at moves on every transition")
		assert.Equal(t, walk(t, before.head.State, h.log[len(before.log):]), h.head.State)
	}
	if err != nil {
		assert.DeepEqual(t, h.head, before.head)
		assert.Equal(t, len(h.log), len(before.log))
	}
	assert.Equal(t, h.head.LastSeq, int64(len(h.log)))
}

// walk follows the transitions that events record, each of which must be legal.
func walk(t assert.TestingT, from task.State, events []task.Event) task.State {
	for _, e := range events {
		if c, ok := e.Payload.(*task.StateChanged); ok {
			assert.Equal(t, c.From, from)
			assert.Assert(t, from.CanBecome(c.To), "%s to %s", from, c.To)
			from = c.To
		}
	}
	return from
}

// TestCanBecome compares the table with that of the wire.
func TestCanBecome(t *testing.T) {
	legal := map[task.State]string{
		"":                   "QUEUED",
		task.StateQueued:     "PENDING INPROGRESS FAILED ERROR CANCELLED",
		task.StatePending:    "QUEUED CLAIMED FAILED ERROR",
		task.StateClaimed:    "QUEUED INPROGRESS FAILED ERROR CANCELLED",
		task.StateInProgress: "SUCCEEDED FAILED BLOCKED ERROR CANCELLED",
		task.StateSucceeded:  "QUEUED", task.StateFailed: "QUEUED", task.StateBlocked: "QUEUED", task.StateError: "QUEUED", task.StateCancelled: "QUEUED",
	}
	assert.Equal(t, len(legal), len(task.States())+1)
	for from, to := range legal {
		var got []string
		for _, s := range task.States() {
			if from.CanBecome(s) {
				got = append(got, string(s))
			}
		}
		assert.Equal(t, strings.Join(got, " "), to, "from %q", from)
		assert.Assert(t, !from.CanBecome("") && !from.CanBecome("DONE"))
	}
	for _, s := range task.States() {
		assert.Assert(t, s.Known() && s.Active() != s.Ended())
	}
	assert.Assert(t, !task.State("DONE").Known())
}

// TestCancelPrecedence: type before terminal before PENDING.
func TestCancelPrecedence(t *testing.T) {
	for _, h := range []*history{newHistory(task.LocationLocal, ""), newHistory("", task.SourceGitHubAction)} {
		assert.Assert(t, !h.head.Cancellable())
		assert.Equal(t, task.CodeOf(h.do(task.Cancel{})), task.CodeOperationNotSupported)
		h.must(t, task.Offer{Execution: "x"})
		assert.Equal(t, task.CodeOf(h.do(task.Cancel{})), task.CodeOperationNotSupported)
		h.must(t, task.Fail{Status: task.Status{ErrorCode: task.CodeInternal}})
		assert.Equal(t, task.CodeOf(h.do(task.Cancel{})), task.CodeOperationNotSupported)
	}
	pending := newHistory("", "").must(t, task.Offer{Execution: "x"})
	var e *task.Error
	assert.Assert(t, errors.As(pending.do(task.Cancel{}), &e))
	assert.Equal(t, e.RetryAfterMS, int64(1000))
	assert.Assert(t, e.Code.Retryable())
	done := newHistory("", "").must(t, task.Cancel{Reason: "not needed"})
	assert.Equal(t, done.head.Status.Message, "not needed")
}

func TestFollowUps(t *testing.T) {
	local := newHistory(task.LocationLocal, "").must(t, task.Offer{Execution: "x"}, task.Begin{Execution: "x"})
	local.must(t, task.AddInput{Input: task.Input{Text: "while it lives"}}, task.End{Execution: "x", State: task.StateFailed})
	assert.Equal(t, task.CodeOf(local.do(task.AddInput{Input: task.Input{Text: "after"}})), task.CodeOperationNotSupported)

	h := newHistory("", "").must(t, situations()["ERROR"]...)
	h.head.Attempts = 3
	events := len(h.log)
	h.must(t, task.AddInput{})
	assert.Equal(t, len(h.log), events+1, "a blank message is no message")
	assert.Equal(t, h.head.Attempts, 0, "a new round of attempts")
	assert.Assert(t, h.head.ReadyAt.Equal(h.now))
	assert.Equal(t, h.head.LastInput, int64(2))

	h.must(t, task.AddInput{Input: task.Input{Attachments: []task.Attachment{{FileName: "f"}}}})
	assert.Equal(t, h.head.LastInput, h.head.LastSeq, "attachments alone are a message")
	for _, bad := range []string{"\xff", "a\x00b", strings.Repeat("x", task.MaxInputBytes+1)} {
		assert.ErrorIs(t, h.do(task.AddInput{Input: task.Input{Text: bad}}), task.ErrInvalid)
	}
	h.must(t, task.AddInput{Input: task.Input{Text: strings.Repeat("x", task.MaxInputBytes)}})
}

func TestInputsThatKnowTheNewest(t *testing.T) {
	h := newHistory("", "").must(t, situations()["INPROGRESS"]...)
	last := h.head.LastInput
	h.must(t, task.AddInput{Input: task.Input{Text: "once", Key: "k"}, Last: &last})
	events := len(h.log)
	assert.ErrorIs(t, h.do(task.AddInput{Input: task.Input{Text: "once", Key: "k"}, Last: &last}), task.ErrConflict)
	assert.Equal(t, len(h.log), events)
	last = h.head.LastInput
	h.must(t, task.AddInput{Input: task.Input{Text: "then"}, Last: &last})
}

func TestEndMustHaveSeenAllInput(t *testing.T) {
	for _, s := range []task.State{task.StateSucceeded, task.StateBlocked, task.StateFailed, task.StateError} {
		h := newHistory("", "").must(t, situations()["INPROGRESS"]...).must(t, task.AddInput{Input: task.Input{Text: "wait"}})
		err := h.do(task.End{Execution: "x", State: s, SeenInput: 2})
		if s == task.StateFailed || s == task.StateError {
			assert.NilError(t, err, "faults do not wait for people")
			continue
		}
		assert.ErrorIs(t, err, task.ErrUnseenInput)
		h.must(t, task.End{Execution: "x", State: s, SeenInput: h.head.LastInput})
	}
}

func TestReleaseCountsAttempts(t *testing.T) {
	h := newHistory("", "")
	for i := range 2 {
		x := task.ExecutionID(fmt.Sprint(i))
		h.must(t, task.Offer{Execution: x}, task.Begin{Execution: x}, task.Release{Execution: x, Reason: "lost", ReadyAt: epoch, MaxAttempts: 3})
		assert.Equal(t, h.head.State, task.StateInProgress)
		assert.Equal(t, h.head.Attempts, i+1)
	}
	h.must(t, task.Offer{Execution: "refused"}, task.Release{Execution: "refused", Reason: "full", ReadyAt: epoch})
	assert.Equal(t, h.head.Attempts, 2, "a refusal is no attempt")
	h.must(t, task.Offer{Execution: "last"}, task.Release{Execution: "last", Reason: "lease lost", MaxAttempts: 3, Code: task.CodeInfrastructureTimeout})
	assert.Equal(t, h.head.State, task.StateError)
	assert.DeepEqual(t, h.head.Status, task.Status{Message: "lease lost", ErrorCode: task.CodeInfrastructureTimeout, Retryable: true})
	assert.Equal(t, h.head.Executions, 4)

	local := newHistory(task.LocationLocal, "").must(t, task.Offer{Execution: "x"}, task.Begin{Execution: "x"}, task.Release{Execution: "x", Reason: "gone"})
	assert.Equal(t, local.head.State, task.StateError, "nobody else can run it")
	assert.Equal(t, local.head.Status.ErrorCode, task.CodeInternal)
}

func TestReleaseOfALostLease(t *testing.T) {
	lease := epoch.Add(30 * time.Second)
	h := newHistory("", "").must(t, task.Offer{Execution: "x", LeaseUntil: lease})
	release := func(seen time.Time) error {
		return h.do(task.Release{Execution: "x", Reason: "lease lost", ReadyAt: epoch, Lease: seen})
	}
	h.must(t, task.Renew{Execution: "x", Until: epoch.Add(time.Minute)})
	assert.ErrorIs(t, release(lease), task.ErrConflict, "it was renewed")
	h.must(t, task.Renew{Execution: "x", Until: epoch})
	assert.Assert(t, h.execs["x"].LeaseUntil.After(epoch.Add(time.Minute)), "a lease never moves back, and always moves")
	assert.ErrorIs(t, release(epoch.Add(time.Minute)), task.ErrConflict, "also by a clock that went back")
	assert.NilError(t, release(h.execs["x"].LeaseUntil))
}

func TestRunTime(t *testing.T) {
	h := newHistory("", "").must(t, situations()["INPROGRESS"]...)
	begun := h.now
	assert.Assert(t, h.head.StartedAt.Equal(begun) && h.head.BegunAt.Equal(begun))
	assert.Equal(t, h.head.WorkTime(begun.Add(time.Minute)), time.Minute)
	assert.Equal(t, h.head.WorkTime(begun.Add(-time.Minute)), time.Duration(0), "a clock that goes back")
	h.now = begun.Add(9 * time.Second)
	h.must(t, task.Release{Execution: "x", ReadyAt: epoch}) // at 10 s
	assert.Equal(t, h.head.RunTime, 10*time.Second)
	assert.Equal(t, h.head.WorkTime(begun.Add(time.Hour)), 10*time.Second)
	h.must(t, task.Offer{Execution: "y"}, task.Begin{Execution: "y"}, task.End{Execution: "y", State: task.StateFailed})
	assert.Equal(t, h.head.RunTime, 11*time.Second)
	assert.Assert(t, h.head.StartedAt.Equal(begun), "the first moment of work")
}

func TestSandboxOfTheNewestExecution(t *testing.T) {
	h := newHistory("", "").must(t, situations()["LOST"]...)
	assert.Assert(t, h.head.SandboxRunning)
	h.must(t, task.Offer{Execution: "y"}, task.Begin{Execution: "y"}, task.SandboxGone{Execution: "x"})
	assert.Assert(t, h.head.SandboxRunning, "that was the older one's")
	h.must(t, task.SandboxGone{Execution: "y"})
	assert.Assert(t, !h.head.SandboxRunning)
}

func TestAppendLimits(t *testing.T) {
	h := newHistory("", "").must(t, situations()["INPROGRESS"]...)
	many := make([]task.Event, task.MaxAppendEvents+1)
	for i := range many {
		many[i].Payload = &task.Notice{}
	}
	assert.ErrorIs(t, h.do(task.Append{Execution: "x", Events: many}), task.ErrInvalid)
	h.must(t, task.Append{Execution: "x", Events: many[1:]})
	for _, p := range []task.Payload{nil, &task.Input{}, &task.StateChanged{}, &task.ArtifactReported{},
		&task.UsageReport{Model: strings.Repeat("m", 300)}} {
		assert.ErrorIs(t, h.do(task.Append{Execution: "x", Offset: task.MaxAppendEvents, Events: []task.Event{{Payload: p}}}), task.ErrInvalid)
	}
	assert.ErrorIs(t, h.do(task.Offer{}), task.ErrInvalid)
	for _, p := range []task.Payload{&task.Message{}, &task.Input{}, nil} {
		assert.ErrorIs(t, h.do(task.Log{Payloads: []task.Payload{p}}), task.ErrInvalid)
	}
}

// TestDecideKeepsNoMonotonicClock: what is stored must equal what is given.
func TestDecideKeepsNoMonotonicClock(t *testing.T) {
	h := newHistory("", "")
	h.now = time.Now()
	h.must(t, task.Offer{Execution: "x", LeaseUntil: time.Now()}, task.Begin{Execution: "x"})
	for _, at := range []time.Time{h.head.BegunAt, h.head.UpdatedAt, h.execs["x"].LeaseUntil, h.execs["x"].OfferedAt, h.log[len(h.log)-1].Time} {
		assert.Equal(t, at, at.Round(0))
		assert.Equal(t, at.Location(), time.UTC)
	}
}

func ExampleDecide() {
	run, _ := task.Creation{ID: "run", Now: epoch, Spec: task.Spec{Prompt: "Mend the parser"}}.Build()
	change, err := task.Decide(task.Snapshot{ID: run.ID, Head: run.Head}, task.Offer{Execution: "x", Worker: "w"}, epoch)
	fmt.Println(change.Head.State, change.Execution.State, err)

	_, err = task.Decide(task.Snapshot{ID: run.ID, Head: run.Head}, task.Begin{Execution: "gone"}, epoch)
	fmt.Println(errors.Is(err, task.ErrFenced))
	// Output:
	// PENDING OFFERED <nil>
	// true
}

package task

import (
	"fmt"
	"time"
)

// Snapshot is all that a decision about a run depends on.
type Snapshot struct {
	ID   ID
	Head Head
	// Execution is the one that Subject names; zero when there is none.
	Execution Execution
}

// Change is what a decision makes of a Snapshot. A store writes all of it in
// the transaction in which it read the snapshot.
type Change struct {
	Head Head
	// Execution is to be inserted or replaced; nil leaves all as they are.
	Execution *Execution
	// Events are to be appended; they are numbered from the old LastSeq on.
	Events []Event
	// Artifacts are to be added, but for those whose UID the run has already,
	// and those above MaxArtifacts: these stay in the log alone.
	Artifacts []Artifact
	// Signals are to be numbered on the store's sequence, by a Mailbox. Seq is 0.
	Signals []Signal
}

// Command asks for a change of a run. The types of this package that
// implement it are the only ways in which a run can change.
type Command interface {
	// subject names the execution that the command is about, "" when it is
	// about the run itself.
	subject() ExecutionID
	apply(d *decision) error
}

// Subject names the execution that a store must put into the Snapshot: the
// one that the command is about, or else the run's present one.
func Subject(h Head, c Command) ExecutionID {
	if id := c.subject(); id != "" {
		return id
	}
	return h.Execution
}

// Decide is the one place where runs change. It judges the command against
// the snapshot and says what the change is, without side effects. It fails
// with an *Error: ErrFenced inside when the execution has lost its lease,
// CodeConflict, CodeInvalidRequest or CodeOperationNotSupported else. A
// command that changes nothing gives a Change equal to the snapshot.
func Decide(s Snapshot, c Command, now time.Time) (Change, error) {
	d := &decision{id: s.ID, head: s.Head, exec: s.Execution, now: wall(now)}
	if err := c.apply(d); err != nil {
		return Change{}, err
	}
	return d.change(s), nil
}

// wall is a moment as it is stored: UTC, without the reading of the monotonic
// clock, which means nothing after a restart.
func wall(t time.Time) time.Time { return t.UTC().Round(0) }

// decision is a change in the making.
type decision struct {
	id        ID
	head      Head
	exec      Execution
	touched   bool // exec is to be written
	events    []Event
	artifacts []Artifact
	signals   []Signal
	now       time.Time
}

func (d *decision) change(s Snapshot) Change {
	c := Change{Head: d.head, Events: d.events, Artifacts: d.artifacts, Signals: d.signals}
	if d.touched {
		e := d.exec
		c.Execution = &e
	}
	if d.touched || len(d.events) > 0 {
		return c
	}
	c.Head = s.Head
	return c
}

// emit numbers a payload and adds it to the log.
func (d *decision) emit(by ExecutionID, at time.Time, p Payload) int64 {
	d.head.LastSeq++
	d.events = append(d.events, Event{Seq: d.head.LastSeq, TaskID: d.id, ExecutionID: by, Time: at, Payload: p})
	return d.head.LastSeq
}

// move takes the run to another state and records it; staying is no event.
func (d *decision) move(to State, status Status, reason string) error {
	from := d.head.State
	if from == to {
		return nil
	}
	if !from.CanBecome(to) {
		return Errorf(CodeConflict, "a run that is %s cannot become %s", from, to)
	}
	d.head.State, d.head.Status, d.head.UpdatedAt, d.head.EndedAt = to, status, d.now, time.Time{}
	if to.Ended() {
		d.head.EndedAt = d.now
	}
	d.emit("", d.now, &StateChanged{From: from, To: to, Status: status, Worker: d.exec.Worker, Reason: reason})
	return nil
}

// holder fails unless the snapshot's execution is the one that may write.
func (d *decision) holder() error {
	switch {
	case d.exec.ID == "":
		return fenced("", "no such execution of this run")
	case !d.exec.Live():
		return fenced(d.exec.ID, "has ended ("+d.exec.Reason+"); stop working on this run")
	case d.head.Execution != d.exec.ID:
		return fenced(d.exec.ID, "was replaced by another execution; stop working on this run")
	}
	return nil
}

// endExecution ends the snapshot's execution, so that it can write no more.
func (d *decision) endExecution(reason string) {
	if !d.exec.Live() {
		return
	}
	d.exec.State, d.exec.EndedAt, d.exec.Reason = ExecutionEnded, d.now, reason
	d.touched = true
	if d.head.Execution != d.exec.ID {
		return
	}
	d.head.Execution = ""
	d.head.RunTime = d.head.WorkTime(d.now)
	d.head.BegunAt = time.Time{}
}

// end takes the run to a final state, whoever held it.
func (d *decision) end(to State, status Status, reason string) error {
	return d.endWith(to, status, reason, "")
}

// endWith is end with what the reporter of it refers to.
func (d *decision) endWith(to State, status Status, reason, ref string) error {
	d.endExecution(reason)
	d.head.ReadyAt = time.Time{}
	if err := d.move(to, status, reason); err != nil {
		return fmt.Errorf("end run %s: %w", d.id, err)
	}
	d.announce(to, ref)
	return nil
}

package pgstore

import (
	"encoding/json"
	"fmt"
	"slices"

	"github.com/jackc/pgx/v5/pgtype"

	"github.com/oz-platform/cloudagents/task"
)

// run is a run within a transaction.
type run struct {
	id      task.ID
	n       int64
	version int64
	filed   bool      // in the list indexes, when it was read
	old     task.Head // as it was read; zero for a new run
	head    task.Head // as it is decided by now
	encoded []byte    // head, once all is decided
	execs   map[task.ExecutionID]*execution

	// What is to be written.

	order      []*execution // those that have changed
	events     []encodedEvent
	artifacts  []encodedArtifact
	tags       []string
	lastWorker *string   // of the newest execution, when there is a new one
	made       *building // of a new run
	known      int       // artifacts that it has
	dispatch   bool      // it has begun to wait or freed an execution
}

// execution is an execution within a transaction.
type execution struct {
	task.Execution
	data           []byte
	fresh, changed bool
}

// command decides c and notes what follows from it.
func (tx *transaction) command(id task.ID, c task.Command, data [][]byte) (task.Head, error) {
	r := tx.runs[id]
	if r == nil {
		return task.Head{}, noRun(id)
	}
	snap := task.Snapshot{ID: id, Head: r.head}
	if x := r.execs[task.Subject(r.head, c)]; x != nil {
		snap.Execution = x.Execution
	}
	change, err := task.Decide(snap, c, tx.s.opts.Clock.Now())
	if err != nil {
		return task.Head{}, err
	}
	if len(change.Events) < len(data) {
		data = data[len(data)-len(change.Events):] // the log had the rest already
	}
	p, err := encodeChange(change, data)
	if err != nil {
		return task.Head{}, err
	}
	if err := tx.checkExecutions(r, p); err != nil {
		return task.Head{}, err
	}
	if p.exec != nil || len(p.events) > 0 {
		tx.apply(r, p)
	}
	return copyHead(change.Head), nil
}

// copyHead makes a head that shares nothing with another.
func copyHead(h task.Head) task.Head {
	h.Usage.Models, h.Sharing = slices.Clone(h.Usage.Models), h.Sharing.Clone()
	return h
}

// plan is a change of a run, its events encoded.
type plan struct {
	head      task.Head
	exec      *execution
	events    []encodedEvent
	artifacts []encodedArtifact
	signals   []task.Signal
}

// encodeChange prepares a decision for storage. known is that of encodeEvents.
func encodeChange(c task.Change, known [][]byte) (p plan, err error) {
	p.head, p.signals = c.Head, c.Signals
	if c.Execution != nil {
		p.exec = &execution{Execution: *c.Execution}
	}
	if p.events, err = encodeEvents(c.Events, known); err != nil {
		return p, err
	}
	p.artifacts, err = encodeArtifacts(c.Artifacts)
	return p, err
}

// checkExecutions refuses an ID for a new execution that another one has had.
func (tx *transaction) checkExecutions(r *run, plans ...plan) error {
	made := map[task.ExecutionID]int{}
	for _, p := range plans {
		x := p.exec
		if x == nil || x.Number <= r.head.Executions {
			continue
		}
		if tx.usedExecs[x.ID] || (made[x.ID] != 0 && made[x.ID] != x.Number) {
			return usedExecution(x.ID)
		}
		made[x.ID] = x.Number
	}
	return nil
}

func usedExecution(id task.ExecutionID) error {
	return task.Errorf(task.CodeConflict, "execution %q exists already; every offer needs an ID of its own", string(id))
}

// apply notes a plan to be written.
func (tx *transaction) apply(r *run, p plan) {
	tx.countChange(r.head, p.head)
	if x := p.exec; x != nil {
		r.put(x, x.Number > r.head.Executions)
		tx.usedExecs[x.ID] = true
	}
	r.dispatch = r.dispatch || freesOrWaits(r.head, p.head)
	r.head = p.head
	r.events = append(r.events, p.events...)
	tx.signal(r, p.signals...)
	for _, a := range p.artifacts {
		r.artifacts = append(r.artifacts, a)
		r.tags = append(r.tags, artifactTag(a.typ))
	}
	if !tx.dirty[r] {
		tx.dirty[r] = true
		r.version++
		if r.made == nil {
			tx.changed = append(tx.changed, r)
		}
	}
}

// put keeps the newest state of an execution.
func (r *run) put(x *execution, fresh bool) {
	old := r.execs[x.ID]
	if old == nil || !old.changed {
		x.fresh, x.changed = fresh, true
		r.execs[x.ID] = x
		r.order = append(r.order, x)
	} else {
		old.Execution = x.Execution
	}
	if fresh {
		r.lastWorker = &x.Worker
	}
}

// idleAt is the column of that name: a run leaves the list indexes when an
// execution begins to write, and the filer puts it there. One that is made
// after its end is there at once.
func (r *run) idleAt() pgtype.Int8 {
	stays := r.filed || r.made != nil && r.head.State.Ended()
	return pgtype.Int8{Int64: nanos(r.head.UpdatedAt), Valid: stays && r.head.Execution == ""}
}

// encode encodes what all commands together have made of each run.
func (tx *transaction) encode() (err error) {
	for r := range tx.dirty {
		if r.encoded, err = json.Marshal(r.head); err != nil {
			return fmt.Errorf("encode head of run %s: %w", r.id, err)
		}
		for _, x := range r.order {
			if x.data, err = json.Marshal(x.Execution); err != nil {
				return fmt.Errorf("encode execution %s: %w", x.ID, err)
			}
		}
	}
	return nil
}

// writes reports that the transaction changes something.
func (tx *transaction) writes() bool {
	if len(tx.dirty) > 0 || len(tx.trims) > 0 || len(tx.mail) > 0 {
		return true
	}
	for _, r := range tx.records {
		if r.changed {
			return true
		}
	}
	return false
}

// changes are the versions of the runs that the transaction changes.
func (tx *transaction) changes() map[task.ID]int64 {
	changed := map[task.ID]int64{}
	for r := range tx.dirty {
		changed[r.id] = r.version
		if r.dispatch {
			changed[dispatcher] = 0
		}
	}
	if len(tx.signals) > 0 {
		changed[task.NewSignals] = 0
	}
	return changed
}

// tell wakes those who wait here for what was committed.
func (tx *transaction) tell() {
	tx.s.quota.add(tx.delta)
	tx.s.subs.wake(tx.changes())
	for r := range tx.dirty {
		if r.head.Execution == "" && !r.idleAt().Valid {
			tx.s.filer.wake()
		}
	}
}

func noRun(id task.ID) error {
	return task.Errorf(task.CodeNotFound, "there is no run %q", string(id))
}

// freesOrWaits reports that a change is something for the dispatcher: the run
// has begun to wait, or freed an execution.
func freesOrWaits(old, next task.Head) bool {
	freed := old.Execution != "" && old.Execution != next.Execution
	return freed || (!next.ReadyAt.IsZero() && !old.ReadyAt.Equal(next.ReadyAt))
}

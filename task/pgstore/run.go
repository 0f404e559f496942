package pgstore

import (
	"encoding/json"
	"slices"

	"github.com/oz-platform/cloudagents/task"
)

// run is a run within a transaction.
type run struct {
	id      task.ID
	n       int64
	version int64
	old     task.Head // as it was read; zero for a new run
	head    task.Head // as it is decided by now
	encoded []byte    // head
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
	head := change.Head
	head.Usage.Models = slices.Clone(head.Usage.Models)
	return head, nil
}

// plan is a change of a run, encoded.
type plan struct {
	head      task.Head
	encoded   []byte // head
	exec      *execution
	events    []encodedEvent
	artifacts []encodedArtifact
	signals   []task.Signal
}

// encodeChange prepares a decision for storage. known is that of encodeEvents.
func encodeChange(c task.Change, known [][]byte) (p plan, err error) {
	p.head, p.signals = c.Head, c.Signals
	if p.encoded, err = json.Marshal(c.Head); err != nil {
		return p, err
	}
	if c.Execution != nil {
		p.exec = &execution{Execution: *c.Execution}
		if p.exec.data, err = json.Marshal(c.Execution); err != nil {
			return p, err
		}
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
			return task.Errorf(task.CodeConflict, "execution %q exists already; every offer needs an ID of its own", string(x.ID))
		}
		made[x.ID] = x.Number
	}
	return nil
}

// apply notes a plan to be written.
func (tx *transaction) apply(r *run, p plan) {
	tx.countChange(r.head, p.head)
	if x := p.exec; x != nil {
		r.put(x, x.Number > r.head.Executions)
		tx.usedExecs[x.ID] = true
	}
	r.dispatch = r.dispatch || freesOrWaits(r.head, p.head)
	r.head, r.encoded = p.head, p.encoded
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
		old.Execution, old.data = x.Execution, x.data
	}
	if fresh {
		r.lastWorker = &x.Worker
	}
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

// tell wakes subscribers, here and at other stores.
func (tx *transaction) tell() {
	changed := map[task.ID]int64{}
	for r := range tx.dirty {
		changed[r.id] = r.version
		if r.dispatch {
			changed[dispatcher] = 0
		}
	}
	if len(changed) == 0 {
		return
	}
	tx.s.quota.add(tx.delta)
	tx.s.subs.wake(changed)
	tx.s.notify.tell(changed)
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

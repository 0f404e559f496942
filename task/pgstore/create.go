package pgstore

import (
	"bytes"
	"context"
	"encoding/json"
	"time"

	"github.com/oz-platform/cloudagents/task"
)

// Create implements task.Store.
func (s *Store) Create(ctx context.Context, c task.Creation) (task.Task, bool, error) {
	b, err := build(c)
	if err != nil {
		return task.Task{}, false, err
	}
	op := &create{c: c, b: b}
	if err = s.do(ctx, "create run "+string(c.ID), string(c.ID), len(b.spec), op); err != nil {
		return task.Task{}, false, err
	}
	if op.earlier != "" {
		t, err := s.Get(ctx, op.earlier)
		return t, true, err
	}
	t, err := b.result()
	return t, false, err
}

// building is a new run, encoded.
type building struct {
	task  task.Task
	spec  []byte
	words []string // for the search
	plans []plan   // the creation itself, then its commands
}

// build makes the run with all that its commands do to it.
func build(c task.Creation) (*building, error) {
	if c.ID == "" {
		return nil, task.Invalid("id", "a run needs an ID")
	}
	if err := checkName("id", string(c.ID)); err != nil {
		return nil, err
	}
	b := &building{words: searchWords(c.Spec)}
	var events []task.Event
	b.task, events = c.Build()
	var err error
	if b.spec, err = encode(b.task.Spec); err != nil {
		return nil, task.Invalid("spec", "cannot be stored: %w", err)
	}
	first, err := encodeChange(task.Change{Head: b.task.Head, Events: events}, nil)
	if err != nil {
		return nil, task.Invalid("spec", "cannot be stored: %w", err)
	}
	b.plans = append(b.plans, first)
	execs := map[task.ExecutionID]task.Execution{}
	for _, cmd := range c.Commands {
		if err := checkCommand(cmd); err != nil {
			return nil, err
		}
		head := b.plans[len(b.plans)-1].head
		change, err := task.Decide(task.Snapshot{ID: c.ID, Head: head, Execution: execs[task.Subject(head, cmd)]}, cmd, c.Now)
		if err != nil {
			return nil, err
		}
		p, err := encodeChange(change, nil)
		if err != nil {
			return nil, err
		}
		b.plans = append(b.plans, p)
		if change.Execution != nil {
			execs[change.Execution.ID] = *change.Execution
		}
	}
	return b, nil
}

// result is the run as it is now stored, sharing nothing with the creation.
func (b *building) result() (task.Task, error) {
	t := task.Task{ID: b.task.ID}
	if err := json.Unmarshal(b.spec, &t.Spec); err != nil {
		return t, err
	}
	t.Head = copyHead(b.plans[len(b.plans)-1].head)
	kept := map[string]bool{}
	for _, p := range b.plans {
		for _, e := range p.artifacts {
			if kept[e.uid] || len(kept) == task.MaxArtifacts {
				continue
			}
			kept[e.uid] = true
			var a task.Artifact
			if err := json.Unmarshal(e.data, &a); err != nil {
				return t, err
			}
			t.Artifacts = append(t.Artifacts, a)
		}
	}
	return t, nil
}

// create is the operation of Create.
type create struct {
	c       task.Creation
	b       *building
	earlier task.ID // the run that the same key made before
}

// creationKey is a stored idempotency key.
type creationKey struct {
	fingerprint     []byte
	run             task.ID
	keepUntil       int64
	stored, changed bool
}

func keyOf(k *task.IdempotencyKey) pair { return pair{bounded(k.Principal), bounded(k.Key)} }

func (o *create) need(n *needs) {
	n.creates++
	n.newRuns = append(n.newRuns, text(string(o.c.ID)))
	for _, p := range o.b.plans {
		if p.exec != nil {
			n.execs = append(n.execs, text(string(p.exec.ID)))
		}
	}
	if o.c.Key != nil {
		n.keys = append(n.keys, keyOf(o.c.Key))
	}
	if m := o.c.MaxWaiting; m > 0 {
		if n.least == 0 || m < n.least {
			n.least = m
		}
		n.most = max(n.most, m)
	}
}

// decide notes the new run, or finds the one that its key made.
func (o *create) decide(tx *transaction) (err error) {
	o.earlier = ""
	if o.c.Key != nil {
		if o.earlier, err = tx.replay(o.c.Key, o.c.Now); err != nil || o.earlier != "" {
			return err
		}
	}
	id := text(string(o.c.ID))
	if tx.usedIDs[id] {
		return task.Errorf(task.CodeConflict, "run %q exists already", string(o.c.ID))
	}
	if waiting := tx.waiting + tx.delta; o.c.MaxWaiting > 0 && waiting >= o.c.MaxWaiting {
		return task.Errorf(task.CodeResourceUnavailable, "%d runs wait for a worker already; try again later or add workers", waiting)
	}
	r := &run{id: o.c.ID, execs: map[task.ExecutionID]*execution{}, made: o.b}
	if err := tx.checkExecutions(r, o.b.plans...); err != nil {
		return err
	}
	tx.usedIDs[id] = true
	r.n, tx.freeNs = tx.freeNs[0], tx.freeNs[1:]
	tx.created = append(tx.created, r)
	for _, p := range o.b.plans {
		tx.apply(r, p.clone())
	}
	for k, v := range o.c.Spec.Metadata {
		r.tags = append(r.tags, metadataTag(k, v))
	}
	if o.c.Key != nil {
		tx.keep(o.c.Key, o.c.ID)
		tx.forgetBefore = nanos(o.c.Now)
	}
	return nil
}

// clone makes a plan that a transaction may change, and leave behind when it
// is tried again.
func (p plan) clone() plan {
	if p.exec != nil {
		x := *p.exec
		p.exec = &x
	}
	return p
}

// replay gives the run that a key made, "" when the key is free.
func (tx *transaction) replay(k *task.IdempotencyKey, now time.Time) (task.ID, error) {
	has := tx.keys[keyOf(k)]
	if has == nil || has.keepUntil < nanos(now) {
		return "", nil
	}
	if !bytes.Equal(has.fingerprint, k.Fingerprint) {
		return "", task.Errorf(task.CodeConflict, "the idempotency key was used for another request; take a new key")
	}
	return has.run, nil
}

// keep notes what a key has made.
func (tx *transaction) keep(k *task.IdempotencyKey, id task.ID) {
	has := tx.keys[keyOf(k)]
	if has == nil {
		has = &creationKey{}
		tx.keys[keyOf(k)] = has
	}
	has.fingerprint, has.run, has.keepUntil, has.changed = append([]byte{}, k.Fingerprint...), id, nanos(k.KeepUntil), true
}

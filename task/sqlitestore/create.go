package sqlitestore

import (
	"bytes"
	"context"
	"encoding/json"
	"reflect"
	"time"

	"github.com/oz-platform/cloudagents/task"
)

// Create implements task.Store.
func (s *Store) Create(ctx context.Context, c task.Creation) (task.Task, bool, error) {
	b, err := build(c)
	if err != nil {
		return task.Task{}, false, err
	}
	var earlier task.ID
	err = s.w.do(ctx, "create run "+string(c.ID), len(b.spec), func(w *writer) (err error) {
		earlier, err = w.create(c, b)
		return err
	})
	if err != nil {
		return task.Task{}, false, err
	}
	if earlier != "" {
		t, err := s.Get(ctx, earlier)
		return t, true, err
	}
	t, err := b.result()
	return t, false, err
}

// building is a new run, encoded.
type building struct {
	task task.Task
	spec []byte
	text string // for the search
	plan plan
}

// build makes the run with all that its commands do to it.
func build(c task.Creation) (*building, error) {
	if c.ID == "" {
		return nil, task.Invalid("id", "a run needs an ID")
	}
	b := &building{}
	var events []task.Event
	b.task, events = c.Build()
	var err error
	if b.spec, err = encode(b.task.Spec); err != nil {
		return nil, task.Invalid("spec", "cannot be stored: %w", err)
	}
	b.text = searchText(c.Spec)
	b.plan.id = c.ID
	if err := b.plan.add(task.Change{Head: b.task.Head, Events: events}, nil); err != nil {
		return nil, task.Invalid("spec", "cannot be stored: %w", err)
	}
	execs := map[task.ExecutionID]task.Execution{}
	for _, cmd := range c.Commands {
		snap := task.Snapshot{ID: c.ID, Head: b.plan.next.head, Execution: execs[task.Subject(b.plan.next.head, cmd)]}
		change, err := task.Decide(snap, cmd, c.Now)
		if err != nil {
			return nil, err
		}
		if err := b.plan.add(change, nil); err != nil {
			return nil, err
		}
		if change.Execution != nil {
			execs[change.Execution.ID] = *change.Execution
		}
		b.task.Artifacts = append(b.task.Artifacts, change.Artifacts...)
	}
	return b, nil
}

// result is the run as it is now stored, sharing nothing with the creation.
func (b *building) result() (task.Task, error) {
	t := task.Task{ID: b.plan.id}
	if !clone(reflect.ValueOf(&t.Spec).Elem(), reflect.ValueOf(&b.task.Spec).Elem()) {
		t.Spec = task.Spec{}
		if err := json.Unmarshal(b.spec, &t.Spec); err != nil {
			return t, err
		}
	}
	t.Head = unsharedHead(b.plan.next.head)
	for _, e := range b.plan.artifacts {
		var a task.Artifact
		if err := json.Unmarshal([]byte(e.data), &a); err != nil {
			return t, err
		}
		t.Artifacts = append(t.Artifacts, a)
	}
	return t, nil
}

// create stores a building, or gives the ID of the run that its key made.
func (w *writer) create(c task.Creation, b *building) (earlier task.ID, err error) {
	if c.Key != nil {
		if earlier, err = w.replay(c.Key, c.Now); err != nil || earlier != "" {
			return earlier, err
		}
	}
	if err := w.admit(c, &b.plan); err != nil {
		return "", err
	}
	p := b.plan
	if p.next.n, err = w.insertRun(b); err != nil {
		return "", err
	}
	for k, v := range b.task.Metadata {
		if err := w.writeTag(p.next, metadataTag(k, v)); err != nil {
			return "", err
		}
	}
	if err := w.writeSharing(p); err != nil {
		return "", err
	}
	w.indexer.made(p.next.n, c.ID, p.next.head, b.text)
	if c.Key != nil {
		if err := w.keep(c.Key, c.ID, c.Now); err != nil {
			return "", err
		}
	}
	return "", w.writeRest(p)
}

// replay gives the run that a key made before, "" when it is new.
func (w *writer) replay(k *task.IdempotencyKey, now time.Time) (task.ID, error) {
	vals, err := w.row(`SELECT run, fingerprint, keep_until FROM creation_keys WHERE principal = ? AND key = ?`, k.Principal, k.Key)
	if err != nil || vals == nil || vals[2].(int64) < nanos(now) {
		return "", err
	}
	if !bytes.Equal(vals[1].([]byte), k.Fingerprint) {
		return "", task.Errorf(task.CodeConflict, "the idempotency key was used for another request; take a new key")
	}
	return task.ID(vals[0].(string)), nil
}

// keep writes an idempotency key down and forgets some that are over.
func (w *writer) keep(k *task.IdempotencyKey, id task.ID, now time.Time) error {
	_, err := w.exec(`INSERT OR REPLACE INTO creation_keys (principal, key, fingerprint, run, keep_until) VALUES (?, ?, ?, ?, ?)`,
		k.Principal, k.Key, append([]byte{}, k.Fingerprint...), string(id), nanos(k.KeepUntil))
	if err != nil {
		return err
	}
	// Two for each new one: the table shrinks to what must be kept.
	_, err = w.exec(`DELETE FROM creation_keys WHERE (principal, key) IN
		(SELECT principal, key FROM creation_keys WHERE keep_until < ? ORDER BY keep_until LIMIT 2)`, nanos(now))
	return err
}

// admit refuses a run that may not be made.
func (w *writer) admit(c task.Creation, p *plan) error {
	if c.MaxWaiting > 0 && w.waiting >= c.MaxWaiting {
		return task.Errorf(task.CodeResourceUnavailable, "%d runs wait for a worker already; try again later or add workers", w.waiting)
	}
	return p.checkNewExecutions()
}

func (w *writer) insertRun(b *building) (n int64, err error) {
	t, h := b.task, b.plan.next.head
	worker := b.plan.lastWorker()
	if worker == nil {
		worker = ""
	}
	n, err = w.exec(`INSERT INTO runs (id, owner, name, model, creator, executor, source, location, environment, skill, parent, title,
			worker_host, created_at, updated_at, ready_at, state, last_worker, head)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
		string(t.ID), t.Owner.String(), t.Config.Name, t.Config.ModelID, t.Creator.UID, t.Executor.UID, string(h.Source), string(h.Where),
		t.Config.EnvironmentID, t.Config.SkillSpec, string(t.ParentID), t.Title, t.Config.WorkerWish(), nanos(h.CreatedAt), nanos(h.UpdatedAt),
		nanosOrNull(h.ReadyAt), string(h.State), worker, b.plan.head)
	if err != nil {
		return 0, err
	}
	_, err = w.exec(`INSERT INTO specs (n, spec) VALUES (?, ?)`, n, b.spec)
	return n, err
}

// metadataTag is the tag of a pair; a NUL ends the key, which may hold "=".
func metadataTag(key, value string) string { return "m:" + key + "\x00" + value }

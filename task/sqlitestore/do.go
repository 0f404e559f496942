package sqlitestore

import (
	"context"
	"slices"

	"github.com/oz-platform/cloudagents/task"
)

// Do implements task.Store.
func (s *Store) Do(ctx context.Context, id task.ID, c task.Command) (task.Head, error) {
	var data [][]byte
	var size int
	if a, ok := c.(task.Append); ok { // encoded here, since the writer is one for all
		var err error
		if data, size, err = encodePayloads(a.Events); err != nil {
			return task.Head{}, err
		}
	}
	var head task.Head
	err := s.w.do(ctx, "write to run "+string(id), size, func(w *writer) (err error) {
		head, err = w.command(id, c, data)
		return err
	})
	if err != nil {
		return task.Head{}, err
	}
	return unsharedHead(head), nil
}

// unsharedHead copies what a head refers to.
func unsharedHead(h task.Head) task.Head {
	h.Usage.Models, h.Sharing, h.Status.Question = slices.Clone(h.Usage.Models), h.Sharing.Clone(), h.Status.Question.Clone()
	return h
}

// command decides c and writes what follows from it.
func (w *writer) command(id task.ID, c task.Command, data [][]byte) (task.Head, error) {
	e, err := w.head(id)
	if err != nil {
		return task.Head{}, err
	}
	snap := task.Snapshot{ID: id, Head: e.head, Execution: e.exec}
	if subject := task.Subject(e.head, c); subject != "" && subject != e.exec.ID {
		if snap.Execution, err = w.execution(id, e.n, subject); err != nil {
			return task.Head{}, err
		}
	}
	change, err := task.Decide(snap, c, w.clock.Now())
	if err != nil {
		return task.Head{}, err
	}
	if len(change.Events) < len(data) {
		data = data[len(data)-len(change.Events):] // the log had the rest already
	}
	p := plan{id: id, old: e, next: entry{n: e.n, head: change.Head, exec: e.exec, indexed: e.indexed}}
	if err := p.add(change, data); err != nil {
		return task.Head{}, err
	}
	if err := p.checkNewExecutions(); err != nil {
		return task.Head{}, err
	}
	return change.Head, w.write(p)
}

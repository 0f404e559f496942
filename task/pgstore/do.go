package pgstore

import (
	"context"

	"github.com/oz-platform/cloudagents/task"
)

// Do implements task.Store.
func (s *Store) Do(ctx context.Context, id task.ID, c task.Command) (task.Head, error) {
	if err := checkCommand(c); err != nil {
		return task.Head{}, err
	}
	op := &command{id: id, c: c}
	var size int
	if a, ok := c.(task.Append); ok { // encoded here, since few lanes serve all
		var err error
		if op.data, size, err = encodePayloads(a.Events); err != nil {
			return task.Head{}, err
		}
	}
	if err := s.do(ctx, "write to run "+string(id), string(id), size, op); err != nil {
		return task.Head{}, err
	}
	return op.head, nil
}

// checkCommand refuses what cannot be stored.
func checkCommand(c task.Command) error {
	if o, ok := c.(task.Offer); ok {
		return checkName("execution", string(o.Execution))
	}
	return nil
}

// command is the operation of Do.
type command struct {
	id   task.ID
	c    task.Command
	data [][]byte // payloads of an append, encoded
	head task.Head
}

func (o *command) need(n *needs) {
	id := text(string(o.id))
	n.runs = append(n.runs, id)
	x := task.Subject(task.Head{}, o.c) // of no run in particular: the one that the command names
	offer, offers := o.c.(task.Offer)
	switch {
	case x != "":
		n.execs = append(n.execs, text(string(x)))
	case offers: // a run with an execution refuses it, whatever that is
		n.execs = append(n.execs, text(string(offer.Execution)))
	default:
		n.present = append(n.present, id)
	}
}

func (o *command) decide(tx *transaction) (err error) {
	o.head, err = tx.command(o.id, o.c, o.data)
	return err
}

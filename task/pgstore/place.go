package pgstore

import (
	"context"
	"errors"

	"github.com/oz-platform/cloudagents/task"
)

var _ task.Placer = (*Store)(nil)

// maxPlaced bounds the runs that one transaction offers.
const maxPlaced = 256

// Place implements task.Placer: in one transaction for each 256 offers, which
// passes over the rows that others have locked.
func (s *Store) Place(ctx context.Context, offers []task.Placement) (placed []task.Task, err error) {
	for _, p := range offers {
		if err := checkCommand(p.Offer); err != nil {
			return nil, err
		}
	}
	for len(offers) > 0 {
		op := &place{offers: offers[:min(len(offers), maxPlaced)]}
		if err := s.do(ctx, "offer runs", string(op.offers[0].ID), 0, op); err != nil {
			return placed, err
		}
		placed, offers = append(placed, op.placed...), offers[len(op.offers):]
	}
	return placed, nil
}

// place is the operation of Place.
type place struct {
	offers []task.Placement
	placed []task.Task
}

func (o *place) need(n *needs) {
	for _, p := range o.offers {
		n.placed = append(n.placed, text(string(p.ID)))
		n.execs = append(n.execs, text(string(p.Offer.Execution)))
	}
}

func (o *place) decide(tx *transaction) error {
	o.placed = nil
	if err := o.check(tx); err != nil {
		return err
	}
	for _, p := range o.offers {
		t, ok := tx.bodies[p.ID]
		if r := tx.runs[p.ID]; !ok || r == nil || r.head.ReadyAt.IsZero() {
			continue
		}
		head, err := tx.command(p.ID, p.Offer, nil)
		if errors.Is(err, task.ErrConflict) { // another request of the batch was first
			continue
		}
		if err != nil {
			return err
		}
		t.Head = head
		o.placed = append(o.placed, t)
	}
	return nil
}

// check refuses all when an ID for a new execution was used before.
func (o *place) check(tx *transaction) error {
	seen := map[task.ExecutionID]bool{}
	for _, p := range o.offers {
		x := p.Offer.Execution
		if x == "" {
			return task.Invalid("execution", "an offer needs an ID for the new execution")
		}
		if tx.usedExecs[x] || seen[x] {
			return usedExecution(x)
		}
		seen[x] = true
	}
	return nil
}

package oz

import (
	"context"
	"fmt"

	"github.com/oz-platform/cloudagents/task"
)

// shares keeps the dispatcher to Entitlements.Concurrent. One goroutine uses it.
type shares struct {
	owners map[task.ID]task.Scope // of the runs at work
	used   map[task.Scope]int
	limits map[task.Scope]int
}

// countShares counts the runs at work by owner: those with a live execution
// and those that are being offered.
func (d *dispatcher) countShares(ctx context.Context, live []task.Execution, inflight map[task.ID]string) error {
	if d.p.opts.Entitlements == nil {
		return nil
	}
	known := d.shares.owners
	d.shares = shares{owners: map[task.ID]task.Scope{}, used: map[task.Scope]int{}, limits: map[task.Scope]int{}}
	count := func(id task.ID) error {
		if _, counted := d.shares.owners[id]; counted {
			return nil
		}
		owner, ok := known[id]
		if !ok {
			t, err := d.p.store.Get(ctx, id)
			if err != nil {
				return fmt.Errorf("owner of run %s: %w", id, err)
			}
			owner = t.Owner
		}
		d.shares.owners[id] = owner
		d.shares.used[owner]++
		return nil
	}
	for _, e := range live {
		if e.Worker == callerWorker {
			continue
		}
		if err := count(e.TaskID); err != nil {
			return err
		}
	}
	for id := range inflight {
		if err := count(id); err != nil {
			return err
		}
	}
	return nil
}

// hasShare reports whether one run more of an owner may be at work.
func (d *dispatcher) hasShare(ctx context.Context, owner task.Scope) (bool, error) {
	if d.p.opts.Entitlements == nil {
		return true, nil
	}
	limit, known := d.shares.limits[owner]
	if !known {
		var err error
		if limit, err = d.p.opts.Entitlements.Concurrent(ctx, owner); err != nil {
			return false, fmt.Errorf("concurrent runs of %s: %w", owner, err)
		}
		d.shares.limits[owner] = limit
	}
	return limit <= 0 || d.shares.used[owner] < limit, nil
}

// takeShare counts a run that is about to be offered.
func (d *dispatcher) takeShare(w task.Waiting) {
	if d.p.opts.Entitlements != nil {
		d.shares.owners[w.ID] = w.Owner
		d.shares.used[w.Owner]++
	}
}

// checkShare looks again once an offer is recorded: a dispatcher of another
// replica may have offered a run of the same owner at the same moment. By then
// at least one of the two sees both, and steps back.
func (p *Platform) checkShare(ctx context.Context, t task.Task, exec task.ExecutionID) error {
	if p.opts.Entitlements == nil {
		return nil
	}
	limit, err := p.opts.Entitlements.Concurrent(ctx, t.Owner)
	if err != nil || limit <= 0 {
		return err
	}
	live, err := p.store.Live(ctx)
	if err != nil {
		return err
	}
	others := 0
	for _, e := range live {
		if e.ID == exec || e.Worker == callerWorker {
			continue
		}
		other, err := p.store.Get(ctx, e.TaskID)
		if err != nil {
			return err
		}
		if other.Owner == t.Owner {
			others++
		}
	}
	if others >= limit {
		return fmt.Errorf("%s has %d runs at work already", t.Owner, others)
	}
	return nil
}

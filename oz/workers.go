package oz

import (
	"cmp"
	"context"
	"slices"

	"github.com/oz-platform/cloudagents/oz/access"
)

// WorkerStatus is a worker as this server's dispatcher knows it.
type WorkerStatus struct {
	// ID is what runs name as worker_host.
	ID string
	// Ready says that it takes new work.
	Ready bool
	// Active is how many of its places are taken.
	Active int
	// Capacity is how many executions it takes at once; 0 is no limit.
	Capacity int
}

// WorkerList lists the workers of this server by ID. Other servers on the same
// store have workers of their own.
func (c *Client) WorkerList(ctx context.Context) ([]WorkerStatus, error) {
	if err := c.allow(ctx, access.WorkerView, access.Object{}); err != nil {
		return nil, err
	}
	list := make([]WorkerStatus, 0, len(c.p.opts.Workers))
	ready := map[string]bool{}
	for _, m := range c.p.members() {
		info := m.Info()
		ready[info.ID] = true
		list = append(list, WorkerStatus{ID: info.ID, Ready: !info.Paused, Active: info.Busy, Capacity: info.Capacity})
	}
	for _, w := range c.p.opts.Workers {
		if info := w.Info(); !ready[info.ID] {
			list = append(list, WorkerStatus{ID: info.ID, Active: info.Busy, Capacity: info.Capacity})
		}
	}
	slices.SortFunc(list, func(a, b WorkerStatus) int { return cmp.Compare(a.ID, b.ID) })
	return list, nil
}

package oz

import (
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/oz-platform/cloudagents/oz/access"
	"github.com/oz-platform/cloudagents/task"
)

// WorkerStatus is a worker as this server's dispatcher knows it.
type WorkerStatus struct {
	// ID is what runs name as worker_host. Several processes may share one:
	// Instance tells them apart, and is empty where they cannot be told.
	ID, Instance string
	// Owner is whose runs alone it takes; zero for workers of all.
	Owner task.Scope
	// Ready says that it takes new work; Draining that it never will again.
	Ready, Draining bool
	// Active is how many of its places are taken.
	Active int
	// Idle and Retained are how many workspaces of ended runs it keeps besides,
	// for follow-ups, and of failed runs for inspection.
	Idle, Retained int
	// Capacity is how many executions it takes at once; 0 is no limit.
	Capacity int
	// Labels are what runs ask for with worker_labels.
	Labels []string
	// Dedicated workers take only runs that name them or one of their labels;
	// Remote ones run on other hosts.
	Dedicated, Remote bool
	// Version, Backend and Platform ("linux/amd64") are what it says of itself.
	Version, Backend, Platform string
	// Since is when it connected; zero for the server's own.
	Since time.Time
	// Executions are its live ones, as far as the caller may see their runs.
	Executions []task.ExecutionID
}

// WorkerList lists the workers of this server by ID: its own, and those that are
// connected for one of the caller's teams. Other servers on the same store have
// workers of their own.
func (c *Client) WorkerList(ctx context.Context) ([]WorkerStatus, error) {
	if err := c.allow(ctx, access.WorkerView, access.Object{}); err != nil {
		return nil, err
	}
	live, err := c.p.store.Live(ctx)
	if err != nil {
		return nil, err
	}
	list, ready := make([]WorkerStatus, 0, len(c.p.opts.Workers)), map[string]bool{}
	add := func(info WorkerInfo, takes bool) error {
		if !c.caller.System && !info.Owner.IsZero() && !slices.Contains(c.caller.Scopes(), info.Owner) {
			return nil
		}
		s := statusOf(info, takes)
		var err error
		s.Executions, err = c.visible(ctx, live, info)
		list = append(list, s)
		return err
	}
	for _, m := range c.p.members() {
		info := m.Info()
		ready[info.ID] = true
		if err := add(info, !info.Paused); err != nil {
			return nil, err
		}
	}
	for _, w := range c.p.opts.Workers {
		if info := w.Info(); !ready[info.ID] {
			if err := add(info, false); err != nil {
				return nil, err
			}
		}
	}
	slices.SortFunc(list, func(a, b WorkerStatus) int {
		return cmp.Or(cmp.Compare(a.ID, b.ID), cmp.Compare(a.Owner.UID, b.Owner.UID), cmp.Compare(a.Instance, b.Instance))
	})
	return list, nil
}

// statusOf is a worker for people.
func statusOf(w WorkerInfo, ready bool) WorkerStatus {
	return WorkerStatus{ID: cmp.Or(w.Host, w.ID), Instance: w.Instance, Owner: w.Owner, Ready: ready, Draining: w.Draining, Active: w.Busy, Idle: w.Idle, Retained: w.Retained,
		Capacity: w.Capacity, Labels: slices.Clone(w.Labels), Dedicated: w.Dedicated, Remote: w.Remote, Version: w.Version,
		Backend: w.Backend, Platform: w.Platform, Since: w.Since}
}

// visible are the worker's live executions whose runs the caller may see.
func (c *Client) visible(ctx context.Context, live []task.Execution, w WorkerInfo) (ids []task.ExecutionID, err error) {
	for _, e := range live {
		if e.Worker != w.ID {
			continue
		}
		t, err := c.p.store.Get(ctx, e.TaskID)
		if err != nil {
			return nil, err
		}
		if t, err = c.p.closed(ctx, t); err != nil {
			return nil, err
		}
		if access.Allow(c.caller, access.RunView, access.OfRun(t)) == nil {
			ids = append(ids, e.ID)
		}
	}
	return ids, nil
}

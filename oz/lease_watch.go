package oz

import (
	"time"

	"github.com/oz-platform/cloudagents/task"
)

// leaseWatch judges leases by what one process has seen of them, and not by
// comparing the store's times with its own clock: clocks of replicas differ,
// and a wall clock may jump by an hour. A lease is over when it was not renewed
// for its whole length while this process looked on, which also gives every
// execution a full lease after a start, when nobody could renew.
//
// It relies on Clock.Now having a monotonic reading, as the machine's has.
type leaseWatch struct {
	seen map[task.ExecutionID]observation
}

// observation is what is known of one live execution.
type observation struct {
	until   time.Time // the lease, as it was seen last
	since   time.Time // when it was first seen like that
	offered time.Time // when the execution began, by this process's clock
}

// look takes note of the live executions, and forgets all others.
func (w *leaseWatch) look(live []task.Execution, now time.Time) {
	seen := make(map[task.ExecutionID]observation, len(live))
	for _, e := range live {
		o, known := w.seen[e.ID]
		if !known {
			age := max(0, now.Round(0).Sub(e.OfferedAt)) // by the wall, this once
			o.offered = now.Add(-age)
		}
		if !known || !o.until.Equal(e.LeaseUntil) {
			o.until, o.since = e.LeaseUntil, now
		}
		seen[e.ID] = o
	}
	w.seen = seen
}

// silent is how long the execution has not renewed its lease.
func (w *leaseWatch) silent(id task.ExecutionID, now time.Time) time.Duration {
	return now.Sub(w.seen[id].since)
}

// age is how long ago the execution was offered.
func (w *leaseWatch) age(id task.ExecutionID, now time.Time) time.Duration {
	return now.Sub(w.seen[id].offered)
}

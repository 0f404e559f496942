package oz

import (
	"time"

	"github.com/oz-platform/cloudagents/task"
)

// leaseWatch judges leases by what one process has seen of them, and not by
// comparing the store's times with its own clock: clocks of replicas differ,
// and a wall clock may jump by an hour. A lease is over when it was not renewed
// for its whole length while this process looked on. Time in which it could not
// look does not count: nobody can renew before a start, while the store is away
// or while the process is stopped.
//
// It relies on Clock.Now having a monotonic reading, as the machine's has.
type leaseWatch struct {
	last time.Time // when it looked last; zero before
	seen map[task.ExecutionID]observation
}

// observation is what is known of one live execution.
type observation struct {
	until   time.Time // the lease, as it was seen last
	since   time.Time // when it was first seen like that, later by what does not count
	offered time.Time // when the execution began, by this process's clock
}

// look takes note of the live executions, and forgets all others. every is how
// often it is to be called.
func (w *leaseWatch) look(live []task.Execution, now time.Time, every time.Duration) {
	unseen := time.Duration(0)
	if !w.last.IsZero() {
		unseen = max(0, now.Sub(w.last)-every)
	}
	w.last = now
	seen := make(map[task.ExecutionID]observation, len(live))
	for _, e := range live {
		o, known := w.seen[e.ID]
		if !known {
			age := max(0, now.Round(0).Sub(e.OfferedAt)) // by the wall, this once
			o.offered = now.Add(-age)
		}
		if !known || !o.until.Equal(e.LeaseUntil) {
			o.until, o.since = e.LeaseUntil, now
		} else {
			o.since = o.since.Add(unseen)
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

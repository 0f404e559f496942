package schedule

import (
	"container/heap"
	"time"
)

// entry says when a schedule is to be looked at.
type entry struct {
	id   string
	wake time.Time
	// start is when the first tick without a line was to start; zero when
	// there is none, or it is not known.
	start time.Time
	// failure is what the last try ended with, retry the delay after it.
	failure error
	retry   time.Duration

	alarmed bool // for start
	index   int  // in the heap
}

// agenda is what schedules are to be looked at, ordered by time.
type agenda struct {
	entries map[string]*entry
	queue   queue
}

func newAgenda() agenda { return agenda{entries: map[string]*entry{}} }

// put sets a schedule's entry. The alarm of a tick is raised once.
func (a *agenda) put(id string, e entry) {
	e.id = id
	old, ok := a.entries[id]
	if !ok {
		a.entries[id] = &e
		heap.Push(&a.queue, &e)
		return
	}
	e.alarmed, e.index = old.alarmed && old.start.Equal(e.start), old.index
	*old = e
	heap.Fix(&a.queue, e.index)
}

// reset empties the agenda and gives what was on it.
func (a *agenda) reset() map[string]entry {
	known := make(map[string]entry, len(a.entries))
	for id, e := range a.entries {
		known[id] = *e
	}
	*a = newAgenda()
	return known
}

// due takes off what is to be looked at now.
func (a *agenda) due(now time.Time) map[string]entry {
	due := map[string]entry{}
	for len(a.queue) > 0 && !a.queue[0].wake.After(now) {
		e := heap.Pop(&a.queue).(*entry)
		delete(a.entries, e.id)
		due[e.id] = *e
	}
	return due
}

// first is when there is something to look at.
func (a *agenda) first() (time.Time, bool) {
	if len(a.queue) == 0 {
		return time.Time{}, false
	}
	return a.queue[0].wake, true
}

// silent gives the entries whose tick was to start before a moment and that
// no alarm was raised for. It looks at those only that are to be looked at
// soon, since one that is late is tried again: of many entries they are few.
func (a *agenda) silent(before, soon time.Time) []entry {
	var list []entry
	var walk func(i int)
	walk = func(i int) {
		if i >= len(a.queue) || a.queue[i].wake.After(soon) { // and so are all below it in the heap
			return
		}
		if e := a.queue[i]; !e.start.IsZero() && e.start.Before(before) && !e.alarmed {
			e.alarmed = true
			list = append(list, *e)
		}
		walk(2*i + 1)
		walk(2*i + 2)
	}
	walk(0)
	return list
}

// queue is a heap of entries by wake.
type queue []*entry

// Len implements heap.Interface.
func (q queue) Len() int { return len(q) }

// Less implements heap.Interface.
func (q queue) Less(i, j int) bool { return q[i].wake.Before(q[j].wake) }

// Swap implements heap.Interface.
func (q queue) Swap(i, j int) {
	q[i], q[j] = q[j], q[i]
	q[i].index, q[j].index = i, j
}

// Push implements heap.Interface.
func (q *queue) Push(x any) {
	e := x.(*entry)
	e.index = len(*q)
	*q = append(*q, e)
}

// Pop implements heap.Interface.
func (q *queue) Pop() any {
	old := *q
	e := old[len(old)-1]
	old[len(old)-1] = nil
	*q = old[:len(old)-1]
	return e
}

package pgstore

import (
	"sync"

	"github.com/oz-platform/cloudagents/task"
)

// dispatcher is the ID under which one subscribes to "something for the
// dispatcher".
const dispatcher task.ID = ""

// isRun reports that an ID is a run's.
func isRun(id task.ID) bool {
	switch id {
	case dispatcher, task.NewSignals, task.NewDeliveries, task.NewOutgoing:
		return false
	}
	return true
}

// announce wakes those who wait for something that is no run, here and in other
// stores, after it was committed.
func (s *Store) announce(what task.ID) {
	changed := map[task.ID]int64{what: 0}
	s.subs.wake(changed)
	s.notify.tell(changed)
}

// subscriptions wakes those who wait for a run to change.
type subscriptions struct {
	mu   sync.Mutex
	subs map[task.ID]*subscription
}

// subscription is what waits for one run.
type subscription struct {
	waiters map[chan struct{}]struct{}
	// version is the newest version of the run that they were told of.
	version int64
}

// Subscribe implements task.Store.
func (s *Store) Subscribe(id task.ID) (<-chan struct{}, func()) {
	c := make(chan struct{}, 1) // one signal waits for a reader who is busy
	s.subs.add(id, c)
	var once sync.Once
	return c, func() { once.Do(func() { s.subs.remove(id, c) }) }
}

func (s *subscriptions) add(id task.ID, c chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.subs == nil {
		s.subs = map[task.ID]*subscription{}
	}
	if s.subs[id] == nil {
		s.subs[id] = &subscription{waiters: map[chan struct{}]struct{}{}}
	}
	s.subs[id].waiters[c] = struct{}{}
}

func (s *subscriptions) remove(id task.ID, c chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	sub := s.subs[id]
	if sub == nil {
		return
	}
	if delete(sub.waiters, c); len(sub.waiters) == 0 {
		delete(s.subs, id)
	}
}

// wake signals the subscribers of runs that we changed ourselves, without
// waiting for any.
func (s *subscriptions) wake(changed map[task.ID]int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for id, version := range changed {
		if sub := s.subs[id]; sub != nil {
			sub.version = max(sub.version, version)
			sub.signal()
		}
	}
}

// told signals the subscribers of runs that changed elsewhere, unless they
// have been told of the version. What is no run has none.
func (s *subscriptions) told(changed map[task.ID]int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for id, version := range changed {
		if sub := s.subs[id]; sub != nil && (!isRun(id) || version > sub.version) {
			sub.version = version
			sub.signal()
		}
	}
}

// wakeAll signals everyone: nobody knows what was missed.
func (s *subscriptions) wakeAll() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, sub := range s.subs {
		sub.signal()
	}
}

// ids are the runs with subscribers; forDispatcher says whether there are
// some for the dispatcher.
func (s *subscriptions) ids() (runs []string, forDispatcher bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for id := range s.subs {
		if !isRun(id) {
			forDispatcher = forDispatcher || id == dispatcher
			continue
		}
		runs = append(runs, text(string(id)))
	}
	return runs, forDispatcher
}

func (s *subscription) signal() {
	for c := range s.waiters {
		select {
		case c <- struct{}{}:
		default: // it has an unread signal
		}
	}
}

package sqlitestore

import (
	"sync"

	"github.com/oz-platform/cloudagents/task"
)

// subscriptions wakes those who wait for a run to change. The empty ID stands
// for "something for the dispatcher".
type subscriptions struct {
	mu   sync.Mutex
	subs map[task.ID]map[chan struct{}]struct{}
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
		s.subs = map[task.ID]map[chan struct{}]struct{}{}
	}
	if s.subs[id] == nil {
		s.subs[id] = map[chan struct{}]struct{}{}
	}
	s.subs[id][c] = struct{}{}
}

func (s *subscriptions) remove(id task.ID, c chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.subs[id], c)
	if len(s.subs[id]) == 0 {
		delete(s.subs, id)
	}
}

// wake signals the subscribers of all these runs, without waiting for any.
func (s *subscriptions) wake(changed map[task.ID]struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for id := range changed {
		for c := range s.subs[id] {
			select {
			case c <- struct{}{}:
			default: // it has an unread signal
			}
		}
	}
}

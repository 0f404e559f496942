package pgstore

import (
	"context"
	"errors"
	"hash/crc32"
	"sync"
	"time"
)

// maxBatchBytes bounds what the requests of one transaction carry, so that a
// few huge ones do not keep the small ones waiting.
const maxBatchBytes = 8 << 20

// operation is what a request wants to have done.
type operation interface {
	// need says what must be known, and locked, to decide.
	need(n *needs)
	// decide changes what the transaction will write, or refuses and changes
	// nothing. It is called again when the transaction is tried again.
	decide(tx *transaction) error
}

// request is one write that waits for its lane.
type request struct {
	operation
	size    int   // bytes it carries, roughly
	refused error // of decide
	done    chan error
}

// lane is one of the store's writers. Requests queue; its goroutine takes as
// many as there are into one transaction, commits, and answers all.
//
// The first lane takes everything: the more share a transaction, the less each
// costs. The next ones serve while it is held up, by a row that another store
// has locked or by a slow disk.
type lane struct {
	s        *Store
	finished chan struct{} // closed when the goroutine has ended

	mu     sync.Mutex
	queue  []*request
	begun  time.Time // of the transaction under way; zero when there is none
	closed bool
	wakeup chan struct{} // capacity 1: there is something in queue, or closed
}

// heldUp is how long a transaction takes that may be waiting for something.
const heldUp = 25 * time.Millisecond

func newLane(s *Store) *lane {
	l := &lane{s: s, finished: make(chan struct{}), wakeup: make(chan struct{}, 1)}
	go l.run()
	return l
}

// laneOf gives the lane for a run, a record or whatever a name names: the first
// that is not held up. When all are, those of one name use one lane, so that
// lanes do not wait for each other's rows.
func (s *Store) laneOf(name string) *lane {
	now := time.Now()
	for _, l := range s.lanes {
		if !l.isHeldUp(now) {
			return l
		}
	}
	return s.lanes[crc32.ChecksumIEEE([]byte(name))%uint32(len(s.lanes))]
}

func (l *lane) isHeldUp(now time.Time) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return !l.begun.IsZero() && now.Sub(l.begun) > heldUp
}

// do queues a write and waits for it. A context that ends before the lane
// takes the request up cancels it; afterwards the answer is the truth.
func (s *Store) do(ctx context.Context, doing, name string, size int, op operation) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if s.closed.Load() {
		return errClosed
	}
	l := s.laneOf(name)
	r := &request{operation: op, size: size, done: make(chan error, 1)}
	if !l.push(r) {
		return errClosed
	}
	select {
	case err := <-r.done:
		return explain(doing, err)
	case <-ctx.Done():
	}
	if l.withdraw(r) {
		return ctx.Err()
	}
	return explain(doing, <-r.done)
}

func (l *lane) push(r *request) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return false
	}
	l.queue = append(l.queue, r)
	l.ring()
	return true
}

// withdraw takes a request out of the queue; false when it is being done.
func (l *lane) withdraw(r *request) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i, q := range l.queue {
		if q == r {
			l.queue = append(l.queue[:i], l.queue[i+1:]...)
			return true
		}
	}
	return false
}

// ring wakes the goroutine. The caller holds mu.
func (l *lane) ring() {
	select {
	case l.wakeup <- struct{}{}:
	default:
	}
}

// stop refuses further writes. The goroutine ends once the queue is empty.
func (l *lane) stop() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closed = true
	l.ring()
}

func (l *lane) run() {
	defer close(l.finished)
	for range l.wakeup {
		for {
			batch, ended := l.take()
			if ended {
				return
			}
			if len(batch) == 0 {
				break
			}
			l.serve(batch)
		}
	}
}

// take removes the next batch from the queue; ended says that there will be
// no other.
func (l *lane) take() (batch []*request, ended bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	n, size := 0, 0
	for n < len(l.queue) && n < l.s.opts.MaxBatch && (n == 0 || size+l.queue[n].size <= maxBatchBytes) {
		size += l.queue[n].size
		n++
	}
	batch = append(batch, l.queue[:n]...)
	rest := copy(l.queue, l.queue[n:])
	clear(l.queue[rest:])
	l.queue = l.queue[:rest]
	if l.begun = (time.Time{}); n > 0 {
		l.begun = time.Now()
	}
	return batch, n == 0 && l.closed
}

// serve answers a batch. If the transaction fails by what is in it, each
// request is tried again in one of its own, so that one cannot spoil the others.
func (l *lane) serve(batch []*request) {
	err := l.s.transact(batch)
	if err != nil && len(batch) > 1 && !away(err) && !errors.Is(err, errUnknown) {
		for i := range batch {
			l.serve(batch[i : i+1])
		}
		return
	}
	for _, r := range batch {
		if err != nil {
			r.done <- err
			continue
		}
		r.done <- r.refused
	}
}

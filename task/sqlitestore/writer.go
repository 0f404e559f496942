package sqlitestore

import (
	"context"
	"sync"
	"time"

	"github.com/oz-platform/cloudagents/task"
)

// maxBatchBytes bounds what the requests of one transaction carry, so that a
// few huge ones do not keep the small ones waiting.
const maxBatchBytes = 8 << 20

// request is one write that waits for the writer.
type request struct {
	ctx  context.Context
	size int // bytes it carries, roughly
	// apply decides, then writes. A refusal must come before the first write.
	// It may run twice: when its batch failed, alone.
	apply func(w *writer) error
	done  chan error
}

// writer owns the one connection that writes. Requests queue; its goroutine
// takes as many as there are into one transaction, commits, and answers all.
type writer struct {
	c        *conn
	subs     *subscriptions
	clock    task.Clock
	maxBatch int
	finished chan struct{} // closed when the goroutine has ended

	mu     sync.Mutex
	queue  []*request
	closed bool
	wakeup chan struct{} // capacity 1: there is something in queue, or closed

	// All below belongs to the goroutine.

	live     liveSet // its lock guards it: readers use it too
	heads    heads
	indexer  indexer          // its lock guards what readers use
	records  recordCache      // so does its lock
	statsIDs map[string]int64 // of the table stats_names, by name
	waiting  int              // runs with ready_at, for Creation.MaxWaiting
	changed  map[task.ID]struct{}
	broken   error // the first error of the database in this transaction
}

func newWriter(c *conn, subs *subscriptions, o Options) (*writer, error) {
	w := &writer{c: c, subs: subs, clock: o.Clock, maxBatch: o.MaxBatch, indexer: indexer{max: o.maxUnindexed, delay: o.indexDelay}, finished: make(chan struct{}),
		wakeup: make(chan struct{}, 1), changed: map[task.ID]struct{}{}}
	if err := w.countWaiting(); err != nil {
		return nil, err
	}
	if err := w.loadLive(); err != nil {
		return nil, err
	}
	if err := w.loadIndexer(); err != nil {
		return nil, err
	}
	if err := w.fillStats(); err != nil {
		return nil, err
	}
	go w.run()
	return w, nil
}

func (w *writer) countWaiting() error {
	vals, err := w.c.row(`SELECT count(*) FROM runs INDEXED BY runs_ready WHERE ready_at IS NOT NULL`)
	if err != nil {
		return err
	}
	w.waiting = int(vals[0].(int64))
	return nil
}

// do queues a write and waits for it. A context that ends before the writer
// takes the request up cancels it; afterwards the answer is the truth.
func (w *writer) do(ctx context.Context, doing string, size int, apply func(*writer) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	r := &request{ctx: ctx, size: size, apply: apply, done: make(chan error, 1)}
	if !w.push(r) {
		return errClosed
	}
	select {
	case err := <-r.done:
		return explain(doing, err)
	case <-ctx.Done():
	}
	if w.withdraw(r) {
		return ctx.Err()
	}
	return explain(doing, <-r.done)
}

func (w *writer) push(r *request) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return false
	}
	w.queue = append(w.queue, r)
	w.ring()
	return true
}

// withdraw takes a request out of the queue; false when it is being done.
func (w *writer) withdraw(r *request) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	for i, q := range w.queue {
		if q == r {
			w.queue = append(w.queue[:i], w.queue[i+1:]...)
			return true
		}
	}
	return false
}

// ring wakes the goroutine. The caller holds mu.
func (w *writer) ring() {
	select {
	case w.wakeup <- struct{}{}:
	default:
	}
}

// stop refuses further writes; true for the first caller.
func (w *writer) stop() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	first := !w.closed
	w.closed = true
	w.ring()
	return first
}

// close ends the goroutine once the queue is empty, and closes the connection.
func (w *writer) close() error {
	w.stop()
	<-w.finished
	return w.c.close()
}

func (w *writer) run() {
	defer close(w.finished)
	for !w.isClosed() {
		batch := w.take()
		if len(batch) == 0 {
			w.pause()
			continue
		}
		w.serve(batch)
		for w.indexer.overdue() {
			w.index()
		}
	}
}

// pause waits for requests, and indexes runs when it is time to.
func (w *writer) pause() {
	var due <-chan time.Time
	if !w.indexer.empty() {
		t := time.NewTimer(time.Until(w.indexer.due))
		defer t.Stop()
		due = t.C
	}
	select {
	case <-w.wakeup:
	case <-due:
		w.index()
	}
}

func (w *writer) isClosed() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.closed && len(w.queue) == 0
}

// take removes the next batch from the queue.
func (w *writer) take() []*request {
	w.mu.Lock()
	defer w.mu.Unlock()
	n, size := 0, 0
	for n < len(w.queue) && n < w.maxBatch && (n == 0 || size+w.queue[n].size <= maxBatchBytes) {
		size += w.queue[n].size
		n++
	}
	batch := append([]*request(nil), w.queue[:n]...)
	rest := copy(w.queue, w.queue[n:])
	clear(w.queue[rest:])
	w.queue = w.queue[:rest]
	return batch
}

// serve answers a batch. If the database fails, each request is tried again
// in a transaction of its own, so that one cannot spoil the others.
func (w *writer) serve(batch []*request) {
	results, err := w.transact(batch)
	if err != nil && len(batch) > 1 {
		for i := range batch {
			w.serve(batch[i : i+1])
		}
		return
	}
	for i, r := range batch {
		if err != nil {
			r.done <- err
			continue
		}
		r.done <- results[i]
	}
}

// transact applies the requests in one transaction. The results are their
// refusals; err is the database's, and then nothing has happened.
func (w *writer) transact(batch []*request) (results []error, err error) {
	results = make([]error, len(batch))
	waiting := w.waiting
	if _, err := w.c.exec(`BEGIN IMMEDIATE`); err != nil {
		return nil, err
	}
	for i, r := range batch {
		if err := r.apply(w); w.broken == nil {
			results[i] = err
			continue
		}
		err = w.broken
		break
	}
	if err == nil {
		w.live.begin()
		w.records.begin()
		_, err = w.c.exec(`COMMIT`)
	}
	w.live.end(err == nil)
	w.indexer.end(err == nil)
	w.records.end()
	if err != nil {
		w.undo(waiting)
		return nil, err
	}
	w.subs.wake(w.changed)
	clear(w.changed)
	return results, nil
}

// undo rolls back and forgets what the transaction taught.
func (w *writer) undo(waiting int) {
	_, _ = w.c.exec(`ROLLBACK`) // fails when SQLite has rolled back itself
	w.heads.forget()
	clear(w.statsIDs)
	_ = w.loadLive() // without it the database is asked
	w.waiting, w.broken = waiting, nil
	clear(w.changed)
}

// exec writes within the transaction of apply. After its first error nothing
// more is written.
func (w *writer) exec(text string, args ...any) (rowID int64, err error) {
	if w.broken != nil {
		return 0, w.broken
	}
	if rowID, err = w.c.exec(text, args...); err != nil {
		w.broken = err
	}
	return rowID, err
}

// row reads within the transaction of apply.
func (w *writer) row(text string, args ...any) (vals []any, err error) {
	if w.broken != nil {
		return nil, w.broken
	}
	if vals, err = w.c.row(text, args...); err != nil {
		w.broken = err
	}
	return vals, err
}

// stopped reports that stop was called.
func (w *writer) stopped() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.closed
}

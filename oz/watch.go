package oz

import (
	"context"
	"iter"

	"github.com/oz-platform/cloudagents/oz/access"
	"github.com/oz-platform/cloudagents/task"
)

// watchBatch is how many events are read at once: a follower that is far
// behind catches up in few reads, and holds no more than this in memory.
const watchBatch = 500

// Watch implements Service. The iterator is a position in the run's log and no
// more: a slow reader holds nothing back and loses nothing. It may yield events
// that the platform wrote after the one that ended the run.
func (c *Client) Watch(ctx context.Context, id task.ID, after int64) iter.Seq2[task.Event, error] {
	return func(yield func(task.Event, error) bool) {
		t, err := c.run(ctx, id, access.RunView)
		if err == nil && after < 0 {
			err = task.Invalid("after", "must be 0 or the number of an event")
		}
		if err != nil {
			yield(task.Event{}, err)
			return
		}
		// Subscribed before the first read: a change in between is seen by one or the other.
		changed, cancel := c.p.store.Subscribe(id)
		defer cancel()
		w := watcher{store: c.p.store, id: id, after: after, ended: after >= t.LastSeq && t.State.Ended()}
		for more := true; more; {
			if more = w.drain(ctx, yield); !more {
				return
			}
			select {
			case <-changed:
			case <-ctx.Done():
				yield(task.Event{}, ctx.Err())
				return
			}
		}
	}
}

// watcher is a position in a run's log.
type watcher struct {
	store task.Store
	id    task.ID
	after int64
	ended bool // by what was yielded so far
}

// drain yields what the log has. It reports whether to wait for more: false
// once the run has ended, the reader has stopped or the store has failed.
func (w *watcher) drain(ctx context.Context, yield func(task.Event, error) bool) bool {
	for {
		batch, err := w.store.Events(ctx, w.id, w.after, watchBatch)
		if err != nil {
			yield(task.Event{}, err)
			return false
		}
		for _, e := range batch {
			w.after = e.Seq
			if s, ok := e.Payload.(*task.StateChanged); ok {
				w.ended = s.To.Ended()
			}
			if !yield(e, nil) {
				return false
			}
		}
		if len(batch) == 0 { // a short batch may have been cut for its size
			return !w.ended
		}
	}
}

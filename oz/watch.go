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
// that the platform wrote after the one that ended the run. Events are shared
// by all who follow the run: their payloads must not be changed.
func (c *Client) Watch(ctx context.Context, id task.ID, after int64) iter.Seq2[task.Event, error] {
	return func(yield func(task.Event, error) bool) {
		for frame, err := range c.Frames(ctx, id, after) {
			if !yield(frame.Event, err) {
				return
			}
		}
	}
}

// Frames is Watch for those who send the events on: each comes with its wire
// form.
func (c *Client) Frames(ctx context.Context, id task.ID, after int64) iter.Seq2[Frame, error] {
	return func(yield func(Frame, error) bool) {
		t, err := c.run(ctx, id, access.RunView)
		if err == nil && after < 0 {
			err = task.Invalid("after", "must be 0 or the number of an event")
		}
		if err != nil {
			yield(Frame{}, err)
			return
		}
		ended := t.State.Ended() && (after >= t.LastSeq || t.PrunedTo > 0) // the event that says so is behind, or gone
		w := watcher{store: c.p.store, id: id, after: after, ended: ended}
		if !w.catchUp(ctx, yield) || w.ended {
			return
		}
		f := c.p.feeds.join(ctx, id, w.after)
		defer c.p.feeds.leave(f)
		w.follow(ctx, f, yield)
	}
}

// watcher is a position in a run's log.
type watcher struct {
	store task.Store
	id    task.ID
	after int64
	ended bool // by what was yielded so far
}

// catchUp yields what the store has. It reports whether the reader wants more.
func (w *watcher) catchUp(ctx context.Context, yield func(Frame, error) bool) bool {
	for {
		batch, err := w.store.Events(ctx, w.id, w.after, watchBatch)
		if err != nil {
			yield(Frame{}, err)
			return false
		}
		for _, e := range batch {
			frame, err := newFrame(e)
			if !w.pass(frame, err, yield) {
				return false
			}
		}
		if len(batch) == 0 { // a short batch may have been cut for its size
			return true
		}
	}
}

// follow yields what the feed brings, until the run has ended, the reader has
// stopped or the store has failed.
func (w *watcher) follow(ctx context.Context, f *feed, yield func(Frame, error) bool) {
	for {
		frames, behind, changed, err := f.read(w.after)
		switch {
		case err != nil:
			yield(Frame{}, err)
			return
		case behind:
			if !w.catchUp(ctx, yield) {
				return
			}
			continue
		case len(frames) == 0 && w.ended:
			return
		case len(frames) == 0:
			select {
			case <-changed:
			case <-ctx.Done():
				yield(Frame{}, ctx.Err())
				return
			}
		}
		for _, frame := range frames {
			if !w.pass(frame, nil, yield) {
				return
			}
		}
	}
}

// pass yields one frame and notes what it tells.
func (w *watcher) pass(frame Frame, err error, yield func(Frame, error) bool) bool {
	if err != nil {
		yield(Frame{}, err)
		return false
	}
	w.after = frame.Event.Seq
	switch p := frame.Event.Payload.(type) {
	case *task.StateChanged:
		w.ended = p.To.Ended()
	case *task.Pruned: // it stands for the event that said so
		w.ended = true
	}
	return yield(frame, nil)
}

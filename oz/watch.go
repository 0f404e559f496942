package oz

import (
	"context"
	"errors"
	"io"
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
		f, err := c.Follow(ctx, id, after)
		if err != nil {
			yield(task.Event{}, err)
			return
		}
		defer f.Close()
		for {
			frames, err := f.wait(ctx)
			if errors.Is(err, io.EOF) {
				return
			}
			if err != nil {
				yield(task.Event{}, err)
				return
			}
			for i := range frames {
				if !yield(frames[i].Event, nil) {
					return
				}
			}
		}
	}
}

// Follower is a position in a run's log. It keeps none of the log, and no
// goroutine of its own, so that many may wait at little cost. It is for one
// goroutine at a time.
type Follower struct {
	client *Client
	feeds  *feeds
	id     task.ID
	after  int64
	ended  bool // by what was given so far
	feed   *feed
	seat   *seat // nil for who does not count as a participant
}

// Follow is Watch for those who send the events on, and wait for other things
// beside them. after is the number of the last event that the caller has.
// Close must follow.
func (c *Client) Follow(ctx context.Context, id task.ID, after int64) (*Follower, error) {
	t, err := c.run(ctx, id, access.RunView)
	if err != nil {
		return nil, err
	}
	if after < 0 {
		return nil, task.Invalid("after", "must be 0 or the number of an event")
	}
	f := &Follower{client: c, feeds: &c.p.feeds, id: id, after: after, ended: t.State.Ended()}
	if !f.ended {
		f.feed = f.feeds.join(ctx, id, t.LastSeq)
	}
	if c.participates() {
		f.seat = c.p.presences.sit(id, c.caller.Principal, c.roleIn(t) != RunViewer)
	}
	return f, nil
}

// Next gives the events behind the position, and moves it behind those it
// gives: at least one, and others as long as all together have no more than
// limit bytes of JSON. When there are none yet, it gives a channel that closes
// when there may be some. Its error is io.EOF when the run has ended and the
// log was given to its end; after any other error a new Follower may go on
// from the same place.
func (f *Follower) Next(ctx context.Context, limit int) (frames []Frame, more <-chan struct{}, err error) {
	if f.feed == nil {
		if frames, err = readFrames(ctx, f.feeds.store, f.id, f.after); err != nil {
			return nil, nil, err
		}
		if len(frames) == 0 && !f.ended { // it goes on after all
			t, err := f.feeds.store.Get(ctx, f.id)
			if err != nil {
				return nil, nil, err
			}
			f.feed = f.feeds.join(ctx, f.id, t.LastSeq)
		}
	}
	if f.feed != nil {
		if frames, more, err = f.feed.next(ctx, f.feeds.store, f.after); err != nil {
			return nil, nil, err
		}
	}
	switch {
	case len(frames) > 0:
		frames = within(frames, limit)
		if err := f.judge(ctx, frames); err != nil {
			return nil, nil, err
		}
		return f.pass(frames), nil, nil
	case f.ended:
		return nil, nil, io.EOF
	}
	return nil, more, nil
}

// judge looks again whether the caller may see the run, where the log says
// that this has changed. It fails for one who may not any more, with
// task.ErrNotFound.
func (f *Follower) judge(ctx context.Context, frames []Frame) error {
	for i := range frames {
		if _, ok := frames[i].Event.Payload.(*task.Shared); ok {
			t, err := f.client.run(ctx, f.id, access.RunView)
			if err == nil && f.seat != nil {
				f.seat.role(f.client.roleIn(t) != RunViewer)
			}
			return err
		}
	}
	return nil
}

// wait is Next that waits until there are events.
func (f *Follower) wait(ctx context.Context) ([]Frame, error) {
	for {
		frames, more, err := f.Next(ctx, feedBytes)
		if err != nil || len(frames) > 0 {
			return frames, err
		}
		select {
		case <-more:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// Close ends the use of the Follower. Closing again does nothing.
func (f *Follower) Close() {
	if f.feed != nil {
		f.feeds.leave(f.feed)
		f.feed = nil
	}
	if f.seat != nil {
		f.seat.rise()
		f.seat = nil
	}
}

// pass notes what the frames tell.
func (f *Follower) pass(frames []Frame) []Frame {
	for i := range frames {
		switch p := frames[i].Event.Payload.(type) {
		case *task.StateChanged:
			f.ended = p.To.Ended()
		case *task.Pruned: // it stands for the event that said so
			f.ended = true
		}
	}
	f.after = frames[len(frames)-1].Event.Seq
	return frames
}

// within gives the first frames that have no more than limit bytes together,
// and at least one.
func within(frames []Frame, limit int) []Frame {
	size := 0
	for i := range frames {
		if size += len(frames[i].JSON); size > limit && i > 0 {
			return frames[:i:i]
		}
	}
	return frames
}

package oz

import (
	"context"
	"sync"

	"github.com/oz-platform/cloudagents/task"
)

// Frame is an event with its wire form, encoded once for all who follow the
// run. It is shared: neither part may be changed.
type Frame struct {
	Event task.Event
	JSON  []byte
}

func newFrame(e task.Event) (Frame, error) {
	data, err := e.MarshalJSON()
	return Frame{Event: e, JSON: data}, err
}

// Bounds of what a feed keeps in memory. A follower that is further behind
// reads the store itself.
const (
	feedFrames = 1024
	feedBytes  = 4 << 20
)

// feeds holds the feed of every run that somebody follows live.
type feeds struct {
	store task.Store

	mu sync.Mutex
	m  map[task.ID]*feed
}

// feed is the live end of one run's log: it is read from the store once,
// however many follow. One goroutine fills it for as long as it has followers.
type feed struct {
	id   task.ID
	refs int // guarded by feeds.mu
	stop context.CancelFunc
	done chan struct{}

	mu      sync.Mutex
	frames  []Frame // the newest events, without a gap
	bytes   int     // of their JSON
	next    int64   // number of the event that comes next
	err     error   // why it is filled no more
	changed chan struct{}
}

// join gives the feed of a run to a follower that has the log up to after.
// Each follower must leave.
func (s *feeds) join(ctx context.Context, id task.ID, after int64) *feed {
	s.mu.Lock()
	defer s.mu.Unlock()
	if f := s.m[id]; f != nil && !f.failed() {
		f.refs++
		return f
	}
	ctx, stop := context.WithCancel(context.WithoutCancel(ctx)) // it outlives its first follower
	f := &feed{id: id, refs: 1, stop: stop, done: make(chan struct{}), next: after + 1, changed: make(chan struct{})}
	if s.m == nil {
		s.m = map[task.ID]*feed{}
	}
	s.m[id] = f
	go func() {
		defer close(f.done)
		f.fill(ctx, s.store)
	}()
	return f
}

// leave ends a follower's use of a feed; the last one waits for its end.
func (s *feeds) leave(f *feed) {
	s.mu.Lock()
	f.refs--
	last := f.refs == 0
	if last && s.m[f.id] == f {
		delete(s.m, f.id)
	}
	s.mu.Unlock()
	if last {
		f.stop()
		<-f.done
	}
}

// fill reads what is new whenever the store says so, until ctx ends.
func (f *feed) fill(ctx context.Context, store task.Store) {
	// Subscribed before the first read: a change in between is seen by one or the other.
	changed, cancel := store.Subscribe(f.id)
	defer cancel()
	next := f.next
	for {
		events, err := store.Events(ctx, f.id, next-1, watchBatch)
		if err == nil {
			err = f.add(events)
		}
		if err != nil {
			f.fail(err)
			return
		}
		if n := len(events); n > 0 { // a short page may have been cut for its size
			next = events[n-1].Seq + 1
			continue
		}
		select {
		case <-changed:
		case <-ctx.Done():
			f.fail(ctx.Err())
			return
		}
	}
}

// add appends events, and forgets the oldest beyond the bounds.
func (f *feed) add(events []task.Event) error {
	if len(events) == 0 {
		return nil
	}
	fresh := make([]Frame, len(events))
	size := 0
	for i, e := range events {
		frame, err := newFrame(e)
		if err != nil {
			return err
		}
		fresh[i] = frame
		size += len(frame.JSON)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if events[0].Seq != f.next { // the log was pruned in between
		f.frames, f.bytes = nil, 0
	}
	f.frames = append(f.frames, fresh...)
	f.bytes += size
	drop := 0
	for ; drop < len(f.frames)-1 && (len(f.frames)-drop > feedFrames || f.bytes > feedBytes); drop++ {
		f.bytes -= len(f.frames[drop].JSON)
	}
	if drop > 0 { // a new array: followers may read the old one
		f.frames = append(make([]Frame, 0, len(f.frames)-drop+watchBatch), f.frames[drop:]...)
	}
	f.next = events[len(events)-1].Seq + 1
	f.signal()
	return nil
}

func (f *feed) fail(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.err = err
	f.signal()
}

func (f *feed) failed() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.err != nil
}

// signal wakes all followers. f.mu is held.
func (f *feed) signal() {
	close(f.changed)
	f.changed = make(chan struct{})
}

// read gives the frames after a number, and a channel that is closed at the
// next change. behind means that the feed does not reach back that far. The
// frames are shared with other followers.
func (f *feed) read(after int64) (frames []Frame, behind bool, changed <-chan struct{}, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	first := f.next - int64(len(f.frames))
	switch skip := after + 1 - first; {
	case skip < 0:
		return nil, true, nil, nil
	case skip < int64(len(f.frames)):
		return f.frames[skip:len(f.frames):len(f.frames)], false, f.changed, nil
	}
	return nil, false, f.changed, f.err
}

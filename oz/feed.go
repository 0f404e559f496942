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

// readFrames reads the next events of a run from the store; none when the log
// ends there.
func readFrames(ctx context.Context, store task.Store, id task.ID, after int64) ([]Frame, error) {
	events, err := store.Events(ctx, id, after, watchBatch)
	if err != nil {
		return nil, err
	}
	frames := make([]Frame, len(events))
	for i, e := range events {
		if frames[i], err = newFrame(e); err != nil {
			return nil, err
		}
	}
	return frames, nil
}

func newFrame(e task.Event) (Frame, error) {
	data, err := e.MarshalJSON()
	return Frame{Event: e, JSON: data}, err
}

// Bounds of what a feed keeps in memory of the newest events. A follower that
// is further behind reads pages of the log.
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
	end     int64   // number of the event that comes next
	err     error   // why it is filled no more
	changed chan struct{}
	pages   *pages // of what is older
}

// join gives the feed of a run, whose log had last as its newest event just
// now: a feed must not begin behind that, or others who join it would miss
// events. Each follower must leave.
func (s *feeds) join(ctx context.Context, id task.ID, last int64) *feed {
	s.mu.Lock()
	defer s.mu.Unlock()
	if f := s.m[id]; f != nil && !f.failed() {
		f.refs++
		return f
	}
	ctx, stop := context.WithCancel(context.WithoutCancel(ctx)) // it outlives its first follower
	f := &feed{id: id, refs: 1, stop: stop, done: make(chan struct{}), end: last + 1, changed: make(chan struct{}), pages: newPages()}
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
	last := f.end - 1
	for {
		frames, err := readFrames(ctx, store, f.id, last)
		if err != nil {
			f.fail(err)
			return
		}
		if n := len(frames); n > 0 { // a short page may have been cut for its size
			f.add(frames)
			last = frames[n-1].Event.Seq
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
func (f *feed) add(fresh []Frame) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if fresh[0].Event.Seq != f.end { // the log was pruned in between, and nobody is to see what was removed
		f.frames, f.bytes, f.pages = nil, 0, newPages()
	}
	f.frames = append(f.frames, fresh...)
	f.bytes += bytesOf(fresh)
	drop := 0
	for ; drop < len(f.frames)-1 && (len(f.frames)-drop > feedFrames || f.bytes > feedBytes); drop++ {
		f.bytes -= len(f.frames[drop].JSON)
	}
	if drop > 0 { // a new array: followers may read the old one
		f.frames = append(make([]Frame, 0, len(f.frames)-drop+watchBatch), f.frames[drop:]...)
	}
	f.end = fresh[len(fresh)-1].Event.Seq + 1
	f.signal()
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

// next gives frames after a number, or else a channel that is closed at the
// next change. The frames are shared with other followers.
func (f *feed) next(ctx context.Context, store task.Store, after int64) ([]Frame, <-chan struct{}, error) {
	frames, older, changed, err := f.newest(after)
	if older != nil {
		frames, err = older.read(ctx, store, f.id, after)
	}
	return frames, changed, err
}

// newest gives the frames after a number that are in memory, or older when
// they do not reach back that far.
func (f *feed) newest(after int64) (frames []Frame, older *pages, changed <-chan struct{}, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	first := f.end - int64(len(f.frames))
	switch skip := after + 1 - first; {
	case skip < 0:
		return nil, f.pages, nil, nil
	case skip < int64(len(f.frames)):
		return f.frames[skip:len(f.frames):len(f.frames)], nil, nil, nil
	}
	return nil, nil, f.changed, f.err
}

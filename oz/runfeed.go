package oz

import (
	"context"
	"crypto/rand"
	"iter"
	"reflect"
	"strconv"
	"strings"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/oz-platform/cloudagents/oz/access"
	"github.com/oz-platform/cloudagents/task"
)

// RunChangeKind says what a RunChange tells.
type RunChangeKind string

// The kinds of change, as the wire spells them.
const (
	// RunChanged: the run is new to the list, or looks as RunChange.Run says now.
	RunChanged RunChangeKind = "run"
	// RunGone: a run that was told of before may not be seen any more.
	RunGone RunChangeKind = "gone"
	// RunsResync: changes may have been missed. Whoever shows a list reads it
	// anew; what follows is what changes after that.
	RunsResync RunChangeKind = "resync"
)

// RunChange tells of a run that changed. Of several changes in a short time
// only the last is told.
type RunChange struct {
	// Position is where FollowRuns goes on after this change.
	Position string
	Kind     RunChangeKind
	RunID    task.ID   // empty for RunsResync
	Run      task.Task // of RunChanged; shared by all followers: must not be changed
}

// The bounds of a run feed.
const (
	// runFeedPause is the longest time until a change is noticed, and
	// runFeedRest the shortest between two looks.
	runFeedPause = 500 * time.Millisecond
	runFeedRest  = 100 * time.Millisecond
	// runFeedOverlap is how much later than its own time a change may become
	// visible: transactions of several replicas end in any order, and their
	// clocks differ a little.
	runFeedOverlap = 5 * time.Second
	// maxRunFeed bounds the changes that are kept for slow followers, by number
	// and by the bytes of their prompts.
	maxRunFeed      = 1024
	maxRunFeedBytes = 8 << 20
	// maxRunLook bounds the changes of one look; more are a resync.
	maxRunLook = 4 * task.MaxPageSize
	// maxRunsSent bounds what a follower remembers.
	maxRunsSent = 10_000
)

// runFeed is the live end of the list of all runs. It is read from the store
// once, however many follow, by one goroutine that lives as long as somebody
// does.
type runFeed struct {
	store  task.Store
	clock  task.Clock
	logger *zap.Logger

	mu   sync.Mutex
	refs int
	live *liveFeed // nil without followers
}

// liveFeed is a runFeed that has followers.
type liveFeed struct {
	epoch string // tells the positions of two lives apart
	stop  context.CancelFunc
	ready chan struct{} // closed when changes are noticed from then on
	done  chan struct{}

	mu      sync.Mutex
	kept    []keptChange
	bytes   int
	end     int64         // number of the next change
	changed chan struct{} // closed at the next change

	// What follows belongs to the goroutine.

	since   time.Time                // the newest change that was seen
	seen    map[task.ID]seenRun      // within the overlap
	sharing map[task.ID]task.Sharing // of runs that are not shared as they were by default
}

type keptChange struct {
	run task.Task
	// resync is for all; narrowed for those who cannot see the run, since they
	// may have seen it before.
	resync, narrowed bool
}

// seenRun is the version of a run.
type seenRun struct {
	updated time.Time
	seq     int64
}

// join gives the feed. Each follower must leave.
func (f *runFeed) join(ctx context.Context) (*liveFeed, error) {
	f.mu.Lock()
	l := f.live
	if l == nil {
		ctx, stop := context.WithCancel(context.WithoutCancel(ctx)) // it outlives its first follower
		l = &liveFeed{epoch: rand.Text(), stop: stop, ready: make(chan struct{}), done: make(chan struct{}), end: 1,
			changed: make(chan struct{}), seen: map[task.ID]seenRun{}, sharing: map[task.ID]task.Sharing{}}
		f.live = l
		go func() {
			defer close(l.done)
			f.fill(ctx, l)
		}()
	}
	f.refs++
	f.mu.Unlock()
	select {
	case <-l.ready:
		return l, nil
	case <-ctx.Done():
		f.leave(l)
		return nil, ctx.Err()
	}
}

// leave ends a follower's use; the last one waits for the goroutine's end.
func (f *runFeed) leave(l *liveFeed) {
	f.mu.Lock()
	f.refs--
	last := f.refs == 0
	if last {
		f.live = nil
	}
	f.mu.Unlock()
	if last {
		l.stop()
		<-l.done
	}
}

// fill looks for changes until ctx ends. A store that is away is asked again.
func (f *runFeed) fill(ctx context.Context, l *liveFeed) {
	woken, cancel := f.store.Subscribe("") // runs that begin to wait and those that end: at once
	defer cancel()
	for ready := false; ctx.Err() == nil; {
		var err error
		if !ready {
			if err = l.begin(ctx, f.store); err == nil {
				close(l.ready)
				ready = true
			}
		} else {
			err = l.look(ctx, f.store)
		}
		if err != nil && ctx.Err() == nil {
			f.logger.Warn("cannot look for changes of runs; trying again", zap.Error(err))
		}
		rest := f.clock.After(runFeedRest)
		select {
		case <-woken:
		case <-f.clock.After(runFeedPause):
		case <-ctx.Done():
			return
		}
		select {
		case <-rest:
		case <-ctx.Done():
			return
		}
	}
}

// begin notes what is there already. After an error nothing has changed, so that
// the next look finds that much is new, again.
func (l *liveFeed) begin(ctx context.Context, store task.Store) error {
	newest, err := store.List(ctx, task.Query{Sort: task.SortUpdatedAt, Limit: 1})
	if err != nil {
		return err
	}
	was := l.since
	l.since = time.Time{}
	if len(newest.Tasks) > 0 {
		l.since = newest.Tasks[0].UpdatedAt
	}
	runs, _, err := l.read(ctx, store)
	if err != nil {
		l.since = was
		return err
	}
	clear(l.seen)
	for _, t := range runs {
		l.note(t)
	}
	return nil
}

// look adds what has changed since the last look.
func (l *liveFeed) look(ctx context.Context, store task.Store) error {
	runs, more, err := l.read(ctx, store)
	if err != nil {
		return err
	}
	if more {
		if err := l.begin(ctx, store); err != nil {
			return err
		}
		l.add([]keptChange{{resync: true}})
		return nil
	}
	var fresh []keptChange
	for _, t := range runs {
		if l.seen[t.ID] != (seenRun{t.UpdatedAt, t.LastSeq}) {
			_, known := l.sharing[t.ID]
			narrowed := l.note(t)
			fresh = append(fresh, keptChange{run: t, narrowed: narrowed && (known || !sharedFromBirth(ctx, store, t))})
		}
	}
	for id, v := range l.seen {
		if v.updated.Before(l.since.Add(-runFeedOverlap)) {
			delete(l.seen, id)
		}
	}
	if len(fresh) > 0 {
		l.add(fresh)
	}
	return nil
}

// read gives the runs that changed since about the newest change, those that
// changed first first; more when there are too many.
func (l *liveFeed) read(ctx context.Context, store task.Store) (runs []task.Task, more bool, err error) {
	q := task.Query{Sort: task.SortUpdatedAt, Asc: true, Limit: task.MaxPageSize}
	if !l.since.IsZero() {
		q.UpdatedAfter = l.since.Add(-runFeedOverlap)
	}
	for {
		page, err := store.List(ctx, q)
		if err != nil {
			return nil, false, err
		}
		runs = append(runs, page.Tasks...)
		if page.Next == nil || len(runs) >= maxRunLook {
			return runs, page.Next != nil, nil
		}
		q.After = page.Next
	}
}

// note remembers a run's version, and reports whether fewer may see it than
// before, as far as that is known.
func (l *liveFeed) note(t task.Task) (narrowed bool) {
	l.seen[t.ID] = seenRun{t.UpdatedAt, t.LastSeq}
	if t.UpdatedAt.After(l.since) {
		l.since = t.UpdatedAt
	}
	was, known := l.sharing[t.ID]
	if t.Sharing.IsZero() && !known || known && was.Equal(t.Sharing) {
		return false
	}
	if len(l.sharing) >= maxRunsSent {
		clear(l.sharing)
	}
	l.sharing[t.ID] = t.Sharing
	return true
}

// sharedFromBirth reports that a run was made with the sharing that it has, so
// that nobody ever saw it otherwise. It asks the log's first events.
func sharedFromBirth(ctx context.Context, store task.Store, t task.Task) bool {
	events, err := store.Events(ctx, t.ID, 0, 8)
	if err != nil {
		return false
	}
	for _, e := range events {
		if s, ok := e.Payload.(*task.Shared); ok {
			return e.Time.Equal(t.CreatedAt) && s.Sharing.Equal(t.Sharing)
		}
	}
	return false
}

// add keeps changes for the followers, and forgets the oldest beyond the bounds.
func (l *liveFeed) add(fresh []keptChange) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.kept = append(l.kept, fresh...)
	l.end += int64(len(fresh))
	for _, c := range fresh {
		l.bytes += len(c.run.Prompt)
	}
	drop := 0
	for ; drop < len(l.kept)-1 && (len(l.kept)-drop > maxRunFeed || l.bytes > maxRunFeedBytes); drop++ {
		l.bytes -= len(l.kept[drop].run.Prompt)
	}
	if drop > 0 { // a new array: followers may read the old one
		l.kept = append(make([]keptChange, 0, len(l.kept)-drop), l.kept[drop:]...)
	}
	close(l.changed)
	l.changed = make(chan struct{})
}

// after gives the changes from a number on; lost when some of them are not
// kept any more. Without any it gives a channel that closes when there are.
func (l *liveFeed) after(next int64) (changes []keptChange, end int64, lost bool, changed <-chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	first := l.end - int64(len(l.kept))
	switch {
	case next < first || next > l.end:
		return nil, l.end, true, nil
	case next == l.end:
		return nil, l.end, false, l.changed
	}
	skip := next - first
	return l.kept[skip:len(l.kept):len(l.kept)], l.end, false, nil
}

// RunFollower is a position in the changes of the runs that a caller may see.
// It has no goroutine of its own. It is for one goroutine at a time.
type RunFollower struct {
	client *Client
	feed   *liveFeed
	viewer *task.Viewer // nil sees everything
	next   int64
	resync bool
	sent   map[task.ID]struct{}
}

// FollowRuns follows the list of runs, as List would show it to the caller
// without filters. after is the Position of the last change that the caller
// has; with "", or one that is too old, the first change is a RunsResync. Close
// must follow.
func (c *Client) FollowRuns(ctx context.Context, after string) (*RunFollower, error) {
	if err := c.allow(ctx, access.RunList, access.Object{}); err != nil {
		return nil, err
	}
	epoch, number, err := parsePosition(after)
	if err != nil {
		return nil, err
	}
	feed, err := c.p.runs.join(ctx)
	if err != nil {
		return nil, err
	}
	f := &RunFollower{client: c, feed: feed, viewer: c.caller.Viewer(), next: number + 1, sent: map[task.ID]struct{}{}}
	_, end, lost, _ := feed.after(f.next)
	if epoch != feed.epoch || lost {
		f.next, f.resync = end, true
	}
	return f, nil
}

// parsePosition reads RunChange.Position.
func parsePosition(s string) (epoch string, number int64, err error) {
	if s == "" {
		return "", 0, nil
	}
	epoch, text, ok := strings.Cut(s, ".")
	number, err = strconv.ParseInt(text, 10, 64)
	if !ok || err != nil || number < 0 || len(epoch) > 64 {
		return "", 0, task.Invalid("Last-Event-ID", "is not the id of an event of this stream; start again without it")
	}
	return epoch, number, nil
}

// As goes on with the rights that a caller has now. When they differ from
// those of before the next change is a RunsResync.
func (f *RunFollower) As(c *Client) {
	viewer := c.caller.Viewer()
	if !reflect.DeepEqual(viewer, f.viewer) {
		f.viewer, f.resync = viewer, true
		clear(f.sent)
	}
}

// Next gives the changes behind the position and moves it behind them. When
// there are none it gives a channel that closes when there may be some.
func (f *RunFollower) Next() (changes []RunChange, more <-chan struct{}) {
	for {
		kept, end, lost, changed := f.feed.after(f.next)
		if lost {
			kept, f.next, f.resync = nil, end, true
		}
		for _, k := range kept {
			if change, ok := f.judge(k); ok {
				change.Position = f.position(f.next)
				changes = append(changes, change)
			}
			f.next++
		}
		if f.resync {
			f.resync = false
			clear(f.sent)
			return []RunChange{{Position: f.position(f.next - 1), Kind: RunsResync}}, nil
		}
		if len(changes) > 0 || changed != nil {
			return changes, changed
		}
	}
}

// judge says what a change is to the viewer, if anything.
func (f *RunFollower) judge(k keptChange) (RunChange, bool) {
	id := k.run.ID
	_, sent := f.sent[id]
	switch {
	case k.resync:
		f.resync = true
	case f.viewer == nil || f.viewer.Sees(k.run):
		if len(f.sent) >= maxRunsSent {
			f.resync = true
		}
		f.sent[id] = struct{}{}
		return RunChange{Kind: RunChanged, RunID: id, Run: k.run}, true
	case sent:
		delete(f.sent, id)
		return RunChange{Kind: RunGone, RunID: id}, true
	case k.narrowed: // it may stand in a list that was read elsewhere
		f.resync = true
	}
	return RunChange{}, false
}

func (f *RunFollower) position(number int64) string {
	return f.feed.epoch + "." + strconv.FormatInt(number, 10)
}

// Close ends the use of the RunFollower. Closing again does nothing.
func (f *RunFollower) Close() {
	if f.feed != nil {
		f.client.p.runs.leave(f.feed)
		f.feed = nil
	}
}

// WatchRuns yields the changes of FollowRuns until ctx ends, with its error.
func (c *Client) WatchRuns(ctx context.Context, after string) iter.Seq2[RunChange, error] {
	return func(yield func(RunChange, error) bool) {
		f, err := c.FollowRuns(ctx, after)
		if err != nil {
			yield(RunChange{}, err)
			return
		}
		defer f.Close()
		for {
			changes, more := f.Next()
			for _, change := range changes {
				if !yield(change, nil) {
					return
				}
			}
			if more == nil {
				continue
			}
			select {
			case <-more:
			case <-ctx.Done():
				yield(RunChange{}, ctx.Err())
				return
			}
		}
	}
}

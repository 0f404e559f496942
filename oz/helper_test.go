package oz_test

import (
	"context"
	"errors"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"gotest.tools/v3/assert"

	"github.com/oz-platform/cloudagents/executor"
	"github.com/oz-platform/cloudagents/oz"
	"github.com/oz-platform/cloudagents/oz/access"
	"github.com/oz-platform/cloudagents/task"
	"github.com/oz-platform/cloudagents/task/sqlitestore"
)

// openStore opens a real store on a file of its own.
func openStore(t testing.TB) *sqlitestore.Store {
	t.Helper()
	store, err := sqlitestore.Open(context.Background(), filepath.Join(t.TempDir(), "oz.db"), nil)
	assert.NilError(t, err)
	t.Cleanup(func() { assert.Check(t, store.Close()) })
	return store
}

// newPlatform makes a platform that does not run.
func newPlatform(t testing.TB, opts *oz.Options) (*oz.Platform, *sqlitestore.Store) {
	t.Helper()
	store := openStore(t)
	p, err := oz.New(store, opts)
	assert.NilError(t, err)
	return p, store
}

// start runs the platform until the test or stop ends it.
func start(t testing.TB, p *oz.Platform) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- p.Run(ctx) }()
	var once sync.Once
	stop = func() {
		once.Do(func() {
			cancel()
			assert.Check(t, <-done)
		})
	}
	t.Cleanup(stop)
	return stop
}

// worker is a real Worker whose runners are goroutines that call the
// platform's link.
type worker struct {
	info oz.WorkerInfo
	// work carries out one execution. ctx ends when it is cancelled.
	work func(ctx context.Context, a oz.Assignment, l executor.Link)

	platform *oz.Platform // set before Run
	offers   chan oz.Assignment

	mu          sync.Mutex
	cancels     map[task.ExecutionID]context.CancelFunc
	active, top int
}

func newWorker(id string, capacity int, work func(context.Context, oz.Assignment, executor.Link)) *worker {
	return &worker{info: oz.WorkerInfo{ID: id, Capacity: capacity}, work: work,
		offers: make(chan oz.Assignment), cancels: map[task.ExecutionID]context.CancelFunc{}}
}

func (w *worker) Info() oz.WorkerInfo { return w.info }

func (w *worker) Offer(ctx context.Context, a oz.Assignment) error {
	select {
	case w.offers <- a:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (w *worker) Cancel(_ context.Context, id task.ExecutionID) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if cancel := w.cancels[id]; cancel != nil {
		cancel()
	}
}

func (w *worker) Run(ctx context.Context, h oz.WorkerHost) error {
	var group sync.WaitGroup
	defer group.Wait()
	h.Ready()
	for {
		select {
		case a := <-w.offers:
			group.Go(func() { w.carryOut(ctx, a) })
		case <-ctx.Done():
			return nil
		}
	}
}

func (w *worker) carryOut(ctx context.Context, a oz.Assignment) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	w.mu.Lock()
	w.cancels[a.Execution] = cancel
	w.active++
	w.top = max(w.top, w.active)
	w.mu.Unlock()
	defer func() {
		w.mu.Lock()
		w.active--
		w.mu.Unlock()
	}()
	caller, err := w.platform.Authenticate(ctx, a.Token.Reveal())
	if err != nil {
		return
	}
	l, err := w.platform.Link(caller)
	if err != nil {
		return
	}
	w.work(ctx, a, l)
}

// with makes a platform with workers that knows them.
func with(t testing.TB, opts *oz.Options, workers ...*worker) (*oz.Platform, *sqlitestore.Store) {
	t.Helper()
	for _, w := range workers {
		opts.Workers = append(opts.Workers, w)
	}
	p, store := newPlatform(t, opts)
	for _, w := range workers {
		w.platform = p
	}
	return p, store
}

// succeed is the work of an agent that does its job at once.
func succeed(ctx context.Context, _ oz.Assignment, l executor.Link) {
	beat, err := l.Heartbeat(ctx)
	if err != nil || l.Begin(ctx) != nil {
		return
	}
	if l.Append(ctx, 0, []task.Event{{Payload: &task.Message{ID: "m", Text: "done"}}}) != nil {
		return
	}
	end(ctx, l, beat.LastInput, task.StateSucceeded)
}

// end reports an outcome, and hears what people have said meanwhile.
func end(ctx context.Context, l executor.Link, seen int64, state task.State) {
	for {
		err := l.End(ctx, task.End{State: state, SeenInput: seen})
		if !errors.Is(err, task.ErrUnseenInput) {
			return
		}
		beat, err := l.Heartbeat(ctx)
		if err != nil {
			return
		}
		seen = beat.LastInput
	}
}

// follow reads a run's events from the start until it ends.
func follow(t testing.TB, s oz.Service, id task.ID) []task.Event {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 24*time.Hour)
	defer cancel()
	var events []task.Event
	for e, err := range s.Watch(ctx, id, 0) {
		assert.NilError(t, err)
		events = append(events, e)
	}
	return events
}

// until reads a run's events until one satisfies found.
func until(t testing.TB, s oz.Service, id task.ID, found func(task.Event) bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 24*time.Hour)
	defer cancel()
	for e, err := range s.Watch(ctx, id, 0) {
		assert.NilError(t, err)
		if found(e) {
			return
		}
	}
	t.Fatalf("run %s ended without the event that was waited for", id)
}

// becomes finds the event that took the run to a state.
func becomes(s task.State) func(task.Event) bool {
	return func(e task.Event) bool {
		c, ok := e.Payload.(*task.StateChanged)
		return ok && c.To == s
	}
}

func submit(t testing.TB, s oz.Service, r oz.Request) task.Task {
	t.Helper()
	run, err := s.Submit(context.Background(), r)
	assert.NilError(t, err)
	return run
}

// people makes two teams and their members, and gives a client for each name:
// ann and bob are on team red (ann owns it), cid on blue, dan on none.
func people(t testing.TB, p *oz.Platform) map[string]*oz.Client {
	t.Helper()
	ctx := context.Background()
	r := p.Registry()
	for _, team := range []string{"red", "blue"} {
		assert.NilError(t, r.PutTeam(ctx, access.Team{UID: team, Name: team}))
	}
	clients := map[string]*oz.Client{}
	for _, u := range []access.User{
		{UID: "ann", DisplayName: "Ann", Teams: []access.Membership{{UID: "red", Role: access.RoleOwner}}},
		{UID: "bob", DisplayName: "Bob", Teams: []access.Membership{{UID: "red", Role: access.RoleMember}}},
		{UID: "cid", DisplayName: "Cid", Teams: []access.Membership{{UID: "blue", Role: access.RoleMember}}},
		{UID: "dan", DisplayName: "Dan"},
	} {
		assert.NilError(t, r.PutUser(ctx, u))
		c, err := r.Caller(ctx, u.UID)
		assert.NilError(t, err)
		clients[u.UID] = p.As(c)
	}
	return clients
}

func ptr[T any](v T) *T { return &v }

package figure

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/oz-platform/cloudagents/executor"
	"github.com/oz-platform/cloudagents/oz"
	"github.com/oz-platform/cloudagents/task"
	"github.com/oz-platform/cloudagents/task/sqlitestore"
)

// platform is ours: the platform on a store of its own.
type platform struct {
	*oz.Platform
	store task.Store
	stop  func() error
}

// open makes a platform on a new SQLite database in dir. It does not run.
func open(ctx context.Context, dir string, w *worker) (*platform, error) {
	store, err := sqlitestore.Open(ctx, database(dir), nil)
	if err != nil {
		return nil, err
	}
	return on(store, w)
}

// on makes a platform on a store, which it closes in the end.
func on(store task.Store, w *worker) (*platform, error) {
	opts := &oz.Options{MaxWaiting: 10_000_000}
	if w != nil {
		opts.Workers = []oz.Worker{w}
	}
	p, err := oz.New(store, opts)
	if err != nil {
		return nil, errors.Join(err, store.Close())
	}
	if w != nil {
		w.platform = p
	}
	return &platform{Platform: p, store: store, stop: func() error { return nil }}, nil
}

// start runs the platform until close.
func (p *platform) start() {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- p.Run(ctx) }()
	p.stop = func() error {
		cancel()
		return <-done
	}
}

func (p *platform) close() error { return errors.Join(p.stop(), p.store.Close()) }

// submit stores a run.
func (p *platform) submit(ctx context.Context) error {
	_, err := p.Submit(ctx, request())
	return err
}

func request() oz.Request { return oz.Request{Prompt: payload, Title: "Mend the failing test"} }

// fill submits n runs.
func (p *platform) fill(ctx context.Context, n int) error {
	return spread(n, 64, func(int) error { return p.submit(ctx) })
}

// spread calls do for 0 to n-1 from some goroutines.
func spread(n, goroutines int, do func(i int) error) (err error) {
	var all sync.WaitGroup
	errs := make([]error, goroutines)
	for g := range goroutines {
		all.Go(func() {
			for i := g; i < n; i += goroutines {
				if errs[g] = do(i); errs[g] != nil {
					return
				}
			}
		})
	}
	all.Wait()
	return errors.Join(errs...)
}

// worker is a Worker of the platform whose runners do no work: each begins and
// ends its execution over the link, as a real runner does.
type worker struct {
	id       string
	platform *oz.Platform
	offered  func(task.Task) // called with each offer
	ended    func(error)     // called when the end of an execution is durable
	stay     bool            // begin no execution: only take the offer
	running  sync.WaitGroup
}

func newWorker() *worker {
	return &worker{id: "bench", offered: func(task.Task) {}, ended: func(error) {}}
}

// Info implements oz.Worker.
func (w *worker) Info() oz.WorkerInfo { return oz.WorkerInfo{ID: w.id, Capacity: workers} }

// Offer implements oz.Worker.
func (w *worker) Offer(_ context.Context, a oz.Assignment) error {
	w.offered(a.Task)
	if w.stay {
		return nil
	}
	w.running.Go(func() { w.ended(w.carryOut(a)) })
	return nil
}

// Cancel implements oz.Worker.
func (w *worker) Cancel(context.Context, task.ExecutionID) {}

// Run implements oz.Worker.
func (w *worker) Run(ctx context.Context, h oz.WorkerHost) error {
	h.Ready()
	<-ctx.Done()
	w.running.Wait()
	return nil
}

func (w *worker) carryOut(a oz.Assignment) error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	caller, err := w.platform.Authenticate(ctx, a.Token.Reveal())
	if err != nil {
		return err
	}
	link, err := w.platform.Link(caller)
	if err != nil {
		return err
	}
	if err := link.Begin(ctx); err != nil {
		return err
	}
	return link.End(ctx, task.End{State: task.StateSucceeded, SeenInput: a.Task.LastInput})
}

// working submits n runs on a platform that does not run, and gives the links
// of executions that have begun to work on them.
func (p *platform) working(ctx context.Context, n int) (ids []task.ID, links []executor.Link, err error) {
	for range n {
		run, err := p.Submit(ctx, request())
		if err != nil {
			return nil, nil, err
		}
		exec := task.NewExecutionID()
		token, hash := task.NewToken(exec)
		if _, err := p.store.Do(ctx, run.ID, task.Offer{Execution: exec, Worker: "bench", TokenHash: hash, LeaseUntil: time.Now().Add(time.Hour)}); err != nil {
			return nil, nil, err
		}
		caller, err := p.Authenticate(ctx, token)
		if err != nil {
			return nil, nil, err
		}
		link, err := p.Link(caller)
		if err != nil {
			return nil, nil, err
		}
		if err := link.Begin(ctx); err != nil {
			return nil, nil, fmt.Errorf("begin run %s: %w", run.ID, err)
		}
		ids, links = append(ids, run.ID), append(links, link)
	}
	return ids, links, nil
}

// messages are events that carry the payload.
func messages(n int) []task.Event {
	events := make([]task.Event, n)
	for i := range events {
		events[i].Payload = &task.Message{ID: "m", Text: payload}
	}
	return events
}

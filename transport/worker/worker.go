package worker

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"time"

	"github.com/coder/websocket"
	"go.uber.org/zap"

	"github.com/oz-platform/cloudagents/executor"
	"github.com/oz-platform/cloudagents/oz"
	"github.com/oz-platform/cloudagents/task"
)

const (
	// pingInterval is how often the worker makes sure of its link, and pongWait
	// how long it waits for the answer.
	pingInterval = 25 * time.Second
	pongWait     = 20 * time.Second
	// offerWait bounds the worker's own answer: the server waits 10 s.
	offerWait = 8 * time.Second
	// maxOffers bounds the offers that are answered at once.
	maxOffers = 64
)

// Worker is the worker's end of the link.
type Worker struct {
	local   oz.Worker
	opts    Options
	process string // the name of this process
	drain   chan struct{}
	once    sync.Once // closes drain

	mu       sync.Mutex
	instance string
	conn     *conn // nil while it is not connected
	since    time.Time
	lastErr  string
	ready    bool
	taken    bool // of OneShot: the one was taken
	calls    map[uint64]*pending
	nextCall uint64
	grants   map[task.ExecutionID]chan struct{} // closed when granted
	runs     map[task.ExecutionID]*work
	watchers map[chan struct{}]bool
	changed  chan struct{} // a place may be free, see Run
}

// work is an execution that this process has.
type work struct {
	task    task.ID
	began   time.Time // when it was granted or taken up; zero before
	result  string
	claimed bool // by this process
}

// New returns a Worker that offers local to a server. It starts nothing.
// local must be given to nobody else; its Info().ID is what runs name as
// worker_host.
func New(local oz.Worker, o Options) (*Worker, error) {
	o, err := o.withDefaults()
	if err != nil {
		return nil, fmt.Errorf("options: %w", err)
	}
	if err := oz.CheckWorkerID(local.Info().ID); err != nil {
		return nil, fmt.Errorf("options: %w", err)
	}
	name := make([]byte, 8)
	_, _ = rand.Read(name) // never fails
	return &Worker{local: local, opts: o, process: hex.EncodeToString(name), drain: make(chan struct{}), since: o.Clock.Now(),
		calls: map[uint64]*pending{}, grants: map[task.ExecutionID]chan struct{}{}, runs: map[task.ExecutionID]*work{},
		watchers: map[chan struct{}]bool{}, changed: make(chan struct{}, 1)}, nil
}

// Run serves until ctx ends, or until a drain is complete; then it returns nil.
// Executions that are at work when ctx ends go on, unless local stops them; the
// next process takes them up again. It reconnects for as long as it runs, and
// fails only when StateDir cannot be used or local fails.
func (w *Worker) Run(ctx context.Context) error {
	instance, unlock, err := claimInstance(w.opts.StateDir)
	if err != nil {
		return err
	}
	defer unlock()
	w.mu.Lock()
	w.instance = instance
	w.mu.Unlock()
	working, stop := context.WithCancel(ctx)
	defer stop()
	ended := make(chan error, 1)
	go func() { ended <- w.local.Run(working, remote{w}) }()
	// The link outlives the work: what that says at its end has to arrive.
	linked, unlink := context.WithCancel(context.WithoutCancel(ctx))
	var link sync.WaitGroup
	link.Go(func() { w.keepLink(linked) })
	defer link.Wait()
	defer unlink()
	return w.wait(ctx, stop, ended)
}

// wait waits until the work is over.
func (w *Worker) wait(ctx context.Context, stop func(), ended <-chan error) error {
	drain := w.drain
	for {
		select {
		case err := <-ended:
			if ctx.Err() != nil || err == nil {
				return nil
			}
			return fmt.Errorf("worker %s: %w", w.local.Info().ID, err)
		case <-drain:
			drain = nil
			w.tell(ctx)
		case <-w.changed:
			w.tell(ctx)
		}
		w.noteEnds()
		if w.drained() {
			stop()
			<-ended
			return nil
		}
	}
}

// Drain makes the worker take nothing new. Once what it has taken is over, Run
// returns. It may be called at any time, and again.
func (w *Worker) Drain() { w.once.Do(func() { close(w.drain) }) }

func (w *Worker) draining() bool {
	select {
	case <-w.drain:
		return true
	default:
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.taken
}

// drained reports that the worker takes nothing and has nothing. One that has
// not yet taken up what was left does not know.
func (w *Worker) drained() bool {
	if !w.draining() || w.local.Info().Busy > 0 {
		return false
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.ready && len(w.calls) == 0
}

// Status says how the worker stands.
func (w *Worker) Status() Status {
	info, draining := w.local.Info(), w.draining()
	w.mu.Lock()
	defer w.mu.Unlock()
	return Status{ID: info.ID, Instance: w.instance, Connected: w.conn != nil, Since: w.since, LastError: w.lastErr,
		Ready: w.ready, Draining: draining, Capacity: info.Capacity, Busy: info.Busy, Idle: info.Idle, Retained: info.Retained, Unsent: len(w.calls)}
}

// keepLink connects until ctx ends: soon after an end, later and later when
// the server cannot be reached, and slowly when it refuses the key.
func (w *Worker) keepLink(ctx context.Context) {
	var wait delays
	for ctx.Err() == nil {
		welcomed, err := w.link(ctx)
		if ctx.Err() != nil {
			return
		}
		w.lost(welcomed, err)
		select {
		case <-w.opts.Clock.After(wait.next(welcomed, err)):
		case <-ctx.Done():
		}
	}
}

// lost notes the end of a link, or that there was none.
func (w *Worker) lost(welcomed bool, err error) {
	kind := EventDialFailed
	if welcomed {
		kind = EventDisconnected
	}
	w.mu.Lock()
	if w.conn != nil || w.lastErr == "" {
		w.since = w.opts.Clock.Now()
	}
	w.conn, w.lastErr = nil, err.Error()
	w.mu.Unlock()
	w.opts.Logger.Warn("no link to the server", zap.String("server", w.opts.LinkURL), zap.Error(err))
	w.opts.Observer(Event{Kind: kind, Err: err})
}

// link makes one connection and serves it to its end.
func (w *Worker) link(ctx context.Context) (welcomed bool, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	c, err := w.dial(ctx)
	if err != nil {
		return false, err
	}
	defer c.kill()
	if err := c.send(ctx, typeHello, w.hello()); err != nil {
		return false, err
	}
	var beside sync.WaitGroup
	defer beside.Wait()
	defer cancel()
	defer c.kill() // else close below waits for an answer
	beside.Go(func() { <-ctx.Done(); c.close(websocket.StatusNormalClosure, "") })
	beside.Go(func() { w.ping(ctx, c) })
	slots := make(chan struct{}, maxOffers)
	for {
		frame, err := c.read(context.Background())
		if err != nil {
			return welcomed, fmt.Errorf("the link ended: %w", err)
		}
		e, err := parseEnvelope(frame)
		if err != nil {
			return welcomed, err
		}
		switch e.Type {
		case typeWelcome:
			welcomed, err = true, w.welcomed(ctx, c, e.Data)
		case typeOffer:
			err = w.offered(ctx, c, e.Data, slots, &beside)
		default:
			err = w.handle(ctx, e)
		}
		if err != nil {
			return welcomed, err
		}
	}
}

// ping keeps the connection, and ends it when the server is silent.
func (w *Worker) ping(ctx context.Context, c *conn) {
	for {
		select {
		case <-w.opts.Clock.After(pingInterval):
		case <-ctx.Done():
			return
		}
		waiting, cancel := context.WithTimeout(ctx, pongWait)
		err := c.ws.Ping(waiting)
		cancel()
		if err != nil {
			c.kill()
			return
		}
	}
}

// hello says what the worker is and has.
func (w *Worker) hello() hello {
	h := hello{Instance: w.instance, Process: w.process, Version: w.opts.Version, Backend: w.opts.Backend,
		Platform: runtime.GOOS + "/" + runtime.GOARCH, Labels: w.opts.Labels, Dedicated: w.local.Info().Dedicated, info: w.info()}
	if l, ok := w.local.(oz.Lister); ok {
		h.Executions = l.Executions()
	}
	return h
}

func (w *Worker) info() info {
	now, draining := w.local.Info(), w.draining()
	w.mu.Lock()
	defer w.mu.Unlock()
	return info{Ready: w.ready && !now.Paused, Draining: draining, Capacity: now.Capacity, Busy: now.Busy,
		Idle: min(now.Idle, maxKept), Retained: min(now.Retained, maxKept)}
}

// tell says how busy the worker is, if it is connected: else its next hello does.
func (w *Worker) tell(ctx context.Context) {
	w.mu.Lock()
	c := w.conn
	w.mu.Unlock()
	if c != nil {
		_ = c.send(ctx, typeInfo, w.info())
	}
}

// welcomed takes the server's answer to the hello.
func (w *Worker) welcomed(ctx context.Context, c *conn, data []byte) error {
	v, err := decode[welcome](data)
	if err != nil {
		return err
	}
	for _, id := range v.Stop {
		w.local.Cancel(ctx, id)
	}
	w.mu.Lock()
	w.conn, w.since, w.lastErr = c, w.opts.Clock.Now(), ""
	w.mu.Unlock()
	w.opts.Logger.Info("connected", zap.String("server", w.opts.LinkURL))
	w.opts.Observer(Event{Kind: EventConnected})
	w.signal()
	w.tell(ctx)
	return w.resend(ctx, c)
}

// handle takes a frame of no great consequence for the connection.
func (w *Worker) handle(ctx context.Context, e envelope) error {
	switch e.Type {
	case typeGranted, typeEnded:
		ref, err := decode[executionRef](e.Data)
		if err != nil {
			return err
		}
		if e.Type == typeEnded {
			w.local.Cancel(ctx, ref.ExecutionID)
			w.signal()
		}
		w.granted(ref.ExecutionID)
	case typeResult:
		r, err := decode[result](e.Data)
		if err != nil {
			return err
		}
		w.finish(r)
	}
	return nil // unknown types are of newer servers
}

// offered answers an offer, beside the reading.
func (w *Worker) offered(ctx context.Context, c *conn, data []byte, slots chan struct{}, beside *sync.WaitGroup) error {
	o, err := decode[offer](data)
	if err != nil {
		return err
	}
	if o.ExecutionID == "" || o.Task.ID == "" {
		return task.Invalid("data.execution_id", "and task.id are needed")
	}
	slots <- struct{}{}
	beside.Go(func() {
		defer func() { <-slots }()
		err := w.consider(ctx, o)
		said := answer{ExecutionID: o.ExecutionID, Accepted: err == nil}
		if err != nil {
			said.AtCapacity, said.Reason = errors.Is(err, oz.ErrAtCapacity), plain(err.Error(), maxMessage)
		}
		_ = c.send(ctx, typeAnswer, said)
	})
	return nil
}

// errDraining is the no of a worker that drains.
var errDraining = errors.New("the worker is draining")

// consider asks the worker behind this one whether it takes an execution.
func (w *Worker) consider(ctx context.Context, o offer) error {
	if err := w.reserve(o); err != nil {
		w.opts.Observer(Event{Kind: EventRejected, Task: o.Task.ID, Execution: o.ExecutionID, Err: err})
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, offerWait)
	defer cancel()
	w.opts.Observer(Event{Kind: EventClaimed, Task: o.Task.ID, Execution: o.ExecutionID})
	err := w.local.Offer(ctx, oz.Assignment{Task: o.Task, Execution: o.ExecutionID, Token: executor.Sensitive(o.Token)})
	if err != nil {
		w.mu.Lock()
		delete(w.runs, o.ExecutionID)
		delete(w.grants, o.ExecutionID)
		w.taken = false
		w.mu.Unlock()
		w.opts.Observer(Event{Kind: EventRejected, Task: o.Task.ID, Execution: o.ExecutionID, Err: err})
	}
	return err
}

// reserve notes an offer that is about to be taken.
func (w *Worker) reserve(o offer) error {
	if w.draining() {
		return errDraining
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.opts.OneShot && w.taken {
		return errDraining
	}
	w.taken = w.opts.OneShot
	w.runs[o.ExecutionID] = &work{task: o.Task.ID, claimed: true}
	w.grants[o.ExecutionID] = make(chan struct{})
	return nil
}

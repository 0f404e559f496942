package oz

import (
	"context"
	"errors"
	"io"
	"sync"
	"time"

	"github.com/google/uuid"
	"go.uber.org/zap"

	"github.com/oz-platform/cloudagents/executor"
	"github.com/oz-platform/cloudagents/oz/access"
	"github.com/oz-platform/cloudagents/task"
)

// Bounds of terminals.
const (
	MaxTerminals = 4 // of one run that are open at one server

	terminalJoin  = 15 * time.Second // for the sandbox to answer
	terminalAgain = 3 * time.Second  // after which the runner is told again
	terminalIdle  = 30 * time.Minute // without anything typed
	terminalLook  = 4 * time.Second  // between two looks at the person's rights
	terminalWord  = 5 * time.Second  // for the last frame
)

// terminals are those that persons have open or wait for at this platform, and
// what others on the store have told of theirs (see replicas).
type terminals struct {
	mu sync.Mutex
	m  map[task.ExecutionID]*terminalsOf
}

// terminalsOf are those of one execution.
type terminalsOf struct {
	open    []*Terminal
	far     []*farAsk
	news    chan struct{} // closed when another person waits
	waiting int           // questions of the runner
}

// Terminal is one that a person has asked for and the sandbox has answered. It
// must be served or closed.
type Terminal struct {
	// ID names it in the run's log.
	ID string

	c       *Client
	id      task.ID
	exec    task.ExecutionID
	size    executor.TerminalSize
	given   time.Time // to the runner, which will join; zero for not yet
	sandbox executor.TerminalConn
	joined  chan struct{} // closed when sandbox is there
}

// terminalPossible says why none can be opened now; nil when it can.
func terminalPossible(t task.Task) error {
	if t.Where == task.LocationLocal { // a person's own machine is nobody else's to take over
		return task.Errorf(task.CodeOperationNotSupported, "this run executes where it was started, which has no terminal for others")
	}
	if t.State != task.StateInProgress || t.Execution == "" {
		return task.Errorf(task.CodeConflict, "the run is %s: a terminal can be opened only while it is at work; send it a message to wake it", t.State)
	}
	return nil
}

// OpenTerminal asks the run's sandbox for a terminal and waits until it
// answers. It fails with task.ErrConflict when the run is not at work, with
// task.CodeOperationNotSupported when it is carried out by whoever started it, with
// task.CodeResourceUnavailable when MaxTerminals are open or the sandbox does
// not answer.
func (c *Client) OpenTerminal(ctx context.Context, id task.ID, size executor.TerminalSize) (*Terminal, error) {
	t, err := c.terminalRun(ctx, id, size)
	if err != nil {
		return nil, err
	}
	x := &Terminal{ID: uuid.NewString(), c: c, id: id, exec: t.Execution, size: size, joined: make(chan struct{})}
	if err := c.p.terminals.ask(x); err != nil {
		return nil, err
	}
	d := runDeed(access.RunTakeOver, t)
	d.details = map[string]string{"terminal": x.ID}
	if err := c.audited(ctx, d, func() error { return x.await(ctx) }); err != nil {
		x.abandon()
		return nil, err
	}
	return x, nil
}

// MayOpenTerminal judges what OpenTerminal judges before it asks the sandbox.
func (c *Client) MayOpenTerminal(ctx context.Context, id task.ID, size executor.TerminalSize) error {
	_, err := c.terminalRun(ctx, id, size)
	return err
}

func (c *Client) terminalRun(ctx context.Context, id task.ID, size executor.TerminalSize) (task.Task, error) {
	t, err := c.run(ctx, id, access.RunTakeOver)
	if err == nil {
		err = size.Validate()
	}
	if err == nil {
		err = terminalPossible(t)
	}
	return t, err
}

// await waits for the sandbox and writes down that the terminal is open.
func (x *Terminal) await(ctx context.Context) error {
	clock := x.c.p.opts.Clock
	over := clock.After(terminalJoin)
	for {
		x.c.p.replicas.announce(ctx, x)
		select {
		case <-x.joined:
			return x.log(ctx, &task.Terminal{ID: x.ID, State: task.TerminalOpened, By: x.c.caller.Principal})
		case <-clock.After(terminalAgain):
		case <-over:
			return task.Errorf(task.CodeResourceUnavailable, "the sandbox does not answer: it may still be prepared, or have an older runner; try again in a while")
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

func (x *Terminal) log(ctx context.Context, p *task.Terminal) error {
	_, err := x.c.p.store.Do(ctx, x.id, task.Log{Payloads: []task.Payload{p}})
	return err
}

// abandon ends a terminal that was never served.
func (x *Terminal) abandon() {
	x.c.p.terminals.forget(x)
	if x.sandbox != nil {
		_ = x.sandbox.Close()
	}
}

// Close ends a terminal that is not going to be served.
func (x *Terminal) Close(ctx context.Context) {
	x.abandon()
	x.closed(ctx, task.Terminal{Code: task.TerminalLeft, Reason: "the connection was not made"})
}

// closed writes down that the terminal is over, whatever became of ctx.
func (x *Terminal) closed(ctx context.Context, end task.Terminal) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), outcomeTimeout)
	defer cancel()
	end.ID, end.State, end.By = x.ID, task.TerminalClosed, x.c.caller.Principal
	if err := x.log(ctx, &end); err != nil {
		x.c.p.opts.Logger.Warn("write down the end of a terminal", zap.String("task_id", string(x.id)), zap.Error(err))
	}
}

// ask puts a terminal where the runner finds it.
func (s *terminals) ask(x *Terminal) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	of := s.of(x.exec)
	if len(of.open) >= MaxTerminals {
		return task.Errorf(task.CodeResourceUnavailable, "%d terminals of this run are open, and no more are possible", len(of.open))
	}
	of.open = append(of.open, x)
	close(of.news)
	of.news = make(chan struct{})
	return nil
}

// of gives the terminals of an execution. s.mu is held.
func (s *terminals) of(exec task.ExecutionID) *terminalsOf {
	if s.m == nil {
		s.m = map[task.ExecutionID]*terminalsOf{}
	}
	if s.m[exec] == nil {
		s.m[exec] = &terminalsOf{news: make(chan struct{})}
	}
	return s.m[exec]
}

// forget makes room for another one.
func (s *terminals) forget(x *Terminal) {
	s.mu.Lock()
	defer s.mu.Unlock()
	of := s.of(x.exec)
	for i, other := range of.open {
		if other == x {
			of.open = append(of.open[:i:i], of.open[i+1:]...)
			break
		}
	}
	s.drop(x.exec, of)
}

// drop forgets an execution of which there is nothing to know. s.mu is held.
func (s *terminals) drop(exec task.ExecutionID, of *terminalsOf) {
	if len(of.open) == 0 && len(of.far) == 0 && of.waiting == 0 {
		delete(s.m, exec)
	}
}

// next gives a terminal that no runner has been told of, or has not joined for
// so long that the answer must have been lost; else what is closed when there
// may be one.
func (s *terminals) next(exec task.ExecutionID, now time.Time) (*executor.TerminalRequest, <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	of := s.of(exec)
	for _, x := range of.open {
		if x.sandbox == nil && now.Sub(x.given) >= terminalAgain {
			x.given = now
			return &executor.TerminalRequest{ID: x.ID, TerminalSize: x.size}, nil
		}
	}
	if ask := of.nextFar(now); ask != nil {
		return &executor.TerminalRequest{ID: ask.id, TerminalSize: ask.size}, nil
	}
	return nil, of.news
}

// wait counts a question of a runner, until done is called.
func (s *terminals) wait(exec task.ExecutionID) (done func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	of := s.of(exec)
	of.waiting++
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		of.waiting--
		s.drop(exec, of)
	}
}

// join gives a terminal its sandbox.
func (s *terminals) join(exec task.ExecutionID, id string, sandbox executor.TerminalConn) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if of := s.m[exec]; of != nil {
		for _, x := range of.open {
			if x.ID == id && x.sandbox == nil {
				x.sandbox = sandbox
				close(x.joined)
				return nil
			}
		}
	}
	return noTerminal(id)
}

func noTerminal(id string) error {
	return task.Errorf(task.CodeNotFound, "nobody waits for the terminal %q any more", id)
}

var _ executor.Terminals = (*link)(nil)

// NextTerminal implements executor.Terminals.
func (l *link) NextTerminal(ctx context.Context, wait time.Duration) (*executor.TerminalRequest, error) {
	if wait < 0 || wait > executor.MaxAwaitMS*time.Millisecond {
		return nil, task.Invalid("wait_ms", "must be 0 to %d", executor.MaxAwaitMS)
	}
	if _, err := l.execution(ctx); err != nil {
		return nil, err
	}
	defer l.p.terminals.wait(l.exec)()
	clock := l.p.opts.Clock
	over := clock.After(wait)
	for {
		x, news := l.p.terminals.next(l.exec, clock.Now())
		if x != nil {
			return x, nil
		}
		select {
		case <-news:
		case <-clock.After(terminalAgain):
		case <-over:
			return nil, nil
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

// JoinTerminal implements executor.Terminals.
func (l *link) JoinTerminal(ctx context.Context, id string) (executor.TerminalConn, error) {
	if _, err := l.execution(ctx); err != nil {
		return nil, err
	}
	mine, theirs := terminalPipe()
	err := l.p.terminals.join(l.exec, id, theirs)
	if err == nil {
		return mine, nil
	}
	if far, err := l.p.replicas.join(ctx, l.p.terminals.where(l.exec, id), l.exec, id); !errors.Is(err, errAlone) {
		return far, err
	}
	return nil, err
}

// terminalPipe is both ends of a terminal within a process. It has no buffer:
// whoever shows is as slow as who looks.
func terminalPipe() (a, b *terminalEnd) {
	down, up, gone := make(chan executor.TerminalFrame), make(chan executor.TerminalFrame), make(chan struct{})
	var once sync.Once
	end := func() { once.Do(func() { close(gone) }) }
	return &terminalEnd{in: down, out: up, gone: gone, end: end}, &terminalEnd{in: up, out: down, gone: gone, end: end}
}

type terminalEnd struct {
	in, out chan executor.TerminalFrame
	gone    chan struct{}
	end     func()
}

// Send implements executor.TerminalConn.
func (e *terminalEnd) Send(ctx context.Context, f executor.TerminalFrame) error {
	select {
	case e.out <- f:
		return nil
	case <-e.gone:
		return io.EOF
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// Receive implements executor.TerminalConn.
func (e *terminalEnd) Receive(ctx context.Context) (executor.TerminalFrame, error) {
	select {
	case f := <-e.in:
		return f, nil
	case <-e.gone:
		return executor.TerminalFrame{}, io.EOF
	case <-ctx.Done():
		return executor.TerminalFrame{}, context.Cause(ctx)
	}
}

// Close implements executor.TerminalConn.
func (e *terminalEnd) Close() error { e.end(); return nil }

// terminalOver says why a terminal ends.
type terminalOver struct{ task.Terminal }

func over(code task.TerminalCode, reason string) *terminalOver {
	return &terminalOver{task.Terminal{Code: code, Reason: reason}}
}

// Serve connects the person with the sandbox until one of them has enough, or
// the person may not edit the run any more; both are told why. still, unless it
// is nil, is asked every few seconds whether the person is still who they were;
// an error of the kinds that the access table has ends the terminal.
func (x *Terminal) Serve(ctx context.Context, person executor.TerminalConn, still func(context.Context) error) {
	who := x.c.caller.Principal
	x.c.p.presences.terminal(x.id, who, 1)
	defer x.c.p.presences.terminal(x.id, who, -1)
	// A connection ends with the context of what is read from it: that one ends
	// after the last word.
	inner, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	typed, ends := make(chan struct{}, 1), make(chan *terminalOver, 2)
	var ways sync.WaitGroup
	ways.Go(func() { ends <- x.up(inner, person, typed) })
	ways.Go(func() { ends <- x.down(inner, person) })
	end := x.watch(ctx, typed, ends, still)
	x.c.p.terminals.forget(x)
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), terminalWord)
	defer cancel()
	end.ID, end.State = x.ID, task.TerminalClosed
	var words sync.WaitGroup
	words.Go(func() { x.closed(ctx, end) })
	for _, conn := range []executor.TerminalConn{person, x.sandbox} {
		words.Go(func() {
			_ = conn.Send(last, executor.TerminalFrame{Closed: &end}) // it may be the one that has gone
			_ = conn.Close()
		})
	}
	words.Wait()
	stop()
	ways.Wait()
}

// up carries what is typed.
func (x *Terminal) up(ctx context.Context, person executor.TerminalConn, typed chan<- struct{}) *terminalOver {
	for {
		f, err := person.Receive(ctx)
		switch {
		case err != nil:
			return over(task.TerminalLeft, "the person has left")
		case len(f.Data) > executor.MaxTerminalData || f.Size != nil && f.Size.Validate() != nil:
			return over(task.TerminalLimit, "a frame from the person was larger than allowed")
		}
		select {
		case typed <- struct{}{}:
		default:
		}
		if err := x.sandbox.Send(ctx, executor.TerminalFrame{Data: f.Data, Size: f.Size}); err != nil {
			return over(task.TerminalSandboxGone, "the sandbox is out of reach")
		}
	}
}

// down carries what is shown.
func (x *Terminal) down(ctx context.Context, person executor.TerminalConn) *terminalOver {
	if err := person.Send(ctx, executor.TerminalFrame{Opened: x.ID, Size: &x.size}); err != nil {
		return over(task.TerminalLeft, "the person has left")
	}
	for {
		f, err := x.sandbox.Receive(ctx)
		switch {
		case err != nil:
			return over(task.TerminalSandboxGone, "the sandbox is out of reach")
		case f.Closed != nil:
			return &terminalOver{*f.Closed}
		case len(f.Data) == 0:
			continue
		}
		if err := person.Send(ctx, executor.TerminalFrame{Data: f.Data}); err != nil {
			return over(task.TerminalLeft, "the person has left")
		}
	}
}

// watch waits for the end, and says what it is.
func (x *Terminal) watch(ctx context.Context, typed <-chan struct{}, ends <-chan *terminalOver, still func(context.Context) error) task.Terminal {
	clock := x.c.p.opts.Clock
	idle := clock.After(terminalIdle)
	look := clock.After(terminalLook)
	for {
		select {
		case o := <-ends:
			return o.Terminal
		case <-ctx.Done():
			return task.Terminal{Code: task.TerminalStopping, Reason: "the server is stopping"}
		case <-typed:
			idle = clock.After(terminalIdle)
		case <-idle:
			return task.Terminal{Code: task.TerminalIdle, Reason: "nothing was typed for 30 minutes"}
		case <-look:
			if end := x.look(ctx, still); end != nil {
				return *end
			}
			look = clock.After(terminalLook)
		}
	}
}

// look judges whether the terminal may go on; nil when it may. A store that
// does not answer is no reason to end it.
func (x *Terminal) look(ctx context.Context, still func(context.Context) error) *task.Terminal {
	revoked := &task.Terminal{Code: task.TerminalRevoked, Reason: "you may not edit this run any more"}
	if still != nil {
		if err := still(ctx); refusal(err) {
			return revoked
		}
	}
	t, err := x.c.run(ctx, x.id, access.RunTakeOver)
	switch {
	case refusal(err):
		return revoked
	case err == nil && t.Execution != x.exec:
		return &task.Terminal{Code: task.TerminalRunEnded, Reason: "the run is not at work any more"}
	}
	return nil
}

// refusal reports that err says no for good.
func refusal(err error) bool {
	switch task.CodeOf(err) {
	case task.CodeAuthenticationRequired, task.CodeNotAuthorized, task.CodeNotFound, task.CodeFeatureNotAvailable: // the last of a link that its team wants no more
		return err != nil
	}
	return false
}

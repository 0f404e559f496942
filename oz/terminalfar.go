package oz

import (
	"context"
	"io"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/oz-platform/cloudagents/executor"
	"github.com/oz-platform/cloudagents/task"
)

// farWindow is how many frames may be under way to another platform: whoever
// shows is as slow as who looks.
const farWindow = 32

// farAsk is a person at another platform who waits for a terminal.
type farAsk struct {
	id    string
	from  string
	size  executor.TerminalSize
	given time.Time // to the runner
	until time.Time // unless it is said again
}

// hear remembers an ask of another platform, and wakes the runner.
func (s *terminals) hear(exec task.ExecutionID, ask *farAsk) {
	s.mu.Lock()
	defer s.mu.Unlock()
	of := s.of(exec)
	for _, known := range of.far {
		if known.id == ask.id {
			known.until = ask.until
			return
		}
	}
	if len(of.far) >= 4*MaxTerminals {
		return
	}
	of.far = append(of.far, ask)
	close(of.news)
	of.news = make(chan struct{})
}

// expire forgets asks that were not said again.
func (s *terminals) expire(now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for exec, of := range s.m {
		kept := of.far[:0]
		for _, ask := range of.far {
			if now.Before(ask.until) {
				kept = append(kept, ask)
			}
		}
		clear(of.far[len(kept):])
		of.far = kept
		s.drop(exec, of)
	}
}

// nextFar is next for those at other platforms. s.mu is held.
func (of *terminalsOf) nextFar(now time.Time) *farAsk {
	for _, ask := range of.far {
		if now.Before(ask.until) && now.Sub(ask.given) >= terminalAgain {
			ask.given = now
			return ask
		}
	}
	return nil
}

// where finds the platform at which somebody waits for a terminal; "" when that
// is not known: the runner may have heard of it sooner, at another platform.
func (s *terminals) where(exec task.ExecutionID, id string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if of := s.m[exec]; of != nil {
		for _, ask := range of.far {
			if ask.id == id {
				return ask.from
			}
		}
	}
	return ""
}

// join connects the runner, which is here, with a person at another platform:
// at "" is whichever has them.
func (r *replicas) join(ctx context.Context, at string, exec task.ExecutionID, id string) (executor.TerminalConn, error) {
	e := r.newEnd(uuid.NewString(), at)
	if e == nil {
		return nil, errAlone
	}
	if err := r.say(ctx, farWord{Kind: farJoin, To: at, Exec: exec, Terminal: id, Conn: e.id}); err != nil {
		e.finish()
		return nil, err
	}
	select {
	case <-e.joined:
		return e, nil
	case <-e.gone:
		return nil, noTerminal(id)
	case <-r.p.opts.Clock.After(farWait):
		e.finish()
		if at != "" {
			return nil, task.Errorf(task.CodeResourceUnavailable, "the server at which somebody waits for the terminal %q does not answer", id)
		}
		return nil, noTerminal(id)
	case <-ctx.Done():
		e.finish()
		return nil, context.Cause(ctx)
	}
}

// farEnd is an end of a terminal whose other end is at another platform.
type farEnd struct {
	r       *replicas
	id      string
	joined  chan struct{} // closed at the first word of the other end
	gone    chan struct{} // closed when there is nothing more to come
	news    chan struct{} // capacity 1: in has some
	room    chan struct{} // capacity 1: taken has grown
	sending chan struct{} // capacity 1: held by whoever sends

	mu     sync.Mutex
	peer   string                   // "" until it has answered, if nobody knows which it is
	in     []executor.TerminalFrame // at most farWindow
	came   int64                    // frames, all in order
	read   int64                    // of them by Receive
	acked  int64                    // of them, as the other end knows
	sent   int64                    // frames
	taken  int64                    // of them by the other end
	heard  time.Time
	met    bool // joined is closed
	closed bool // gone is closed
}

// newEnd makes one; nil when the platform does not run, or the id is known.
func (r *replicas) newEnd(id, peer string) *farEnd {
	e := &farEnd{r: r, id: id, peer: peer, joined: make(chan struct{}), gone: make(chan struct{}), news: make(chan struct{}, 1),
		room: make(chan struct{}, 1), sending: make(chan struct{}, 1), heard: r.p.opts.Clock.Now()}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.seal == nil || r.ends[id] != nil {
		return nil
	}
	r.ends[id] = e
	return e
}

// finish ends it without a word to the other end. What has come can be received
// still.
func (e *farEnd) finish() (first bool) {
	e.r.mu.Lock()
	delete(e.r.ends, e.id)
	e.r.mu.Unlock()
	e.mu.Lock()
	defer e.mu.Unlock()
	if first = !e.closed; first {
		e.closed = true
		close(e.gone)
	}
	return first
}

// Close implements executor.TerminalConn.
func (e *farEnd) Close() error {
	if e.finish() {
		_ = e.r.say(context.Background(), farWord{Kind: farEnds, To: e.to(), Conn: e.id}) // else the silence tells
	}
	return nil
}

func (e *farEnd) to() string {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.peer
}

// isFrom reports that the other end says w. Whoever takes the terminal is the
// other end, if that was not known.
func (e *farEnd) isFrom(w farWord) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.peer == "" && w.Kind != farEnds {
		e.peer = w.From
	}
	return e.peer == w.From
}

func (e *farEnd) silent(now time.Time) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return now.Sub(e.heard) > farSilent
}

// hear takes a word of the other end; false when it breaks the rules, so that
// some must have been lost: then this end is over.
func (e *farEnd) hear(w farWord, now time.Time) bool {
	if w.Kind == farEnds {
		e.finish()
		return true
	}
	if !e.take(w, now) {
		e.finish()
		return false
	}
	return true
}

func (e *farEnd) take(w farWord, now time.Time) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.heard = now
	if !e.met {
		e.met = true
		close(e.joined)
	}
	switch w.Kind {
	case farFrame:
		if w.Number != e.came+1 || len(e.in) >= farWindow {
			return false
		}
		e.came++
		e.in = append(e.in, executor.TerminalFrame{Data: w.Data, Size: w.Size, Closed: w.Closed})
		ring(e.news)
	case farAck:
		if w.Number < e.taken || w.Number > e.sent {
			return false
		}
		e.taken = w.Number
		ring(e.room)
	}
	return true
}

func ring(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// Receive implements executor.TerminalConn.
func (e *farEnd) Receive(ctx context.Context) (executor.TerminalFrame, error) {
	for {
		f, ok, ack := e.pop()
		if ack > 0 {
			if err := e.r.say(context.WithoutCancel(ctx), farWord{Kind: farAck, To: e.to(), Conn: e.id, Number: ack}); err != nil {
				e.finish() // the other end would wait for ever
			}
		}
		if ok {
			return f, nil
		}
		select {
		case <-e.news:
			continue
		default:
		}
		select {
		case <-e.news:
		case <-e.gone:
			if f, ok, _ := e.pop(); ok { // it came with the end
				return f, nil
			}
			return executor.TerminalFrame{}, io.EOF
		case <-ctx.Done():
			return executor.TerminalFrame{}, context.Cause(ctx)
		}
	}
}

// pop gives the first frame, and how many were read when the other end should
// know.
func (e *farEnd) pop() (f executor.TerminalFrame, ok bool, ack int64) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if len(e.in) == 0 {
		return f, false, 0
	}
	f, e.in = e.in[0], e.in[1:]
	e.read++
	if !e.closed && (len(e.in) == 0 || e.read-e.acked >= farWindow/4) {
		ack, e.acked = e.read, e.read
	}
	return f, true, ack
}

// Send implements executor.TerminalConn.
func (e *farEnd) Send(ctx context.Context, f executor.TerminalFrame) error {
	select {
	case e.sending <- struct{}{}:
		defer func() { <-e.sending }()
	case <-e.gone:
		return io.EOF
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	for words := e.words(f); len(words) > 0; {
		n, err := e.wait(ctx)
		if err != nil {
			return err
		}
		n = min(n, len(words))
		e.number(words[:n])
		if err := e.r.say(ctx, words[:n]...); err != nil {
			_ = e.Close() // nobody knows what has arrived
			return err
		}
		words = words[n:]
	}
	return nil
}

// words cuts a frame into those that fit.
func (e *farEnd) words(f executor.TerminalFrame) (words []farWord) {
	for data := f.Data; ; {
		piece := data[:min(len(data), farData)]
		data = data[len(piece):]
		w := farWord{Kind: farFrame, To: e.to(), Conn: e.id, Data: piece}
		if len(data) == 0 {
			w.Size, w.Closed = f.Size, f.Closed
			return append(words, w)
		}
		words = append(words, w)
	}
}

func (e *farEnd) number(words []farWord) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for i := range words {
		e.sent++
		words[i].Number = e.sent
	}
}

// wait gives how many frames the other end has room for: at least one.
func (e *farEnd) wait(ctx context.Context) (int, error) {
	for {
		e.mu.Lock()
		room, closed := farWindow-int(e.sent-e.taken), e.closed
		e.mu.Unlock()
		if closed {
			return 0, io.EOF
		}
		if room > 0 {
			return room, nil
		}
		select {
		case <-e.room:
		case <-e.gone:
		case <-ctx.Done():
			return 0, context.Cause(ctx)
		}
	}
}

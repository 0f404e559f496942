package worker

import (
	"context"
	"errors"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/coder/websocket"
	"go.uber.org/zap"

	"github.com/oz-platform/cloudagents/oz"
	"github.com/oz-platform/cloudagents/task"
)

const (
	// helloTimeout is how long a worker may take to say what it is.
	helloTimeout = 10 * time.Second
	// sessionFor is how long it is remembered which calls of a worker that is
	// away were done.
	sessionFor = 10 * time.Minute
	// maxDone is how many calls are remembered of each worker, maxCalls how many
	// are done at once.
	maxDone  = 1024
	maxCalls = 16
	// callTimeout bounds one call.
	callTimeout = 30 * time.Second
)

// session is a worker of ours, over all its connections: the newest counts. It
// is a member of the pool while it is connected.
type session struct {
	hub  *Hub
	id   string
	peer Peer
	log  *zap.Logger

	mu   sync.Mutex
	conn *conn // nil while it is away
	// welcomed says that conn's hello was answered: only then there are offers.
	welcomed bool
	since    time.Time
	hello    hello
	host     oz.WorkerHost
	answers  map[task.ExecutionID]chan answer
	has      map[task.ExecutionID]bool // what the worker has, until it was told that it is over

	process string            // whose calls done are
	done    map[uint64]result // calls of process that changed something
	order   []uint64          // done, the oldest first
}

var (
	_ oz.Member  = (*session)(nil)
	_ oz.Granter = (*session)(nil)
	_ teller     = (*session)(nil)
)

// serveSession serves a connection of a worker of ours.
func (h *Hub) serveSession(c *conn, p Peer) {
	first, err := readHello(c)
	if err != nil {
		h.opts.Logger.Warn("a worker does not say what it is", zap.String("worker", p.WorkerID), zap.Error(err))
		c.close(websocket.StatusPolicyViolation, closeReason(err))
		return
	}
	s := h.session(p, first.Instance)
	leave, err := s.connect(h.stop, c, first)
	if err != nil {
		s.log.Warn("a worker cannot join the pool", zap.Error(err))
		c.close(websocket.StatusTryAgainLater, closeReason(err))
		return
	}
	s.log.Info("worker connected", zap.String("backend", first.Backend), zap.String("version", first.Version))
	defer s.log.Info("worker disconnected")
	defer s.disconnect(c, leave)
	h.look() // what it has may be over
	s.receive(c)
}

// errStopping ends a connection that comes too late.
var errStopping = errors.New("the server is stopping")

// closeReason makes a reason for a close frame, which has room for 123 bytes.
func closeReason(err error) string { return plain(err.Error(), 100) }

func readHello(c *conn) (hello, error) {
	ctx, cancel := context.WithTimeout(context.Background(), helloTimeout)
	defer cancel()
	frame, err := c.read(ctx)
	if err != nil {
		return hello{}, err
	}
	e, err := parseEnvelope(frame)
	if err != nil {
		return hello{}, err
	}
	if e.Type != typeHello {
		return hello{}, task.Invalid("type", "the first frame must be %q", typeHello)
	}
	return parseHello(e.Data)
}

// session finds or makes the session of a worker.
func (h *Hub) session(p Peer, instance string) *session {
	id := memberID(p, instance)
	h.mu.Lock()
	defer h.mu.Unlock()
	s := h.sessions[id]
	if s == nil {
		s = &session{hub: h, id: id, peer: p, log: h.opts.Logger.With(zap.String("worker", id)), since: h.opts.Clock.Now(),
			answers: map[task.ExecutionID]chan answer{}, has: map[task.ExecutionID]bool{}, done: map[uint64]result{}}
		h.sessions[id] = s
	}
	return s
}

// connect makes c the worker's connection, in place of an older one, and welcomes
// it. leave takes it out of the pool.
func (s *session) connect(ctx context.Context, c *conn, first hello) (leave func(), err error) {
	s.mu.Lock()
	if old := s.conn; old != nil { // its own end takes it out of the pool
		s.mu.Unlock()
		old.kill()
		return nil, errors.New("an older connection of this worker is being closed; connect again")
	}
	s.conn, s.hello, s.since = c, first, s.hub.opts.Clock.Now()
	if s.process != first.Process {
		s.process, s.order = first.Process, nil
		clear(s.done)
	}
	clear(s.has)
	for _, id := range first.Executions {
		s.has[id] = true
	}
	s.mu.Unlock()
	host, leave, err := s.hub.platform.Join(s)
	if err != nil {
		s.disconnect(c, func() {})
		return nil, err
	}
	w, err := s.welcome(ctx, host)
	if err == nil {
		err = c.send(ctx, typeWelcome, w)
	}
	if err != nil {
		s.disconnect(c, leave)
		return nil, err
	}
	s.mu.Lock()
	if s.host == nil { // the same each time
		s.host = host
	}
	s.welcomed = true
	s.mu.Unlock()
	host.Changed()
	return leave, nil
}

// welcome says which of the worker's executions are over.
func (s *session) welcome(ctx context.Context, host oz.WorkerHost) (w welcome, err error) {
	live, err := host.Live(ctx)
	if err != nil {
		return w, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	over := maps.Clone(s.has)
	for _, e := range live {
		delete(over, e.ID)
	}
	w.Stop = slices.Sorted(maps.Keys(over))
	for _, id := range w.Stop {
		delete(s.has, id)
	}
	return w, nil
}

func (s *session) disconnect(c *conn, leave func()) {
	leave()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.conn != c {
		return
	}
	s.conn, s.welcomed, s.since = nil, false, s.hub.opts.Clock.Now()
	clear(s.has)
	for _, waiting := range s.answers {
		close(waiting)
	}
	clear(s.answers)
}

// gone reports a session that nobody needs to remember.
func (s *session) gone(now time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.conn == nil && now.Sub(s.since) >= sessionFor
}

// Info implements oz.Member.
func (s *session) Info() oz.WorkerInfo {
	s.mu.Lock()
	defer s.mu.Unlock()
	h := s.hello
	return oz.WorkerInfo{ID: s.id, Host: s.peer.WorkerID, Owner: s.peer.Owner, Capacity: h.Capacity, Busy: h.Busy, Idle: h.Idle, Retained: h.Retained, Labels: h.Labels,
		Dedicated: h.Dedicated, Remote: true, Paused: !s.welcomed || !h.Ready || h.Draining, Draining: h.Draining,
		Instance: h.Instance, Version: h.Version, Backend: h.Backend, Platform: h.Platform, Since: s.since}
}

// Offer implements oz.Member.
func (s *session) Offer(ctx context.Context, a oz.Assignment) error {
	waiting := make(chan answer, 1)
	s.mu.Lock()
	c := s.conn
	if !s.welcomed || s.hello.Draining {
		s.mu.Unlock()
		return errors.New("the worker is away")
	}
	s.answers[a.Execution], s.has[a.Execution] = waiting, true
	s.mu.Unlock()
	err := c.send(ctx, typeOffer, offer{Task: slim(a.Task), ExecutionID: a.Execution, Token: a.Token.Reveal()})
	if err == nil {
		err = s.await(ctx, waiting)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.answers, a.Execution)
	if errors.Is(err, oz.ErrAtCapacity) || errors.Is(err, errRejected) {
		delete(s.has, a.Execution) // else it may have it, and is told when it is over
	}
	return err
}

func (s *session) await(ctx context.Context, waiting <-chan answer) error {
	select {
	case a, ok := <-waiting:
		switch {
		case !ok:
			return errors.New("the connection of the worker ended")
		case a.Accepted:
			return nil
		case a.AtCapacity:
			return oz.ErrAtCapacity
		}
		return task.Errorf(task.CodeResourceUnavailable, "the worker refused: %s (%w)", plain(a.Reason, maxMessage), errRejected)
	case <-ctx.Done():
		return ctx.Err()
	}
}

// slim leaves out what of a run a worker has no use for: the runner fetches it.
func slim(t task.Task) task.Task {
	t.Prompt, t.Attachments, t.Artifacts, t.Fingerprint, t.Metadata = "", nil, nil, nil, nil
	t.Config.MCPServers, t.Config.BasePrompt, t.Skill = nil, "", nil
	return t
}

// Granted implements oz.Granter.
func (s *session) Granted(ctx context.Context, id task.ExecutionID) { s.notify(ctx, typeGranted, id) }

// Cancel implements oz.Member.
func (s *session) Cancel(ctx context.Context, id task.ExecutionID) {
	s.over(ctx, []task.ExecutionID{id})
}

func (s *session) notify(ctx context.Context, kind string, id task.ExecutionID) {
	s.mu.Lock()
	c := s.conn
	s.mu.Unlock()
	if c != nil { // else the worker asks when it is back
		_ = c.send(ctx, kind, executionRef{ExecutionID: id})
	}
}

// untold implements teller.
func (s *session) untold() []task.ExecutionID {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Collect(maps.Keys(s.has))
}

// over implements teller.
func (s *session) over(ctx context.Context, ids []task.ExecutionID) {
	s.mu.Lock()
	for _, id := range ids {
		delete(s.has, id)
	}
	s.mu.Unlock()
	for _, id := range ids {
		s.notify(ctx, typeEnded, id)
	}
}

// receive handles frames until the connection ends. Calls are done beside the
// reading, a few at a time.
func (s *session) receive(c *conn) {
	slots := make(chan struct{}, maxCalls)
	for {
		frame, err := c.read(context.Background())
		if err != nil {
			s.log.Debug("link of a worker ended", zap.Error(err))
			return
		}
		e, err := parseEnvelope(frame)
		if err == nil {
			err = s.handle(c, e, slots)
		}
		if err != nil {
			s.log.Warn("a worker sent a frame that cannot be read", zap.String("type", plain(e.Type, maxID)), zap.Error(err))
			c.close(websocket.StatusPolicyViolation, closeReason(err))
			return
		}
	}
}

func (s *session) handle(c *conn, e envelope, slots chan struct{}) error {
	switch e.Type {
	case typeInfo:
		i, err := decode[info](e.Data)
		if err == nil {
			err = i.check()
		}
		if err != nil {
			return err
		}
		s.mu.Lock()
		s.hello.info = i
		s.mu.Unlock()
		s.host.Changed()
	case typeAnswer:
		a, err := decode[answer](e.Data)
		if err != nil {
			return err
		}
		s.mu.Lock()
		if waiting := s.answers[a.ExecutionID]; waiting != nil {
			waiting <- a // has room for one
			delete(s.answers, a.ExecutionID)
		}
		s.mu.Unlock()
	case typeCall:
		k, err := parseCall(e.Data)
		if err != nil {
			return err
		}
		slots <- struct{}{}
		if !s.hub.start(func() {
			defer func() { <-slots }()
			_ = c.send(s.hub.stop, typeResult, s.do(s.hub.stop, k))
		}) {
			return errStopping
		}
	}
	return nil // unknown types are of newer workers
}

package worker

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/oz-platform/cloudagents/oz"
	"github.com/oz-platform/cloudagents/task"
)

const (
	// rejectPause is how long a worker that refused is left alone.
	rejectPause = time.Second
	// heldFor is how long a task may be at a worker after its execution has
	// ended without the worker's word: the word may be lost (S-14).
	heldFor = 5 * time.Minute
	// unclaimedFor is that for a task that was never claimed, in ClaimTimeouts.
	unclaimedFor = 2
	// settlePause is how soon the platform is told again what it could not keep.
	settlePause = time.Second
)

// group is the official workers that share an id: nothing tells them apart, and
// frames about a task may come from any of them (S-6). It is one member of the
// pool while at least one of them is connected.
type group struct {
	hub  *Hub
	id   string
	peer Peer
	log  *zap.Logger

	mu     sync.Mutex
	conns  []*conn
	since  time.Time
	host   oz.WorkerHost // from the first joining on
	leave  func()        // nil while nobody is connected
	paused time.Time     // until when nothing is offered
	held   map[task.ID]*held
}

// held is a task that was assigned here, and may still be.
type held struct {
	task    task.ID
	exec    task.ExecutionID
	to      *conn            // that was assigned to
	answer  chan error       // of the offer that waits; nil when none does
	claimed bool             // by the worker, perhaps too late
	granted bool             // the platform has recorded the claim
	end     *envelopedReport // that came before it had
	told    bool             // the execution is over, and the worker knows
	stop    bool             // by cancellation
	since   time.Time        // when it was over
}

var (
	_ oz.Member  = (*group)(nil)
	_ oz.Granter = (*group)(nil)
	_ teller     = (*group)(nil)
)

// errRejected is the worker's own no; errUnsure that nobody knows its answer.
var (
	errRejected = errors.New("rejected")
	errUnsure   = errors.New("the worker did not answer the assignment")
)

// serveGroup serves a connection of an official worker.
func (h *Hub) serveGroup(c *conn, p Peer) {
	g, err := h.joinGroup(c, p)
	if err != nil {
		h.opts.Logger.Error("a worker cannot join the pool", zap.String("worker", p.WorkerID), zap.Error(err))
		return
	}
	g.log.Info("worker connected")
	defer func() {
		h.partGroup(g, c)
		g.log.Info("worker disconnected")
	}()
	g.remind(c)
	for {
		frame, err := c.read(context.Background())
		if err != nil {
			g.log.Debug("link of a worker ended", zap.Error(err))
			return
		}
		g.receive(h.stop, c, frame)
	}
}

func (h *Hub) joinGroup(c *conn, p Peer) (*group, error) {
	id := memberID(p, "")
	h.mu.Lock()
	defer h.mu.Unlock()
	g := h.groups[id]
	if g == nil {
		g = &group{hub: h, id: id, peer: p, log: h.opts.Logger.With(zap.String("worker", id)), held: map[task.ID]*held{}}
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.conns = append(g.conns, c)
	if g.leave == nil {
		g.since = h.opts.Clock.Now()
		g.mu.Unlock() // Join asks for Info
		host, leave, err := h.platform.Join(g)
		g.mu.Lock()
		if err != nil {
			g.conns = slices.DeleteFunc(g.conns, func(o *conn) bool { return o == c })
			return nil, err
		}
		if g.leave = leave; g.host == nil { // the same each time
			g.host = host
		}
		defer host.Changed()
	}
	h.groups[id] = g
	return g, nil
}

func (h *Hub) partGroup(g *group, c *conn) {
	h.mu.Lock()
	defer h.mu.Unlock()
	g.mu.Lock()
	defer g.mu.Unlock()
	g.conns = slices.DeleteFunc(g.conns, func(o *conn) bool { return o == c })
	for _, t := range g.held { // S-5: who waits for its claim need not
		if t.to == c {
			t.say(errUnsure)
		}
	}
	if len(g.conns) == 0 {
		g.leave()
		g.leave = nil
		h.dropLocked(g)
	}
}

// dropLocked forgets a group that has no connection and no task. h.mu and g.mu
// are held.
func (h *Hub) dropLocked(g *group) {
	if len(g.conns) == 0 && len(g.held) == 0 && h.groups[g.id] == g {
		delete(h.groups, g.id)
	}
}

// say answers the offer that waits, if one does. g.mu is held.
func (t *held) say(err error) {
	if t.answer != nil {
		t.answer <- err // has room for one
		t.answer = nil
	}
}

// Info implements oz.Member. How much an official worker takes is learnt from
// its refusals alone; it takes only runs that name it.
func (g *group) Info() oz.WorkerInfo {
	g.mu.Lock()
	defer g.mu.Unlock()
	return oz.WorkerInfo{ID: g.id, Host: g.peer.WorkerID, Owner: g.peer.Owner, Busy: len(g.held), Dedicated: true, Remote: true,
		Paused: g.leave == nil || g.hub.opts.Clock.Now().Before(g.paused), Backend: "oz-agent-worker", Since: g.since}
}

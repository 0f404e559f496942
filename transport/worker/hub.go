package worker

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/coder/websocket"
	"go.uber.org/zap"

	"github.com/oz-platform/cloudagents/oz"
	"github.com/oz-platform/cloudagents/task"
)

// HubOptions holds what a Hub can do without.
type HubOptions struct {
	// SidecarImage is the image from which official workers with containers take
	// the agent: an executable entrypoint.sh in its root directory. Default:
	// none, so that these workers need their own setting.
	SidecarImage string

	// ClaimTimeout is how long an official worker may take to answer an
	// assignment. Default 5 s.
	ClaimTimeout time.Duration

	// SilenceTimeout is how long a worker may be silent, pings included, before
	// it counts as gone. Default 75 s (worker protocol, S-3).
	SilenceTimeout time.Duration

	// RecheckInterval is how often a connection's key is judged again. Default 1
	// minute.
	RecheckInterval time.Duration

	// MaxConnections bounds the connections at once, MaxPerID those of one worker
	// id. Defaults 10,000 and 256.
	MaxConnections, MaxPerID int

	// Clock tells the time. Default: the machine's.
	Clock task.Clock

	// Logger receives what nobody is there to return to. Default: none.
	Logger *zap.Logger
}

func (o *HubOptions) withDefaults() (HubOptions, error) {
	if o == nil {
		o = &HubOptions{}
	}
	r := *o
	for to, value := range map[*time.Duration]time.Duration{&r.ClaimTimeout: 5 * time.Second, &r.SilenceTimeout: 75 * time.Second, &r.RecheckInterval: time.Minute} {
		if *to < 0 {
			return r, task.Invalid("ClaimTimeout", "and the other durations may not be negative")
		}
		if *to == 0 {
			*to = value
		}
	}
	if r.MaxConnections < 0 || r.MaxPerID < 0 {
		return r, task.Invalid("MaxConnections", "and MaxPerID may not be negative")
	}
	if r.MaxConnections == 0 {
		r.MaxConnections = 10_000
	}
	if r.MaxPerID == 0 {
		r.MaxPerID = 256
	}
	if r.Clock == nil {
		r.Clock = task.SystemClock()
	}
	if r.Logger == nil {
		r.Logger = zap.NewNop()
	}
	return r, nil
}

// Hub is the server's end of all links. Workers that connect join the
// platform's pool, and leave it when they are gone.
type Hub struct {
	platform *oz.Platform
	opts     HubOptions
	poke     chan struct{} // asks Run to look again
	stop     context.Context
	halt     context.CancelFunc
	work     sync.WaitGroup // what is done for connections beside reading them

	mu       sync.Mutex
	closed   bool
	conns    map[*conn]*peer
	groups   map[string]*group   // official workers, by member id
	sessions map[string]*session // workers of ours, by member id
}

// peer is what is known of a connection.
type peer struct {
	Peer
	checked time.Time // when Check was last called
}

// Peer is who wants to connect.
type Peer struct {
	// Owner is whose runs the worker takes: the team of its key.
	Owner task.Scope
	// WorkerID is what it calls itself.
	WorkerID string
	// Check judges now and then whether the key still holds; an error ends the
	// connection. nil: it always does.
	Check func(ctx context.Context) error
}

// NewHub returns a Hub over p. Run must be called, or no worker is told of what
// has ended. opts may be nil.
func NewHub(p *oz.Platform, opts *HubOptions) (*Hub, error) {
	o, err := opts.withDefaults()
	if err != nil {
		return nil, fmt.Errorf("hub options: %w", err)
	}
	h := &Hub{platform: p, opts: o, poke: make(chan struct{}, 1), conns: map[*conn]*peer{},
		groups: map[string]*group{}, sessions: map[string]*session{}}
	h.stop, h.halt = context.WithCancel(context.Background())
	return h, nil
}

// checkPeer judges who connects, before the connection is made (S-1, S-2).
func (h *Hub) checkPeer(r *http.Request, p Peer) error {
	if !tokenIn(r.Header.Values("Connection"), "upgrade") || !tokenIn(r.Header.Values("Upgrade"), "websocket") {
		return task.Errorf(task.CodeInvalidRequest, "this is the link of workers: connect with a WebSocket (Upgrade: websocket)")
	}
	if err := oz.CheckWorkerID(p.WorkerID); err != nil {
		if e := (*task.Error)(nil); errors.As(err, &e) {
			return task.Invalid("worker_id", "%s", strings.TrimPrefix(e.Message, "worker id: "))
		}
		return err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	same := 0
	for _, q := range h.conns {
		if q.WorkerID == p.WorkerID && q.Owner == p.Owner {
			same++
		}
	}
	switch {
	case h.closed:
		return task.Errorf(task.CodeResourceUnavailable, "this server is stopping; connect again")
	case len(h.conns) >= h.opts.MaxConnections:
		return task.Errorf(task.CodeResourceUnavailable, "this server has %d workers, as many as it takes", len(h.conns))
	case same >= h.opts.MaxPerID:
		return task.Errorf(task.CodeResourceUnavailable, "%d workers are called %q, as many as may share an id", same, p.WorkerID)
	}
	return nil
}

// tokenIn looks for a word in a header that is a list.
func tokenIn(header []string, word string) bool {
	for _, line := range header {
		for part := range strings.SplitSeq(line, ",") {
			if strings.EqualFold(strings.TrimSpace(part), word) {
				return true
			}
		}
	}
	return false
}

// Serve makes the connection that r asks for and serves it to its end. Who may
// connect has been judged before. An error means that nothing was answered: the
// caller answers.
func (h *Hub) Serve(w http.ResponseWriter, r *http.Request, p Peer) error {
	if err := h.checkPeer(r, p); err != nil {
		return err
	}
	c := &conn{now: h.opts.Clock.Now}
	c.heard()
	ws, err := websocket.Accept(w, r, &websocket.AcceptOptions{Subprotocols: []string{Subprotocol},
		OnPingReceived: func(context.Context, []byte) bool { c.heard(); return true }})
	if err != nil {
		return nil // Accept has answered
	}
	ws.SetReadLimit(maxFrame)
	c.ws = ws
	if !h.enter(c, p) {
		c.close(websocket.StatusServiceRestart, "the server is stopping")
		return nil
	}
	defer h.leave(c)
	defer c.kill()
	if ws.Subprotocol() == Subprotocol {
		h.serveSession(c, p)
	} else {
		h.serveGroup(c, p)
	}
	return nil
}

func (h *Hub) enter(c *conn, p Peer) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		return false
	}
	h.conns[c] = &peer{Peer: p, checked: h.opts.Clock.Now()}
	h.work.Add(1)
	return true
}

func (h *Hub) leave(c *conn) {
	h.mu.Lock()
	delete(h.conns, c)
	h.mu.Unlock()
	h.work.Done()
}

// lookInterval is how often at least the hub looks at all links without being
// told, looksPerSilence how often in a silence that is too long, and lookPause
// how long it rests between two looks.
const (
	lookInterval    = 5 * time.Second
	looksPerSilence = 5
	lookPause       = 20 * time.Millisecond
)

// Run tells workers what has ended, and ends links that are silent or whose key
// holds no more, until ctx ends. Then it closes all links; they go on
// elsewhere, or when the server is back.
func (h *Hub) Run(ctx context.Context) error {
	defer h.close()
	changed, cancel := h.platform.Changes()
	defer cancel()
	every := min(lookInterval, h.opts.SilenceTimeout/looksPerSilence, max(lookPause, h.opts.RecheckInterval))
	for last := h.opts.Clock.Now(); ; {
		h.tell(ctx)
		if now := h.opts.Clock.Now(); now.Sub(last) >= every {
			last = now
			h.inspect(ctx, now)
		}
		select {
		case <-changed:
		case <-h.poke:
		case <-h.opts.Clock.After(every):
		case <-ctx.Done():
			return nil
		}
		select {
		case <-h.opts.Clock.After(lookPause):
		case <-ctx.Done():
			return nil
		}
	}
}

// close ends all links.
func (h *Hub) close() {
	h.mu.Lock()
	h.closed = true
	for c := range h.conns {
		h.work.Go(func() { c.close(websocket.StatusServiceRestart, "the server is stopping") })
	}
	h.mu.Unlock()
	h.halt()
	h.work.Wait()
}

// start does f beside the caller, unless the hub is closed: close waits for it.
// The caller holds no lock of the hub or its members.
func (h *Hub) start(f func()) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.closed {
		h.work.Go(f)
	}
	return !h.closed
}

// look asks Run to look again.
func (h *Hub) look() {
	select {
	case h.poke <- struct{}{}:
	default:
	}
}

// tell looks which of the executions that workers have are over, and says so.
func (h *Hub) tell(ctx context.Context) {
	h.mu.Lock()
	members := make([]teller, 0, len(h.groups)+len(h.sessions))
	for _, g := range h.groups {
		members = append(members, g)
	}
	for _, s := range h.sessions {
		members = append(members, s)
	}
	h.mu.Unlock()
	// Before the store is read: what is taken after it was read is missing there.
	had := map[teller][]task.ExecutionID{}
	for _, m := range members {
		if ids := m.untold(); len(ids) > 0 {
			had[m] = ids
		}
	}
	if len(had) == 0 {
		return
	}
	all, err := h.platform.Live(ctx)
	if err != nil {
		if ctx.Err() == nil {
			h.opts.Logger.Warn("read live executions", zap.Error(err))
		}
		return
	}
	live := make(map[task.ExecutionID]bool, len(all))
	for _, e := range all {
		live[e.ID] = true
	}
	for m, ids := range had {
		if over := slices.DeleteFunc(ids, func(id task.ExecutionID) bool { return live[id] }); len(over) > 0 {
			h.start(func() { m.over(h.stop, over) })
		}
	}
}

// teller is a member that has executions.
type teller interface {
	// untold are the executions that the worker has and was not told to end.
	untold() []task.ExecutionID
	// over tells the worker that these have ended.
	over(ctx context.Context, ids []task.ExecutionID)
}

// inspect ends links that are silent or whose keys hold no more, and forgets
// workers that are long gone.
func (h *Hub) inspect(ctx context.Context, now time.Time) {
	var silent, check []*conn
	var groups []*group
	h.mu.Lock()
	for c, p := range h.conns {
		switch {
		case c.silent(now) > h.opts.SilenceTimeout:
			silent = append(silent, c)
		case p.Check != nil && now.Sub(p.checked) >= h.opts.RecheckInterval:
			p.checked = now
			check = append(check, c)
		}
	}
	for id, s := range h.sessions {
		if s.gone(now) {
			delete(h.sessions, id)
		}
	}
	for _, g := range h.groups {
		groups = append(groups, g)
	}
	h.mu.Unlock()
	for _, c := range silent {
		c.kill()
	}
	for _, c := range check {
		h.recheck(ctx, c)
	}
	for _, g := range groups {
		g.inspect(now)
	}
}

// recheck ends a link whose key holds no more. A store that does not answer is
// no reason to end one.
func (h *Hub) recheck(ctx context.Context, c *conn) {
	h.mu.Lock()
	p := h.conns[c]
	h.mu.Unlock()
	if p == nil {
		return
	}
	switch err := p.Check(ctx); task.CodeOf(err) {
	case task.CodeAuthenticationRequired, task.CodeNotAuthorized, task.CodeNotFound:
		h.opts.Logger.Info("a worker's key holds no more", zap.String("worker", p.WorkerID), zap.Error(err))
		h.start(func() { c.close(websocket.StatusPolicyViolation, "the key holds no more") })
	}
}

// memberID is a worker's name in the pool: team and id, and for workers that
// can be told apart the instance. None of the parts has a slash.
func memberID(p Peer, instance string) string {
	id := p.Owner.UID + "/" + p.WorkerID
	if instance != "" {
		id += "/" + instance
	}
	return id
}

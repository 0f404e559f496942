package worker

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
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

// envelopedReport is a terminal report.
type envelopedReport struct {
	kind string
	report
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

// Offer implements oz.Member. A worker that refuses is followed by the next of
// its id; one that does not answer is not, for it may have begun (S-10).
func (g *group) Offer(ctx context.Context, a oz.Assignment) error {
	if err := g.hold(ctx, a); err != nil {
		return err
	}
	var tried []*conn
	for {
		c, wait := g.pick(a.Task.ID, tried)
		if c == nil {
			g.forget(a.Task.ID, a.Execution)
			g.pause()
			return oz.ErrAtCapacity
		}
		tried = append(tried, c)
		err := c.send(ctx, typeAssignment, g.assignment(a))
		if err == nil {
			err = g.await(ctx, wait)
		} else {
			err = fmt.Errorf("%w: %w", errUnsure, err)
		}
		switch {
		case err == nil:
			return nil
		case errors.Is(err, errRejected):
			continue
		}
		g.abandon(ctx, a.Task.ID, a.Execution)
		return err
	}
}

// hold takes note of a task that is about to be assigned, unless it may still
// run here (S-10).
func (g *group) hold(ctx context.Context, a oz.Assignment) error {
	g.mu.Lock()
	old := g.held[a.Task.ID]
	if old == nil || g.expired(old, g.hub.opts.Clock.Now()) {
		g.held[a.Task.ID] = &held{task: a.Task.ID, exec: a.Execution}
		g.mu.Unlock()
		return nil
	}
	old.told, old.stop = true, true
	if old.since.IsZero() {
		old.since = g.hub.opts.Clock.Now()
	}
	conns := slices.Clone(g.conns)
	g.mu.Unlock()
	for _, c := range conns {
		_ = c.send(ctx, typeCancellation, cancellation{TaskID: a.Task.ID})
	}
	return errors.New("an earlier execution of the run may still be at work at this worker")
}

// pick chooses the connection with the fewest tasks among those not tried yet,
// and where its answer will be.
func (g *group) pick(id task.ID, tried []*conn) (*conn, <-chan error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	load := map[*conn]int{}
	for _, t := range g.held {
		load[t.to]++
	}
	var best *conn
	for _, c := range g.conns {
		if !slices.Contains(tried, c) && (best == nil || load[c] < load[best]) {
			best = c
		}
	}
	t := g.held[id]
	if best == nil || t == nil {
		return nil, nil
	}
	answer := make(chan error, 1)
	t.to, t.answer = best, answer
	return best, answer
}

// await waits for the answer to an assignment (S-5).
func (g *group) await(ctx context.Context, answer <-chan error) error {
	select {
	case err := <-answer:
		return err
	case <-g.hub.opts.Clock.After(g.hub.opts.ClaimTimeout):
		return errUnsure
	case <-ctx.Done():
		return fmt.Errorf("%w: %w", errUnsure, ctx.Err())
	}
}

// abandon gives up an assignment whose answer is not known: the worker is told
// to stop, and the task stays noted until it says that it has.
func (g *group) abandon(ctx context.Context, id task.ID, exec task.ExecutionID) {
	g.mu.Lock()
	t := g.held[id]
	if t == nil || t.exec != exec {
		g.mu.Unlock()
		return
	}
	t.answer, t.told, t.stop, t.since = nil, true, true, g.hub.opts.Clock.Now()
	conns := slices.Clone(g.conns)
	g.mu.Unlock()
	for _, c := range conns {
		_ = c.send(ctx, typeCancellation, cancellation{TaskID: id})
	}
}

// forget drops a task that is not here.
func (g *group) forget(id task.ID, exec task.ExecutionID) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if t := g.held[id]; t != nil && t.exec == exec {
		delete(g.held, id)
	}
}

// pause keeps offers away for a moment (S-12).
func (g *group) pause() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.paused = g.hub.opts.Clock.Now().Add(rejectPause)
}

// Granted implements oz.Granter.
func (g *group) Granted(_ context.Context, id task.ExecutionID) {
	g.mu.Lock()
	var early *held
	for _, t := range g.held {
		if t.exec == id {
			if t.granted = true; t.end != nil {
				now := *t
				early = &now
			}
		}
	}
	g.mu.Unlock()
	if early != nil {
		g.hub.start(func() { g.settle(g.hub.stop, *early, *early.end) })
	}
}

// Cancel implements oz.Member.
func (g *group) Cancel(ctx context.Context, id task.ExecutionID) {
	g.over(ctx, []task.ExecutionID{id})
}

// untold implements teller.
func (g *group) untold() []task.ExecutionID {
	g.mu.Lock()
	defer g.mu.Unlock()
	var ids []task.ExecutionID
	for _, t := range g.held {
		if !t.told && t.end == nil {
			ids = append(ids, t.exec)
		}
	}
	return ids
}

// over implements teller. A worker whose agent has reported its end is let
// alone; any other has to stop. Nothing is expected in answer (S-13).
func (g *group) over(ctx context.Context, ids []task.ExecutionID) {
	for _, id := range ids {
		e, err := g.host.Execution(ctx, id)
		byItself := err == nil && task.State(e.Reason).Ended() && e.Reason != string(task.StateCancelled)
		g.mu.Lock()
		var conns []*conn
		var run task.ID
		for _, t := range g.held {
			if t.exec != id || t.end != nil {
				continue
			}
			t.told, t.since, run = true, g.hub.opts.Clock.Now(), t.task
			if !byItself {
				t.stop, conns = true, slices.Clone(g.conns)
			}
		}
		g.mu.Unlock()
		for _, c := range conns {
			_ = c.send(ctx, typeCancellation, cancellation{TaskID: run})
		}
	}
}

// remind tells a new connection what has to stop (S-13).
func (g *group) remind(c *conn) {
	g.mu.Lock()
	var stop []task.ID
	for _, t := range g.held {
		if t.stop && t.end == nil {
			stop = append(stop, t.task)
		}
	}
	g.mu.Unlock()
	for _, id := range stop {
		_ = c.send(g.hub.stop, typeCancellation, cancellation{TaskID: id})
	}
}

// inspect forgets tasks whose end nobody will tell.
func (g *group) inspect(now time.Time) {
	g.hub.mu.Lock()
	defer g.hub.mu.Unlock()
	g.mu.Lock()
	defer g.mu.Unlock()
	for id, t := range g.held {
		if g.expired(t, now) {
			delete(g.held, id)
			g.hub.work.Go(func() { g.assumeGone(task.Execution{ID: t.exec, TaskID: t.task}) }) // counted: Run waits for inspect
		}
	}
	g.hub.dropLocked(g)
}

// assumeGone records that nothing of an execution runs any more, which its worker
// will not say: some never do (S-14).
func (g *group) assumeGone(e task.Execution) {
	if err := g.host.SandboxGone(g.hub.stop, e); err != nil {
		g.log.Debug("record that a sandbox is gone", zap.String("task_id", string(e.TaskID)), zap.Error(err))
	}
}

// expired reports a task that is not expected to be here any more. One that was
// never claimed is most likely not: the worker's claim waits for no work, and
// outlives its connections. g.mu is held.
func (g *group) expired(t *held, now time.Time) bool {
	if !t.told || t.end != nil {
		return false
	}
	if !t.claimed {
		return now.Sub(t.since) >= unclaimedFor*g.hub.opts.ClaimTimeout
	}
	return now.Sub(t.since) >= heldFor
}

// receive handles a frame. What cannot be read or is about something unknown is
// harmless (S-7).
func (g *group) receive(ctx context.Context, c *conn, frame []byte) {
	e, err := parseEnvelope(frame)
	if err != nil {
		g.log.Warn("a worker sent what is no frame", zap.Error(err))
		return
	}
	switch e.Type {
	case typeClaimed, typeRejected, typeCompleted, typeFailed:
	default:
		g.log.Debug("a worker sent a frame of an unknown type", zap.String("type", e.Type))
		return
	}
	r, err := parseReport(e.Data)
	if err != nil {
		g.log.Warn("a worker sent a frame that cannot be read", zap.String("type", e.Type), zap.Error(err))
		return
	}
	switch e.Type {
	case typeClaimed:
		g.claimed(ctx, c, r)
	case typeRejected:
		g.rejected(c, r)
	default:
		g.ended(ctx, envelopedReport{kind: e.Type, report: r})
	}
}

// claimed takes a claim. A late one of a task that is over, or is another
// worker's now, is answered by a cancellation (S-9).
func (g *group) claimed(ctx context.Context, c *conn, r report) {
	g.mu.Lock()
	t := g.held[r.TaskID]
	if t != nil {
		t.claimed = true
	}
	if t != nil && !t.stop {
		t.say(nil)
		g.mu.Unlock()
		return
	}
	g.mu.Unlock()
	if g.find(ctx, r.TaskID) == nil {
		_ = c.send(ctx, typeCancellation, cancellation{TaskID: r.TaskID})
	}
}

// rejected takes a refusal (S-12).
func (g *group) rejected(c *conn, r report) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if t := g.held[r.TaskID]; t != nil && t.to == c {
		t.say(errRejected)
	}
}

// ended takes the end of a task. The first one counts (S-8), also without a
// claim (S-9).
func (g *group) ended(ctx context.Context, r envelopedReport) {
	if !g.holds(r.TaskID) && g.find(ctx, r.TaskID) == nil {
		g.log.Debug("a worker reports on a task that is not its own", zap.String("task_id", string(r.TaskID)))
		return
	}
	g.mu.Lock()
	t := g.held[r.TaskID]
	if t == nil || t.end != nil {
		g.mu.Unlock()
		return
	}
	t.end = &r
	t.say(nil)
	now := *t
	g.mu.Unlock()
	if now.granted || now.told { // else Granted goes on
		g.hub.start(func() { g.settle(g.hub.stop, now, r) })
	}
}

func (g *group) holds(id task.ID) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.held[id] != nil
}

// find looks in the store for a live execution of the run that this worker
// has: the server may have restarted since it was assigned (S-15).
func (g *group) find(ctx context.Context, id task.ID) *held {
	live, err := g.host.Live(ctx)
	if err != nil {
		g.log.Warn("read live executions", zap.Error(err))
		return nil
	}
	for _, e := range live {
		if e.TaskID != id || e.State == task.ExecutionOffered {
			continue
		}
		g.mu.Lock()
		defer g.mu.Unlock()
		t := g.held[id]
		if t == nil {
			t = &held{task: id, exec: e.ID, granted: true}
			g.held[id] = t
		}
		return t
	}
	return nil
}

// settle records the end of a task: of its execution, if the agent has not
// reported it, and of its processes. It insists until ctx ends.
func (g *group) settle(ctx context.Context, t held, r envelopedReport) {
	e := task.Execution{ID: t.exec, TaskID: t.task}
	for {
		err := g.record(ctx, e, r)
		if err == nil {
			break
		}
		g.log.Warn("record the end of a task", zap.String("task_id", string(t.task)), zap.Error(err))
		select {
		case <-g.hub.opts.Clock.After(settlePause):
		case <-ctx.Done():
			return // the lease brings the run back
		}
	}
	g.mu.Lock()
	if now := g.held[t.task]; now != nil && now.exec == t.exec {
		delete(g.held, t.task)
	}
	g.paused = time.Time{}
	g.mu.Unlock()
	g.host.Changed()
}

func (g *group) record(ctx context.Context, e task.Execution, r envelopedReport) error {
	now, err := g.host.Execution(ctx, e.ID)
	if errors.Is(err, task.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	if now.Live() {
		code, reason := r.verdict()
		switch {
		case code == "":
			err = g.host.Release(ctx, now, reason, 0)
		default:
			err = g.host.Failed(ctx, now, code, reason)
		}
		if err != nil {
			return err
		}
	}
	return g.host.SandboxGone(ctx, e)
}

// verdict says what the worker's word means for a run whose agent has not
// reported its end (worker protocol, 7.1). No code: by nobody's fault.
func (r envelopedReport) verdict() (task.Code, string) {
	if r.kind == typeCompleted {
		return task.CodeAgentProcessFailed, "the agent's process ended before it reported an outcome"
	}
	reason := "the worker reports: " + cmp.Or(r.Message, r.Failure, "the task failed")
	if r.ExitCode != nil {
		reason += fmt.Sprintf(" (exit status %d)", *r.ExitCode)
	}
	switch r.Failure {
	case "graceful_shutdown", "task_cancelled":
		return "", reason
	case "image_pull", "invalid_image", "container_oom", "setup_command", "init_container":
		return task.CodeEnvironmentSetupFailed, reason
	case "agent_invocation", "container_exit", "job_failed":
		return task.CodeAgentProcessFailed, reason
	case "task_timeout", "active_deadline", "dispatch_timeout":
		return task.CodeInfrastructureTimeout, reason
	}
	return task.CodeResourceUnavailable, reason
}

// assignment makes the frame for an official worker (S-4, S-11, S-19, S-20).
func (g *group) assignment(a oz.Assignment) assignment {
	t := a.Task
	out := assignment{TaskID: t.ID, ExecutionID: a.Execution, SidecarImage: g.hub.opts.SidecarImage,
		EnvVars: map[string]string{"WARP_API_KEY": a.Token.Reveal(), "OZ_RUN_ID": string(t.ID)},
		Task: assignedTask{ID: t.ID, Title: t.Title, CreatedAt: rfc3339(t.CreatedAt), UpdatedAt: rfc3339(t.UpdatedAt),
			Config: configSnapshot{EnvironmentID: t.Config.EnvironmentID, ModelID: t.Config.ModelID, SkillSpec: t.Config.SkillSpec,
				ComputerUse: t.Config.ComputerUseEnabled != nil && *t.Config.ComputerUseEnabled,
				IdleMinutes: t.Config.IdleTimeoutMinutes, Harness: &harnessConfig{Type: t.Config.HarnessType()}}},
	}
	var environment struct {
		DockerImage string `json:"docker_image"`
	}
	var profile oz.RunnerConfig
	_ = json.Unmarshal(t.Environment, &environment) // what cannot be read asks for nothing
	_ = json.Unmarshal(t.Runner, &profile)
	out.DockerImage = cmp.Or(profile.DockerImage, environment.DockerImage)
	if profile.VCPUs > 0 || profile.MemoryGB > 0 {
		out.Shape = &shape{VCPUs: int(math.Ceil(profile.VCPUs)), MemoryGB: int(math.Ceil(profile.MemoryGB))}
	}
	return out
}

func rfc3339(t time.Time) string { return t.UTC().Format(time.RFC3339Nano) }

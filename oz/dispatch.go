package oz

import (
	"cmp"
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/oz-platform/cloudagents/executor"
	"github.com/oz-platform/cloudagents/internal/crashpoint"
	"github.com/oz-platform/cloudagents/task"
)

const (
	// pollInterval is how soon the dispatcher looks again without being told:
	// for runs that become ready by time, and for stores that other processes
	// write to.
	pollInterval = time.Second

	// offerTimeout bounds a worker's answer to an offer.
	offerTimeout = 10 * time.Second

	// firstWindow and lastWindow bound how many waiting runs are looked at. The
	// window grows while there is room for more and all those in it wait for
	// workers that cannot take them.
	firstWindow, lastWindow = 256, 65_536

	// spareWindow is how many runs are looked at beyond twice the free places
	// while all that wait belong to one owner, and wideInterval how often it is
	// looked whether they still do. Nobody has to take turns then.
	spareWindow  = 16
	wideInterval = 50 * time.Millisecond

	// breather is how long the dispatcher rests between two looks at a long
	// queue: the runs in it wait anyway, and each look is paid for by all.
	breather = 2 * time.Millisecond

	// secondLook is how soon the dispatcher looks again after somebody else was
	// writing to a run that it wanted to offer.
	secondLook = 20 * time.Millisecond

	// strayInterval is how often runs are looked for that wait for a moment
	// which no back-off can have given them.
	strayInterval = time.Minute
)

// dispatch offers waiting runs to workers with room until ctx ends. It knows
// nothing but what it reads each time, and the offers it has in flight.
func (p *Platform) dispatch(ctx context.Context) {
	changed, cancel := p.store.Subscribe("")
	defer cancel()
	d := &dispatcher{p: p, inflight: map[task.ID]*flight{}}
	d.placer, _ = p.store.(task.Placer)
	defer d.offers.Wait()
	for {
		if err := d.place(ctx); err != nil && ctx.Err() == nil {
			p.opts.Logger.Error("place runs", zap.Error(err))
		}
		select {
		case <-changed:
		case <-p.poke:
		case <-p.opts.Clock.After(pollInterval):
		case <-ctx.Done():
			return
		}
		if !d.backlog {
			continue
		}
		select {
		case <-p.opts.Clock.After(breather):
		case <-ctx.Done():
			return
		}
	}
}

// dispatcher places runs. One goroutine calls place; offers run beside it.
type dispatcher struct {
	p      *Platform
	placer task.Placer // the store, if it is one
	offers sync.WaitGroup
	turn   int // who is first in the next round
	// stray is when stray runs were looked for last.
	stray time.Time
	// backlog says that more runs waited than were looked at.
	backlog bool
	// wide is when a whole firstWindow was read last; sole says that all runs
	// seen since were of one owner.
	wide   time.Time
	sole   bool
	shares shares

	// short says that runs may wait for want of room, as of the last look.
	short atomic.Bool

	mu       sync.Mutex
	inflight map[task.ID]*flight
}

// flight is an offer under way, or one that failed because somebody else was
// writing to the run: then it takes no place, and keeps the run from being
// offered again too soon.
type flight struct {
	worker string // none when it failed
	// wanted says that the run was to be offered again meanwhile.
	wanted bool
}

// offer is a run's way to a worker.
type offer struct {
	task.Placement
	to    Member
	token string
	log   *zap.Logger
}

// room is what a worker can still take.
type room struct {
	worker Member
	info   WorkerInfo
	free   int
}

// place looks once at what waits and at who has room, and starts offers.
func (d *dispatcher) place(ctx context.Context) error {
	rooms, total, err := d.rooms(ctx)
	if err != nil {
		return err
	}
	for window := d.window(total); ; window = min(window*8, lastWindow) {
		d.p.full.Store(total <= 0)
		d.short.Store(true) // until it is known that nothing waits
		if total <= 0 || ctx.Err() != nil {
			return nil
		}
		waiting, err := d.p.store.Waiting(ctx, d.p.opts.Clock.Now(), window)
		if err != nil {
			return err
		}
		d.backlog = len(waiting) == window
		d.seen(waiting, window)
		started, err := d.assign(ctx, waiting, rooms, total)
		if err != nil {
			return err
		}
		d.short.Store(started < len(waiting))
		total -= started
		if len(waiting) < window || window >= lastWindow {
			break
		}
	}
	return d.placeStrays(ctx, rooms, total)
}

// window is how many waiting runs to read for some free places, at first.
func (d *dispatcher) window(free int) int {
	age := d.p.opts.Clock.Now().Sub(d.wide)
	if !d.sole || age < 0 || age >= wideInterval {
		return firstWindow
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	return min(firstWindow, 2*max(0, free)+len(d.inflight)+spareWindow)
}

// seen takes note of whose runs wait.
func (d *dispatcher) seen(waiting []task.Waiting, window int) {
	if window >= firstWindow {
		d.wide, d.sole = d.p.opts.Clock.Now(), true
	}
	for _, w := range waiting {
		d.sole = d.sole && w.Owner == waiting[0].Owner
	}
}

// placeStrays places runs that were put off by a clock that was ahead: they
// wait for a moment further away than any back-off reaches. It looks now and
// then, when there is room.
func (d *dispatcher) placeStrays(ctx context.Context, rooms []*room, total int) error {
	now := d.p.opts.Clock.Now()
	if total <= 0 || now.Sub(d.stray) < strayInterval {
		return nil
	}
	d.stray = now
	waiting, err := d.p.store.Waiting(ctx, now.Add(century), lastWindow)
	if err != nil {
		return err
	}
	latest := now.Add(2 * max(d.p.opts.MaxBackoff, d.p.opts.RefusalBackoff))
	waiting = slices.DeleteFunc(waiting, func(w task.Waiting) bool { return !w.ReadyAt.After(latest) })
	_, err = d.assign(ctx, waiting, rooms, total)
	return err
}

// century is later than any moment that a run waits for.
const century = 100 * 365 * 24 * time.Hour

// rooms counts the free places, over all and by worker. Live executions and
// offers in flight both take one; an execution that is in both counts once.
func (d *dispatcher) rooms(ctx context.Context) (rooms []*room, total int, err error) {
	// In flight first: an offer that is recorded in between counts twice, which
	// errs on the safe side.
	used, inflight := map[string]int{}, d.flying()
	live, err := d.p.store.Live(ctx)
	if err != nil {
		return nil, 0, err
	}
	if err := d.countShares(ctx, live, inflight); err != nil {
		return nil, 0, err
	}
	offered, count := map[string]int{}, 0
	for _, worker := range inflight {
		offered[worker]++
	}
	take := func(worker string) {
		used[worker]++
		if worker != callerWorker {
			count++
		}
	}
	for _, e := range live {
		delete(inflight, e.TaskID)
		take(e.Worker)
	}
	for _, worker := range inflight {
		take(worker)
	}
	for _, m := range d.p.members() {
		r := &room{worker: m, info: m.Info(), free: lastWindow}
		if r.info.Paused {
			continue
		}
		if r.info.Capacity > 0 {
			// What is on its way may not be among the worker's busy places yet,
			// and these may hold executions that have ended.
			r.free = max(0, r.info.Capacity-max(used[r.info.ID], r.info.Busy+offered[r.info.ID]))
		}
		total += r.free
		rooms = append(rooms, r)
	}
	if m := d.p.opts.MaxConcurrent; m > 0 {
		total = min(total, m-count)
	}
	return rooms, total, nil
}

// flying copies the offers in flight.
func (d *dispatcher) flying() map[task.ID]string {
	d.mu.Lock()
	defer d.mu.Unlock()
	m := make(map[task.ID]string, len(d.inflight))
	for id, f := range d.inflight {
		if f.worker != "" {
			m[id] = f.worker
		}
	}
	return m
}

// assign starts offers for at most total of the waiting runs, and says how
// many it started.
func (d *dispatcher) assign(ctx context.Context, waiting []task.Waiting, rooms []*room, total int) (started int, err error) {
	var offers []*offer
	for _, w := range d.inTurn(waiting) {
		if len(offers) >= total {
			break
		}
		var fits bool
		if fits, err = d.hasShare(ctx, w.Owner); err != nil {
			break
		}
		r := choose(rooms, w)
		if !fits || r == nil || !d.takeOff(w.ID, r.info.ID) {
			continue
		}
		r.free--
		d.takeShare(w)
		offers = append(offers, d.p.newOffer(w.ID, r.worker, r.info.ID))
	}
	if d.placer != nil && len(offers) > 0 {
		d.offers.Go(func() { d.placeAll(ctx, offers) })
		return len(offers), err
	}
	for _, o := range offers {
		d.offers.Go(func() { d.land(o, d.placeOne(ctx, o)) })
	}
	return len(offers), err
}

// choose picks a worker for a run: the one that held it last, for its
// workspace may still be there, else the one with the most room.
func choose(rooms []*room, w task.Waiting) *room {
	var best *room
	for _, r := range rooms {
		if r.free <= 0 || !r.info.takes(w) {
			continue
		}
		if r.info.ID == w.LastWorker {
			return r
		}
		if best == nil || r.free > best.free {
			best = r
		}
	}
	return best
}

// inTurn orders the runs so that each owner's oldest comes first, then each
// owner's second, and so on. The owner that begins changes from look to look.
func (d *dispatcher) inTurn(waiting []task.Waiting) []task.Waiting {
	queues := map[task.Scope][]task.Waiting{}
	var owners []task.Scope
	for _, w := range waiting {
		if queues[w.Owner] == nil {
			owners = append(owners, w.Owner)
		}
		queues[w.Owner] = append(queues[w.Owner], w)
	}
	if len(owners) < 2 {
		return waiting
	}
	slices.SortFunc(owners, func(a, b task.Scope) int { return cmp.Or(cmp.Compare(a.Type, b.Type), cmp.Compare(a.UID, b.UID)) })
	d.turn++
	first := d.turn % len(owners)
	owners = slices.Concat(owners[first:], owners[:first])
	out := make([]task.Waiting, 0, len(waiting))
	for round := 0; len(out) < len(waiting); round++ {
		for _, o := range owners {
			if q := queues[o]; round < len(q) {
				out = append(out, q[round])
			}
		}
	}
	return out
}

// takeOff notes an offer in flight; false means that there is one already.
func (d *dispatcher) takeOff(id task.ID, worker string) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if f := d.inflight[id]; f != nil {
		f.wanted = true
		return false
	}
	d.inflight[id] = &flight{worker: worker}
	return true
}

// land ends a flight. The dispatcher looks again if a place may be free by that
// and a run may want it: while in flight, an offer may take two places of a
// worker that counts them itself.
func (d *dispatcher) land(o *offer, taken bool) {
	d.mu.Lock()
	wanted := d.inflight[o.ID].wanted
	delete(d.inflight, o.ID)
	d.mu.Unlock()
	if wanted || !taken || d.short.Load() && o.to.Info().Busy > 0 {
		d.p.wake()
	}
}

// newOffer prepares the offer of a run.
func (p *Platform) newOffer(id task.ID, w Member, worker string) *offer {
	exec := task.NewExecutionID()
	token, hash := task.NewToken(exec)
	return &offer{to: w, token: token,
		Placement: task.Placement{ID: id, Offer: task.Offer{Execution: exec, Worker: worker, TokenHash: hash, LeaseUntil: p.opts.Clock.Now().Add(p.opts.Lease)}},
		log:       p.opts.Logger.With(zap.String("task_id", string(id)), zap.String("execution_id", string(exec)), zap.String("worker", worker)),
	}
}

// placeOne offers a run: recorded first, then asked, then the answer recorded.
// It may be cut off anywhere: the lease brings the run back.
func (d *dispatcher) placeOne(ctx context.Context, o *offer) (taken bool) {
	if _, err := d.p.store.Do(ctx, o.ID, o.Offer); err != nil {
		o.log.Debug("run is no longer waiting", zap.Error(err))
		return false
	}
	return d.p.settle(ctx, o, func(ctx context.Context) (task.Task, error) { return d.p.store.Get(ctx, o.ID) })
}

// placeAll is placeOne for many, recorded together.
func (d *dispatcher) placeAll(ctx context.Context, offers []*offer) {
	placements := make([]task.Placement, len(offers))
	for i, o := range offers {
		placements[i] = o.Placement
	}
	placed, err := d.placer.Place(ctx, placements)
	if err != nil && ctx.Err() == nil {
		d.p.opts.Logger.Error("offer runs", zap.Error(err))
	}
	runs := make(map[task.ID]task.Task, len(placed))
	for _, t := range placed {
		runs[t.ID] = t
	}
	for _, o := range offers {
		if t, ok := runs[o.ID]; ok {
			d.offers.Go(func() {
				d.land(o, d.p.settle(ctx, o, func(context.Context) (task.Task, error) { return t, nil }))
			})
		}
	}
	if len(placed) == len(offers) {
		return
	}
	left := slices.DeleteFunc(offers, func(o *offer) bool { _, ok := runs[o.ID]; return ok })
	d.leaveOut(ctx, left)
}

// leaveOut frees the places of offers that could not be made. Their runs may
// wait still, and nobody else might say so: they are looked at again soon.
func (d *dispatcher) leaveOut(ctx context.Context, left []*offer) {
	d.mu.Lock()
	for _, o := range left {
		d.inflight[o.ID].worker = ""
	}
	d.mu.Unlock()
	d.p.wake()
	select {
	case <-d.p.opts.Clock.After(secondLook):
	case <-ctx.Done():
	}
	for _, o := range left {
		d.land(o, false)
	}
}

// settle asks the worker about an offer that is recorded, and records its
// answer. read gives the run.
func (p *Platform) settle(ctx context.Context, o *offer, read func(context.Context) (task.Task, error)) (taken bool) {
	crashpoint.Hit(crashpoint.OfferRecorded)
	exec := o.Offer.Execution
	p.fences.token(exec, o.ID, o.token)
	// From here on the answer is recorded even while the platform stops.
	settle, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*offerTimeout)
	defer cancel()
	if err := p.ask(ctx, o, read); err != nil {
		o.log.Info("worker refused", zap.Error(err))
		err = p.release(settle, task.Execution{ID: exec, TaskID: o.ID}, task.Release{Execution: exec, Reason: err.Error(),
			ReadyAt: p.opts.Clock.Now().Add(p.opts.RefusalBackoff)})
		if err != nil {
			o.log.Error("take back a refused run", zap.Error(err))
		}
		return false
	}
	crashpoint.Hit(crashpoint.OfferAccepted)
	if _, err := p.store.Do(settle, o.ID, task.Accept{Execution: exec, LeaseUntil: p.opts.Clock.Now().Add(p.opts.Lease)}); err != nil {
		o.log.Warn("record the worker's yes", zap.Error(err))
		o.to.Cancel(settle, exec)
		return false
	}
	if g, ok := o.to.(Granter); ok {
		g.Granted(settle, exec)
	}
	return true
}

// ask makes the offer to the worker.
func (p *Platform) ask(ctx context.Context, o *offer, read func(context.Context) (task.Task, error)) error {
	ctx, cancel := context.WithTimeout(ctx, offerTimeout)
	defer cancel()
	t, err := read(ctx)
	if err != nil {
		return err
	}
	if err := p.checkShare(ctx, t, o.Offer.Execution); err != nil {
		return err
	}
	return o.to.Offer(ctx, Assignment{Task: t, Execution: o.Offer.Execution, Token: executor.Sensitive(o.token)})
}

package schedule

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"go.uber.org/zap"

	"github.com/oz-platform/cloudagents/task"
)

// errAgain says that something was decided: look again.
var errAgain = errors.New("look again")

// What the ledger says to people.
const (
	reasonQueued    = "waits for the run before it to end"
	reasonWaited    = "waited for the run before it"
	reasonFull      = "another tick waits for the run before it already"
	reasonNewer     = "nothing decided it in time, and a newer tick was due already"
	reasonMissed    = "nothing decided it in time: the server was not running, or could not reach its database"
	reasonPausedNow = "the schedule was paused before it could start"
	reasonUnknown   = "the server could not make the run; its log says why"
)

// step decides the first tick that is due, or several that need no run. It
// returns errAgain after it has, and else when the schedule is to be looked at
// again; with another error, when the tick that it is about was to start.
//
// A run is made for the first undecided tick only, and after it is known to
// exist the tick's line and the step to the next tick are written at once, on
// the revision that was read. Between the two the run's ID alone says that it
// was made: whoever comes to that tick again finds it there.
//
// d is the schedule as it was read or written last; one without revision is
// read here.
func (s *Scheduler) step(ctx context.Context, id string, d *document, e entry) (next entry, more bool, err error) {
	if d.revision == 0 {
		if *d, err = s.store.load(ctx, id); err != nil {
			return entry{}, false, err
		}
	}
	now := s.store.now()
	if !d.Waiting.IsZero() {
		if err := s.stepWaiting(ctx, d, now); !errors.Is(err, errStillWaits) {
			return entry{}, false, err
		}
	}
	due, err := d.started(now)
	if err != nil {
		return entry{}, false, err
	}
	if len(due) > 0 {
		return entry{start: due[0].Add(d.delay())}, true, s.stepDue(ctx, d, due, now, e)
	}
	next, more = d.next(now)
	if !d.Waiting.IsZero() {
		ask := now.Add(s.opts.Poll)
		if next, more = d.nextBehindQueue(now); !more || next.wake.After(ask) {
			next.wake, more = ask, true
		}
	}
	return next, more, nil
}

// nextBehindQueue is next without the queued tick.
func (d document) nextBehindQueue(now time.Time) (entry, bool) {
	d.Waiting = time.Time{}
	return d.next(now)
}

// started gives the undecided ticks whose runs were to start by now, oldest
// first. Of a paused schedule it is those that were due before.
func (d *document) started(now time.Time) ([]time.Time, error) {
	if !d.Enabled {
		return d.Pending, nil
	}
	until := now.Add(-d.delay())
	due := make([]time.Time, 0, len(d.Pending))
	for _, t := range d.Pending {
		if !t.After(until) {
			due = append(due, t)
		}
	}
	ticks, err := d.ticks(until)
	return append(due, ticks...), err
}

// stepDue decides the first of the ticks that are due.
func (s *Scheduler) stepDue(ctx context.Context, d *document, due []time.Time, now time.Time, e entry) error {
	first := due[0]
	lateness := func(t time.Time) time.Duration { return now.Sub(t.Add(d.delay())) }
	fresh := d.Enabled && lateness(first) <= s.opts.Grace
	if !fresh || d.overlaps() { // the process may have died after it made the run
		if found, err := s.host.Started(ctx, RunID(d.ID, first)); err != nil || found {
			return cmpErr(err, func() error { return s.commitRun(ctx, d, first, Fired, "") })
		}
	}
	if !d.Enabled {
		return s.commit(ctx, d, lines(due, now, Paused, reasonPausedNow))
	}
	late := 0
	for late < len(due) && lateness(due[late]) > s.opts.Grace {
		late++
	}
	outcome, reason := Fired, reasonNewer
	if late == len(due) {
		reason = reasonMissed
		if lateness(due[late-1]) <= d.Timing.CatchUp {
			late--
			reason = reasonNewer
		}
	}
	if late > 0 {
		return s.commit(ctx, d, s.missed(due[:late], now, reason, e))
	}
	if !fresh {
		outcome = CaughtUp
	}
	return s.fire(ctx, d, first, outcome, now)
}

// cmpErr gives err, or what then says when there is none.
func cmpErr(err error, then func() error) error {
	if err != nil {
		return err
	}
	return then()
}

// missed writes off ticks. One that was tried and could not be started has
// failed, and says why.
func (s *Scheduler) missed(due []time.Time, now time.Time, reason string, e entry) []Tick {
	list := lines(due, now, Missed, reason)
	var tried *startError
	if errors.As(e.failure, &tried) {
		list[0].Outcome, list[0].Reason = Failed, s.reasonOf(tried.err)
	}
	return list
}

func lines(due []time.Time, now time.Time, o Outcome, reason string) []Tick {
	list := make([]Tick, 0, len(due))
	for _, t := range due {
		list = append(list, Tick{Due: t, Outcome: o, Reason: reason, At: now})
	}
	return list
}

// overlaps reports that the runs before decide what a tick does.
func (d document) overlaps() bool { return d.Timing.Overlap != "" && d.Timing.Overlap != OverlapAllow }

// fire makes the run of a tick, unless a run before it forbids it.
func (s *Scheduler) fire(ctx context.Context, d *document, due time.Time, outcome Outcome, now time.Time) error {
	if d.overlaps() {
		active, err := s.host.Active(ctx, d.Schedule)
		if err != nil {
			return err
		}
		if slices.Contains(active, RunID(d.ID, due)) { // another replica is about to write its line
			return s.commitRun(ctx, d, due, outcome, "")
		}
		if len(active) > 0 {
			if done, err := s.meet(ctx, d, due, active, now); done || err != nil {
				return err
			}
		}
	}
	return s.start(ctx, d, due, outcome, "")
}

// meet does what the policy wants while runs are active. done says that the
// tick is decided and starts no run.
func (s *Scheduler) meet(ctx context.Context, d *document, due time.Time, active []task.ID, now time.Time) (done bool, err error) {
	line := Tick{Due: due, Outcome: Skipped, Reason: fmt.Sprintf("run %s was still active", active[0]), At: now}
	switch d.Timing.Overlap {
	case OverlapSkip:
		return true, s.commit(ctx, d, []Tick{line})
	case OverlapQueue:
		line.Outcome, line.Reason = Queued, reasonQueued
		if !d.Waiting.IsZero() {
			line.Outcome, line.Reason = Skipped, reasonFull
		}
		return true, s.commit(ctx, d, []Tick{line})
	case OverlapCancel:
		for _, id := range active {
			if err := s.host.Cancel(ctx, d.Schedule, id); err != nil {
				return false, err
			}
		}
	}
	return false, nil
}

// start makes the run of a tick and writes its line.
func (s *Scheduler) start(ctx context.Context, d *document, due time.Time, outcome Outcome, reason string) error {
	id := RunID(d.ID, due)
	err := s.host.Start(ctx, d.Schedule, id, due)
	var refusal *task.Error
	if errors.As(err, &refusal) && refusal.Code.Known() && !refusal.Code.Retryable() {
		line := Tick{Due: due, Outcome: Failed, Reason: s.reasonOf(err), At: s.store.now()}
		return s.commit(ctx, d, []Tick{line})
	}
	if err != nil {
		return &startError{err}
	}
	return s.commitRun(ctx, d, due, outcome, reason)
}

// startError is why a run could not be made now.
type startError struct{ err error }

// Error implements error.
func (e *startError) Error() string { return "start the run: " + e.err.Error() }

// Unwrap gives the cause.
func (e *startError) Unwrap() error { return e.err }

// maxReason bounds what the ledger quotes, in bytes.
const maxReason = 500

// reasonOf tells people why a run could not be made. What is not meant for
// them goes to the log.
func (s *Scheduler) reasonOf(err error) string {
	var e *task.Error
	if !errors.As(err, &e) || e.Code == task.CodeInternal {
		s.opts.Logger.Error("make the run of a schedule", zap.Error(err))
		return reasonUnknown
	}
	text := e.Error()
	return text[:min(len(text), maxReason)]
}

var errStillWaits = errors.New("the queued tick waits still")

// stepWaiting starts the queued tick once the runs before it have ended.
func (s *Scheduler) stepWaiting(ctx context.Context, d *document, now time.Time) error {
	found, err := s.host.Started(ctx, RunID(d.ID, d.Waiting))
	if err != nil {
		return err
	}
	switch {
	case found:
		return s.commitRun(ctx, d, d.Waiting, Fired, reasonWaited)
	case !d.Enabled:
		return s.commit(ctx, d, lines([]time.Time{d.Waiting}, now, Paused, reasonPausedNow))
	case d.Timing.Overlap == OverlapQueue:
		if active, err := s.host.Active(ctx, d.Schedule); err != nil || len(active) > 0 {
			return cmpErr(err, func() error { return errStillWaits })
		}
	}
	return s.start(ctx, d, d.Waiting, Fired, reasonWaited)
}

// commit writes lines on the revision that was read. When somebody else wrote
// meanwhile, everything is decided anew.
func (s *Scheduler) commit(ctx context.Context, d *document, list []Tick) error {
	written := make([]Tick, 0, len(list))
	for _, t := range list {
		if d.settle(t) {
			written = append(written, t)
		}
	}
	if err := s.write(ctx, d); err != nil {
		if errors.Is(err, task.ErrConflict) {
			return errAgain
		}
		return err
	}
	s.tell(d.ID, written)
	return errAgain
}

// write stores d, or leaves it to be read again.
func (s *Scheduler) write(ctx context.Context, d *document) (err error) {
	if *d, err = s.store.put(ctx, *d); err != nil {
		*d = document{}
	}
	return err
}

// commitRun writes the line of a tick whose run exists: on top of whatever
// was written meanwhile.
func (s *Scheduler) commitRun(ctx context.Context, d *document, due time.Time, outcome Outcome, reason string) error {
	id := d.ID
	line := Tick{Due: due, Outcome: outcome, Reason: reason, RunID: RunID(id, due), At: s.store.now()}
	for range maxRewrites {
		if !d.settle(line) {
			return errAgain // another replica did
		}
		err := s.write(ctx, d)
		if err == nil {
			s.tell(id, []Tick{line})
			return errAgain
		}
		if !errors.Is(err, task.ErrConflict) {
			return err
		}
		if *d, err = s.store.load(ctx, id); err != nil {
			*d = document{}
			return err
		}
	}
	return task.Errorf(task.CodeConflict, "schedule %s is being changed by many at once", id)
}

func (s *Scheduler) tell(id string, list []Tick) {
	for _, t := range list {
		if t.Outcome == Failed || t.Outcome == Missed {
			s.opts.Logger.Warn("a tick made no run", zap.String("schedule_id", id), zap.Time("due", t.Due),
				zap.String("outcome", string(t.Outcome)), zap.String("reason", t.Reason))
		}
		s.opts.OnTick(id, t)
	}
}

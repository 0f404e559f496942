package oz

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"go.uber.org/zap"

	"github.com/oz-platform/cloudagents/environment"
	"github.com/oz-platform/cloudagents/executor"
	"github.com/oz-platform/cloudagents/task"
)

// Bounds of what a worker keeps, unless its options say otherwise.
const (
	defaultMaxKept     = 100
	defaultMinFreeDisk = 2 << 30 // bytes

	// roomInterval is how soon a worker that keeps too much looks again, at most.
	roomInterval = time.Second
)

// KeptWorkspaces is what a LocalWorker keeps of runs that have ended. None of it
// takes a place.
type KeptWorkspaces struct {
	// Idle ones wait for a follow-up; Retained ones are those of failed runs
	// that are kept for inspection.
	Idle, Retained int
	// What follows counts those removed since the start of this process: Expired
	// because their time was over, Orphaned because the platform does not know
	// their run, Crowded because the worker keeps no more, and Squeezed because
	// the disk was nearly full.
	Expired, Orphaned, Crowded, Squeezed int64
}

// kept is a workspace whose run has ended.
type kept struct {
	key      string
	ended    time.Time
	until    time.Time
	retained bool
}

// DebugUntil is until when, at the latest, the workspace of a run that ended as
// FAILED or ERROR is kept for inspection, as its environment says
// (failure_session_retention_minutes). It is zero for runs that are not kept
// for that. An operator's bounds may end it earlier.
func DebugUntil(t task.Task) time.Time {
	if t.State != task.StateFailed && t.State != task.StateError || t.Where == task.LocationLocal || t.Executions == 0 {
		return time.Time{}
	}
	m := retentionMinutes(t)
	if m == nil {
		return time.Time{}
	}
	return endedAt(t).Add(time.Duration(*m) * time.Minute)
}

// retentionMinutes is what the run's environment says; nil is off.
func retentionMinutes(t task.Task) *int {
	var c environment.Config
	if len(t.Environment) == 0 || json.Unmarshal(t.Environment, &c) != nil {
		return nil
	}
	return c.FailureSessionRetentionMinutes
}

// endedAt is when a run that has ended did so; for those of old, when it last
// changed.
func endedAt(t task.Task) time.Time {
	if t.EndedAt.IsZero() {
		return t.UpdatedAt
	}
	return t.EndedAt
}

// ForWorker is what a worker on another host learns of a run whose workspace it
// has: whether it has ended, and how long its workspace is to be kept.
func ForWorker(t task.Task) (task.Task, error) {
	known := task.Task{ID: t.ID, Head: task.Head{State: t.State, Where: t.Where, Executions: t.Executions, UpdatedAt: t.UpdatedAt, EndedAt: t.EndedAt}}
	known.Config.IdleTimeoutMinutes = t.Config.IdleTimeoutMinutes
	if m := retentionMinutes(t); m != nil {
		data, err := json.Marshal(environment.Config{FailureSessionRetentionMinutes: m})
		if err != nil {
			return task.Task{}, fmt.Errorf("encode retention: %w", err)
		}
		known.Environment = data
	}
	return known, nil
}

// Kept says what the worker keeps, as of its last look.
func (w *LocalWorker) Kept() KeptWorkspaces {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.kept
}

// keeping says what is kept of a run that has ended, and until when.
func (s *supervisor) keeping(t task.Task) kept {
	k := kept{key: string(t.ID), ended: endedAt(t)}
	k.until = k.ended.Add(s.idleWindow(t))
	debug := DebugUntil(t)
	if limit := s.opts.FailureLimit; limit != 0 && debug.After(k.ended.Add(limit)) {
		debug = k.ended.Add(limit)
	}
	if debug.After(s.opts.Clock.Now()) {
		k.retained = true
		if debug.After(k.until) {
			k.until = debug
		}
	}
	return k
}

// idleWindow is how long a run's workspace stays after its end for a follow-up.
func (s *supervisor) idleWindow(t task.Task) time.Duration {
	window := defaultIdleMinutes * time.Minute
	if m := t.Config.IdleTimeoutMinutes; m != nil {
		window = time.Duration(*m) * time.Minute
	}
	if s.opts.IdleLimit != 0 {
		window = min(window, s.opts.IdleLimit)
	}
	return window
}

// sweepWorkspaces removes workspaces that are kept for too long, or beyond what
// the worker has room for. next is when the next one is due; zero for none.
func (s *supervisor) sweepWorkspaces(ctx context.Context) (next time.Time, err error) {
	s.mu.Lock()
	s.left = 0 // before the list is read: what ends meanwhile counts for the next
	s.mu.Unlock()
	keys, err := s.ex.Workspaces(ctx)
	if err != nil {
		return next, fmt.Errorf("list workspaces: %w", err)
	}
	var errs []error
	var list []kept
	for _, key := range keys {
		k, ended, err := s.judge(ctx, key)
		if err != nil {
			errs = append(errs, err)
		} else if ended {
			list = append(list, k)
		}
	}
	// The one that gives way first is the first; what is kept for people to look
	// at outlasts what a follow-up could restore.
	slices.SortFunc(list, func(a, b kept) int {
		return cmp.Or(cmp.Compare(number(a.retained), number(b.retained)), a.ended.Compare(b.ended), cmp.Compare(a.key, b.key))
	})
	list, err = s.makeRoom(ctx, list)
	errs = append(errs, err)
	now := KeptWorkspaces{}
	for _, k := range list {
		if k.retained {
			now.Retained++
		} else {
			now.Idle++
		}
		if next.IsZero() || k.until.Before(next) {
			next = k.until
		}
	}
	s.note(now)
	return next, errors.Join(errs...)
}

func number(b bool) int {
	if b {
		return 1
	}
	return 0
}

// judge looks at one workspace, and removes it when its time is over or its run
// is gone. ended says that it is kept: its run has ended, and nothing of it runs
// here.
func (s *supervisor) judge(ctx context.Context, key string) (k kept, ended bool, err error) {
	t, err := s.host.Task(ctx, task.ID(key))
	switch {
	case errors.Is(err, task.ErrNotFound):
		_, err := s.removeWorkspace(ctx, key, func(n *KeptWorkspaces) { n.Orphaned++ })
		return k, false, err
	case err != nil:
		return k, false, fmt.Errorf("read run of workspace %s: %w", key, err)
	case !t.State.Ended() || s.busy(t.ID):
		return k, false, nil
	}
	if k = s.keeping(t); s.opts.Clock.Now().Before(k.until) {
		return k, true, nil
	}
	gone, err := s.removeWorkspace(ctx, key, func(n *KeptWorkspaces) { n.Expired++ })
	return k, !gone, err
}

// busy reports that an execution of the run takes a place here.
func (s *supervisor) busy(run task.ID) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range s.taken {
		if p.run == run {
			return true
		}
	}
	return false
}

// makeRoom removes the first of list until the rest is within the bounds, and
// returns the rest.
func (s *supervisor) makeRoom(ctx context.Context, list []kept) ([]kept, error) {
	var stay []kept
	for i, k := range list {
		over := s.opts.MaxKept != NoLimit && len(list)-i+len(stay) > s.opts.MaxKept
		full := !over && s.diskFull()
		if !over && !full {
			return append(stay, list[i:]...), nil
		}
		t, err := s.host.Task(ctx, task.ID(k.key)) // a message may have taken it on
		if err != nil && !errors.Is(err, task.ErrNotFound) {
			return append(stay, list[i:]...), fmt.Errorf("read run of workspace %s: %w", k.key, err)
		}
		if err == nil && (!t.State.Ended() || s.busy(t.ID)) {
			continue
		}
		count := func(n *KeptWorkspaces) { n.Crowded++ }
		if full {
			count = func(n *KeptWorkspaces) { n.Squeezed++ }
		}
		gone, err := s.removeWorkspace(ctx, k.key, count)
		if err != nil {
			return append(stay, list[i:]...), err
		}
		if !gone {
			stay = append(stay, k)
			continue
		}
		s.opts.Logger.Info("a kept workspace gave way", zap.String("task_id", k.key), zap.Bool("failed", k.retained),
			zap.Bool("disk_full", full), zap.Time("was_kept_until", k.until))
	}
	return stay, nil
}

// removeWorkspace removes one and counts it, unless something works in it.
func (s *supervisor) removeWorkspace(ctx context.Context, key string, count func(*KeptWorkspaces)) (gone bool, err error) {
	err = s.ex.RemoveWorkspace(ctx, key)
	if errors.Is(err, executor.ErrInUse) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("remove workspace %s: %w", key, err)
	}
	s.mu.Lock()
	count(&s.kept)
	s.mu.Unlock()
	return true, nil
}

// diskFull reports that less is free than is to be. What cannot be known does
// not count.
func (s *supervisor) diskFull() bool {
	if s.opts.FreeDisk == nil || s.opts.MinFreeDisk < 0 {
		return false
	}
	free, err := s.opts.FreeDisk()
	if err != nil {
		s.opts.Logger.Warn("read how much of the disk is free", zap.Error(err))
		return false
	}
	return free < s.opts.MinFreeDisk
}

// note keeps how many workspaces there are, and tells who asks for Info.
func (s *supervisor) note(now KeptWorkspaces) {
	s.mu.Lock()
	changed := s.kept.Idle != now.Idle || s.kept.Retained != now.Retained
	s.kept.Idle, s.kept.Retained = now.Idle, now.Retained
	s.mu.Unlock()
	if changed {
		s.host.Changed()
	}
}

// crowd asks for a look at what is kept when an execution that has just left may
// have left a workspace too many.
func (s *supervisor) crowd() {
	s.mu.Lock()
	s.left++
	over := s.opts.MaxKept != NoLimit && s.kept.Idle+s.kept.Retained+s.left > s.opts.MaxKept
	s.mu.Unlock()
	if over || s.diskFull() {
		s.askForRoom()
	}
}

// askForRoom wakes the sweep.
func (s *supervisor) askForRoom() {
	select {
	case s.crowded <- struct{}{}:
	default:
	}
}

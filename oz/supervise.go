package oz

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/oz-platform/cloudagents/executor"
	"github.com/oz-platform/cloudagents/internal/crashpoint"
	"github.com/oz-platform/cloudagents/task"
)

const (
	// cleanUpTimeout bounds what is done for a sandbox after it has ended or
	// the worker was told to stop, beyond StopGrace.
	cleanUpTimeout = 30 * time.Second

	// firstRenewal is when the lease of an execution is first renewed for its
	// runner, while its sandbox is made. It is well below the default lease, and
	// later than most sandboxes take.
	firstRenewal = 5 * time.Second

	// insistInterval is how soon a report to the platform is tried again.
	insistInterval = time.Second

	// maxOutputTail bounds how much of a failed runner's output is shown, in bytes.
	maxOutputTail = 4 << 10
)

// carryOut starts the sandbox of an assignment and supervises it to its end.
func (s *supervisor) carryOut(ctx context.Context, a Assignment) {
	e := task.Execution{ID: a.Execution, TaskID: a.Task.ID}
	p := s.place(e.ID)
	if err := s.host.Granted(ctx, e); err != nil {
		s.log(e).Info("the offer was taken back", zap.Error(err))
		s.leave(e.ID)
		return
	}
	sandbox, err := s.start(ctx, a)
	if err == nil {
		s.supervise(ctx, e, p, sandbox)
		return
	}
	defer s.leave(e.ID)
	settle, cancel := s.settling(ctx)
	defer cancel()
	switch {
	case ctx.Err() != nil:
		err = s.host.Release(settle, e, "the worker is shutting down", 0)
	case errors.Is(err, executor.ErrInUse):
		err = s.host.Release(settle, e, "the workspace of the run is being removed", insistInterval)
	default:
		s.log(e).Error("start sandbox", zap.Error(err))
		err = s.host.Failed(settle, e, startFault(err), "the sandbox could not be started: "+err.Error())
	}
	if err != nil {
		s.log(e).Error("give back a run", zap.Error(err)) // its lease brings it back
	}
}

// start makes the sandbox, and logs how long that took.
func (s *supervisor) start(ctx context.Context, a Assignment) (executor.Sandbox, error) {
	stdin, err := json.Marshal(executor.Handshake{ServerURL: s.opts.ServerURL, TaskID: a.Task.ID, ExecutionID: a.Execution,
		Token: a.Token, CacheDir: s.opts.CacheDir})
	if err != nil {
		return nil, fmt.Errorf("encode handshake: %w", err)
	}
	e := task.Execution{ID: a.Execution, TaskID: a.Task.ID}
	began := s.opts.Clock.Now()
	spec, unmet := s.spec(a, stdin)
	spec.Command = append(slices.Clone(s.opts.Command), "--task-id", string(a.Task.ID))
	spec.Env = append(slices.Clone(s.opts.Env), crashpoint.Env()...)
	var announced sync.WaitGroup
	announced.Go(func() { // beside the start, which must not wait for it
		s.phase(ctx, e, &task.Phase{Name: task.PhaseSandbox, Status: task.PhaseStarted})
	})
	if s.diskFull() {
		s.askForRoom()
	}
	crashpoint.Hit(crashpoint.SandboxStart)
	starting, cancel := context.WithTimeout(ctx, s.opts.StartTimeout)
	defer cancel()
	var renewing sync.WaitGroup
	renewing.Go(func() { s.renew(starting, cancel, e) })
	sandbox, err := s.ex.Start(starting, spec)
	cancel()
	renewing.Wait()
	crashpoint.Hit(crashpoint.SandboxStarted)
	done := &task.Phase{Name: task.PhaseSandbox, Status: task.PhaseDone, DurationMS: s.opts.Clock.Now().Sub(began).Milliseconds()}
	if err != nil {
		done.Status = task.PhaseFailed
	} else {
		done.Detail = describe(sandbox, spec.Warm != nil)
	}
	announced.Wait()
	s.phase(ctx, e, done)
	if err == nil {
		s.tellPlace(ctx, a, sandbox, unmet)
	}
	return sandbox, err
}

// renew keeps the lease of an execution while its sandbox is made, until ctx
// ends. One that has ended needs no sandbox: giveUp is called.
func (s *supervisor) renew(ctx context.Context, giveUp func(), e task.Execution) {
	for next := firstRenewal; ; {
		select {
		case <-s.opts.Clock.After(next):
		case <-ctx.Done():
			return
		}
		again, err := s.host.Renew(ctx, e)
		switch {
		case errors.Is(err, task.ErrFenced):
			giveUp()
			return
		case err == nil:
			next = again
		case ctx.Err() == nil:
			s.log(e).Warn("renew the lease while the sandbox is made", zap.Error(err))
			next = insistInterval
		}
	}
}

// renewUntilBegun keeps the lease of an execution that somebody else has taken
// over, for as long as its agent waits there for its turn. From its first word
// on the agent renews by itself.
func (s *supervisor) renewUntilBegun(ctx context.Context, e task.Execution) {
	for {
		now, err := s.host.Execution(ctx, e.ID)
		if err == nil && now.State != task.ExecutionOffered && now.State != task.ExecutionClaimed {
			return
		}
		next := insistInterval
		if err == nil {
			var again time.Duration
			if again, err = s.host.Renew(ctx, e); err == nil {
				next = again
			}
		}
		if errors.Is(err, task.ErrFenced) || ctx.Err() != nil {
			return // whoever waits for the sandbox is told
		}
		if err != nil {
			s.log(e).Warn("renew the lease of what was handed over", zap.Error(err))
		}
		select {
		case <-s.opts.Clock.After(next):
		case <-ctx.Done():
			return
		}
	}
}

// tellUnmet logs what a runner profile asks for in vain.
func (s *supervisor) tellUnmet(ctx context.Context, e task.Execution, text string) {
	if text == "" {
		return
	}
	if err := s.host.Log(ctx, e, &task.Notice{Text: text}); err != nil && ctx.Err() == nil {
		s.log(e).Warn("log notice", zap.Error(err))
	}
}

// phase logs a phase for the people watching. Work does not depend on it.
func (s *supervisor) phase(ctx context.Context, e task.Execution, p *task.Phase) {
	if err := s.host.Log(ctx, e, p); err != nil && ctx.Err() == nil {
		s.log(e).Warn("log phase", zap.Error(err))
	}
}

// supervise waits until the sandbox or the execution has ended, whichever
// comes first, sees to the other, and removes the sandbox.
func (s *supervisor) supervise(ctx context.Context, e task.Execution, p *place, sandbox executor.Sandbox) {
	defer s.leave(e.ID)
	if _, ok := sandbox.(executor.Remote); ok {
		queued, begun := context.WithCancel(ctx)
		defer begun()
		s.group.Go(func() { s.renewUntilBegun(queued, e) })
	}
	waiting, stopWaiting := context.WithCancel(context.WithoutCancel(ctx))
	exits := make(chan error, 1)
	var exit executor.Exit
	go func() {
		var err error
		exit, err = sandbox.Wait(waiting)
		exits <- err
	}()
	select {
	case err := <-exits:
		stopWaiting()
		if err != nil {
			s.log(e).Error("wait for sandbox", zap.Error(err))
			exit = executor.Exit{Code: -1, Unknown: true}
		}
		if !s.reportExit(ctx, e, sandbox, exit) {
			return // the next Run finds it as it is
		}
	case <-p.ended:
		s.windDown(ctx, e, sandbox, exits)
		stopWaiting()
		<-exits
	case <-ctx.Done():
		stopWaiting()
		<-exits
		if !s.opts.StopOnShutdown || !s.shutDown(ctx, e, sandbox) {
			return
		}
	}
	s.remove(ctx, e, sandbox)
}

// windDown ends the sandbox of an execution that has ended. A runner that has
// reported its outcome is on its way out; any other must stop at once.
func (s *supervisor) windDown(ctx context.Context, e task.Execution, sandbox executor.Sandbox, exits chan error) {
	settle, cancel := s.settling(ctx)
	defer cancel()
	if now, err := s.host.Execution(settle, e.ID); err == nil && reported(now) {
		s.tellReported(settle, now, sandbox)
		select {
		case err := <-exits:
			exits <- err
			return
		case <-s.opts.Clock.After(s.opts.StopGrace):
		case <-ctx.Done():
		}
	}
	if err := sandbox.Stop(settle, s.opts.StopGrace); err != nil && !errors.Is(err, executor.ErrNotFound) {
		s.log(e).Error("stop sandbox", zap.Error(err))
	}
}

// tellReported tells a sandbox that cannot see its agent that this one is done.
func (s *supervisor) tellReported(ctx context.Context, e task.Execution, sandbox executor.Sandbox) {
	if err := executor.Reported(ctx, sandbox); err != nil {
		s.log(e).Error("tell a sandbox that its agent has reported", zap.Error(err)) // it is stopped instead
	}
}

// reported reports that the execution ended by its runner's own word.
func reported(e task.Execution) bool {
	return task.State(e.Reason).Ended() && e.Reason != string(task.StateCancelled)
}

// shutDown stops a sandbox because the worker stops, and gives its run back.
func (s *supervisor) shutDown(ctx context.Context, e task.Execution, sandbox executor.Sandbox) bool {
	settle, cancel := s.settling(ctx)
	defer cancel()
	if err := sandbox.Stop(settle, s.opts.StopGrace); err != nil {
		s.log(e).Error("stop sandbox", zap.Error(err))
		return false
	}
	if err := s.host.Release(settle, e, "the worker shut down", 0); err != nil {
		s.log(e).Error("give back a run", zap.Error(err))
		return false
	}
	return true
}

// reportExit tells the platform that a runner is gone, unless it has reported
// its outcome before. It insists until ctx ends; false means it did not succeed.
func (s *supervisor) reportExit(ctx context.Context, e task.Execution, sandbox executor.Sandbox, exit executor.Exit) bool {
	for {
		now, err := s.host.Execution(ctx, e.ID)
		if err == nil && !now.Live() {
			return true
		}
		if err == nil {
			err = s.giveBack(ctx, now, sandbox, exit)
		}
		if err == nil {
			return true
		}
		if ctx.Err() != nil {
			return false
		}
		s.log(e).Error("report a lost runner", zap.Error(err))
		select {
		case <-s.opts.Clock.After(insistInterval):
		case <-ctx.Done():
			return false
		}
	}
}

// giveBack gives back the run of a runner that is gone and has not reported. That counts as a failed attempt of the run,
// unless the sandbox was lost before the agent began: then the worker was killed while it made the sandbox, most likely,
// and the run has no part in that. The platform bounds how often it believes this, see releaseLost.
func (s *supervisor) giveBack(ctx context.Context, e task.Execution, sandbox executor.Sandbox, exit executor.Exit) error {
	if exit.Unknown && e.State == task.ExecutionClaimed {
		return s.host.Release(ctx, e, reasonLost, insistInterval)
	}
	s.showOutput(ctx, e, sandbox)
	return s.host.Failed(ctx, e, task.CodeAgentProcessFailed, describeExit(exit))
}

// describeExit says how a runner ended that reported no outcome.
func describeExit(x executor.Exit) string {
	const without = " before it reported an outcome"
	switch {
	case x.Unknown:
		return "the agent's process was lost" + without
	case x.OOM:
		return "the agent's process ran out of memory" + without
	case x.Disk:
		return "the agent's process was stopped because it wrote more than its disk limit" + without
	case x.Signal != 0:
		return fmt.Sprintf("the agent's process was killed by signal %d (%s)", x.Signal, x.Signal) + without
	}
	return fmt.Sprintf("the agent's process exited with status %d", x.Code) + without
}

// showOutput logs the end of what a failed runner printed.
func (s *supervisor) showOutput(ctx context.Context, e task.Execution, sandbox executor.Sandbox) {
	out, err := sandbox.Output(ctx)
	if err != nil {
		s.log(e).Warn("read output of a failed runner", zap.Error(err))
		return
	}
	defer func() { _ = out.Close() }()
	tail := endWriter{max: PrintedBytes}
	if _, err := io.Copy(&tail, out); err != nil {
		s.log(e).Warn("read output of a failed runner", zap.Error(err))
	}
	if err := s.host.Printed(ctx, e, tail.kept, tail.cut); err != nil {
		s.log(e).Warn("log output of a failed runner", zap.Error(err))
	}
}

// endWriter keeps the last max bytes of what is written to it.
type endWriter struct {
	max  int
	kept []byte
	cut  bool // there was more
}

// Write implements io.Writer.
func (t *endWriter) Write(p []byte) (int, error) {
	n := len(p)
	if len(p) > t.max {
		p, t.kept, t.cut = p[len(p)-t.max:], t.kept[:0], true
	}
	t.kept = append(t.kept, p...)
	if extra := len(t.kept) - t.max; extra > 0 {
		t.kept, t.cut = t.kept[:copy(t.kept, t.kept[extra:])], true
	}
	return n, nil
}

// tailWriter keeps the end of what is written to it.
type tailWriter []byte

// Write implements io.Writer.
func (t *tailWriter) Write(p []byte) (int, error) {
	*t = append(*t, p[max(0, len(p)-maxOutputTail):]...)
	if extra := len(*t) - maxOutputTail; extra > 0 {
		*t = append((*t)[:0], (*t)[extra:]...)
	}
	return len(p), nil
}

// remove records that a sandbox has ended and removes it. What fails here is
// swept later. The record comes first: while there are files somebody finds
// them and records again, but nobody looks for an execution without any.
func (s *supervisor) remove(ctx context.Context, e task.Execution, sandbox executor.Sandbox) {
	settle, cancel := s.settling(ctx)
	defer cancel()
	if err := sandbox.Stop(settle, 0); err != nil && !errors.Is(err, executor.ErrNotFound) {
		s.log(e).Error("stop sandbox", zap.Error(err))
		return
	}
	if err := s.host.SandboxGone(settle, e); err != nil {
		s.log(e).Error("record that a sandbox is gone", zap.Error(err))
		return
	}
	crashpoint.Hit(crashpoint.SandboxGone)
	if err := sandbox.Remove(settle); err != nil && !errors.Is(err, executor.ErrNotFound) {
		s.log(e).Error("remove sandbox", zap.Error(err))
	}
}

// leave frees the place of an execution.
func (s *supervisor) leave(id task.ExecutionID) {
	s.vacate(id)
	s.host.Changed()
	s.crowd()
}

// settling gives a context for what must be done even while the worker stops.
func (s *supervisor) settling(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(ctx), 2*s.opts.StopGrace+cleanUpTimeout)
}

func (s *supervisor) log(e task.Execution) *zap.Logger {
	return s.opts.Logger.With(zap.String("task_id", string(e.TaskID)), zap.String("execution_id", string(e.ID)))
}

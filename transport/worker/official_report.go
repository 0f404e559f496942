package worker

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"go.uber.org/zap"

	"github.com/oz-platform/cloudagents/task"
)

// envelopedReport is a terminal report.
type envelopedReport struct {
	kind string
	report
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

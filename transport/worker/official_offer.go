package worker

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/oz-platform/cloudagents/oz"
	"github.com/oz-platform/cloudagents/task"
)

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

package runner_test

import (
	"context"
	"strings"
	"sync"
	"testing"
	"time"

	"gotest.tools/v3/assert"
	is "gotest.tools/v3/assert/cmp"

	"github.com/oz-platform/cloudagents/environment"
	"github.com/oz-platform/cloudagents/executor/gateway/scripted"
	"github.com/oz-platform/cloudagents/executor/harness"
	"github.com/oz-platform/cloudagents/executor/runner"
	"github.com/oz-platform/cloudagents/oz"
	"github.com/oz-platform/cloudagents/task"
)

// limited submits a run with limits over the greeting.
func (r *rig) limited(l task.Limits) task.ID {
	r.t.Helper()
	return r.submit(oz.Request{Prompt: prompt, Config: task.Config{EnvironmentID: r.environment(nil), Limits: &l}})
}

// TestLimitsStopARunAndKeepItsWork: a limit blocks the run with a reason, its
// files stay, and a message lets it go on in them.
func TestLimitsStopARunAndKeepItsWork(t *testing.T) {
	tests := []struct {
		name   string
		limits task.Limits
		says   string
	}{
		{"turns", task.Limits{MaxTurns: 2}, "has used its 2 turns"},
		// The scripted model takes some 2,500 tokens for a request, and a call
		// reserves its output beforehand.
		{"tokens", task.Limits{MaxTokens: 23_000}, "budget"},
		{"money", task.Limits{MaxCostUSD: 0.265}, "budget"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, setup{script: mender()})
			run, events := r.finish(r.limited(tt.limits))
			assert.Equal(t, run.State, task.StateBlocked, "%s", describe(events))
			assert.Assert(t, is.Contains(run.Head.Status.Message, tt.says))
			assert.Assert(t, is.Contains(run.Head.Status.Message, "1 files in greeting are changed and not committed"), "it says where the work is")
			assert.Assert(t, is.Contains(run.Head.Status.Message, "follow-up"))
			text, err := readFile(r, run, "greeting.txt")
			assert.NilError(t, err)
			assert.Equal(t, text, "hello world\n")
			checkLog(t, events)
			used, _ := run.Usage.Cost()
			if l := tt.limits; l.MaxTokens > 0 {
				assert.Assert(t, run.Usage.Tokens().Total() <= l.MaxTokens)
			} else if l.MaxCostUSD > 0 {
				assert.Assert(t, used.Total() <= l.MaxCostUSD)
			}
			if tt.limits.MaxTurns == 0 {
				return // the budget is the whole run's
			}
			// Turns are counted anew for each execution.
			assert.NilError(t, r.FollowUp(t.Context(), run.ID, oz.Message{Text: "Go on."}))
			run, _ = r.finish(run.ID)
			assert.Equal(t, run.State, task.StateBlocked, run.Head.Status.Message)
			assert.NilError(t, r.FollowUp(t.Context(), run.ID, oz.Message{Text: "Go on again."}))
			run, _ = r.finish(run.ID)
			assert.Equal(t, run.State, task.StateSucceeded, run.Head.Status.Message)
			assert.Equal(t, r.git(r.remote, "show", branch+":greeting.txt"), "hello world")
		})
	}
}

// handClock stands still until it is moved.
type handClock struct {
	mu      sync.Mutex
	now     time.Time
	waiting []alarm
}

type alarm struct {
	at time.Time
	c  chan time.Time
}

func newHandClock() *handClock { return &handClock{now: time.Now()} }

func (c *handClock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *handClock) After(d time.Duration) <-chan time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	a := alarm{c.now.Add(d), make(chan time.Time, 1)}
	c.waiting = append(c.waiting, a)
	c.ring()
	return a.c
}

func (c *handClock) move(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
	c.ring()
}

// ring wakes those whose time has come. c.mu is held.
func (c *handClock) ring() {
	var later []alarm
	for _, a := range c.waiting {
		if a.at.After(c.now) {
			later = append(later, a)
		} else {
			a.c <- c.now
		}
	}
	c.waiting = later
}

// TestMinutesEndTheAgent: the command under way is stopped, with all it had
// started, the run waits for a person, and what a person has written meanwhile
// is part of the conversation that goes on.
func TestMinutesEndTheAgent(t *testing.T) {
	t.Parallel()
	clock := newHandClock()
	s := mender()
	s.Steps[3] = scripted.Step{Match: s.Steps[3].Match, ToolCalls: []scripted.ToolCall{{Name: "run_command", Input: object{"command": "setsid sleep 600 & sleep 600"}}}}
	r := newRig(t, setup{script: s, runner: func(o *runner.Options) { o.Clock = clock }})
	id := r.limited(task.Limits{MaxMinutes: 1})
	r.until(id, calls("run_command"))
	assert.NilError(t, r.FollowUp(t.Context(), id, oz.Message{Text: "Hurry up."}))
	clock.move(61 * time.Second)
	run, events := r.finish(id)
	assert.Equal(t, run.State, task.StateBlocked, "%s", describe(events))
	assert.Assert(t, is.Contains(run.Head.Status.Message, "has used its 1 minutes"))
	assert.Assert(t, is.Contains(run.Head.Status.Message, "not committed"))
	assert.Equal(t, len(processesIn(t, r.workspace(id))), 0)
	checkLog(t, events)
	delivered := 0
	for _, d := range payloads[*task.Delivered](events) {
		delivered += len(d.Inputs)
	}
	assert.Equal(t, delivered, 2)
}

// TestMinutesEndTheSetup: the limit holds before there is an agent, too.
func TestMinutesEndTheSetup(t *testing.T) {
	t.Parallel()
	clock := newHandClock()
	r := newRig(t, setup{script: mender(), runner: func(o *runner.Options) { o.Clock = clock }})
	env := r.environment(func(c *environment.Config) { c.SetupCommands = []string{"sleep 600"} })
	id := r.submit(oz.Request{Prompt: prompt, Config: task.Config{EnvironmentID: env, Limits: &task.Limits{MaxMinutes: 1}}})
	r.until(id, calls("setup_command"))
	clock.move(61 * time.Second)
	run, events := r.finish(id)
	assert.Equal(t, run.State, task.StateFailed)
	assert.Equal(t, run.Head.Status.ErrorCode, task.CodeEnvironmentSetupFailed)
	assert.Assert(t, is.Contains(run.Head.Status.Message, "limits.max_minutes"))
	phases := payloads[*task.Phase](events)
	assert.Equal(t, phases[len(phases)-1].Status, task.PhaseFailed, "the log shows what was under way")
	assert.Equal(t, len(processesIn(t, r.workspace(id))), 0)
}

// stubborn is an agent that knows no limit of its own.
type stubborn struct{ started chan struct{} }

func (s stubborn) Run(ctx context.Context, session *harness.Session) (harness.Outcome, error) {
	if err := session.Journal.Post(ctx, &task.Message{ID: "m1", Text: "I have time."}); err != nil {
		return harness.Outcome{}, err
	}
	s.started <- struct{}{}
	<-ctx.Done()
	return harness.Outcome{}, context.Cause(ctx)
}

// TestStubbornAgent: the runner stops an agent that goes on beyond its limit,
// also when a person has written in the meantime.
func TestStubbornAgent(t *testing.T) {
	t.Parallel()
	clock, agent := newHandClock(), stubborn{make(chan struct{}, 1)}
	r := newRig(t, setup{runner: func(o *runner.Options) {
		o.Clock, o.Harnesses = clock, map[string]harness.Harness{"oz": agent}
	}})
	id := r.limited(task.Limits{MaxMinutes: 1})
	<-agent.started
	assert.NilError(t, r.FollowUp(t.Context(), id, oz.Message{Text: "Are you there?"}))
	clock.move(61 * time.Second) // its own time is up; it gets a minute more
	clock.move(60 * time.Second)
	run, events := r.finish(id)
	assert.Equal(t, run.State, task.StateBlocked, "%s", describe(events))
	assert.Assert(t, is.Contains(run.Head.Status.Message, "was stopped"))
	assert.Equal(t, len(payloads[*task.Delivered](events)), 0, "the messages wait for the next execution")
}

// idle is an agent that claims success without having done anything.
type idle struct{}

func (idle) Run(_ context.Context, s *harness.Session) (harness.Outcome, error) {
	return harness.Outcome{State: task.StateSucceeded, Status: task.Status{Message: "Done."}, SeenInput: s.Task.LastInput}, nil
}

// TestSuccessNeedsATurn: an agent that has taken no turn did not succeed.
func TestSuccessNeedsATurn(t *testing.T) {
	t.Parallel()
	r := newRig(t, setup{runner: func(o *runner.Options) { o.Harnesses = map[string]harness.Harness{"oz": idle{}} }})
	run, _ := r.do(prompt, "")
	assert.Equal(t, run.State, task.StateError)
	assert.Equal(t, run.Head.Status.ErrorCode, task.CodeAgentProcessFailed)
	assert.Assert(t, strings.Contains(run.Head.Status.Message, "without having taken a turn"))
}

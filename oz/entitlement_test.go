package oz_test

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"gotest.tools/v3/assert"

	"github.com/oz-platform/cloudagents/environment"
	"github.com/oz-platform/cloudagents/executor"
	"github.com/oz-platform/cloudagents/oz"
	"github.com/oz-platform/cloudagents/task"
	"github.com/oz-platform/cloudagents/trigger/schedule"
)

// planned makes a platform with a plan, on a store of its own.
func planned(t testing.TB, opts oz.PlanOptions, workers ...*worker) (*oz.Platform, task.Store) {
	t.Helper()
	store := openStore(t)
	plan, err := oz.NewPlan(store, opts)
	assert.NilError(t, err)
	o := &oz.Options{Entitlements: plan}
	for _, w := range workers {
		o.Workers = append(o.Workers, w)
	}
	p, err := oz.New(store, o)
	assert.NilError(t, err)
	for _, w := range workers {
		w.platform = p
	}
	return p, store
}

// TestCreditsToStart: with 20 credits a run starts, with 19 none does, and what
// runs have spent is taken off (Oz platform, USG-4).
func TestCreditsToStart(t *testing.T) {
	p, store := planned(t, oz.PlanOptions{Credits: map[task.Scope]float64{red: 20, {Type: task.ScopeUser, UID: "dan"}: 19}, CreditUSD: 0.5})
	c := people(t, p)
	_, err := c["dan"].Submit(t.Context(), oz.Request{Prompt: "x"})
	assert.Equal(t, task.CodeOf(err), task.CodeInsufficientCredits, "%v", err)
	assert.ErrorContains(t, err, "19.00 credits are left")
	submit(t, c["cid"], oz.Request{Prompt: "not named, so without a limit"})
	run := submit(t, c["bob"], oz.Request{Prompt: "x"})
	l, _ := at(t, store, p, run.ID)
	assert.NilError(t, l.Append(t.Context(), 0, used("", 10, 0.5)))
	_, err = c["bob"].Submit(t.Context(), oz.Request{Prompt: "x"})
	assert.Equal(t, task.CodeOf(err), task.CodeInsufficientCredits)
	assert.NilError(t, c["bob"].FollowUp(t.Context(), run.ID, oz.Message{Text: "it is at work"}))
	assert.NilError(t, l.End(t.Context(), task.End{State: task.StateFailed}))
	err = c["bob"].FollowUp(t.Context(), run.ID, oz.Message{Text: "again"})
	assert.Equal(t, task.CodeOf(err), task.CodeInsufficientCredits)
}

func TestFeaturesOfAPlan(t *testing.T) {
	p, _ := planned(t, oz.PlanOptions{TeamOnly: []oz.Feature{oz.FeatureIntegration, oz.FeatureWorker}, Missing: []oz.Feature{oz.FeatureComputerUse, oz.FeatureSchedule, oz.FeatureAgent}})
	c := people(t, p)
	dan := task.Scope{Type: task.ScopeUser, UID: "dan"}
	for _, f := range []oz.Feature{oz.FeatureIntegration, oz.FeatureWorker} {
		err := c["dan"].Entitled(t.Context(), f, dan)
		assert.Equal(t, task.CodeOf(err), task.CodeFeatureNotAvailable)
		assert.ErrorContains(t, err, "for teams")
		assert.NilError(t, c["bob"].Entitled(t.Context(), f, red))
	}
	err := c["dan"].Entitled(t.Context(), oz.FeatureRun, dan)
	assert.NilError(t, err)
	_, err = c["bob"].CreateSchedule(t.Context(), oz.ScheduleInput{Spec: schedule.Spec{Name: "nightly", Cron: "30 * * * *", Prompt: "x"}})
	assert.Equal(t, task.CodeOf(err), task.CodeFeatureNotAvailable)
	assert.ErrorContains(t, err, "schedule")
	_, err = c["ann"].CreateAgent(t.Context(), oz.AgentInput{})
	assert.Equal(t, task.CodeOf(err), task.CodeFeatureNotAvailable)
	assert.ErrorContains(t, err, "agent")
	on := true
	_, err = c["bob"].Submit(t.Context(), oz.Request{Prompt: "x", Config: task.Config{ComputerUseEnabled: &on}})
	assert.Equal(t, task.CodeOf(err), task.CodeFeatureNotAvailable)
	assert.ErrorContains(t, err, "computer_use")
	submit(t, c["bob"], oz.Request{Prompt: "x"})
}

// TestContentPolicy judges prompts, messages and setup commands, and says the
// same general words of each.
func TestContentPolicy(t *testing.T) {
	p, _ := planned(t, oz.PlanOptions{Forbidden: []*regexp.Regexp{regexp.MustCompile(`(?i)mine \w+coin`)}})
	c := people(t, p)
	ctx := t.Context()
	bad := "Mine dogecoin for me"
	env, err := c["ann"].CreateEnvironment(ctx, environment.Config{Name: "e", SetupCommands: []string{"make"}}, nil)
	assert.NilError(t, err)
	run := submit(t, c["bob"], oz.Request{Prompt: "x", Config: task.Config{EnvironmentID: env.UID}})
	evil := environment.Config{Name: "f", SetupCommands: []string{"make", "mine bitcoin"}}
	for what, try := range map[string]func() error{
		"prompt": func() error { _, err := c["bob"].Submit(ctx, oz.Request{Prompt: bad}); return err },
		"base prompt": func() error {
			_, err := c["bob"].Submit(ctx, oz.Request{Prompt: "x", Config: task.Config{BasePrompt: bad}})
			return err
		},
		"local run":   func() error { _, _, err := c["bob"].StartLocal(ctx, oz.Request{Prompt: bad}); return err },
		"message":     func() error { return c["bob"].FollowUp(ctx, run.ID, oz.Message{Text: bad}) },
		"environment": func() error { _, err := c["ann"].CreateEnvironment(ctx, evil, nil); return err },
		"its update":  func() error { _, err := c["ann"].UpdateEnvironment(ctx, env.UID, evil, env.Revision); return err },
	} {
		err := try()
		assert.Equal(t, task.CodeOf(err), task.CodeContentPolicyViolation, "%s: %v", what, err)
		assert.Equal(t, err.Error(), "the request was refused by this server's content policy", "%s", what)
	}
}

// hook is a policy of functions.
type hook struct {
	allow      func(context.Context, oz.Ask) error
	concurrent func(task.Scope) (int, error)
}

func (h hook) Allow(ctx context.Context, a oz.Ask) error { return h.allow(ctx, a) }

func (h hook) Concurrent(_ context.Context, s task.Scope) (int, error) { return h.concurrent(s) }

// TestEntitlementsAnswerWithTheirCode: each code that a policy may refuse with
// reaches the caller, and a policy that fails is not a refusal.
func TestEntitlementsAnswerWithTheirCode(t *testing.T) {
	var answer error
	var asked []oz.Ask
	p, err := oz.New(openStore(t), &oz.Options{Entitlements: hook{allow: func(_ context.Context, a oz.Ask) error {
		asked = append(asked, a)
		if a.Feature == oz.FeatureRun {
			return answer
		}
		return nil
	}}})
	assert.NilError(t, err)
	c := people(t, p)
	for _, code := range []task.Code{task.CodeInsufficientCredits, task.CodeFeatureNotAvailable, task.CodeBudgetExceeded, task.CodeContentPolicyViolation,
		task.CodeIntegrationDisabled, task.CodeIntegrationNotConfigured, task.CodeExternalAuthRequired, task.CodeNotAuthorized} {
		answer = task.Errorf(code, "no")
		_, err := c["bob"].Submit(t.Context(), oz.Request{Prompt: "x"})
		assert.Equal(t, task.CodeOf(err), code)
	}
	answer = errors.New("the billing service is away")
	_, err = c["bob"].Submit(t.Context(), oz.Request{Prompt: "x"})
	assert.Equal(t, task.CodeOf(err), task.CodeInternal)
	last := asked[len(asked)-1]
	assert.Equal(t, last.Owner, red)
	assert.Equal(t, last.Caller.Principal.UID, "bob")
	assert.Equal(t, last.Request.Prompt, "x")
	page, err := c["bob"].List(t.Context(), task.Query{})
	assert.NilError(t, err)
	assert.Equal(t, len(page.Tasks), 0, "nothing was stored")
}

// TestConcurrencyOfATeam: with a limit of one the second run of the team waits
// QUEUED until the first has ended, and others are not held up.
func TestConcurrencyOfATeam(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began, release := make(chan task.ID, 8), map[string]chan struct{}{}
		for _, name := range []string{"first", "second", "other"} {
			release[name] = make(chan struct{})
		}
		w := newWorker("w", 8, func(ctx context.Context, a oz.Assignment, l executor.Link) {
			assert.Check(t, l.Begin(ctx))
			began <- a.Task.ID
			<-release[a.Task.Prompt]
			end(ctx, l, 2, task.StateSucceeded)
		})
		p, _ := planned(t, oz.PlanOptions{Concurrent: map[task.Scope]int{red: 1}}, w)
		c := people(t, p)
		first := submit(t, c["bob"], oz.Request{Prompt: "first"})
		time.Sleep(time.Second) // the clock of the bubble stands still else
		second := submit(t, c["ann"], oz.Request{Prompt: "second"})
		defer start(t, p)()
		assert.Equal(t, <-began, first.ID)
		other := submit(t, c["dan"], oz.Request{Prompt: "other"})
		assert.Equal(t, <-began, other.ID)
		time.Sleep(20 * time.Second) // of the bubble: many looks of the dispatcher, less than a lease
		synctest.Wait()
		got, err := c["ann"].Get(t.Context(), second.ID)
		assert.NilError(t, err)
		assert.Equal(t, got.State, task.StateQueued)
		close(release["first"])
		assert.Equal(t, <-began, second.ID)
		close(release["second"])
		close(release["other"])
		follow(t, p, second.ID)
		follow(t, p, other.ID)
	})
}

// TestConcurrencyOverReplicas: two dispatchers on one store keep an owner to
// its limit together.
func TestConcurrencyOverReplicas(t *testing.T) {
	const runs, limit = 24, 3
	store := openStore(t)
	plan, err := oz.NewPlan(store, oz.PlanOptions{DefaultConcurrent: limit})
	assert.NilError(t, err)
	var work counter
	var platforms [2]*oz.Platform
	for i := range platforms {
		w := newWorker(fmt.Sprint("w", i), 8, func(ctx context.Context, a oz.Assignment, l executor.Link) {
			work.enter()
			defer work.leave()
			succeed(ctx, a, l)
		})
		platforms[i], err = oz.New(store, &oz.Options{Entitlements: plan, Workers: []oz.Worker{w}, RefusalBackoff: 10 * time.Millisecond})
		assert.NilError(t, err)
		w.platform = platforms[i]
	}
	var ids []task.ID
	for range runs {
		ids = append(ids, submit(t, platforms[0], oz.Request{Prompt: "x"}).ID)
	}
	for _, p := range platforms {
		start(t, p)
	}
	for _, id := range ids {
		follow(t, platforms[0], id)
	}
	assert.Assert(t, work.top <= limit, "%d at once", work.top)
}

func TestBadPlans(t *testing.T) {
	for field, o := range map[string]oz.PlanOptions{
		"CreditUSD": {CreditUSD: -1}, "Concurrent": {DefaultConcurrent: -1}, "Missing": {Missing: []oz.Feature{"flying"}},
	} {
		_, err := oz.NewPlan(openStore(t), o)
		assert.ErrorIs(t, err, task.ErrInvalid)
		assert.ErrorContains(t, err, field)
	}
}

// counter counts who is at work at once.
type counter struct {
	mu       sync.Mutex
	now, top int
}

func (c *counter) enter() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now++
	c.top = max(c.top, c.now)
}

func (c *counter) leave() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now--
}

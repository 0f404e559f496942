package runner

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/oz-platform/cloudagents/executor"
	"github.com/oz-platform/cloudagents/executor/catalog"
	"github.com/oz-platform/cloudagents/executor/gateway"
	"github.com/oz-platform/cloudagents/executor/harness"
	"github.com/oz-platform/cloudagents/executor/harness/mcphost"
	"github.com/oz-platform/cloudagents/executor/harness/permit"
	"github.com/oz-platform/cloudagents/executor/harness/tools"
	"github.com/oz-platform/cloudagents/task"
)

// drive lets the agent work in the workspace and reports the outcome.
func (x *execution) drive(ctx context.Context, h harness.Harness, ws *workspace) (harness.Outcome, error) {
	prices, err := x.prices()
	if err != nil {
		return x.reportError(ctx, err)
	}
	model, fallback, err := x.model(h, prices)
	if err != nil {
		return x.reportError(ctx, err)
	}
	gw, err := x.gateway(ctx, prices, map[string][]string{model.ID: fallback})
	if err != nil {
		return x.reportError(ctx, err)
	}
	gatewayCtx, stopGateway := context.WithCancel(ctx)
	var serving sync.WaitGroup
	defer serving.Wait()
	defer stopGateway()
	ready := make(chan gateway.Endpoint, 1)
	failedToServe := make(chan error, 1)
	serving.Go(func() { failedToServe <- gw.Run(gatewayCtx, func(at gateway.Endpoint) { ready <- at }) })
	var at gateway.Endpoint
	select {
	case at = <-ready:
		model.BaseURL, model.Token = strings.TrimSuffix(at.AnthropicURL, "/anthropic"), executor.Sensitive(at.Token)
	case err := <-failedToServe:
		return x.reportError(ctx, fmt.Errorf("open the model gateway: %w", err))
	}
	if err := x.redactor.Add("OZ_GATEWAY_TOKEN", model.Token.Reveal()); err != nil {
		return x.reportError(ctx, err)
	}
	model.LastError = x.trouble.Err
	indexed, stopIndexing := x.index(ctx, ws, x.embeddings(at, prices, len(ws.repos)))
	defer stopIndexing()
	skills := x.skillsAtHand(ws)
	s := x.session(ws, model, tools.SearchCodebase(indexed), tools.Skills(skills))
	s.Skills = sessionSkills(skills)
	if s.Permit, err = permit.New(s.Task.Config.Permissions, s.Task.Where); err != nil {
		return x.reportError(ctx, err)
	}
	if s.Task.Untrusted {
		s.Permit = permit.Outward(s.Permit)
	}
	if s.Instructions, err = x.instructions(ctx, h, ws, toldSkills(h, skills)); err != nil {
		return x.reportError(ctx, err)
	}
	host, err := x.openMCP(ctx, h, s)
	if err != nil {
		return x.reportError(ctx, err)
	}
	defer func() { _ = host.Close() }() // its processes are gone in any case
	return x.agent(ctx, h, ws, s, host)
}

// agent runs the harness until the platform takes its outcome: a message that
// came meanwhile sends the agent back to work.
func (x *execution) agent(ctx context.Context, h harness.Harness, ws *workspace, s *harness.Session, host *mcphost.Host) (harness.Outcome, error) {
	for {
		done := x.journal.phase(ctx, task.PhaseAgent)
		host.Resume()
		o, err := x.runWithTools(ctx, h, s, host)
		if err != nil {
			_ = done(err, "") // what ended the work is what counts
			return x.reportError(ctx, err)
		}
		o = x.evidence(o)
		if err := done(nil, string(o.State)); err != nil {
			return o, err
		}
		learned := x.learn(ctx, s, o)
		err = x.keep(ctx, h, s, ws)
		learned()
		if err != nil {
			return x.reportError(ctx, err)
		}
		reported, err := x.report(ctx, o)
		if !errors.Is(err, task.ErrUnseenInput) {
			return reported, err
		}
	}
}

// runHarness stops an agent that does not stop at its own time limit.
func (x *execution) runHarness(ctx context.Context, h harness.Harness, s *harness.Session) (harness.Outcome, error) {
	s.Desk.Reset()
	limited, stop := x.timeLimit(ctx, limitGrace)
	defer stop()
	asking, stopAsking := x.askLimit(limited, s.Desk)
	defer stopAsking()
	o, err := h.Run(asking, s)
	switch cause := context.Cause(asking); {
	case err != nil && ctx.Err() == nil && errors.Is(cause, errTimeLimit):
		return x.outOfTime(ctx)
	case err != nil && ctx.Err() == nil && errors.Is(cause, harness.ErrAsked):
		return x.cutOff(ctx, s.Desk)
	}
	return withQuestion(o, s.Desk), err
}

// evidence turns a success without any turn of the agent into a failure.
func (x *execution) evidence(o harness.Outcome) harness.Outcome {
	if o.State != task.StateSucceeded || o.Turns > 0 {
		return o
	}
	o.State = task.StateError
	o.Status = task.Status{Message: "the agent reported success without having taken a turn", ErrorCode: task.CodeAgentProcessFailed}
	return o
}

// model resolves the run's model for the agent, and says what stands in for it.
func (x *execution) model(h harness.Harness, prices *catalog.Prices) (harness.Model, []string, error) {
	config := x.bundle.Task.Config
	wires := catalog.HarnessWires(config.HarnessType())
	if w, ok := h.(harness.Wired); ok {
		wires = w.Wires()
	}
	field, asked := config.ModelAsked()
	choice, err := x.bundle.Models.Choose(field, asked, wires)
	if err != nil {
		return harness.Model{}, nil, err
	}
	price, _ := prices.Of(choice.ID)
	return harness.Model{ID: choice.ID, Wire: choice.Provider.Wire, ContextWindow: price.ContextWindow, MaxOutput: price.MaxOutput,
		Scripted: choice.Provider.Scripted}, choice.Fallback, nil
}

// prices are the built-in ones under those that providers come with.
func (x *execution) prices() (*catalog.Prices, error) {
	all := x.opts.Prices
	for _, p := range x.bundle.Models.Providers {
		if len(p.Prices) == 0 {
			continue
		}
		own, err := catalog.NewPrices(p.Prices)
		if err != nil {
			return nil, fmt.Errorf("prices of model provider %q: %w", p.Name, err)
		}
		all = all.Merge(own)
	}
	return all, nil
}

// gateway makes the run's door to the models, with what earlier executions
// have spent already booked.
func (x *execution) gateway(ctx context.Context, prices *catalog.Prices, fallback map[string][]string) (*gateway.Gateway, error) {
	var list []gateway.Provider
	for _, p := range x.bundle.Models.Providers {
		to := gateway.Provider{Name: p.Name, Wire: gateway.Wire(p.Wire), BaseURL: p.BaseURL, APIKey: gateway.NewKey(p.APIKey.Reveal()),
			BearerAuth: p.BearerAuth, Models: p.Models, PublicOnly: p.PublicOnly}
		for _, f := range p.Fallback {
			to.Fallback = append(to.Fallback, gateway.Target{Provider: f.Provider, Model: f.Model})
		}
		list = append(list, to)
	}
	used := x.bundle.Task.Usage
	spent, _ := used.USD()
	limits := x.bundle.Limits
	return gateway.New(list, &gateway.Options{
		Budget: gateway.Budget{MaxTokens: limits.MaxTokens, MaxUSD: limits.MaxCostUSD,
			SpentTokens: used.Tokens().Total(), SpentUSD: spent},
		Reserve: x.reserve, Fallback: fallback, Disabled: x.bundle.Models.Disabled,
		Prices: prices, Clock: x.opts.Clock,
		OnCall: func(c gateway.Call) { x.recordCall(ctx, c) },
	})
}

// recordCall puts what a model call used, and what went wrong, into the log.
func (x *execution) recordCall(ctx context.Context, c gateway.Call) {
	payloads := []task.Payload{}
	if r := x.usage(c); r.Calls > 0 || r.CallID != "" {
		payloads = append(payloads, r)
	}
	if ours(c) { // what goes wrong ends nothing; a notice says it
		_ = x.journal.Post(ctx, payloads...)
		return
	}
	x.trouble.Note(c)
	for _, a := range c.Attempts {
		if a.Wait > 0 {
			payloads = append(payloads, &task.Notice{Text: fmt.Sprintf("%s answered %s to the model call; tried again after %s.",
				a.Provider, trouble(a), a.Wait.Round(time.Millisecond))})
		}
	}
	if c.Fallback && c.Class == gateway.ClassNone {
		payloads = append(payloads, &task.Notice{Text: fmt.Sprintf("The model that was asked for is away; %s answered with %s instead.", c.Provider, c.Model)})
	}
	if err := c.Err(); err != nil {
		payloads = append(payloads, &task.ErrorReported{Code: task.CodeOf(err), Message: err.Error(), Provider: c.Provider})
	}
	// The journal fails only when the execution is over; then run returns its error.
	_ = x.journal.Post(ctx, payloads...)
}

func trouble(a gateway.Attempt) string {
	if a.Status != 0 {
		return fmt.Sprintf("%d (%s)", a.Status, a.Class)
	}
	return string(a.Class)
}

// session is what the harness works with.
func (x *execution) session(ws *workspace, model harness.Model, more ...harness.ToolSet) *harness.Session {
	s := &harness.Session{
		Task: x.bundle.Task, Execution: x.bundle.Execution, Limits: x.bundle.Limits,
		Root: x.opts.Root, Dir: ws.dir, Repos: ws.repos, InPlace: x.opts.InPlace, Rebuilt: ws.rebuilt,
		AttachmentDir: ws.attachments, Env: ws.env, Model: model, Journal: x.journal, Effects: harness.NewEffects(x.journal),
		Redactor: x.redactor, Git: ws.git, Link: x.link, Desk: harness.NewDesk(x.link, x.opts.Clock), Clock: x.opts.Clock,
		StateDir: x.stateDir(),
	}
	s.Desk.Patience = x.opts.WaitPatience
	sets := append([]harness.ToolSet{tools.Standard, tools.Memory(x.bundle.Memory, x.rememberer()), tools.PullRequests(x.pullRequester(), x.bundle.GitHosts),
		tools.Notes(x.outreach())}, more...)
	s.Tools = tools.For(s, append(sets, x.opts.Tools...)...)
	return s
}

// outreach is the platform's side of notes to people; nil if it takes none.
func (x *execution) outreach() executor.Outreach {
	o, _ := x.link.(executor.Outreach)
	return o
}

// pullRequester is the platform's side of pull requests; nil if it opens none.
func (x *execution) pullRequester() executor.PullRequester {
	r, _ := x.link.(executor.PullRequester)
	return r
}

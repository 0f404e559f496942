package runner

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/oz-platform/cloudagents/executor"
	"github.com/oz-platform/cloudagents/executor/gateway"
	"github.com/oz-platform/cloudagents/executor/harness"
	"github.com/oz-platform/cloudagents/executor/harness/tools"
	"github.com/oz-platform/cloudagents/task"
)

// autoModel stands for the platform's default model.
const autoModel = "auto"

// drive lets the agent work in the workspace and reports the outcome.
func (x *execution) drive(ctx context.Context, h harness.Harness, ws *workspace) (harness.Outcome, error) {
	model, providers, err := x.model()
	if err != nil {
		return x.reportError(ctx, err)
	}
	gw, err := x.gateway(ctx, providers)
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
	select {
	case at := <-ready:
		model.BaseURL, model.Token = strings.TrimSuffix(at.AnthropicURL, "/anthropic"), executor.Sensitive(at.Token)
	case err := <-failedToServe:
		return x.reportError(ctx, fmt.Errorf("open the model gateway: %w", err))
	}
	if err := x.redactor.Add("OZ_GATEWAY_TOKEN", model.Token.Reveal()); err != nil {
		return x.reportError(ctx, err)
	}
	session := x.session(ws, model)
	if session.Instructions, err = x.instructions(ctx, h, ws); err != nil {
		return x.reportError(ctx, err)
	}
	return x.agent(ctx, h, ws, session)
}

// agent runs the harness until the platform takes its outcome: a message that
// came meanwhile sends the agent back to work.
func (x *execution) agent(ctx context.Context, h harness.Harness, ws *workspace, s *harness.Session) (harness.Outcome, error) {
	for {
		done := x.journal.phase(ctx, task.PhaseAgent)
		o, err := x.runHarness(ctx, h, s)
		if err != nil {
			_ = done(err, "") // what ended the work is what counts
			return x.reportError(ctx, err)
		}
		o = x.evidence(o)
		if err := done(nil, string(o.State)); err != nil {
			return o, err
		}
		if err := x.keep(ctx, ws); err != nil {
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

// model resolves the run's model and finds who serves it.
func (x *execution) model() (harness.Model, []executor.ModelProvider, error) {
	models := x.bundle.Models
	id := x.bundle.Task.Config.ModelID
	if id == "" || strings.HasPrefix(id, autoModel) {
		id = models.Default
	}
	for _, p := range models.Providers {
		if serves(p, id) {
			price, _ := x.opts.Prices.Of(id)
			return harness.Model{ID: id, Wire: p.Wire, ContextWindow: price.ContextWindow, MaxOutput: price.MaxOutput, Scripted: p.Scripted}, models.Providers, nil
		}
	}
	if len(models.Providers) == 0 {
		return harness.Model{}, nil, task.Errorf(task.CodeExternalAuthRequired,
			"the server has no model provider; set ANTHROPIC_API_KEY or OPENAI_API_KEY where it runs, or configure one")
	}
	return harness.Model{}, nil, task.Invalid("config.model_id", "no configured provider serves the model %q", id)
}

// serves reports whether a provider's list has the model.
func serves(p executor.ModelProvider, id string) bool {
	return id != "" && slices.ContainsFunc(p.Models, func(pattern string) bool {
		if rest, ok := strings.CutSuffix(pattern, "*"); ok {
			return strings.HasPrefix(id, rest)
		}
		return pattern == id
	})
}

// gateway makes the run's door to the models, with what earlier executions
// have spent already booked.
func (x *execution) gateway(ctx context.Context, providers []executor.ModelProvider) (*gateway.Gateway, error) {
	list := make([]gateway.Provider, 0, len(providers))
	for _, p := range providers {
		list = append(list, gateway.Provider{Name: p.Name, Wire: gateway.Wire(p.Wire), BaseURL: p.BaseURL,
			APIKey: gateway.NewKey(p.APIKey.Reveal()), Models: p.Models})
	}
	used := x.bundle.Task.Usage
	spent, _ := used.USD()
	limits := x.bundle.Limits
	return gateway.New(list, &gateway.Options{
		Budget: gateway.Budget{MaxTokens: limits.MaxTokens, MaxUSD: limits.MaxCostUSD,
			SpentTokens: used.Tokens().Total(), SpentUSD: spent},
		Reserve: x.reserve,
		Prices:  x.opts.Prices, Clock: x.opts.Clock,
		OnCall: func(c gateway.Call) { x.recordCall(ctx, c) },
	})
}

// recordCall puts what a model call used, and what went wrong, into the log.
func (x *execution) recordCall(ctx context.Context, c gateway.Call) {
	payloads := []task.Payload{}
	if r := x.usage(c); r.Calls > 0 || r.CallID != "" {
		payloads = append(payloads, r)
	}
	for _, a := range c.Attempts {
		if a.Wait > 0 {
			payloads = append(payloads, &task.Notice{Text: fmt.Sprintf("%s answered %s to the model call; tried again after %s.",
				a.Provider, trouble(a), a.Wait.Round(time.Millisecond))})
		}
	}
	if err := c.Err(); err != nil {
		payloads = append(payloads, &task.ErrorReported{Code: task.CodeOf(err), Message: err.Error()})
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
func (x *execution) session(ws *workspace, model harness.Model) *harness.Session {
	s := &harness.Session{
		Task: x.bundle.Task, Execution: x.bundle.Execution, Limits: x.bundle.Limits,
		Root: x.opts.Root, Dir: ws.dir, Repos: ws.repos, Rebuilt: ws.rebuilt,
		AttachmentDir: ws.attachments, Env: ws.env, Model: model, Journal: x.journal, Effects: harness.NewEffects(x.journal),
		Redactor: x.redactor, Git: ws.git, Link: x.link, Desk: harness.NewDesk(x.link, x.opts.Clock), Clock: x.opts.Clock,
	}
	s.Tools = tools.For(s, append([]harness.ToolSet{tools.Standard}, x.opts.Tools...)...)
	return s
}

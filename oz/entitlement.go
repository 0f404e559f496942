package oz

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/oz-platform/cloudagents/environment"
	"github.com/oz-platform/cloudagents/oz/access"
	"github.com/oz-platform/cloudagents/task"
)

// Feature is something that an operator may sell, switch off or watch over.
type Feature string

// The features that Entitlements are asked about.
const (
	// FeatureRun is to start a run, or to resume one that has ended: the place
	// for credits. Ask.Request has what is asked for when a run is started.
	FeatureRun Feature = "run"
	// FeaturePrompt and FeatureSetup are the words that an agent and a shell
	// will get, in Ask.Text: the place for a content policy.
	FeaturePrompt Feature = "prompt"
	FeatureSetup  Feature = "setup"
	// FeatureIntegration is to connect a service such as Slack, FeatureWorker
	// to connect a worker of one's own.
	FeatureIntegration Feature = "integration"
	FeatureWorker      Feature = "worker"
	// FeatureSchedule, FeatureAgent and FeatureComputerUse are to make a
	// schedule or an agent identity, and to let a run use a screen.
	FeatureSchedule    Feature = "schedule"
	FeatureWebhook     Feature = "webhook" // to make one
	FeatureAgent       Feature = "agent"
	FeatureComputerUse Feature = "computer_use"
)

// Ask is what Entitlements judge.
type Ask struct {
	Feature Feature
	Caller  access.Caller // who wants it
	Owner   task.Scope    // whose it will be
	Request *Request      // of FeatureRun; nil when a run is resumed
	Text    []string      // of FeaturePrompt and FeatureSetup
}

// Entitlements decide what callers may have beyond what the access table says:
// by credits, plan, content or load. They are asked after the access table,
// and whoever asks waits for them. Safe for concurrent use.
type Entitlements interface {
	// Allow judges one wish: nil, or why not. A *task.Error is answered as it
	// is; its code should be task.CodeInsufficientCredits,
	// task.CodeFeatureNotAvailable, task.CodeBudgetExceeded,
	// task.CodeContentPolicyViolation, task.CodeIntegrationDisabled,
	// task.CodeIntegrationNotConfigured or task.CodeExternalAuthRequired. Any
	// other error is task.CodeContentPolicyViolation with a general message
	// for FeaturePrompt and FeatureSetup, and task.CodeInternal else.
	Allow(ctx context.Context, a Ask) error

	// Concurrent is how many runs of an owner may be at work at once, over all
	// workers; the others wait QUEUED. 0 is no limit.
	Concurrent(ctx context.Context, owner task.Scope) (int, error)
}

// Entitled asks the operator's Entitlements whether the client's caller may
// have a feature for an owner. Without any, everything is allowed. It is for
// programs that build such a feature on the platform.
func (c *Client) Entitled(ctx context.Context, f Feature, owner task.Scope) error {
	return c.entitled(ctx, Ask{Feature: f, Owner: owner})
}

func (c *Client) entitled(ctx context.Context, a Ask) error {
	if c.p.opts.Entitlements == nil {
		return nil
	}
	a.Caller = c.caller
	err := c.p.opts.Entitlements.Allow(ctx, a)
	if a.Feature == FeaturePrompt || a.Feature == FeatureSetup {
		return contentRefused(ctx, err)
	}
	return err
}

// contentRefused gives a refusal by content general words, unless it has a
// code: whoever tries to get around a policy must not learn how it works.
func contentRefused(ctx context.Context, err error) error {
	var known *task.Error
	if err == nil || errors.As(err, &known) || ctx.Err() != nil {
		return err
	}
	return &task.Error{Code: task.CodeContentPolicyViolation, Message: "the request was refused by this server's content policy", Err: err}
}

// entitledToRun judges all that a new run wants.
func (c *Client) entitledToRun(ctx context.Context, r Request, spec task.Spec) error {
	if c.p.opts.Entitlements == nil {
		return nil
	}
	asks := []Ask{
		{Feature: FeaturePrompt, Text: words(r.Prompt, r.Title, spec.Config.BasePrompt)},
		{Feature: FeatureRun, Request: &r},
	}
	var env environment.Config
	if len(spec.Environment) > 0 {
		if err := json.Unmarshal(spec.Environment, &env); err != nil {
			return fmt.Errorf("decode environment: %w", err)
		}
	}
	if len(env.SetupCommands) > 0 {
		asks = append(asks, Ask{Feature: FeatureSetup, Text: env.SetupCommands})
	}
	if on := r.Config.ComputerUseEnabled; on != nil && *on {
		asks = append(asks, Ask{Feature: FeatureComputerUse})
	}
	for _, a := range asks {
		a.Owner = spec.Owner
		if err := c.entitled(ctx, a); err != nil {
			return err
		}
	}
	return nil
}

// entitledToSteer judges a message to a run.
func (c *Client) entitledToSteer(ctx context.Context, t task.Task, m Message) error {
	if text := words(m.Text); len(text) > 0 {
		if err := c.entitled(ctx, Ask{Feature: FeaturePrompt, Owner: t.Owner, Text: text}); err != nil {
			return err
		}
	}
	if !t.State.Ended() { // it steers work that is under way
		return nil
	}
	return c.entitled(ctx, Ask{Feature: FeatureRun, Owner: t.Owner})
}

// entitledToSetup judges the commands of an environment.
func (c *Client) entitledToSetup(ctx context.Context, owner task.Scope, cfg environment.Config) error {
	if len(cfg.SetupCommands) == 0 {
		return nil
	}
	return c.entitled(ctx, Ask{Feature: FeatureSetup, Owner: owner, Text: cfg.SetupCommands})
}

// words are the texts that say something.
func words(texts ...string) (out []string) {
	for _, t := range texts {
		if strings.TrimSpace(t) != "" {
			out = append(out, t)
		}
	}
	return out
}

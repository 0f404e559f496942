package ozagent

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/oz-platform/cloudagents/executor/harness"
	"github.com/oz-platform/cloudagents/task"
)

// Options holds what a Harness can do without. The zero value is ready to use.
type Options struct {
	// CommandTimeout is how long a command may run that asks for no other
	// limit. Default 2 min.
	CommandTimeout time.Duration
	// MaxCommandTimeout is the longest limit a command may ask for. Default 30 min.
	MaxCommandTimeout time.Duration
	// TurnAttempts is how often one turn is tried whose answer broke off.
	// What fails before its first byte is retried by the gateway. Default 4.
	TurnAttempts int
	// RetryPause is the pause before the second try of a turn; each following
	// one is twice as long. Default 1 s.
	RetryPause time.Duration
	// ContextWindow is assumed of models that do not say, in tokens. Default 128,000.
	ContextWindow int64
	// MaxOutput is assumed of models that do not say, in tokens, and bounds
	// what is asked of those that do. Default 16,000.
	MaxOutput int64
}

func (o *Options) withDefaults() Options {
	if o == nil {
		o = &Options{}
	}
	return Options{
		CommandTimeout:    cmp.Or(o.CommandTimeout, 2*time.Minute),
		MaxCommandTimeout: cmp.Or(o.MaxCommandTimeout, 30*time.Minute),
		TurnAttempts:      cmp.Or(o.TurnAttempts, 4),
		RetryPause:        cmp.Or(o.RetryPause, time.Second),
		ContextWindow:     cmp.Or(o.ContextWindow, 128_000),
		MaxOutput:         cmp.Or(o.MaxOutput, 16_000),
	}
}

// Harness drives the built-in agent. Make one with New. Safe for concurrent use.
type Harness struct{ opts Options }

var _ harness.ToolUser = (*Harness)(nil)

// UsesTools implements harness.ToolUser.
func (*Harness) UsesTools() {}

// New returns the built-in agent. opts may be nil.
func New(opts *Options) *Harness { return &Harness{opts: opts.withDefaults()} }

// errTimeLimit is the cause of a context that the run's time limit ended.
var errTimeLimit = errors.New("the run's time limit is reached")

// Run implements harness.Harness.
func (h *Harness) Run(ctx context.Context, s *harness.Session) (harness.Outcome, error) {
	a, err := newAgent(h.opts, s)
	if err != nil {
		return harness.Outcome{}, err
	}
	defer a.close()
	limited, cancel := a.timeLimit(ctx)
	defer cancel()
	end, err := a.work(limited)
	if errors.Is(err, errTimeLimit) || (err != nil && ctx.Err() == nil && errors.Is(context.Cause(limited), errTimeLimit)) {
		end, err = a.outOfTime(ctx)
	}
	if err != nil {
		if ctx.Err() != nil {
			return harness.Outcome{}, context.Cause(ctx)
		}
		return harness.Outcome{}, err
	}
	return harness.Outcome{State: end.state, Status: end.status, Turns: a.conv.turns, SeenInput: a.conv.seen}, nil
}

// agent is one Run.
type agent struct {
	opts  Options
	s     *harness.Session
	model model
	conv  *conversation
	files *workspace
	tools toolbox
	procs *processes

	compacted int // compactions since the last turn

	prompt     string // the system prompt, once made
	promptMode task.Mode

	// told are the directories whose rules the conversation has.
	told map[string]bool
}

func newAgent(opts Options, s *harness.Session) (*agent, error) {
	a := &agent{opts: opts, s: s, conv: newConversation(s.Journal, s.Execution.ID, s.Task.Mode)}
	a.conv.attachments = s.AttachmentDir
	switch s.Model.Wire {
	case wireAnthropic:
		a.model = newAnthropic(s.Model)
	case wireOpenAI:
		a.model = newOpenAI(s.Model)
	default:
		return nil, fmt.Errorf("model %s speaks %q; the built-in agent knows %q and %q", s.Model.ID, s.Model.Wire, wireAnthropic, wireOpenAI)
	}
	files, err := openWorkspace(s)
	if err != nil {
		return nil, fmt.Errorf("open the workspace: %w", err)
	}
	a.files = files
	a.procs = newProcesses(s)
	a.tools = newToolbox(s.Tools)
	return a, nil
}

func (a *agent) close() {
	a.procs.stopAll()
	a.files.close()
}

// timeLimit ends the context when the execution has used its minutes.
func (a *agent) timeLimit(ctx context.Context) (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	limit := a.s.Limits.MaxRuntime()
	if limit <= 0 {
		return ctx, func() { cancel(nil) }
	}
	if begun := a.s.Execution.BegunAt; !begun.IsZero() {
		limit = max(0, limit-a.s.Clock.Now().Sub(begun))
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		select {
		case <-a.s.Clock.After(limit):
			cancel(errTimeLimit)
		case <-ctx.Done():
		}
	}()
	return ctx, func() { cancel(nil); <-done }
}

// outOfTime ends the run at its time limit. What was under way was cut off.
func (a *agent) outOfTime(ctx context.Context) (end, error) {
	if err := a.flush(ctx); err != nil {
		return end{}, err
	}
	if err := a.conv.catchUp(ctx); err != nil {
		return end{}, err
	}
	if err := a.settleCutOff(ctx, stoppedByTime); err != nil {
		return end{}, err
	}
	// What a person has said meanwhile is not lost: the next execution's first
	// request to the model has it.
	if err := a.deliver(ctx); err != nil {
		return end{}, err
	}
	reason := fmt.Sprintf("The run has used its %d minutes.", a.s.Limits.MaxMinutes)
	return a.blocked(ctx, reason)
}

// post queues events for the log.
func (a *agent) post(ctx context.Context, payloads ...task.Payload) error {
	return a.s.Journal.Post(ctx, payloads...)
}

// flush makes what was posted durable.
func (a *agent) flush(ctx context.Context) error { return a.s.Journal.Flush(ctx) }

// record posts events and makes them durable and part of the conversation.
func (a *agent) record(ctx context.Context, payloads ...task.Payload) error {
	if err := a.post(ctx, payloads...); err != nil {
		return err
	}
	if err := a.flush(ctx); err != nil {
		return err
	}
	return a.conv.catchUp(ctx)
}

// tell says something to the model, in the log.
func (a *agent) tell(ctx context.Context, text string) error {
	return a.record(ctx, &task.Notice{Text: toAgent + text})
}

package cliagent

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/oz-platform/cloudagents/executor/harness"
	"github.com/oz-platform/cloudagents/internal/crashpoint"
	"github.com/oz-platform/cloudagents/task"
)

// Options holds what a Harness can do without. The zero value is ready to use.
type Options struct {
	// Path is the program. Default: looked for in the PATH of the session's
	// environment, then in Cache.
	Path string
	// Version is the one that must be there; another one is refused. Default:
	// the one that the environment names in OZ_CLAUDE_VERSION, or the like of
	// another program, else any.
	Version string
	// Cache is a directory with programs by name and version, as
	// Cache/claude/2.1.330/claude. Default: the environment's OZ_HARNESS_DIR.
	Cache string
	// Install fetches a missing program from npm into Cache, or oz-harnesses in
	// the user's cache directory. It needs npm and tar in the environment.
	// Default: a missing program is an error, unless OZ_HARNESS_INSTALL is 1 in
	// the environment.
	Install bool
	// IdleTimeout is how long the program may print nothing while no tool
	// call is under way: the model's longest answer, with its retries.
	// Default 15 min.
	IdleTimeout time.Duration
	// ToolTimeout is that time while a call is under way. Default 2 h.
	ToolTimeout time.Duration
	// StopGrace is how long the program may take to end after an interrupt,
	// before it is killed. Default 2 s.
	StopGrace time.Duration
	// SteerPatience is how long a message waits for the end of a tool call
	// before an agent is interrupted that does not read while it works.
	// Default 20 s.
	SteerPatience time.Duration
	// Poll is how often the log is looked through for messages. Default 2 s.
	Poll time.Duration
	// MaxLineBytes bounds one record; a longer one is left out with a notice.
	// Default 16 MiB.
	MaxLineBytes int
}

func (o *Options) withDefaults() Options {
	if o == nil {
		o = &Options{}
	}
	out := *o
	out.IdleTimeout = cmp.Or(out.IdleTimeout, 15*time.Minute)
	out.ToolTimeout = cmp.Or(out.ToolTimeout, 2*time.Hour)
	out.StopGrace = cmp.Or(out.StopGrace, 2*time.Second)
	out.SteerPatience = cmp.Or(out.SteerPatience, 20*time.Second)
	out.Poll = cmp.Or(out.Poll, 2*time.Second)
	out.MaxLineBytes = cmp.Or(out.MaxLineBytes, 16<<20)
	return out
}

// Harness drives one third party's agent. Make one with New. Safe for
// concurrent use.
type Harness struct {
	agent    Agent
	opts     Options
	programs programs
}

var (
	_ harness.Harness = (*Harness)(nil)
	_ harness.Wired   = (*Harness)(nil)

	_ harness.SkillTaker    = (*Harness)(nil)
	_ harness.SessionKeeper = (*Harness)(nil)
)

// New returns a harness for an agent. opts may be nil.
func New(a Agent, opts *Options) *Harness {
	return &Harness{agent: a, opts: opts.withDefaults(), programs: programs{known: map[string]found{}}}
}

// Wires implements harness.Wired.
func (h *Harness) Wires() []string { return h.agent.Wires() }

// ReadsRules implements harness.RuleReader: it is the agent's, if that is one.
func (h *Harness) ReadsRules() []string {
	if r, ok := h.agent.(harness.RuleReader); ok {
		return r.ReadsRules()
	}
	return nil
}

// TakesSkills implements harness.SkillTaker: it is the agent's, if that has
// skills.
func (h *Harness) TakesSkills() bool {
	_, ok := h.agent.(Skilled)
	return ok
}

// SessionFiles implements harness.SessionKeeper: they are the agent's, if that
// has some.
func (h *Harness) SessionFiles(ctx context.Context, s *harness.Session) ([]string, error) {
	a, ok := h.agent.(Keeps)
	if !ok || s.StateDir == "" {
		return nil, nil
	}
	if err := h.export(ctx, s); err != nil {
		return nil, err
	}
	stateDir := s.StateDir
	var out []string
	for _, pattern := range a.SessionFiles() {
		found, err := fs.Glob(os.DirFS(stateDir), path.Join(a.Program().Name, pattern))
		if err != nil {
			return nil, fmt.Errorf("look for the files of %s: %w", a.Program().Title, err)
		}
		out = append(out, found...)
	}
	return out, nil
}

// export has the program make a copy of its session, if that is its way.
func (h *Harness) export(ctx context.Context, s *harness.Session) error {
	a, ok := h.agent.(Exports)
	if !ok {
		return nil
	}
	name := a.Program().Name
	hist, err := readHistory(ctx, s, name)
	if err != nil || hist.native == "" {
		return err
	}
	program, err := h.locate(ctx, s.Env)
	if err != nil {
		return err
	}
	return a.Export(ctx, Place{Path: program.path, State: filepath.Join(s.StateDir, name), Dir: s.Dir, Env: s.Env}, hist.native)
}

// errTimeLimit is the cause of a context that the run's time limit ended.
var errTimeLimit = errors.New("the run's time limit is reached")

// Run implements harness.Harness.
func (h *Harness) Run(ctx context.Context, s *harness.Session) (harness.Outcome, error) {
	if !slices.Contains(h.agent.Wires(), s.Model.Wire) {
		return refused(task.Invalid("config.harness", "%s does not speak the %s wire, which model %s is served on: choose another model or harness",
			h.agent.Program().Title, s.Model.Wire, s.Model.ID)), nil
	}
	program, err := h.locate(ctx, s.Env)
	if err != nil {
		if ctx.Err() != nil {
			return harness.Outcome{}, context.Cause(ctx)
		}
		return refused(err), nil
	}
	r := &run{h: h, s: s, program: program}
	limited, cancel := timeLimit(ctx, s)
	defer cancel()
	e, err := r.work(limited)
	switch {
	case err == nil:
	case ctx.Err() != nil:
		return harness.Outcome{}, context.Cause(ctx)
	case errors.Is(context.Cause(limited), errTimeLimit):
		e = blocked(fmt.Sprintf("The run has used its %d minutes.", s.Limits.MaxMinutes))
		if err := r.w.settle(ctx, cutOff); err != nil {
			return harness.Outcome{}, err
		}
	default:
		return harness.Outcome{}, err
	}
	if err := s.Journal.Flush(ctx); err != nil {
		return harness.Outcome{}, err
	}
	return harness.Outcome{State: e.state, Status: e.status, Turns: r.w.turns, SeenInput: r.hist.seen}, nil
}

// timeLimit ends the context when the execution has used its minutes.
func timeLimit(ctx context.Context, s *harness.Session) (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	limit := s.Limits.MaxRuntime()
	if limit <= 0 {
		return ctx, func() { cancel(nil) }
	}
	if begun := s.Execution.BegunAt; !begun.IsZero() {
		limit = max(0, limit-s.Clock.Now().Sub(begun))
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		select {
		case <-s.Clock.After(limit):
			cancel(errTimeLimit)
		case <-ctx.Done():
		}
	}()
	return ctx, func() { cancel(nil); <-done }
}

// run is one Run.
type run struct {
	h       *Harness
	s       *harness.Session
	program found
	hist    *history
	w       *writer
	state   string // the program's home
	fresh   bool   // the native session cannot be resumed: begin a new one
	pushed  *branches
	before  error // what the model's last call had failed with when the process began
	// restarts counts the processes in a row that ended with a broken answer.
	restarts int
}

// work launches the program until there is an end.
func (r *run) work(ctx context.Context) (end, error) {
	if err := r.begin(ctx); err != nil {
		return end{}, err
	}
	drop, err := r.home()
	if err != nil {
		return end{}, err
	}
	defer drop()
	if err := r.publish(); err != nil {
		return end{}, err
	}
	if r.pushed, err = openBranches(ctx, r.s, r.state); err != nil {
		return end{}, fmt.Errorf("look at the remotes' branches: %w", err)
	}
	r.pushed.shown = r.hist.artifacts
	for first := true; ; first = false {
		fresh, err := r.deliver(ctx)
		if err != nil {
			return end{}, err
		}
		if first && len(fresh) == 0 && r.hist.done { // what it pushed last may not be in the log yet
			return succeeded(r.hist.lastWords()), r.pushed.report(ctx, r.s)
		}
		if r.turnsLeft() < 0 {
			return blocked(fmt.Sprintf("The run has used its %d turns.", r.s.Limits.MaxTurns)), nil
		}
		if len(r.hist.delivered) == 0 {
			return end{}, task.Errorf(task.CodeInternal, "the run has no message to work on")
		}
		e, over, err := r.launch(ctx, fresh, first)
		if err != nil {
			return end{}, err
		}
		if !over {
			continue
		}
		if e.state != task.StateSucceeded {
			return e, nil
		}
		waiting, err := r.s.Journal.Inputs(ctx, r.hist.seen)
		if err != nil || len(waiting) == 0 {
			return e, err
		}
	}
}

// begin folds in the log and closes what an earlier execution left.
func (r *run) begin(ctx context.Context) error {
	r.w = newWriter(r.s, 0, 0)
	r.hist = &history{}
	hist, err := readHistory(ctx, r.s, r.h.agent.Program().Name)
	if err != nil {
		return err
	}
	r.hist = hist
	r.w.turns, r.w.turnsHere = hist.turns, hist.turnsHere
	for _, c := range hist.unanswered() {
		p := &task.ToolResult{CallID: c.ID, Name: c.Name, Category: c.Category, State: task.ToolFailed, Content: outcomeUnknown}
		if err := r.s.Journal.Post(ctx, p); err != nil {
			return err
		}
		hist.result(p)
	}
	return r.s.Journal.Flush(ctx)
}

// deliver takes the messages that the agent does not have yet.
func (r *run) deliver(ctx context.Context) ([]int64, error) {
	inputs, err := r.s.Journal.Inputs(ctx, r.hist.seen)
	if err != nil {
		return nil, fmt.Errorf("read messages: %w", err)
	}
	var fresh []int64
	for _, e := range inputs {
		if in, ok := e.Payload.(*task.Input); ok && !r.hist.delivered[e.Seq] {
			r.hist.inputs[e.Seq] = in
			fresh = append(fresh, e.Seq)
		}
	}
	if len(fresh) == 0 {
		return nil, nil
	}
	if err := r.s.Journal.Post(ctx, &task.Delivered{Inputs: fresh}); err != nil {
		return nil, err
	}
	if err := r.s.Journal.Flush(ctx); err != nil {
		return nil, err
	}
	crashpoint.Hit(crashpoint.AgentPromptDelivered)
	r.hist.deliver(fresh)
	return fresh, nil
}

// opening is how a process begins.
type opening struct {
	native  string // the session to resume, or a fresh id
	resume  bool
	told    bool     // the first prompt has the whole conversation
	prompts []Prompt // never empty
}

// received asks the native session which of asked it has.
func (r *run) received(ctx context.Context, asked []Prompt) ([]bool, bool) {
	if a, ok := r.h.agent.(Recalls); ok {
		return a.Recall(ctx, Place{Path: r.program.path, State: r.state, Dir: r.s.Dir, Env: r.s.Env}, r.hist.native, asked)
	}
	return r.h.agent.Received(r.state, r.hist.native, asked)
}

// opening decides how the next process begins. fresh are messages that were
// delivered just now, first says that no process of this Run has been.
func (r *run) opening(ctx context.Context, fresh []int64, first bool) opening {
	groups := r.hist.groups
	if len(fresh) > 0 {
		groups = groups[:len(groups)-1] // known not to be there
	}
	var asked []Prompt
	if r.hist.opened != nil {
		asked = append(asked, *r.hist.opened)
	}
	for _, g := range groups {
		asked = append(asked, r.hist.prompt(r.s, g))
	}
	received, known := []bool(nil), false
	if r.hist.opened != nil && !r.fresh {
		received, known = r.received(ctx, asked)
	}
	if !known || len(received) != len(asked) || !received[0] { // what it was opened with is not there
		return r.told(fresh)
	}
	o := opening{native: r.hist.native, resume: true}
	for i, p := range asked {
		if !received[i] {
			o.prompts = append(o.prompts, p)
		}
	}
	if len(fresh) > 0 {
		o.prompts = append(o.prompts, r.hist.prompt(r.s, fresh))
	}
	if len(o.prompts) == 0 {
		o.prompts = []Prompt{said(takeUp)}
	}
	if first && r.s.Rebuilt {
		o.prompts[0].Text = workspaceRebuilt + "\n\n" + o.prompts[0].Text
	}
	return o
}

// told opens a new native session with the messages, if nothing was done yet,
// else with the whole conversation.
func (r *run) told(fresh []int64) opening {
	o := opening{native: uuid.NewString(), told: r.hist.turns > 0 || r.hist.handoff}
	p := r.hist.first(r.s, slices.Sorted(maps.Keys(r.hist.delivered)), o.told)
	if o.told {
		p.Text = r.hist.conversation()
		if len(fresh) == 0 {
			p.Text += "\n\n" + takeUp
		}
		if r.s.Rebuilt {
			p.Text = workspaceRebuilt + "\n\n" + p.Text
		}
	}
	o.prompts = []Prompt{p}
	return o
}

// joined makes one prompt of several, for an agent that takes one.
func joined(prompts []Prompt) Prompt {
	out := prompts[0]
	for _, p := range prompts[1:] {
		out.Text += "\n\n" + p.Text
		out.Inputs = append(slices.Clone(out.Inputs), p.Inputs...)
	}
	return out
}

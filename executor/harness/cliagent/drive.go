package cliagent

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/oz-platform/cloudagents/executor/harness"
	"github.com/oz-platform/cloudagents/task"
)

// leaveGrace is how long a program may take to end after its last word.
const leaveGrace = 10 * time.Second

// reason is why the program was stopped.
type reason int

const (
	running       reason = iota
	forSteering          // a person has said something
	forTurns             // the run may take no more turns
	forFailure           // the model will not answer, however often it is asked
	forIdleness          // nothing was heard for too long
	forRepetition        // it goes round in circles
	afterFinish          // it has finished, and leaves
)

// drive is one process at work.
type drive struct {
	*run
	live     Encoder // nil if the program reads nothing while it works
	p        *process
	resumed  bool
	begun    bool            // the native session is open
	count    int             // of the writer when it began
	turns    int             // likewise
	waiting  map[string]bool // prompts that were sent and not taken, by id
	since    time.Time       // when a message was seen that waits; zero for none
	finished *Finished
	why      reason
}

// launch runs the program once. over says that e is the end of the work.
func (r *run) launch(ctx context.Context, fresh []int64, first bool) (e end, over bool, err error) {
	r.s.Unlock() // what ran before was killed, maybe in the middle of a commit
	o := r.opening(ctx, fresh, first)
	r.before = nil
	r.before = r.modelError()
	dir, remove, err := scratch(r.s)
	if err != nil {
		return end{}, false, err
	}
	defer remove()
	c, err := r.h.agent.Launch(&Launch{Session: r.s, State: r.state, Scratch: dir, NativeID: o.native, Resume: o.resume,
		Prompt: joined(o.prompts), TurnsLeft: r.turnsLeft()})
	if err != nil {
		return end{}, false, fmt.Errorf("prepare %s: %w", r.h.agent.Program().Title, err)
	}
	if c.NativeID != "" && !o.resume {
		if err := r.session(ctx, c.NativeID, o); err != nil {
			return end{}, false, err
		}
	}
	parser, live := r.reader(c)
	p, err := start(r.s, r.program.path, c, live != nil, r.h.opts.MaxLineBytes, parser)
	if err != nil {
		return failed(task.CodeEnvironmentSetupFailed, fmt.Sprintf("%s cannot be started: %v", r.h.agent.Program().Title, err)), true, nil
	}
	defer p.stop(0)
	d := &drive{run: r, live: live, p: p, resumed: o.resume, count: r.w.count, turns: r.w.turns, waiting: map[string]bool{}}
	if err := d.say(o.prompts); err != nil {
		return end{}, false, err
	}
	if err := d.follow(ctx, o); err != nil {
		return end{}, false, err
	}
	return d.outcome(ctx)
}

// reader gives the parser of a process, and what encodes for it if it is live.
func (r *run) reader(c Command) (Parser, Encoder) {
	if c.Parser == nil {
		live, _ := r.h.agent.(Live)
		if live == nil {
			return r.h.agent.NewParser(), nil
		}
		return r.h.agent.NewParser(), live
	}
	if d, ok := c.Parser.(Dialogue); ok {
		return d, d
	}
	return c.Parser, nil
}

// session writes down which native session has the conversation.
func (r *run) session(ctx context.Context, id string, o opening) error {
	r.hist.native, r.hist.groups, r.fresh = id, nil, false
	r.hist.opened = &o.prompts[0]
	if err := r.s.Journal.Post(ctx, &task.AgentSession{Harness: r.h.agent.Program().Name, ID: bounded(clean(id), 200),
		Version: r.program.version, Inputs: o.prompts[0].Inputs, Told: o.told}); err != nil {
		return err
	}
	return r.s.Journal.Flush(ctx)
}

// say hands prompts to a live program.
func (d *drive) say(prompts []Prompt) error {
	if d.live == nil {
		return nil
	}
	for _, p := range prompts {
		data, err := d.live.Encode(p)
		if err != nil {
			return fmt.Errorf("encode a message: %w", err)
		}
		d.waiting[p.ID] = true
		if len(data) > 0 {
			d.p.write(data)
		}
	}
	return nil
}

// follow takes the program's events until its output ends.
func (d *drive) follow(ctx context.Context, o opening) error {
	tick := d.s.Clock.After(d.h.opts.Poll)
	for {
		select {
		case events, ok := <-d.p.events:
			if !ok {
				d.p.leave(leaveGrace, d.h.opts.StopGrace)
				<-d.p.gone
				return nil
			}
			for _, e := range events {
				if err := d.take(ctx, e, o); err != nil {
					return err
				}
			}
		case <-tick:
			tick = d.s.Clock.After(d.h.opts.Poll)
			if err := d.look(ctx); err != nil {
				return err
			}
		case <-ctx.Done():
			d.p.stop(d.h.opts.StopGrace)
			return context.Cause(ctx)
		}
	}
}

// take puts one event into the log and acts on it.
func (d *drive) take(ctx context.Context, e Event, o opening) error {
	switch e := e.(type) {
	case Began:
		return d.began(ctx, e, o)
	case Reply:
		if d.live != nil {
			d.p.write(e.Data)
		}
		return nil
	case Taken:
		delete(d.waiting, e.PromptID)
		return nil
	case Retried:
		if err := d.w.note(ctx, e.Text); err != nil {
			return err
		}
		if d.hopeless() {
			d.stop(forFailure)
		}
		return nil
	}
	if err := d.w.take(ctx, e); err != nil {
		return err
	}
	switch e := e.(type) {
	case Returned:
		return d.afterCall(ctx)
	case Finished:
		return d.finish(ctx, e)
	}
	return nil
}

func (d *drive) began(ctx context.Context, e Began, o opening) error {
	for _, name := range e.Failed {
		if err := d.w.note(ctx, fmt.Sprintf("The MCP server %s could not be started; the agent works without it.", name)); err != nil {
			return err
		}
	}
	if d.begun {
		return nil
	}
	d.begun = true
	if e.NativeID == "" || e.NativeID == d.hist.native {
		return nil
	}
	return d.session(ctx, e.NativeID, o)
}

// afterCall looks, now that a call has its result, whether the work is to end
// or a person waits.
func (d *drive) afterCall(ctx context.Context) error {
	if d.why != running || len(d.w.calls) > 0 {
		return nil
	}
	if d.turnsLeft() < 0 {
		d.stop(forTurns)
		return nil
	}
	if d.live == nil && !d.since.IsZero() {
		d.stop(forSteering)
		return nil
	}
	if d.w.loop.round >= maxRepeats {
		d.stop(forRepetition)
	}
	return nil
}

// turnsLeft is how many turns this execution may take; 0 for any number, -1
// for none.
func (r *run) turnsLeft() int {
	if m := r.s.Limits.MaxTurns; m > 0 {
		if left := m - r.w.turnsHere; left > 0 {
			return left
		}
		return -1
	}
	return 0
}

// finish takes the program's last word on what it was told. It goes on if
// there is more to tell.
func (d *drive) finish(ctx context.Context, e Finished) error {
	d.finished = &e
	if d.why != running {
		return nil
	}
	if d.live != nil && e.Failure == nil && !e.Interrupted {
		if err := d.pass(ctx); err != nil {
			return err
		}
		if len(d.waiting) > 0 {
			return nil // another group of records follows
		}
	}
	d.why = afterFinish
	d.p.closeInput()
	d.p.leave(leaveGrace, d.h.opts.StopGrace)
	return nil
}

// pass hands new messages from people to a live program.
func (d *drive) pass(ctx context.Context) error {
	fresh, err := d.deliver(ctx)
	if err != nil || len(fresh) == 0 {
		return err
	}
	d.finished, d.w.loop.round = nil, 0
	return d.say([]Prompt{d.hist.prompt(d.s, fresh)})
}

// look watches over a program at work: new messages, and silence.
func (d *drive) look(ctx context.Context) error {
	if d.why != running {
		return nil
	}
	limit := d.h.opts.IdleTimeout
	if len(d.w.calls) > 0 {
		limit = d.h.opts.ToolTimeout
	}
	now := d.s.Clock.Now()
	if now.Sub(time.Unix(0, d.p.heard.Load())) > limit {
		d.stop(forIdleness)
		return nil
	}
	if a, ok := d.h.agent.(Patient); ok && a.RetriesInSilence() && len(d.w.calls) == 0 && d.hopeless() {
		d.stop(forFailure)
		return nil
	}
	if d.live != nil {
		return d.pass(ctx)
	}
	if d.since.IsZero() {
		inputs, err := d.s.Journal.Inputs(ctx, d.hist.seen)
		if err != nil {
			return fmt.Errorf("read messages: %w", err)
		}
		if len(inputs) == 0 {
			return nil
		}
		d.since = now
	}
	if d.begun && (len(d.w.calls) == 0 || now.Sub(d.since) >= d.h.opts.SteerPatience) {
		d.stop(forSteering)
	}
	return nil
}

// stop makes the program end; its events are still taken.
func (d *drive) stop(why reason) {
	if d.why == running {
		d.why = why
		d.p.leave(0, d.h.opts.StopGrace)
	}
}

// hopeless reports that the gateway has given up on the model's calls, so that
// a program that tries again only wastes time.
func (d *drive) hopeless() bool {
	err := d.modelError()
	return err != nil && !errors.Is(err, harness.ErrBrokeOff)
}

// modelError is what the newest call to the model failed with.
func (r *run) modelError() error {
	if r.s.Model.LastError == nil {
		return nil
	}
	if err := r.s.Model.LastError(); err != r.before { // the same value, of the time before the program began
		return err
	}
	return nil
}

// outcome judges a process that is gone.
func (d *drive) outcome(ctx context.Context) (e end, over bool, err error) {
	if err := d.w.settle(ctx, cutOff); err != nil {
		return end{}, false, err
	}
	if err := d.pushed.report(ctx, d.s); err != nil {
		return end{}, false, err
	}
	title := d.h.agent.Program().Title
	switch {
	case d.why == forSteering:
		return end{}, false, nil
	case d.why == forTurns:
		return d.outOfTurns(), true, nil
	case d.why == forFailure:
		return d.modelFailed(ctx, &Failure{})
	case d.why == forIdleness:
		return failed(task.CodeInfrastructureTimeout, fmt.Sprintf("%s was stopped: nothing was heard of it for too long. It had begun %d turns.", title, d.w.turns)), true, nil
	case d.why == forRepetition:
		return stuck(fmt.Sprintf("%s is stuck: its last %d calls, the newest of %s, were made before with the same results.", title, maxRepeats, d.w.loop.name)), true, nil
	case d.unopened():
		d.fresh = true // the log has the conversation
		return end{}, false, d.w.note(ctx, fmt.Sprintf("%s could not resume its session; a new one is told the conversation.", title))
	case d.finished == nil || d.finished.Interrupted:
		return d.crashed(ctx)
	case d.finished.Failure != nil && d.finished.Failure.Turns:
		return d.outOfTurns(), true, nil
	case d.finished.Failure != nil || d.finished.Text == "" && d.modelError() != nil: // some call it well and have no answer
		if d.again() {
			return end{}, false, d.w.note(ctx, fmt.Sprintf("The model's answer broke off; %s is started again.", title))
		}
		return d.modelFailed(ctx, cmp.Or(d.finished.Failure, &Failure{}))
	}
	text := d.finished.Text
	if text == "" {
		text = d.w.words()
	}
	return succeeded(d.s.Redactor.String(bounded(clean(text), maxSummaryBytes))), true, nil
}

// unopened reports that a session could not be resumed: nothing was done in it
// and no model was asked.
func (d *drive) unopened() bool {
	if !d.resumed || d.w.count > d.count || d.modelError() != nil || d.fresh {
		return false
	}
	return d.finished == nil && !d.begun || d.finished != nil && d.finished.Failure != nil && d.finished.Failure.Status == 0
}

// maxRestarts bounds how often in a row an answer that broke off is asked for again.
const maxRestarts = 4

// again reports whether the program is to be started again because an answer
// broke off.
func (d *drive) again() bool {
	a, ok := d.h.agent.(Restarts)
	if !ok || !a.RestartsBrokenOff() || !errors.Is(d.modelError(), harness.ErrBrokeOff) {
		return false
	}
	if d.w.turns > d.turns { // it has come further meanwhile
		d.restarts = 0
	}
	d.restarts++
	return d.restarts <= maxRestarts
}

func (d *drive) outOfTurns() end {
	return blocked(fmt.Sprintf("The run has used its %d turns.", d.s.Limits.MaxTurns))
}

// crashed is the end of a program that ended without a last word.
func (d *drive) crashed(ctx context.Context) (end, bool, error) {
	if d.modelError() != nil {
		return d.modelFailed(ctx, &Failure{})
	}
	e := failed(task.CodeAgentProcessFailed, d.s.Redactor.String(fmt.Sprintf("%s ended without a result: %s", d.h.agent.Program().Title, d.p.how())))
	return e, true, d.s.Journal.Post(ctx, &task.ErrorReported{Code: e.status.ErrorCode, Message: e.status.Message, Fatal: true})
}

// modelFailed ends the run by what went wrong with the model.
func (d *drive) modelFailed(ctx context.Context, f *Failure) (end, bool, error) {
	e := d.failure(*f)
	if e.state == task.StateBlocked {
		return e, true, nil
	}
	return e, true, d.s.Journal.Post(ctx, &task.ErrorReported{Code: e.status.ErrorCode, Message: e.status.Message, Fatal: true})
}

// failure sorts what went wrong: by the gateway's word if there is one, else by
// the program's.
func (d *drive) failure(f Failure) end {
	title, model := d.h.agent.Program().Title, d.s.Model.ID
	if err := d.modelError(); err != nil {
		code := task.CodeOf(err)
		message := d.s.Redactor.String(bounded(clean(err.Error()), 1000))
		switch code {
		case task.CodeBudgetExceeded:
			e := blocked("The run has used its budget: " + message + ".")
			e.status.ErrorCode = code
			return e
		case task.CodeExternalAuthRequired:
			return failed(code, fmt.Sprintf("The provider of model %s refused the call: %s. Check the provider's key and account.", model, message))
		case task.CodeNotFound:
			return failed(task.CodeInvalidRequest, fmt.Sprintf("Model %s does not exist or is not served here: %s. Choose another model_id.", model, message))
		}
		return failed(code, fmt.Sprintf("Model %s gave no answer: %s.", model, message))
	}
	message := d.s.Redactor.String(bounded(clean(f.Message), 1000))
	return failed(codeOf(f.Status), fmt.Sprintf("%s failed: %s", title, message))
}

// codeOf is the code for a model's HTTP status, where only the program knows it.
func codeOf(status int) task.Code {
	switch {
	case status == 401 || status == 403:
		return task.CodeExternalAuthRequired
	case status == 429 || status >= 500:
		return task.CodeResourceUnavailable
	case status >= 400:
		return task.CodeInvalidRequest
	}
	return task.CodeAgentProcessFailed
}

// home makes the directory of the program's own files.
func (r *run) home() (drop func(), err error) {
	name := r.h.agent.Program().Name
	if r.s.StateDir == "" {
		dir, err := os.MkdirTemp("", "oz-"+name+"-")
		r.state = dir
		return func() { _ = os.RemoveAll(dir) }, err
	}
	r.state = filepath.Join(r.s.StateDir, name)
	return func() {}, os.MkdirAll(r.state, 0o700)
}

// end is how the work ends.
type end struct {
	state  task.State
	status task.Status
}

func succeeded(summary string) end {
	return end{task.StateSucceeded, task.Status{Message: summary}}
}

func failed(code task.Code, message string) end {
	return end{code.EndState(), task.Status{Message: message, ErrorCode: code, Retryable: code.Retryable()}}
}

func blocked(why string) end {
	return end{task.StateBlocked, task.Status{
		Message: why + " What it has changed is in the workspace, where a follow-up message lets it go on; raise the limit first if the task needs more."}}
}

// stuck is the end of an agent that only a person's word helps.
func stuck(why string) end {
	return end{task.StateBlocked, task.Status{Message: why + " What it has changed is in the workspace, where a follow-up message lets it go on: tell it what to do otherwise."}}
}

// refused is the outcome of a run whose program was not started.
func refused(err error) harness.Outcome {
	e := failed(task.CodeOf(err), err.Error())
	var known *task.Error
	if errors.As(err, &known) {
		e.status.Message = known.Error()
	}
	return harness.Outcome{State: e.state, Status: e.status}
}

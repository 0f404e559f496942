package runner

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/oz-platform/cloudagents/executor"
	"github.com/oz-platform/cloudagents/executor/catalog"
	"github.com/oz-platform/cloudagents/executor/harness"
	"github.com/oz-platform/cloudagents/internal/crashpoint"
	"github.com/oz-platform/cloudagents/secrets"
	"github.com/oz-platform/cloudagents/task"
)

// ErrInterrupted as the cause of a context's end makes Run report the run
// CANCELLED before it returns: the person at the terminal stopped it.
var ErrInterrupted = errors.New("interrupted")

// reportTimeout bounds the last words of a runner that is being stopped.
const reportTimeout = 10 * time.Second

// Options holds what a runner works with.
type Options struct {
	// Harnesses are the agents that this runner can drive, by type. Required.
	Harnesses map[string]harness.Harness
	// Tools make further tools of the platform for each session, beside those of
	// tools.Standard.
	Tools []harness.ToolSet
	// StrictMCP makes every MCP server of the run a required one: the run fails
	// when one does not start.
	StrictMCP bool
	// MCPStartTimeout bounds the start of MCP servers that do not say. Default
	// mcp.DefaultStartTimeout, 20 s.
	MCPStartTimeout time.Duration
	// Root is the workspace directory. Default: the current directory.
	Root string
	// InPlace works in Root as it is: repositories that it contains are found
	// there, and an environment is prepared only if the run names one.
	InPlace bool
	// CacheDir holds the repository mirrors that runs share; empty for none.
	CacheDir string
	// SetupTimeout bounds each setup command. Default: that of package
	// environment, 30 minutes.
	SetupTimeout time.Duration
	// NoCodeIndex makes no index of the repositories, so that agents have no
	// search_codebase. See also executor.Bundle.
	NoCodeIndex bool
	// NoSnapshot keeps nothing of the workspace at the end, so that a later
	// execution elsewhere begins from the repositories alone. What works
	// InPlace keeps nothing in any case.
	NoSnapshot bool
	// SnapshotTimeout bounds keeping the workspace. Default 2 minutes.
	SnapshotTimeout time.Duration
	// SnapshotScriptTimeout bounds the script that declares what else to keep.
	// Default 1 minute.
	SnapshotScriptTimeout time.Duration
	// Environ is the base environment of the agent's processes, before the
	// run's own variables and secrets. Default: the runner's own.
	Environ []string
	// Prices is the price table. Default: the built-in one.
	Prices *catalog.Prices
	// Clock waits and tells the time. Default: the system's.
	Clock task.Clock
	// WaitPatience is how long an agent that waits for other runs keeps its
	// sandbox; then the run lets go of it, and is taken up again when they have
	// ended. Default harness.DefaultPatience, 45 s.
	WaitPatience time.Duration
	// MaxAway is how long the platform may be out of reach before the runner
	// ends, so that none is left for ever when its platform never comes back.
	// Default 1 h.
	MaxAway time.Duration
}

func (o *Options) withDefaults() (Options, error) {
	out := *o
	if len(out.Harnesses) == 0 {
		return out, errors.New("runner: no harness given")
	}
	root, err := filepath.Abs(out.Root) // "" is the current directory
	if err != nil {
		return out, fmt.Errorf("workspace: %w", err)
	}
	out.Root = root
	if out.Environ == nil {
		out.Environ = os.Environ()
	}
	if out.WaitPatience == 0 {
		out.WaitPatience = harness.DefaultPatience
	}
	if out.MaxAway == 0 {
		out.MaxAway = time.Hour
	}
	if out.Clock == nil {
		out.Clock = task.SystemClock()
	}
	if out.Prices == nil {
		if out.Prices, err = catalog.DefaultPrices(); err != nil {
			return out, err
		}
	}
	return out, nil
}

// execution is one execution under way.
type execution struct {
	opts     Options
	link     executor.Link
	bundle   *executor.Bundle
	redactor *secrets.Redactor
	journal  *journal
	history  history
	// reserving says that model calls are reserved at the platform. The
	// heartbeat may begin or end it.
	reserving atomic.Bool
	trouble   harness.Trouble // of the model's calls
	identity  *identity       // what the agent's processes prove who they are with

	ending sync.RWMutex // held while the outcome is reported
	ended  bool         // the platform has it: nothing more may be logged
	tapes  map[*tape]bool
}

// Run carries out the execution that link is for and gives its outcome, which
// the platform has then.
func Run(ctx context.Context, link executor.Link, opts *Options) (harness.Outcome, error) {
	o, err := opts.withDefaults()
	if err != nil {
		return harness.Outcome{}, err
	}
	started := o.Clock.Now()
	bundle, err := link.Bundle(ctx)
	if err != nil {
		return harness.Outcome{}, fmt.Errorf("fetch the bundle: %w", err)
	}
	crashpoint.Hit(crashpoint.RunnerBundle)
	redactor, err := newRedactor(bundle)
	if err != nil {
		return harness.Outcome{}, err
	}
	x := &execution{opts: o, link: link, bundle: bundle, redactor: redactor,
		journal: newJournal(link, redactor, o.Clock, bundle.Execution.Appended)}
	x.reserving.Store(bundle.Reserve)
	return x.run(ctx, o.Clock.Now().Sub(started))
}

// run owns the journal and the heartbeat.
func (x *execution) run(ctx context.Context, bundleTook time.Duration) (harness.Outcome, error) {
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	// The journal outlives ctx by the time of the last report.
	journalCtx, stopJournal := context.WithCancelCause(context.WithoutCancel(ctx))
	defer stopJournal(nil)

	var loops sync.WaitGroup
	defer loops.Wait()
	loops.Go(func() {
		if err := x.journal.run(journalCtx); err != nil {
			stop(err)
		}
	})
	loops.Go(func() {
		if err := x.heartbeat(ctx); err != nil {
			stop(err)
		}
	})
	defer func() { stop(nil); x.journal.close() }()

	if err := x.link.Begin(ctx); err != nil {
		return harness.Outcome{}, fmt.Errorf("begin: %w", err)
	}
	if x.bundle.Execution.BegunAt.IsZero() { // the bundle was made before
		x.bundle.Execution.BegunAt = x.opts.Clock.Now()
	}
	if err := x.journal.Post(ctx, &task.Phase{Name: task.PhaseBundle, Status: task.PhaseDone, DurationMS: bundleTook.Milliseconds()}); err != nil {
		return harness.Outcome{}, err
	}
	outcome, err := x.work(ctx)
	if err == nil {
		return outcome, nil
	}
	return x.stopped(ctx, err, stopJournal)
}

// stopped reports what can still be reported when the work was cut off.
func (x *execution) stopped(ctx context.Context, err error, stopJournal context.CancelCauseFunc) (harness.Outcome, error) {
	cause := context.Cause(ctx)
	if cause == nil {
		cause = err
	}
	timer := time.AfterFunc(reportTimeout, func() { stopJournal(cause) })
	defer timer.Stop()
	if errors.Is(cause, task.ErrFenced) || !errors.Is(cause, ErrInterrupted) {
		stopJournal(cause)
		return harness.Outcome{}, fmt.Errorf("execution %s: %w", x.bundle.Execution.ID, cause)
	}
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), reportTimeout)
	defer cancel()
	outcome := harness.Outcome{State: task.StateCancelled, Status: task.Status{Message: "interrupted at the terminal"}}
	if err := x.end(last, outcome); err != nil {
		return outcome, err
	}
	return outcome, nil
}

// heartbeat renews the lease until ctx ends. It fails when the lease is lost.
func (x *execution) heartbeat(ctx context.Context) error {
	interval := 10 * time.Second
	for {
		// By the machine's clock: it is about a real server.
		asking, cancel := context.WithTimeout(ctx, x.opts.MaxAway)
		h, err := x.link.Heartbeat(asking)
		away := asking.Err() != nil
		cancel()
		switch {
		case ctx.Err() != nil:
			return nil
		case away:
			return fmt.Errorf("the platform has not answered for %s: %w", x.opts.MaxAway, context.DeadlineExceeded)
		case errors.Is(err, task.ErrFenced):
			return err
		case err == nil && h.IntervalMS > 0:
			interval = time.Duration(h.IntervalMS) * time.Millisecond
		}
		if err == nil {
			x.reserving.Store(h.Reserve)
		}
		// Any other error is a platform that is away: it may come back, and
		// until it gives the run to another the lease is still ours.
		select {
		case <-ctx.Done():
			return nil
		case <-x.opts.Clock.After(interval):
		}
	}
}

// work prepares, lets the agent work, and reports.
func (x *execution) work(ctx context.Context) (harness.Outcome, error) {
	h, err := x.harness()
	if err != nil {
		return x.report(ctx, failed(err))
	}
	if x.history, err = readHistory(ctx, x.journal); err != nil {
		return harness.Outcome{}, err
	}
	for _, name := range x.bundle.MissingSecrets {
		notice := fmt.Sprintf("The secret %s was asked for and does not exist; the run goes on without it.", name)
		if err := x.journal.Post(ctx, &task.Notice{Text: notice}); err != nil {
			return harness.Outcome{}, err
		}
	}
	if x.identity, err = x.openIdentity(ctx); err != nil {
		return x.reportError(ctx, err)
	}
	defer x.identity.close()
	ws, err := x.prepareInTime(ctx)
	if err != nil {
		return x.reportError(ctx, err)
	}
	defer ws.close()
	detach, err := x.attach(ctx, ws)
	if err != nil {
		return x.reportError(ctx, err)
	}
	defer detach()
	defer x.refill(ctx, ws)()
	defer x.takeOver(ctx, ws)()
	return x.drive(ctx, h, ws)
}

// harness finds the run's agent.
func (x *execution) harness() (harness.Harness, error) {
	kind := x.bundle.Task.Config.HarnessType()
	if h := x.opts.Harnesses[kind]; h != nil {
		return h, nil
	}
	return nil, task.Errorf(task.CodeFeatureNotAvailable, "this runner has no harness %q; choose another one in config.harness.type", kind)
}

// reportError reports what ended the work, unless the context did: then
// there may be nobody to report to, and run decides.
func (x *execution) reportError(ctx context.Context, err error) (harness.Outcome, error) {
	if ctx.Err() != nil || errors.Is(err, task.ErrFenced) {
		return harness.Outcome{}, err
	}
	return x.report(ctx, failed(err))
}

// failed is the outcome of a run that err ended.
func failed(err error) harness.Outcome {
	code := task.CodeOf(err)
	return harness.Outcome{State: code.EndState(), Status: task.Status{Message: err.Error(), ErrorCode: code, Retryable: code.Retryable()}}
}

// report makes the outcome known, in the log and on the run.
func (x *execution) report(ctx context.Context, o harness.Outcome) (harness.Outcome, error) {
	if err := x.end(ctx, o); err != nil {
		return o, err
	}
	return o, nil
}

// end flushes the log and ends the execution.
func (x *execution) end(ctx context.Context, o harness.Outcome) error {
	x.ending.Lock() // terminals, which log at any time, wait
	defer x.ending.Unlock()
	for k := range x.tapes {
		if err := k.end(); err != nil {
			return fmt.Errorf("log what a terminal has shown: %w", err)
		}
	}
	if err := x.journal.Flush(ctx); err != nil {
		return fmt.Errorf("flush the log: %w", err)
	}
	crashpoint.Hit(crashpoint.RunnerEnding)
	status := o.Status
	status.Message = x.redactor.String(status.Message)
	err := x.link.End(ctx, task.End{State: o.State, Status: status, SeenInput: o.SeenInput})
	if err == nil {
		x.ended = true
		crashpoint.Hit(crashpoint.RunnerEnded)
	}
	return err
}

package chaos

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/oz-platform/cloudagents/oz"
	"github.com/oz-platform/cloudagents/task"
)

// Config says what to run. The zero value is 100 faults on one server over
// SQLite.
type Config struct {
	// Seed chooses faults and stories. Default 1.
	Seed uint64
	// Faults is how many strike. Default 100.
	Faults int
	// Store keeps the runs. Default SQLite.
	Store Store
	// Replicas is how many servers share the store. Default 1.
	Replicas int
	// People is how many work at once, each with one run at a time. Default 5.
	People int
	// Pause is the mean time between two faults. Default 300 ms.
	Pause time.Duration
	// Lease is how long an agent may be silent. Default 5 s.
	Lease time.Duration
	// Patience bounds the time from the last fault until all work is done.
	// Default 3 min.
	Patience time.Duration
	// Server is the ozd to run, built with the tag crashpoints; see Build.
	// Default: one that Run builds.
	Server string
	// Dir keeps everything, and stays when a law was broken. Default: a new
	// temporary directory.
	Dir string
	// AwaitWorkspaces waits for the idle windows to pass, to see that the
	// workspaces are removed, which takes two minutes. Otherwise those whose
	// window is not over may be left.
	AwaitWorkspaces bool
	// Progress receives a line for each fault. Default: none.
	Progress io.Writer
}

func (c Config) withDefaults() Config {
	c.Seed = cmp.Or(c.Seed, 1)
	c.Faults = cmp.Or(c.Faults, 100)
	c.Replicas = cmp.Or(c.Replicas, 1)
	c.People = cmp.Or(c.People, 5)
	c.Pause = cmp.Or(c.Pause, 300*time.Millisecond)
	c.Lease = cmp.Or(c.Lease, 5*time.Second)
	c.Patience = cmp.Or(c.Patience, 3*time.Minute)
	if c.Store == nil {
		c.Store = SQLite()
	}
	if c.Progress == nil {
		c.Progress = io.Discard
	}
	return c
}

func (c Config) check() error {
	switch {
	case c.Faults < 0 || c.Replicas < 1 || c.People < 1:
		return errors.New("chaos: Faults may not be negative, Replicas and People must be at least 1")
	case c.Replicas > 1 && !c.Store.Shared():
		return errors.New("chaos: Replicas: this store serves one server only")
	case c.Lease < time.Second:
		return errors.New("chaos: Lease: must be at least 1s, or a loaded machine loses leases by itself")
	}
	return nil
}

// Run carries out c. A broken law is no error but part of the report; an error
// means that there is none.
func Run(ctx context.Context, c Config) (*Report, error) {
	c = c.withDefaults()
	if err := c.check(); err != nil {
		return nil, err
	}
	dir := c.Dir
	if dir == "" {
		var err error
		if dir, err = os.MkdirTemp("", "oz-chaos-"); err != nil {
			return nil, err
		}
	}
	r, err := newRig(ctx, c, dir)
	if err != nil {
		return nil, errors.Join(err, r.close())
	}
	report, err := r.run(ctx)
	if err = errors.Join(err, r.close()); err != nil {
		return nil, fmt.Errorf("%w\nthe servers' output is in %s", err, dir)
	}
	if len(report.Violations) > 0 {
		report.Dir = dir
		return report, report.save(filepath.Join(dir, "report.txt"))
	}
	if c.Dir == "" {
		return report, os.RemoveAll(dir)
	}
	return report, nil
}

// run is the story of the whole: work and faults, quiet, and the verdict.
func (r *rig) run(ctx context.Context) (*Report, error) {
	if err := r.start(ctx); err != nil {
		return nil, err
	}
	p := r.people()
	work, enough := context.WithCancel(ctx)
	defer enough()
	patient, giveUp := context.WithCancelCause(ctx)
	defer giveUp(nil)
	done := make(chan error, 1)
	go func() { done <- p.work(patient, work.Done()) }()

	f := newFaults(r)
	faultErr := f.strike(work, r.config.Faults)
	f.heal()
	enough()
	timer := time.AfterFunc(r.config.Patience, func() {
		giveUp(fmt.Errorf("the work was not done %s after the last fault", r.config.Patience))
	})
	defer timer.Stop()
	report := newReport(r.config)
	report.Faults = f.struck
	workErr := <-done
	if cause := context.Cause(patient); workErr != nil && cause != nil && ctx.Err() == nil {
		report.violate(LawStuck, "", "%v: %v", cause, workErr)
		workErr = nil
	}
	if err := errors.Join(faultErr, workErr); err != nil {
		return nil, err
	}
	f.countCrashPoints()
	if err := r.judge(ctx, p, report); err != nil {
		return nil, err
	}
	report.Took = time.Since(r.began)
	return report, nil
}

// judge waits for quiet, stops the servers and holds the laws against what is
// there.
func (r *rig) judge(ctx context.Context, p *people, report *Report) error {
	quiet, cancel := context.WithTimeout(ctx, r.config.Patience)
	defer cancel()
	r.awaitQuiet(quiet, report)
	p.checkFiles(quiet, report)
	if r.config.AwaitWorkspaces {
		r.awaitWorkspaces(ctx)
	}
	for _, err := range r.stopServers() {
		report.violate(LawServer, "", "%v", err)
	}
	store, err := r.config.Store.Open(ctx, r.dataDir(0))
	if err != nil {
		return fmt.Errorf("open the store for the checker: %w", err)
	}
	c := &checker{rig: r, people: p, report: report, store: store}
	return errors.Join(c.check(ctx), store.Close())
}

// idleMinutes is the idle window of the runs, the shortest that is possible.
var idleMinutes = 1

// runConfig is what all runs have in common.
func (r *rig) runConfig(s *story) task.Config {
	c := task.Config{ModelID: s.model, IdleTimeoutMinutes: &idleMinutes}
	if s.kind.clones() {
		c.EnvironmentID = r.environment
	}
	return c
}

func (r *rig) request(s *story) oz.Request {
	return oz.Request{Prompt: s.text(0), Title: s.title(), Config: r.runConfig(s),
		IdempotencyKey: fmt.Sprintf("story %d of seed %d", s.number, r.config.Seed)}
}

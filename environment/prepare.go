package environment

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/oz-platform/cloudagents/environment/git"
	"github.com/oz-platform/cloudagents/internal/proc"
	"github.com/oz-platform/cloudagents/task"
)

// PreparerOptions holds what a Preparer can do without. The zero value is
// ready to use.
type PreparerOptions struct {
	// Cache makes later runs of the same repositories quick. Default: none.
	Cache *Cache
	// Forge is the address that "owner/name" is appended to. Default
	// "https://github.com".
	Forge string
	// ParallelClones bounds the repositories cloned at once. Default 4.
	ParallelClones int
	// CommandTimeout bounds each setup command. Default 30 min (the platform's
	// limit).
	CommandTimeout time.Duration
}

// Preparer prepares workspaces. Safe for concurrent use.
type Preparer struct {
	git  *git.Git
	opts PreparerOptions
}

// NewPreparer returns a Preparer that clones with g. opts may be nil.
func NewPreparer(g *git.Git, opts *PreparerOptions) *Preparer {
	var o PreparerOptions
	if opts != nil {
		o = *opts
	}
	o.Forge = cmp.Or(o.Forge, "https://github.com")
	o.ParallelClones = cmp.Or(o.ParallelClones, 4)
	o.CommandTimeout = cmp.Or(o.CommandTimeout, 30*time.Minute)
	return &Preparer{git: g, opts: o}
}

// Options says what workspace to prepare.
type Options struct {
	// Dir is the top of the workspace; it is made if it is not there.
	Dir string
	// Config names the repositories and the setup commands.
	Config Config
	// Owner is whose run it is; the cache keeps owners apart.
	Owner task.Scope
	// WorkingDir is where the agent shall start, absolute or relative to Dir.
	// It must exist after the setup. Default: the only repository, or Dir.
	WorkingDir string
	// Env is the environment of the setup commands, as "name=value". Nil takes
	// HOME, LANG, LOGNAME, PATH, SHELL, TMPDIR, TZ and USER of this process.
	Env []string
	// Secrets are added to Env for the setup commands, by name. Their values
	// are taken out of errors, but not out of Step.Output.
	Secrets map[string]string
	// StripRemotes removes "origin" from the repositories after the setup.
	StripRemotes bool
	// Keep makes the workspace one that others start from, as a copy at the
	// same place: the next Prepare without Keep there fetches what is new, and
	// runs the setup commands again if a repository has moved, if it has
	// Secrets, or if it has a Restore. Keep goes with neither of these two.
	Keep bool
	// Restore is called for each repository that was cloned, before the setup
	// commands, to bring back what an earlier run of the same has left. It may
	// be called again when the preparation was cut off. A failure fails the
	// preparation. May be nil.
	Restore func(context.Context, Checkout) error `json:"-"`
	// Report is told of progress, one call at a time; a slow one slows the
	// preparation down. May be nil.
	Report func(Step) `json:"-"`
}

// Prepare makes the workspace of o ready, or finds that it is. See the package
// comment for what it does and how it resumes. It fails with
// task.CodeInvalidRequest if o cannot be right, with
// task.CodeEnvironmentSetupFailed if a clone, a setup command or the working
// directory does, and with the context's cause when ctx ends.
func (p *Preparer) Prepare(ctx context.Context, o Options) (Workspace, error) {
	o, err := o.normalised()
	if err != nil {
		return Workspace{}, err
	}
	ws, err := p.prepare(ctx, o)
	if err != nil && ctx.Err() != nil {
		return Workspace{}, fmt.Errorf("prepare the workspace: %w", context.Cause(ctx))
	}
	return ws, err
}

func (o Options) normalised() (Options, error) {
	if o.Dir == "" {
		return o, task.Invalid("dir", "is required: name the directory of the workspace")
	}
	if err := errors.Join(o.Config.validateRepos(), o.Config.validateCommands()); err != nil {
		return o, err
	}
	if o.Keep && (len(o.Secrets) > 0 || o.Restore != nil) {
		return o, task.Invalid("keep", "goes with neither secrets nor restore: a kept state is for others to start from")
	}
	dir, err := filepath.Abs(o.Dir)
	if err != nil {
		return o, err
	}
	o.Dir = dir
	if o.Env == nil {
		o.Env = basicEnv(os.Environ())
	}
	return o, nil
}

// basicEnv keeps what every shell needs and nothing that could be meant for
// this process alone.
func basicEnv(environ []string) []string {
	keep := []string{"HOME", "LANG", "LOGNAME", "PATH", "SHELL", "TMPDIR", "TZ", "USER"}
	env := []string{}
	for _, v := range environ {
		if name, _, _ := strings.Cut(v, "="); slices.Contains(keep, name) {
			env = append(env, v)
		}
	}
	return env
}

// preparation is one call of Prepare.
type preparation struct {
	*Preparer
	o      Options
	report *reporter
	marker *marker
	warm   bool // the repositories are those of a kept state
}

func (p *Preparer) prepare(ctx context.Context, o Options) (Workspace, error) {
	state := filepath.Join(o.Dir, stateDir)
	if err := os.MkdirAll(state, 0o700); err != nil {
		return Workspace{}, task.Errorf(task.CodeEnvironmentSetupFailed, "make the workspace: %w", err)
	}
	held, err := lock(ctx, filepath.Join(state, "lock"))
	if err != nil {
		return Workspace{}, err
	}
	defer held.unlock()
	key, err := configKey(o, p.opts.Forge)
	if err != nil {
		return Workspace{}, err
	}
	m, err := loadMarker(o.Dir, key)
	if err != nil {
		return Workspace{}, err
	}
	run := &preparation{Preparer: p, o: o, report: &reporter{report: o.Report}, marker: m}
	if m.Warm && !o.Keep {
		if err := run.fromWarm(ctx); err != nil {
			return Workspace{}, err
		}
		return run.all(ctx)
	}
	if m.Workspace != nil && run.trust(m.Workspace) {
		return *m.Workspace, isWorkingDir(m.Workspace.WorkingDir)
	}
	m.Workspace = nil
	return run.all(ctx)
}

func (r *preparation) all(ctx context.Context) (Workspace, error) {
	if r.marker.Running != "" {
		proc.KillMarked(setupVar, r.marker.Running)
	}
	staging := filepath.Join(r.o.Dir, stateDir, "tmp")
	// A clone of a killed attempt may still be writing there; this attempt
	// stages under names of its own.
	_ = os.RemoveAll(staging)
	if err := os.MkdirAll(staging, 0o700); err != nil {
		return Workspace{}, task.Errorf(task.CodeEnvironmentSetupFailed, "make the workspace: %w", err)
	}
	defer os.RemoveAll(staging)

	if err := r.dropHalfRestored(); err != nil {
		return Workspace{}, err
	}
	ws := Workspace{Dir: r.o.Dir}
	var err error
	if ws.Checkouts, err = r.cloneAll(ctx, staging); err != nil {
		return Workspace{}, err
	}
	r.remember(ws.Checkouts)
	if err := r.restore(ctx, ws.Checkouts); err != nil {
		return Workspace{}, err
	}
	if err := r.setUp(ctx, setupDir(&ws)); err != nil {
		return Workspace{}, err
	}
	if err := r.finish(ctx, &ws); err != nil {
		return Workspace{}, err
	}
	r.marker.Workspace, r.marker.Warm = &ws, r.o.Keep
	return ws, r.marker.save()
}

// restore hands the clones to Options.Restore, unless a setup command may have
// changed them since.
func (r *preparation) restore(ctx context.Context, checkouts []Checkout) error {
	if r.o.Restore == nil || r.marker.Restored || r.marker.SetupDone > 0 {
		return nil
	}
	r.marker.Restoring = true
	if err := r.marker.save(); err != nil {
		return err
	}
	for _, c := range checkouts {
		if c.Commit == "" && c.Branch == "" {
			continue // no repository
		}
		if err := r.o.Restore(ctx, c); err != nil {
			return err
		}
	}
	r.marker.Restoring, r.marker.Restored = false, true
	return r.marker.save()
}

// remember notes how the checkouts were put in place; the next save of the
// marker has it.
func (r *preparation) remember(checkouts []Checkout) {
	cloned := slices.Clone(checkouts)
	for i, c := range cloned {
		if before, ok := r.marker.cloned(c); ok && c.From == FromExisting {
			cloned[i] = before
		}
	}
	r.marker.Cloned = cloned
}

// dropHalfRestored removes the clones in which an attempt was cut off while it
// restored: git may have left locks and half a work tree. Directories that
// were there before any clone stay.
func (r *preparation) dropHalfRestored() error {
	if !r.marker.Restoring || r.marker.SetupDone > 0 {
		return nil
	}
	for _, repo := range r.o.Config.Repos {
		c, ok := r.marker.cloned(r.checkout(repo))
		if !ok || c.From == FromExisting {
			continue
		}
		if err := os.RemoveAll(c.Dir); err != nil {
			return fmt.Errorf("remove the half restored %s: %w", c.Repo, err)
		}
	}
	return nil
}

// finish does what comes after the last setup command.
func (r *preparation) finish(ctx context.Context, ws *Workspace) error {
	ws.WorkingDir = r.workingDir(ws)
	if err := isWorkingDir(ws.WorkingDir); err != nil {
		return err
	}
	if !r.o.StripRemotes {
		return nil
	}
	for _, c := range ws.Checkouts {
		if c.From == FromExisting && c.Commit == "" && c.Branch == "" {
			continue // no repository
		}
		if err := r.git.RemoveOrigin(ctx, c.Dir); err != nil {
			return task.Errorf(task.CodeEnvironmentSetupFailed, "remove the remote of %s: %w", c.Repo, err)
		}
	}
	return nil
}

// setupDir is where setup commands start, and the agent by default.
func setupDir(ws *Workspace) string {
	if len(ws.Checkouts) == 1 {
		return ws.Checkouts[0].Dir
	}
	return ws.Dir
}

// workingDir is where the agent starts.
func (r *preparation) workingDir(ws *Workspace) string {
	switch dir := r.o.WorkingDir; {
	case dir == "":
		return setupDir(ws)
	case filepath.IsAbs(dir):
		return filepath.Clean(dir)
	default:
		return filepath.Join(r.o.Dir, dir)
	}
}

// isWorkingDir fails unless dir is a directory.
func isWorkingDir(dir string) error {
	info, err := os.Stat(dir)
	if err == nil && !info.IsDir() {
		err = errors.New("is not a directory")
	}
	if err != nil {
		return task.Errorf(task.CodeEnvironmentSetupFailed,
			"working directory %s cannot be used: %w. Name a directory of the repository, or one that a setup command makes", dir, err)
	}
	return nil
}

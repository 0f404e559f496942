//go:build linux

package command

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/oz-platform/cloudagents/executor"
	"github.com/oz-platform/cloudagents/task"
)

const (
	defaultDispatchTimeout = time.Minute      // Oz worker protocol, section 10
	defaultCancelTimeout   = 10 * time.Second // section 11.1
	defaultLifetime        = 24 * time.Hour
	defaultOutputLimit     = 1 << 20
	minOutputLimit         = 4 << 10
)

// ownKeys are the variables that hold the worker's own credential: commands get the execution's, on standard input.
var ownKeys = []string{"WARP_API_KEY", "OZ_API_KEY", "OZ_BOOTSTRAP_API_KEY"}

func (o *Options) withDefaults() (Options, error) {
	if o == nil {
		o = &Options{}
	}
	r := *o
	r.DispatchTimeout = cmp.Or(r.DispatchTimeout, defaultDispatchTimeout)
	r.CancelTimeout = cmp.Or(r.CancelTimeout, defaultCancelTimeout)
	r.Lifetime = cmp.Or(r.Lifetime, defaultLifetime)
	r.OutputLimit = cmp.Or(r.OutputLimit, defaultOutputLimit)
	r.Environment = slices.Clone(r.Environment)
	if r.Inherit == nil {
		r.Inherit = slices.DeleteFunc(os.Environ(), func(v string) bool {
			name, _, _ := strings.Cut(v, "=")
			return slices.Contains(ownKeys, name)
		})
	}
	if r.Clock == nil {
		r.Clock = task.SystemClock()
	}
	if r.Logger == nil {
		r.Logger = zap.NewNop()
	}
	switch {
	case r.DispatchTimeout < 0 || r.CancelTimeout < 0 || r.Lifetime < 0:
		return r, errors.New("command executor: DispatchTimeout, CancelTimeout and Lifetime may not be negative")
	case r.OutputLimit < minOutputLimit:
		return r, fmt.Errorf("command executor: OutputLimit is %d bytes, must be at least %d", r.OutputLimit, minOutputLimit)
	}
	for i, v := range r.Environment {
		if name, _, ok := strings.Cut(v, "="); !ok || name == "" || strings.ContainsAny(name, " \t\x00") {
			return r, fmt.Errorf("command executor: Environment[%d] is not of the form NAME=value", i)
		}
	}
	return r, nil
}

// Executor hands sandboxes over by a command. See the package comment.
type Executor struct {
	root     string
	dispatch string
	opts     Options

	starting sync.Mutex // one Start or Open at a time: they take a moment only

	mu    sync.Mutex
	known map[string]*sandbox // by ID: started or opened, and not removed
}

var _ executor.Executor = (*Executor)(nil)

// New returns an Executor that runs the shell command dispatch for every sandbox and writes its journal below root,
// which is made if missing. It starts nothing. opts may be nil.
func New(root, dispatch string, opts *Options) (*Executor, error) {
	o, err := opts.withDefaults()
	if err != nil {
		return nil, err
	}
	if strings.TrimSpace(dispatch) == "" {
		return nil, errors.New("command executor: the dispatch command is empty")
	}
	if root, err = filepath.Abs(root); err != nil {
		return nil, fmt.Errorf("command executor: %w", err)
	}
	if err := os.MkdirAll(root, 0o700); err != nil {
		return nil, fmt.Errorf("command executor: %w", err)
	}
	return &Executor{root: root, dispatch: dispatch, opts: o, known: map[string]*sandbox{}}, nil
}

// Start implements executor.Executor. It returns once the dispatch command runs; Wait tells how that went.
func (e *Executor) Start(ctx context.Context, spec executor.Spec) (executor.Sandbox, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if err := spec.Validate(); err != nil {
		return nil, err
	}
	p, err := e.payload(spec)
	if err != nil {
		return nil, err
	}
	e.starting.Lock()
	defer e.starting.Unlock()
	if s, err := e.find(spec.ID); err == nil || !errors.Is(err, executor.ErrNotFound) {
		return s, err
	}
	s, err := e.start(spec, p)
	if err != nil {
		return nil, fmt.Errorf("start sandbox %s: %w", spec.ID, err)
	}
	return s, nil
}

// start writes the entry down and starts the dispatch command.
func (e *Executor) start(spec executor.Spec, p *Payload) (*sandbox, error) {
	now := e.opts.Clock.Now().Round(0)
	dir := e.dir(spec.ID)
	if err := os.RemoveAll(dir); err != nil { // an interrupted removal
		return nil, err
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		return nil, err
	}
	s := newSandbox(e, entry{ID: spec.ID, Workspace: spec.Workspace, RunID: p.RunID, State: dispatching, Owed: e.opts.CancelCommand != "",
		Deadline: now.Add(e.opts.DispatchTimeout), Expires: now.Add(e.opts.Lifetime)})
	err := errors.Join(s.entry.save(dir), syncDir(e.root))
	if err == nil {
		err = s.launch(p)
	}
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	e.remember(s)
	return s, nil
}

// Open implements executor.Executor.
func (e *Executor) Open(ctx context.Context, id string) (executor.Sandbox, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if err := executor.ValidateName("ID", id); err != nil {
		return nil, err
	}
	e.starting.Lock()
	defer e.starting.Unlock()
	s, err := e.find(id)
	if err != nil {
		return nil, fmt.Errorf("open sandbox %s: %w", id, err)
	}
	return s, nil
}

// find gives the one sandbox value of an ID. The caller holds starting.
func (e *Executor) find(id string) (*sandbox, error) {
	e.mu.Lock()
	s := e.known[id]
	e.mu.Unlock()
	if s != nil {
		return s, nil
	}
	en, err := load(e.dir(id))
	if err != nil {
		return nil, err
	}
	s = newSandbox(e, en)
	s.reopened = true
	e.remember(s)
	return s, nil
}

func (e *Executor) remember(s *sandbox) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.known[s.id] = s
}

func (e *Executor) forget(id string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	delete(e.known, id)
}

// List implements executor.Executor.
func (e *Executor) List(ctx context.Context) ([]string, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	all, err := e.entries()
	return slices.Sorted(maps.Keys(all)), err
}

// Workspaces implements executor.Executor: those are elsewhere, and nothing of them is kept here.
func (e *Executor) Workspaces(ctx context.Context) ([]string, error) { return nil, ctx.Err() }

// RemoveWorkspace implements executor.Executor. It removes nothing, since nothing is here, but says ErrInUse as
// others do.
func (e *Executor) RemoveWorkspace(ctx context.Context, key string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := executor.ValidateName("workspace", key); err != nil {
		return err
	}
	all, err := e.entries()
	if err != nil {
		return err
	}
	for id, en := range all {
		if en.Workspace == key && en.State != ended {
			return fmt.Errorf("remove workspace %s: %w by sandbox %s; stop it first", key, executor.ErrInUse, id)
		}
	}
	return nil
}

// entries reads the journal. A directory without a readable entry is in it with an empty one: what is half made or half
// removed is listed.
func (e *Executor) entries() (map[string]entry, error) {
	e.starting.Lock() // an entry that is being made is not half removed
	defer e.starting.Unlock()
	dirs, err := os.ReadDir(e.root)
	if err != nil {
		return nil, err
	}
	all := map[string]entry{}
	for _, d := range dirs {
		if executor.ValidateName("", d.Name()) != nil {
			continue
		}
		en, err := load(e.dir(d.Name()))
		if errors.Is(err, executor.ErrNotFound) {
			// Nothing ran: the entry comes before the command.
			if err := os.RemoveAll(e.dir(d.Name())); err != nil {
				return nil, err
			}
			continue
		}
		if err != nil {
			e.opts.Logger.Error("read the journal", zap.String("execution_id", d.Name()), zap.Error(err))
		}
		all[d.Name()] = en
	}
	return all, nil
}

func (e *Executor) dir(id string) string { return filepath.Join(e.root, id) }

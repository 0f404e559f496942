package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"go.uber.org/zap"

	"github.com/oz-platform/cloudagents/executor"
	"github.com/oz-platform/cloudagents/executor/command"
	"github.com/oz-platform/cloudagents/executor/hooks"
	"github.com/oz-platform/cloudagents/executor/local"
	"github.com/oz-platform/cloudagents/executor/runner"
	"github.com/oz-platform/cloudagents/internal/containers"
	"github.com/oz-platform/cloudagents/internal/keptworkspaces"
	"github.com/oz-platform/cloudagents/internal/modelenv"
	"github.com/oz-platform/cloudagents/oz"
)

// backend is where agents run.
type backend struct {
	executor executor.Executor
	// command starts the agent runner in a sandbox.
	command []string
	// prepare makes states for runs to start from; nil for none.
	prepare []string
	env     []string
	limits  executor.Limits
	// root is the directory whose disk fills.
	root string
	// contained says that agents are kept from the host's files.
	contained bool
	// isolation is what keeps agents that are processes of this host apart from
	// it, and why is the reason if nothing does.
	isolation, why string
	close          func() error
}

// openBackend makes the executor that the configuration names.
func (c *config) openBackend(ctx context.Context, env modelenv.Lookup, log *zap.Logger) (*backend, error) {
	switch c.backend {
	case backendDirect:
		return c.openDirect(env, log)
	case backendLocal:
		return c.openLocal(env)
	case backendContainerd:
		return c.openContainerd(ctx, env, log)
	case backendCommand:
		return c.openCommand(env, log)
	}
	return nil, fmt.Errorf("backend: %q cannot be used", c.backend)
}

// agentEnv are the variables of every agent (Oz worker protocol, 8.2); what the
// operator says wins.
func (c *config) agentEnv(list []variable, env modelenv.Lookup) []string {
	fixed := []string{"GIT_TERMINAL_PROMPT=0", "GH_PROMPT_DISABLED=1", "WARP_SERVER_ROOT_URL=" + c.Server}
	return append(fixed, c.environment(list, env)...)
}

// openDirect has a directory of this worker's own below the root, so that
// nothing of others there is ever touched.
func (c *config) openDirect(env modelenv.Lookup, log *zap.Logger) (*backend, error) {
	d := c.Backend.Direct
	root := filepath.Join(d.WorkspaceRoot, c.WorkerID)
	opts := &local.Options{Isolation: local.Isolation(d.Isolation), Hide: c.private(d.WorkspaceRoot), Visible: []string{c.mirrors()}}
	if d.TargetDir != "" {
		opts.Hide = c.private() // it may be around the workspaces
		opts.Visible = append(opts.Visible, d.TargetDir)
	}
	inner, err := c.openProcesses(root, opts)
	if err != nil {
		return nil, fmt.Errorf("backend.direct: %w", err)
	}
	exec, err := hooks.New(inner, filepath.Join(root, "hooks"), &hooks.Options{Setup: d.SetupCommand, Teardown: d.TeardownCommand,
		TeardownTimeout: d.TeardownTimeout, Dir: d.TargetDir, KeepWorkspaces: !c.Cleanup, Backend: backendDirect, Logger: log})
	if err != nil {
		return nil, fmt.Errorf("backend.direct: %w", err)
	}
	run, err := runnerCommand()
	if d.OzPath != "" {
		run, err = []string{d.OzPath, "agent", "run"}, nil
	}
	b := &backend{executor: exec, command: run, env: c.agentEnv(d.Environment, env), root: root, close: inner.Close}
	b.isolation, b.why = inner.Isolation()
	return b, err
}

func (c *config) openLocal(env modelenv.Lookup) (*backend, error) {
	l := c.Backend.Local
	root := filepath.Join(l.Root, c.WorkerID)
	inner, err := c.openProcesses(root, &local.Options{Cgroup: l.Cgroup, Isolation: local.Isolation(l.Isolation),
		Hide: c.private(l.Root), Visible: []string{c.mirrors()}})
	if err != nil {
		return nil, fmt.Errorf("backend.local: %w", err)
	}
	exec, err := hooks.New(inner, filepath.Join(root, "hooks"), &hooks.Options{KeepWorkspaces: !c.Cleanup, Backend: backendLocal})
	if err != nil {
		return nil, fmt.Errorf("backend.local: %w", err)
	}
	run, err := runnerCommand()
	limits := executor.Limits{Memory: int64(l.MemoryGB * (1 << 30)), CPUs: l.CPUs, Processes: l.Processes}
	b := &backend{executor: exec, command: run, env: c.agentEnv(l.Environment, env), limits: limits, root: root, close: inner.Close}
	b.isolation, b.why = inner.Isolation()
	return b, err
}

// openContainerd runs agents in containers; this binary is mounted there. They
// share no mirrors of repositories, which agents could change for each other.
func (c *config) openContainerd(ctx context.Context, env modelenv.Lookup, log *zap.Logger) (*backend, error) {
	d := c.Backend.Containerd
	root := filepath.Join(d.Root, c.WorkerID)
	exec, run, err := d.Containers.Open(ctx, root, env, log)
	if err != nil {
		return nil, fmt.Errorf("backend.containerd: %w", err)
	}
	limits := executor.Limits{Memory: int64(d.MemoryGB * (1 << 30)), CPUs: d.CPUs, Processes: d.Processes, Disk: int64(d.DiskGB * (1 << 30))}
	return &backend{executor: exec, command: run, prepare: containers.Prepare(), env: c.agentEnv(d.Environment, env), limits: limits, root: root, contained: true, close: exec.Close}, nil
}

// isolation is the setting of the back-end, empty where it has none.
func (c *config) isolation() string {
	switch {
	case c.backend == backendDirect && c.Backend.Direct != nil:
		return c.Backend.Direct.Isolation
	case c.backend == backendLocal && c.Backend.Local != nil:
		return c.Backend.Local.Isolation
	}
	return ""
}

// mirrors is the directory of repositories that agents share.
func (c *config) mirrors() string { return filepath.Join(c.home(), "mirrors") }

// private are the files that no agent has to see: other agents' under roots,
// what the worker remembers, its configuration and its key.
func (c *config) private(roots ...string) []string {
	var paths []string
	for _, file := range append(roots, c.StateDir, c.file, c.APIKeyFile) {
		if path, err := filepath.Abs(file); err == nil && file != "" {
			paths = append(paths, path)
		}
	}
	return paths
}

// openProcesses opens an executor whose sandboxes are processes of this host.
func (c *config) openProcesses(root string, opts *local.Options) (*local.Executor, error) {
	if err := os.MkdirAll(filepath.Dir(root), 0o755); err != nil {
		return nil, fmt.Errorf("make the directory of workspaces: %w", err)
	}
	if err := os.MkdirAll(c.mirrors(), 0o700); err != nil { // sandboxes can make nothing there themselves
		return nil, fmt.Errorf("make the directory of mirrors: %w", err)
	}
	return local.New(root, opts)
}

func (c *config) openCommand(env modelenv.Lookup, log *zap.Logger) (*backend, error) {
	d := c.Backend.Command
	root := filepath.Join(c.home(), "dispatched")
	exec, err := command.New(root, d.DispatchCommand, &command.Options{CancelCommand: d.CancelCommand, DispatchTimeout: d.DispatchTimeout,
		CancelTimeout: d.CancelTimeout, Lifetime: d.Lifetime, Environment: c.environment(d.Environment, env), WorkerID: c.WorkerID,
		IdleOnComplete: c.IdleOnComplete, Logger: log})
	if err != nil {
		return nil, fmt.Errorf("backend.command: %w", err)
	}
	// The command of the sandbox is not used: the dispatch command starts the agent.
	return &backend{executor: exec, command: []string{"oz", "agent", "run"}, root: root, contained: true, close: func() error { return nil }}, nil
}

// runnerCommand makes this binary the agent runner.
func runnerCommand() ([]string, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("find this executable, which is to run agents: %w", err)
	}
	return runner.Command(self), nil
}

// stopGrace is how long a runner may take to end after it was told.
const stopGrace = 10 * time.Second

// worker makes the worker over the back-end.
func (c *config) worker(b *backend, log *zap.Logger) (*oz.LocalWorker, error) {
	mirrors := c.mirrors()
	if executor.CapabilitiesOf(b.executor).OwnFiles {
		mirrors = "" // of no use where its files are others
	}
	return oz.NewLocalWorker(b.executor, &oz.LocalWorkerOptions{ID: c.WorkerID, Capacity: c.capacity(), Command: b.command, Prepare: b.prepare, RepositoryBase: c.RepositoryBase, Env: b.env, Limits: b.limits,
		ServerURL: c.Server, CacheDir: mirrors, StopGrace: stopGrace, StopOnShutdown: c.StopOnShutdown, IdleLimit: c.idleLimit(), FailureLimit: c.failureLimit(),
		MaxKept: c.maxKept(), MinFreeDisk: c.minFreeDisk(), FreeDisk: keptworkspaces.FreeDisk(b.root), Logger: log})
}

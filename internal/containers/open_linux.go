package containers

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"go.uber.org/zap"

	"github.com/oz-platform/cloudagents/executor"
	"github.com/oz-platform/cloudagents/executor/containerd"
	"github.com/oz-platform/cloudagents/executor/containerd/pid1"
	"github.com/oz-platform/cloudagents/executor/runner"
	"github.com/oz-platform/cloudagents/internal/modelenv"
)

// Executor is an executor with an end.
type Executor interface {
	executor.Executor
	io.Closer
}

// Prepare is the command that makes states for runs to start from in a
// sandbox of Open.
func Prepare() []string { return runner.PrepareCommand(pid1.Binary) }

// CheckRunner says why what runs agents cannot be mounted into containers.
func (c Config) CheckRunner() error { return containerd.CheckRunner(c.Runner) }

// Open opens the executor for containers, and says how a runner is
// started in one: this binary is mounted there. Mirrors of repositories are not
// shared with containers, whose agents could change them for each other.
func (c Config) Open(ctx context.Context, root string, env modelenv.Lookup, log *zap.Logger) (Executor, []string, error) {
	opts := containerd.Options{Address: c.Address, Namespace: c.Namespace, Image: c.Image, Network: executor.NetworkMode(c.Network),
		Subnet: c.Subnet, RootUser: c.RootUser, Runner: c.Runner, WarmStates: c.WarmStates, WarmDisk: int64(c.WarmDiskGB * (1 << 30)),
		ImageAge: time.Duration(c.ImageDays * float64(24*time.Hour)), ImageDisk: int64(c.ImageDiskGB * (1 << 30)),
		PoolSize: c.WarmPool, PoolKinds: c.WarmPoolEnvironments,
		Registries: map[string]containerd.Registry{}, Logger: log}
	for _, m := range c.Mounts {
		mount, err := parseMount(m)
		if err != nil {
			return nil, nil, fmt.Errorf("mounts: %w", err)
		}
		opts.Mounts = append(opts.Mounts, mount)
	}
	for host, r := range c.Registries {
		password, err := r.password(env)
		if err != nil {
			return nil, nil, fmt.Errorf("registries.%s: %w", host, err)
		}
		opts.Registries[host] = containerd.Registry{Username: r.Username, Password: password, PlainHTTP: r.PlainHTTP, Mirrors: r.Mirrors}
	}
	ex, err := containerd.Open(ctx, root, &opts)
	if err != nil {
		return nil, nil, err
	}
	for _, path := range c.Import {
		if err := importImages(ctx, ex, path); err != nil {
			return nil, nil, errors.Join(fmt.Errorf("import: %s: %w", path, err), ex.Close())
		}
	}
	return ex, runner.Command(pid1.Binary), nil
}

func importImages(ctx context.Context, ex *containerd.Executor, path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = ex.Import(ctx, f)
	return err
}

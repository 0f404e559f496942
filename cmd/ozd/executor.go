package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"go.uber.org/zap"

	"github.com/oz-platform/cloudagents/executor"
	"github.com/oz-platform/cloudagents/executor/local"
	"github.com/oz-platform/cloudagents/executor/runner"
	"github.com/oz-platform/cloudagents/internal/containers"
	"github.com/oz-platform/cloudagents/internal/keptworkspaces"
	"github.com/oz-platform/cloudagents/oz"
)

// The kinds of worker.executor.
const (
	executorLocal      = "local"
	executorContainerd = "containerd"
)

// openExecutor opens what the sandboxes of this process are made by, and says
// how the worker starts runners in them. The caller closes it.
func (s *server) openExecutor(ctx context.Context) (executor.Executor, *oz.LocalWorkerOptions, io.Closer, error) {
	opts := &oz.LocalWorkerOptions{Capacity: s.config.MaxConcurrent, ServerURL: cmp.Or(s.config.Worker.ServerURL, s.address),
		Env: s.config.sandboxEnv(s.env), Logger: s.log}
	root := filepath.Join(s.config.Data, "run")
	opts.FreeDisk = keptworkspaces.FreeDisk(root)
	opts.MaxKept, opts.MinFreeDisk = s.config.Worker.kept()
	if s.config.Worker.Executor == executorContainerd {
		ex, command, err := s.config.Worker.Containerd.Open(ctx, root, s.env, s.log)
		if err != nil {
			return nil, nil, nil, fmt.Errorf("worker.containerd: %w", err)
		}
		opts.Command, opts.Prepare, opts.RepositoryBase = command, containers.Prepare(), s.config.RepositoryBase
		return ex, opts, ex, nil
	}
	mirrors := filepath.Join(s.config.Data, "mirrors")
	if err := os.MkdirAll(mirrors, 0o700); err != nil { // sandboxes can make nothing there themselves
		return nil, nil, nil, fmt.Errorf("make the directory of mirrors: %w", err)
	}
	ex, err := local.New(root, &local.Options{Isolation: local.Isolation(s.config.Worker.Isolation), Hide: s.config.private(),
		Visible: []string{mirrors}})
	if err != nil {
		return nil, nil, nil, fmt.Errorf("worker: %w", err)
	}
	if means, why := ex.Isolation(); why != "" {
		s.log.Warn("agents see the processes of this host and all files that this user may read", zap.String("why", why))
	} else {
		s.log.Info("agents are isolated", zap.String("by", means))
	}
	self, err := os.Executable()
	if err != nil {
		return nil, nil, nil, fmt.Errorf("find this executable, which is to run agents: %w", err)
	}
	opts.Command, opts.CacheDir = runner.Command(self), mirrors
	return ex, opts, ex, nil
}

// private are the files that no agent has to see: everything that the server
// keeps, its configuration, and the files of keys that this names.
func (c *config) private() []string {
	files := []string{c.Data, c.file, c.SecretsKey}
	for _, m := range c.Models {
		files = append(files, m.APIKeyFile)
	}
	for _, g := range c.Git.Credentials {
		files = append(files, g.PasswordFile)
	}
	if c.SignIn != nil {
		files = append(files, c.SignIn.ClientSecretFile)
	}
	var paths []string
	for _, file := range files {
		if path, err := filepath.Abs(file); err == nil && file != "" {
			paths = append(paths, path)
		}
	}
	return paths
}

// kept gives the bounds of kept workspaces as oz.LocalWorkerOptions has them.
func (w workerConfig) kept() (most int, minFree int64) {
	most, minFree = w.MaxKeptWorkspaces, int64(w.MinFreeDiskGB*(1<<30))
	if most == 0 {
		most = oz.NoLimit
	}
	if minFree == 0 {
		minFree = -1
	}
	return most, minFree
}

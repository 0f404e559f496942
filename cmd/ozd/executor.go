package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/oz-platform/cloudagents/executor"
	"github.com/oz-platform/cloudagents/executor/local"
	"github.com/oz-platform/cloudagents/executor/runner"
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
	if s.config.Worker.Executor == executorContainerd {
		ex, command, err := s.config.Worker.Containerd.Open(ctx, root, s.env, s.log)
		if err != nil {
			return nil, nil, nil, fmt.Errorf("worker.containerd: %w", err)
		}
		opts.Command = command
		return ex, opts, ex, nil
	}
	ex, err := local.New(root, nil)
	if err != nil {
		return nil, nil, nil, err
	}
	self, err := os.Executable()
	if err != nil {
		return nil, nil, nil, fmt.Errorf("find this executable, which is to run agents: %w", err)
	}
	opts.Command, opts.CacheDir = runner.Command(self), filepath.Join(s.config.Data, "mirrors")
	return ex, opts, ex, nil
}

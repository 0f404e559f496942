//go:build !linux

package main

import (
	"context"
	"errors"
	"io"

	"go.uber.org/zap"

	"github.com/oz-platform/cloudagents/executor"
	"github.com/oz-platform/cloudagents/internal/modelenv"
)

// closingExecutor is an executor with an end.
type closingExecutor interface {
	executor.Executor
	io.Closer
}

func openContainerd(context.Context, string, containerdConfig, modelenv.Lookup, *zap.Logger) (closingExecutor, []string, error) {
	return nil, nil, errors.New("worker.executor: containerd runs on Linux only")
}

//go:build linux

// Package workspaces has the workspaces of an executor whose sandboxes share
// the host's file system: directories by key, below one directory.
package workspaces

import (
	"context"
	"fmt"
	"os"
	"sync"

	"github.com/oz-platform/cloudagents/executor"
	"github.com/oz-platform/cloudagents/executor/internal/tree"
)

// Workspaces keeps apart those who start in a workspace and those who remove
// it. It is safe for concurrent use within one process.
type Workspaces struct {
	dir string

	mu  sync.Mutex
	use map[string]int // by key: Starts in progress, or removing
}

// removing is the value in Workspaces.use of one that is being deleted.
const removing = -1

// New returns the workspaces in dir, which is there and which
// [tree.PrepareRoot] has checked.
func New(dir string) *Workspaces { return &Workspaces{dir: dir, use: map[string]int{}} }

// Names lists them, sorted.
func (w *Workspaces) Names(ctx context.Context) ([]string, error) { return Names(ctx, w.dir) }

// Use keeps Remove away until release is called. It fails with
// executor.ErrInUse while the workspace is being removed.
func (w *Workspaces) Use(key string) (release func(), err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.use[key] == removing {
		return nil, fmt.Errorf("%w: %s is being removed", executor.ErrInUse, key)
	}
	w.use[key]++
	return func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		if w.use[key]--; w.use[key] == 0 {
			delete(w.use, key)
		}
	}, nil
}

// Remove implements RemoveWorkspace of executor.Executor. unused fails when a
// sandbox works in the workspace; no Use succeeds from before it is called until
// Remove has returned.
func (w *Workspaces) Remove(ctx context.Context, key string, unused func(ctx context.Context, key string) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := executor.ValidateName("workspace", key); err != nil {
		return err
	}
	if err := w.remove(ctx, key, unused); err != nil {
		return fmt.Errorf("remove workspace %s: %w", key, err)
	}
	return nil
}

func (w *Workspaces) remove(ctx context.Context, key string, unused func(ctx context.Context, key string) error) error {
	w.mu.Lock()
	if w.use[key] != 0 {
		w.mu.Unlock()
		return executor.ErrInUse
	}
	w.use[key] = removing
	w.mu.Unlock()
	defer func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		delete(w.use, key)
	}()
	if err := unused(ctx, key); err != nil {
		return err
	}
	return tree.Remove(ctx, w.dir, key)
}

// Names lists what is in dir and has a name that sandboxes and workspaces may
// have, sorted.
func Names(ctx context.Context, dir string) ([]string, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	entries, err := os.ReadDir(dir) // sorted
	if err != nil {
		return nil, err
	}
	names := make([]string, 0, len(entries))
	for _, entry := range entries {
		if executor.ValidateName("", entry.Name()) == nil {
			names = append(names, entry.Name())
		}
	}
	return names, nil
}
